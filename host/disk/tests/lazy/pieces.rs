//! Disks of artifacts in pieces that decode independently, as tart stores them.

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use witvirt_core::Digest;
use witvirt_disk::nbd::Export;
use witvirt_disk::{
    ArtifactDisk, ArtifactPiece, Blob, Connect, Error, ErrorKind, Lazily, LazyImage, LazyPhase, LazyRequest,
    Transport, Unpack,
};

use crate::formats::qemu_img;
use crate::support::{
    AT_ONCE, NEVER, Place, content, numbers, read, request, resume_with, served, sha256, until,
};

const LABEL: &str = "docker://registry.example/vm@sha256:17";

/// Blobs as Apple's compressor frames them, in a registry.
#[derive(Debug)]
struct Registry {
    blobs: Vec<Stored>,
    up: AtomicBool,
    /// Bytes after which it goes down by itself.
    budget: AtomicU64,
    served: AtomicU64,
}

#[derive(Debug)]
struct Stored {
    bytes: Mutex<Vec<u8>>,
    size: u64,
    digest: Digest,
    piece: (u64, u64),
    decoded: Digest,
    served: AtomicU64,
}

#[derive(Debug)]
struct Object(Arc<Registry>, usize);

impl Blob for Object {
    fn label(&self) -> &str {
        "a layer"
    }

    fn size(&self) -> Option<u64> {
        Some(self.0.blobs[self.1].size)
    }

    fn ranges(&self) -> bool {
        true
    }

    fn version(&self) -> Option<&str> {
        None
    }

    fn digest(&self) -> Option<Digest> {
        Some(self.0.blobs[self.1].digest)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        self.0.check()?;
        let blob = &self.0.blobs[self.1];
        let bytes = blob.bytes.lock().unwrap();
        let rest = &bytes[(offset as usize).min(bytes.len())..];
        let length = rest.len().min(buffer.len()).min(50_000);
        buffer[..length].copy_from_slice(&rest[..length]);
        for count in [&blob.served, &self.0.served] {
            count.fetch_add(length as u64, Ordering::SeqCst);
        }
        if self.0.budget.fetch_sub(length as u64, Ordering::SeqCst) <= length as u64 {
            self.0.up.store(false, Ordering::SeqCst);
        }
        Ok(length)
    }

    fn stream(&self, offset: u64) -> Result<Box<dyn Read + Send>, Error> {
        self.0.check()?;
        Ok(Box::new(Stream(Object(self.0.clone(), self.1), offset)))
    }
}

struct Stream(Object, u64);

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(self.1, buffer)?;
        self.1 += read as u64;
        Ok(read)
    }
}

impl Registry {
    /// `raw` in pieces of `chunk` bytes; those of zeros are left out.
    fn new(raw: &[u8], chunk: usize) -> Arc<Self> {
        let stored = |(number, bytes): (usize, &[u8])| {
            let packed = lz4_apple(bytes);
            Stored {
                size: packed.len() as u64,
                digest: sha256(&packed),
                bytes: Mutex::new(packed),
                piece: ((number * chunk) as u64, bytes.len() as u64),
                decoded: sha256(bytes),
                served: AtomicU64::new(0),
            }
        };
        let full = |(_, bytes): &(usize, &[u8])| bytes.iter().any(|byte| *byte != 0);
        Arc::new(Self {
            blobs: raw.chunks(chunk).enumerate().filter(full).map(stored).collect(),
            up: AtomicBool::new(true),
            budget: AtomicU64::new(u64::MAX),
            served: AtomicU64::new(0),
        })
    }

