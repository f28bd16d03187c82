//! The daemon without its socket: machines, images, plugins and who may have what.

mod admission;
pub mod check;
mod facts;
mod failure;
mod images;
mod import;
mod lazy;
mod machines;
pub mod pipeline;
mod plugins;
mod ports;
mod push;
mod resources;
mod secret;
mod sidecar;
pub mod trial;
mod upkeep;
mod volumes;
mod watch;

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use anyhow::Context;
use witvirt_disk::{AllowedDirs, Store, StoreOptions};
use witvirt_fetch::Fetch;
use witvirt_machine::Machines;

pub use import::name_of;
pub use lazy::name_of as name_of_url;
pub use machines::refused;
pub use plugins::Plugins;
pub use sidecar::PipelineHooks;
pub(crate) use watch::with_progress_of;

use crate::api::document::{Conversion, ConvertRequest};
use crate::api::host::{Check, Health, HostInfo};
use crate::api::plugin::Reload;
use crate::api::{Error, ErrorKind};
use crate::config::Config;
use admission::Rules;
use facts::HostFacts;
use lazy::LazyDisks;
use resources::StoreResources;

/// Everything a daemon has.
pub struct Service {
    config: RwLock<Arc<Config>>,
    facts: HostFacts,
    plugins: Arc<Plugins>,
    resources: Arc<StoreResources>,
    machines: Machines,
    /// What reaches servers and registries.
    fetch: Fetch,
    /// Downloads that run.
    flights: import::Flights,
    /// One admission at a time: a policy that counts must not be asked twice about the same room.
    admission: tokio::sync::Mutex<()>,
    reviews: std::sync::atomic::AtomicU64,
}

impl Service {
    /// Loads plugins, opens the store and finds the machines of earlier daemons again.
    ///
    /// # Errors
    /// Everything that keeps a daemon from serving.
    pub async fn open(config: Config) -> anyhow::Result<Arc<Self>> {
        let opening = config.clone();
        let (plugins, store, allowed, fetch) = blocking(move || parts(&opening)).await??;
        let lazy = LazyDisks::new(Arc::clone(&store), Arc::clone(&plugins), fetch.clone());
        let service = OnceLock::new();
        let resources =
            Arc::new(StoreResources { store, plugins: Arc::clone(&plugins), allowed, lazy, service });
        let machines = machines::open(&config, Arc::clone(&resources)).await?;
        let service = Arc::new(Self {
            facts: HostFacts::read(),
            config: RwLock::new(Arc::new(config)),
            plugins,
            resources,
            machines,
            fetch,
            flights: import::Flights::default(),
            admission: tokio::sync::Mutex::new(()),
            reviews: std::sync::atomic::AtomicU64::new(0),
        });
        let _ = service.resources.service.set(Arc::downgrade(&service));
        tokio::spawn(machines::start_wanted(Arc::downgrade(&service)));
        tokio::spawn(machines::pause_betrayed(Arc::downgrade(&service)));
        Ok(service)
    }

    /// The config that holds now.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The plugins.
    pub fn plugins(&self) -> &Plugins {
        &self.plugins
    }

    pub(crate) fn resources(&self) -> &StoreResources {
        &self.resources
    }

    /// The machines.
    pub fn machines(&self) -> &Machines {
        &self.machines
    }

    fn rules(&self) -> Rules {
        let config = self.config();
        Rules { network: config.network, allow_arguments: config.hypervisor.allow_arguments.clone() }
    }

    /// Takes a document through its pipeline.
    ///
    /// # Errors
    /// When no pipeline fits.
    pub async fn convert(self: &Arc<Self>, request: ConvertRequest) -> Result<Conversion, Error> {
        let service = Arc::clone(self);
        blocking(move || pipeline::convert(&service.config().pipelines, service.plugins.as_ref(), &request))
            .await?
    }

