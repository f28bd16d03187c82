//! The life of a machine as a pure function: what is, what happens, what follows.
//!
//! ```text
//!            start               started             pause
//!  defined ─────────> starting ─────────> running <─────────> paused
//!                      ^   │ failed          │  │     resume      │
//!        start/restart │   │           exits │  └──── stop ───────┤
//!                      │   v                 v         │          │
//!                 stopped/crashed <──────────┴──── stopping <─────┘
//! ```
//!
//! [`Machine::next`] decides; the driver writes the new [`Machine`] to disk, then carries the [`Effect`]s out. What a person
//! wants ([`Desired`]) is kept beside what is ([`State`]), so that a stop during a start or a pause between restarts ends
//! the matter. The run strategy (`RunStrategy` of the spec) says what happens without anybody's wish; `start` and `stop` turn
//! `halted` into `always` and back, which is kept here and not in the spec. Time and chance come in as arguments.

mod backoff;
mod next;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use witvirt_core::spec::{RestartPolicy, RunStrategy};
use witvirt_hypervisor::InstanceEvent;

pub use backoff::Backoff;

use crate::status::ExitInfo;
use crate::time::Timestamp;

/// What a machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has never run.
    Defined,
    /// Its disks are being prepared, or the hypervisor is coming up.
    Starting,
    /// The guest runs.
    Running,
    /// The guest's CPUs are stopped.
    Paused,
    /// It has been told to end.
    Stopping,
    /// It has ended in order.
    Stopped,
    /// It has ended otherwise.
    Crashed,
    /// Its files cannot be read; nothing is known of it.
    Broken,
}

impl State {
    /// Whether no instance of it runs or is about to.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Defined | Self::Stopped | Self::Crashed)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Defined => "defined",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::Broken => "broken",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What a machine should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Desired {
    /// It should run.
    Running,
    /// It should not.
    Stopped,
}

/// All that is remembered of a machine's life; kept in its state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Machine {
    /// What it does.
    pub state: State,
    /// What it should do.
    pub desired: Desired,
    /// When it runs without being told to: what its spec says, as `start` and `stop` have changed it.
    #[serde(default)]
    pub run: RunStrategy,
    /// Whether an instance of it has ever come up.
    #[serde(default)]
    pub ran: bool,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// How often it was launched.
    pub incarnation: u64,
    /// When the instance that runs now came up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// Starts by the restart policy since a person started it.
    #[serde(default)]
    pub restarts: u32,
    /// Ends in a row, none after a stable period.
    #[serde(default)]
    pub failures: u32,
    /// When the restart policy starts it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_restart: Option<Timestamp>,
    /// While stopping: when it is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_at: Option<Timestamp>,
    /// While stopping: when the power button is pressed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub press_at: Option<Timestamp>,
    /// Whether a launch is under way, of which an instance may come.
    #[serde(default)]
    pub launching: bool,
    /// Whether the guest's kernel has panicked since the start.
    #[serde(default)]
    pub panicked: bool,
    /// Whether it is to be deleted as soon as nothing of it runs.
    #[serde(default)]
    pub removing: bool,
    /// Why it is paused, where nobody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitInfo>,
}

impl Machine {
    /// A machine that has never run. One whose strategy starts it is to be started, by whoever made it or, when that was
    /// killed, by the next daemon.
    pub fn new(now: Timestamp, run: RunStrategy) -> Self {
        Self {
            state: State::Defined,
            desired: if run.starts_at_creation() { Desired::Running } else { Desired::Stopped },
            run,
            ran: false,
            since: now,
            incarnation: 0,
            started: None,
            restarts: 0,
            failures: 0,
            next_restart: None,
            kill_at: None,
            press_at: None,
            launching: false,
            panicked: false,
            removing: false,
            reason: None,
            exit: None,
        }
    }

    /// When [`Fact::Tick`] is wanted next.
    pub fn deadline(&self) -> Option<Timestamp> {
        let stopping = [self.kill_at, self.press_at].into_iter().flatten().min().filter(|_| !self.launching);
        [self.next_restart, stopping].into_iter().flatten().min()
    }
}

/// What a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Run it.
    Start,
    /// Press the power button, and kill it when that does not help in time.
    Stop {
        /// How long the guest has.
        timeout: Duration,
    },
    /// End it at once.
    Kill,
    /// Stop it, then start it; start it when it does not run.
    Restart {
        /// How long the guest has.
        timeout: Duration,
    },
    /// Stop its CPUs.
    Pause,
    /// Run them again.
    Resume,
    /// Delete it.
    Remove {
        /// Also when it runs.
        force: bool,
    },
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The launch has yielded an instance.
    Started,
    /// The launch has yielded none.
    StartFailed {
        /// Why.
        message: String,
        /// Whether another try would fail alike.
        permanent: bool,
    },
    /// Something happened to the instance.
    Instance(InstanceEvent),
    /// This daemon has found the instance of an earlier one.
    Adopted {
        /// Whether its CPUs run.
        running: bool,
    },
    /// The instance of an earlier daemon is gone.
    Lost {
        /// Whether the host was booted since.
        rebooted: bool,
    },
    /// A machine without an instance was read from disk.
    Loaded,
    /// Its files could not be deleted.
    RemoveFailed,
    /// The moment of [`Machine::deadline`].
    Tick,
}

/// Something that [`Machine::next`] reacts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A wish, which may be refused.
    Request(Request),
    /// A fact, which may not.
    Fact(Fact),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Prepare the disks and start an instance; [`Fact::Started`] or [`Fact::StartFailed`] follows.
    Launch,
    /// Press the instance's power button.
    Powerdown,
    /// End the instance.
    Kill,
    /// Stop the instance's CPUs.
    Pause,
    /// Run the instance's CPUs.
    Resume,
    /// Delete the machine; nothing of it runs.
    Remove,
}

/// What a decision depends on besides the machine.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The time.
    pub now: Timestamp,
    /// The machine's restart policy; the run strategy comes before it.
    pub policy: RestartPolicy,
    /// Pauses between restarts.
    pub backoff: Backoff,
    /// Chance, from 0 to 1.
    pub jitter: f64,
}

/// Why a request was refused; reads well after "machine NAME ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is so already.
    #[error("is {0} already")]
    Already(State),
    /// It needs a running machine.
    #[error("is {0}: start it first")]
    NotRunning(State),
    /// It is paused.
    #[error("is paused: resume it instead")]
    Paused,
    /// Something else is under way.
    #[error("is {0}: wait until that is done, or kill it")]
    Busy(State),
    /// Only what does not run is removed.
    #[error("is {0}: stop it first, or remove it with force")]
    StillRuns(State),
    /// Its strategy lets it run only once.
    #[error("has run, and its run strategy is once: create another one")]
    Once,
    /// It is halted, and only a start changes that.
    #[error("is halted: start it instead")]
    Halted,
    /// It is being removed.
    #[error("is being removed")]
    Leaving,
    /// Its files are unreadable.
    #[error("is broken: repair its files and restart the daemon, or remove it with force")]
    Broken,
}
