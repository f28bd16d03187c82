//! A new image in the making in a plugin.

use std::sync::Arc;

use wasmtime::component::ResourceAny;
use witvirt_core::PluginError;
use witvirt_core::format::{Chunk, CreateRequest, Ending, Write, WritePlan, Writer};

use super::Live;
use crate::bindings::layout::Layout as World;
use crate::bindings::layout::exports::witvirt::disk::layout as wit;
use crate::revision::{Revision, Session};

/// Chunks of one `allocate`, as the contract says.
const CHUNKS: usize = 4096;
/// Bytes of one answer of `finish`, as the contract says.
const WRITES: usize = 4 << 20;
/// Bytes of a codec's name.
const CODEC: usize = 64;

pub(super) struct PluginWriter {
    live: Live<World>,
    handle: ResourceAny,
}

impl PluginWriter {
    pub(super) fn create(
        revision: Arc<Revision>,
        mut session: Session,
        world: World,
        request: &CreateRequest,
    ) -> Result<Self, PluginError> {
        let request = wit::CreateRequest {
            format: request.format.clone(),
            virtual_size: request.virtual_size,
            options: request.options.to_string(),
            backing: request.backing.clone(),
        };
        let handle = session
            .call(&revision, |store| world.witvirt_disk_layout().writer().call_create(store, &request))?
            .map_err(|error| revision.reported(error))?;
        Ok(Self { live: Live::new(revision, session, world), handle })
    }
}

impl Writer for PluginWriter {
    fn plan(&mut self) -> Result<WritePlan, PluginError> {
        let handle = self.handle;
        self.live.call(|session, world, revision| {
            let plan = session
                .call(revision, |store| world.witvirt_disk_layout().writer().call_plan(store, handle))?;
            if plan.chunk_size == 0 || plan.codec.len() > CODEC {
                return Err(
                    revision.lied("answered with a plan without a chunk size or with an endless codec")
                );
            }
            Ok(WritePlan { chunk_size: plan.chunk_size, codec: plan.codec })
        })
    }

    fn allocate(&mut self, chunks: &[Chunk]) -> Result<Vec<u64>, PluginError> {
        let handle = self.handle;
        let mut offsets = Vec::with_capacity(chunks.len());
        for page in chunks.chunks(CHUNKS) {
            let page: Vec<wit::Chunk> = page.iter().map(chunk).collect();
            let mut more = self.live.call(|session, world, revision| {
                let answer = session
                    .call(revision, |store| {
                        world.witvirt_disk_layout().writer().call_allocate(store, handle, &page)
                    })?
                    .map_err(|error| revision.reported(error))?;
                match answer.len() == page.len() {
                    true => Ok(answer),
                    false => {
                        Err(revision.lied(format!("gave {} offsets for {} chunks", answer.len(), page.len())))
                    }
                }
            })?;
            offsets.append(&mut more);
        }
        Ok(offsets)
    }

    fn finish(&mut self) -> Result<Ending, PluginError> {
        let handle = self.handle;
        self.live.call(|session, world, revision| {
            let ending = session
                .call(revision, |store| world.witvirt_disk_layout().writer().call_finish(store, handle))?
                .map_err(|error| revision.reported(error))?;
            let bytes: usize = ending.writes.iter().map(|write| write.bytes.len()).sum();
            if bytes > WRITES {
                return Err(
                    revision.lied(format!("wants {bytes} bytes written in one step, at most {WRITES} are"))
                );
            }
            let writes =
                ending.writes.into_iter().map(|write| Write { offset: write.offset, bytes: write.bytes });
            Ok(Ending { writes: writes.collect(), size: ending.size, next: ending.next })
        })
    }
}

fn chunk(chunk: &Chunk) -> wit::Chunk {
    wit::Chunk { start: chunk.start, length: chunk.length, stored: chunk.stored, encoded: chunk.encoded }
}