    /// Reads the config's plugins and pipelines again, and exchanges the plugins. Blocks. Everything else of the config
    /// takes a restart.
    ///
    /// # Errors
    /// When the config cannot be read; nothing changes then.
    pub fn reload(&self) -> Result<Reload, Error> {
        let before = self.config();
        let Some(file) = &before.file else {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the daemon runs without a config file: there is nothing to reload",
            ));
        };
        let read = Config::load(file).map_err(|error| {
            let message = format!("the config was not reloaded, the old plugins go on serving: {error:#}");
            self.plugins.note_failed_reload(&message);
            Error::new(ErrorKind::Invalid, message)
        })?;
        let report = self.plugins.reload(&read);
        let mut after = Config::clone(&before);
        after.plugins = read.plugins;
        after.pipelines = read.pipelines;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        Ok(report)
    }

    /// Whether anything is wrong.
    pub async fn health(&self) -> Health {
        let mut problems = self.plugins.problems();
        for machine in self.machines.list() {
            if machine.state == witvirt_machine::State::Broken {
                let reason = machine.reason.unwrap_or_default();
                problems.push(format!("machine {} is broken: {reason}", machine.name));
            }
        }
        Health { healthy: problems.is_empty(), problems }
    }

    /// What machines have to share.
    pub async fn info(&self) -> HostInfo {
        let config = self.config();
        let machines = self.machines.list();
        let running =
            machines.iter().filter(|machine| machine.pid.is_some() || machine.started.is_some()).count();
        let driver = match config.hypervisor.driver {
            crate::config::Driver::Qemu => "qemu",
            crate::config::Driver::Null => "null",
        };
        HostInfo {
            hostname: self.facts.hostname.clone(),
            kernel: self.facts.kernel.clone(),
            cpus: self.facts.cpus,
            memory_bytes: self.facts.memory_bytes,
            driver: driver.to_owned(),
            config: config.file.as_ref().map(|file| file.display().to_string()),
            state_directory: config.state_directory.display().to_string(),
            store_directory: config.store_directory.display().to_string(),
            machines: u32::try_from(machines.len()).unwrap_or(u32::MAX),
            running: u32::try_from(running).unwrap_or(u32::MAX),
        }
    }

    /// Whether machines can run here.
    ///
    /// # Errors
    /// When the checks break.
    pub async fn check(&self) -> Result<Vec<Check>, Error> {
        let config = self.config();
        blocking(move || check::host(&config)).await?
    }
}

/// Plugins, store, allowed directories and what reaches servers. Blocks.
fn parts(config: &Config) -> anyhow::Result<(Arc<Plugins>, Arc<Store>, AllowedDirs, Fetch)> {
    let plugins = Plugins::load(config).map_err(|failures| anyhow::anyhow!(failures.join("\n")))?;
    let mut broken = Vec::new();
    for pipeline in &config.pipelines {
        let checked = pipeline::check(pipeline, &plugins);
        broken.extend(checked.err().map(|error| [vec![error.message], error.hints].concat().join("\n")));
    }
    if !broken.is_empty() {
        anyhow::bail!(broken.join("\n"));
    }
    let allowed = AllowedDirs::new(&config.allowed_directories).context("[store] allowed-directories")?;
    let store = Store::open(&config.store_directory, StoreOptions::default())
        .with_context(|| format!("cannot open the store {}", config.store_directory.display()))?;
    let fetch = Fetch::new(&config.fetch).context("[http] and [registry]")?;
    Ok((Arc::new(plugins), Arc::new(store), allowed, fetch))
}

/// Everything short of serving: loads the plugins and looks at the pipelines and directories. Blocks.
///
/// # Errors
/// The first group of things that keep a daemon from serving.
pub fn rehearse(config: &Config) -> anyhow::Result<Vec<crate::api::plugin::Plugin>> {
    let (plugins, ..) = parts(config)?;
    Ok(plugins.list())
}

/// Runs what blocks away from the async threads.
///
/// # Errors
/// When it panics.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::caused(ErrorKind::Internal, "the operation broke", &error))
}
