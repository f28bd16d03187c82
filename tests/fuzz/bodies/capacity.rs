//! Any text as settings and review.

use policy_capacity::judge::evaluate;
use policy_capacity::settings::Settings;
use witvirt_sdk::core::policy::Verdict;

/// What must hold: nothing panics, and a denial says something.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split('\0');
    let mut next = || parts.next().unwrap_or_default();
    let (settings, operation, object, host) = (next(), next(), next(), next());
    let Ok(settings) = Settings::parse(settings) else { return };
    let Ok(decision) = evaluate(&settings, operation, object, host) else { return };
    if let Verdict::Deny(text) = decision.verdict {
        assert!(!text.is_empty());
    }
}

/// A review with every kind of bound.
pub fn seeds() -> Vec<Vec<u8>> {
    let settings = "{\"machines\":3,\"vcpus\":{\"total\":9,\"overcommit\":1.5,\"per-machine\":8},\"memory\":{\"total\":\"8GiB\",\
                    \"share\":0.5,\"reserve\":1024,\"per-machine\":\"4 GiB\"},\"os\":{\"macos\":{\"machines\":2,\"vcpus\":4,\
                    \"memory\":\"2GiB\"}},\"require-os\":true}";
    let machine = "{\"name\":\"a\",\"os\":\"macos\",\"cpu\":{\"count\":2},\"memory\":\"1GiB\"}";
    let host = "{\"cpus\":8,\"memory-bytes\":17179869184,\"os\":\"linux\",\"machines\":[{\"name\":\"b\",\"state\":\"running\",\
                \"vcpus\":2,\"memory-bytes\":1073741824,\"os\":\"macos\"}]}";
    ["create", "start"].map(|operation| [settings, operation, machine, host].join("\0").into_bytes()).to_vec()
}
