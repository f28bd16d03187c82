use proptest::prelude::*;
use serde_json::{Value, json};
use witvirt_sdk::core::policy::{Decision, Verdict};

use super::evaluate;
use crate::settings::Settings;
use crate::{Error, ErrorKind};

const GIB: u64 = 1 << 30;

fn judge(settings: &Value, operation: &str, machine: &Value, host: &Value) -> Result<Decision, Error> {
    let settings = Settings::parse(&settings.to_string()).unwrap();
    evaluate(&settings, operation, &machine.to_string(), &host.to_string())
}

fn machine(vcpus: u64, gib: u64, os: &str) -> Value {
    json!({ "name": "new", "cpu": { "count": vcpus, "model": "host" }, "memory": gib * GIB, "os": os, "disks": [] })
}

fn neighbour(state: &str, vcpus: u64, gib: u64, os: &str) -> Value {
    json!({ "name": "old", "state": state, "vcpus": vcpus, "memory-bytes": gib * GIB, "os": os })
}

/// 8 CPUs, 32 GiB.
fn host(machines: &[Value]) -> Value {
    json!({ "cpus": 8, "memory-bytes": 32 * GIB, "os": "linux", "machines": machines })
}

fn denied(settings: &Value, operation: &str, machine: &Value, host: &Value) -> String {
    match judge(settings, operation, machine, host).unwrap().verdict {
        Verdict::Deny(text) => text,
        other => panic!("{other:?}"),
    }
}

fn allowed(settings: &Value, operation: &str, machine: &Value, host: &Value) -> Decision {
    let decision = judge(settings, operation, machine, host).unwrap();
    assert_eq!(decision.verdict, Verdict::Allow);
    decision
}

#[test]
fn no_settings_bound_nothing() {
    let decision = allowed(&json!({}), "start", &machine(512, 1 << 20, "linux"), &host(&[]));
    assert_eq!((decision.warnings.len(), decision.annotations.len()), (0, 0));
}

#[test]
fn a_denial_says_all_there_is_to_know() {
    let settings = json!({ "vcpus": { "overcommit": 2 }, "memory": { "reserve": "2GiB" } });
    let host = host(&[neighbour("running", 10, 16, "linux"), neighbour("paused", 4, 8, "linux")]);
    assert_eq!(
        denied(&settings, "start", &machine(4, 8, "linux"), &host),
        "vCPUs: 14 in use by 2 machines, 4 asked for, 16 allowed; stop another machine first or give this one at most 2; \
         and memory: 24 GiB in use by 2 machines, 8 GiB asked for, 30 GiB allowed; stop another machine first or give this \
         one at most 6 GiB"
    );
    let decision = allowed(&settings, "start", &machine(2, 6, "linux"), &host);
    assert_eq!(decision.annotations[0], ("vcpus".to_owned(), "14 + 2 of 16".to_owned()));
}

#[test]
fn two_macos_guests() {
    let settings = json!({ "os": { "macos": { "machines": 2 } } });
    let two = host(&[neighbour("running", 1, 1, "macos"), neighbour("starting", 1, 1, "MacOS")]);
    assert_eq!(
        denied(&settings, "start", &machine(1, 1, "macOS"), &two),
        "macos machines: 2 in use by 2 machines, 1 asked for, 2 allowed; stop another machine first"
    );
    allowed(&settings, "start", &machine(1, 1, "linux"), &two);
    let one = host(&[neighbour("running", 1, 1, "macos"), neighbour("stopped", 1, 1, "macos")]);
    allowed(&settings, "start", &machine(1, 1, "macos"), &one);
    let none = json!({ "os": { "macos": { "machines": 0 } } });
    assert!(denied(&none, "create", &machine(1, 1, "macos"), &host(&[])).contains("raise the limit"));
}

#[test]
fn only_what_takes_resources_counts() {
    let settings = json!({ "machines": 1 });
    for state in ["starting", "running", "paused", "stopping", "migrating"] {
        denied(&settings, "start", &machine(1, 1, ""), &host(&[neighbour(state, 1, 1, "")]));
    }
    for state in ["defined", "stopped", "crashed"] {
        allowed(&settings, "start", &machine(1, 1, ""), &host(&[neighbour(state, 1, 1, "")]));
    }
}

