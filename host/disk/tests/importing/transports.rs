//! Compression and archives, as the real programs make them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use witvirt_core::Digest;
use witvirt_disk::{
    Checksum, Error, ErrorKind, ImageRecord, ImportRequest, ImportSource, Imported, Progress, Transport,
    Unpack, Upload,
};

use crate::fake::{FakeBlob, request};
use crate::formats::{Bench, content, noise, qemu_img, run};

pub fn import(bench: &Bench, request: &ImportRequest) -> Result<Imported, Error> {
    bench.store.import(bench.access(), request, &Progress::new())
}

/// Imports something good and takes it out of the store again: equal content would be told by its first record.
pub fn import_once(bench: &Bench, request: &ImportRequest) -> ImageRecord {
    let imported = import(bench, request).unwrap();
    assert!(!imported.existed);
    bench.store.remove(&imported.record.digest.to_string(), &[], true).unwrap();
    imported.record
}

pub fn file(bench: &Bench, name: &str) -> ImportRequest {
    ImportRequest::of(ImportSource::File(bench.path(name)))
}

fn upload(bytes: Vec<u8>, length: Option<u64>) -> ImportRequest {
    ImportRequest::of(ImportSource::Upload(Upload::new(
        "standard input",
        length,
        std::io::Cursor::new(bytes),
    )))
}

/// Pipes a file through a program; `None` where that is not installed.
fn packed(program: &str, arguments: &[&str], input: &Path) -> Option<Vec<u8>> {
    let input = fs::File::open(input).unwrap();
    let output = Command::new(program).args(arguments).stdin(input).stderr(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Some(output.stdout),
        _ => {
            println!("skipped: {program} is not installed");
            None
        }
    }
}

const PACKERS: [(&str, &[&str], Transport); 9] = [
    ("gzip", &["-1"], Transport::Gzip),
    ("bzip2", &["-1"], Transport::Bzip2),
    ("xz", &["-1", "-T1"], Transport::Xz),
    ("xz", &["-1", "-T2", "--block-size=300000"], Transport::Xz),
    ("xz", &["-1", "--check=crc32"], Transport::Xz),
    ("xz", &["-1", "--check=sha256"], Transport::Xz),
    ("zstd", &["-1"], Transport::Zstd),
    ("zstd", &["-19", "--long=26"], Transport::Zstd),
    ("zstd", &["-1", "--no-check", "--no-content-size"], Transport::Zstd),
];

/// The digest of the disk in a raw file.
fn digest_of(bytes: &[u8]) -> Digest {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    witvirt_disk::content::digest_of_file(file, 1).unwrap()
}

#[test]
fn raw_streams_go_straight_into_the_store() {
    let bench = Bench::new();
    let raw = content(3, 3 << 20);
    fs::write(bench.path("disk.raw"), &raw).unwrap();
    let expected = digest_of(&raw);
    for (program, arguments, transport) in PACKERS {
        let Some(one) = packed(program, arguments, &bench.path("disk.raw")) else { continue };
        // Two streams one after the other are one file twice as long.
        let twice: Vec<u8> = [&one[..], &one].concat();
        for (bytes, expected) in [(one, expected), (twice, digest_of(&[&raw[..], &raw].concat()))] {
            let mut request = upload(bytes.clone(), Some(bytes.len() as u64));
            request.reading.format = Some("raw".into());
            request.reading.unpack = Unpack::Stated(vec![transport]);
            request.checksums = vec![Checksum::from(sha256(&bytes))];
            let record = import_once(&bench, &request);
            assert_eq!(
                (record.digest, &record.transport[..]),
                (expected, &[transport][..]),
                "{program} {arguments:?}"
            );
            assert_eq!(record.source.digest, Some(sha256(&bytes)));
        }
    }
    assert_eq!(bench.unfinished().len(), 0);
}

fn sha256(bytes: &[u8]) -> Digest {
    use sha2::Digest as _;
    Digest::from_bytes(sha2::Sha256::digest(bytes).into())
}

