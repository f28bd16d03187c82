//! Board, processors, memory, clock and identity.

use serde_json::json;
use witvirt_core::spec::{
    Chipset, ClockBase, Cpu, CpuFeature, CpuModel, CpuSetting, FeaturePolicy, Firmware, PanicDevice,
    SmbiosTable, Timer, TimerTick, TimerTrack,
};

use super::board::Board;
use super::{Machine, escape, on_off, unsupported};
use crate::Error;
use crate::accelerator::Accelerator;

pub(super) fn base(machine: &Machine<'_>, board: &mut Board<'_>) -> Result<(), Error> {
    let spec = machine.spec;
    board.flag("-nodefaults");
    board.flag("-no-user-config");
    board.option("-display", "none");
    let sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
    board.option("-sandbox", sandbox);
    board.option("-msg", "timestamp=on");
    board.option("-name", format!("guest={},process=vm-{}", spec.name, spec.name));
    board.option("-uuid", spec.effective_uuid().to_string());
    board.flag("-S");
    let clock = clock(machine, board)?;
    board.option("-machine", board_options(machine, &clock)?);
    board.option("-accel", machine.accelerator.as_str());
    board.option("-smp", processors(&spec.cpu));
    board.option("-cpu", cpu(machine, &clock)?);
    board.option("-m", format!("size={}B", spec.memory.get()));
    numa(&spec.cpu, board);
    power_states(machine, board)?;
    smbios(machine, board)
}

/// Sleep states and the address space of PCI, which are properties of devices that the board has anyway.
fn power_states(machine: &Machine<'_>, board: &mut Board<'_>) -> Result<(), Error> {
    let parts = &machine.spec.board;
    let (power, bridge) = match machine.spec.chipset {
        Chipset::Q35 => ("ICH9-LPC", "q35-pcihost"),
        Chipset::Pc => ("PIIX4_PM", "i440FX-pcihost"),
    };
    let secure = matches!(machine.spec.boot.firmware, Firmware::Uefi { secure: true, .. });
    if secure && parts.suspend_to_memory == Some(true) {
        return Err(unsupported("board.suspend-to-memory", "secure boot and suspending exclude each other"));
    }
    // OVMF's lock box does not survive S3 without the guest's help.
    let to_memory = if secure { Some(false) } else { parts.suspend_to_memory };
    for (property, allowed) in [("disable_s3", to_memory), ("disable_s4", parts.suspend_to_disk)] {
        if let Some(allowed) = allowed {
            board.option("-global", format!("{power}.{property}={}", u8::from(!allowed)));
        }
    }
    if let Some(size) = parts.pci_hole64 {
        board.option("-global", format!("{bridge}.pci-hole64-size={}", size.get()));
    }
    Ok(())
}

/// Memory and CPUs by node, and how far these are from each other.
fn numa(cpu: &Cpu, board: &mut Board<'_>) {
    for (index, node) in cpu.numa.iter().enumerate() {
        let id = format!("node{index}");
        board.json(
            "-object",
            &json!({ "qom-type": "memory-backend-ram", "id": id, "size": node.memory.get() }),
        );
        let cpus: String = ranges(&node.cpus).iter().map(|range| format!(",cpus={range}")).collect();
        board.option("-numa", format!("node,nodeid={index}{cpus},memdev={id}"));
    }
    for (from, node) in cpu.numa.iter().enumerate() {
        for (to, distance) in node.distances.iter().enumerate() {
            board.option("-numa", format!("dist,src={from},dst={to},val={distance}"));
        }
    }
}

/// Numbers as "0-3" and "5".
fn ranges(numbers: &[u32]) -> Vec<String> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted
        .chunk_by(|a, b| a.checked_add(1) == Some(*b))
        .map(|run| match run {
            [only] => only.to_string(),
            [first, .., last] => format!("{first}-{last}"),
            [] => String::new(),
        })
        .collect()
}

/// What the timers of the spec change elsewhere.
#[derive(Default)]
struct Clock {
    machine: Vec<String>,
    cpu: Vec<String>,
}

