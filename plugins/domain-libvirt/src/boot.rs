//! `<os>`: board, kernel and boot order.

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{BootDevice, Chipset, Disk, DiskDevice};

use crate::document::{DETAIL, Element, Value, Waiver};
use crate::draft::Draft;
use crate::firmware;

const MENU: Waiver = Waiver::info("libvirt.boot.menu", "without a menu, nothing waits");
const ACPI_TABLE: Waiver =
    Waiver::error("libvirt.boot.acpi", "witvirt gives guests no ACPI tables from files");
const NO_X86: Waiver = Waiver::error("libvirt.boot", "not for x86 guests");
const CONTAINER: Waiver = Waiver::error("libvirt.boot", "only for containers");

pub(crate) fn read(draft: &mut Draft<'_>) {
    let domain = draft.domain;
    let Some(os) = domain.child("os") else {
        domain.report(Severity::Error, "libvirt.value.missing", || "the domain has no <os>".to_owned());
        return;
    };
    read_type(os, draft);
    firmware::read(os, draft);
    read_kernel(os, draft);
    for boot in os.children("boot") {
        let classes = [
            ("hd", BootDevice::Disk),
            ("cdrom", BootDevice::Cdrom),
            ("network", BootDevice::Network),
            ("fd", BootDevice::Floppy),
        ];
        let class = boot.required("dev").and_then(|dev| dev.choose(&classes));
        draft.spec.boot.order.extend(class);
    }
    if let Some(menu) = os.child("bootmenu") {
        draft.spec.boot.menu = menu.attribute("enable").and_then(Value::yes).unwrap_or(false);
        draft.spec.boot.menu_timeout_ms =
            menu.attribute("timeout").filter(|_| draft.spec.boot.menu).and_then(Value::number);
        menu.waive_parts(&["@timeout"], &MENU);
    }
    if let Some(bios) = os.child("bios") {
        bios.expect("useserial", &["no"], &DETAIL);
        let timeout = bios.attribute("rebootTimeout").filter(|timeout| timeout.text != "-1");
        draft.spec.boot.reboot_timeout_ms = timeout.and_then(Value::number);
    }
    os.waive_parts(&["acpi"], &ACPI_TABLE);
    os.waive_parts(&["dtb", "shim"], &NO_X86);
    os.waive_parts(&["init", "initarg", "initenv", "initdir", "inituser", "initgroup", "idmap"], &CONTAINER);
}

fn read_type(os: Element<'_>, draft: &mut Draft<'_>) {
    let Some(kind) = os.child("type") else {
        os.report(Severity::Error, "libvirt.value.missing", || "<os> has no <type>".to_owned());
        return;
    };
    kind.text().choose(&[("hvm", ())]);
    if let Some(arch) = kind.attribute("arch") {
        match arch.text {
            "x86_64" => {}
            "i686" => arch.waive(&Waiver::warning("libvirt.boot.arch", "the machine has 64-bit CPUs")),
            _ => arch.waive(&Waiver::error("libvirt.boot.arch", "witvirt runs x86_64 guests only")),
        }
    }
    let Some(machine) = kind.attribute("machine") else {
        draft.spec.chipset = Chipset::Pc;
        let message = || "no machine type: \"pc\", as under libvirt".to_owned();
        return kind.report(Severity::Info, "libvirt.default.machine", message);
    };
    match board(machine.text) {
        Some((chipset, versioned)) => {
            draft.spec.chipset = chipset;
            if versioned {
                machine.report(Severity::Info, "libvirt.boot.machine", || {
                    "the version of the board is not kept: the guest sees the hypervisor's newest".to_owned()
                });
            }
        }
        None => machine.refuse("pc, q35, pc-i440fx-VERSION or pc-q35-VERSION"),
    }
}

/// The chipset of a QEMU machine type, and whether the type names a version.
fn board(machine: &str) -> Option<(Chipset, bool)> {
    let version = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    match machine {
        "q35" => Some((Chipset::Q35, false)),
        "pc" => Some((Chipset::Pc, false)),
        _ => {
            // Versions, or the releases that Ubuntu and Red Hat name their boards after.
            let rest = machine.strip_prefix("pc-")?;
            let some = |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric());
            match (rest.strip_prefix("q35-"), rest.strip_prefix("i440fx-")) {
                (Some(release), _) => some(release).then_some((Chipset::Q35, true)),
                (_, Some(release)) => some(release).then_some((Chipset::Pc, true)),
                _ => version(rest).then_some((Chipset::Pc, true)),
            }
        }
    }
}

