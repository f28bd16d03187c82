//! Container images as registries serve them, and those that this plugin makes.
#![allow(missing_docs)]

use artifact_containerdisk::{ContainerDisk, LAYOUT};
use serde_json::{Value, json};
use witvirt_disk::Limits;
use witvirt_disk::artifact::{check_documents, check_manifest, check_packings, check_plan, descriptors};
use witvirt_sdk::ErrorKind;
use witvirt_sdk::artifact::{
    Digest, DiskContent, Manifest, Packed, Plan, PublishRequest, Publisher, ReadOptions, Reader,
};

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

fn layers(media_types: &[&str]) -> Value {
    let layer = |(index, media): (usize, &&str)| json!({ "mediaType": media, "digest": digest(index as u8 + 1), "size": 10 });
    media_types.iter().enumerate().map(layer).collect()
}

fn manifest(config: &str, media_types: &[&str]) -> Manifest {
    let config = json!({ "mediaType": config, "digest": digest(0xc0), "size": 2 });
    let text = json!({ "schemaVersion": 2, "config": config, "layers": layers(media_types) }).to_string();
    Manifest { media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(), text }
}

fn options(member: Option<&str>) -> ReadOptions {
    ReadOptions { layout: LAYOUT.to_owned(), member: member.map(str::to_owned) }
}

const DOCKER: &str = "application/vnd.docker.container.image.v1+json";
const OCI: &str = "application/vnd.oci.image.config.v1+json";

fn interpret(manifest: &Manifest, config: Value, member: Option<&str>) -> Plan {
    let blobs = [(digest(0xc0), config.to_string().into_bytes())];
    let plan = ContainerDisk::interpret(manifest, &blobs, &options(member)).unwrap();
    check_plan(plan, &descriptors(manifest).unwrap(), &Limits::default()).unwrap()
}

#[test]
fn layers_are_searched_from_the_top() {
    let docker = manifest(
        DOCKER,
        &[
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.diff.tar.zstd",
        ],
    );
    let plan = interpret(&docker, json!({}), None);
    let DiskContent::Whole(places) = &plan.disks[0].content else { panic!("chunks") };
    let seen: Vec<_> = places
        .iter()
        .map(|place| (place.blobs[0], place.encoding.as_str(), place.member.as_deref().unwrap()))
        .collect();
    let expected =
        [(digest(3), "tar+zstd", "disk/"), (digest(2), "tar", "disk/"), (digest(1), "tar+gzip", "disk/")];
    assert_eq!(seen, expected);
    assert_eq!(plan.disks[0].format, None, "KubeVirt takes qcow2 and raw: the host probes");
}

#[test]
fn a_path_as_in_the_containerdisk_of_a_machine() {
    let oci = manifest(OCI, &["application/vnd.oci.image.layer.v1.tar+gzip"]);
    let member = |path: &str| {
        let plan = interpret(&oci, json!({}), Some(path));
        let DiskContent::Whole(places) = &plan.disks[0].content else { panic!("chunks") };
        places[0].member.clone().unwrap()
    };
    assert_eq!(member("/images/a.qcow2"), "images/a.qcow2");
    assert_eq!(member("boot/"), "boot/");
    for bad in ["", "/", "../etc/shadow", "/disk/../../x"] {
        let error = ContainerDisk::interpret(&oci, &[], &options(Some(bad))).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput, "{bad}");
    }
}

