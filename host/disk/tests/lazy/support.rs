//! A server with one object, and a store that it arrives in.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use witvirt_core::Digest;
use witvirt_core::format::Formats;
use witvirt_disk::nbd::Export;
use witvirt_disk::{
    ArtifactDisk, Blob, Connect, Error, ErrorKind, Lazily, LazyAccess, LazyImage, LazyRequest, Pace, Store,
    StoreOptions,
};

use crate::formats::{Installed, installed, run};

pub const URL: &str = "https://images.example/disk.qcow2";
pub const CHUNK: u64 = 1 << 20;

/// A server with one object.
#[derive(Debug)]
pub struct Server {
    pub bytes: Mutex<Arc<Vec<u8>>>,
    pub version: Mutex<Option<String>>,
    ranges: bool,
    up: AtomicBool,
    /// What it promises that the bytes hash to.
    pub digest: Mutex<Option<Digest>>,
    /// Bytes after which it goes down by itself.
    pub budget: AtomicU64,
    pub served: AtomicU64,
    opened: AtomicU64,
}

impl Server {
    pub fn new(bytes: Vec<u8>) -> Arc<Self> {
        Self::with(bytes, true, Some("v1"))
    }

    pub fn with(bytes: Vec<u8>, ranges: bool, version: Option<&str>) -> Arc<Self> {
        Arc::new(Self {
            bytes: Mutex::new(Arc::new(bytes)),
            version: Mutex::new(version.map(str::to_owned)),
            ranges,
            up: AtomicBool::new(true),
            digest: Mutex::default(),
            budget: AtomicU64::new(u64::MAX),
            served: AtomicU64::new(0),
            opened: AtomicU64::new(0),
        })
    }

    pub fn up(&self, up: bool) {
        self.up.store(up, Ordering::SeqCst);
    }

    pub fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }

    pub fn connect(self: &Arc<Self>) -> Connect {
        let server = Arc::clone(self);
        Arc::new(move || {
            server.check()?;
            server.opened.fetch_add(1, Ordering::SeqCst);
            let (bytes, version) = (server.bytes.lock().unwrap(), server.version.lock().unwrap());
            let object = Object { server: server.clone(), bytes: bytes.clone(), version: version.clone() };
            Ok(vec![ArtifactDisk::object(Arc::new(object))])
        })
    }

    pub fn check(&self) -> Result<(), Error> {
        if self.up.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable, "connection refused"))
    }
}

#[derive(Debug)]
pub struct Object {
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
        *self.server.digest.lock().unwrap()
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
pub struct Place {
    pub dir: tempfile::TempDir,
    pub store: Arc<Store>,
    pub formats: Arc<Installed>,
}

/// Nothing in the background, for tests that count.
pub const NEVER: Pace = Pace { quiet: Duration::from_secs(3600), latest: Duration::from_secs(3600) };
pub const AT_ONCE: Pace = Pace { quiet: Duration::ZERO, latest: Duration::ZERO };

impl Place {
    pub fn new() -> Self {
        Self::with(installed())
    }

    pub fn with(formats: Installed) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap();
        fs::create_dir(dir.path().join("files")).unwrap();
        Self { dir, store: Arc::new(store), formats: Arc::new(formats) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("files").join(name)
    }

    pub fn access(&self, server: &Arc<Server>, pace: Pace) -> LazyAccess {
        LazyAccess { formats: self.formats.clone() as Arc<dyn Formats>, connect: server.connect(), pace }
    }

    pub fn begin(&self, server: &Arc<Server>, request: &LazyRequest, pace: Pace) -> Result<Lazily, Error> {
        self.begin_with(&self.access(server, pace), request)
    }

    /// As a daemon does: it asks what there is, and goes on with that.
    pub fn begin_with(&self, access: &LazyAccess, request: &LazyRequest) -> Result<Lazily, Error> {
        self.store.begin_lazy(access, request, (access.connect)()?)
    }

    pub fn image(&self, server: &Arc<Server>, request: &LazyRequest, pace: Pace) -> Arc<LazyImage> {
        served(self.begin(server, request, pace).unwrap())
    }

    /// As the daemon gets at something else than one object.
    pub fn access_to(&self, connect: Connect, pace: Pace) -> LazyAccess {
        LazyAccess { formats: self.formats.clone() as Arc<dyn Formats>, connect, pace }
    }

    /// qemu-img makes an image of the bytes.
    pub fn qcow2(&self, bytes: &[u8], options: &[&str]) -> Vec<u8> {
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
    pub fn content_digest(&self, bytes: &[u8]) -> Digest {
        fs::write(self.path("content.raw"), bytes).unwrap();
        let padded = (bytes.len() as u64).next_multiple_of(512);
        let file = fs::File::options().write(true).open(self.path("content.raw")).unwrap();
        file.set_len(padded).unwrap();
        witvirt_disk::content::digest_of_file(fs::File::open(self.path("content.raw")).unwrap(), 2).unwrap()
    }
}

/// Bytes that do not compress, with holes.
pub fn content(seed: u64, length: usize) -> Vec<u8> {
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

pub fn served(lazily: Lazily) -> Arc<LazyImage> {
    match lazily {
        Lazily::Served(image) => image,
        other => panic!("{other:?}"),
    }
}

pub fn request() -> LazyRequest {
    LazyRequest { url: URL.into(), format: Some("qcow2".into()), sha256: None, name: None }
}

pub fn read(image: &LazyImage, offset: u64, length: usize) -> Vec<u8> {
    let mut buffer = vec![0xaa; length];
    image.read(&mut buffer, offset, &|| false).unwrap();
    buffer
}

/// As the next process does, once the former has let go.
pub fn resume(place: &Place, server: &Arc<Server>, pace: Pace, id: &str) -> Arc<LazyImage> {
    resume_with(place, &place.access(server, pace), id)
}

pub fn resume_with(place: &Place, access: &LazyAccess, id: &str) -> Arc<LazyImage> {
    let mut image = None;
    until("the former process to let go", || {
        match place.store.resume_lazy(access, id) {
            Ok(lazily) => image = Some(served(lazily)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::InUse, "{error}"),
        }
        image.is_some()
    });
    image.unwrap()
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn sha256(bytes: &[u8]) -> Digest {
    use sha2::Digest as _;
    Digest::from_bytes(sha2::Sha256::digest(bytes).into())
}

/// Pseudo-random numbers.
pub fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 24
    }
}
