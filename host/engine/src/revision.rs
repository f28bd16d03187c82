//! A loaded plugin and the instances that serve calls.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Instance, InstancePre, Resource};
use wasmtime::{Engine, Store, UpdateDeadline};
use witvirt_core::plugin::Limits;
use witvirt_core::source::ByteSource;
use witvirt_core::{ErrorKind, PluginError};

use crate::bindings::plugin::exports::witvirt::types::lifecycle::Info;
use crate::bindings::plugin::{Plugin, PluginIndices};
use crate::bindings::{self, Error};
use crate::engine::TICK;
use crate::state::{Source, State};
use crate::text::{MESSAGE, WORD, clean};
use crate::trap;

/// Pairs of an error's context.
const CONTEXT: usize = 16;
/// Bytes of a value in an error's context.
const VALUE: usize = 1024;

/// One plugin as the config has it, compiled and linked. Every instance starts from it.
pub(crate) struct Revision {
    pub(crate) name: Arc<str>,
    /// Empty until the plugin has described itself.
    pub(crate) version: String,
    limits: Limits,
    settings: String,
    engine: Engine,
    instance: InstancePre<State>,
    lifecycle: PluginIndices,
}

impl Revision {
    /// Looks up the lifecycle interface.
    ///
    /// # Errors
    /// wasmtime's, when `describe` or `configure` are not what the contract says.
    pub(crate) fn new(
        name: &str,
        limits: Limits,
        settings: String,
        engine: Engine,
        instance: InstancePre<State>,
    ) -> wasmtime::Result<Self> {
        let lifecycle = PluginIndices::new(&instance)?;
        Ok(Self { name: name.into(), version: String::new(), limits, settings, engine, instance, lifecycle })
    }

    /// Makes an instance that knows nothing of its settings yet.
    pub(crate) fn start(&self) -> Result<Session, PluginError> {
        self.start_within(None)
    }

    /// As [`Revision::start`], for an instance that may live for `life`, over all its calls.
    fn start_within(&self, life: Option<Duration>) -> Result<Session, PluginError> {
        let mut store = Store::new(&self.engine, State::new(Arc::clone(&self.name), &self.limits, life));
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(bytes(self.limits.call_data.get()));
        store.epoch_deadline_callback(|context| {
            let left = context.data().time_left();
            Ok(if left.is_zero() { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(ticks(left)) })
        });
        let epochs = epochs(store.data());
        store.set_epoch_deadline(epochs);
        let made = self.instance.instantiate(&mut store);
        let instance = made.map_err(|error| self.broke(&error, store.data()))?;
        Ok(Session { store, instance, trapped: false })
    }

    /// Makes an instance that is ready to serve.
    pub(crate) fn ready(&self) -> Result<Session, PluginError> {
        self.ready_within(None)
    }

    /// As [`Revision::ready`], for an instance that may live for `life`, over all its calls.
    pub(crate) fn ready_within(&self, life: Option<Duration>) -> Result<Session, PluginError> {
        let mut session = self.start_within(life)?;
        self.configure(&mut session)?;
        Ok(session)
    }

    /// Hands an instance its settings.
    pub(crate) fn configure(&self, session: &mut Session) -> Result<(), PluginError> {
        let lifecycle = session.lifecycle(self)?;
        session
            .call(self, |store| lifecycle.witvirt_types_lifecycle().call_configure(store, &self.settings))?
            .map_err(|error| self.reported(error))
    }

    /// Asks an instance who it is.
    pub(crate) fn describe(&self, session: &mut Session) -> Result<Info, PluginError> {
        let lifecycle = session.lifecycle(self)?;
        session.call(self, |store| lifecycle.witvirt_types_lifecycle().call_describe(store))
    }

    /// An error that the plugin answered with.
    pub(crate) fn reported(&self, error: Error) -> PluginError {
        let context = error.context.iter().take(CONTEXT);
        self.error(
            kind(error.kind),
            clean(&error.message, MESSAGE),
            context.map(|(key, value)| (clean(key, WORD), clean(value, VALUE))).collect(),
        )
    }

    /// An answer that breaks the contract.
    pub(crate) fn lied(&self, message: impl Into<String>) -> PluginError {
        self.error(ErrorKind::Plugin, message.into(), Vec::new())
    }

    /// An error in this plugin's name.
    pub(crate) fn error(
        &self,
        kind: ErrorKind,
        message: String,
        context: Vec<(String, String)>,
    ) -> PluginError {
        PluginError { plugin: self.name.to_string(), version: self.version.clone(), kind, message, context }
    }

    pub(crate) fn broke(&self, error: &wasmtime::Error, state: &State) -> PluginError {
        let failure = trap::explain(error, state, &self.limits);
        self.error(failure.kind, failure.message, failure.context)
    }
}

/// Epochs until a call's time has surely passed: the first may be over at once.
fn epochs(state: &State) -> u64 {
    ticks(state.time_left()).saturating_add(1)
}

/// Epochs that are at least as long together.
fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX).min(u64::MAX / 2)
}

/// One instance of a plugin, dropped as a whole; never used again after a trap.
pub(crate) struct Session {
    store: Store<State>,
    pub(crate) instance: Instance,
    trapped: bool,
}

impl Session {
    fn lifecycle(&mut self, revision: &Revision) -> Result<Plugin, PluginError> {
        let loaded = revision.lifecycle.load(&mut self.store, &self.instance);
        loaded.map_err(|error| revision.broke(&error, self.store.data()))
    }

    /// Runs `call` in the guest under the limits of one call.
    pub(crate) fn call<R>(
        &mut self,
        revision: &Revision,
        call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, PluginError> {
        self.store.data_mut().begin_call();
        let epochs = epochs(self.store.data());
        self.store.set_epoch_deadline(epochs);
        call(&mut self.store).map_err(|error| {
            self.trapped = true;
            revision.broke(&error, self.store.data())
        })
    }

    /// Whether a call ended in a trap, after which the instance is of no more use.
    pub(crate) fn trapped(&self) -> bool {
        self.trapped
    }

    /// Lends a source to the guest.
    pub(crate) fn lend(
        &mut self,
        revision: &Revision,
        bytes: Arc<dyn ByteSource>,
    ) -> Result<Resource<Source>, PluginError> {
        self.store.data_mut().handles.push(Source(bytes)).map_err(|error| {
            let message = format!("holds too many sources: {error}");
            revision.error(ErrorKind::Limit, message, Vec::new())
        })
    }

    /// As [`Session::call`], for an answer of which `room` bytes are asked for.
    pub(crate) fn call_with_room<R>(
        &mut self,
        revision: &Revision,
        room: u64,
        call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, PluginError> {
        let usual = revision.limits.call_data.get();
        self.store.set_hostcall_fuel(bytes(usual.max(room)));
        let result = self.call(revision, call);
        self.store.set_hostcall_fuel(bytes(usual));
        result
    }
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn kind(kind: bindings::ErrorKind) -> ErrorKind {
    match kind {
        bindings::ErrorKind::InvalidInput => ErrorKind::InvalidInput,
        bindings::ErrorKind::Unsupported => ErrorKind::Unsupported,
        bindings::ErrorKind::Corrupt => ErrorKind::Corrupt,
        bindings::ErrorKind::NotFound => ErrorKind::NotFound,
        bindings::ErrorKind::Denied => ErrorKind::Denied,
        bindings::ErrorKind::Limit => ErrorKind::Limit,
        bindings::ErrorKind::Io => ErrorKind::Io,
        bindings::ErrorKind::Other => ErrorKind::Other,
    }
}