#[test]
fn creating_takes_nothing_yet() {
    let settings = json!({ "vcpus": { "total": 8 }, "memory": { "per-machine": "4GiB" } });
    let full = host(&[neighbour("running", 8, 1, "")]);
    for operation in ["create", "update"] {
        let decision = allowed(&settings, operation, &machine(2, 4, ""), &full);
        assert!(decision.warnings[0].starts_with("no room to start it now: vCPUs: 8 in use"), "{decision:?}");
        let text = denied(&settings, operation, &machine(9, 5, ""), &full);
        assert!(text.contains("memory: 5 GiB asked for, and a machine may have 4 GiB"), "{text}");
        assert!(text.contains("vCPUs: 9 asked for, and all machines together may have 8"), "{text}");
    }
    denied(&settings, "start", &machine(2, 4, ""), &full);
    denied(&settings, "resume-from-the-future", &machine(2, 4, ""), &full);
}

#[test]
fn the_os_can_be_required() {
    let settings = json!({ "require-os": true });
    let mut silent = machine(1, 1, "");
    for _ in 0..2 {
        assert!(denied(&settings, "create", &silent, &host(&[])).contains("set \"os\" in its spec"));
        silent.as_object_mut().unwrap().remove("os");
    }
    allowed(&settings, "create", &machine(1, 1, "linux"), &host(&[]));
}

#[test]
fn specs_as_people_write_them() {
    let settings = json!({ "vcpus": { "total": 1 }, "memory": { "total": "512MiB" } });
    allowed(&settings, "start", &json!({ "name": "a", "memory": "512MiB" }), &host(&[]));
    let text =
        denied(&settings, "start", &json!({ "name": "a", "cpu": {}, "memory": 536_870_913 }), &host(&[]));
    assert!(text.contains("536870913 bytes") && text.contains("512 MiB"), "{text}");
}

#[test]
fn nonsense_is_an_error() {
    let settings = Settings::default();
    let (object, room) = (machine(1, 1, "").to_string(), host(&[]).to_string());
    for (object, host) in [("{}", room.as_str()), ("", &room), (&object, "{}"), (&object, "[]")] {
        let error = evaluate(&settings, "start", object, host).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput);
        assert!(error.message.contains("of the review"), "{error:?}");
    }
}

#[test]
fn sums_cannot_wrap_around() {
    let settings = json!({ "memory": { "total": u64::MAX } });
    let huge = json!({ "name": "x", "state": "running", "vcpus": 1, "memory-bytes": u64::MAX });
    denied(&settings, "start", &machine(1, 1, ""), &host(&[huge.clone(), huge]));
}

fn machines() -> impl Strategy<Value = Vec<(usize, u64, u64, usize)>> {
    prop::collection::vec((0usize..7, 0u64..40, 0u64..40, 0usize..3), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_start_never_exceeds_a_bound(
        others in machines(),
        asked in (1u64..20, 1u64..20, 0usize..3),
        limits in (0u64..12, 0u64..100, 0u64..100, 0u64..4, 0f64..3.0, 0f64..1.0),
    ) {
        const STATES: [&str; 7] = ["defined", "starting", "running", "paused", "stopping", "stopped", "crashed"];
        const OSES: [&str; 3] = ["linux", "macos", "windows"];
        let (count, vcpus, memory, macos, overcommit, share) = limits;
        let settings = json!({
            "machines": count,
            "vcpus": { "total": vcpus, "overcommit": overcommit },
            "memory": { "total": memory * GIB, "share": share },
            "os": { "macos": { "machines": macos } },
        });
        let neighbours: Vec<Value> =
            others.iter().map(|(state, vcpus, gib, os)| neighbour(STATES[*state], *vcpus, *gib, OSES[*os])).collect();
        let decision = judge(&settings, "start", &machine(asked.0, asked.1, OSES[asked.2]), &host(&neighbours)).unwrap();
        let active: Vec<_> = others.iter().filter(|(state, ..)| (1..5).contains(state)).collect();
        let sum = |of: fn(&(usize, u64, u64, usize)) -> u64| active.iter().map(|other| of(other)).sum::<u64>();
        let mac = |os: usize| u64::from(os == 1);
        let within = (active.len() as u64) < count
            && sum(|other| other.1) + asked.0 <= vcpus.min((8.0 * overcommit) as u64)
            && (sum(|other| other.2) + asked.1) * GIB <= (memory * GIB).min((32.0 * GIB as f64 * share) as u64)
            && (asked.2 != 1 || active.iter().map(|other| mac(other.3)).sum::<u64>() < macos);
        prop_assert_eq!(decision.verdict == Verdict::Allow, within, "{:?}", decision);
    }
}
