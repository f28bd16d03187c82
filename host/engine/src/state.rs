//! What a store holds besides the guest: its bounds, its handles and its log, and the host's side of the imports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::ResourceLimiter;
use wasmtime::component::{Resource, ResourceTable};
use witvirt_core::plugin::Limits;
use witvirt_core::source::ByteSource;

use crate::bindings::format::witvirt::disk::io;
use crate::bindings::plugin::witvirt::types::log;
use crate::bindings::{Error, ErrorKind, plugin};
use crate::log::Log;
use crate::text::clean;

/// Bytes of one `read-at`, as the contract says.
const READ: u32 = 1 << 20;
/// Sources that an instance can hold: the primary file and 4,096 references, with room.
const HANDLES: usize = 4200;
/// Entries of all tables of an instance.
const TABLE_ELEMENTS: usize = 100_000;

/// Bytes that are lent to a guest.
pub struct Source(pub(crate) Arc<dyn ByteSource>);

/// The data of a store.
pub(crate) struct State {
    pub(crate) limiter: Limiter,
    pub(crate) handles: ResourceTable,
    pub(crate) log: Log,
    calls_left: u64,
    bytes_left: u64,
    /// When the call began.
    begun: Instant,
    /// How long it has waited for bytes since.
    waited: Duration,
    /// Time for one call.
    deadline: Duration,
    /// Time for all calls of this instance together, and when it began to run.
    life: Option<(Duration, Instant)>,
}

impl State {
    pub(crate) fn new(plugin: Arc<str>, limits: &Limits, life: Option<Duration>) -> Self {
        let mut handles = ResourceTable::new();
        handles.set_max_capacity(HANDLES);
        Self {
            limiter: Limiter { memory: limits.memory.get(), used: 0, table_elements: 0, refused: None },
            handles,
            log: Log::new(plugin),
            calls_left: limits.host_calls,
            bytes_left: limits.host_bytes.get(),
            begun: Instant::now(),
            waited: Duration::ZERO,
            deadline: limits.deadline,
            life: life.map(|life| (life, Instant::now())),
        }
    }

    /// Forgets what belongs to the last call.
    pub(crate) fn begin_call(&mut self) {
        self.limiter.refused = None;
        self.log.begin_call();
        (self.begun, self.waited) = (Instant::now(), Duration::ZERO);
    }

    /// How long this call may still take.
    pub(crate) fn time_left(&self) -> Duration {
        // What passed while the host read for the plugin is not the plugin's.
        let spent = self.begun.elapsed().saturating_sub(self.waited);
        let left = self.deadline.saturating_sub(spent);
        self.life_left().map_or(left, |life| life.min(left))
    }

    fn life_left(&self) -> Option<Duration> {
        self.life.map(|(life, since)| life.saturating_sub(since.elapsed()))
    }

    /// The time that whoever made this instance gave it, where that has passed.
    pub(crate) fn outlived(&self) -> Option<Duration> {
        self.life.map(|(life, _)| life).filter(|_| self.life_left() == Some(Duration::ZERO))
    }

    fn charge(&mut self, bytes: u64) -> Result<(), Error> {
        let Some(calls) = self.calls_left.checked_sub(1) else {
            return Err(exhausted("host-calls"));
        };
        let Some(left) = self.bytes_left.checked_sub(bytes) else {
            return Err(exhausted("host-bytes"));
        };
        self.calls_left = calls;
        self.bytes_left = left;
        Ok(())
    }
}

fn exhausted(limit: &str) -> Error {
    let message =
        format!("the budget of {limit} is used up; raise limits.{limit} of this plugin in the config");
    Error { kind: ErrorKind::Limit, message, context: Vec::new() }
}

/// Bounds memory over all linear memories of an instance, and remembers a refusal: guests only abort on it.
pub(crate) struct Limiter {
    memory: u64,
    used: u64,
    table_elements: usize,
    /// Bytes that the guest wanted to have when it was refused.
    pub(crate) refused: Option<u64>,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.used.saturating_add(desired.saturating_sub(current) as u64);
        if total > self.memory {
            self.refused = Some(total);
            return Ok(false);
        }
        self.used = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > TABLE_ELEMENTS {
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        64
    }

    fn tables(&self) -> usize {
        32
    }

    fn memories(&self) -> usize {
        16
    }
}

impl plugin::witvirt::types::errors::Host for State {}

impl log::Host for State {
    fn write(&mut self, level: u8, message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        self.log.write(level, &message, &fields);
        Ok(())
    }
}

impl io::Host for State {}

impl io::HostSource for State {
    fn size(&mut self, source: Resource<Source>) -> wasmtime::Result<u64> {
        Ok(self.handles.get(&source)?.0.size())
    }

    fn read_at(
        &mut self,
        source: Resource<Source>,
        offset: u64,
        len: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let bytes = Arc::clone(&self.handles.get(&source)?.0);
        if len > READ {
            let message = format!("read-at of {len} bytes, at most {READ} are allowed");
            return Ok(Err(Error { kind: ErrorKind::InvalidInput, message, context: Vec::new() }));
        }
        let len = u64::from(len).min(bytes.size().saturating_sub(offset));
        if let Err(error) = self.charge(len) {
            return Ok(Err(error));
        }
        let begun = Instant::now();
        let outcome = read(&*bytes, offset, len as usize);
        self.waited = self.waited.saturating_add(begun.elapsed());
        Ok(outcome)
    }

    fn drop(&mut self, source: Resource<Source>) -> wasmtime::Result<()> {
        self.handles.delete(source)?;
        Ok(())
    }
}

fn read(bytes: &dyn ByteSource, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
    let mut buffer = vec![0; len];
    match bytes.read_at(&mut buffer, offset) {
        Ok(count) => {
            buffer.truncate(count);
            Ok(buffer)
        }
        Err(error) => Err(Error {
            kind: ErrorKind::Io,
            message: format!("cannot read the source: {}", clean(&error.to_string(), 1024)),
            context: vec![
                ("offset".to_owned(), format!("{offset:#x}")),
                ("length".to_owned(), len.to_string()),
            ],
        }),
    }
}
