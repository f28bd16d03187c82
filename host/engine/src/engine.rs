//! The one wasmtime engine of a process.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use wasmparser::WasmFeatures;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, OptLevel, Strategy};
use witvirt_core::ByteSize;
use witvirt_core::plugin::PluginKind;

use crate::bindings::{format, plugin};
use crate::cache::{Cache, CacheError};
use crate::state::State;

/// Length of an epoch: the grain of deadlines.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// What an [`Engine`] needs to know.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Directory for compiled plugins; made when it is missing, refused when anybody else can write it.
    pub cache: PathBuf,
    /// The program that calls [`crate::compile_child_main`].
    pub compiler: CompileCommand,
    /// The largest component that is loaded.
    pub max_component: ByteSize,
    /// How long compiling one component may take.
    pub compile_deadline: Duration,
}

impl EngineOptions {
    /// With 64 MiB for a component and two minutes to compile it.
    pub fn new(cache: impl Into<PathBuf>, compiler: CompileCommand) -> Self {
        Self {
            cache: cache.into(),
            compiler,
            max_component: ByteSize::mib(64),
            compile_deadline: Duration::from_secs(120),
        }
    }
}

/// How to start the child process that compiles.
#[derive(Debug, Clone)]
pub struct CompileCommand {
    /// Absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The cache directory cannot be used or trusted.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// wasmtime does not work on this machine.
    #[error("cannot start the WebAssembly runtime: {0}")]
    Runtime(String),
    /// No thread for the deadlines.
    #[error("cannot start the thread that watches deadlines")]
    Thread(#[source] std::io::Error),
}

/// Loads plugins. Cheap to share behind an `Arc`; everything is synchronous, so call it off the async threads.
pub struct Engine {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) cache: Cache,
    pub(crate) options: EngineOptions,
    format: Linker<State>,
    other: Linker<State>,
}

impl Engine {
    /// Starts the runtime and the thread that watches deadlines; the thread ends with the engine and its plugins.
    ///
    /// # Errors
    /// [`EngineError`]: a cache directory that cannot be trusted, or a machine on which wasmtime does not run.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let runtime = |error: wasmtime::Error| EngineError::Runtime(format!("{error:#}"));
        let engine = wasmtime::Engine::new(&config()).map_err(runtime)?;
        let cache = Cache::open(&options.cache, &engine)?;
        tick(&engine).map_err(EngineError::Thread)?;
        let mut other = Linker::new(&engine);
        plugin::witvirt::types::errors::add_to_linker::<_, HasSelf<State>>(&mut other, |state| state)
            .map_err(runtime)?;
        plugin::witvirt::types::log::add_to_linker::<_, HasSelf<State>>(&mut other, |state| state)
            .map_err(runtime)?;
        let mut with_sources = Linker::new(&engine);
        plugin::witvirt::types::errors::add_to_linker::<_, HasSelf<State>>(&mut with_sources, |state| state)
            .map_err(runtime)?;
        plugin::witvirt::types::log::add_to_linker::<_, HasSelf<State>>(&mut with_sources, |state| state)
            .map_err(runtime)?;
        format::witvirt::disk::io::add_to_linker::<_, HasSelf<State>>(&mut with_sources, |state| state)
            .map_err(runtime)?;
        Ok(Self { engine, cache, options, format: with_sources, other })
    }

    /// What plugins of a kind may import.
    pub(crate) fn linker(&self, kind: PluginKind) -> &Linker<State> {
        match kind {
            PluginKind::DiskFormat => &self.format,
            PluginKind::DomainConverter | PluginKind::DevicePolicy | PluginKind::ArtifactLayout => {
                &self.other
            }
        }
    }
}

/// The settings that compiled code depends on; the same in the daemon and in the compiling child. The enabled proposals
/// are part of the contract, see wit/VERSIONING.md. Address maps and unwind tables would double the code to be checked at
/// each load; backtraces have the names of functions without them.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(512 << 10)
        .generate_address_map(false)
        .native_unwind_info(false)
        .wasm_gc(false)
        .wasm_features(WasmFeatures::FUNCTION_REFERENCES, false)
        .gc_support(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .shared_memory(false);
    config
}

/// Advances the epoch for as long as the engine lives. A sleep that took too long (a suspended machine) counts as one
/// tick, so that no guest is stopped for time it did not have.
fn tick(engine: &wasmtime::Engine) -> std::io::Result<()> {
    let weak = engine.weak();
    let watch = move || {
        loop {
            std::thread::sleep(TICK);
            let Some(engine) = weak.upgrade() else { return };
            engine.increment_epoch();
        }
    };
    std::thread::Builder::new().name("plugin-epochs".to_owned()).stack_size(64 << 10).spawn(watch).map(drop)
}

#[cfg(test)]
mod tests {
    /// The list of wit/VERSIONING.md in the parser's words.
    const PROPOSALS: [&str; 10] = [
        "MUTABLE_GLOBAL",
        "SATURATING_FLOAT_TO_INT",
        "SIGN_EXTENSION",
        "REFERENCE_TYPES",
        "MULTI_VALUE",
        "BULK_MEMORY",
        "SIMD",
        "FLOATS",
        "EXTENDED_CONST",
        "COMPONENT_MODEL",
    ];

    #[test]
    fn proposals_are_those_of_the_contract() {
        let features = wasmtime::Engine::new(&super::config()).unwrap().get_wasm_features();
        let names: Vec<&str> = features.iter_names().map(|(name, _)| name).collect();
        assert_eq!(names, PROPOSALS);
    }
}
