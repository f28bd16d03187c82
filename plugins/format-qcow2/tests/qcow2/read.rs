//! Images that qemu-img and qemu-io make, read back.

use format_qcow2::ErrorKind;
use format_qcow2::image::Image;
use witvirt_sdk::core::extent::ExtentKind;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{Noise, have_qemu, like_real};

use crate::Scratch;
use crate::map::assert_same_map;

/// No cluster size divides it.
const SIZE: usize = (9 << 20) + 3 * 512;
const CLUSTER_SIZES: [&str; 13] =
    ["512", "1k", "2k", "4k", "8k", "16k", "32k", "64k", "128k", "256k", "512k", "1M", "2M"];

/// Content, map, size and consistency are what QEMU says.
fn verify(scratch: &Scratch, name: &str) {
    let mut disk = scratch.open(name).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let expected = scratch.guest_content(name);
    assert_eq!(disk.size(), expected.len() as u64, "{name}: virtual size");
    let content = disk.content().unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert!(
        content == expected,
        "{name}: content differs at {:?}",
        content.iter().zip(&expected).position(|(a, b)| a != b)
    );
    let extents = disk.map(u32::MAX).unwrap();
    assert_same_map(scratch, name, &extents);
    assert_eq!(joined(disk.map(3).unwrap()), joined(extents), "{name}: small pages");
    assert_eq!(disk.image.check().unwrap(), [], "{name}");
}

/// Lengths only, neighbours of the same kind joined: pages may cut runs.
fn joined(extents: Vec<witvirt_sdk::core::extent::Extent>) -> Vec<(std::mem::Discriminant<ExtentKind>, u64)> {
    let mut runs: Vec<(std::mem::Discriminant<ExtentKind>, u64)> = Vec::new();
    for extent in extents {
        let kind = std::mem::discriminant(&extent.kind);
        match runs.last_mut() {
            Some(last) if last.0 == kind => last.1 += extent.length,
            _ => runs.push((kind, extent.length)),
        }
    }
    runs
}

fn converted(options: &[&str]) {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("base.raw", &like_real(SIZE));
    for (index, options) in options.iter().enumerate() {
        let name = format!("{index}.qcow2");
        scratch.qemu_img(&format!("convert -f raw -O qcow2 {options} base.raw {name}"));
        verify(&scratch, &name);
        std::fs::remove_file(scratch.path(&name)).unwrap();
    }
}

