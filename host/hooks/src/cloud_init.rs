//! KubeVirt's CloudInitData: what `PreCloudInitIso` may edit. As JSON it has the names of Go's fields, since the type has no
//! tags (`pkg/cloud-init/cloud-init.go`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a disk for cloud-init is made from. Fields that are not known here are kept.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CloudInitData {
    /// "noCloud" or "configDrive"
    pub data_source: String,
    /// `meta-data` of NoCloud: instance-type, instance-id, local-hostname, public-keys.
    pub no_cloud_meta_data: Option<Map<String, Value>>,
    /// `meta_data.json` of a config drive: instance_type, instance_id, local_hostname, hostname, uuid, devices, public_keys.
    pub config_drive_meta_data: Option<Map<String, Value>>,
    /// `user-data`
    pub user_data: String,
    /// `network-config`
    pub network_data: String,
    /// Tagged devices, for `meta_data.json`.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub devices_data: Value,
    /// The volume that the disk is for.
    pub volume_name: String,
    /// Whatever else there is.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// The older form, of which only two fields matter once secrets have been resolved.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NoCloudSource {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) user_data: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) network_data: String,
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

impl CloudInitData {
    /// Whether KubeVirt would use it as a result: else it looks at the older form.
    pub fn counts(&self) -> bool {
        !self.user_data.is_empty() && self.has_metadata()
    }

    fn has_metadata(&self) -> bool {
        self.no_cloud_meta_data.is_some() || self.config_drive_meta_data.is_some()
    }
}

/// The older form of what `data` has.
pub(crate) fn older_form(data: &CloudInitData) -> NoCloudSource {
    NoCloudSource {
        user_data: data.user_data.clone(),
        network_data: data.network_data.clone(),
        others: Map::new(),
    }
}

/// What a sidecar's answer means: the newer form where it counts, else `sent` with what the older form has.
///
/// # Errors
/// What is wrong with the answer.
pub(crate) fn answer(sent: &CloudInitData, newer: &[u8], older: &[u8]) -> Result<CloudInitData, String> {
    if !newer.is_empty() {
        let data: CloudInitData = serde_json::from_slice(newer)
            .map_err(|error| format!("its cloudInitData is no CloudInitData: {error}"))?;
        // What had no user data before the hook needs none after it.
        if data.counts() || (sent.user_data.is_empty() && data.has_metadata()) {
            return Ok(data);
        }
    }
    if older.is_empty() {
        return Err("its answer has neither user data with metadata nor a NoCloud source".to_owned());
    }
    let source: NoCloudSource = serde_json::from_slice(older)
        .map_err(|error| format!("its cloudInitNoCloudSource is no CloudInitNoCloudSource: {error}"))?;
    if source.user_data.is_empty() {
        return Err("its answer has no user data".to_owned());
    }
    Ok(CloudInitData { user_data: source.user_data, network_data: source.network_data, ..sent.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sent() -> CloudInitData {
        serde_json::from_value(json!({
            "DataSource": "noCloud",
            "NoCloudMetaData": { "instance-id": "a.b", "local-hostname": "a" },
            "ConfigDriveMetaData": null,
            "UserData": "#cloud-config\n",
            "NetworkData": "",
            "DevicesData": null,
            "VolumeName": "cloudinit"
        }))
        .unwrap()
    }

    #[test]
    fn the_newer_form_counts_with_user_data_and_metadata() {
        let mut edited = sent();
        edited.user_data.push_str("hostname: b\n");
        let bytes = serde_json::to_vec(&edited).unwrap();
        assert_eq!(answer(&sent(), &bytes, b"{}"), Ok(edited.clone()));
        edited.no_cloud_meta_data = None;
        let bytes = serde_json::to_vec(&edited).unwrap();
        let fallen_back = answer(&sent(), &bytes, br#"{"userData":"old","networkData":"n"}"#).unwrap();
        assert_eq!((fallen_back.user_data.as_str(), fallen_back.network_data.as_str()), ("old", "n"));
        assert_eq!(fallen_back.no_cloud_meta_data, sent().no_cloud_meta_data);
    }

    #[test]
    fn answers_without_sense_are_refused() {
        for (newer, older, expected) in [
            (&b"{"[..], &b""[..], "is no CloudInitData"),
            (b"[]", b"", "is no CloudInitData"),
            (b"", b"", "neither"),
            (b"{}", b"{\"userData\":1}", "is no CloudInitNoCloudSource"),
            (b"{}", b"{}", "has no user data"),
        ] {
            let refused = answer(&sent(), newer, older).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn unknown_fields_survive() {
        let text = r#"{"DataSource":"noCloud","UserData":"x","Later":{"a":1}}"#;
        let data: CloudInitData = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&data).unwrap()["Later"]["a"], 1);
    }
}