    fn check(&self) -> Result<(), Error> {
        match self.up.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Unavailable, "connection refused")),
        }
    }

    fn connect(self: &Arc<Self>, size: u64) -> Connect {
        let registry = Arc::clone(self);
        Arc::new(move || {
            registry.check()?;
            let piece = |(index, blob): (usize, &Stored)| ArtifactPiece {
                name: format!("layer {}", index + 1),
                offset: blob.piece.0,
                length: Some(blob.piece.1),
                blobs: vec![Arc::new(Object(registry.clone(), index)) as Arc<dyn Blob>],
                unpack: Unpack::Stated(vec![Transport::Lz4Apple]),
                member: None,
                whiteouts: None,
                digest: Some(blob.decoded),
            };
            let pieces = registry.blobs.iter().enumerate().map(piece).collect();
            Ok(vec![ArtifactDisk {
                label: LABEL.into(),
                size: Some(size),
                pieces,
                files: Vec::new(),
                machine: Vec::new(),
            }])
        })
    }

    fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }

    fn begun(&self) -> usize {
        self.blobs.iter().filter(|blob| blob.served.load(Ordering::SeqCst) > 0).count()
    }
}

fn lz4_apple(bytes: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    for block in bytes.chunks(64 << 10) {
        let packed = lz4_flex::block::compress(block);
        framed.extend_from_slice(b"bv41");
        framed.extend_from_slice(&(block.len() as u32).to_le_bytes());
        framed.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        framed.extend_from_slice(&packed);
    }
    framed.extend_from_slice(b"bv4$");
    framed
}

fn wanted(format: &str) -> LazyRequest {
    LazyRequest { url: LABEL.into(), format: Some(format.into()), ..request() }
}

fn begin(place: &Place, connect: Connect, pace: witvirt_disk::Pace) -> Arc<LazyImage> {
    served(place.begin_with(&place.access_to(connect, pace), &wanted("raw")).unwrap())
}

fn arrived(image: &LazyImage) -> Digest {
    until("the image to arrive", || matches!(image.status().phase, LazyPhase::Arrived(_)));
    let LazyPhase::Arrived(digest) = image.status().phase else { unreachable!() };
    digest
}

#[test]
fn only_the_pieces_that_hold_what_is_read_are_fetched_and_each_once() {
    let mut raw = content(41, (11 << 20) + 512);
    raw[3 << 20..7 << 20].fill(0);
    // Aligned, and of no alignment at all.
    for chunk in [1 << 20, 700_001, 3 << 20] {
        let place = Place::new();
        let registry = Registry::new(&raw, chunk);
        let image = begin(&place, registry.connect(raw.len() as u64), NEVER);
        assert_eq!(image.virtual_size(), raw.len() as u64);
        assert!(!image.is_promised(), "what is read is verified: nothing is left for the end");
        assert_eq!(registry.begun(), 0, "nothing is needed to open a raw disk");
        assert!(read(&image, 4 << 20, 4096).iter().all(|byte| *byte == 0));
        assert!(registry.begun() <= 1, "zeros between pieces were fetched");
        let before = registry.begun();
        assert!(read(&image, 10 << 20, 4096) == raw[10 << 20..][..4096]);
        assert!(registry.begun() == before + 1, "{} pieces for one read", registry.begun() - before);
        let mut next = numbers(chunk as u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let seed = next();
                let (image, raw) = (&image, &raw);
                scope.spawn(move || {
                    let mut next = numbers(seed);
                    for _ in 0..40 {
                        let length = 1 + next() as usize % 300_000;
                        let at = next() as usize % (raw.len() - length);
                        assert!(read(image, at as u64, length) == raw[at..at + length], "{length} at {at}");
                    }
                });
            }
        });
        assert!(read(&image, 0, raw.len()) == raw);
        assert_eq!(registry.served(), registry.size(), "something was fetched twice");
        assert_eq!(image.status().present, image.status().total);
    }
}

