//! What a stream may cost of space, time and memory, whatever it says of itself.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use witvirt_core::extent::{Extent, ExtentKind, Page};
use witvirt_disk::{
    ArtifactDisk, ArtifactPiece, ErrorKind, ImportRequest, ImportSource, Store, StoreOptions, Transport,
    Unpack, Upload,
};

use crate::fake::{FakeBlob, Shared};
use crate::formats::{Bench, Installed, Scripted, Told, noise};
use crate::transports::import;

const MIB: u64 = 1 << 20;

fn upload(reader: impl Read + Send + 'static, format: Option<&str>, unpack: &[Transport]) -> ImportRequest {
    let mut request = ImportRequest::of(ImportSource::Upload(Upload::new("standard input", None, reader)));
    request.reading.format = format.map(str::to_owned);
    if !unpack.is_empty() {
        request.reading.unpack = Unpack::Stated(unpack.to_vec());
    }
    request
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(preset: u32, bytes: &[u8]) -> Vec<u8> {
    let mut encoder =
        lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(preset)).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A small filesystem; gone when it is dropped.
struct Small(PathBuf, #[expect(dead_code, reason = "held")] tempfile::TempDir);

impl Small {
    /// `None`, and a line that says why, where it cannot be.
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "small"]).arg(dir.path()).output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(dir.path().to_owned(), dir)),
            _ => {
                println!("skipped: a tmpfs cannot be mounted here");
                None
            }
        }
    }

    fn bench(&self) -> Bench {
        let mut bench = Bench::new();
        bench.store = Store::open(&self.0.join("store"), StoreOptions::default()).unwrap();
        bench
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_stream_does_not_fill_the_filesystem() {
    let Some(small) = Small::new("128m") else { return };
    let bench = small.bench();
    let bytes = noise(31, 200 << 20);
    let error = import(&bench, &upload(Cursor::new(bytes.clone()), Some("raw"), &[])).unwrap_err();
    assert!(error.kind() == ErrorKind::NoSpace && error.to_string().contains("kept free"), "{error}");
    // The same through the spool, which keeps what nobody knows.
    let error = import(&bench, &upload(Cursor::new(bytes), None, &[])).unwrap_err();
    assert!(error.kind() == ErrorKind::NoSpace && error.to_string().contains("kept free"), "{error}");
    // There is room for what fits.
    import(&bench, &upload(Cursor::new(noise(32, 40 << 20)), Some("raw"), &[])).unwrap();
}

#[test]
fn zeros_of_a_stream_that_nobody_knows_take_no_space() {
    let Some(small) = Small::new("64m") else { return };
    let zeros = gzip(&vec![0; 200 << 20]);
    let error = import(&small.bench(), &upload(Cursor::new(zeros), None, &[])).unwrap_err();
    assert!(error.to_string().contains("no plugin recognises"), "{error}");
}

/// One small cluster that every entry of a table names.
#[test]
fn a_stream_is_not_multiplied_by_its_tables() {
    let page = |start: u64, length: u64, most: u32| {
        let cluster =
            |at: u64| Extent { start: at, length: 65536, kind: ExtentKind::Data { source: 0, offset: 4096 } };
        let end = (start + length).min(start + u64::from(most) * 65536);
        let extents = (start..end).step_by(65536).map(cluster).collect();
        Page { extents, next: (end < 1 << 40).then_some(end) }
    };
    let bomb = Scripted::new("bomb", move |_| Told {
        virtual_size: 1 << 40,
        page: Box::new(page),
        ..Told::default()
    });
    let bench = Bench::with(Installed(vec![bomb]));
    let bytes = noise(33, 1 << 20);
    let error = import(&bench, &upload(Cursor::new(bytes.clone()), Some("bomb"), &[])).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("twice"), "{error}");
    // A file can give them as often as one likes, but there is no room for a terabyte.
    fs::write(bench.path("bomb.gz"), gzip(&bytes)).unwrap();
    let mut request = crate::transports::file(&bench, "bomb.gz");
    request.reading.format = Some("bomb".into());
    let error = import(&bench, &request).unwrap_err();
    assert!(error.kind() == ErrorKind::NoSpace && error.to_string().contains("not enough space"), "{error}");
    assert_eq!(bench.unfinished().len(), 0);
}

/// The header of a member, and its content.
fn member(name: &str, kind: u8, content: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    change(&mut header);
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend_from_slice(content);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

#[test]
fn headers_of_a_member_do_not_add_up() {
    let bench = Bench::new();
    let ranges = b"23 GNU.sparse.offset=0\n25 GNU.sparse.numbytes=0\n".repeat(100);
    let one = member("x", b'x', &ranges, |_| {});
    let disk = member("disk.raw", b'0', &[7; 512], |_| {});
    for (count, refused) in [(16, false), (17, true), (3000, true)] {
        let archive = [one.repeat(count), disk.clone()].concat();
        let request = upload(Cursor::new(archive), Some("raw"), &[Transport::Tar]);
        match import(&bench, &request) {
            Err(error) if refused => {
                let text = error.to_string();
                assert!(
                    error.kind() == ErrorKind::Limit && text.contains("more than 16 extended"),
                    "{error}"
                );
            }
            outcome => assert!(!refused && outcome.is_ok(), "{count}"),
        }
    }
}

/// A GNU sparse member with one range of data.
fn sparse(name: &str, size: u64, offset: u64, data: &[u8]) -> Vec<u8> {
    member(name, b'S', data, |header| {
        let binary = |number: u64| [&[0x80, 0, 0, 0][..], &number.to_be_bytes()].concat();
        header[257..265].copy_from_slice(b"ustar  \0");
        header[386..398].copy_from_slice(&binary(offset));
        header[398..410].copy_from_slice(&binary(data.len() as u64));
        header[483..495].copy_from_slice(&binary(size));
    })
}

/// Terabytes of nothing in an archive are as quick as in a file.
#[test]
fn holes_of_an_archive_are_holes() {
    let bench = Bench::new();
    let data = noise(34, 3 << 20);
    let (size, offset) = (6 << 40, (2 << 40) + 5 * 65536);
    let archive = sparse("disk.raw", size, offset, &data);
    let record =
        import(&bench, &upload(Cursor::new(archive), Some("raw"), &[Transport::Tar])).unwrap().record;
    assert_eq!(record.virtual_size, size);
    assert!(record.allocated < 8 * MIB, "{}", record.allocated);
    let disk = bench.dir.path().join("store/images").join(record.digest.hex()).join("disk.raw");
    let file = fs::File::open(disk).unwrap();
    let mut bytes = vec![0; data.len() + 2];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, offset - 1).unwrap();
    assert!(bytes[1..=data.len()] == data && bytes[0] == 0 && bytes[data.len() + 1] == 0);
}

