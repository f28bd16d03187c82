//! Files as ORAS pushes them.
#![allow(missing_docs)]

use artifact_oras::{LAYOUT, Oras};
use serde_json::{Value, json};
use witvirt_disk::Limits;
use witvirt_disk::artifact::{check_plan, descriptors};
use witvirt_sdk::ErrorKind;
use witvirt_sdk::artifact::{Digest, DiskContent, Manifest, ReadOptions, Reader, Stored};

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

fn file(number: u8, title: &str) -> Value {
    let annotations = json!({ "org.opencontainers.image.title": title });
    json!({ "mediaType": "application/octet-stream", "digest": digest(number), "size": 9, "annotations": annotations })
}

fn directory(number: u8, title: &str) -> Value {
    let annotations =
        json!({ "org.opencontainers.image.title": title, "io.deis.oras.content.unpack": "true" });
    let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
    json!({ "mediaType": media_type, "digest": digest(number), "size": 9, "annotations": annotations })
}

fn manifest(config: &str, layers: &[Value]) -> Manifest {
    let config = json!({ "mediaType": config, "digest": digest(0xc0), "size": 2 });
    let text = json!({ "schemaVersion": 2, "config": config, "layers": layers }).to_string();
    Manifest { media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(), text }
}

const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The name of the disk, and where it is.
fn disk(layers: &[Value], member: Option<&str>) -> Result<(String, Stored), String> {
    let manifest = manifest(EMPTY, layers);
    let options = ReadOptions { layout: LAYOUT.to_owned(), member: member.map(str::to_owned) };
    let plan = Oras::interpret(&manifest, &[], &options).map_err(|error| error.message)?;
    let mut plan = check_plan(plan, &descriptors(&manifest).unwrap(), &Limits::default()).unwrap();
    let disk = plan.disks.pop().unwrap();
    assert_eq!(disk.format, None);
    let DiskContent::Whole(mut places) = disk.content else { panic!("chunks") };
    Ok((disk.name, places.pop().unwrap()))
}

#[test]
fn one_file_is_the_disk() {
    let (name, stored) = disk(&[file(1, "noble.qcow2")], None).unwrap();
    assert_eq!((name.as_str(), stored.encoding.as_str(), stored.member), ("noble.qcow2", "auto", None));
    let untitled = json!({ "mediaType": "a/b", "digest": digest(1), "size": 9 });
    assert_eq!(disk(&[untitled], None).unwrap().0, "disk");
    let (_, stored) = disk(&[file(1, "all.ova")], Some("disk1.vmdk")).unwrap();
    assert_eq!(stored.member.as_deref(), Some("disk1.vmdk"), "a member of the only file");
}

#[test]
fn several_files() {
    let files = [file(1, "README.md"), file(2, "a.IMG.zst"), file(3, "SHA256SUMS")];
    assert_eq!(disk(&files, None).unwrap().0, "a.IMG.zst", "the only name of a disk image");
    assert_eq!(disk(&files, Some("SHA256SUMS")).unwrap().0, "SHA256SUMS");
    let two = [file(1, "a.qcow2"), file(2, "b.raw.gz")];
    let text = disk(&two, None).unwrap_err();
    assert_eq!(
        text,
        "the artifact has several files, name the one that is the disk; there are: a.qcow2, b.raw.gz"
    );
    assert_eq!(disk(&two, Some("b.raw.gz")).unwrap().0, "b.raw.gz");
    assert!(
        disk(&two, Some("c")).unwrap_err().starts_with("the artifact has no file \"c\"; there are: a.qcow2")
    );
    let many: Vec<Value> = (0..40).map(|number| file(number, &format!("{number}.img"))).collect();
    assert!(disk(&many, None).unwrap_err().ends_with("19.img, ..."));
    assert!(disk(&[], None).unwrap_err().contains("no layers that are files"));
}

#[test]
fn a_directory_is_a_tar() {
    let (_, stored) = disk(&[directory(1, "disks")], None).unwrap();
    assert_eq!((stored.encoding.as_str(), stored.member.as_deref()), ("tar+gzip", Some("disks/")));
    let layers = [file(1, "a.img"), directory(2, "disks")];
    let (name, stored) = disk(&layers, Some("disks/b.vmdk")).unwrap();
    assert_eq!((name.as_str(), stored.member.as_deref()), ("disks", Some("disks/b.vmdk")));
    assert_eq!(disk(&layers, Some("disks")).unwrap().1.member.as_deref(), Some("disks/"));
    assert!(disk(&layers, Some("disks/../../etc/shadow")).unwrap_err().contains("is no path in an archive"));
    assert!(disk(&[directory(1, "../x")], None).unwrap_err().contains("title of a directory"));
}

#[test]
fn probing_leaves_container_images_alone() {
    let probe =
        |config: &str, layers: &[Value]| Oras::probe(&manifest(config, layers)).map(|claim| claim.confidence);
    assert_eq!(probe(EMPTY, &[file(1, "a.qcow2")]), Some(30));
    assert_eq!(probe(EMPTY, &[file(1, "a.txt")]), Some(10));
    let layer =
        json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(1), "size": 9 });
    assert_eq!(probe("application/vnd.oci.image.config.v1+json", &[layer]), None);
    assert_eq!(probe(EMPTY, &[]), None);
    let bad = Manifest { media_type: String::new(), text: "{".to_owned() };
    assert_eq!(Oras::probe(&bad), None);
    let options = ReadOptions { layout: LAYOUT.to_owned(), member: None };
    assert_eq!(Oras::interpret(&bad, &[], &options).unwrap_err().kind, ErrorKind::Corrupt);
}
