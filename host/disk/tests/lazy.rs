//! Disks that are read while their image arrives: from servers that leave and come back, over kills, and by the NBD
//! clients of others.
#![allow(missing_docs)]

mod formats;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use formats::{Installed, Scripted, Told, installed, qemu_img, run};
use sha2::{Digest as _, Sha256};
use witvirt_core::extent::{Encoded, Extent, ExtentKind, Page};
use witvirt_core::format::Formats;
use witvirt_core::{Digest, Name};
use witvirt_disk::nbd::{Export, NbdServer};
use witvirt_disk::{
    Access, AllowedDirs, Blob, CollectRules, Connect, Error, ErrorKind, ImageState, ImportRequest, Lazily,
    LazyAccess, LazyImage, LazyPhase, LazyRequest, Pace, Progress, SourceFile, Store, StoreOptions,
};

const URL: &str = "https://images.example/disk.qcow2";
const CHUNK: u64 = 1 << 20;

/// A server with one object.
#[derive(Debug)]
struct Server {
    bytes: Mutex<Arc<Vec<u8>>>,
    version: Mutex<Option<String>>,
    ranges: bool,
    up: AtomicBool,
    /// Bytes after which it goes down by itself.
    budget: AtomicU64,
    served: AtomicU64,
    opened: AtomicU64,
}

impl Server {
    fn new(bytes: Vec<u8>) -> Arc<Self> {
        Self::with(bytes, true, Some("v1"))
    }

    fn with(bytes: Vec<u8>, ranges: bool, version: Option<&str>) -> Arc<Self> {
        Arc::new(Self {
            bytes: Mutex::new(Arc::new(bytes)),
            version: Mutex::new(version.map(str::to_owned)),
            ranges,
            up: AtomicBool::new(true),
            budget: AtomicU64::new(u64::MAX),
            served: AtomicU64::new(0),
            opened: AtomicU64::new(0),
        })
    }

    fn up(&self, up: bool) {
        self.up.store(up, Ordering::SeqCst);
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }

    fn connect(self: &Arc<Self>) -> Connect {
        let server = Arc::clone(self);
        Arc::new(move || {
            server.check()?;
            server.opened.fetch_add(1, Ordering::SeqCst);
            let (bytes, version) = (server.bytes.lock().unwrap(), server.version.lock().unwrap());
            let object = Object { server: server.clone(), bytes: bytes.clone(), version: version.clone() };
            Ok(Arc::new(object) as Arc<dyn Blob>)
        })
    }

    fn check(&self) -> Result<(), Error> {
        if self.up.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable, "connection refused"))
    }
}

#[derive(Debug)]
struct Object {
    server: Arc<Server>,
    bytes: Arc<Vec<u8>>,
    version: Option<String>,
}

impl Blob for Object {
    fn label(&self) -> &str {
        URL
    }

    fn size(&self) -> Option<u64> {
        Some(self.bytes.len() as u64)
    }

    fn ranges(&self) -> bool {
        self.server.ranges
    }

    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    fn digest(&self) -> Option<Digest> {
        None
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        self.server.check()?;
        let rest = &self.bytes[(offset as usize).min(self.bytes.len())..];
        // Short reads are allowed.
        let length = rest.len().min(buffer.len()).min(700_000);
        buffer[..length].copy_from_slice(&rest[..length]);
        self.server.served.fetch_add(length as u64, Ordering::SeqCst);
        let left = self.server.budget.fetch_sub(length as u64, Ordering::SeqCst);
        if left <= length as u64 {
            self.server.up(false);
        }
        Ok(length)
    }

    fn stream(&self, offset: u64) -> Result<Box<dyn Read + Send>, Error> {
        self.server.check()?;
        Ok(Box::new(std::io::Cursor::new(self.bytes[offset as usize..].to_vec())))
    }
}

/// A store that a lazy image can be kept in.
struct Place {
    dir: tempfile::TempDir,
    store: Arc<Store>,
    formats: Arc<Installed>,
}

/// Nothing in the background, for tests that count.
const NEVER: Pace = Pace { quiet: Duration::from_secs(3600), latest: Duration::from_secs(3600) };
const AT_ONCE: Pace = Pace { quiet: Duration::ZERO, latest: Duration::ZERO };

