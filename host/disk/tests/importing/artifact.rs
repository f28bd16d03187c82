//! Disks in pieces.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use witvirt_core::Digest;
use witvirt_disk::{
    ArtifactDisk, ArtifactPiece, Blob, ErrorKind, ImportRequest, ImportSource, Progress, Transport, Unpack,
};

use crate::fake::{FakeBlob, Shared};
use crate::formats::{Bench, content, noise, qemu_img, run};
use crate::transports::import;

fn sha256(bytes: &[u8]) -> Digest {
    use sha2::Digest as _;
    Digest::from_bytes(sha2::Sha256::digest(bytes).into())
}

fn digest_of(bytes: &[u8]) -> Digest {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    witvirt_disk::content::digest_of_file(file, 1).unwrap()
}

/// Blocks as Apple's compressor makes them, some of them stored.
fn lz4_apple(bytes: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    for (number, block) in bytes.chunks(64 << 10).enumerate() {
        let packed = lz4_flex::block::compress(block);
        if number % 5 == 4 || packed.len() >= block.len() {
            framed.extend_from_slice(b"bv4-");
            framed.extend_from_slice(&(block.len() as u32).to_le_bytes());
            framed.extend_from_slice(block);
            continue;
        }
        framed.extend_from_slice(b"bv41");
        framed.extend_from_slice(&(block.len() as u32).to_le_bytes());
        framed.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        framed.extend_from_slice(&packed);
    }
    framed.extend_from_slice(b"bv4$");
    framed
}

struct Built {
    disk: ArtifactDisk,
    blobs: Vec<Arc<FakeBlob>>,
}

/// A disk in chunks of `chunk` bytes, as tart stores it; chunks of zeros are left out.
fn build(raw: &[u8], chunk: usize) -> Built {
    let mut blobs = Vec::new();
    let mut pieces = Vec::new();
    for (number, bytes) in raw.chunks(chunk).enumerate() {
        if bytes.iter().all(|byte| *byte == 0) {
            continue;
        }
        let stored = lz4_apple(bytes);
        let blob = FakeBlob {
            digest: Some(sha256(&stored)),
            label: format!("chunk {number}"),
            ..FakeBlob::new(stored)
        };
        let blob = Arc::new(blob);
        blobs.push(Arc::clone(&blob));
        pieces.push(ArtifactPiece {
            name: format!("layer {number}"),
            offset: (number * chunk) as u64,
            length: Some(bytes.len() as u64),
            blobs: vec![Arc::new(Shared(blob)) as Arc<dyn Blob>],
            unpack: Unpack::Stated(vec![Transport::Lz4Apple]),
            member: None,
            whiteouts: None,
            digest: Some(sha256(bytes)),
        });
    }
    Built {
        disk: ArtifactDisk {
            label: "registry/vm@1".into(),
            size: Some(raw.len() as u64),
            pieces,
            files: Vec::new(),
            machine: Vec::new(),
        },
        blobs,
    }
}

fn request(disk: &ArtifactDisk, format: Option<&str>) -> ImportRequest {
    let mut request = ImportRequest::of(ImportSource::Artifact(disk.clone()));
    request.reading.format = format.map(str::to_owned);
    request
}

#[test]
fn pieces_are_put_together_and_counted_one_by_one() {
    let bench = Bench::new();
    let mut raw = content(21, 23 << 20);
    raw[8 << 20..13 << 20].fill(0);
    raw.truncate((23 << 20) - 700);
    // Whole chunks of the store's, parts of them, and ones of no alignment at all.
    for chunk in [4 << 20, 3 << 19, 999_999] {
        let built = build(&raw, chunk);
        let progress = Progress::new();
        let outcome =
            bench.store.import(bench.access(), &request(&built.disk, Some("raw")), &progress).unwrap();
        let mut padded = raw.clone();
        padded.resize(raw.len().next_multiple_of(512), 0);
        assert_eq!(outcome.record.digest, digest_of(&padded), "{chunk}");
        bench.store.verify(&outcome.record.digest.to_string(), &Progress::new()).unwrap();
        let parts = progress.parts();
        assert_eq!(parts.len(), built.blobs.len());
        assert!(parts.iter().all(|part| part.done == part.total && part.total > 0), "{parts:?}");
        bench.store.remove(&outcome.record.digest.to_string(), &[], true).unwrap();
    }
    assert_eq!(bench.unfinished().len(), 0);
}

