//! Disk formats: an instance for each open image or new image.

mod image;
mod writer;

use std::sync::Arc;

use wasmtime::component::InstancePre;
use witvirt_core::extent::Probe;
use witvirt_core::format::{CreateRequest, Format, Image, Writer};
use witvirt_core::source::ByteSource;
use witvirt_core::{ErrorKind, PluginError};

use crate::bindings::format::{Format as World, FormatIndices};
use crate::bindings::layout::LayoutIndices;
use crate::revision::{Revision, Session};
use crate::state::State;
use crate::text::{WORD, clean};

/// Names of formats that one plugin reads.
const FORMATS: usize = 64;

pub(crate) struct FormatPlugin {
    revision: Arc<Revision>,
    indices: FormatIndices,
    layout: Option<LayoutIndices>,
    formats: Vec<String>,
}

impl FormatPlugin {
    pub(crate) fn new<E: From<PluginError>>(
        revision: Arc<Revision>,
        instance: &InstancePre<State>,
        writes: bool,
        session: &mut Session,
        mismatch: impl Fn(wasmtime::Error) -> E,
    ) -> Result<Self, E> {
        let indices = FormatIndices::new(instance).map_err(&mismatch)?;
        let layout = writes.then(|| LayoutIndices::new(instance)).transpose().map_err(&mismatch)?;
        let mut plugin = Self { revision, indices, layout, formats: Vec::new() };
        plugin.formats = plugin.ask_formats(session)?;
        Ok(plugin)
    }

    fn ask_formats(&self, session: &mut Session) -> Result<Vec<String>, PluginError> {
        let world = self.world(session)?;
        let formats =
            session.call(&self.revision, |store| world.witvirt_disk_format().call_formats(store))?;
        if formats.is_empty() || formats.len() > FORMATS {
            let count = formats.len();
            return Err(self.revision.lied(format!("names {count} formats, 1 to {FORMATS} are expected")));
        }
        Ok(formats.iter().map(|name| clean(name, WORD)).collect())
    }

    fn world(&self, session: &mut Session) -> Result<World, PluginError> {
        let instance = session.instance;
        session.call(&self.revision, |store| self.indices.load(store, &instance))
    }
}

impl Format for FormatPlugin {
    fn plugin(&self) -> &str {
        &self.revision.name
    }

    fn version(&self) -> &str {
        &self.revision.version
    }

    fn formats(&self) -> &[String] {
        &self.formats
    }

    fn writes(&self) -> bool {
        self.layout.is_some()
    }

    fn probe(&self, head: &[u8], tail: &[u8], size: u64) -> Result<Option<Probe>, PluginError> {
        let mut session = self.revision.ready()?;
        let world = self.world(&mut session)?;
        let answer = session
            .call(&self.revision, |store| world.witvirt_disk_format().call_probe(store, head, tail, size))?;
        let Some(answer) = answer else { return Ok(None) };
        if !(1..=100).contains(&answer.confidence) {
            let confidence = answer.confidence;
            return Err(self
                .revision
                .lied(format!("answered a probe with the confidence {confidence}, 1 to 100 are expected")));
        }
        if !self.formats.contains(&answer.format) {
            let name = clean(&answer.format, WORD);
            return Err(self
                .revision
                .lied(format!("answered a probe with the format \"{name}\", which it does not read")));
        }
        Ok(Some(Probe {
            confidence: answer.confidence,
            format: answer.format,
            version: answer.version.map(|version| clean(&version, WORD)),
        }))
    }

    fn open(&self, primary: Arc<dyn ByteSource>, format: &str) -> Result<Box<dyn Image>, PluginError> {
        let mut session = self.revision.ready()?;
        let world = self.world(&mut session)?;
        Ok(Box::new(image::PluginImage::open(Arc::clone(&self.revision), session, world, primary, format)?))
    }

    fn create(&self, request: &CreateRequest) -> Result<Box<dyn Writer>, PluginError> {
        let Some(layout) = &self.layout else {
            let message = format!("reads {} but does not make new images", self.formats.join(", "));
            return Err(self.revision.error(ErrorKind::Unsupported, message, Vec::new()));
        };
        let mut session = self.revision.ready()?;
        let instance = session.instance;
        let world = session.call(&self.revision, |store| layout.load(store, &instance))?;
        Ok(Box::new(writer::PluginWriter::create(Arc::clone(&self.revision), session, world, request)?))
    }
}

/// The instance behind an open image or writer: gone after the first trap or lie, and every later call says so.
struct Live<W> {
    revision: Arc<Revision>,
    guest: Result<(Session, W), String>,
}

impl<W> Live<W> {
    fn new(revision: Arc<Revision>, session: Session, world: W) -> Self {
        Self { revision, guest: Ok((session, world)) }
    }

    fn call<R>(
        &mut self,
        call: impl FnOnce(&mut Session, &W, &Revision) -> Result<R, PluginError>,
    ) -> Result<R, PluginError> {
        let (session, world) = match &mut self.guest {
            Ok(guest) => (&mut guest.0, &guest.1),
            Err(reason) => {
                let message =
                    format!("broke in an earlier call on this image ({reason}); open the image again");
                return Err(self.revision.lied(message));
            }
        };
        let result = call(session, world, &self.revision);
        if let Err(error) = &result
            && (session.trapped() || error.kind == ErrorKind::Plugin)
        {
            self.guest = Err(error.message.clone());
        }
        result
    }
}