impl Place {
    fn new() -> Self {
        Self::with(installed())
    }

    fn with(formats: Installed) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap();
        fs::create_dir(dir.path().join("files")).unwrap();
        Self { dir, store: Arc::new(store), formats: Arc::new(formats) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("files").join(name)
    }

    fn access(&self, server: &Arc<Server>, pace: Pace) -> LazyAccess {
        LazyAccess { formats: self.formats.clone() as Arc<dyn Formats>, connect: server.connect(), pace }
    }

    fn begin(&self, server: &Arc<Server>, request: &LazyRequest, pace: Pace) -> Result<Lazily, Error> {
        self.store.begin_lazy(self.access(server, pace), request)
    }

    fn image(&self, server: &Arc<Server>, request: &LazyRequest, pace: Pace) -> Arc<LazyImage> {
        served(self.begin(server, request, pace).unwrap())
    }

    /// qemu-img makes an image of the bytes.
    fn qcow2(&self, bytes: &[u8], options: &[&str]) -> Vec<u8> {
        fs::write(self.path("source.raw"), bytes).unwrap();
        let convert = ["convert", "-f", "raw", "-O", "qcow2"];
        run(
            "qemu-img",
            &[&convert, options, &["source.raw", "made.qcow2"]].concat(),
            &self.dir.path().join("files"),
        );
        fs::read(self.path("made.qcow2")).unwrap()
    }

    /// The digest of the content as an import finds it.
    fn content_digest(&self, bytes: &[u8]) -> Digest {
        fs::write(self.path("content.raw"), bytes).unwrap();
        let padded = (bytes.len() as u64).next_multiple_of(512);
        let file = fs::File::options().write(true).open(self.path("content.raw")).unwrap();
        file.set_len(padded).unwrap();
        witvirt_disk::content::digest_of_file(fs::File::open(self.path("content.raw")).unwrap(), 2).unwrap()
    }
}

/// Bytes that do not compress, with holes.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut next = numbers(seed);
    let mut bytes = Vec::with_capacity(length + 600_000);
    while bytes.len() < length {
        let run = next() as usize % 500_000;
        match next() % 5 {
            0 => bytes.resize(bytes.len() + run, 0),
            _ => bytes.extend((0..run / 4).flat_map(|_| (next() as u32).to_le_bytes())),
        }
    }
    bytes.truncate(length);
    bytes
}

fn served(lazily: Lazily) -> Arc<LazyImage> {
    match lazily {
        Lazily::Served(image) => image,
        other => panic!("{other:?}"),
    }
}

fn request() -> LazyRequest {
    LazyRequest { url: URL.into(), format: Some("qcow2".into()), sha256: None, name: None }
}

fn read(image: &LazyImage, offset: u64, length: usize) -> Vec<u8> {
    let mut buffer = vec![0xaa; length];
    image.read(&mut buffer, offset, &|| false).unwrap();
    buffer
}

/// As the next process does, once the former has let go.
fn resume(place: &Place, server: &Arc<Server>, pace: Pace, id: &str) -> Arc<LazyImage> {
    let mut image = None;
    until("the former process to let go", || {
        match place.store.resume_lazy(place.access(server, pace), id) {
            Ok(lazily) => image = Some(served(lazily)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::InUse, "{error}"),
        }
        image.is_some()
    });
    image.unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Pseudo-random numbers.
fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 24
    }
}

#[test]
fn any_read_at_any_place_is_right_and_fetches_nothing_twice() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(1, (20 << 20) + 512);
    for options in [
        &["-c"][..],
        &["-c", "-o", "compression_type=zstd,cluster_size=2M"],
        &["-o", "cluster_size=512"],
        &["-o", "extended_l2=on,cluster_size=128k"],
    ] {
        let server = Server::new(place.qcow2(&bytes, options));
        let size = server.bytes.lock().unwrap().len() as u64;
        let request = LazyRequest { url: format!("{URL}?{}", options.join("")), ..request() };
        let image = place.image(&server, &request, NEVER);
        assert_eq!(image.virtual_size(), bytes.len() as u64);
        let mut next = numbers(7);
        for _ in 0..200 {
            let length = 1 + next() as usize % 300_000;
            let at = next() as usize % (bytes.len() - length);
            assert!(
                read(&image, at as u64, length) == bytes[at..at + length],
                "{options:?}: {length} at {at}"
            );
        }
        assert!(read(&image, 0, bytes.len()) == bytes, "{options:?}");
        // What was looked at beforehand is.
        assert!(
            server.served() <= size + 512,
            "{options:?}: {} of {size} bytes were fetched",
            server.served()
        );
        // What the client is told of holes is true.
        let mut at = 0;
        while at < bytes.len() as u64 {
            for (length, zero) in image.runs(at, 3 << 20, 100, &|| false).unwrap() {
                let part = &bytes[at as usize..(at + length) as usize];
                assert!(!zero || part.iter().all(|byte| *byte == 0), "{options:?}: no hole at {at}");
                at += length;
            }
        }
    }
}