fn board_options(machine: &Machine<'_>, clock: &Clock) -> Result<String, Error> {
    let mut options = match machine.spec.chipset {
        Chipset::Q35 => "q35".to_owned(),
        Chipset::Pc => "pc".to_owned(),
    };
    options.push_str(",usb=off,dump-guest-core=off");
    if let Firmware::Uefi { secure, .. } = &machine.spec.boot.firmware {
        if *secure && machine.spec.chipset != Chipset::Q35 {
            return Err(unsupported("boot.firmware.uefi.secure", "secure boot needs the q35 chipset"));
        }
        if *secure {
            if machine.spec.board.smm == Some(false) {
                return Err(unsupported("board.smm", "secure boot needs it"));
            }
            options.push_str(",smm=on");
        }
        options.push_str(",pflash0=flash0");
        if machine.descriptors.firmware_vars.is_some() {
            options.push_str(",pflash1=flash1");
        }
    }
    let parts = &machine.spec.board;
    let secure = matches!(machine.spec.boot.firmware, Firmware::Uefi { secure: true, .. });
    for (name, set) in [
        ("acpi", (!parts.acpi).then_some(false)),
        ("i8042", (!parts.ps2).then_some(false)),
        ("vmport", parts.vmport),
        ("smm", parts.smm.filter(|_| !secure)),
    ] {
        if let Some(on) = set {
            options.push_str(&format!(",{name}={}", on_off(on)));
        }
    }
    for option in &clock.machine {
        options.push(',');
        options.push_str(option);
    }
    Ok(options)
}

fn processors(cpu: &Cpu) -> String {
    let count = cpu.count;
    match cpu.topology {
        Some(t) => format!(
            "cpus={count},sockets={},dies={},cores={},threads={}",
            t.sockets, t.dies, t.cores, t.threads
        ),
        None => format!("cpus={count},sockets={count},cores=1,threads=1"),
    }
}

fn cpu(machine: &Machine<'_>, clock: &Clock) -> Result<String, Error> {
    let cpu = &machine.spec.cpu;
    let kvm = machine.accelerator == Accelerator::Kvm;
    let mut text = match &cpu.model {
        CpuModel::Default if kvm => "host".to_owned(),
        CpuModel::Host if !kvm => {
            return Err(unsupported(
                "cpu.model",
                "\"host\" needs KVM, which is not used here; use \"default\"",
            ));
        }
        CpuModel::Host => "host".to_owned(),
        CpuModel::Default | CpuModel::Max => "max".to_owned(),
        CpuModel::Named(name) => name.clone(),
    };
    for CpuFeature { name, policy } in &cpu.features {
        text.push_str(&format!(",{name}={}", on_off(*policy == FeaturePolicy::Require)));
    }
    if machine.spec.board.panic.contains(&PanicDevice::Hyperv) {
        text.push_str(",hv-crash=on");
    }
    for CpuSetting { name, value } in &cpu.settings {
        text.push_str(&format!(",{name}={}", escape(value)));
    }
    for feature in &clock.cpu {
        text.push(',');
        text.push_str(feature);
    }
    Ok(text)
}

fn clock(machine: &Machine<'_>, board: &mut Board<'_>) -> Result<Clock, Error> {
    let spec = &machine.spec.clock;
    let mut rtc = match spec.base {
        ClockBase::Utc => "base=utc".to_owned(),
        ClockBase::Localtime => "base=localtime".to_owned(),
        ClockBase::Absolute(seconds) => format!("base={}", date(seconds)),
    };
    let mut clock = Clock::default();
    for (index, entry) in spec.timers.iter().enumerate() {
        let path = format!("clock.timers[{index}]");
        timer(entry, &path, &mut rtc, &mut clock, board)?;
    }
    board.option("-rtc", rtc);
    Ok(clock)
}

