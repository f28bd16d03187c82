//! What a review tells: the machine that is asked for, and what the host has and runs. Unknown keys are left alone, so that
//! a newer host can say more.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use witvirt_sdk::core::ByteSize;

use crate::{Error, ErrorKind};

/// The parts of a machine spec that take room.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Machine {
    #[serde(default)]
    pub os: Option<String>,
    #[serde(default)]
    pub cpu: Cpu,
    pub memory: ByteSize,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Cpu {
    #[serde(default = "one")]
    pub count: u64,
}

impl Default for Cpu {
    fn default() -> Self {
        Self { count: 1 }
    }
}

fn one() -> u64 {
    1
}

/// The host's capacity and its other machines.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Host {
    pub cpus: u64,
    pub memory_bytes: u64,
    #[serde(default)]
    pub machines: Vec<Neighbour>,
}

/// Another machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Neighbour {
    pub state: String,
    pub vcpus: u64,
    pub memory_bytes: u64,
    #[serde(default)]
    pub os: Option<String>,
}

impl Neighbour {
    /// Whether it takes resources. A state that this plugin does not know counts: better too careful.
    fn counts(&self) -> bool {
        !matches!(self.state.as_str(), "defined" | "stopped" | "crashed" | "failed" | "broken")
    }
}

/// What some machines take together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub machines: u64,
    pub vcpus: u64,
    pub memory: u64,
}

impl Usage {
    fn add(mut self, machine: &Neighbour) -> Self {
        self.machines += 1;
        self.vcpus = self.vcpus.saturating_add(machine.vcpus);
        self.memory = self.memory.saturating_add(machine.memory_bytes);
        self
    }
}

impl Host {
    /// What all machines take, or those of one OS.
    pub fn usage(&self, os: Option<&str>) -> Usage {
        let of_os = |machine: &&Neighbour| {
            os.is_none_or(|os| machine.os.as_deref().is_some_and(|its| same_os(its, os)))
        };
        self.machines
            .iter()
            .filter(|machine| machine.counts())
            .filter(of_os)
            .fold(Usage::default(), Usage::add)
    }
}

/// Names of an OS are compared without regard to case; `os` is in lower case.
pub(crate) fn same_os(name: &str, os: &str) -> bool {
    name.trim().to_lowercase() == os
}

pub(crate) fn parse<T: DeserializeOwned>(what: &str, json: &str) -> Result<T, Error> {
    serde_json::from_str(json)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, format!("{what} of the review: {error}")))
}