#[test]
fn many_readers_at_once_see_the_same() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(2, 16 << 20);
    let server = Server::new(place.qcow2(&bytes, &["-c"]));
    let size = server.bytes.lock().unwrap().len() as u64;
    let image = place.image(&server, &request(), AT_ONCE);
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let (image, bytes) = (&image, &bytes);
            scope.spawn(move || {
                let mut next = numbers(seed);
                for _ in 0..100 {
                    let length = 1 + next() as usize % 70_000;
                    let at = next() as usize % (bytes.len() - length);
                    assert!(read(image, at as u64, length) == bytes[at..at + length]);
                }
            });
        }
    });
    until("the image to arrive", || matches!(image.status().phase, LazyPhase::Arrived(_)));
    // 512 bytes were looked at beforehand.
    assert!(server.served() <= size + 512, "{} of {size}", server.served());
    assert!(read(&image, 0, bytes.len()) == bytes);
}

#[test]
fn what_has_arrived_is_an_image_like_any_other() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(3, (9 << 20) + 4096);
    let file = place.qcow2(&bytes, &["-c"]);
    let sha256 = Digest::from_bytes(Sha256::digest(&file).into());
    let server = Server::new(file);
    let request = LazyRequest { sha256: Some(sha256), name: Some(Name::new("web").unwrap()), ..request() };
    let image = place.image(&server, &request, AT_ONCE);
    until("the image to arrive", || matches!(image.status().phase, LazyPhase::Arrived(_)));
    let LazyPhase::Arrived(digest) = image.status().phase else { unreachable!() };
    assert_eq!(digest, place.content_digest(&bytes));
    let summary = place.store.inspect("web").unwrap();
    assert_eq!((summary.digest, summary.state), (digest, ImageState::Ready));
    let source = summary.record.unwrap().origin.source;
    assert_eq!((source.path.as_str(), source.format.as_str(), source.digest), (URL, "qcow2", Some(sha256)));
    // Now read from the store, by those who still have it open.
    server.up(false);
    assert!(read(&image, 77, 5 << 20) == bytes[77..77 + (5 << 20)]);
    let id = image.id().to_owned();
    drop(image);
    let again = place.store.resume_lazy(place.access(&server, AT_ONCE), &id).unwrap();
    assert!(matches!(again, Lazily::Arrived(arrived) if arrived == digest));
    server.up(true);
    assert!(matches!(place.begin(&server, &request, AT_ONCE).unwrap(), Lazily::Arrived(_)));
    let kept: Vec<_> = fs::read_dir(place.dir.path().join("store/lazy").join(&id))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!kept.contains(&"source".to_owned()), "a second copy is left: {kept:?}");
}

