//! What the tests share: an engine with a cache of its own, entries for built plugins, sources in memory.
#![allow(dead_code, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use witvirt_core::Name;
use witvirt_core::extent::{Extent, ExtentKind};
use witvirt_core::format::Format;
use witvirt_core::plugin::{Limits, Mode, OnFailure, PluginEntry, PluginKind};
use witvirt_core::source::ByteSource;
use witvirt_engine::{CompileCommand, Engine, EngineOptions, LoadError, Loaded, Plugin};

/// An engine and the directory that its cache is in.
pub struct Bench {
    pub directory: TempDir,
    pub engine: Engine,
}

impl Bench {
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let engine = Engine::new(options(directory.path())).unwrap();
        Self { directory, engine }
    }

    pub fn load(&self, entry: &PluginEntry) -> Result<Loaded, LoadError> {
        self.engine.load(entry)
    }

    pub fn format(&self, entry: &PluginEntry) -> Arc<dyn Format> {
        match self.load(entry).unwrap_or_else(|error| panic!("{}", chain(&error))).plugin {
            Plugin::Format(format) => format,
            _ => panic!("{} is no format", entry.name),
        }
    }

    /// Fails unless a healthy plugin still serves.
    pub fn assert_healthy(&self) {
        let raw = self.format(&entry("format-raw"));
        let mut image = raw.open(Arc::new(Memory(vec![7; 1024])), "raw").unwrap();
        assert_eq!(image.geometry().unwrap().virtual_size, 1024);
        let page = image.extents(0, 1024, 16).unwrap();
        assert_eq!(
            page.extents,
            [Extent { start: 0, length: 1024, kind: ExtentKind::Data { source: 0, offset: 0 } }]
        );
    }
}

pub fn options(directory: &Path) -> EngineOptions {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_witvirt-compile-plugin"));
    EngineOptions::new(directory.join("cache"), CompileCommand { program, arguments: Vec::new() })
}

/// The built component of a plugin in plugins/ or tests/plugins/.
pub fn built(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let file = root.join(format!("target/plugins/{name}.wasm"));
    assert!(file.is_file(), "{} is missing, run: cargo xtask plugins", file.display());
    file
}

/// A config entry for a built disk format.
pub fn entry(name: &str) -> PluginEntry {
    entry_of(built(name), PluginKind::DiskFormat)
}

/// A config entry for any file.
pub fn entry_of(file: PathBuf, kind: PluginKind) -> PluginEntry {
    PluginEntry {
        name: Name::new(file.file_stem().unwrap().to_str().unwrap()).unwrap(),
        kind,
        file,
        sha256: None,
        settings: json!({}),
        limits: Limits::default(),
        on_failure: OnFailure::Deny,
        mode: Mode::Enforce,
    }
}

/// An error and its sources in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Bytes in memory.
pub struct Memory(pub Vec<u8>);

impl ByteSource for Memory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|start| self.0.get(start..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}
