//! Manifests as tart pushes them.
#![allow(missing_docs)]

use artifact_tart::{LAYOUT, Tart};
use serde_json::{Value, json};
use witvirt_disk::Limits;
use witvirt_disk::artifact::{check_plan, descriptors};
use witvirt_sdk::ErrorKind;
use witvirt_sdk::artifact::{Digest, DiskContent, Manifest, Plan, ReadOptions, Reader};

const CHUNK: u64 = 512 << 20;

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

fn options() -> ReadOptions {
    ReadOptions { layout: LAYOUT.to_owned(), member: None }
}

fn layer(kind: &str, number: u8, annotations: Value) -> Value {
    let media_type = format!("application/vnd.cirruslabs.tart.{kind}");
    json!({ "mediaType": media_type, "digest": digest(number), "size": 1000, "annotations": annotations })
}

fn chunk(number: u8, size: u64) -> Value {
    layer(
        "disk.v2",
        number,
        json!({
            "org.cirruslabs.tart.uncompressed-size": size.to_string(),
            "org.cirruslabs.tart.uncompressed-content-digest": digest(number + 100),
        }),
    )
}

fn manifest(layers: Vec<Value>, disk_size: Option<u64>) -> Manifest {
    let config = json!({
        "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(0xc0), "size": 100,
    });
    let mut text = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    if let Some(size) = disk_size {
        text["annotations"] = json!({ "org.cirruslabs.tart.uncompressed-disk-size": size.to_string() });
    }
    Manifest { media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(), text: text.to_string() }
}

fn with(disk: Vec<Value>, disk_size: Option<u64>) -> Manifest {
    let mut layers = vec![layer("config.v1", 1, Value::Null)];
    layers.extend(disk);
    layers.push(layer("nvram.v1", 2, Value::Null));
    manifest(layers, disk_size)
}

fn config() -> Value {
    json!({
        "version": 1, "os": "darwin", "arch": "arm64", "ecid": "YQ==", "hardwareModel": "YWI=",
        "cpuCountMin": 4, "cpuCount": 6, "memorySizeMin": 4294967296u64, "memorySize": 8589934592u64,
        "macAddress": "5a:94:ef:e4:0c:ee", "display": { "width": 1024, "height": 768 }, "unknown": [],
    })
}

fn interpret(manifest: &Manifest, config: &Value, image: &Value) -> Result<Plan, (ErrorKind, String)> {
    let blobs =
        [(digest(1), config.to_string().into_bytes()), (digest(0xc0), image.to_string().into_bytes())];
    let plan = Tart::interpret(manifest, &blobs, &options()).map_err(|error| (error.kind, error.message))?;
    Ok(check_plan(plan, &descriptors(manifest).unwrap(), &Limits::default()).unwrap())
}

