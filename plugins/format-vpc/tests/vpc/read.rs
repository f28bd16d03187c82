//! Images that qemu-img writes.

use sha2::{Digest, Sha256};
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{have_qemu, hex, islands};

use crate::Scratch;

const SIZE: usize = (21 << 20) + 3 * 512;

#[test]
fn what_qemu_img_writes() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let content = islands(SIZE);
    scratch.write("disk.raw", &content);
    for (options, kind) in [
        ("subformat=dynamic", "dynamic"),
        ("subformat=dynamic,force_size=on", "dynamic"),
        ("subformat=fixed", "fixed"),
        ("subformat=fixed,force_size=on", "fixed"),
    ] {
        scratch.qemu_img(&format!("convert -f raw -O vpc -o {options} disk.raw disk.vhd"));
        scratch.qemu_img("convert -f vpc -O raw disk.vhd back.raw");
        let expected = std::fs::read(scratch.path("back.raw")).unwrap();
        let mut disk = scratch.open("disk.vhd").unwrap();
        assert_eq!(disk.size(), expected.len() as u64, "{options}: the size of the disk");
        assert_eq!(expected.len() == SIZE, options.contains("force_size"), "the others are rounded up");
        assert!(disk.content().unwrap() == expected, "{options}");
        assert!(expected.starts_with(&content));
        assert_eq!(disk.image.check().unwrap(), []);
        let facts = disk.image.facts();
        assert!(facts.contains(&("type".to_owned(), kind.to_owned())), "{facts:?}");
    }
}

#[test]
fn data_lies_where_qemu_img_says() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("disk.raw", &islands(SIZE));
    scratch.qemu_img("convert -f raw -O vpc disk.raw disk.vhd");
    let text = scratch.qemu_img("map --output=json -f vpc disk.vhd");
    let lines: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let map = scratch.open("disk.vhd").unwrap().map(3).unwrap();
    let mut found = 0;
    for line in lines.iter().filter(|line| line["data"] == true) {
        let (start, offset) = (line["start"].as_u64().unwrap(), line["offset"].as_u64().unwrap());
        let extent = map.iter().rfind(|extent| extent.start <= start).unwrap();
        assert_eq!(extent.kind, ExtentKind::Data { source: 0, offset: offset - (start - extent.start) });
        found += 1;
    }
    assert!(found > 2);
}

#[test]
fn large_disks() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    for (size, expected) in [("127G", 127u64 << 30), ("2040G", 2040 << 30)] {
        scratch.qemu_img(&format!("create -f vpc disk.vhd {size}"));
        let mut disk = scratch.open("disk.vhd").unwrap();
        assert!(disk.size() >= expected && disk.size() < expected + (2 << 20), "{}", disk.size());
        let map = disk.map(10).unwrap();
        assert_eq!((map.len(), &map[0].kind), (1, &ExtentKind::Unallocated));
    }
}

#[test]
fn the_first_megabytes_of_a_digest() {
    // The digest that the other tests go by is that of the bytes.
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let content = islands(SIZE);
    scratch.write("disk.raw", &content);
    scratch.qemu_img("convert -f raw -O vpc -o force_size=on disk.raw disk.vhd");
    assert_eq!(scratch.open("disk.vhd").unwrap().sha256().unwrap(), hex(&Sha256::digest(&content)));
}
