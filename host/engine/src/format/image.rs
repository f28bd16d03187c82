//! An open image in a plugin.

use std::sync::Arc;

use wasmtime::component::ResourceAny;
use witvirt_core::PluginError;
use witvirt_core::extent::{Encoded, Extent, ExtentKind, Finding, Geometry, Page, Reference};
use witvirt_core::format::Image;
use witvirt_core::source::ByteSource;

use super::Live;
use crate::bindings::format::Format as World;
use crate::bindings::format::exports::witvirt::disk::format as wit;
use crate::revision::{Revision, Session};
use crate::text::{MESSAGE, WORD, clean};

/// Bounds of the contract in wit/disk.
const FACTS: usize = 64;
const REFERENCES: usize = 4096;
const FINDINGS: usize = 1000;
const LITERAL: usize = 64 << 10;
const DECODED: u32 = 64 << 20;
/// Bytes of a name in an image: PATH_MAX of Linux, and room for a JSON or URL form of it.
const NAME: usize = 16 << 10;
/// Bytes of a codec's name and of other registry words.
const CODEC: usize = 64;

pub(super) struct PluginImage {
    live: Live<World>,
    handle: ResourceAny,
}

impl PluginImage {
    pub(super) fn open(
        revision: Arc<Revision>,
        mut session: Session,
        world: World,
        primary: Arc<dyn ByteSource>,
        format: &str,
    ) -> Result<Self, PluginError> {
        let options = serde_json::json!({ "format": format }).to_string();
        let source = session.lend(&revision, primary)?;
        let handle = session
            .call(&revision, |store| world.witvirt_disk_format().image().call_open(store, source, &options))?
            .map_err(|error| revision.reported(error))?;
        Ok(Self { live: Live::new(revision, session, world), handle })
    }
}

impl Image for PluginImage {
    fn geometry(&mut self) -> Result<Geometry, PluginError> {
        let handle = self.handle;
        self.live.call(|session, world, revision| {
            let geometry = session
                .call(revision, |store| world.witvirt_disk_format().image().call_geometry(store, handle))?;
            if ![512, 4096].contains(&geometry.logical_sector) {
                let sector = geometry.logical_sector;
                return Err(
                    revision.lied(format!("says that a sector has {sector} bytes, 512 or 4096 are expected"))
                );
            }
            Ok(Geometry {
                virtual_size: geometry.virtual_size,
                cluster_size: geometry.cluster_size,
                logical_sector: geometry.logical_sector,
            })
        })
    }

    fn facts(&mut self) -> Result<Vec<(String, String)>, PluginError> {
        let handle = self.handle;
        self.live.call(|session, world, revision| {
            let facts = session
                .call(revision, |store| world.witvirt_disk_format().image().call_facts(store, handle))?;
            at_most(revision, "facts", facts.len(), FACTS)?;
            Ok(facts.iter().map(|(name, value)| (clean(name, WORD), clean(value, MESSAGE))).collect())
        })
    }

    fn references(&mut self) -> Result<Vec<Reference>, PluginError> {
        let handle = self.handle;
        self.live.call(|session, world, revision| {
            let references = session
                .call(revision, |store| world.witvirt_disk_format().image().call_references(store, handle))?;
            at_most(revision, "references", references.len(), REFERENCES)?;
            references.into_iter().map(|item| reference(revision, item)).collect()
        })
    }

    fn attach(&mut self, id: u32, content: Arc<dyn ByteSource>) -> Result<(), PluginError> {
        let handle = self.handle;
        self.live.call(|session, world, revision| {
            let source = session.lend(revision, content)?;
            session
                .call(revision, |store| {
                    world.witvirt_disk_format().image().call_attach(store, handle, id, source)
                })?
                .map_err(|error| revision.reported(error))
        })
    }

    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, PluginError> {
        let handle = self.handle;
        self.live.call(|session, world, revision| {
            let page = session
                .call(revision, |store| {
                    world.witvirt_disk_format().image().call_extents(store, handle, start, length, max)
                })?
                .map_err(|error| revision.reported(error))?;
            at_most(revision, "extents", page.extents.len(), max as usize)?;
            let extents =
                page.extents.into_iter().map(|item| extent(revision, item)).collect::<Result<_, _>>()?;
            Ok(Page { extents, next: page.next })
        })
    }

