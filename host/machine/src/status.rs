//! What is told of a machine.

use serde::{Deserialize, Serialize};
use witvirt_core::spec::{Forward, MachineSpec, RunStrategy};
use witvirt_core::{ByteSize, Name};
use witvirt_hypervisor::{Exit, InstanceRecord};

use crate::state::{Desired, State};
use crate::time::Timestamp;

/// A machine, in brief.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct MachineStatus {
    /// Its name.
    pub name: Name,
    /// What it does now.
    pub state: State,
    /// What it should do.
    pub desired: Desired,
    /// When it runs without being told to; `start` and `stop` turn `halted` into `always` and back.
    #[serde(default)]
    pub run: RunStrategy,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// When the guest that runs now was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// How long it has run, in seconds, when the status was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime: Option<u64>,
    /// Virtual CPUs; 0 when broken.
    pub vcpus: u32,
    /// Guest memory in bytes; 0 when broken.
    pub memory: ByteSize,
    /// Family of the guest OS, where the spec says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// The hypervisor driver ("qemu", "null").
    pub driver: String,
    /// "kvm", "tcg" or "null"; while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<String>,
    /// Why this accelerator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator_reason: Option<String>,
    /// Process id of the hypervisor, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Address of the VNC server, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vnc: Option<String>,
    /// Host ports that lead to the guest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<Forward>,
    /// How it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitInfo>,
    /// How often the restart policy has started it since a person did.
    pub restarts: u32,
    /// When the restart policy starts it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_restart: Option<Timestamp>,
    /// Why it is paused, broken or does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Disks whose image has not arrived yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arriving: Vec<ArrivingDisk>,
}

/// A disk of a machine that was started before its image was here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ArrivingDisk {
    /// The disk's name.
    pub disk: Name,
    /// Where the image comes from: a URL without credentials.
    pub from: String,
    /// How far it is.
    pub state: Arrival,
    /// Bytes of the image file that are here.
    pub present: u64,
    /// Bytes of the image file.
    pub total: u64,
    /// For how many seconds nothing could be fetched; the guest's reads of what is not here wait meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// Why it waits, or has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far an arriving image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Arrival {
    /// It is being fetched.
    Arriving,
    /// All of it is here and is being imported.
    Importing,
    /// It is not what it was said to be.
    Failed,
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ExitInfo {
    /// When it was noticed.
    pub at: Timestamp,
    /// Whether guest or host had asked for it.
    pub orderly: bool,
    /// Exit code of the hypervisor, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Signal that ended the hypervisor, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// What the host knows of it, or the hypervisor's last lines.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl ExitInfo {
    pub(crate) fn new(at: Timestamp, exit: &Exit) -> Self {
        let Exit { orderly, code, signal, stderr } = exit;
        Self { at, orderly: *orderly, code: *code, signal: *signal, message: stderr.trim().to_owned() }
    }

    pub(crate) fn noted(at: Timestamp, orderly: bool, message: impl Into<String>) -> Self {
        Self { at, orderly, code: None, signal: None, message: message.into() }
    }
}

/// A machine, in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct MachineDetail {
    /// What it does.
    pub status: MachineStatus,
    /// What it is; absent when its file cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<MachineSpec>,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Who created it, in the words of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// The hypervisor process, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceRecord>,
}

/// Something that happened to a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct MachineEvent {
    /// When.
    pub time: Timestamp,
    /// To which.
    pub machine: Name,
    /// What.
    pub kind: EventKind,
    /// More, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A kind of [`MachineEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// It was created.
    Created,
    /// It is being started.
    Starting,
    /// It runs.
    Started,
    /// It could not be started.
    StartFailed,
    /// It was found running by this daemon.
    Adopted,
    /// It lives but does not answer.
    Unreachable,
    /// Its CPUs stopped.
    Paused,
    /// Its CPUs run again.
    Resumed,
    /// It was reset.
    Reset,
    /// It is powering off.
    Shutdown,
    /// The guest's kernel panicked.
    Panicked,
    /// The watchdog fired.
    Watchdog,
    /// It is being stopped.
    Stopping,
    /// The power button did not end it in time, or it was killed on request.
    Killed,
    /// It has ended in order.
    Stopped,
    /// It has ended otherwise.
    Crashed,
    /// The restart policy will start it again.
    RestartScheduled,
    /// It is gone.
    Removed,
}

/// What [`crate::Machines::wait`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It runs.
    Running,
    /// It is paused.
    Paused,
    /// No instance of it runs, and no restart is due.
    Ended,
    /// It is gone.
    Removed,
}

impl Condition {
    pub(crate) fn holds(self, status: &MachineStatus) -> bool {
        match self {
            Self::Running => status.state == State::Running,
            Self::Paused => status.state == State::Paused,
            Self::Ended => status.state.is_ended() && status.next_restart.is_none(),
            Self::Removed => false,
        }
    }
}
