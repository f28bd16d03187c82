//! Artifact layouts, those that misbehave among them. After each of them the same engine serves a healthy plugin.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use support::{Bench, built, entry_of};
use witvirt_core::artifact::{ArtifactLayout, DiskContent, Manifest, Packed, Plan, PublishRequest, Stored};
use witvirt_core::plugin::{Limits, PluginEntry, PluginKind};
use witvirt_core::{Digest, ErrorKind, PluginError};
use witvirt_engine::{Plugin, inspect};

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

fn manifest() -> Manifest {
    let layer = json!({ "mediaType": "x/y", "digest": digest(1), "size": 100 });
    Manifest {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        text: json!({ "schemaVersion": 2, "layers": [layer] }).to_string(),
    }
}

fn entry(name: &str) -> PluginEntry {
    entry_of(built(name), PluginKind::ArtifactLayout)
}

fn hostile(behaviour: &str) -> PluginEntry {
    let limits = Limits { deadline: Duration::from_millis(500), ..Limits::default() };
    PluginEntry { settings: json!({ "behaviour": behaviour }), limits, ..entry("hostile-artifact") }
}

fn layout(bench: &Bench, entry: &PluginEntry) -> Arc<dyn ArtifactLayout> {
    match bench.load(entry).unwrap_or_else(|error| panic!("{}", support::chain(&error))).plugin {
        Plugin::Artifact(layout) => layout,
        _ => panic!("{} is no artifact layout", entry.name),
    }
}

fn interpret(bench: &Bench, behaviour: &str) -> Result<Plan, PluginError> {
    layout(bench, &hostile(behaviour)).interpret(&manifest(), &[], &json!({ "layout": "hostile" }))
}

/// What the plan of a misbehaving plugin fails with.
fn broken(behaviour: &str) -> PluginError {
    let bench = Bench::new();
    let error = interpret(&bench, behaviour).unwrap_err();
    assert!(error.to_string().starts_with("plugin hostile-artifact 6.6.6: "), "{error}");
    assert!(interpret(&bench, "").is_ok(), "the same plugin serves another call");
    bench.assert_healthy();
    error
}

#[test]
fn a_plan_arrives_as_it_was_made() {
    let bench = Bench::new();
    let plan = interpret(&bench, "").unwrap();
    assert_eq!(plan.disks[0].name, "disk\\n", "what is shown is escaped");
    assert_eq!(plan.facts, [("options\\n".to_owned(), "{\"layout\":\"hostile\"}".to_owned())]);
    let stored =
        Stored { blobs: vec![digest(1)], encoding: String::new(), member: None, length: None, digest: None };
    assert_eq!(plan.disks[0].content, DiskContent::Whole(vec![stored]));
    let claim = layout(&bench, &hostile("")).probe(&manifest()).unwrap().unwrap();
    assert_eq!((claim.layout.as_str(), claim.version.as_deref()), ("hostile", Some("v\\u{1b}[2J")));
}

#[test]
fn endless_loops() {
    let error = broken("loop-in-plan");
    assert_eq!(error.kind, ErrorKind::Limit);
    assert_eq!(error.message, "did not answer within 500 ms; a higher limits.deadline gives it more time");
    let bench = Bench::new();
    let error = layout(&bench, &hostile("loop")).probe(&manifest()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit);
    bench.assert_healthy();
}

#[test]
fn a_panic_and_an_error() {
    let error = broken("panic");
    assert_eq!(error.kind, ErrorKind::Plugin);
    assert!(error.message.ends_with(" layer 7 makes no sense"), "{error}");
    let error = broken("error");
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Unsupported, "not today\\u{7}"));
}

#[test]
fn answers_over_the_bounds_of_the_contract() {
    for (behaviour, text) in [
        ("many-disks", "answered with 17 disks, at most 16 are taken"),
        ("many-files", "answered with 65 files, at most 64 are taken"),
        ("many-facts", "answered with 65 facts, at most 64 are taken"),
        ("many-places", "answered with 257 places of one disk, at most 256 are taken"),
        ("many-blobs", "answered with 16385 blobs, at most 16384 are taken"),
        ("long-encoding", "answered with 65 bytes of an encoding's name, at most 64 are taken"),
        ("long-member", "answered with 4097 bytes of a member's path, at most 4096 are taken"),
    ] {
        let error = broken(behaviour);
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Plugin, text), "{behaviour}");
    }
}

#[test]
fn lies_are_handed_on_unchanged_for_the_validator() {
    let bench = Bench::new();
    let plan = interpret(&bench, "lying-digest").unwrap();
    let DiskContent::Whole(places) = &plan.disks[0].content else { panic!("no whole file") };
    assert_eq!(places[0].blobs, [digest(0x5e)]);
    let plan = interpret(&bench, "overlap").unwrap();
    let DiskContent::Chunks { chunks, size } = &plan.disks[0].content else { panic!("no chunks") };
    assert_eq!((chunks.len(), chunks[1].offset, *size), (2, 9, 100));
}