#[test]
fn an_image_file_in_pieces_is_read_by_its_plugin_and_becomes_an_image() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(42, 9 << 20);
    let file = place.qcow2(&bytes, &[]);
    let registry = Registry::new(&file, 2 << 20);
    let access = place.access_to(registry.connect(file.len() as u64), AT_ONCE);
    let image = served(place.begin_with(&access, &wanted("qcow2")).unwrap());
    assert!(read(&image, 5 << 20, 100_000) == bytes[5 << 20..][..100_000]);
    assert_eq!(arrived(&image), place.content_digest(&bytes));
    assert_eq!(registry.served(), registry.size());
    let record = place.store.list().unwrap().remove(0).record.unwrap();
    assert_eq!((record.origin.source.path.as_str(), record.origin.source.digest), (LABEL, None));
    assert!(read(&image, 0, bytes.len()) == bytes, "read from the store");
}

#[test]
fn not_a_byte_of_a_piece_is_read_that_is_not_what_its_digest_says() {
    let raw = content(43, 4 << 20);
    let at = (2 << 20) + 5;
    let spoil: [fn(&mut Vec<u8>); 4] = [
        // Decodes to something else; does not decode; has something behind its end; lacks its end.
        |bytes| *bytes.last_mut().unwrap() ^= 0x20,
        |bytes| bytes[1] ^= 0x20,
        |bytes| bytes.extend_from_slice(b"more"),
        |bytes| {
            let length = bytes.len();
            bytes[length / 2..].fill(0);
        },
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let place = Place::new();
        let registry = Registry::new(&raw, 1 << 20);
        let image = begin(&place, registry.connect(raw.len() as u64), NEVER);
        let good = registry.blobs[2].bytes.lock().unwrap().clone();
        spoil(&mut registry.blobs[2].bytes.lock().unwrap());
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| read(&image, at, 1000));
            until("the image to tell", || {
                image.status().waiting.is_some_and(|waiting| waiting.reason.contains("with the digest"))
            });
            assert!(!reader.is_finished(), "{number}: bytes were read that are not what they should be");
            assert_eq!(image.status().phase, LazyPhase::Arriving, "a registry can be mended");
            *registry.blobs[2].bytes.lock().unwrap() = good;
            assert!(reader.join().unwrap() == raw[at as usize..][..1000], "{number}");
        });
        assert!(read(&image, 0, raw.len()) == raw, "{number}: something is left of the bad attempt");
    }
}

#[test]
fn an_artifact_that_contradicts_itself_ends_the_machines_over_it() {
    let raw = content(44, 4 << 20);
    for word in ["not to", "bytes instead of", "unpacks to more"] {
        let place = Place::new();
        let registry = Registry::new(&raw, 1 << 20);
        let connect = registry.connect(raw.len() as u64);
        let connect: Connect = Arc::new(move || {
            let mut places = connect()?;
            let piece = &mut places[0].pieces[3];
            match word {
                "not to" => piece.digest = Some(sha256(b"other")),
                "bytes instead of" => piece.unpack = Unpack::Stated(Vec::new()),
                _ => piece.length = piece.length.map(|length| length - 512),
            }
            Ok(places)
        });
        let image = begin(&place, connect, NEVER);
        assert!(read(&image, 0, 4096) == raw[..4096]);
        let error = image.read(&mut [0; 512], 3 << 20, &|| false).unwrap_err();
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(word), "{error}");
        until("the image to have failed", || matches!(image.status().phase, LazyPhase::Failed(_)));
        // What is here is read all the same: whoever pauses the guest needs a moment.
        assert!(read(&image, 0, 4096) == raw[..4096]);
        let id = image.id().to_owned();
        drop(image);
        let image = resume_with(&place, &place.access_to(registry.connect(raw.len() as u64), NEVER), &id);
        assert!(matches!(image.status().phase, LazyPhase::Failed(reason) if reason.contains(word)));
    }
}

