//! The configuration: `witvirt.toml` read, checked and with every default applied.

mod directories;
mod file;
mod pipeline;
mod resolve;
mod schema;
mod steps;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use witvirt_core::Name;
use witvirt_core::plugin::PluginEntry;

pub use directories::find_config;
pub use file::{Accel, CollectTable, ConfigFile, Driver, Role};
pub use pipeline::{StepFailure, ValueMatch, WhenTable};
pub use schema::{config_schema, machine_schema};
pub use witvirt_core::{InvalidSpan, Span};

use crate::document;

/// A configuration that can be acted upon.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from; `None` for the defaults.
    pub file: Option<PathBuf>,
    /// Where machines and volumes are kept.
    pub state_directory: PathBuf,
    /// Where sockets of running machines are.
    pub run_directory: PathBuf,
    /// Where is kept what was measured of the host: the state directory of a daemon, also for a process that hosts one
    /// machine alone.
    pub host_directory: PathBuf,
    /// Where compiled plugins are kept.
    pub cache_directory: PathBuf,
    /// The plugins, in order.
    pub plugins: Vec<PluginEntry>,
    /// The pipelines, by name.
    pub pipelines: Vec<Pipeline>,
    /// Where images are kept.
    pub store_directory: PathBuf,
    /// Directories whose files users may name.
    pub allowed_directories: Vec<PathBuf>,
    /// How servers and registries are reached that images come from.
    pub fetch: witvirt_fetch::FetchConfig,
    /// Which unused images are removed.
    pub collect: Option<CollectTable>,
    /// What runs the machines.
    pub hypervisor: Hypervisor,
    /// What is kept of consoles.
    pub console: Console,
    /// What networks machines may have.
    pub network: Network,
    /// Who may do what.
    pub api: Api,
}

/// How documents of a media type become machines.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name.
    pub name: Name,
    /// The media type it takes.
    pub source: String,
    /// The media type it ends in.
    pub target: String,
    /// Its converters, in order.
    pub steps: Vec<Step>,
    /// Whether it is taken without being asked for.
    pub automatic: bool,
}

/// A converter of a pipeline, or several whose order the machine says.
#[derive(Debug, Clone)]
pub struct Step {
    /// Which one.
    pub action: Action,
    /// How long it may take in all.
    pub timeout: Option<Duration>,
    /// What its failure means.
    pub on_failure: StepFailure,
    /// Which machines it runs for.
    pub when: Option<WhenTable>,
}

/// What a step of a pipeline calls.
#[derive(Debug, Clone)]
pub enum Action {
    /// A plugin.
    Plugin(Name),
    /// Plugins that an annotation names.
    Ordered(Ordered),
    /// A hook sidecar: an absolute path below the directory of hooks.
    Socket(PathBuf),
}

/// Plugins that an annotation names.
#[derive(Debug, Clone)]
pub struct Ordered {
    /// The annotation.
    pub annotation: String,
    /// What its words mean.
    pub plugins: BTreeMap<String, Name>,
    /// The words that count where there is none.
    pub otherwise: Vec<String>,
}

impl Step {
    /// A plugin that always runs and must not fail.
    pub fn plugin(name: Name) -> Self {
        Self { action: Action::Plugin(name), timeout: None, on_failure: StepFailure::Refuse, when: None }
    }

    /// Whether the document may pass it unchanged, so that it has to leave the media type as it is.
    pub fn may_be_passed_over(&self) -> bool {
        !matches!(self.action, Action::Plugin(_))
            || self.on_failure == StepFailure::Skip
            || self.when.is_some()
    }
}

/// What runs the machines.
#[derive(Debug, Clone)]
pub struct Hypervisor {
    /// The driver.
    pub driver: Driver,
    /// QEMU.
    pub binary: PathBuf,
    /// The TPM emulator.
    pub swtpm: PathBuf,
    /// How guest code is run.
    pub accel: Accel,
    /// User that QEMU runs as where the daemon is root.
    pub user: String,
    /// Options that machines may add.
    pub allow_arguments: Vec<String>,
    /// Addresses for VNC besides loopback.
    pub vnc_addresses: Vec<IpAddr>,
}

/// What is kept of consoles.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    /// Bytes of one log.
    pub log_size: u64,
}

/// What networks machines may have.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// Whether `user` interfaces are allowed.
    pub user: bool,
    /// Whether forwards may listen on other addresses than loopback.
    pub public_forwards: bool,
}

/// Who may do what through which socket.
#[derive(Debug, Clone)]
pub struct Api {
    /// The socket.
    pub socket: PathBuf,
    /// Permission bits.
    pub socket_mode: u32,
    /// Its group, a name or a number.
    pub socket_group: Option<String>,
    /// Users with every right.
    pub full_uids: Vec<u32>,
    /// Primary groups with every right.
    pub full_gids: Vec<u32>,
    /// Users that may look.
    pub read_uids: Vec<u32>,
    /// Primary groups that may look.
    pub read_gids: Vec<u32>,
    /// Everybody else.
    pub others: Role,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Every mistake in it, with lines; or that it cannot be read.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path).with_context(|| format!("config path {}", path.display()))?;
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read the config {}", path.display()))?;
        Ok(Self::parse(&path, &text)?)
    }

    /// From a text. `path` is the file's, absolute.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, document::Problems> {
        let shown = path.display().to_string();
        let document = document::read_by_type::<ConfigFile>(&shown, text)?;
        resolve::resolve(path, document).map_err(|problems| document::Problems::new(&shown, text, problems))
    }

    /// What holds where there is no file: no plugins, default directories.
    pub fn defaults() -> Self {
        resolve::defaults(ConfigFile::default(), Path::new("/"))
    }

    /// Keeps machines elsewhere, and images too where they were kept beside the machines.
    pub fn set_state_directory(&mut self, directory: PathBuf) {
        if self.store_directory == self.state_directory.join("images") {
            self.store_directory = directory.join("images");
        }
        self.state_directory.clone_from(&directory);
        self.host_directory = directory;
    }

    /// Keeps sockets elsewhere, the daemon's own too where it was beside the machines'.
    pub fn set_run_directory(&mut self, directory: PathBuf) {
        if self.api.socket == self.run_directory.join("witvirt.sock") {
            self.api.socket = directory.join("witvirt.sock");
        }
        self.run_directory = directory;
    }

    /// Makes this the config of a process that hosts the machine `name` alone: machines and sockets in directories of its
    /// own, images and compiled plugins shared with everybody.
    pub fn alone(&mut self, name: &Name) {
        self.state_directory = self.state_directory.join("alone").join(name.as_str());
        self.run_directory = self.run_directory.join("alone").join(name.as_str());
        self.api.socket = self.run_directory.join("witvirt.sock");
        // Its loopback is that of whoever runs it.
        let loopback = ["127.0.0.0/8", "::1"]
            .into_iter()
            .filter_map(|network| network.parse::<witvirt_fetch::Network>().ok());
        self.fetch.http.allow_networks.extend(loopback);
    }
}
