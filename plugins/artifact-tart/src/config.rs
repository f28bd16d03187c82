//! `config.json` of a tart machine, and the image config beside it.

use std::collections::BTreeMap;

use serde::Deserialize;
use witvirt_sdk::{Error, ErrorKind};

use crate::words;

/// What a machine is; every field is optional here because Linux machines lack some, and older versions others.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Config {
    os: Option<String>,
    arch: Option<String>,
    cpu_count: Option<u64>,
    cpu_count_min: Option<u64>,
    /// Bytes.
    memory_size: Option<u64>,
    /// Bytes.
    memory_size_min: Option<u64>,
    mac_address: Option<String>,
    /// Base64: Apple's VZMacMachineIdentifier.
    ecid: Option<String>,
    /// Base64: Apple's VZMacHardwareModel.
    hardware_model: Option<String>,
    display: Option<Display>,
    disk_format: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Display {
    width: u32,
    height: u32,
}

impl Config {
    /// # Errors
    /// `corrupt` when it is no JSON object of this shape.
    pub(crate) fn parse(content: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(content)
            .map_err(|error| Error::new(ErrorKind::Corrupt, format!("the machine's config: {error}")))
    }

    /// The format of the disk, where the config says it.
    pub(crate) fn disk_format(&self) -> Option<&str> {
        self.disk_format.as_deref()
    }

    /// What a machine is made of, as facts of the plan.
    pub(crate) fn facts(self) -> Vec<(String, String)> {
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let facts = [
            ("os", self.os),
            ("architecture", self.arch),
            ("cpus", number(self.cpu_count)),
            ("cpus-min", number(self.cpu_count_min)),
            ("memory-bytes", number(self.memory_size)),
            ("memory-bytes-min", number(self.memory_size_min)),
            ("mac-address", self.mac_address),
            ("machine-id", self.ecid),
            ("hardware-model", self.hardware_model),
            ("display", self.display.map(|display| format!("{}x{}", display.width, display.height))),
        ];
        facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// The part of an image config that says something.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ImageConfig {
    #[serde(default)]
    config: Option<Labels>,
}

#[derive(Debug, Default, Deserialize)]
struct Labels {
    #[serde(default, rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

impl ImageConfig {
    /// A stub that older versions wrote holds nothing; what is no config at all says nothing either.
    pub(crate) fn parse(content: &[u8]) -> Self {
        serde_json::from_slice(content).unwrap_or_default()
    }

    /// The format of the disk, where a label says it.
    pub(crate) fn disk_format(&self) -> Option<&str> {
        let labels = self.config.as_ref()?.labels.as_ref()?;
        labels.get(words::FORMAT_LABEL).map(String::as_str)
    }
}
