//! The published example of the format, and artifacts that this plugin makes.
#![allow(missing_docs)]

use artifact_macosvz::{LAYOUT, MacosVz};
use serde_json::{Value, json};
use witvirt_disk::Limits;
use witvirt_disk::artifact::{check_documents, check_manifest, check_packings, check_plan, descriptors};
use witvirt_sdk::ErrorKind;
use witvirt_sdk::artifact::{
    Digest, DiskContent, Manifest, Packed, Plan, PublishRequest, Publisher, ReadOptions, Reader, Stored,
};

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

fn options() -> ReadOptions {
    ReadOptions { layout: LAYOUT.to_owned(), member: None }
}

fn manifest(layers: &[Value]) -> Manifest {
    let text = json!({ "schemaVersion": 2, "layers": layers }).to_string();
    Manifest { media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(), text }
}

fn layer(kind: &str, number: u8, annotations: Value) -> Value {
    let media_type = format!("application/vnd.agoda.macosvz.{kind}");
    json!({ "mediaType": media_type, "digest": digest(number), "size": 100, "annotations": annotations })
}

fn refused(layers: &[Value]) -> (ErrorKind, String) {
    let error = MacosVz::interpret(&manifest(layers), &[], &options()).unwrap_err();
    (error.kind, error.message)
}

fn whole(content: &DiskContent) -> &Stored {
    let DiskContent::Whole(places) = content else { panic!("chunks") };
    assert_eq!(places.len(), 1);
    &places[0]
}

fn checked(plan: Plan, manifest: &Manifest) -> Plan {
    check_plan(plan, &descriptors(manifest).unwrap(), &Limits::default()).unwrap()
}

/// `reference` data of the format's authors, where it is.
fn example(name: &str) -> Option<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/kubelet");
    let file = root.join("macos-vz-kubelet/example").join(name);
    let text = std::fs::read_to_string(&file);
    if text.is_err() {
        eprintln!("skipped: {} is not here", file.display());
    }
    text.ok()
}

#[test]
fn the_published_example() {
    let (Some(text), Some(config)) = (example("oci_manifest.json"), example("config.json")) else { return };
    let manifest = Manifest { media_type: String::new(), text };
    assert_eq!(MacosVz::probe(&manifest).unwrap().confidence, 100);
    let needs = MacosVz::needs(&manifest, &options()).unwrap();
    assert_eq!(needs.len(), 1);
    let plan = MacosVz::interpret(&manifest, &[(needs[0], config.into_bytes())], &options()).unwrap();
    let plan = checked(plan, &manifest);
    let disk = whole(&plan.disks[0].content);
    assert_eq!(
        (disk.encoding.as_str(), disk.length, disk.digest.unwrap().short().as_str()),
        ("gzip", Some(137_438_953_472), "8989efbfa94a")
    );
    assert_eq!((plan.disks[0].name.as_str(), plan.disks[0].format.as_deref()), ("disk.img", Some("raw")));
    let files: Vec<_> =
        plan.files.iter().map(|file| (file.role.as_str(), file.name.as_str(), file.content.length)).collect();
    let expected = [("aux-image", "aux.img", Some(33_570_816)), ("config", "config.json", Some(562))];
    assert_eq!(files, expected);
    let names: Vec<&str> = plan.facts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["os", "hardware-model", "machine-id", "architecture"]);
}

#[test]
fn a_layer_is_gzip_when_both_annotations_are_there() {
    let size = "com.agoda.macosvz.content.uncompressed-size";
    let sum = "com.agoda.macosvz.content.uncompressed-digest";
    let encoding = |annotations: Value| {
        let manifest = manifest(&[layer("disk.image.v1", 1, annotations)]);
        let plan = checked(MacosVz::interpret(&manifest, &[], &options()).unwrap(), &manifest);
        whole(&plan.disks[0].content).encoding.clone()
    };
    assert_eq!(encoding(json!({ size: "4096", sum: digest(9) })), "gzip");
    assert_eq!(encoding(json!({ size: "4096" })), "");
    assert_eq!(encoding(json!({ sum: digest(9) })), "");
    assert_eq!(encoding(Value::Null), "");
    for bad in [json!({ size: "-1", sum: digest(9) }), json!({ size: "1", sum: "md5:0" })] {
        assert_eq!(refused(&[layer("disk.image.v1", 1, bad)]).0, ErrorKind::Corrupt);
    }
}

