//! Format plugins without WebAssembly, for tests of what lies behind the traits: the pure modules of format-qcow2, raw,
//! and a plugin that says whatever a test wants it to say.
#![allow(dead_code, missing_docs)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use witvirt_core::error::{ErrorKind, PluginError};
use witvirt_core::extent::{Extent, ExtentKind, Finding, Geometry, Page, Probe, Reference};
use witvirt_core::format::{Chunk, CreateRequest, Ending, Format, Formats, Image, WritePlan, Writer};
use witvirt_core::source::ByteSource;
use witvirt_disk::{Access, AllowedDirs, Store, StoreOptions};
use witvirt_sdk::disk::{ImageReader, ImageWriter, ReadAt};

/// The plugins of a test.
pub struct Installed(pub Vec<Arc<dyn Format>>);

impl Formats for Installed {
    fn all(&self) -> Vec<Arc<dyn Format>> {
        self.0.clone()
    }
}

/// qcow2 and raw.
pub fn installed() -> Installed {
    Installed(vec![Arc::new(Qcow2(vec!["qcow2".into()])), Arc::new(Raw(vec!["raw".into()]))])
}

/// A directory with a store and a place for images beside it.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub store: Store,
    pub allowed: AllowedDirs,
    pub formats: Installed,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(installed())
    }

    pub fn with(formats: Installed) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("images")).unwrap();
        let store = Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap();
        let allowed = AllowedDirs::new([dir.path().join("images")]).unwrap();
        Self { dir, store, allowed, formats }
    }

    pub fn access(&self) -> Access<'_> {
        Access { formats: &self.formats, allowed: &self.allowed, references: &self.allowed }
    }

    /// A path in the allowed directory.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("images").join(name)
    }

    /// What is left of unfinished work, once the threads that did it had the time to end.
    pub fn unfinished(&self) -> Vec<std::ffi::OsString> {
        let left = || -> Vec<_> {
            let entries = std::fs::read_dir(self.dir.path().join("store/tmp")).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect()
        };
        let until = std::time::Instant::now() + std::time::Duration::from_secs(2);
        while !left().is_empty() && std::time::Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        left()
    }
}

/// Whether qemu-img can be run; says so where not.
pub fn qemu_img() -> bool {
    let found = Command::new("qemu-img").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: qemu-img is not installed (Debian: apt install qemu-utils)");
    }
    found
}

/// Runs a program that has to succeed.
pub fn run(program: &str, arguments: &[&str], dir: &Path) {
    let output = Command::new(program).args(arguments).current_dir(dir).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {shown}");
}

/// Bytes that hardly become smaller.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A few bits of each byte, so that compressors still try.
        [0, 8, 16, 24, 32, 40].map(|shift| (state >> (shift + 8)) as u8 & 0x7f)
    };
    let mut bytes = Vec::with_capacity(length + 6);
    while bytes.len() < length {
        bytes.extend(next());
    }
    bytes.truncate(length);
    bytes
}

/// Bytes with runs of zeros, of text and of noise, different for each seed.
pub fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 70_000);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let run = (state >> 33) as usize % 70_000 + 1;
        match (state >> 20) % 4 {
            0 => bytes.resize(bytes.len() + run * 5, 0),
            1 => bytes.extend(b"all work and no play ".iter().cycle().take(run)),
            _ => bytes.extend((0..run as u64).map(|n| (state.wrapping_mul(n | 1) >> 40) as u8)),
        }
    }
    bytes.truncate(length);
    bytes
}

struct Source(Arc<dyn ByteSource>);