#[test]
fn holes_of_an_archive_are_holes_for_plugins() {
    let trailer = Scripted::new("trailer", |source| {
        let mut end = [0; 8];
        let at = source.size() - 8;
        let found = source.read_at(&mut end, at).is_ok_and(|read| read == 8) && &end == b"trailer!";
        let page = move |start, length: u64, _| Page {
            extents: vec![Extent { start, length, kind: ExtentKind::Data { source: 0, offset: start } }],
            next: None,
        };
        let virtual_size = if found { 4 * MIB } else { 0 };
        Told { virtual_size, broken: !found, page: Box::new(page), ..Told::default() }
    });
    let bench = Bench::with(Installed(vec![trailer]));
    let size = 5 << 40;
    let archive = sparse("disk.img", size, size - 8, b"trailer!");
    let request = upload(Cursor::new(archive), Some("trailer"), &[Transport::Tar]);
    assert_eq!(import(&bench, &request).unwrap().record.virtual_size, 4 * MIB);
}

#[test]
fn bombs_in_bombs_end_soon() {
    let bench = Bench::new();
    // 64 GiB.
    let once = gzip(&vec![0; 64 << 20]).repeat(1024);
    let thrice = gzip(&gzip(&once));
    assert!(thrice.len() < 64 << 10, "{}", thrice.len());
    let request = upload(Cursor::new(thrice), Some("raw"), &[Transport::Gzip; 3]);
    let error = import(&bench, &request).unwrap_err();
    assert!(error.kind() == ErrorKind::Limit && error.to_string().contains("out of the first"), "{error}");
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(&vec![0; 64 << 20]).unwrap();
    let zeros = encoder.finish().unwrap().repeat(1024);
    let error = import(&bench, &upload(Cursor::new(zeros), Some("raw"), &[Transport::Bzip2])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert_eq!(bench.unfinished().len(), 0);
}

#[test]
fn one_of_several_decoders_may_have_a_large_window() {
    let bench = Bench::new();
    let raw = noise(35, 1 << 20);
    let large = xz(9, &raw);
    for (bytes, transports) in [
        (large.clone(), &[Transport::Xz][..]),
        (gzip(&large), &[Transport::Gzip, Transport::Xz]),
        (xz(6, &large), &[Transport::Xz; 2]),
        (xz(9, &xz(6, &raw)), &[Transport::Xz; 2]),
    ] {
        let record = import(&bench, &upload(Cursor::new(bytes), Some("raw"), transports)).unwrap().record;
        assert_eq!(record.virtual_size, MIB, "{transports:?}");
    }
    let request = upload(Cursor::new(xz(9, &large)), Some("raw"), &[Transport::Xz; 2]);
    let error = import(&bench, &request).unwrap_err();
    assert!(error.kind() == ErrorKind::Limit && error.to_string().contains("window"), "{error}");
    let deep = (0..5).fold(raw, |bytes, _| gzip(&bytes));
    let error = import(&bench, &upload(Cursor::new(deep), Some("raw"), &[Transport::Gzip; 5])).unwrap_err();
    assert!(error.kind() == ErrorKind::Limit && error.to_string().contains("more than 4 times"), "{error}");
}

/// They are decoded at the same time, but those with large windows one after the other.
#[test]
fn pieces_with_large_windows() {
    let bench = Bench::new();
    let raw = noise(36, 6 << 20);
    let piece = |(number, bytes): (usize, &[u8])| ArtifactPiece {
        name: format!("layer {number}"),
        offset: number as u64 * MIB,
        length: Some(MIB),
        blobs: vec![Arc::new(Shared(Arc::new(FakeBlob::new(xz(if number < 2 { 6 } else { 9 }, bytes)))))],
        unpack: Unpack::Stated(vec![Transport::Xz]),
        member: None,
        whiteouts: None,
        digest: None,
    };
    let pieces = raw.chunks(MIB as usize).enumerate().map(piece).collect();
    let disk = ArtifactDisk {
        label: "registry/vm@1".into(),
        size: Some(raw.len() as u64),
        pieces,
        files: Vec::new(),
        machine: Vec::new(),
    };
    let mut request = ImportRequest::of(ImportSource::Artifact(disk));
    request.reading.format = Some("raw".into());
    assert_eq!(import(&bench, &request).unwrap().record.virtual_size, raw.len() as u64);
}