#[test]
fn every_cluster_size() {
    let each = |options: &str| CLUSTER_SIZES.map(|size| format!("-o cluster_size={size}{options}"));
    let all = [each(""), each(",compat=0.10"), each(" -c"), each(",compression_type=zstd -c")].concat();
    converted(&all.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn extended_l2() {
    let all: Vec<String> = CLUSTER_SIZES[5..]
        .iter()
        .flat_map(|size| {
            ["", " -c", ",compression_type=zstd -c"]
                .map(|more| format!("-o extended_l2=on,cluster_size={size}{more}"))
        })
        .collect();
    converted(&all.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn other_options() {
    converted(&[
        "-o compat=0.10 -c",
        "-o lazy_refcounts=on",
        "-o preallocation=metadata",
        "-o preallocation=falloc",
        "-o preallocation=full",
        "-o preallocation=metadata,extended_l2=on",
        "-o refcount_bits=1",
        "-o refcount_bits=2",
        "-o refcount_bits=4",
        "-o refcount_bits=8",
        "-o refcount_bits=32",
        "-o refcount_bits=64",
        "-S 0",
        "-W -m 16",
        "-W -m 16 -c -o compression_type=zstd",
        "-o data_file=0.data",
        "-o data_file=1.data,data_file_raw=on",
        "-o data_file=2.data,cluster_size=4k",
        "-o data_file=3.data,extended_l2=on",
    ]);
}

/// Writes, zero writes and discards in random places.
fn scatter(seed: u64, with_zero: bool) -> Vec<String> {
    let mut noise = Noise::new(seed);
    (0..300)
        .map(|_| {
            let start = 512 * noise.below(SIZE as u64 / 512 - 400);
            let length = 512 * (1 + noise.below(399));
            match noise.below(6) {
                0 if with_zero => format!("write -q -z {start} {length}"),
                1 if with_zero => format!("write -q -z -u {start} {length}"),
                2 => format!("discard -q {start} {length}"),
                _ => format!("write -q -P {} {start} {length}", 1 + noise.below(250)),
            }
        })
        .collect()
}

#[test]
fn scattered_writes() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let all = [
        "cluster_size=512",
        "cluster_size=4k",
        "cluster_size=64k",
        "cluster_size=2M",
        "compat=0.10",
        "extended_l2=on",
        "extended_l2=on,cluster_size=16k",
        "lazy_refcounts=on",
        "data_file=scatter.data",
        "data_file=raw.data,data_file_raw=on",
    ];
    for (index, options) in all.iter().enumerate() {
        let name = format!("{index}.qcow2");
        scratch.qemu_img(&format!("create -q -f qcow2 -o {options} {name} {SIZE}"));
        scratch.qemu_io(&name, &scatter(index as u64, !options.contains("0.10")));
        verify(&scratch, &name);
    }
}

#[test]
fn backing_chains() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("base.raw", &like_real(SIZE));
    let (half, double) = (SIZE / 2 / 512 * 512, SIZE * 2);
    scratch.qemu_img("create -q -f qcow2 -b base.raw -F raw empty.qcow2");
    scratch.qemu_img("create -q -f qcow2 -b base.raw -F raw one.qcow2");
    scratch.qemu_io("one.qcow2", &scatter(1, true));
    scratch
        .qemu_img(&format!("create -q -f qcow2 -o extended_l2=on -b one.qcow2 -F qcow2 two.qcow2 {double}"));
    scratch.qemu_io("two.qcow2", &scatter(2, true));
    scratch.qemu_img(&format!("create -q -f qcow2 -b two.qcow2 -F qcow2 short.qcow2 {half}"));
    scratch.qemu_img(&format!("create -q -f qcow2 -b short.qcow2 -F qcow2 grown.qcow2 {SIZE}"));
    for name in ["empty", "one", "two", "short", "grown"] {
        verify(&scratch, &format!("{name}.qcow2"));
    }
    let disk = scratch.open("two.qcow2").unwrap();
    let [backing] = &disk.image.references()[..] else { panic!("one reference") };
    assert_eq!((backing.role.as_str(), backing.name.as_str()), ("backing", "one.qcow2"));
    assert_eq!((backing.format_hint.as_deref(), backing.required), (Some("qcow2"), true));
    let map = scratch.open("empty.qcow2").unwrap().map(10).unwrap();
    assert!(matches!(&map[..], [all] if all.kind == ExtentKind::Parent && all.length == SIZE as u64));
}

#[test]
fn data_files_are_references() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.qemu_img("create -q -f qcow2 -o data_file=outside.data disk.qcow2 1M");
    scratch.qemu_io("disk.qcow2", &["write -q -P 7 0 64k".to_owned()]);
    let mut image = Image::open(scratch.read("disk.qcow2")).unwrap();
    let [reference] = &image.references()[..] else { panic!("one reference") };
    assert_eq!((reference.role.as_str(), reference.name.as_str()), ("data-file", "outside.data"));
    assert_eq!((reference.format_hint.as_deref(), reference.required), (Some("raw"), true));
    let error = image.extents(0, 1 << 20, 10).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.contains("\"outside.data\" is not attached"), "{error:?}");
    assert_eq!(image.attach(1, vec![0; 10]).unwrap_err().kind, ErrorKind::NotFound);
    image.attach(reference.id, vec![0; 512]).unwrap();
    let error = image.extents(0, 1 << 20, 10).unwrap_err();
    assert!(error.message.contains("past the end of the file"), "a cut data file: {error:?}");
}

