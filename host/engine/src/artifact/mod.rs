//! Artifact layouts: a fresh instance for each call.

mod publish;
mod read;

use std::sync::Arc;

use wasmtime::component::InstancePre;
use witvirt_core::artifact::{
    ArtifactLayout, Claim, Manifest, Packed, Packing, Plan, PublishRequest, SmallBlob,
};
use witvirt_core::{Digest, ErrorKind, PluginError};

use crate::bindings::artifact::exports::witvirt::artifact::layout as wit;
use crate::bindings::artifact::{Artifact as World, ArtifactIndices};
use crate::bindings::publish::{Publish, PublishIndices};
use crate::revision::{Revision, Session};
use crate::state::State;
use crate::text::{WORD, clean};

/// Bounds of the contract in wit/artifact.
const LAYOUTS: usize = 64;
const MANIFEST: usize = 4 << 20;
const SMALL: usize = 1 << 20;
const NEEDS: usize = 16;

pub(crate) struct ArtifactPlugin {
    revision: Arc<Revision>,
    indices: ArtifactIndices,
    publish: Option<PublishIndices>,
    layouts: Vec<String>,
}

impl ArtifactPlugin {
    pub(crate) fn new<E: From<PluginError>>(
        revision: Arc<Revision>,
        instance: &InstancePre<State>,
        publishes: bool,
        session: &mut Session,
        mismatch: impl Fn(wasmtime::Error) -> E,
    ) -> Result<Self, E> {
        let indices = ArtifactIndices::new(instance).map_err(&mismatch)?;
        let publish = publishes.then(|| PublishIndices::new(instance)).transpose().map_err(&mismatch)?;
        let mut plugin = Self { revision, indices, publish, layouts: Vec::new() };
        plugin.layouts = plugin.ask_layouts(session)?;
        Ok(plugin)
    }

    fn ask_layouts(&self, session: &mut Session) -> Result<Vec<String>, PluginError> {
        let world = self.world(session)?;
        let layouts =
            session.call(&self.revision, |store| world.witvirt_artifact_layout().call_layouts(store))?;
        if layouts.is_empty() || layouts.len() > LAYOUTS {
            let count = layouts.len();
            return Err(self.revision.lied(format!("names {count} layouts, 1 to {LAYOUTS} are expected")));
        }
        Ok(layouts.iter().map(|name| clean(name, WORD)).collect())
    }

    fn world(&self, session: &mut Session) -> Result<World, PluginError> {
        let instance = session.instance;
        session.call(&self.revision, |store| self.indices.load(store, &instance))
    }

    /// An instance that answers about a manifest.
    fn reader(&self, manifest: &Manifest) -> Result<(Session, World, wit::Manifest), PluginError> {
        if manifest.text.len() > MANIFEST {
            let message =
                format!("the manifest has {} bytes, at most {MANIFEST} are read", manifest.text.len());
            return Err(self.revision.error(ErrorKind::Limit, message, Vec::new()));
        }
        let mut session = self.revision.ready()?;
        let world = self.world(&mut session)?;
        let document = wit::Manifest { media_type: manifest.media_type.clone(), text: manifest.text.clone() };
        Ok((session, world, document))
    }

    /// An instance that makes artifacts.
    fn publisher(&self) -> Result<(Session, Publish), PluginError> {
        let Some(publish) = &self.publish else {
            let message = format!("reads {} but does not make new artifacts", self.layouts.join(", "));
            return Err(self.revision.error(ErrorKind::Unsupported, message, Vec::new()));
        };
        let mut session = self.revision.ready()?;
        let instance = session.instance;
        let world = session.call(&self.revision, |store| publish.load(store, &instance))?;
        Ok((session, world))
    }
}

impl ArtifactLayout for ArtifactPlugin {
    fn plugin(&self) -> &str {
        &self.revision.name
    }

    fn version(&self) -> &str {
        &self.revision.version
    }

