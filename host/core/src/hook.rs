//! Hooks that are programs and not plugins: KubeVirt's hook sidecars, reached over a socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::error::PluginError;

/// A hook behind a socket. Calls block, for `timeout` at most, connecting included.
///
/// What it answers is a stranger's: it is bounded by whoever implements this, and judged by whoever calls it. Errors name
/// the socket in `plugin`, and in `version` the version of the protocol that was spoken, where one was agreed upon.
pub trait DomainHook: Send + Sync {
    /// What messages call it: the path of its socket.
    fn name(&self) -> &str;

    /// `OnDefineDomain`: libvirt domain XML in, the same out. `vmi` is the VirtualMachineInstance as JSON; `{}` where there
    /// is none. A hook that has not subscribed to it gives the XML back as it was.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer in time, what it reports, and answers of more than 4 MiB.
    fn define_domain(&self, xml: &str, vmi: &Value, timeout: Duration) -> Result<String, PluginError>;

    /// `PreCloudInitIso`: KubeVirt's CloudInitData as JSON in, the same out.
    ///
    /// # Errors
    /// As [`DomainHook::define_domain`].
    fn cloud_init(&self, data: &Value, vmi: &Value, timeout: Duration) -> Result<Value, PluginError>;
}

/// Who reaches hooks.
pub trait DomainHooks: Send + Sync {
    /// The hook behind a socket. Nothing is connected before it is called.
    fn hook(&self, socket: &Path) -> Arc<dyn DomainHook>;
}
