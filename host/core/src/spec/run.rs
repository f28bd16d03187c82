//! When a machine runs without being told to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// When a machine runs without being told to: KubeVirt's run strategies.
///
/// | strategy | started when it is created | started again | `start` | `stop` |
/// | --- | --- | --- | --- | --- |
/// | `always` | yes | after any end, also when the guest powered itself off, and with the daemon and the host | | makes it `halted` |
/// | `halted` | no | never | makes it `always` | |
/// | `manual` | no | as the [`RestartPolicy`] says | | |
/// | `rerun-on-failure` | yes | when guest or hypervisor failed, and after a reboot of the host | | |
/// | `once` | yes | never | refused when it has run | |
///
/// `restart` changes no strategy; a halted machine cannot be restarted. Pauses between starts grow as with the restart
/// policy. `kill` is a `stop` without patience. With a strategy other than `manual`, a restart policy other than `never` has to
/// say the same: `always` with `always` and `halted`, `on-failure` with `rerun-on-failure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunStrategy {
    /// It always runs: started at once, and again after any end.
    Always,
    /// It does not run until it is started, which makes it `always`.
    Halted,
    /// It runs when it is started; the restart policy says what follows.
    #[default]
    Manual,
    /// Started at once, and again when it failed; not when the guest ended in order.
    RerunOnFailure,
    /// Started at once, and never again.
    Once,
}

/// What to do when a machine ends without being told to; of machines whose run strategy is `manual`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Leave it.
    #[default]
    Never,
    /// Start it again after a crash of guest or hypervisor, with growing pauses.
    OnFailure,
    /// Also after the guest powered itself off.
    Always,
}

impl RunStrategy {
    /// Whether a machine is started because it was created.
    pub fn starts_at_creation(self) -> bool {
        matches!(self, Self::Always | Self::RerunOnFailure | Self::Once)
    }

    /// What follows when a machine with this strategy and `policy` ends without being told to.
    pub fn policy(self, policy: RestartPolicy) -> RestartPolicy {
        match self {
            Self::Always => RestartPolicy::Always,
            Self::RerunOnFailure => RestartPolicy::OnFailure,
            Self::Halted | Self::Once => RestartPolicy::Never,
            Self::Manual => policy,
        }
    }

    /// Whether `policy` does not contradict the strategy.
    pub fn agrees_with(self, policy: RestartPolicy) -> bool {
        let halted = self == Self::Halted && policy == RestartPolicy::Always;
        policy == RestartPolicy::Never || halted || self.policy(policy) == policy
    }
}

impl fmt::Display for RunStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Always => "always",
            Self::Halted => "halted",
            Self::Manual => "manual",
            Self::RerunOnFailure => "rerun-on-failure",
            Self::Once => "once",
        })
    }
}
