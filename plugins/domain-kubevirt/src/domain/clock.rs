//! Clock and timers.

use crate::draft::Draft;
use crate::tree::Field;
use witvirt_sdk::xml::Element;

/// KubeVirt's name, libvirt's, and the tick policies; in KubeVirt's order.
const TIMERS: &[(&str, &str, &[&str])] = &[
    ("rtc", "rtc", &["delay", "catchup"]),
    ("pit", "pit", &["delay", "catchup", "discard"]),
    ("kvm", "kvmclock", &[]),
    ("hpet", "hpet", &["delay", "catchup", "merge", "discard"]),
    ("hyperv", "hypervclock", &[]),
];
/// A day.
const MOST: i64 = 86_400;

pub(super) fn read(draft: &Draft<'_>) -> Option<Element> {
    let clock = draft.domain.get("clock")?;
    clock.object();
    let mut element = Element::new("clock");
    match (clock.get("utc"), clock.get("timezone")) {
        (Some(utc), zone) => {
            let offset = utc.get("offsetSeconds").and_then(|offset| offset.integer(-MOST, MOST));
            let adjustment = offset.map_or_else(|| "reset".to_owned(), |offset| offset.to_string());
            element = element.attribute("offset", "utc").attribute("adjustment", adjustment);
            if let Some(zone) = zone {
                zone.cover();
                zone.error("kubevirt.clock", || "either utc or timezone, not both".to_owned());
            }
        }
        (None, Some(zone)) => {
            let zone = zone.string().unwrap_or_default();
            element = element.attribute("offset", "timezone").attribute("timezone", zone);
        }
        (None, None) => element = element.attribute("offset", "utc"),
    }
    if let Some(timers) = clock.get("timer") {
        for (name, libvirt, policies) in TIMERS {
            if let Some(timer) = timers.get(name) {
                element = element.child(read_timer(timer, libvirt, policies));
            }
        }
    }
    Some(element)
}

fn read_timer(timer: Field<'_>, name: &'static str, policies: &[&'static str]) -> Element {
    let present = timer.flag("present").unwrap_or(true);
    let mut element = Element::new("timer").attribute("name", name);
    if !policies.is_empty()
        && let Some(policy) = timer.get("tickPolicy").filter(|policy| policy.string() != Some(""))
    {
        let table: Vec<_> = policies.iter().map(|policy| (*policy, *policy)).collect();
        if let Some(policy) = policy.choose(&table) {
            element = element.attribute("tickpolicy", policy);
        }
    }
    if name == "rtc"
        && let Some(track) = timer.get("track").filter(|track| track.string() != Some(""))
        && let Some(track) = track.choose(&[("guest", "guest"), ("wall", "wall")])
    {
        element = element.attribute("track", track);
    }
    element.attribute("present", if present { "yes" } else { "no" })
}
