//! Images that qemu-img writes, compared with what qemu-img reads from them.

use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{have_qemu, joined, like_real};

use crate::Scratch;

const SIZE: usize = (9 << 20) + 3 * 512;

/// What the reader sees is what QEMU sees, and the check finds nothing.
fn compare(scratch: &Scratch, name: &str) {
    let mut disk = scratch.open(name).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert!(disk.content().unwrap() == scratch.guest_content(name), "{name}");
    assert_eq!(disk.image.check().unwrap(), [], "{name}");
}

#[test]
fn every_subformat() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("content.bin", &like_real(SIZE));
    for subformat in [
        "monolithicSparse",
        "monolithicFlat",
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
        "streamOptimized",
    ] {
        let name = format!("{subformat}.vmdk");
        scratch.qemu_img(&format!("convert -f raw -O vmdk -o subformat={subformat} content.bin {name}"));
        compare(&scratch, &name);
        assert_eq!(scratch.open(&name).unwrap().fact("create-type").as_deref(), Some(subformat));
    }
    for option in ["zeroed_grain=on", "compat6=on", "adapter_type=lsilogic,hwversion=14"] {
        scratch.qemu_img(&format!("convert -f raw -O vmdk -o {option} content.bin options.vmdk"));
        compare(&scratch, "options.vmdk");
    }
    assert_eq!(scratch.open("options.vmdk").unwrap().fact("hardware-version").as_deref(), Some("14"));
}

#[test]
fn scattered_writes_and_zeroed_grains() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.qemu_img("create -q -f vmdk -o zeroed_grain=on disk.vmdk 100M");
    scratch.qemu_io("disk.vmdk", &["write -q -P 7 77M 100k", "write -q -P 8 100k 300k", "write -q -z 1M 1M"]);
    scratch.qemu_io("disk.vmdk", &["write -q -P 9 3M 64k", "write -q -P 10 40M 64k", "write -q -z 3M 64k"]);
    compare(&scratch, "disk.vmdk");
    let mut disk = scratch.open("disk.vmdk").unwrap();
    let map = disk.map(1000).unwrap();
    let zeros: Vec<_> = joined(&map).into_iter().filter(|(.., kind)| *kind == "zero").collect();
    assert_eq!(zeros, [(1 << 20, 1 << 20, "zero"), (3 << 20, 64 << 10, "zero")]);
    assert_eq!(
        map,
        disk.map(1).unwrap().into_iter().fold(Vec::new(), |mut joined: Vec<_>, extent| {
            joined.push(extent);
            joined
        }),
        "pages of one extent have the same runs"
    );
}

#[test]
fn extents_that_are_split() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    for subformat in ["twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        scratch.qemu_img(&format!("create -q -f vmdk -o subformat={subformat} {subformat}.vmdk 5G"));
        let name = format!("{subformat}.vmdk");
        scratch.qemu_io(
            &name,
            &["write -q -P 18 0 64k", "write -q -P 52 2147418112 128k", "write -q -P 86 4500M 1M"],
        );
        let mut disk = scratch.open(&name).unwrap();
        assert_eq!((disk.size(), disk.image.references().len()), (5 << 30, 3));
        let map = disk.map(1000).unwrap();
        if subformat == "twoGbMaxExtentFlat" {
            assert_eq!(map.len(), 3);
            continue;
        }
        let data: Vec<_> = joined(&map).into_iter().filter(|run| run.2 == "data").collect();
        assert_eq!(data, [(0, 65536, "data"), (2147418112, 131072, "data"), (4500 << 20, 1 << 20, "data")]);
        assert_eq!(disk.image.check().unwrap(), []);
    }
}

#[test]
fn parents() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("content.bin", &like_real(SIZE));
    scratch.qemu_img("convert -f raw -O vmdk -o subformat=streamOptimized content.bin base.vmdk");
    scratch.qemu_img("create -q -f vmdk -o zeroed_grain=on -b base.vmdk -F vmdk middle.vmdk");
    scratch.qemu_io("middle.vmdk", &["write -q -P 120 5M 100k", "write -q -z 2M 512k"]);
    scratch.qemu_img("create -q -f vmdk -b middle.vmdk -F vmdk top.vmdk");
    scratch.qemu_io("top.vmdk", &["write -q -P 121 1M 200k"]);
    compare(&scratch, "middle.vmdk");
    compare(&scratch, "top.vmdk");
    let disk = scratch.open("top.vmdk").unwrap();
    assert_eq!(disk.fact("id").unwrap().len(), 8);
    assert_ne!(disk.fact("id"), disk.fact("parent-id"));
}

#[test]
fn odd_sizes_of_streams() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    for size in [512, 65536 - 512, 65536, 65536 + 512] {
        scratch.write("content.bin", &like_real(size));
        scratch.qemu_img("convert -f raw -O vmdk -o subformat=streamOptimized content.bin disk.vmdk");
        let mut disk = scratch.open("disk.vmdk").unwrap();
        assert_eq!(disk.content().unwrap(), scratch.read("content.bin"), "{size}");
    }
}
