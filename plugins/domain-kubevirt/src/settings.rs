//! What an operator can choose.

use serde::Deserialize;

/// The settings; every key has a default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Absolute path of a directory with the files of kernelBoot containers: `DIRECTORY/IMAGE/PATH`, where IMAGE is the
    /// reference as the manifest has it and PATH the path in the container. Without it such machines are refused.
    pub kernel_directory: Option<String>,
    /// Which port of the host leads to a port that an interface lists.
    pub host_ports: HostPorts,
    /// What becomes of interfaces that are not on the pod network.
    pub other_networks: OtherNetworks,
}

/// Which port of the host leads to a port of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostPorts {
    /// Any that is free.
    #[default]
    Free,
    /// The one of the same number.
    Same,
    /// None: the ports stay closed.
    None,
}

/// What becomes of an interface on a network that witvirt cannot give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OtherNetworks {
    /// The machine is refused.
    #[default]
    Refuse,
    /// A user network, with a warning.
    User,
    /// A card without a cable, with a warning.
    Unplugged,
}

impl Settings {
    /// JSON schema of the settings.
    pub const SCHEMA: &str = include_str!("../settings.schema.json");
}