fn timer(
    timer: &Timer,
    path: &str,
    rtc: &mut String,
    clock: &mut Clock,
    board: &mut Board<'_>,
) -> Result<(), Error> {
    if timer.frequency.is_some() && timer.name != "tsc" {
        return Err(unsupported(format!("{path}.frequency"), "only the tsc timer has one"));
    }
    if timer.track.is_some() && timer.name != "rtc" {
        return Err(unsupported(format!("{path}.track"), "only the RTC follows another clock"));
    }
    let no_tick = |name: &str| match timer.tick {
        None | Some(TimerTick::Delay) => Ok(()),
        Some(_) => Err(unsupported(format!("{path}.tick"), format!("{name} can only delay missed ticks"))),
    };
    match timer.name.as_str() {
        "rtc" => {
            if timer.present == Some(false) {
                return Err(unsupported(format!("{path}.present"), "the RTC is part of the board"));
            }
            match timer.track {
                None => {}
                Some(TimerTrack::Guest) => rtc.push_str(",clock=vm"),
                Some(TimerTrack::Wall) => rtc.push_str(",clock=host"),
                Some(TimerTrack::Realtime) => rtc.push_str(",clock=rt"),
            }
            match timer.tick {
                None | Some(TimerTick::Delay) => {}
                Some(TimerTick::Catchup) => rtc.push_str(",driftfix=slew"),
                Some(_) => return Err(unsupported(format!("{path}.tick"), "the RTC can delay or catch up")),
            }
        }
        "pit" => {
            if let Some(present) = timer.present {
                clock.machine.push(format!("pit={}", on_off(present)));
            }
            let policy = match timer.tick {
                None | Some(TimerTick::Catchup) => return Ok(()),
                Some(TimerTick::Delay) => "delay",
                Some(TimerTick::Discard) => "discard",
                Some(TimerTick::Merge) => {
                    return Err(unsupported(format!("{path}.tick"), "the PIT cannot merge ticks"));
                }
            };
            board.option("-global", format!("kvm-pit.lost_tick_policy={policy}"));
        }
        "hpet" => {
            no_tick("the HPET")?;
            if let Some(present) = timer.present {
                clock.machine.push(format!("hpet={}", on_off(present)));
            }
        }
        "kvmclock" | "hypervclock" => {
            no_tick("a paravirtual clock")?;
            let feature = if timer.name == "kvmclock" { "kvmclock" } else { "hv-time" };
            clock.cpu.push(format!("{feature}={}", on_off(timer.present.unwrap_or(true))));
        }
        "tsc" => {
            no_tick("the TSC")?;
            if let Some(present) = timer.present {
                clock.cpu.push(format!("tsc={}", on_off(present)));
            }
            if let Some(frequency) = timer.frequency {
                clock.cpu.push(format!("tsc-frequency={frequency}"));
            }
        }
        other => {
            let known = "use rtc, pit, hpet, kvmclock, hypervclock or tsc";
            return Err(unsupported(
                format!("{path}.name"),
                format!("no timer \"{}\"; {known}", other.escape_debug()),
            ));
        }
    }
    Ok(())
}

/// Seconds since 1970 as QEMU reads a date, in UTC: civil date from days, after Howard Hinnant's chrono algorithms.
fn date(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Fields of each SMBIOS table that QEMU sets from a text; never one that names a file.
fn smbios_fields(kind: u8) -> &'static [&'static str] {
    match kind {
        0 => &["vendor", "version", "date", "release"],
        1 => &["manufacturer", "product", "version", "serial", "uuid", "sku", "family"],
        2 => &["manufacturer", "product", "version", "serial", "asset", "location"],
        3 => &["manufacturer", "version", "serial", "asset", "sku"],
        11 => &["value"],
        _ => &[],
    }
}

fn smbios(machine: &Machine<'_>, board: &mut Board<'_>) -> Result<(), Error> {
    for (index, SmbiosTable { kind, fields }) in machine.spec.smbios.tables.iter().enumerate() {
        let path = format!("smbios.tables[{index}]");
        let known = smbios_fields(*kind);
        if known.is_empty() {
            return Err(unsupported(
                format!("{path}.type"),
                format!("no table {kind}; use 0, 1, 2, 3 or 11"),
            ));
        }
        let mut text = format!("type={kind}");
        for (key, value) in fields {
            if !known.contains(&key.as_str()) {
                let message = format!(
                    "table {kind} has no field \"{}\"; it has {}",
                    key.escape_debug(),
                    known.join(", ")
                );
                return Err(unsupported(&path, message));
            }
            if key == "uuid" {
                if value.parse().ok() != Some(machine.spec.effective_uuid()) {
                    return Err(unsupported(format!("{path}.uuid"), "differs from the machine's uuid"));
                }
                continue;
            }
            text.push_str(&format!(",{key}={}", escape(value)));
        }
        board.option("-smbios", text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_of_known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_767_225_600, "2026-01-01T00:00:00"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }
}