    fn decode(&mut self, codec: &str, data: &[u8], decoded_length: u32) -> Result<Vec<u8>, PluginError> {
        let handle = self.handle;
        self.live.call(|session, world, revision| {
            if decoded_length > DECODED {
                return Err(revision
                    .lied(format!("wants {decoded_length} bytes decoded at once, at most {DECODED} are")));
            }
            // The host asked for these bytes, so they are not held against the plugin.
            let room = u64::from(decoded_length) + MESSAGE as u64;
            let bytes = session
                .call_with_room(revision, room, |store| {
                    world.witvirt_disk_format().image().call_decode(
                        store,
                        handle,
                        codec,
                        data,
                        decoded_length,
                    )
                })?
                .map_err(|error| revision.reported(error))?;
            if bytes.len() as u64 != u64::from(decoded_length) {
                let count = bytes.len();
                return Err(revision.lied(format!("decoded {count} bytes, {decoded_length} are expected")));
            }
            Ok(bytes)
        })
    }

    fn check(&mut self) -> Result<Vec<Finding>, PluginError> {
        let handle = self.handle;
        self.live.call(|session, world, revision| {
            let findings = session
                .call(revision, |store| world.witvirt_disk_format().image().call_check(store, handle))?
                .map_err(|error| revision.reported(error))?;
            at_most(revision, "findings", findings.len(), FINDINGS)?;
            Ok(findings
                .into_iter()
                .map(|finding| Finding {
                    severity: finding.severity,
                    code: clean(&finding.code, WORD),
                    message: clean(&finding.message, MESSAGE),
                    offset: finding.offset,
                })
                .collect())
        })
    }
}

fn at_most(revision: &Revision, what: &str, count: usize, max: usize) -> Result<(), PluginError> {
    if count > max {
        return Err(revision.lied(format!("answered with {count} {what}, at most {max} are taken")));
    }
    Ok(())
}

/// Names stay as they are in the image: the host compares and resolves them, and escapes them where it shows them.
fn reference(revision: &Revision, reference: wit::Reference) -> Result<Reference, PluginError> {
    if reference.name.len() > NAME {
        let bytes = reference.name.len();
        return Err(
            revision.lied(format!("names a file with {bytes} bytes of name, at most {NAME} are taken"))
        );
    }
    Ok(Reference {
        id: reference.id,
        role: clean(&reference.role, CODEC),
        name: reference.name,
        format_hint: reference.format_hint.map(|hint| clean(&hint, CODEC)),
        required: reference.required,
    })
}

fn extent(revision: &Revision, extent: wit::Extent) -> Result<Extent, PluginError> {
    let kind = match extent.kind {
        wit::ExtentKind::Zero => ExtentKind::Zero,
        wit::ExtentKind::Parent => ExtentKind::Parent,
        wit::ExtentKind::Unallocated => ExtentKind::Unallocated,
        wit::ExtentKind::Data(place) => ExtentKind::Data { source: place.source, offset: place.offset },
        wit::ExtentKind::Literal(bytes) => {
            if bytes.len() > LITERAL {
                let count = bytes.len();
                return Err(revision
                    .lied(format!("answered with a literal of {count} bytes, at most {LITERAL} are taken")));
            }
            ExtentKind::Literal(bytes)
        }
        wit::ExtentKind::Encoded(encoded) => {
            if encoded.codec.len() > CODEC {
                let bytes = encoded.codec.len();
                return Err(
                    revision.lied(format!("names a codec with {bytes} bytes, at most {CODEC} are taken"))
                );
            }
            ExtentKind::Encoded(Encoded {
                codec: encoded.codec,
                source: encoded.source,
                offset: encoded.offset,
                length: encoded.length,
                decoded_length: encoded.decoded_length,
                skip: encoded.skip,
            })
        }
    };
    Ok(Extent { start: extent.start, length: extent.length, kind })
}
