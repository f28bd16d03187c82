//! Running machines: the [`Hypervisor`] trait, the QEMU driver and the null driver.
//!
//! The trait is the only way the rest of the host starts, watches and ends a guest. A driver gets open files, never paths
//! to disks, and a directory of its own for sockets. What it starts outlives the daemon: an [`InstanceRecord`] on disk is
//! enough to [`Hypervisor::adopt`] it again.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use witvirt_core::Name;
use witvirt_core::spec::{Firmware, MachineSpec};

mod accelerator;
mod boot_id;
pub mod checks;
mod error;
pub mod null;
mod qemu;

pub use accelerator::{Acceleration, User, Verdict};
pub use error::{Error, ErrorKind};
pub use null::Null;
pub use qemu::{BlockPaths, FilePaths, Qemu, QemuOptions, allows, command_line};

/// Starts machines and finds those again that an earlier daemon started.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// "qemu" or "null"; shown in every status.
    fn name(&self) -> &'static str;

    /// Starts a machine. When it returns an error, nothing of the machine runs any more.
    ///
    /// # Errors
    /// When the machine cannot be expressed or does not come up; with the hypervisor's own words.
    async fn start(&self, launch: Launch) -> Result<Started, Error>;

    /// Finds a machine that runs since before this daemon. `None`: it has ended (or the host was rebooted).
    ///
    /// # Errors
    /// When the machine's process lives but cannot be talked to.
    async fn adopt(&self, record: &InstanceRecord) -> Result<Option<Started>, Error>;

    /// The record of a machine whose daemon died inside [`Hypervisor::start`], before it could keep the record itself;
    /// `run_dir` is the one of its launch. What is found may have ended since: adopt it to know.
    ///
    /// # Errors
    /// When the directory cannot be read.
    async fn find(&self, run_dir: &Path) -> Result<Option<InstanceRecord>, Error> {
        let _nothing_outlives_the_daemon = run_dir;
        Ok(None)
    }
}

/// A machine that runs.
pub struct Started {
    /// To act on it.
    pub instance: Arc<dyn Instance>,
    /// What happens to it; ends after [`InstanceEvent::Exited`]. Bounded; the driver waits for the reader.
    pub events: mpsc::Receiver<InstanceEvent>,
}

/// A running machine.
#[async_trait]
pub trait Instance: Send + Sync {
    /// What the next daemon needs to adopt it, and what `inspect` shows.
    fn record(&self) -> InstanceRecord;

    /// Stops the virtual CPUs.
    ///
    /// # Errors
    /// When the hypervisor refuses or does not answer.
    async fn pause(&self) -> Result<(), Error>;

    /// Runs them again.
    ///
    /// # Errors
    /// When the hypervisor refuses or does not answer.
    async fn resume(&self) -> Result<(), Error>;

    /// Presses the ACPI power button.
    ///
    /// # Errors
    /// When the hypervisor refuses or does not answer.
    async fn powerdown(&self) -> Result<(), Error>;

    /// Presses the reset button.
    ///
    /// # Errors
    /// When the hypervisor refuses or does not answer.
    async fn reset(&self) -> Result<(), Error>;

    /// Ends the machine at once. Idempotent; [`InstanceEvent::Exited`] follows.
    ///
    /// # Errors
    /// When the process cannot be ended.
    async fn kill(&self) -> Result<(), Error>;

    /// Whether the guest's CPUs run now.
    ///
    /// # Errors
    /// When the hypervisor does not answer.
    async fn running(&self) -> Result<bool, Error>;

    /// A byte stream to and from the machine's console. One holder at a time. What the guest prints while nobody holds it
    /// is kept in the console log all the same.
    ///
    /// # Errors
    /// When it cannot be connected.
    async fn console(&self) -> Result<Box<dyn ConsoleStream>, Error>;
}

/// Both directions of a console.
pub trait ConsoleStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ConsoleStream for T {}

/// Everything a driver needs to start a machine.
pub struct Launch {
    /// The machine's name.
    pub name: Name,
    /// Validated.
    pub spec: MachineSpec,
    /// An empty directory for sockets and scratch files, mode 0700, the daemon's; the driver may give it to the
    /// hypervisor's user.
    pub run_dir: PathBuf,
    /// Where the hypervisor appends the guest's console output, whoever else listens: opened for appending.
    pub console_log: File,
    /// One for each of `spec.disks`, in order; `None` for an empty drive.
    pub disks: Vec<Option<Block>>,
    /// `spec.boot.kernel`, opened.
    pub kernel: Option<File>,
    /// `spec.boot.initrd`, opened.
    pub initrd: Option<File>,
    /// `spec.boot.firmware.uefi.code`, opened.
    pub firmware_code: Option<File>,
    /// The machine's own copy of the variable store, opened for writing.
    pub firmware_vars: Option<File>,
    /// A directory of the machine's, mode 0700, that outlives its runs: the TPM keeps its state there. Needed when
    /// `spec.tpm` is set.
    pub tpm_state: Option<PathBuf>,
}