#[test]
fn images_in_formats_are_read_from_streams() {
    if !qemu_img() {
        return;
    }
    let bench = Bench::new();
    let raw = content(4, 8 << 20);
    fs::write(bench.path("disk.raw"), &raw).unwrap();
    let expected = digest_of(&raw);
    let images = bench.dir.path().join("images");
    for options in [&["-c"][..], &[], &["-c", "-o", "compression_type=zstd"], &["-o", "cluster_size=2M"]] {
        let convert =
            [&["convert", "-f", "raw", "-O", "qcow2"], options, &["disk.raw", "disk.qcow2"]].concat();
        run("qemu-img", &convert, &images);
        for (program, arguments, transport) in PACKERS.into_iter().step_by(2) {
            let Some(bytes) = packed(program, arguments, &bench.path("disk.qcow2")) else { continue };
            // Recognised by what it begins with, whatever it comes from.
            fs::write(bench.path("packed"), &bytes).unwrap();
            let ranged = Arc::new(FakeBlob::new(bytes.clone()));
            let plain = Arc::new(FakeBlob { size: None, ..FakeBlob::without_ranges(bytes.clone()) });
            for request in [file(&bench, "packed"), upload(bytes, None), request(&ranged), request(&plain)] {
                let record = import_once(&bench, &request);
                let what = format!("{options:?} {program} {:?}", request.source);
                assert_eq!((record.digest, record.source.format.as_str()), (expected, "qcow2"), "{what}");
                assert_eq!(record.transport, [transport], "{what}");
            }
        }
    }
    assert_eq!(bench.unfinished().len(), 0);
}

