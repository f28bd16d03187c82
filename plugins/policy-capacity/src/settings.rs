//! What an operator writes.

use std::collections::BTreeMap;

use serde::Deserialize;
use witvirt_sdk::core::ByteSize;

use crate::{Error, ErrorKind};

/// JSON schema of [`Settings`].
pub const SCHEMA: &str = include_str!("../settings.schema.json");

const MAX_OVERCOMMIT: f64 = 1000.0;

/// Bounds; what is absent is not bounded. Where several keys bound the same thing, the lowest binds.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Machines at a time.
    pub machines: Option<u64>,
    /// Processors.
    #[serde(default)]
    pub vcpus: Vcpus,
    /// Guest memory.
    #[serde(default)]
    pub memory: Memory,
    /// Further bounds by guest OS, as the machine spec names it ("macos").
    #[serde(default)]
    pub os: BTreeMap<String, OsLimits>,
    /// Deny machines that do not say what OS they run: without it, a machine that leaves `os` out escapes [`Settings::os`].
    #[serde(default)]
    pub require_os: bool,
}

/// Bounds on vCPUs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Vcpus {
    /// Of all machines.
    pub total: Option<u64>,
    /// Of all machines, as a multiple of the host's CPUs.
    pub overcommit: Option<f64>,
    /// Of any one machine.
    pub per_machine: Option<u64>,
}

/// Bounds on memory.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Memory {
    /// Of all machines.
    pub total: Option<ByteSize>,
    /// Of all machines, as a share of the host's memory, 0 to 1.
    pub share: Option<f64>,
    /// What is left to the host.
    pub reserve: Option<ByteSize>,
    /// Of any one machine.
    pub per_machine: Option<ByteSize>,
}

/// Bounds on the machines of one guest OS.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OsLimits {
    /// Machines at a time.
    pub machines: Option<u64>,
    /// Their vCPUs.
    pub vcpus: Option<u64>,
    /// Their memory.
    pub memory: Option<ByteSize>,
}

impl Settings {
    /// From the JSON of the config.
    ///
    /// # Errors
    /// `invalid-input` that names the key.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message);
        let settings: Self =
            serde_json::from_str(json).map_err(|error| invalid(format!("settings: {error}")))?;
        if settings.vcpus.overcommit.is_some_and(|ratio| !(0.0..=MAX_OVERCOMMIT).contains(&ratio)) {
            return Err(invalid(format!("settings: vcpus.overcommit has to be 0 to {MAX_OVERCOMMIT}")));
        }
        if settings.memory.share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err(invalid("settings: memory.share has to be 0 to 1".to_owned()));
        }
        if let Some(os) = settings.os.keys().find(|os| os.is_empty() || **os != os.to_lowercase()) {
            return Err(invalid(format!("settings: os.\"{}\" has to be lower case", os.escape_debug())));
        }
        Ok(settings)
    }
}

impl Vcpus {
    /// The bound on a host of so many CPUs.
    pub(crate) fn limit(&self, cpus: u64) -> Option<u64> {
        let relative = self.overcommit.map(|ratio| (cpus as f64 * ratio) as u64);
        [self.total, relative].into_iter().flatten().min()
    }
}

impl Memory {
    /// The bound in bytes on a host of so many bytes.
    pub(crate) fn limit(&self, bytes: u64) -> Option<u64> {
        let share = self.share.map(|share| (bytes as f64 * share) as u64);
        let rest = self.reserve.map(|reserve| bytes.saturating_sub(reserve.get()));
        [self.total.map(ByteSize::get), share, rest].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use witvirt_sdk::core::ByteSize;

    use super::{Memory, SCHEMA, Settings, Vcpus};

    /// Every key there is.
    fn all() -> Value {
        json!({
            "machines": 10,
            "vcpus": { "total": 16, "overcommit": 2.5, "per-machine": 8 },
            "memory": { "total": "64GiB", "share": 0.9, "reserve": "2GiB", "per-machine": 17179869184u64 },
            "os": { "macos": { "machines": 2, "vcpus": 8, "memory": "32 GiB" } },
            "require-os": true,
        })
    }

    fn keys(value: &Value) -> Vec<&String> {
        let mut keys: Vec<_> = value.as_object().unwrap().keys().collect();
        keys.sort();
        keys
    }

    #[test]
    fn the_schema_lists_every_key() {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let all = all();
        Settings::parse(&all.to_string()).unwrap();
        let object = |schema: &Value, value: &Value| {
            assert_eq!(keys(&schema["properties"]), keys(value));
            assert_eq!(schema["additionalProperties"], json!(false));
        };
        object(&schema, &all);
        object(&schema["properties"]["vcpus"], &all["vcpus"]);
        object(&schema["properties"]["memory"], &all["memory"]);
        object(&schema["properties"]["os"]["additionalProperties"], &all["os"]["macos"]);
    }

    #[test]
    fn wrong_settings_name_their_key() {
        for (settings, part) in [
            ("{\"machine\": 3}", "unknown field `machine`"),
            ("{\"vcpus\": {\"max\": 3}}", "unknown field `max`"),
            ("{\"os\": {\"macos\": {\"count\": 2}}}", "unknown field `count`"),
            ("{\"os\": {\"macOS\": {\"machines\": 2}}}", "\"macOS\" has to be lower case"),
            ("{\"machines\": -1}", "invalid value"),
            ("{\"vcpus\": {\"overcommit\": -0.5}}", "vcpus.overcommit has to be 0 to 1000"),
            ("{\"memory\": {\"share\": 1.5}}", "memory.share has to be 0 to 1"),
            ("{\"memory\": {\"total\": \"much\"}}", "is not a size"),
            ("[]", "settings"),
            ("", "settings"),
        ] {
            let error = Settings::parse(settings).unwrap_err();
            assert!(error.message.contains(part), "{settings}: {error:?}");
        }
        assert_eq!(Settings::parse("{}").unwrap(), Settings::default());
    }

    #[test]
    fn the_lowest_bound_binds() {
        let vcpus = |total, overcommit| Vcpus { total, overcommit, per_machine: None }.limit(6);
        assert_eq!(vcpus(None, None), None);
        assert_eq!(vcpus(Some(10), None), Some(10));
        assert_eq!(vcpus(None, Some(1.5)), Some(9));
        assert_eq!(vcpus(Some(10), Some(1.5)), Some(9));
        assert_eq!(vcpus(Some(3), Some(1.5)), Some(3));
        let memory = |total: Option<u64>, share, reserve: Option<u64>| {
            let (total, reserve) = (total.map(ByteSize), reserve.map(ByteSize));
            Memory { total, share, reserve, per_machine: None }.limit(1000)
        };
        assert_eq!(memory(None, Some(0.5), None), Some(500));
        assert_eq!(memory(Some(800), Some(0.9), Some(300)), Some(700));
        assert_eq!(memory(None, None, Some(5000)), Some(0), "a host smaller than its reserve");
    }
}