#[test]
fn chunks_follow_one_another() {
    let manifest = with(vec![chunk(3, CHUNK), chunk(4, CHUNK), chunk(3, 1000)], Some(2 * CHUNK + 1000));
    assert_eq!(Tart::probe(&manifest).unwrap().version.as_deref(), Some("disk.v2"));
    assert_eq!(Tart::needs(&manifest, &options()).unwrap(), [digest(1), digest(0xc0)]);
    let plan = interpret(&manifest, &config(), &json!({})).unwrap();
    let DiskContent::Chunks { size, chunks } = &plan.disks[0].content else { panic!("whole") };
    assert_eq!(*size, 2 * CHUNK + 1000);
    let seen: Vec<_> = chunks.iter().map(|chunk| (chunk.offset, chunk.content.digest)).collect();
    let digests = [Some(digest(103)), Some(digest(104)), Some(digest(103))];
    assert_eq!(seen, [(0, digests[0]), (CHUNK, digests[1]), (2 * CHUNK, digests[2])]);
    assert!(chunks.iter().all(|chunk| chunk.content.encoding == "lz4-apple"));
    let roles: Vec<&str> = plan.files.iter().map(|file| file.role.as_str()).collect();
    assert_eq!((roles, plan.disks[0].format.as_deref()), (vec!["config", "nvram"], Some("raw")));
    let facts = [
        ("os", "darwin"),
        ("architecture", "arm64"),
        ("cpus", "6"),
        ("cpus-min", "4"),
        ("memory-bytes", "8589934592"),
        ("memory-bytes-min", "4294967296"),
        ("mac-address", "5a:94:ef:e4:0c:ee"),
        ("machine-id", "YQ=="),
        ("hardware-model", "YWI="),
        ("display", "1024x768"),
    ];
    assert_eq!(plan.facts, facts.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn the_disk_format_is_a_label_or_in_the_config() {
    let manifest = with(vec![chunk(3, CHUNK)], None);
    let format =
        |config: Value, image: Value| interpret(&manifest, &config, &image).unwrap().disks[0].format.clone();
    let label = json!({ "config": { "Labels": { "org.cirruslabs.tart.disk.format": "asif" } } });
    assert_eq!(format(json!({}), label.clone()).as_deref(), Some("asif"));
    assert_eq!(format(json!({ "diskFormat": "asif" }), json!({})).as_deref(), Some("asif"));
    assert_eq!(format(json!({ "diskFormat": "raw" }), label).as_deref(), Some("asif"));
    assert_eq!(format(json!({}), json!([])).as_deref(), Some("raw"));
}

#[test]
fn the_first_version_is_one_stream_over_all_layers() {
    let layers = vec![layer("disk.v1", 5, Value::Null), layer("disk.v1", 6, Value::Null)];
    let manifest = with(layers, Some(CHUNK));
    assert_eq!(Tart::probe(&manifest).unwrap().version.as_deref(), Some("disk.v1"));
    let plan = interpret(&manifest, &config(), &json!({})).unwrap();
    let DiskContent::Whole(places) = &plan.disks[0].content else { panic!("chunks") };
    assert_eq!((places[0].blobs.as_slice(), places[0].length), (&[digest(5), digest(6)][..], Some(CHUNK)));
}

#[test]
fn artifacts_that_contradict_themselves() {
    let refused = |manifest: Manifest| interpret(&manifest, &config(), &json!({})).unwrap_err();
    let (kind, text) = refused(with(vec![chunk(3, CHUNK)], Some(CHUNK + 1)));
    assert_eq!(kind, ErrorKind::Corrupt);
    assert!(text.contains("has 536870913 bytes, but its layers have 536870912"), "{text}");
    assert!(refused(with(vec![layer("disk.v2", 3, Value::Null)], None)).1.contains("uncompressed-size"));
    assert!(refused(with(vec![chunk(3, 0)], None)).1.contains("says 0"));
    assert!(refused(with(vec![chunk(3, u64::MAX), chunk(4, 1)], None)).1.contains("exceed 2^64"));
    assert!(refused(with(Vec::new(), None)).1.contains("no disk"));
    let both = vec![chunk(3, CHUNK), layer("disk.v1", 4, Value::Null)];
    assert!(refused(with(both, None)).1.contains("two versions"));
    let overlay = vec![chunk(3, CHUNK), layer("disk.asif.overlay.v1", 4, Value::Null)];
    assert_eq!(refused(with(overlay, None)).0, ErrorKind::Unsupported);
    assert!(refused(manifest(vec![chunk(3, CHUNK)], None)).1.contains("no layer of"));
    let nvram = vec![chunk(3, CHUNK), layer("nvram.v1", 4, Value::Null)];
    assert!(
        refused(with(nvram, None)).1.contains("several layers of application/vnd.cirruslabs.tart.nvram.v1")
    );
    let (kind, _) = interpret(&with(vec![chunk(3, CHUNK)], None), &json!(7), &json!({})).unwrap_err();
    assert_eq!(kind, ErrorKind::Corrupt);
}
