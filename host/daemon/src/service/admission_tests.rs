//! Policies that are native code.

use serde_json::json;
use witvirt_core::PluginError;
use witvirt_core::policy::Decision;

use super::*;

struct Fake(fn(&Review) -> Result<Verdict, String>);

impl Policy for Fake {
    fn plugin(&self) -> &str {
        "fake"
    }

    fn version(&self) -> &str {
        "1.2.3"
    }

    fn evaluate(&self, review: &Review) -> Result<Decision, PluginError> {
        let verdict = (self.0)(review).map_err(|message| PluginError {
            plugin: "fake".to_owned(),
            version: "1.2.3".to_owned(),
            kind: witvirt_core::ErrorKind::Plugin,
            message,
            context: Vec::new(),
        })?;
        Ok(Decision { verdict, warnings: Vec::new(), annotations: Vec::new() })
    }
}

fn judge(answer: fn(&Review) -> Result<Verdict, String>) -> Judge {
    Judge { policy: Arc::new(Fake(answer)), on_failure: OnFailure::Deny, mode: Mode::Enforce }
}

fn machine(more: Value) -> MachineSpec {
    let mut object = json!({ "name": "m", "memory": 64 << 20 });
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

fn decide(judges: &[Judge], spec: MachineSpec) -> Result<Admitted, Error> {
    let rules = Rules {
        network: Network { user: true, public_forwards: false },
        allow_arguments: vec!["-fw_cfg".to_owned()],
    };
    let review = Review {
        id: "1".to_owned(),
        operation: "create".to_owned(),
        subject: "uid:0".to_owned(),
        object: Value::Null,
        old_object: None,
        host: json!({}),
        time_ms: 0,
        dry_run: false,
    };
    admit(judges, &rules, spec, &review)
}

fn with_secret() -> MachineSpec {
    machine(json!({ "disks": [{ "name": "seed", "source": { "data": {
        "label": "cidata", "files": [{ "path": "user-data", "text": "hunter2" }] } } }] }))
}

#[test]
fn policies_see_no_contents_and_cannot_lose_them() {
    let looks = judge(|review| match review.object.to_string().contains("hunter2") {
        true => Err("a secret".to_owned()),
        false => halve(review),
    });
    let admitted = decide(&[looks], with_secret()).unwrap();
    assert_eq!(admitted.spec.disks, with_secret().disks);
    assert!(
        !admitted.warnings.is_empty() && !admitted.warnings.join("").contains("disks"),
        "{:?}",
        admitted.warnings
    );
    let forges = judge(|review| {
        let mut object = review.object.clone();
        object["disks"][0]["source"]["data"]["files"][0]["path"] = json!("elsewhere");
        Ok(Verdict::AllowWith(object))
    });
    let error = decide(&[forges], with_secret()).unwrap_err();
    assert!(error.message.contains("withheld"), "{error:?}");
}

fn halve(review: &Review) -> Result<Verdict, String> {
    let mut object = review.object.clone();
    object["memory"] = (object["memory"].as_u64().unwrap() / 2).into();
    Ok(Verdict::AllowWith(object))
}

#[test]
fn each_policy_sees_what_the_one_before_it_made() {
    let admitted =
        decide(&[judge(halve), judge(|_| Ok(Verdict::Allow)), judge(halve)], machine(json!({}))).unwrap();
    assert_eq!(admitted.spec.memory.get(), 16 << 20);
    assert_eq!(admitted.warnings[1], "policy fake 1.2.3 changed memory: 33554432 -> 16777216");
}

#[test]
fn a_denial_names_the_policy_and_stops_the_rest() {
    let deny = judge(|_| Ok(Verdict::Deny("too big".to_owned())));
    let error = decide(&[deny.clone(), judge(|_| panic!("not asked"))], machine(json!({}))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert_eq!(error.message, "policy fake 1.2.3 refuses machine m: too big");
    let monitored = Judge { mode: Mode::Monitor, ..deny };
    assert!(decide(&[monitored], machine(json!({}))).is_ok());
}

#[test]
fn a_broken_policy_refuses_unless_the_config_says_otherwise() {
    let broken = judge(|_| Err("trapped".to_owned()));
    let error = decide(std::slice::from_ref(&broken), machine(json!({}))).unwrap_err();
    assert!(error.message.contains("plugin fake 1.2.3: plugin failure: trapped"), "{error}");
    assert!(error.hints[0].contains("on-failure"));
    let allowed = Judge { on_failure: OnFailure::Allow, ..broken.clone() };
    assert!(decide(&[allowed], machine(json!({}))).unwrap().warnings[0].contains("trapped"));
    let monitored = Judge { mode: Mode::Monitor, ..broken };
    assert!(decide(&[monitored], machine(json!({}))).is_ok());
}

#[test]
fn a_patch_is_read_as_if_a_stranger_had_typed_it() {
    for (answer, expected) in [
        ((|_| Ok(Verdict::AllowWith(json!([])))) as fn(&Review) -> Result<Verdict, String>, "cannot be"),
        (|_| Ok(Verdict::AllowWith(json!({ "name": "m", "memory": 1 }))), "outside 1 MiB"),
        (|_| Ok(Verdict::AllowWith(json!({ "name": "other", "memory": 64 << 20 }))), "must stay m"),
        (
            |_| Ok(Verdict::AllowWith(json!({ "name": "m", "memory": 64 << 20, "root": true }))),
            "unknown field",
        ),
        (
            |_| {
                Ok(Verdict::AllowWith(
                    json!({ "name": "m", "memory": 64 << 20, "qemu-arguments": ["-device", "x"] }),
                ))
            },
            "-device x is not allowed",
        ),
    ] {
        let error = decide(&[judge(answer)], machine(json!({}))).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused, "{error}");
        assert!(error.message.contains(expected), "{error}");
    }
    let monitored = Judge { mode: Mode::Monitor, ..judge(halve) };
    let admitted = decide(&[monitored], machine(json!({}))).unwrap();
    assert_eq!(admitted.spec.memory.get(), 64 << 20, "a monitored policy changes nothing");
}

#[test]
fn the_hosts_own_rules_come_last() {
    for (more, allowed) in [
        (json!({ "qemu-arguments": ["-fw_cfg", "name=opt/x,string=y"] }), true),
        (json!({ "qemu-arguments": ["-fw_cfg", "-device"] }), false),
        (json!({ "qemu-arguments": ["disk.img"] }), false),
        (json!({ "interfaces": [{ "forwards": [{ "host-port": 80, "guest-port": 80 }] }] }), true),
        (
            json!({ "interfaces": [{ "forwards": [{ "address": "::1", "host-port": 80, "guest-port": 80 }] }] }),
            true,
        ),
        (
            json!({ "interfaces": [{ "forwards": [{ "address": "0.0.0.0", "host-port": 80, "guest-port": 80 }] }] }),
            false,
        ),
    ] {
        assert_eq!(decide(&[], machine(more.clone())).is_ok(), allowed, "{more}");
    }
}

#[test]
fn changes_are_told_by_path_and_bounded() {
    let before = json!({ "a": { "b": [1, 2] }, "c": 1 });
    let after = json!({ "a": { "b": [1, 3, 4] }, "d": "x" });
    assert_eq!(
        changes(&before, &after),
        ["a.b[1]: 2 -> 3", "a.b[2]: none -> 4", "c: 1 -> none", "d: none -> \"x\""]
    );
    let many: serde_json::Map<String, Value> =
        (0..40).map(|index| (format!("k{index:02}"), json!(index))).collect();
    let told = changes(&json!({}), &Value::Object(many));
    assert_eq!(told.len(), SHOWN_CHANGES + 1);
    assert_eq!(told.last().map(String::as_str), Some("and 24 more"));
}