#[test]
fn a_server_that_is_lost_makes_reads_wait_and_loses_nothing() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(4, 12 << 20);
    let server = Server::new(place.qcow2(&bytes, &["-c"]));
    let image = place.image(&server, &request(), NEVER);
    assert!(read(&image, 0, 4096) == bytes[..4096]);
    assert!(image.status().waiting.is_none());
    server.up(false);
    // What is here is read all the same.
    assert!(read(&image, 100, 1000) == bytes[100..1100]);
    let far = bytes.len() - 8192;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&image, far as u64, 8192));
        until("the image to say that it waits", || image.status().waiting.is_some());
        std::thread::sleep(Duration::from_millis(1200));
        assert!(!reader.is_finished(), "a read of what is not here has ended");
        let waiting = image.status().waiting.unwrap();
        assert!(waiting.seconds >= 1 && waiting.server == URL, "{waiting:?}");
        assert!(waiting.reason.contains("connection refused"), "{waiting:?}");
        server.up(true);
        assert!(reader.join().unwrap() == bytes[far..]);
    });
    assert!(image.status().waiting.is_none());

    // Another object in its place is not taken for it.
    server.up(false);
    let gone = AtomicBool::new(false);
    *server.bytes.lock().unwrap() = Arc::new(vec![1; 5 << 20]);
    *server.version.lock().unwrap() = Some("v2".into());
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut buffer = vec![0; 4096];
            image.read(&mut buffer, 6 << 20, &|| gone.load(Ordering::SeqCst))
        });
        until("the image to say that it waits", || image.status().waiting.is_some());
        server.up(true);
        until("the other object to be noticed", || {
            image.status().waiting.is_some_and(|waiting| waiting.reason.contains("another object"))
        });
        assert!(!reader.is_finished());
        // Whoever no longer waits is let go.
        gone.store(true, Ordering::SeqCst);
        assert_eq!(reader.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    });
}

#[test]
fn the_next_process_goes_on_with_what_is_there_and_checks_it() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(5, 24 << 20);
    let file = place.qcow2(&bytes, &[]);
    let size = file.len() as u64;
    let server = Server::new(file);
    server.budget.store(7 << 20, Ordering::SeqCst);
    let image = place.image(&server, &request(), AT_ONCE);
    until("the server to go down", || image.status().waiting.is_some());
    let (id, fetched) = (image.id().to_owned(), image.status().present);
    assert!(fetched >= 5 << 20, "{fetched}");
    drop(image);
    let lazy = place.dir.path().join("store/lazy").join(&id);
    // A bit flips in the third chunk meanwhile, and a half-written one lies behind what was noted.
    let source = fs::File::options().read(true).write(true).open(lazy.join("source")).unwrap();
    let mut byte = [0];
    source.read_exact_at(&mut byte, 2 * CHUNK + 99).unwrap();
    source.write_all_at(&[byte[0] ^ 4], 2 * CHUNK + 99).unwrap();
    source.write_all_at(&[0xee; 4096], size - 4096).unwrap();

    let image = resume(&place, &server, NEVER, &id);
    server.served.store(0, Ordering::SeqCst);
    // Without a server, what is here is read.
    assert!(read(&image, 0, 4096) == bytes[..4096]);
    assert!(image.status().present >= fetched - CHUNK);
    server.budget.store(u64::MAX, Ordering::SeqCst);
    server.up(true);
    assert!(read(&image, 0, bytes.len()) == bytes, "damage has reached the guest");
    let again = server.served();
    assert!(
        again <= size - fetched + CHUNK,
        "{again} bytes were fetched again of {size}, {fetched} were there"
    );
    drop(image);

    // A journal that is none costs the time, not the data.
    fs::write(lazy.join("journal"), b"wvlazy1\n").unwrap();
    let image = resume(&place, &server, NEVER, &id);
    assert!(read(&image, 0, bytes.len()) == bytes);
}

#[test]
fn a_digest_that_does_not_fit_is_told_at_the_end_and_for_good() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(6, 5 << 20);
    let server = Server::new(place.qcow2(&bytes, &["-c"]));
    let request = LazyRequest { sha256: Some(Digest::from_bytes([7; 32])), ..request() };
    let image = place.image(&server, &request, NEVER);
    assert!(image.is_promised());
    // Until the end the guest runs on trust.
    assert!(read(&image, 0, 4096) == bytes[..4096]);
    let id = image.id().to_owned();
    drop(image);
    let image = resume(&place, &server, AT_ONCE, &id);
    until("the digest to be compared", || matches!(image.status().phase, LazyPhase::Failed(_)));
    let LazyPhase::Failed(reason) = image.status().phase else { unreachable!() };
    assert!(reason.contains("0707") && reason.contains(URL), "{reason}");
    assert!(place.store.list().unwrap().is_empty(), "it was published all the same");
    drop(image);
    let image = resume(&place, &server, AT_ONCE, &id);
    assert_eq!(image.status().phase, LazyPhase::Failed(reason));
}

