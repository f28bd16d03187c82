//! What a machine boots, and what its firmware tells the guest.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Kernel, firmware and order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Boot {
    /// A kernel to boot directly: absolute path inside an allowed directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Its initial RAM disk: absolute path inside an allowed directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    /// Its command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// BIOS or UEFI.
    #[serde(default)]
    pub firmware: Firmware,
    /// Device classes in boot order, for devices without a `boot-index` of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<BootDevice>,
    /// Whether only devices with a place in the boot order are booted; when absent, if any device has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Whether the firmware offers a boot menu.
    #[serde(default)]
    pub menu: bool,
    /// How long the menu waits, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub menu_timeout_ms: Option<u16>,
    /// How long the firmware waits before it tries again when nothing boots, in milliseconds; it does not when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot_timeout_ms: Option<u16>,
}

/// What starts the guest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// SeaBIOS.
    #[default]
    Bios,
    /// OVMF as two flash devices.
    #[serde(rename_all = "kebab-case")]
    Uefi {
        /// Code, read only.
        code: FirmwareFile,
        /// Template from which the machine's own variable store is made on its first start; absent: no store.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vars_template: Option<FirmwareFile>,
        /// Whether system management mode guards the variables (secure boot).
        #[serde(default)]
        secure: bool,
    },
}

/// Where a file of a firmware is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum FirmwareFile {
    /// Absolute path inside an allowed directory.
    Path(String),
    /// In the store: an image that was imported as `raw`.
    Image {
        /// Its name or digest.
        image: String,
    },
}

impl FirmwareFile {
    /// An image of the store.
    pub fn image(name: impl Into<String>) -> Self {
        Self::Image { image: name.into() }
    }
}

impl From<String> for FirmwareFile {
    fn from(path: String) -> Self {
        Self::Path(path)
    }
}

impl From<&str> for FirmwareFile {
    fn from(path: &str) -> Self {
        Self::Path(path.to_owned())
    }
}

/// The path, or `image NAME`.
impl fmt::Display for FirmwareFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Image { image } => write!(f, "image {image}"),
        }
    }
}

/// A class of bootable devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BootDevice {
    /// Hard disks.
    Disk,
    /// CD-ROMs.
    Cdrom,
    /// Network.
    Network,
    /// Floppies.
    Floppy,
}

/// The real-time clock and timers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Clock {
    /// What the RTC shows at the start.
    #[serde(default)]
    pub base: ClockBase,
    /// Timers that differ from the default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<Timer>,
}

/// What the RTC shows at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClockBase {
    /// UTC.
    #[default]
    Utc,
    /// The host's time zone.
    Localtime,
    /// A fixed moment, in seconds since 1970.
    Absolute(i64),
}

/// A timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Timer {
    /// "rtc", "pit", "hpet", "kvmclock", "hypervclock", "tsc".
    pub name: String,
    /// Whether the guest has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
    /// What happens to ticks that were missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<TimerTick>,
    /// For "rtc": what it follows; the host's clock when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<TimerTrack>,
    /// For "tsc": Hz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency: Option<u64>,
}

/// What a real-time clock follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimerTrack {
    /// The guest's own time: it stands while the machine is paused.
    Guest,
    /// The host's clock, with all its corrections.
    Wall,
    /// The host's clock that is never corrected.
    Realtime,
}

/// What happens to missed ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimerTick {
    /// Delivered late, at the normal rate.
    Delay,
    /// Delivered faster until caught up.
    Catchup,
    /// Merged into one.
    Merge,
    /// Dropped.
    Discard,
}

/// SMBIOS strings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Smbios {
    /// Tables with their fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<SmbiosTable>,
}

/// One SMBIOS table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SmbiosTable {
    /// 0 BIOS, 1 system, 2 base board, 3 chassis, 11 OEM strings.
    #[serde(rename = "type")]
    pub kind: u8,
    /// QEMU's names ("manufacturer", "product", "serial" ...) and their texts; table 11 has several "value".
    pub fields: Vec<(String, String)>,
}