#[test]
fn facts_of_the_config() {
    let oci = manifest(OCI, &["application/vnd.oci.image.layer.v1.tar"]);
    assert_eq!(ContainerDisk::needs(&oci, &options(None)).unwrap(), [digest(0xc0)]);
    let config = json!({ "os": "linux", "architecture": "s390x", "config": {
        "Env": ["PATH=/", "INSTANCETYPE_KUBEVIRT_IO_DEFAULT_INSTANCETYPE=u1.small", "INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE=fedora"],
        "Labels": { "a": "b", "os.kubevirt.io/version": "40" },
    } });
    let facts = interpret(&oci, config, None).facts;
    let expected = [
        ("os", "linux"),
        ("architecture", "s390x"),
        ("instancetype.kubevirt.io/default-instancetype", "u1.small"),
        ("instancetype.kubevirt.io/default-preference", "fedora"),
        ("os.kubevirt.io/version", "40"),
    ];
    assert_eq!(facts, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let broken = ContainerDisk::interpret(&oci, &[(digest(0xc0), b"7".to_vec())], &options(None));
    assert_eq!(broken.unwrap_err().kind, ErrorKind::Corrupt);
}

#[test]
fn what_is_no_container_image() {
    let probe = |config: &str, media_types: &[&str]| ContainerDisk::probe(&manifest(config, media_types));
    assert_eq!(probe(OCI, &["application/vnd.oci.image.layer.v1.tar+gzip"]).unwrap().confidence, 50);
    assert_eq!(probe(OCI, &[]), None);
    assert_eq!(probe(OCI, &["application/vnd.cirruslabs.tart.disk.v2"]), None);
    assert_eq!(probe(OCI, &["application/vnd.oci.image.layer.v1.tar+xz"]), None);
    assert_eq!(probe("application/vnd.oci.empty.v1+json", &["application/vnd.oci.image.layer.v1.tar"]), None);
    let none = ContainerDisk::interpret(&manifest(OCI, &["application/octet-stream"]), &[], &options(None));
    assert_eq!(none.unwrap_err().kind, ErrorKind::Unsupported);
}

fn request() -> PublishRequest {
    PublishRequest {
        layout: LAYOUT.to_owned(),
        format: None,
        virtual_size: 1 << 30,
        architecture: "arm64".to_owned(),
        os: "linux".to_owned(),
        created: "2026-11-21T12:00:00Z".to_owned(),
        inputs: vec![("disk".to_owned(), 1 << 30)],
        options: json!({}),
    }
}

fn packed(id: &str, number: u8, size: u64) -> Packed {
    Packed {
        id: id.to_owned(),
        digest: digest(number),
        size,
        content_digest: digest(number + 1),
        content_size: 2 * size,
    }
}

/// Every step, held against the rules of the host; the manifest, and the config.
fn publish(request: &PublishRequest) -> (Manifest, Value) {
    let packings = ContainerDisk::prepare(request).unwrap();
    check_packings(request, &packings).unwrap();
    let layer = packed("layer", 1, 1000);
    let documents = ContainerDisk::documents(request, std::slice::from_ref(&layer)).unwrap();
    check_documents(&packings, &documents).unwrap();
    let blobs = [layer, packed("config", 7, documents[0].content.len() as u64)];
    let manifest = ContainerDisk::compose(request, &blobs).unwrap();
    check_manifest(&manifest, &blobs).unwrap();
    (manifest, serde_json::from_slice(&documents[0].content).unwrap())
}

#[test]
fn an_image_that_kubevirt_reads() {
    let packing = &ContainerDisk::prepare(&request()).unwrap()[0];
    let member = packing.member.as_ref().unwrap();
    assert_eq!((member.path.as_str(), member.uid, member.gid), ("disk/disk.qcow2", 107, 107));
    assert_eq!((packing.format.as_deref(), packing.compression.as_str()), (Some("qcow2"), "gzip"));

    let (manifest, config) = publish(&request());
    assert_eq!(config["rootfs"]["diff_ids"][0], digest(2).to_string(), "of the tar, not of what is uploaded");
    assert_eq!((&config["architecture"], &config["os"]), (&json!("arm64"), &json!("linux")));
    assert_eq!(ContainerDisk::probe(&manifest).unwrap().layout, LAYOUT);
    let plan = ContainerDisk::interpret(&manifest, &[], &options(None)).unwrap();
    let DiskContent::Whole(places) = &plan.disks[0].content else { panic!("chunks") };
    assert_eq!((places[0].encoding.as_str(), places[0].blobs[0]), ("tar+gzip", digest(1)));
}

#[test]
fn choices_of_the_user() {
    let with = |format: Option<&str>, options: Value| PublishRequest {
        format: format.map(str::to_owned),
        options,
        ..request()
    };
    let raw = with(Some("raw"), json!({ "compression": "zstd", "labels": { "a": "b" } }));
    assert_eq!(ContainerDisk::prepare(&raw).unwrap()[0].member.as_ref().unwrap().path, "disk/disk.img");
    let (manifest, config) = publish(&raw);
    assert!(manifest.text.contains("application/vnd.oci.image.layer.v1.tar+zstd"));
    assert_eq!(config["config"]["Labels"]["a"], "b");
    let (plain, _) = publish(&with(None, json!({ "compression": "", "path": "/disk/x.qcow2" })));
    assert!(plain.text.contains("application/vnd.oci.image.layer.v1.tar\""));

    let refused = |request: &PublishRequest| ContainerDisk::prepare(request).unwrap_err().kind;
    assert_eq!(refused(&with(Some("vmdk"), json!({}))), ErrorKind::Unsupported);
    for bad in [
        json!({ "compression": "xz" }),
        json!({ "colour": 1 }),
        json!({ "path": "disk/" }),
        json!({ "path": "../x" }),
        json!({ "path": "x".repeat(101) }),
        json!([]),
    ] {
        assert_eq!(refused(&with(None, bad.clone())), ErrorKind::InvalidInput, "{bad}");
    }
    let nvram = PublishRequest { inputs: vec![("nvram".to_owned(), 1)], ..request() };
    assert_eq!(refused(&nvram), ErrorKind::Unsupported);
}
