//! Servers with and without ranges, and ones that lie.

use std::fs;
use std::sync::Arc;

use witvirt_disk::{Checksum, ErrorKind, ImportRequest, ImportSource, Progress, Upload};

use crate::fake::{FakeBlob, request};
use crate::formats::{Bench, Installed, Scripted, Told, content, noise, qemu_img, run};
use crate::transports::{import, import_once};

fn qcow2(bench: &Bench, raw: &[u8], options: &[&str]) -> Vec<u8> {
    fs::write(bench.path("disk.raw"), raw).unwrap();
    let convert = [&["convert", "-f", "raw", "-O", "qcow2"], options, &["disk.raw", "disk.qcow2"]].concat();
    run("qemu-img", &convert, &bench.dir.path().join("images"));
    fs::read(bench.path("disk.qcow2")).unwrap()
}

fn digest_of(bytes: &[u8]) -> witvirt_core::Digest {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    witvirt_disk::content::digest_of_file(file, 1).unwrap()
}

#[test]
fn an_image_is_downloaded_once() {
    if !qemu_img() {
        return;
    }
    let bench = Bench::new();
    let raw = noise(7, 12 << 20);
    for options in [&["-c"][..], &[]] {
        let image = qcow2(&bench, &raw, options);
        let size = image.len() as u64;
        for blob in [FakeBlob::new(image.clone()), FakeBlob::without_ranges(image.clone())] {
            let blob = Arc::new(blob);
            let progress = Progress::new();
            let record = bench.store.import(bench.access(), &request(&blob), &progress).unwrap().record;
            assert_eq!(record.digest, digest_of(&raw));
            assert_eq!(record.origin.source.path, "http://fake/image");
            assert_eq!(record.origin.source.size, size);
            assert!(record.origin.source.digest.is_some());
            // The whole of it, and a few tables and ends.
            assert!(blob.served() <= size + size / 10 + (1 << 20), "{} of {size}", blob.served());
            assert_eq!((progress.status().done, progress.status().total), (size, size));
            bench.store.remove(&record.digest.to_string(), &[], true).unwrap();
        }
    }
    assert_eq!(bench.unfinished().len(), 0);
}

#[test]
fn a_raw_disk_needs_no_plugin_and_keeps_its_holes() {
    let bench = Bench::new();
    let mut raw = content(9, 20 << 20);
    raw[4 << 20..12 << 20].fill(0);
    let blob = Arc::new(FakeBlob::new(raw.clone()));
    let mut wanted = request(&blob);
    wanted.reading.format = Some("raw".into());
    let record = import(&bench, &wanted).unwrap().record;
    assert_eq!((record.digest, blob.served()), (digest_of(&raw), raw.len() as u64));
    assert!(record.allocated <= (12 << 20) + 65536, "{}", record.allocated);
}

/// What is fetched ahead is compared with the stream: checksums are of the stream.
#[test]
fn a_server_that_answers_ranges_with_other_bytes_is_found_out() {
    let tail = Scripted::new("tailed", |source| {
        let mut end = [0; 16];
        let at = source.size() - 16;
        source.read_at(&mut end, at).unwrap();
        let size = u64::from(end[0]) << 10;
        let kind = witvirt_core::extent::ExtentKind::Data { source: 0, offset: 0 };
        let page = move |start, length, _| witvirt_core::extent::Page {
            extents: vec![witvirt_core::extent::Extent { start, length, kind: kind.clone() }],
            next: None,
        };
        Told { virtual_size: size, page: Box::new(page), ..Told::default() }
    });
    let bench = Bench::with(Installed(vec![tail]));
    let image = vec![8; 12 << 20];
    for lies_from in [6 << 20, u64::MAX] {
        let blob = Arc::new(FakeBlob { lies_from, ..FakeBlob::new(image.clone()) });
        let mut wanted = request(&blob);
        wanted.reading.format = Some("tailed".into());
        let outcome = import(&bench, &wanted);
        match lies_from {
            u64::MAX => drop(outcome.unwrap()),
            _ => assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Changed),
        }
    }
    assert_eq!(bench.unfinished().len(), 0);
}