/// Classes become positions, as under libvirt: of each class the first device is booted, and nothing else is. Classes and
/// positions exclude each other; without either, it is the first disk.
pub(crate) fn apply_order(draft: &mut Draft<'_>) {
    let spec = &mut draft.spec;
    spec.boot.strict = Some(true);
    let positions =
        spec.disks.iter().map(|disk| disk.boot_index).chain(spec.interfaces.iter().map(|i| i.boot_index));
    let positions = positions.flatten().next().is_some();
    let mut classes = std::mem::take(&mut spec.boot.order);
    if positions {
        if !classes.is_empty() {
            let place = draft.domain.child("os").unwrap_or(draft.domain);
            place.report(Severity::Error, "libvirt.boot.order", || {
                "either <boot dev> here or <boot order> at the devices, not both".to_owned()
            });
        }
        return;
    }
    if classes.is_empty() {
        classes.push(BootDevice::Disk);
    }
    let sorted = in_order(&spec.disks);
    // A class that nobody is of keeps its position.
    for (class, position) in classes.into_iter().zip(1..) {
        let kind = match class {
            BootDevice::Network => {
                if let Some(first) = spec.interfaces.first_mut() {
                    first.boot_index.get_or_insert(position);
                }
                continue;
            }
            BootDevice::Disk => DiskDevice::Disk,
            BootDevice::Cdrom => DiskDevice::Cdrom,
            BootDevice::Floppy => DiskDevice::Floppy,
        };
        let first = sorted.iter().find(|at| spec.disks[**at].device == kind);
        if let Some(first) = first.and_then(|at| spec.disks.get_mut(*at)) {
            first.boot_index.get_or_insert(position);
        }
    }
}

/// The places of disks as libvirt sorts them: as they stand, but by name among those of a bus.
fn in_order(disks: &[Disk]) -> Vec<usize> {
    let rank = |at: usize| (disks[at].name.as_str().len(), disks[at].name.as_str());
    let mut sorted: Vec<usize> = Vec::with_capacity(disks.len());
    for (at, disk) in disks.iter().enumerate() {
        let mut place = None;
        for (index, other) in
            sorted.iter().enumerate().rev().filter(|(_, other)| disks[**other].bus == disk.bus)
        {
            if rank(*other) > rank(at) {
                place = Some(index);
            } else if place.is_none() {
                place = Some(index + 1);
            }
        }
        sorted.insert(place.unwrap_or(sorted.len()), at);
    }
    sorted
}

fn read_kernel(os: Element<'_>, draft: &mut Draft<'_>) {
    let path =
        |name| os.child_text(name).filter(|value| !value.text.is_empty()).map(|value| value.text.to_owned());
    let boot = &mut draft.spec.boot;
    boot.kernel = path("kernel");
    boot.initrd = path("initrd");
    boot.cmdline = path("cmdline");
}

/// `<smbios mode>`: whether `<sysinfo>` reaches the guest. libvirt ignores the texts without mode='sysinfo'.
pub(crate) fn uses_sysinfo(os: Option<Element<'_>>) -> bool {
    let Some(mode) = os.and_then(|os| os.child("smbios")).and_then(|smbios| smbios.required("mode")) else {
        return false;
    };
    let modes = [("emulate", false), ("sysinfo", true), ("host", false)];
    let chosen = mode.choose(&modes).unwrap_or(false);
    if mode.text == "host" {
        mode.waive(&Waiver::warning("libvirt.sysinfo", "the guest does not see the host's own texts"));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::board;
    use witvirt_sdk::core::spec::Chipset;

    #[test]
    fn knows_boards() {
        for (machine, expected) in [
            ("pc", Some((Chipset::Pc, false))),
            ("q35", Some((Chipset::Q35, false))),
            ("pc-q35-10.0", Some((Chipset::Q35, true))),
            ("pc-q35-rhel9.4.0", Some((Chipset::Q35, true))),
            ("pc-i440fx-2.12", Some((Chipset::Pc, true))),
            ("pc-i440fx-noble", Some((Chipset::Pc, true))),
            ("pc-1.0", Some((Chipset::Pc, true))),
            ("pc-q35-", None),
            ("pc-", None),
            ("microvm", None),
            ("isapc", None),
            ("xenfv", None),
            ("virt-9.0", None),
            ("", None),
        ] {
            assert_eq!(board(machine), expected, "{machine}");
        }
    }
}