#[test]
fn states_that_images_get_into() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("base.raw", &like_real(SIZE));
    let copy = |name: &str| {
        scratch.qemu_img(&format!("convert -f raw -O qcow2 base.raw {name}"));
        name.to_owned()
    };
    let snapshots = copy("snapshots.qcow2");
    scratch.qemu_img("snapshot -c one snapshots.qcow2");
    scratch.qemu_io(&snapshots, &scatter(5, true));
    scratch.qemu_img("snapshot -c two snapshots.qcow2");
    scratch.qemu_io(&snapshots, &scatter(6, true));
    let bitmaps = copy("bitmaps.qcow2");
    scratch.qemu_img("bitmap --add -g 64k bitmaps.qcow2 first");
    scratch.qemu_img("bitmap --add bitmaps.qcow2 second");
    scratch.qemu_io(&bitmaps, &scatter(7, true));
    let grown = copy("grown.qcow2");
    scratch.qemu_img("resize -q grown.qcow2 +1200M");
    let shrunk = copy("shrunk.qcow2");
    scratch.qemu_img("resize -q --shrink shrunk.qcow2 3M");
    for name in [&snapshots, &bitmaps, &grown, &shrunk] {
        verify(&scratch, name);
    }
    let facts = |name: &str| scratch.open(name).unwrap().image.facts();
    assert!(facts(&snapshots).contains(&("snapshots".to_owned(), "2".to_owned())));
    assert!(facts(&bitmaps).contains(&("bitmaps".to_owned(), "2".to_owned())));
}

#[test]
fn dirty_images_are_read() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.qemu_img("create -q -f qcow2 -o lazy_refcounts=on disk.qcow2 64M");
    // qemu-io is ended in the middle, so that refcounts are not written back.
    let output = std::process::Command::new("qemu-io")
        .args(["-f", "qcow2", "-c", "write -P 9 1M 1M", "-c", "flush", "-c", "sigraise 9"])
        .arg(scratch.path("disk.qcow2"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let mut disk = scratch.open("disk.qcow2").unwrap();
    assert!(disk.image.facts().contains(&("dirty".to_owned(), "yes".to_owned())));
    assert!(disk.content().unwrap()[1 << 20..2 << 20].iter().all(|byte| *byte == 9));
    let findings = disk.image.check().unwrap();
    assert_eq!(findings[0].code, "dirty");
    assert!(findings[1..].iter().any(|finding| finding.code == "refcount-too-low"), "{findings:?}");
    assert!(findings.iter().all(|finding| finding.severity > 1), "repairable: {findings:?}");
}

#[test]
fn sparse_giants_take_one_page() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.qemu_img("create -q -f qcow2 disk.qcow2 64T");
    scratch.qemu_io("disk.qcow2", &["write -q -P 1 48T 64k".to_owned()]);
    let mut disk = scratch.open("disk.qcow2").unwrap();
    let map = disk.map(1000).unwrap();
    let lengths: Vec<u64> = map.iter().map(|extent| extent.length).collect();
    assert_eq!(lengths, [48 << 40, 64 << 10, (16 << 40) - (64 << 10)]);
    assert!(matches!(map[1].kind, ExtentKind::Data { .. }));
}

#[test]
fn any_range_can_be_asked_for() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("base.raw", &like_real(SIZE));
    scratch.qemu_img("convert -f raw -O qcow2 -c -o extended_l2=on base.raw disk.qcow2");
    let mut disk = scratch.open("disk.qcow2").unwrap();
    let mut noise = Noise::new(11);
    for _ in 0..500 {
        let start = noise.below(SIZE as u64);
        let length = 1 + noise.below(SIZE as u64);
        let page = disk.image.extents(start, length, 1 + noise.below(5) as u32).unwrap();
        let mut at = start;
        for extent in &page.extents {
            assert_eq!(extent.start, at);
            at += extent.length;
            if let ExtentKind::Encoded(encoded) = &extent.kind {
                assert_eq!(u64::from(encoded.skip), extent.start % 65536);
                assert!(u64::from(encoded.skip) + extent.length <= u64::from(encoded.decoded_length));
            }
        }
        assert_eq!(page.next, (at < (start + length).min(SIZE as u64)).then_some(at));
        assert!(at > start);
    }
    let past = disk.image.extents(SIZE as u64 + 5, 10, 10).unwrap();
    assert_eq!((past.extents.len(), past.next), (0, None));
}

#[test]
fn facts_name_what_the_image_is() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    scratch.qemu_img(
        "create -q -f qcow2 -o compression_type=zstd,extended_l2=on,refcount_bits=8,lazy_refcounts=on disk.qcow2 1M",
    );
    let expected = [
        ("version", "3"),
        ("cluster-size", "65536"),
        ("compression", "zstd"),
        ("refcount-bits", "8"),
        ("snapshots", "0"),
        ("lazy-refcounts", "yes"),
        ("dirty", "no"),
        ("extended-l2", "yes"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(scratch.open("disk.qcow2").unwrap().image.facts(), expected);
}