/// Two guest ranges over the same bytes: a stream that was let go cannot give them twice, a server or a file can.
#[test]
fn bytes_that_are_used_twice() {
    use witvirt_core::extent::{Extent, ExtentKind, Page};
    let twice = || {
        Scripted::new("twice", |_| {
            let page = |start: u64, length: u64, _| {
                let half = 24 << 20;
                let length = length.min(if start < half { half - start } else { u64::MAX });
                let kind = ExtentKind::Data { source: 0, offset: 4096 + start % half };
                let extents = vec![Extent { start, length, kind }];
                let next = (start + length < 2 * half).then_some(start + length);
                Page { extents, next }
            };
            Told { virtual_size: 48 << 20, page: Box::new(page), ..Told::default() }
        })
    };
    let bench = Bench::with(Installed(vec![twice()]));
    let disk: Vec<u8> = (0..24u32 << 20).map(|n| (n >> 12) as u8 | 1).collect();
    let image = [&[b'x'; 4096][..], &disk].concat();
    let expected = digest_of(&[&disk[..], &disk].concat());
    let ranged = Arc::new(FakeBlob::new(image.clone()));
    fs::write(bench.path("image"), &image).unwrap();
    run("gzip", &["-1", "image"], &bench.dir.path().join("images"));
    for mut wanted in [request(&ranged), crate::transports::file(&bench, "image.gz")] {
        wanted.reading.format = Some("twice".into());
        assert_eq!(import_once(&bench, &wanted).digest, expected, "{:?}", wanted.source);
    }
    // One that has to be downloaded a second time.
    let plain = Arc::new(FakeBlob::without_ranges(image.clone()));
    let mut wanted = request(&plain);
    wanted.reading.format = Some("twice".into());
    assert_eq!(import_once(&bench, &wanted).digest, expected);
    let reader = std::io::Cursor::new(image);
    let mut wanted = ImportRequest::of(ImportSource::Upload(Upload::new("standard input", None, reader)));
    wanted.reading.format = Some("twice".into());
    let error = import(&bench, &wanted).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("twice"), "{error}");
    assert_eq!(bench.unfinished().len(), 0);
}

#[test]
fn checksums_of_every_kind_pass() {
    let bench = Bench::new();
    let blob = Arc::new(FakeBlob::new(b"abc".to_vec()));
    let mut wanted = request(&blob);
    wanted.reading.format = Some("raw".into());
    wanted.checksums = [
        "900150983cd24fb0d6963f7d28e17f72",
        "a9993e364706816aba3e25717850c26c9cd0d89d",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ]
    .iter()
    .map(|text| text.parse::<Checksum>().unwrap())
    .collect();
    assert_eq!(import(&bench, &wanted).unwrap().record.virtual_size, 512);
}

/// Most bytes that unlinked files of a directory have taken, while `work` went on.
fn peak_of_scratch<T>(dir: &std::path::Path, work: impl FnOnce() -> T + Send) -> (T, u64)
where
    T: Send,
{
    use std::os::unix::fs::MetadataExt;
    let taken = || {
        let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
            let link = entry.ok()?.path();
            let name = fs::read_link(&link).ok()?;
            let ours = name.starts_with(dir) && name.to_string_lossy().ends_with("scratch (deleted)");
            ours.then(|| fs::metadata(&link).map_or(0, |metadata| metadata.blocks() * 512))
        });
        open.max().unwrap_or(0)
    };
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        let mut peak = 0;
        while !working.is_finished() {
            peak = peak.max(taken());
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        (working.join().unwrap(), peak)
    })
}

/// What arrives is kept only as long as it is needed: no image is copied to be read.
#[test]
fn a_stream_needs_a_window_of_the_disk_only() {
    if !qemu_img() {
        return;
    }
    let bench = Bench::new();
    let raw = noise(17, 64 << 20);
    let image = qcow2(&bench, &raw, &[]);
    fs::remove_file(bench.path("disk.raw")).unwrap();
    let blob = Arc::new(FakeBlob::without_ranges(image));
    let wanted = request(&blob);
    let (record, peak) = peak_of_scratch(bench.dir.path(), || import(&bench, &wanted).unwrap().record);
    assert_eq!(record.digest, digest_of(&raw));
    println!("at most {} MiB were kept", peak >> 20);
    assert!(peak > 0 && peak < 48 << 20, "{} MiB", peak >> 20);
}

#[test]
fn a_taken_name_costs_no_download() {
    let bench = Bench::new();
    let (name, image) = (witvirt_core::Name::new("web").unwrap(), noise(31, 2 << 20));
    let import = |blob: FakeBlob, replace: bool| {
        let blob = Arc::new(blob);
        let mut wanted = request(&blob);
        wanted.reading.format = Some("raw".into());
        (wanted.name, wanted.replace) = (Some(name.clone()), replace);
        bench.store.import(bench.access(), &wanted, &Progress::new())
    };
    let first = import(FakeBlob::new(image.clone()), false).unwrap().record.digest;
    assert!(import(FakeBlob::new(image.clone()), false).unwrap().existed);
    // The same from elsewhere is what has the name already.
    let elsewhere = |image| FakeBlob { label: "http://fake/other".into(), ..FakeBlob::new(image) };
    assert!(import(elsewhere(image), false).unwrap().existed);
    // The same place has another image by now: that is known when it is here.
    let error = import(FakeBlob::new(noise(34, 2 << 20)), false).unwrap_err();
    let images = bench.store.list().unwrap();
    let new = images.iter().find(|image| image.names.is_empty()).unwrap().digest;
    assert!(error.kind() == ErrorKind::AlreadyExists && error.to_string().contains(&new.short()), "{error}");
    assert_eq!(bench.store.resolve("web").unwrap(), first);
    bench.store.tag(&new.hex(), &name, true).unwrap();
    assert!(!import(elsewhere(noise(32, 2 << 20)), true).unwrap().existed);
    assert_eq!(bench.unfinished().len(), 0);
}