#[test]
fn artifacts_that_contradict_themselves() {
    let disk = layer("disk.image.v1", 1, Value::Null);
    assert!(refused(&[]).1.contains("no layer of application/vnd.agoda.macosvz.disk.image.v1"));
    assert!(refused(&[disk.clone(), disk.clone()]).1.contains("several layers"));
    let strange = layer("firmware.v1", 2, json!({ "org.opencontainers.image.title": "fw.bin" }));
    assert_eq!(refused(&[disk.clone(), strange]).0, ErrorKind::Unsupported);
    let untitled = manifest(&[disk, layer("firmware.v1", 2, Value::Null)]);
    assert!(MacosVz::interpret(&untitled, &[], &options()).is_ok(), "an untitled layer is not looked at");
    assert_eq!(
        MacosVz::probe(&manifest(&[json!({ "mediaType": "a/b", "digest": digest(1), "size": 1 })])),
        None
    );
}

fn request() -> PublishRequest {
    PublishRequest {
        layout: LAYOUT.to_owned(),
        format: None,
        virtual_size: 4096,
        architecture: "arm64".to_owned(),
        os: "darwin".to_owned(),
        created: "2026-11-21T12:00:00Z".to_owned(),
        inputs: vec![("disk".to_owned(), 4096), ("aux-image".to_owned(), 512)],
        options: json!({ "hardware-model": "YQ==", "machine-id": "YWI=" }),
    }
}

fn packed(id: &str, number: u8, size: u64) -> Packed {
    Packed {
        id: id.to_owned(),
        digest: digest(number),
        size,
        content_digest: digest(number + 100),
        content_size: 3 * size,
    }
}

#[test]
fn what_is_made_is_read_back() {
    let request = request();
    let packings = MacosVz::prepare(&request).unwrap();
    check_packings(&request, &packings).unwrap();
    let mut blobs = vec![packed("disk.img", 1, 1000), packed("aux.img", 2, 50)];
    let documents = MacosVz::documents(&request, &blobs).unwrap();
    check_documents(&packings, &documents).unwrap();
    for (number, document) in documents.iter().enumerate() {
        blobs.push(packed(&document.id, number as u8 + 3, document.content.len() as u64));
    }
    let manifest = MacosVz::compose(&request, &blobs).unwrap();
    check_manifest(&manifest, &blobs).unwrap();

    let needs = MacosVz::needs(&manifest, &options()).unwrap();
    assert_eq!(needs, [digest(3)]);
    let config = documents[0].content.clone();
    let plan = MacosVz::interpret(&manifest, &[(needs[0], config)], &options()).unwrap();
    let plan = checked(plan, &manifest);
    let disk = whole(&plan.disks[0].content);
    assert_eq!((disk.length, disk.digest), (Some(3000), Some(digest(101))));
    assert_eq!(plan.files.len(), 2);
    let facts =
        [("os", "darwin"), ("hardware-model", "YQ=="), ("machine-id", "YWI="), ("architecture", "arm64")];
    assert_eq!(plan.facts, facts.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let value: Value = serde_json::from_str(&manifest.text).unwrap();
    assert_eq!(value["artifactType"], "application/vnd.agoda.macosvz.artifact");
    assert_eq!(documents[1].content, b"{}");
}

#[test]
fn orders_that_make_no_sense() {
    let kind = |request: PublishRequest| MacosVz::prepare(&request).unwrap_err().kind;
    assert_eq!(
        kind(PublishRequest { format: Some("qcow2".to_owned()), ..request() }),
        ErrorKind::Unsupported
    );
    assert_eq!(kind(PublishRequest { options: json!({}), ..request() }), ErrorKind::InvalidInput);
    let inputs = vec![("disk".to_owned(), 1), ("nvram".to_owned(), 1)];
    assert_eq!(kind(PublishRequest { inputs, ..request() }), ErrorKind::Unsupported);
    for bad in [json!({ "compression": "zstd" }), json!({ "machine-id": "?" }), json!({ "colour": 1 })] {
        assert_eq!(kind(PublishRequest { options: bad, ..request() }), ErrorKind::InvalidInput);
    }
    let linux = PublishRequest { os: "linux".to_owned(), options: json!({}), ..request() };
    assert!(MacosVz::prepare(&linux).is_ok(), "only macOS needs the hardware model");
}
