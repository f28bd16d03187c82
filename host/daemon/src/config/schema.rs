//! JSON schemas for editors and other programs; checked in below config/.

use serde_json::Value;
use witvirt_core::spec::MachineSpec;

use super::ConfigFile;

/// The schema of `witvirt.toml`.
pub fn config_schema() -> Value {
    schemars::schema_for!(ConfigFile).to_value()
}

/// The schema of a machine spec.
pub fn machine_schema() -> Value {
    MachineSpec::json_schema()
}
