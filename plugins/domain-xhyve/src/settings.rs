//! What an operator can choose.

use serde::Deserialize;

/// The settings; every key has a default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Whose arguments a program takes that is called neither xhyve nor hyperkit nor bhyve; without it such a program is
    /// no hypervisor.
    pub dialect: Option<Dialect>,
    /// What becomes of a card on a tap device.
    pub tap: Tap,
    /// What becomes of devices that witvirt has nothing for.
    pub missing_devices: MissingDevices,
    /// What becomes of `-f fbsd`.
    pub fbsd: FreeBsdLoader,
}

/// Whose command line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// machyve/xhyve.
    Xhyve,
    /// moby/hyperkit.
    Hyperkit,
    /// FreeBSD's.
    Bhyve,
}

/// What becomes of a card on a tap device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tap {
    /// It stays one, by its name on the host.
    #[default]
    Ethernet,
    /// A user network, with a warning.
    User,
    /// A card without a cable, with a warning.
    Unplugged,
}

/// What becomes of devices that witvirt has nothing for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingDevices {
    /// The command line is refused.
    #[default]
    Refuse,
    /// The guest goes without, with a warning.
    LeaveOut,
}

/// What becomes of `-f fbsd`, whose loader is a program of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FreeBsdLoader {
    /// The command line is refused.
    #[default]
    Refuse,
    /// The machine starts by the boot code on the volume itself, with a warning.
    Disk,
}

impl Dialect {
    /// The program's usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xhyve => "xhyve",
            Self::Hyperkit => "hyperkit",
            Self::Bhyve => "bhyve",
        }
    }
}

impl Settings {
    /// JSON schema of the settings.
    pub const SCHEMA: &str = include_str!("../settings.schema.json");
}