#[test]
fn probes_and_needs_that_make_no_sense() {
    let bench = Bench::new();
    let probe = |behaviour| layout(&bench, &hostile(behaviour)).probe(&manifest()).unwrap_err().message;
    assert!(probe("bad-confidence").contains("confidence 101"));
    assert!(probe("foreign-layout").contains("\"containerdisk\", which it does not read"));
    let needs = |behaviour| layout(&bench, &hostile(behaviour)).needs(&manifest(), &json!({}));
    assert_eq!(needs("").unwrap(), []);
    assert_eq!(needs("foreign-need").unwrap(), [digest(0x5e)]);
    assert!(needs("many-needs").unwrap_err().message.contains("17 blobs that it needs"));
    assert!(needs("bad-digest").unwrap_err().message.contains("\"sha256:\\u{1b}[2J\", sha256:<64 digits>"));
    assert!(needs("other-digest").unwrap_err().message.contains("sha512:"));
    let error = bench.load(&hostile("no-layouts")).err().unwrap();
    assert!(error.to_string().contains("names 0 layouts, 1 to 64 are expected"), "{error}");
    let long = Manifest { text: " ".repeat((4 << 20) + 1), ..manifest() };
    let error = layout(&bench, &hostile("")).probe(&long).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit);
}

fn request() -> PublishRequest {
    PublishRequest {
        layout: "gzip".to_owned(),
        format: None,
        virtual_size: 1 << 20,
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        created: "2026-01-02T03:04:05Z".to_owned(),
        inputs: vec![("disk".to_owned(), 1 << 20)],
        options: json!({}),
    }
}

#[test]
fn publishers_are_held_to_the_contract() {
    let bench = Bench::new();
    let publisher = |behaviour| layout(&bench, &hostile(behaviour));
    let packed = Packed {
        id: "disk".to_owned(),
        digest: digest(7),
        size: 1,
        content_digest: digest(8),
        content_size: 2,
    };
    let healthy = publisher("");
    assert!(healthy.publishes());
    assert_eq!(healthy.prepare(&request()).unwrap()[0].compression, "gzip");
    assert_eq!(healthy.documents(&request(), &[]).unwrap()[0].content, b"  ");
    let composed = healthy.compose(&request(), std::slice::from_ref(&packed)).unwrap();
    assert_eq!(composed.text, format!("2026-01-02T03:04:05Z{}", digest(7)));

    let refused = |behaviour, text: &str| {
        let publisher = publisher(behaviour);
        let results = [
            publisher.prepare(&request()).err(),
            publisher.documents(&request(), &[]).err(),
            publisher.compose(&request(), &[]).err(),
        ];
        let errors: Vec<String> = results.into_iter().flatten().map(|error| error.message).collect();
        assert_eq!(errors.len(), 1, "{behaviour}: {errors:?}");
        assert!(errors[0].contains(text), "{behaviour}: {errors:?}");
    };
    refused("many-packings", "65 blobs to make");
    refused("long-path", "101 bytes of a path in a tar");
    refused("many-documents", "17 documents");
    refused("large-document", "1048577 bytes of a document");
    refused("large-manifest", "4194325 bytes of manifest");
}

#[test]
fn the_plugins_of_this_repository_load() {
    let bench = Bench::new();
    for (name, publishes) in [
        ("artifact-containerdisk", true),
        ("artifact-macosvz", true),
        ("artifact-tart", false),
        ("artifact-oras", false),
    ] {
        let inspection = inspect(&std::fs::read(built(name)).unwrap()).unwrap();
        assert_eq!(inspection.kind, Some(PluginKind::ArtifactLayout), "{name}");
        let loaded = bench.load(&entry(name)).unwrap_or_else(|error| panic!("{}", support::chain(&error)));
        assert_eq!(loaded.report.writes, publishes, "{name}");
        let world = if publishes { "artifact-layout-publisher" } else { "artifact-layout" };
        assert_eq!(loaded.report.world, format!("witvirt:artifact/{world}@0.1.0"));
        assert_eq!(loaded.report.layouts, [name.strip_prefix("artifact-").unwrap()]);
    }
    let error = layout(&bench, &entry("artifact-tart")).prepare(&request()).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Unsupported, "reads tart but does not make new artifacts")
    );
    let wrong = entry_of(built("artifact-tart"), PluginKind::DiskFormat);
    let error = bench.load(&wrong).err().unwrap();
    assert!(error.to_string().contains("write kind = \"artifact-layout\""), "{error}");
}
