//! Volumes: raw disks that outlive machines.

use serde::{Deserialize, Serialize};
use witvirt_core::{ByteSize, Name};

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Volume {
    /// Its name, as disks of machines say it.
    pub name: Name,
    /// Bytes that a guest sees.
    pub size: u64,
    /// Bytes on the host.
    pub allocated: u64,
    /// Machines of this daemon that name it.
    pub users: Vec<Name>,
}

/// A volume that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct VolumeRequest {
    /// Its name.
    pub name: Name,
    /// Its size in bytes; absent: the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
    /// Name or digest of an image whose content it begins with; absent: it is all zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}