#[test]
fn a_registry_that_is_lost_in_the_middle_of_a_piece_goes_on_there() {
    let place = Place::new();
    let raw = content(45, 8 << 20);
    let registry = Registry::new(&raw, 4 << 20);
    let image = begin(&place, registry.connect(raw.len() as u64), NEVER);
    registry.budget.store(registry.blobs[1].size / 2, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&image, 5 << 20, 8192));
        until("the image to say that it waits", || image.status().waiting.is_some());
        assert!(!reader.is_finished());
        let waiting = image.status().waiting.unwrap();
        assert!(waiting.server == LABEL && waiting.reason.contains("connection refused"), "{waiting:?}");
        // Whoever no longer waits is let go, also while the registry is away.
        let gone = image.read(&mut [0; 512], 6 << 20, &|| true).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::Cancelled);
        registry.budget.store(u64::MAX, Ordering::SeqCst);
        registry.up.store(true, Ordering::SeqCst);
        assert!(reader.join().unwrap() == raw[5 << 20..][..8192]);
    });
    assert!(image.status().waiting.is_none());
    assert_eq!(registry.served(), registry.blobs[1].size, "the piece was begun anew");
}

#[test]
fn the_next_process_goes_on_with_the_pieces_that_are_there_and_checks_them() {
    let place = Place::new();
    let raw = content(46, 9 << 20);
    let registry = Registry::new(&raw, 2 << 20);
    registry.budget.store(registry.size() * 2 / 3, Ordering::SeqCst);
    let connect = registry.connect(raw.len() as u64);
    let image = begin(&place, connect.clone(), AT_ONCE);
    until("the registry to go down", || image.status().waiting.is_some());
    let (id, present) = (image.id().to_owned(), image.status().present);
    assert!(present >= 4 << 20, "{present}");
    drop(image);
    let source = place.dir.path().join("store/lazy").join(&id).join("source");
    let source = std::fs::File::options().read(true).write(true).open(source).unwrap();
    let mut byte = [0];
    source.read_exact_at(&mut byte, (2 << 20) + 99).unwrap();
    source.write_all_at(&[byte[0] ^ 4], (2 << 20) + 99).unwrap();

    let image = resume_with(&place, &place.access_to(connect.clone(), NEVER), &id);
    assert!(read(&image, 0, 4096) == raw[..4096], "without a registry, what is here is read");
    registry.served.store(0, Ordering::SeqCst);
    registry.budget.store(u64::MAX, Ordering::SeqCst);
    registry.up.store(true, Ordering::SeqCst);
    assert!(read(&image, 0, raw.len()) == raw, "damage has reached the guest");
    let here = present / (2 << 20) as u64;
    let sizes: Vec<u64> = registry.blobs.iter().map(|blob| blob.size).collect();
    let again: u64 = sizes[here as usize..].iter().sum::<u64>() + sizes[1];
    assert_eq!(registry.served(), again, "{sizes:?}");
    drop(image);
    let image = resume_with(&place, &place.access_to(connect, AT_ONCE), &id);
    assert_eq!(arrived(&image), place.content_digest(&raw));
    assert_eq!(registry.served(), again, "something was fetched once more");
}

#[test]
fn pieces_that_nobody_can_wait_for_or_verify_are_told() {
    let place = Place::new();
    let raw = content(47, 2 << 20);
    let registry = Registry::new(&raw, 1 << 20);
    let whole = |change: &dyn Fn(&mut ArtifactDisk), word: &str| {
        let mut places = registry.connect(raw.len() as u64)().unwrap();
        change(&mut places[0]);
        let access = place.access_to(registry.connect(raw.len() as u64), NEVER);
        match place.store.begin_lazy(&access, &wanted("raw"), places) {
            Ok(Lazily::Whole(reason)) => assert!(reason.contains(word), "{reason}"),
            other => panic!("{word}: {other:?}"),
        }
    };
    whole(&|disk| disk.pieces[0].length = Some(2 << 30), "decodes to more than");
    whole(&|disk| disk.pieces = vec![disk.pieces[0].clone(); 5000], "5000 pieces");
    whole(&|disk| disk.size = None, "do not say where");
    let mut places = registry.connect(raw.len() as u64)().unwrap();
    places[0].pieces.swap(0, 1);
    let access = place.access_to(registry.connect(raw.len() as u64), NEVER);
    let error = place.store.begin_lazy(&access, &wanted("raw"), places).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(registry.served(), 0);
}