impl ReadAt for Source {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, witvirt_sdk::Error> {
        let mut bytes = vec![0; len as usize];
        let read = self.0.read_at(&mut bytes, offset);
        let read =
            read.map_err(|error| witvirt_sdk::Error::new(witvirt_sdk::ErrorKind::Io, error.to_string()))?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

fn failed(error: witvirt_sdk::Error) -> PluginError {
    use witvirt_sdk::ErrorKind as Sdk;
    let kind = match error.kind {
        Sdk::InvalidInput => ErrorKind::InvalidInput,
        Sdk::Unsupported => ErrorKind::Unsupported,
        Sdk::Corrupt => ErrorKind::Corrupt,
        Sdk::NotFound => ErrorKind::NotFound,
        Sdk::Denied => ErrorKind::Denied,
        Sdk::Limit => ErrorKind::Limit,
        Sdk::Io => ErrorKind::Io,
        Sdk::Other => ErrorKind::Other,
    };
    let (plugin, version) = ("format-qcow2".to_owned(), "native".to_owned());
    PluginError { plugin, version, kind, message: error.message, context: error.context }
}

/// format-qcow2, called directly.
pub struct Qcow2(Vec<String>);

impl Format for Qcow2 {
    fn plugin(&self) -> &str {
        "format-qcow2"
    }

    fn version(&self) -> &str {
        "native"
    }

    fn formats(&self) -> &[String] {
        &self.0
    }

    fn writes(&self) -> bool {
        true
    }

    fn probe(&self, head: &[u8], tail: &[u8], size: u64) -> Result<Option<Probe>, PluginError> {
        Ok(format_qcow2::probe::probe(head, tail, size))
    }

    fn open(&self, primary: Arc<dyn ByteSource>, _: &str) -> Result<Box<dyn Image>, PluginError> {
        let image = format_qcow2::image::Image::open(Source(primary)).map_err(failed)?;
        Ok(Box::new(Qcow2Image(image)))
    }

    fn create(&self, request: &CreateRequest) -> Result<Box<dyn Writer>, PluginError> {
        let CreateRequest { format, virtual_size, options, backing } = request.clone();
        let writer =
            format_qcow2::layout::Writer::create(&format, virtual_size, &options.to_string(), backing);
        Ok(Box::new(Qcow2Writer(writer.map_err(failed)?)))
    }
}

struct Qcow2Image(format_qcow2::image::Image<Source>);

impl Image for Qcow2Image {
    fn geometry(&mut self) -> Result<Geometry, PluginError> {
        Ok(self.0.geometry())
    }

    fn facts(&mut self) -> Result<Vec<(String, String)>, PluginError> {
        Ok(self.0.facts())
    }

    fn references(&mut self) -> Result<Vec<Reference>, PluginError> {
        Ok(self.0.references())
    }

    fn attach(&mut self, id: u32, content: Arc<dyn ByteSource>) -> Result<(), PluginError> {
        self.0.attach(id, Source(content)).map_err(failed)
    }

    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, PluginError> {
        self.0.extents(start, length, max).map_err(failed)
    }

    fn decode(&mut self, _: &str, _: &[u8], _: u32) -> Result<Vec<u8>, PluginError> {
        unreachable!("the host decodes what qcow2 has")
    }

    fn check(&mut self) -> Result<Vec<Finding>, PluginError> {
        self.0.check().map_err(failed)
    }
}

struct Qcow2Writer(format_qcow2::layout::Writer);

impl Writer for Qcow2Writer {
    fn plan(&mut self) -> Result<WritePlan, PluginError> {
        Ok(self.0.plan())
    }

    fn allocate(&mut self, chunks: &[Chunk]) -> Result<Vec<u64>, PluginError> {
        chunks.iter().map(|chunk| self.0.allocate(chunk).map_err(failed)).collect()
    }

    fn finish(&mut self) -> Result<Ending, PluginError> {
        self.0.finish().map_err(failed)
    }
}

/// format-raw in a few lines.
pub struct Raw(Vec<String>);

impl Format for Raw {
    fn plugin(&self) -> &str {
        "format-raw"
    }

    fn version(&self) -> &str {
        "native"
    }

    fn formats(&self) -> &[String] {
        &self.0
    }

    fn writes(&self) -> bool {
        false
    }

    fn probe(&self, _: &[u8], _: &[u8], _: u64) -> Result<Option<Probe>, PluginError> {
        Ok(None)
    }

