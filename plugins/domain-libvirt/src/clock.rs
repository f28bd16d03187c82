//! Clock and timers.

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{ClockBase, CpuFeature, FeaturePolicy, Timer, TimerTick, TimerTrack};

use crate::document::{DETAIL, Element, Waiver};
use crate::draft::Draft;

const ZONE: Waiver =
    Waiver::warning("libvirt.clock", "time zones are not available: the clock starts at UTC");
const ADJUSTMENT: Waiver = Waiver::warning("libvirt.clock", "the clock starts without this adjustment");

pub(crate) fn read(draft: &mut Draft<'_>) {
    let Some(clock) = draft.domain.child("clock") else { return };
    draft.spec.clock.base = base(clock);
    for timer in clock.children("timer") {
        read_timer(timer, draft);
    }
}

fn base(clock: Element<'_>) -> ClockBase {
    let offset = clock.attribute("offset").and_then(|offset| {
        offset.choose(&[
            ("utc", "utc"),
            ("localtime", "localtime"),
            ("timezone", "timezone"),
            ("variable", "variable"),
            ("absolute", "absolute"),
        ])
    });
    clock.expect("adjustment", &["0", "reset"], &ADJUSTMENT);
    match offset {
        Some("localtime") => ClockBase::Localtime,
        Some("timezone") => {
            clock.waive_parts(&["@timezone"], &ZONE);
            ClockBase::Utc
        }
        Some("variable") => {
            let bases = [("utc", ClockBase::Utc), ("localtime", ClockBase::Localtime)];
            clock.attribute("basis").and_then(|basis| basis.choose(&bases)).unwrap_or_default()
        }
        Some("absolute") => start(clock),
        _ => ClockBase::Utc,
    }
}

fn start(clock: Element<'_>) -> ClockBase {
    let Some(start) = clock.required("start") else { return ClockBase::Utc };
    match start.text.parse::<i64>() {
        Ok(seconds) if seconds >= 0 => ClockBase::Absolute(seconds),
        _ => {
            start.refuse("seconds since 1970, 0 or more");
            ClockBase::Utc
        }
    }
}

fn read_timer(timer: Element<'_>, draft: &mut Draft<'_>) {
    let names = ["rtc", "pit", "hpet", "kvmclock", "hypervclock", "tsc", "platform", "armvtimer"]
        .map(|name| (name, name));
    let Some(name) = timer.required("name").and_then(|name| name.choose(&names)) else { return };
    let present = timer.attribute("present").and_then(|present| present.yes());
    let tick = timer.attribute("tickpolicy").and_then(|policy| {
        policy.choose(&[
            ("delay", TimerTick::Delay),
            ("catchup", TimerTick::Catchup),
            ("merge", TimerTick::Merge),
            ("discard", TimerTick::Discard),
        ])
    });
    let tracks =
        [("guest", TimerTrack::Guest), ("wall", TimerTrack::Wall), ("realtime", TimerTrack::Realtime)];
    let mut track = None;
    match timer.attribute("track") {
        Some(value) if name == "rtc" => track = value.choose(&tracks),
        // libvirt takes it, and does nothing with it.
        Some(value) if value.text != "boot" => drop(value.choose(&tracks)),
        _ => {}
    }
    timer.waive_parts(&["catchup"], &DETAIL);
    timer.expect("mode", &["auto"], &DETAIL);
    if matches!(name, "platform" | "armvtimer") {
        timer
            .report(Severity::Warning, "libvirt.clock.timer", || format!("an x86 guest has no timer {name}"));
        return;
    }
    // libvirt takes it, and does nothing with it.
    let tick = tick.filter(|_| matches!(name, "rtc" | "pit"));
    if name == "hypervclock" {
        // A flag of the CPU for QEMU, like the other enlightenments.
        let policy = if present == Some(false) { FeaturePolicy::Disable } else { FeaturePolicy::Require };
        draft.spec.cpu.features.push(CpuFeature { name: "hv-time".to_owned(), policy });
        return;
    }
    let frequency = timer.attribute("frequency").and_then(|frequency| frequency.number());
    draft.spec.clock.timers.push(Timer { name: name.to_owned(), present, tick, track, frequency });
}
