//! A sidecar that is told what to do with domains.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use witvirt_hooks::cloud_init::CloudInitData;
use witvirt_hooks::protocol::Version;
use witvirt_hooks::server::{Bound, DomainCall, Face, Hooks, Identity, Limits, Refusal, Server, serve};

/// How long anything may take on a slow and busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Notes its calls in the domain.
pub struct Notes {
    pub cloud_init: bool,
}

impl Hooks for Notes {
    fn define_domain(&self, call: &DomainCall) -> Result<String, Refusal> {
        if call.domain.contains("refuse") {
            return Err(Refusal::invalid("plugin hook-x 1.2.3: the word \"refuse\"\nin line 1 – ü"));
        }
        assert!(!call.domain.contains("panic"), "the domain asks for it");
        if call.domain.contains("sleep") {
            std::thread::sleep(Duration::from_millis(500));
        }
        let invocation = call.invocation.as_deref().unwrap_or("none");
        let noted = format!("<!-- vmi {} bytes, invocation {invocation} --></domain>", call.vmi.len());
        Ok(call.domain.replace("</domain>", &noted))
    }

    fn edits_cloud_init(&self) -> bool {
        self.cloud_init
    }

    fn cloud_init(&self, mut data: CloudInitData, _: &str) -> Result<CloudInitData, Refusal> {
        data.user_data.push_str("hostname: edited\n");
        Ok(data)
    }
}

/// A served socket in a directory of its own, with all of its threads.
pub struct Site {
    pub directory: tempfile::TempDir,
    pub server: Arc<Server>,
    pub runtime: tokio::runtime::Runtime,
    serving: Vec<tokio::task::JoinHandle<()>>,
}

impl Site {
    pub fn new(cloud_init: bool, limits: Limits) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let directory = tempfile::Builder::new().prefix("wvh").tempdir_in("/tmp").unwrap();
        Self {
            directory,
            server: Server::new(Arc::new(Notes { cloud_init }), limits),
            runtime,
            serving: Vec::new(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn serve(&mut self, name: &str, face: Face) -> PathBuf {
        let path = self.path(name);
        let _entered = self.runtime.enter();
        let socket = Bound::bind(&path, 0o666).unwrap();
        self.serving.push(self.runtime.spawn(serve(socket, face, Arc::clone(&self.server))));
        path
    }

    pub fn sidecar(&mut self, name: &str, versions: &[Version]) -> PathBuf {
        let identity = Identity { name: "notes".to_owned(), versions: versions.to_vec(), priority: 7 };
        self.serve(name, Face::Sidecar(identity))
    }

    /// Waits until every listener has ended.
    pub fn wait(mut self) {
        let serving = std::mem::take(&mut self.serving);
        self.runtime.block_on(async {
            for one in serving {
                tokio::time::timeout(PATIENCE, one).await.expect("the server ends").unwrap();
            }
        });
    }
}

/// Whether a socket is gone.
pub fn gone(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_err()
}
