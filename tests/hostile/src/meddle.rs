//! Files that change while they are imported: the plugins' calls are where it happens, so that it happens every time.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use witvirt_core::error::PluginError;
use witvirt_core::extent::{Finding, Geometry, Page, Probe, Reference};
use witvirt_core::format::{CreateRequest, Format, Formats, Image, Writer};
use witvirt_core::source::ByteSource;

/// When it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// The format was found, the image is about to be opened.
    Open,
    /// The map is about to be read.
    Map,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The file gets another length, in bytes.
    Length(u64),
    /// These bytes are written at this offset.
    Bytes(u64, Vec<u8>),
    /// Another file of the case takes its name.
    Replaced(String),
}

/// A change of a file at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meddling {
    /// When.
    pub moment: Moment,
    /// Which file of the case.
    pub file: String,
    /// What.
    pub change: Change,
}

impl Meddling {
    fn happen(&self, directory: &Path) -> std::io::Result<()> {
        let path = directory.join(&self.file);
        match &self.change {
            Change::Length(length) => OpenOptions::new().write(true).open(path)?.set_len(*length),
            Change::Bytes(offset, bytes) => {
                OpenOptions::new().write(true).open(path)?.write_all_at(bytes, *offset)
            }
            Change::Replaced(by) => fs::rename(directory.join(by), path),
        }
    }
}

/// What shall happen once, and whether it has.
struct Pending {
    meddling: Meddling,
    directory: PathBuf,
    done: AtomicBool,
}

impl Pending {
    fn at(&self, moment: Moment) {
        if self.meddling.moment == moment && !self.done.swap(true, Ordering::SeqCst) {
            self.meddling.happen(&self.directory).expect("the case can change its own files");
        }
    }
}

/// Plugins during whose calls a file changes.
pub struct Meddled {
    plugins: Vec<Arc<dyn Format>>,
}

impl Meddled {
    /// `directory` is where the files of the case are.
    pub fn new(plugins: Vec<Arc<dyn Format>>, meddling: Meddling, directory: &Path) -> Self {
        let pending =
            Arc::new(Pending { meddling, directory: directory.to_owned(), done: AtomicBool::new(false) });
        let wrap =
            |plugin| Arc::new(MeddledFormat { plugin, pending: Arc::clone(&pending) }) as Arc<dyn Format>;
        Self { plugins: plugins.into_iter().map(wrap).collect() }
    }
}

impl Formats for Meddled {
    fn all(&self) -> Vec<Arc<dyn Format>> {
        self.plugins.clone()
    }
}

struct MeddledFormat {
    plugin: Arc<dyn Format>,
    pending: Arc<Pending>,
}

impl Format for MeddledFormat {
    fn plugin(&self) -> &str {
        self.plugin.plugin()
    }

    fn version(&self) -> &str {
        self.plugin.version()
    }

    fn formats(&self) -> &[String] {
        self.plugin.formats()
    }

    fn writes(&self) -> bool {
        self.plugin.writes()
    }

    fn probe(&self, head: &[u8], tail: &[u8], size: u64) -> Result<Option<Probe>, PluginError> {
        self.plugin.probe(head, tail, size)
    }

    fn open(&self, primary: Arc<dyn ByteSource>, format: &str) -> Result<Box<dyn Image>, PluginError> {
        self.pending.at(Moment::Open);
        let image = self.plugin.open(primary, format)?;
        Ok(Box::new(MeddledImage { image, pending: Arc::clone(&self.pending) }))
    }

    fn create(&self, request: &CreateRequest) -> Result<Box<dyn Writer>, PluginError> {
        self.plugin.create(request)
    }
}

struct MeddledImage {
    image: Box<dyn Image>,
    pending: Arc<Pending>,
}

impl Image for MeddledImage {
    fn geometry(&mut self) -> Result<Geometry, PluginError> {
        self.image.geometry()
    }

    fn facts(&mut self) -> Result<Vec<(String, String)>, PluginError> {
        self.image.facts()
    }

    fn references(&mut self) -> Result<Vec<Reference>, PluginError> {
        self.image.references()
    }

    fn attach(&mut self, id: u32, content: Arc<dyn ByteSource>) -> Result<(), PluginError> {
        self.image.attach(id, content)
    }

    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, PluginError> {
        self.pending.at(Moment::Map);
        self.image.extents(start, length, max)
    }

    fn decode(&mut self, codec: &str, data: &[u8], length: u32) -> Result<Vec<u8>, PluginError> {
        self.image.decode(codec, data, length)
    }

    fn check(&mut self) -> Result<Vec<Finding>, PluginError> {
        self.image.check()
    }
}