#[test]
fn what_cannot_be_read_in_the_middle_is_told_with_the_reason() {
    let place = Place::new();
    let raw = LazyRequest { format: Some("raw".into()), ..request() };
    let gzip = [&[0x1f, 0x8b, 8, 0][..], &[0; 5000]].concat();
    for (server, request, word) in [
        (Server::new(gzip.clone()), &request(), "gzip"),
        (Server::with(vec![0; 5000], false, Some("v1")), &raw, "byte ranges"),
        (Server::with(vec![0; 5000], true, None), &raw, "ETag"),
    ] {
        match place.begin(&server, request, NEVER).unwrap() {
            Lazily::Whole { reason, blob } => {
                assert!(reason.contains(word) && blob.label() == URL, "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    // Whoever says raw means it.
    served(place.begin(&Server::new(gzip), &raw, NEVER).unwrap());
    let server = Server::new(vec![0; 5000]);
    server.up(false);
    assert_eq!(place.begin(&server, &raw, NEVER).unwrap_err().kind(), ErrorKind::Unavailable);
    let server = Server::new(b"QFI\xfb and then nothing of a qcow2".repeat(100));
    assert_eq!(place.begin(&server, &request(), NEVER).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(fs::read_dir(place.dir.path().join("store/tmp")).unwrap().count(), 0);
}

#[test]
fn an_image_over_another_one_is_refused() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    fs::write(place.path("base.raw"), content(1, 1 << 20)).unwrap();
    let create = ["create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "top.qcow2"];
    run("qemu-img", &create, &place.dir.path().join("files"));
    let server = Server::new(fs::read(place.path("top.qcow2")).unwrap());
    let error = place.begin(&server, &request(), NEVER).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("base.raw"), "{error}");
}

#[test]
fn disks_know_the_image_they_wait_for() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(7, 4 << 20);
    let server = Server::new(place.qcow2(&bytes, &[]));
    let image = place.image(&server, &request(), AT_ONCE);
    let nowhere = AllowedDirs::default();
    let access = Access { formats: &*place.formats, allowed: &nowhere, references: &nowhere };
    let (one, two, disk) = (Name::new("one").unwrap(), Name::new("two").unwrap(), Name::new("root").unwrap());
    let overlays = |machine: &Name| {
        let path = place.dir.path().join(machine.as_str());
        fs::create_dir_all(&path).unwrap();
        Dir::open_ambient_dir(path, cap_std::ambient_authority()).unwrap()
    };
    for machine in [&one, &two] {
        let dir = overlays(machine);
        assert_eq!(place.store.lazy_of(&dir, &disk).unwrap(), None);
        // Whoever fetches is about to make a disk.
        place.store.remove_lazy(image.id(), None).unwrap();
        place.store.create_lazy_disk(access, &dir, &disk, &image).unwrap();
        assert_eq!(place.store.lazy_of(&dir, &disk).unwrap().as_deref(), Some(image.id()));
        place.store.open_lazy_disk(&dir, &disk).unwrap();
    }
    until("the image to arrive", || matches!(image.status().phase, LazyPhase::Arrived(_)));
    let LazyPhase::Arrived(digest) = image.status().phase else { unreachable!() };
    // Also while the machine still runs over the arriving image, the image in the store is in use.
    assert_eq!(place.store.image_of(&overlays(&one), &disk).unwrap(), Some(digest));
    let rules = CollectRules { unused_for: Duration::ZERO, keep_free: None, named: true, dry_run: false };
    assert!(place.store.collect(&rules, || Ok(BTreeSet::new())).unwrap().is_empty());
    assert_eq!(place.store.users(&digest).unwrap().len(), 2);
    place.store.settle_lazy_disk(&overlays(&one), &disk, &digest).unwrap();
    assert_eq!(place.store.lazy_of(&overlays(&one), &disk).unwrap(), None);
    assert_eq!(place.store.image_of(&overlays(&one), &disk).unwrap(), Some(digest));
    assert_eq!(place.store.users(&digest).unwrap().len(), 2);
    assert!(place.store.release(&overlays(&one)).unwrap().is_empty(), "the other machine still needs it");
    place.store.remove_lazy(image.id(), Some(&image)).unwrap();
    assert_eq!(place.store.lazy_url(image.id()).unwrap(), URL);
    assert_eq!(place.store.release(&overlays(&two)).unwrap(), [image.id().to_owned()]);
    place.store.remove_lazy(image.id(), None).unwrap();
    assert_eq!(place.store.lazy_url(image.id()).unwrap(), URL, "it is this process that has it");
    place.store.remove_lazy(image.id(), Some(&image)).unwrap();
    assert_eq!(place.store.lazy_url(image.id()).unwrap_err().kind(), ErrorKind::NotFound);
}

/// A plugin with a map of 2 TiB in pieces of 64 KiB, each of them somewhere else in the file.
fn scattered(size: u64) -> Installed {
    let place = move |start: u64| (start / 65536).wrapping_mul(0x9e37_79b9) % (size / 65536 - 1) * 65536;
    Installed(vec![Scripted::new("scattered", move |_| Told {
        virtual_size: 2 << 40,
        page: Box::new(move |start, length, max| {
            let end = start + length;
            let mut extents = Vec::new();
            let mut at = start;
            while at < end && extents.len() < max as usize {
                let length = (65536 - at % 65536).min(end - at);
                let kind = ExtentKind::Data { source: 0, offset: place(at) + at % 65536 };
                extents.push(Extent { start: at, length, kind });
                at += length;
            }
            Page { extents, next: (at < end).then_some(at) }
        }),
        ..Told::default()
    })])
}

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_map_of_two_tebibytes_needs_no_memory_of_that_size() {
    let size = 4 << 20;
    let place = Place::with(scattered(size));
    let bytes: Vec<u8> = (0..size).map(|n| (n / 65536) as u8).collect();
    let server = Server::new(bytes);
    let request = LazyRequest { format: Some("scattered".into()), ..request() };
    let image = place.image(&server, &request, NEVER);
    read(&image, 0, 65536);
    let before = resident();
    let mut next = numbers(1);
    for _ in 0..400 {
        let at = next() % (32 << 20) * 65536;
        let expected = ((at / 65536).wrapping_mul(0x9e37_79b9) % (size / 65536 - 1)) as u8;
        assert!(read(&image, at, 4096).iter().all(|byte| *byte == expected), "{at}");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes more for a map of 32 million pieces");
}

#[test]
fn maps_that_decode_without_end_are_refused_and_plugins_that_break_are_replaced() {
    let formats = Installed(vec![
        Scripted::new("bomb", |_| Told {
            virtual_size: 1 << 40,
            page: Box::new(|start, _, max| {
                let run = |offset| Encoded {
                    codec: "zlib".into(),
                    source: 0,
                    offset,
                    length: 100,
                    decoded_length: 64 << 20,
                    skip: 0,
                };
                let extent = |n: u64| Extent {
                    start: start + n * 512,
                    length: 512,
                    kind: ExtentKind::Encoded(run(n)),
                };
                let extents: Vec<_> = (0..u64::from(max)).map(extent).collect();
                Page { next: Some(start + u64::from(max) * 512), extents }
            }),
            ..Told::default()
        }),
        // Answers twice, then never again.
        Scripted::new("tired", |_| {
            let mut left = 2;
            Told {
                virtual_size: 64 << 30,
                page: Box::new(move |start, length, _| {
                    left -= 1;
                    if left < 0 {
                        return Page::default();
                    }
                    let length = length.min(1 << 20);
                    let extents =
                        vec![Extent { start, length, kind: ExtentKind::Data { source: 0, offset: 0 } }];
                    Page { extents, next: Some(start + length) }
                }),
                ..Told::default()
            }
        }),
    ]);
    let place = Place::with(formats);
    let server = Server::new(vec![9; 2 << 20]);
    let request = |format: &str| LazyRequest { format: Some(format.into()), ..request() };
    let image = place.image(&server, &request("bomb"), NEVER);
    let error = image.read(&mut [0; 512], 0, &|| false).unwrap_err();
    assert!(error.kind() == ErrorKind::Plugin && error.to_string().contains("to decode"), "{error}");
    let image = place.image(&server, &request("tired"), NEVER);
    let error = image.read(&mut [0; 512], 0, &|| false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Plugin, "a window takes more answers than it has: {error}");
}

/// Runs a client of the protocol; `None` where it is not installed.
fn client(program: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(_) => {
            println!("skipped: {program} is not installed (Debian: apt install libnbd-bin qemu-utils)");
            return None;
        }
    };
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {shown}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn socket(place: &Place, image: &Arc<LazyImage>) -> (NbdServer, String) {
    let path = place.dir.path().join("s");
    let server = NbdServer::start(UnixListener::bind(&path).unwrap(), Arc::clone(image) as Arc<dyn Export>);
    (server.unwrap(), path.to_str().unwrap().to_owned())
}

fn same(file: &Path, bytes: &[u8]) {
    assert!(fs::read(file).unwrap() == bytes, "{} differs", file.display());
}

#[test]
fn the_clients_of_others_read_the_same_disk() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let mut bytes = content(8, 20 << 20);
    bytes[3 << 20..9 << 20].fill(0);
    let server = Server::new(place.qcow2(&bytes, &["-c"]));
    let image = place.image(&server, &request(), NEVER);
    let (_nbd, path) = socket(&place, &image);
    let uri = format!("nbd+unix:///disk?socket={path}");
    let out = place.path("out.raw").to_str().unwrap().to_owned();
    client("qemu-img", &["convert", "-f", "raw", "-O", "raw", &uri, &out]);
    same(&place.path("out.raw"), &bytes);
    let raw = place.path("source.raw").to_str().unwrap().to_owned();
    client("qemu-img", &["compare", "-f", "raw", "-F", "raw", &uri, &raw]);
    if let Some(map) = client("qemu-img", &["map", "-f", "raw", "--output=json", &uri]) {
        assert!(map.contains("\"zero\": true") && map.contains("\"zero\": false"), "{map}");
    }
    if let Some(info) = client("nbdinfo", &["--json", &uri]) {
        assert!(info.contains(&format!("\"export-size\": {}", bytes.len())), "{info}");
        assert!(info.contains("\"is_read_only\": true") && info.contains("base:allocation"), "{info}");
        assert!(client("nbdinfo", &["--list", &uri]).unwrap().contains("export=\"disk\""));
        let totals = client("nbdinfo", &["--map", "--totals", &uri]).unwrap();
        assert!(totals.contains("hole,zero") && totals.contains("data"), "{totals}");
    }
    fs::remove_file(&out).unwrap();
    if client("nbdcopy", &["--requests=64", &uri, &out]).is_some() {
        same(&place.path("out.raw"), &bytes);
    }
}

#[test]
fn a_client_with_a_reconnect_delay_survives_its_server() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(9, 12 << 20);
    let server = Server::new(place.qcow2(&bytes, &["-c"]));
    server.budget.store(4 << 20, Ordering::SeqCst);
    let image = place.image(&server, &request(), NEVER);
    let (nbd, path) = socket(&place, &image);
    let out = place.path("out.raw");
    let options = format!(
        "driver=raw,file.driver=nbd,file.export=disk,file.reconnect-delay=600,file.server.type=unix,file.server.path={path}"
    );
    let mut copy = Command::new("qemu-img")
        .args(["convert", "--image-opts", "-O", "raw", &options])
        .arg(&out)
        .spawn()
        .unwrap();
    until("the server to go down", || image.status().waiting.is_some());
    let id = image.id().to_owned();
    // The process that serves is gone, and another one comes later.
    drop((nbd, image));
    fs::remove_file(&path).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(copy.try_wait().unwrap().is_none(), "the client gave up");
    server.budget.store(u64::MAX, Ordering::SeqCst);
    server.up(true);
    let image = resume(&place, &server, NEVER, &id);
    let (_nbd, _) = socket(&place, &image);
    assert!(copy.wait().unwrap().success());
    same(&out, &bytes);
}

#[test]
fn an_import_of_the_same_file_is_the_same_image() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(10, 6 << 20);
    let server = Server::new(place.qcow2(&bytes, &["-c"]));
    let image = place.image(&server, &request(), AT_ONCE);
    until("the image to arrive", || matches!(image.status().phase, LazyPhase::Arrived(_)));
    let allowed = AllowedDirs::new([place.dir.path().join("files")]).unwrap();
    let access = Access { formats: &*place.formats, allowed: &allowed, references: &allowed };
    let file = ImportRequest::new(SourceFile::new(place.path("made.qcow2")));
    let imported = place.store.import(access, &file, &Progress::new()).unwrap();
    assert!(imported.existed);
    assert_eq!(LazyPhase::Arrived(imported.record.digest), image.status().phase);
}