    fn open(&self, primary: Arc<dyn ByteSource>, _: &str) -> Result<Box<dyn Image>, PluginError> {
        let virtual_size = primary.size();
        let data = |start: u64, length: u64| {
            let kind = ExtentKind::Data { source: 0, offset: start };
            Page { extents: vec![Extent { start, length, kind }], next: None }
        };
        Ok(Box::new(Told {
            virtual_size,
            page: Box::new(move |start, length, _| data(start, length)),
            ..Told::default()
        }))
    }

    fn create(&self, _: &CreateRequest) -> Result<Box<dyn Writer>, PluginError> {
        unreachable!("it does not write")
    }
}

/// A page for (start, length, max).
pub type PageOf = Box<dyn FnMut(u64, u64, u32) -> Page + Send>;

/// What a codec's name and data decode to.
pub type Decode = Box<dyn FnMut(&str, &[u8], u32) -> Vec<u8> + Send>;

/// An image that says what it was told to say.
pub struct Told {
    pub virtual_size: u64,
    pub facts: Vec<(String, String)>,
    pub references: Vec<Reference>,
    pub page: PageOf,
    pub decode: Decode,
    /// Whether the plugin refuses to open it.
    pub broken: bool,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            virtual_size: 0,
            facts: Vec::new(),
            references: Vec::new(),
            page: Box::new(|_, _, _| Page::default()),
            decode: Box::new(|_, _, _| Vec::new()),
            broken: false,
        }
    }
}

impl Image for Told {
    fn geometry(&mut self) -> Result<Geometry, PluginError> {
        Ok(Geometry { virtual_size: self.virtual_size, cluster_size: 0, logical_sector: 512 })
    }

    fn facts(&mut self) -> Result<Vec<(String, String)>, PluginError> {
        Ok(self.facts.clone())
    }

    fn references(&mut self) -> Result<Vec<Reference>, PluginError> {
        Ok(self.references.clone())
    }

    fn attach(&mut self, _: u32, _: Arc<dyn ByteSource>) -> Result<(), PluginError> {
        Ok(())
    }

    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, PluginError> {
        Ok((self.page)(start, length, max))
    }

    fn decode(&mut self, codec: &str, data: &[u8], length: u32) -> Result<Vec<u8>, PluginError> {
        Ok((self.decode)(codec, data, length))
    }

    fn check(&mut self) -> Result<Vec<Finding>, PluginError> {
        Ok(Vec::new())
    }
}

/// A plugin whose images say what a test wants.
pub struct Scripted {
    name: &'static str,
    formats: Vec<String>,
    image: Box<dyn Fn(Arc<dyn ByteSource>) -> Told + Send + Sync>,
}

impl Scripted {
    pub fn new(
        name: &'static str,
        image: impl Fn(Arc<dyn ByteSource>) -> Told + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { name, formats: vec![name.to_owned()], image: Box::new(image) })
    }
}

impl Format for Scripted {
    fn plugin(&self) -> &str {
        self.name
    }

    fn version(&self) -> &str {
        "6.6.6"
    }

    fn formats(&self) -> &[String] {
        &self.formats
    }

    fn writes(&self) -> bool {
        false
    }

    fn probe(&self, head: &[u8], tail: &[u8], _: u64) -> Result<Option<Probe>, PluginError> {
        let claimed = head.windows(self.name.len()).any(|window| window == self.name.as_bytes())
            || tail.ends_with(format!("{}!", self.name).as_bytes());
        Ok(claimed.then(|| Probe { confidence: 90, format: self.name.to_owned(), version: None }))
    }

    fn open(&self, primary: Arc<dyn ByteSource>, _: &str) -> Result<Box<dyn Image>, PluginError> {
        let told = (self.image)(primary);
        if !told.broken {
            return Ok(Box::new(told));
        }
        let (plugin, version) = (self.name.to_owned(), "6.6.6".to_owned());
        let message = "this is no image".to_owned();
        Err(PluginError { plugin, version, kind: ErrorKind::Corrupt, message, context: Vec::new() })
    }

    fn create(&self, _: &CreateRequest) -> Result<Box<dyn Writer>, PluginError> {
        unreachable!("it does not write")
    }
}