    fn layouts(&self) -> &[String] {
        &self.layouts
    }

    fn publishes(&self) -> bool {
        self.publish.is_some()
    }

    fn probe(&self, manifest: &Manifest) -> Result<Option<Claim>, PluginError> {
        let (mut session, world, document) = self.reader(manifest)?;
        let answer = session
            .call(&self.revision, |store| world.witvirt_artifact_layout().call_probe(store, &document))?;
        answer.map(|answer| read::claim(&self.revision, &self.layouts, answer)).transpose()
    }

    fn needs(&self, manifest: &Manifest, options: &serde_json::Value) -> Result<Vec<Digest>, PluginError> {
        let (mut session, world, document) = self.reader(manifest)?;
        let options = options.to_string();
        let digests = session
            .call(&self.revision, |store| {
                world.witvirt_artifact_layout().call_needs(store, &document, &options)
            })?
            .map_err(|error| self.revision.reported(error))?;
        at_most(&self.revision, "blobs that it needs", digests.len(), NEEDS)?;
        digests.iter().map(|text| read::digest(&self.revision, text)).collect()
    }

    fn interpret(
        &self,
        manifest: &Manifest,
        blobs: &[(Digest, Vec<u8>)],
        options: &serde_json::Value,
    ) -> Result<Plan, PluginError> {
        let (mut session, world, document) = self.reader(manifest)?;
        let options = options.to_string();
        let blob = |(digest, content): &(Digest, Vec<u8>)| wit::Blob {
            digest: digest.to_string(),
            content: content.clone(),
        };
        let blobs: Vec<wit::Blob> = blobs.iter().map(blob).collect();
        let plan = session
            .call(&self.revision, |store| {
                world.witvirt_artifact_layout().call_interpret(store, &document, &blobs, &options)
            })?
            .map_err(|error| self.revision.reported(error))?;
        read::plan(&self.revision, plan)
    }

    fn prepare(&self, request: &PublishRequest) -> Result<Vec<Packing>, PluginError> {
        let (mut session, world) = self.publisher()?;
        let order = publish::request(request);
        let packings = session
            .call(&self.revision, |store| world.witvirt_artifact_publish().call_prepare(store, &order))?
            .map_err(|error| self.revision.reported(error))?;
        publish::packings(&self.revision, packings)
    }

    fn documents(&self, request: &PublishRequest, blobs: &[Packed]) -> Result<Vec<SmallBlob>, PluginError> {
        let (mut session, world) = self.publisher()?;
        let (order, blobs) = (publish::request(request), publish::packed(blobs));
        let documents = session
            .call(&self.revision, |store| {
                world.witvirt_artifact_publish().call_documents(store, &order, &blobs)
            })?
            .map_err(|error| self.revision.reported(error))?;
        publish::documents(&self.revision, documents)
    }

    fn compose(&self, request: &PublishRequest, blobs: &[Packed]) -> Result<Manifest, PluginError> {
        let (mut session, world) = self.publisher()?;
        let (order, blobs) = (publish::request(request), publish::packed(blobs));
        let composed = session
            .call(&self.revision, |store| {
                world.witvirt_artifact_publish().call_compose(store, &order, &blobs)
            })?
            .map_err(|error| self.revision.reported(error))?;
        publish::manifest(&self.revision, composed)
    }
}

fn at_most(revision: &Revision, what: &str, count: usize, max: usize) -> Result<(), PluginError> {
    if count > max {
        return Err(revision.lied(format!("answered with {count} {what}, at most {max} are taken")));
    }
    Ok(())
}

/// A name that the host compares: refused where it is too long, never changed.
fn word(revision: &Revision, what: &str, text: String, max: usize) -> Result<String, PluginError> {
    if text.len() > max {
        let bytes = text.len();
        return Err(revision.lied(format!("answered with {bytes} bytes of {what}, at most {max} are taken")));
    }
    Ok(text)
}