#[test]
fn archives_are_windows_of_files_and_streams_of_servers() {
    if !qemu_img() {
        return;
    }
    let bench = Bench::new();
    let raw = content(5, 6 << 20);
    fs::write(bench.path("disk.raw"), &raw).unwrap();
    let expected = digest_of(&raw);
    let images = bench.dir.path().join("images");
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", "-c", "disk.raw", "box.qcow2"], &images);
    fs::write(bench.path("box.ovf"), "<Envelope/>").unwrap();
    run("tar", &["-cf", "box.ova", "box.ovf", "box.qcow2"], &images);
    run("tar", &["-czf", "box.tar.gz", "box.ovf", "box.qcow2"], &images);
    run("gzip", &["-k", "box.qcow2"], &images);
    run("tar", &["-cf", "nested.tar", "box.qcow2.gz"], &images);
    run("gzip", &["-k", "nested.tar"], &images);
    for (name, transports) in [
        ("box.ova", &[Transport::Tar][..]),
        ("box.tar.gz", &[Transport::Gzip, Transport::Tar]),
        ("nested.tar", &[Transport::Tar, Transport::Gzip]),
        ("nested.tar.gz", &[Transport::Gzip, Transport::Tar, Transport::Gzip]),
    ] {
        let bytes = fs::read(bench.path(name)).unwrap();
        let ranged = Arc::new(FakeBlob::new(bytes.clone()));
        let plain = Arc::new(FakeBlob::without_ranges(bytes.clone()));
        let sum = Checksum::from(sha256(&bytes));
        for mut request in [file(&bench, name), upload(bytes, None), request(&ranged), request(&plain)] {
            request.checksums = vec![sum.clone()];
            let record = import_once(&bench, &request);
            assert_eq!(record.digest, expected, "{name} {:?}", request.source);
            assert_eq!(record.transport, transports, "{name}");
            assert!(record.member.unwrap().starts_with("box.qcow2"), "{name}");
        }
    }
    let mut wrong = file(&bench, "box.ova");
    wrong.reading.member = Some("box.ovf".into());
    assert_eq!(import(&bench, &wrong).unwrap_err().kind(), ErrorKind::Unsupported);
    wrong.reading.member = Some("none".into());
    assert_eq!(import(&bench, &wrong).unwrap_err().kind(), ErrorKind::NotFound);
    let mut no_archive = file(&bench, "box.qcow2");
    no_archive.reading.member = Some("box.ovf".into());
    assert_eq!(import(&bench, &no_archive).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(bench.unfinished().len(), 0);
}

#[test]
fn a_raw_disk_is_unpacked_only_if_its_name_says_so_or_its_user() {
    let bench = Bench::new();
    let raw = content(6, 1 << 20);
    fs::write(bench.path("disk"), &raw).unwrap();
    let Some(packed) = packed("gzip", &["-1"], &bench.path("disk")) else { return };
    let as_it_is = digest_of(&padded(&packed));
    // A guest may have written a compressed stream to its disk.
    for (name, unpack, expected) in [
        ("plain.raw", Unpack::Auto, as_it_is),
        ("plain.gz", Unpack::Stated(Vec::new()), as_it_is),
        ("plain.gz", Unpack::Auto, digest_of(&raw)),
        ("plain.raw", Unpack::Stated(vec![Transport::Gzip]), digest_of(&raw)),
    ] {
        fs::write(bench.path(name), &packed).unwrap();
        let mut request = file(&bench, name);
        request.reading.format = Some("raw".into());
        request.reading.unpack = unpack;
        assert_eq!(import_once(&bench, &request).digest, expected, "{name}");
    }
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A format whose map is at its end: nothing of it can be read before all of it is there.
#[test]
fn formats_with_their_tables_at_the_end_wait_for_it() {
    use crate::formats::{Installed, Scripted, Told};
    use witvirt_core::extent::{Extent, ExtentKind, Page};
    let trailer = Scripted::new("trailer", |source| {
        let mut end = [0; 8];
        let at = source.size() - 8;
        // As a real plugin would: no trailer, no image.
        let size = match source.read_at(&mut end, at) {
            Ok(8) if &end == b"trailer!" => at,
            _ => 0,
        };
        let data =
            |start, length| Extent { start, length, kind: ExtentKind::Data { source: 0, offset: start } };
        let page = move |start, length: u64, _| Page { extents: vec![data(start, length)], next: None };
        Told { virtual_size: size, broken: size == 0, page: Box::new(page), ..Told::default() }
    });
    let bench = Bench::with(Installed(vec![trailer]));
    let mut image = noise(8, 9 << 20);
    let expected = digest_of(&image);
    image.extend_from_slice(b"trailer!");
    fs::write(bench.path("image"), &image).unwrap();
    let Some(gz) = packed("gzip", &["-1"], &bench.path("image")) else { return };
    let ranged = Arc::new(FakeBlob::new(image.clone()));
    for mut request in [
        upload(gz.clone(), None),
        upload(image.clone(), None),
        upload(image.clone(), Some(image.len() as u64)),
        request(&ranged),
    ] {
        request.reading.format = Some("trailer".into());
        assert_eq!(import_once(&bench, &request).digest, expected, "{:?}", request.source);
    }
    // An image whose first bytes are a compressed stream's, as a .dmg's can be, is known by its end.
    let mut image = [&gz[..4096], &image[..100_000]].concat();
    image.truncate(100_000);
    image.extend_from_slice(b"trailer!");
    fs::write(bench.path("image"), &image).unwrap();
    let blob = Arc::new(FakeBlob::new(image));
    for request in [request(&blob), file(&bench, "image")] {
        assert_eq!(import_once(&bench, &request).source.format, "trailer", "{:?}", request.source);
    }
    // The server was asked for the end on its own.
    assert!(ranged.asked.lock().unwrap().iter().any(|(offset, _)| *offset >= 8 << 20));
}

#[test]
fn wrappings_within_one_another_have_little_memory() {
    let bench = Bench::new();
    fs::write(bench.path("disk.raw"), content(3, 1 << 20)).unwrap();
    // Whether it could be done.
    let wrap = |name: &str, dictionary: &str| {
        let options = format!("--lzma2=preset=0,dict={dictionary}");
        let packed = packed("xz", &["-T1", &options], &bench.path(name));
        packed.is_some_and(|packed| fs::write(bench.path("packed"), packed).is_ok())
    };
    let import_as = |wrappings: &str| {
        let mut request = file(&bench, "packed");
        request.reading.format = Some("raw".into());
        request.reading.unpack = wrappings.parse().unwrap();
        import(&bench, &request)
    };
    // A large window is for one of them.
    for (inner, outer, good) in [("8MiB", "64MiB", true), ("64MiB", "8MiB", false)] {
        if !wrap("disk.raw", inner) {
            return;
        }
        fs::rename(bench.path("packed"), bench.path("inner")).unwrap();
        assert!(wrap("inner", outer));
        match import_as("xz+xz") {
            Ok(imported) => assert!(good && imported.record.virtual_size == 1 << 20),
            Err(error) => {
                assert!(!good && error.kind() == ErrorKind::Limit, "{error}");
                assert!(error.to_string().contains("window of more than 8 MiB"), "{error}");
            }
        }
    }
    assert!(wrap("disk.raw", "1MiB"));
    for _ in 0..4 {
        fs::rename(bench.path("packed"), bench.path("inner")).unwrap();
        assert!(wrap("inner", "1MiB"));
    }
    let error = import_as("xz+xz+xz+xz+xz").unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().contains("more than 4 times")),
        (ErrorKind::Limit, true),
        "{error}"
    );
}
