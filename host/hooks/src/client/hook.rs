//! Sidecars as the pipeline's hooks.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use witvirt_core::hook::{DomainHook, DomainHooks};
use witvirt_core::{ErrorKind, PluginError};

use super::{Failure, Sidecar, SidecarError};
use crate::cloud_init::CloudInitData;

/// Reaches sidecars by their sockets. Each call has a connection of its own: the sidecar is asked anew what it is, and may
/// have been exchanged since.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sidecars;

impl DomainHooks for Sidecars {
    fn hook(&self, socket: &Path) -> Arc<dyn DomainHook> {
        Arc::new(Hook { name: socket.display().to_string(), socket: socket.to_owned() })
    }
}

struct Hook {
    name: String,
    socket: PathBuf,
}

impl Hook {
    /// Runs `work` with a connection, for `timeout` at most in all.
    fn with<T, F>(
        &self,
        timeout: Duration,
        work: impl FnOnce(Sidecar, Duration) -> F,
    ) -> Result<T, PluginError>
    where
        F: Future<Output = Result<T, SidecarError>>,
    {
        // Its threads and timers end with the call.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.error(ErrorKind::Io, format!("cannot start a runtime: {error}")))?;
        let began = Instant::now();
        let result = runtime.block_on(async {
            let late = |_| SidecarError::new(&self.socket, "Info", None, Failure::NoAnswer(timeout));
            let sidecar =
                tokio::time::timeout(timeout, Sidecar::discover(&self.socket)).await.map_err(late)??;
            work(sidecar, timeout.saturating_sub(began.elapsed())).await
        });
        result.map_err(PluginError::from)
    }

    fn error(&self, kind: ErrorKind, message: String) -> PluginError {
        PluginError { plugin: self.name.clone(), version: String::new(), kind, message, context: Vec::new() }
    }
}

impl DomainHook for Hook {
    fn name(&self) -> &str {
        &self.name
    }

    fn define_domain(&self, xml: &str, vmi: &Value, timeout: Duration) -> Result<String, PluginError> {
        let vmi = vmi.to_string();
        self.with(timeout, async |sidecar, left| sidecar.on_define_domain(xml, &vmi, left).await)
    }

    fn cloud_init(&self, data: &Value, vmi: &Value, timeout: Duration) -> Result<Value, PluginError> {
        let data: CloudInitData = serde_json::from_value(data.clone())
            .map_err(|error| self.error(ErrorKind::InvalidInput, format!("no CloudInitData: {error}")))?;
        let vmi = vmi.to_string();
        let edited =
            self.with(timeout, async |sidecar, left| sidecar.pre_cloud_init_iso(&data, &vmi, left).await)?;
        serde_json::to_value(edited).map_err(|error| self.error(ErrorKind::Other, error.to_string()))
    }
}