#[test]
fn an_image_file_in_pieces_is_read_by_its_plugin() {
    if !qemu_img() {
        return;
    }
    let bench = Bench::new();
    let raw = content(22, 16 << 20);
    std::fs::write(bench.path("disk.raw"), &raw).unwrap();
    run(
        "qemu-img",
        &["convert", "-f", "raw", "-O", "qcow2", "disk.raw", "disk.qcow2"],
        &bench.dir.path().join("images"),
    );
    let built = build(&std::fs::read(bench.path("disk.qcow2")).unwrap(), 3 << 20);
    for format in [None, Some("qcow2")] {
        assert_eq!(import(&bench, &request(&built.disk, format)).unwrap().record.digest, digest_of(&raw));
    }
    // One piece that is all of it, in two blobs.
    let bytes = std::fs::read(bench.path("disk.qcow2")).unwrap();
    let (head, tail) = bytes.split_at(bytes.len() / 3);
    let blob = |bytes: &[u8]| {
        let blob = FakeBlob { digest: Some(sha256(bytes)), ..FakeBlob::new(bytes.to_vec()) };
        Arc::new(Shared(Arc::new(blob))) as Arc<dyn Blob>
    };
    for blobs in [vec![blob(head), blob(tail)], vec![blob(&bytes)]] {
        let piece = ArtifactPiece {
            name: "the layer".into(),
            offset: 0,
            length: Some(bytes.len() as u64),
            blobs,
            unpack: Unpack::Auto,
            member: None,
            whiteouts: None,
            digest: Some(sha256(&bytes)),
        };
        let mut disk = ArtifactDisk {
            label: "registry/vm@2".into(),
            size: None,
            pieces: vec![piece],
            files: Vec::new(),
            machine: Vec::new(),
        };
        assert_eq!(import(&bench, &request(&disk, None)).unwrap().record.digest, digest_of(&raw));
        disk.pieces[0].digest = Some(sha256(b"other"));
        assert_eq!(import(&bench, &request(&disk, None)).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert_eq!(bench.unfinished().len(), 0);
}

#[test]
fn a_piece_that_is_not_what_it_should_be_is_refused() {
    let bench = Bench::new();
    let raw = content(23, 8 << 20);
    let good = build(&raw, 2 << 20).disk;
    let change = |change: &dyn Fn(&mut ArtifactDisk)| {
        let mut disk = good.clone();
        change(&mut disk);
        import(&bench, &request(&disk, Some("raw"))).unwrap_err().kind()
    };
    assert_eq!(change(&|disk| disk.pieces[1].digest = Some(sha256(b"x"))), ErrorKind::Corrupt);
    assert_eq!(change(&|disk| disk.pieces[1].blobs = disk.pieces[2].blobs.clone()), ErrorKind::Corrupt);
    assert_eq!(change(&|disk| disk.pieces[1].length = Some(1 << 20)), ErrorKind::Corrupt);
    assert_eq!(change(&|disk| disk.pieces[1].length = Some(3 << 20)), ErrorKind::InvalidInput);
    assert_eq!(change(&|disk| disk.pieces[1].length = None), ErrorKind::InvalidInput);
    assert_eq!(change(&|disk| disk.pieces[1].offset = u64::MAX), ErrorKind::InvalidInput);
    assert_eq!(change(&|disk| disk.pieces[1].blobs.clear()), ErrorKind::InvalidInput);
    assert_eq!(change(&|disk| disk.pieces.swap(0, 1)), ErrorKind::InvalidInput);
    assert_eq!(change(&|disk| disk.size = None), ErrorKind::InvalidInput);
    assert_eq!(change(&|disk| disk.size = Some(u64::MAX)), ErrorKind::Limit);
    let wrong = FakeBlob { digest: Some(sha256(b"x")), ..FakeBlob::new(lz4_apple(&raw[..2 << 20])) };
    let wrong = Arc::new(Shared(Arc::new(wrong)));
    assert_eq!(change(&|disk| disk.pieces[0].blobs = vec![wrong.clone()]), ErrorKind::Corrupt);
    assert_eq!(bench.unfinished().len(), 0);
}

/// Somebody on the way could have the layer below searched instead, which may hold an older disk.
#[test]
fn a_layer_without_the_disk_is_believed_only_if_it_is_the_right_one() {
    let bench = Bench::new();
    let empty = vec![0; 1024];
    let layer = |digest| {
        let blob = FakeBlob { digest: Some(digest), ..FakeBlob::new(empty.clone()) };
        let piece = ArtifactPiece {
            name: "the layer".into(),
            offset: 0,
            length: None,
            blobs: vec![Arc::new(Shared(Arc::new(blob)))],
            unpack: Unpack::Stated(vec![Transport::Tar]),
            member: Some("disk/".into()),
            whiteouts: None,
            digest: None,
        };
        ArtifactDisk {
            label: "registry/vm@3".into(),
            size: None,
            pieces: vec![piece],
            files: Vec::new(),
            machine: Vec::new(),
        }
    };
    let kind = |digest| import(&bench, &request(&layer(digest), None)).unwrap_err().kind();
    assert_eq!(kind(sha256(&empty)), ErrorKind::NotFound);
    assert_eq!(kind(sha256(b"a layer with a disk")), ErrorKind::Corrupt);
    assert_eq!(bench.unfinished().len(), 0);
}

#[test]
fn finished_pieces_are_not_fetched_again() {
    let bench = Bench::new();
    // So many that their description is longer than a line of the journal may be.
    let raw = noise(24, 64 << 20);
    let built = build(&raw, 1 << 20);
    let last = built.blobs.last().unwrap();
    last.cut.store(last.bytes.len() as u64 / 2, Ordering::Relaxed);
    let error = import(&bench, &request(&built.disk, Some("raw"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(bench.unfinished().len(), 1);
    last.cut.store(u64::MAX, Ordering::Relaxed);
    let before: u64 = built.blobs.iter().map(|blob| blob.served()).sum();
    assert_eq!(import(&bench, &request(&built.disk, Some("raw"))).unwrap().record.digest, digest_of(&raw));
    let again = built.blobs.iter().map(|blob| blob.served()).sum::<u64>() - before;
    assert_eq!(again, last.bytes.len() as u64);
    assert_eq!(bench.unfinished().len(), 0);
}
