//! The seam between the data path and format plugins: the engine implements these traits over WebAssembly, the tests of
//! the data path over native code.

use std::sync::Arc;

use crate::error::PluginError;
use crate::extent::{Finding, Geometry, Page, Probe, Reference};
use crate::source::ByteSource;

/// A plugin that reads (and perhaps writes) image formats. Calls block; run them off the async threads.
pub trait Format: Send + Sync {
    /// The plugin's name in the config.
    fn plugin(&self) -> &str;

    /// The version the plugin describes itself with.
    fn version(&self) -> &str;

    /// Registry names of the formats it reads.
    fn formats(&self) -> &[String];

    /// Whether it implements [`Format::create`].
    fn writes(&self) -> bool;

    /// Whether the bytes look like one of its formats: first 64 KiB, last 4 KiB, length.
    ///
    /// # Errors
    /// Only when the plugin breaks.
    fn probe(&self, head: &[u8], tail: &[u8], size: u64) -> Result<Option<Probe>, PluginError>;

    /// Opens an image as `format`.
    ///
    /// # Errors
    /// What the plugin reports, or how it broke.
    fn open(&self, primary: Arc<dyn ByteSource>, format: &str) -> Result<Box<dyn Image>, PluginError>;

    /// Starts a new image.
    ///
    /// # Errors
    /// What the plugin reports, or how it broke; `Unsupported` where [`Format::writes`] is false.
    fn create(&self, request: &CreateRequest) -> Result<Box<dyn Writer>, PluginError>;
}

/// The format plugins of a daemon, as of one moment.
pub trait Formats: Send + Sync {
    /// In the order in which the config lists them.
    fn all(&self) -> Vec<Arc<dyn Format>>;

    /// The first plugin that reads the format of this registry name.
    fn by_format(&self, format: &str) -> Option<Arc<dyn Format>> {
        self.all().into_iter().find(|plugin| plugin.formats().iter().any(|name| name == format))
    }
}

/// An opened image in a plugin. Dropped, it frees the plugin's instance.
pub trait Image: Send {
    /// What a guest sees.
    ///
    /// # Errors
    /// Only when the plugin breaks.
    fn geometry(&mut self) -> Result<Geometry, PluginError>;

    /// Facts worth showing, as name and value.
    ///
    /// # Errors
    /// Only when the plugin breaks.
    fn facts(&mut self) -> Result<Vec<(String, String)>, PluginError>;

    /// Files that the image names.
    ///
    /// # Errors
    /// Only when the plugin breaks.
    fn references(&mut self) -> Result<Vec<Reference>, PluginError>;

    /// Hands over the bytes of a reference that is not backing.
    ///
    /// # Errors
    /// What the plugin reports, or how it broke.
    fn attach(&mut self, id: u32, content: Arc<dyn ByteSource>) -> Result<(), PluginError>;

    /// A page of the map, unchecked: callers validate it.
    ///
    /// # Errors
    /// What the plugin reports, or how it broke.
    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, PluginError>;

    /// Decodes a codec that the host lacks.
    ///
    /// # Errors
    /// What the plugin reports, or how it broke.
    fn decode(&mut self, codec: &str, data: &[u8], decoded_length: u32) -> Result<Vec<u8>, PluginError>;

    /// Inconsistencies that do not stop a reader.
    ///
    /// # Errors
    /// What the plugin reports, or how it broke.
    fn check(&mut self) -> Result<Vec<Finding>, PluginError>;
}

/// What new image to make.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// Registry name.
    pub format: String,
    /// Bytes.
    pub virtual_size: u64,
    /// The plugin's own options, a JSON object.
    pub options: serde_json::Value,
    /// Name and format to record as backing image.
    pub backing: Option<(String, String)>,
}

/// How data is to be handed to a [`Writer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritePlan {
    /// Unit of guest data in bytes.
    pub chunk_size: u32,
    /// "" or a codec.
    pub codec: String,
}

/// A chunk of guest data that will be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// First guest byte.
    pub start: u64,
    /// Guest bytes.
    pub length: u64,
    /// Bytes in the file.
    pub stored: u64,
    /// Whether they are in the plan's codec.
    pub encoded: bool,
}

/// Bytes for the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// First byte.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The metadata that completes an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// In order.
    pub writes: Vec<Write>,
    /// Final length of the file.
    pub size: u64,
    /// Whether `finish` has to be called again.
    pub next: bool,
}

/// A new image in the making; see `witvirt:disk/layout`.
pub trait Writer: Send {
    /// How to hand data over.
    ///
    /// # Errors
    /// Only when the plugin breaks.
    fn plan(&mut self) -> Result<WritePlan, PluginError>;

    /// File offsets for chunks, in their order; unchecked.
    ///
    /// # Errors
    /// What the plugin reports, or how it broke.
    fn allocate(&mut self, chunks: &[Chunk]) -> Result<Vec<u64>, PluginError>;

    /// The last writes.
    ///
    /// # Errors
    /// What the plugin reports, or how it broke.
    fn finish(&mut self) -> Result<Ending, PluginError>;
}
