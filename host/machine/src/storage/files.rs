//! The shapes of the files.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use witvirt_core::spec::MachineSpec;
use witvirt_hypervisor::InstanceRecord;

use super::{MachineDir, read_bounded};
use crate::error::{Error, ErrorKind};
use crate::state::Machine;
use crate::time::Timestamp;

pub(crate) const MACHINE: &str = "machine.json";
pub(crate) const STATE: &str = "state.json";

/// The shape that this daemon writes, and the newest it understands.
pub(crate) const SCHEMA: u32 = 1;

/// More than any spec: labels and annotations are bounded to 256 KiB, data disks to 4 MiB, of which each byte may be written
/// as six.
const MAX_BYTES: u64 = 32 << 20;

/// `machine.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SpecFile {
    pub schema: u32,
    pub created: Timestamp,
    pub created_by: String,
    pub spec: MachineSpec,
}

/// `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct StateFile {
    pub schema: u32,
    pub machine: Machine,
    /// Logical offset in the console log at which the last launch began.
    pub console_start: u64,
    /// The last launch's instance. While it is being launched nothing is known but where and by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceRecord>,
}

#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

pub(crate) fn to_json(file: &impl Serialize) -> Vec<u8> {
    // Serialising plain structs to memory fails for no input; an empty file would be reported as broken.
    let mut bytes = serde_json::to_vec_pretty(file).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

pub(crate) fn load<T: DeserializeOwned>(from: &MachineDir, name: &str) -> Result<T, Error> {
    let path = from.path().join(name);
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| {
        Error::caused(ErrorKind::Broken, format!("cannot read {}", path.display()), source)
    };
    let bytes = read_bounded(from.dir(), name, MAX_BYTES).map_err(|error| broken(error.into()))?;
    let Schema { schema } = serde_json::from_slice(&bytes).map_err(|error| broken(error.into()))?;
    if schema > SCHEMA {
        let message = format!(
            "{} has schema {schema}, this daemon knows up to {SCHEMA}: run the daemon that wrote it, or a newer one",
            path.display()
        );
        return Err(Error::new(ErrorKind::Broken, message));
    }
    serde_json::from_slice(&bytes).map_err(|error| broken(error.into()))
}
