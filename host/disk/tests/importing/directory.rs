//! Directories of parts.

use std::fs;

use witvirt_core::extent::{Extent, ExtentKind, Page, Reference};
use witvirt_disk::{Access, AllowedDirs, ErrorKind, ImportRequest, ImportSource, Progress};

use crate::formats::{Bench, Installed, Scripted, Told, content};

/// An image of two parts whose names stand on its second and third line.
fn bundle() -> Installed {
    let index = Scripted::new("bundle", |source| {
        let mut text = vec![0; source.size() as usize];
        source.read_at(&mut text, 0).unwrap();
        let text = String::from_utf8(text).unwrap();
        let part = |(id, name): (usize, &str)| Reference {
            id: id as u32 + 1,
            role: "extent".into(),
            name: name.into(),
            format_hint: None,
            required: true,
        };
        let page = |start: u64, length: u64, _| {
            let length = length.min((1 << 20) - start % (1 << 20));
            let kind = ExtentKind::Data { source: (start >> 20) as u32 + 1, offset: start % (1 << 20) };
            let next = (start + length < 2 << 20).then_some(start + length);
            Page { extents: vec![Extent { start, length, kind }], next }
        };
        let references: Vec<_> = text.lines().skip(1).enumerate().map(part).collect();
        Told { virtual_size: 2 << 20, references, page: Box::new(page), ..Told::default() }
    });
    let part = Scripted::new("partly", |_| Told::default());
    Installed(vec![index, part])
}

#[test]
fn the_image_is_the_file_that_no_other_names() {
    let bench = Bench::with(bundle());
    let raw = content(31, 2 << 20);
    let dir = bench.path("vm.hdd");
    let mut part = raw[..1 << 20].to_vec();
    // One of the parts is an image for itself.
    part[..6].copy_from_slice(b"partly");
    fs::create_dir(&dir).unwrap();
    fs::create_dir(dir.join("sub")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.join("link")).unwrap();
    fs::write(dir.join("index.xml"), "bundle\n./one.hds\ntwo.hds\n").unwrap();
    fs::write(dir.join("one.hds"), &part).unwrap();
    fs::write(dir.join("two.hds"), &raw[1 << 20..]).unwrap();
    fs::write(dir.join("readme"), "nothing").unwrap();
    let request = ImportRequest::of(ImportSource::Directory(dir.clone()));
    // Its parts are found although nothing may be named elsewhere.
    let nowhere = AllowedDirs::default();
    let access = Access { references: &nowhere, ..bench.access() };
    let import = || bench.store.import(access, &request, &Progress::new());
    let record = import().unwrap().record;
    let disk =
        fs::read(bench.dir.path().join("store/images").join(record.digest.hex()).join("disk.raw")).unwrap();
    assert!(disk[..1 << 20] == part && disk[1 << 20..] == raw[1 << 20..]);
    assert!(record.origin.source.path.ends_with("index.xml"), "{}", record.origin.source.path);

    fs::write(dir.join("other.xml"), "bundle\none.hds\ntwo.hds\n").unwrap();
    let error = import().unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("other.xml"), "{error}");
    fs::write(dir.join("other.xml"), "bundle\nindex.xml\ntwo.hds\n").unwrap();
    fs::write(dir.join("index.xml"), "bundle\nother.xml\none.hds\n").unwrap();
    assert_eq!(import().unwrap_err().kind(), ErrorKind::Corrupt);
    fs::remove_file(dir.join("other.xml")).unwrap();
    fs::write(dir.join("index.xml"), "bundle\n../disk\none.hds\n").unwrap();
    fs::write(bench.path("disk"), &part).unwrap();
    assert_eq!(import().unwrap_err().kind(), ErrorKind::Denied);
    for name in ["index.xml", "one.hds", "two.hds"] {
        fs::remove_file(dir.join(name)).unwrap();
    }
    assert_eq!(import().unwrap_err().kind(), ErrorKind::Unsupported);
    let outside = ImportRequest::of(ImportSource::Directory("/etc".into()));
    let error = bench.store.import(bench.access(), &outside, &Progress::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(bench.unfinished().len(), 0);
}
