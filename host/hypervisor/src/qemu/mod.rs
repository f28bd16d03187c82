//! The QEMU driver.
//!
//! A machine is a process in a session of its own, started by [`launch`], spoken to over a monitor socket in its run
//! directory, watched through a pidfd. The sockets are bound by the daemon and inherited listening, so that QEMU's user
//! needs no access to any directory, and any later daemon can connect again.

mod arguments;
mod cgroup;
mod files;
mod instance;
mod launch;
mod line;
mod process;
mod qmp;
mod run_dir;
mod tpm;
mod watch;

use std::net::IpAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use crate::accelerator::{self, Acceleration, User};
use crate::boot_id::boot_id;
use crate::{Error, ErrorKind, Hypervisor, InstanceRecord, Launch, Started};

use arguments::Permissions;
pub use arguments::allows;
pub(crate) use cgroup::{group_path, mount_point};
use instance::QemuInstance;
pub use line::{BlockPaths, FilePaths, command_line};
use process::Process;
use run_dir::RunDir;

/// How the QEMU driver runs machines.
#[derive(Debug, Clone)]
pub struct QemuOptions {
    /// The emulator: a name to look for in PATH, or a path.
    pub binary: PathBuf,
    /// The TPM emulator, likewise.
    pub swtpm: PathBuf,
    /// Who QEMU runs as; needs a daemon that runs as root. `None`: as the daemon.
    pub user: Option<User>,
    /// KVM or TCG.
    pub acceleration: Acceleration,
    /// Options that a spec's `qemu-arguments` may use, without their dash, alone or with what their values begin with: see
    /// [`allows`].
    pub allow_arguments: Vec<String>,
    /// Addresses besides loopback that VNC servers may listen on.
    pub vnc_addresses: Vec<IpAddr>,
    /// Directory of the daemon's that keeps the verdict on KVM.
    pub state_dir: PathBuf,
    /// How long QEMU may take to come up.
    pub start_timeout: Duration,
}

impl QemuOptions {
    /// `qemu-system-x86_64` and `swtpm` from PATH, as the daemon's user, on KVM where it works.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            binary: PathBuf::from("qemu-system-x86_64"),
            swtpm: PathBuf::from("swtpm"),
            user: None,
            acceleration: Acceleration::Auto,
            allow_arguments: Vec::new(),
            vnc_addresses: Vec::new(),
            state_dir: state_dir.into(),
            start_timeout: Duration::from_secs(30),
        }
    }
}

/// Runs machines in QEMU processes.
pub struct Qemu {
    options: QemuOptions,
}

impl Qemu {
    /// A driver with these options. Nothing is started or checked yet.
    pub fn new(options: QemuOptions) -> Self {
        Self { options }
    }

    fn permissions(&self) -> Permissions {
        Permissions {
            arguments: self.options.allow_arguments.clone(),
            vnc_addresses: self.options.vnc_addresses.clone(),
        }
    }
}

#[async_trait]
impl Hypervisor for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    async fn start(&self, launch: Launch) -> Result<Started, Error> {
        launch.check()?;
        let (options, state_dir) = (self.options.clone(), self.options.state_dir.clone());
        let choice = move || accelerator::choose(options.acceleration, &state_dir, options.user);
        let (accelerator, reason) = blocking(choice).await?;
        launch::start(self.options.clone(), self.permissions(), accelerator, reason, launch).await
    }

    async fn adopt(&self, record: &InstanceRecord) -> Result<Option<Started>, Error> {
        let (Some(pid), Some(start_time)) = (record.pid, record.start_time) else { return Ok(None) };
        if record.driver != self.name() || record.boot_id != boot_id()? {
            return Ok(None);
        }
        let Some(process) = Process::find(pid, start_time)? else {
            cgroup::remove(record.cgroup.as_deref());
            return Ok(None);
        };
        let run_dir = RunDir::open(&record.run_dir)?;
        QemuInstance::adopt(process, run_dir, record.clone()).await
    }

    async fn find(&self, run_dir: &Path) -> Result<Option<InstanceRecord>, Error> {
        RunDir::open(run_dir)?.find()
    }
}

/// See [`crate::served_socket`].
pub(crate) fn served_socket(run_dir: &Path, index: usize) -> Result<UnixListener, Error> {
    RunDir::open(run_dir)?.listen_served(index)
}

/// Runs something that blocks, off the threads that serve everybody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::caused(ErrorKind::Io, "a task of the driver ended early", error)),
    }
}