impl Launch {
    /// Whether the open files fit the spec.
    ///
    /// # Errors
    /// `Start`, when the caller forgot one: a defect of the host, never of the machine.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let boot = &self.spec.boot;
        let uefi = matches!(boot.firmware, Firmware::Uefi { .. });
        let drives = self.spec.disks.iter().zip(&self.disks);
        for (fits, what) in [
            (self.spec.disks.len() == self.disks.len(), "disks"),
            (drives.into_iter().all(|(disk, block)| disk.source.is_some() == block.is_some()), "disk files"),
            (boot.kernel.is_some() == self.kernel.is_some(), "kernel"),
            (boot.initrd.is_some() == self.initrd.is_some(), "initrd"),
            (uefi == self.firmware_code.is_some(), "firmware code"),
            (uefi || self.firmware_vars.is_none(), "firmware variables"),
            (self.spec.tpm.is_none() || self.tpm_state.is_some(), "TPM state"),
        ] {
            if !fits {
                let message = format!("{}: the opened {what} do not fit the machine's spec", self.name);
                return Err(Error::new(ErrorKind::Start, message));
            }
        }
        Ok(())
    }
}

/// What a disk is made of. Only files that the host itself created or that were declared raw.
pub enum Block {
    /// Raw bytes.
    Raw {
        /// Opened for reading, and for writing unless `read_only`.
        file: File,
        /// Whether it must not be written.
        read_only: bool,
    },
    /// A qcow2 overlay over something read only. The hypervisor must not follow the name in its header.
    Overlay {
        /// Opened for reading and writing.
        file: File,
        /// What lies below.
        backing: Box<Block>,
    },
    /// Read only, served by this host over the NBD protocol, under the name [`SERVED_EXPORT`], on a socket that the driver
    /// makes. While nobody serves it, the guest's requests wait; the next daemon listens on [`served_socket`] again.
    Served(Arc<dyn BlockServer>),
}

/// Serves a disk.
pub trait BlockServer: Send + Sync {
    /// Begins to serve on a socket that listens, and goes on until it is told otherwise.
    ///
    /// # Errors
    /// When it cannot begin.
    fn serve(&self, listener: UnixListener) -> std::io::Result<()>;
}

/// What a served disk is called in the NBD protocol.
pub const SERVED_EXPORT: &str = "disk";

/// The socket on which disk `index` of the running machine with this directory is served, listening anew: for the daemon
/// that follows the one that started the machine. Of who connected to the old one nothing is lost.
///
/// # Errors
/// When the machine has no served disk, or the socket cannot be made.
pub fn served_socket(run_dir: &Path, index: usize) -> Result<UnixListener, Error> {
    qemu::served_socket(run_dir, index)
}

/// What happens to a running machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceEvent {
    /// The virtual CPUs stopped: on request, or on a full disk or other error, in words.
    Paused {
        /// Why, where nobody asked for it.
        reason: Option<String>,
    },
    /// The virtual CPUs run.
    Resumed,
    /// The machine was reset.
    Reset {
        /// Whether the guest did it.
        by_guest: bool,
    },
    /// The machine is powering off.
    Shutdown {
        /// Whether the guest did it.
        by_guest: bool,
    },
    /// The guest's kernel reported a panic.
    Panicked,
    /// The watchdog fired.
    Watchdog {
        /// The action taken.
        action: String,
    },
    /// The hypervisor process has ended: always the last event.
    Exited(Exit),
}

/// How a hypervisor process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Exit {
    /// After a shutdown that guest or host asked for.
    pub orderly: bool,
    /// Exit code, when it is known: the daemon is the parent and no signal ended it.
    pub code: Option<i32>,
    /// Signal that ended it, when that is known.
    pub signal: Option<i32>,
    /// The last lines it wrote to standard error.
    pub stderr: String,
}

/// What is kept of a running machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct InstanceRecord {
    /// The driver's name.
    pub driver: String,
    /// Process id; absent for the null driver.
    pub pid: Option<u32>,
    /// Start time of the process in clock ticks since boot, so that a reused pid is noticed.
    pub start_time: Option<u64>,
    /// /proc/sys/kernel/random/boot_id at the start.
    pub boot_id: String,
    /// Where its sockets are.
    pub run_dir: PathBuf,
    /// "kvm", "tcg" or "null".
    pub accelerator: String,
    /// Why this accelerator was chosen.
    pub accelerator_reason: String,
    /// Address of the VNC server ("127.0.0.1:5900").
    pub vnc: Option<String>,
    /// Its own control group: a path below the cgroup v2 hierarchy; absent where none could be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
}
