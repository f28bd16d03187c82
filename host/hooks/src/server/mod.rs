//! The side of a sidecar.
//!
//! One listener is one face: a sidecar of the annotation `hooks.kubevirt.io/hookSidecars` ([`Face::Sidecar`]) or the domain
//! hook of a structured plugin ([`Face::Structured`]). What the calls do is behind [`Hooks`].

mod answer;
mod connection;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use witvirt_core::ErrorKind;

pub use connection::serve;
pub use socket::{Bound, SocketError};

use crate::cloud_init::CloudInitData;
use crate::protocol::{HookPoint, Version};

/// What is asked for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainCall {
    /// libvirt domain XML, at most [`crate::protocol::LARGEST_DOCUMENT`] bytes.
    pub domain: String,
    /// The VirtualMachineInstance as JSON; empty where the caller sent none.
    pub vmi: String,
    /// "Boot", "MigrationSource" or "MigrationTarget" where a structured plugin is called; a caller's word, unchecked.
    pub invocation: Option<String>,
}

/// Why a call fails; the caller gets it as the status of its call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its class.
    pub kind: ErrorKind,
    /// Who refuses what and why, in one line.
    pub message: String,
}

impl Refusal {
    /// For what the caller sent.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::InvalidInput, message: message.into() }
    }
}

/// What a sidecar does. Calls block, may come from several threads at once, and more than once for the same machine:
/// KubeVirt defines a domain again when its network has changed.
pub trait Hooks: Send + Sync + 'static {
    /// The domain as it shall be defined.
    ///
    /// # Errors
    /// What keeps the machine from starting.
    fn define_domain(&self, call: &DomainCall) -> Result<String, Refusal>;

    /// Whether [`Hooks::cloud_init`] does anything. virt-launcher calls only the first sidecar that subscribed to
    /// `PreCloudInitIso`, so one that has nothing to say must not subscribe.
    fn edits_cloud_init(&self) -> bool;

    /// The data of cloud-init as it shall be written to its disk.
    ///
    /// # Errors
    /// What keeps the machine from starting.
    fn cloud_init(&self, data: CloudInitData, vmi: &str) -> Result<CloudInitData, Refusal>;
}

/// What a launcher is told in answer to `Info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The hook's name.
    pub name: String,
    /// The versions that are spoken.
    pub versions: Vec<Version>,
    /// Of all hook points. (Launchers order by it only the points of one sidecar among themselves, not sidecars.)
    pub priority: i32,
}

/// What a listener serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Face {
    /// `kubevirt.hooks.info.Info` and `kubevirt.hooks.v1alpha*.Callbacks`
    Sidecar(Identity),
    /// `kubevirt.hooks.plugins.v1alpha1.DomainHookService`
    Structured,
}

/// Bounds of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time for a call, from its first to its last byte. virt-launcher waits 60 s, and 30 s as structured plugins' caller.
    pub call: Duration,
    /// Connections at once; more wait.
    pub connections: usize,
    /// Hooks that run at once; more wait.
    pub running: usize,
    /// Time for calls that run to end when the server ends.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { call: Duration::from_secs(25), connections: 16, running: 4, farewell: Duration::from_secs(5) }
    }
}

/// What listeners of one process share.
pub struct Server {
    hooks: Arc<dyn Hooks>,
    limits: Limits,
    running: Arc<Semaphore>,
    ended: watch::Sender<bool>,
}

impl Server {
    /// Around `hooks`.
    pub fn new(hooks: Arc<dyn Hooks>, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            hooks,
            limits,
            running: Arc::new(Semaphore::new(limits.running)),
            ended: watch::Sender::new(false),
        })
    }

    /// Ends [`serve`] on every listener, as the call `Shutdown` does.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Waits for the end.
    pub async fn ended(&self) {
        // The sender is this value's own and so is there.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// The calls that a sidecar subscribes to.
    fn points(&self, identity: &Identity) -> Vec<HookPoint> {
        let offered = |point: &HookPoint| {
            identity.versions.iter().any(|version| version.has(*point))
                && (*point != HookPoint::PreCloudInitIso || self.hooks.edits_cloud_init())
        };
        HookPoint::ALL.into_iter().filter(offered).collect()
    }
}
