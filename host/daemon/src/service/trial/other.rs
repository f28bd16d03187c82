//! Formats, artifact layouts and policies: that they answer what makes no sense, and answer the same twice.

use serde_json::json;
use witvirt_core::artifact::{ArtifactLayout, Manifest};
use witvirt_core::format::Format;
use witvirt_core::policy::{Policy, Review};

use super::Check;

/// Bytes that a format sees of the beginning and the end of a file (`witvirt:disk/format.probe`).
const HEAD: usize = 64 << 10;
const TAIL: usize = 4 << 10;

pub(super) fn format(plugin: &dyn Format) -> Vec<Check> {
    let inputs = [("nothing", Vec::new()), ("zeros", vec![0; HEAD]), ("noise", noise(HEAD))];
    let mut checks = Vec::new();
    for (what, head) in inputs {
        let tail = &head[head.len().saturating_sub(TAIL)..];
        let size = head.len() as u64;
        let (first, second) = (plugin.probe(&head, tail, size), plugin.probe(&head, tail, size));
        let name = format!("probe {what}");
        checks.push(match first == second {
            true => Check::survives(name, &first),
            false => Check::fail(name, "two calls answered differently"),
        });
    }
    checks
}

/// Bytes without a pattern, the same each time (the generator of Marsaglia, "Xorshift RNGs", 2003).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| next()).take(len).collect()
}

pub(super) fn artifact(plugin: &dyn ArtifactLayout) -> Vec<Check> {
    let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
    let manifest = Manifest { media_type, text: "{}".to_owned() };
    let (first, second) = (plugin.probe(&manifest), plugin.probe(&manifest));
    let name = "probe an empty manifest";
    vec![match first == second {
        true => Check::survives(name, &first),
        false => Check::fail(name, "two calls answered differently"),
    }]
}

pub(super) fn policy(plugin: &dyn Policy) -> Vec<Check> {
    let review = |object| Review {
        id: "trial-1".to_owned(),
        operation: "create".to_owned(),
        subject: "uid:0".to_owned(),
        object,
        old_object: None,
        host: json!({ "cpus": 4, "memory-bytes": 8_u64 << 30, "os": "linux", "machines": [] }),
        time_ms: 0,
        dry_run: true,
    };
    let machine = review(json!({ "name": "sample", "memory": 1_u64 << 30, "cpu": { "count": 2 } }));
    let (first, second) = (plugin.evaluate(&machine), plugin.evaluate(&machine));
    let same = "judge a machine: the same twice";
    let same = match (&first, &second) {
        (Ok(first), Ok(second)) if first == second => Check::pass(same),
        (Err(error), _) | (_, Err(error)) => Check::fail(same, error.to_string()),
        _ => Check::fail(same, "two calls answered differently"),
    };
    let nonsense = plugin.evaluate(&review(json!([])));
    vec![same, Check::survives("judge what is no machine", &nonsense)]
}
