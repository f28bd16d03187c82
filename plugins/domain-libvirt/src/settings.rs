//! What an operator can choose.

use serde::Deserialize;
use witvirt_sdk::core::spec::{Firmware, FirmwareFile};

/// The settings; every key has a default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Firmware for `<os firmware='efi'>`; without it such a domain is refused.
    pub firmware: Option<FirmwareSettings>,
    /// Firmware for `<os firmware='efi'>` that asks for secure boot.
    pub secure_firmware: Option<FirmwareSettings>,
    /// The storage pool whose volumes are images of the store; volumes of all other pools are volumes of the daemon.
    pub image_pool: String,
    /// libvirt networks for which a user network is as good.
    pub nat_networks: Vec<String>,
    /// What becomes of interfaces on any other network.
    pub other_networks: OtherNetworks,
}

/// A UEFI firmware.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FirmwareSettings {
    /// Absolute path of the code.
    pub code: String,
    /// Absolute path of the template of the variable store.
    pub vars_template: Option<String>,
}

/// What becomes of an interface on a network that witvirt cannot give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OtherNetworks {
    /// The domain is refused.
    #[default]
    Refuse,
    /// A user network, with a warning.
    User,
    /// A card without a cable, with a warning.
    Unplugged,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            firmware: None,
            secure_firmware: None,
            image_pool: "images".to_owned(),
            nat_networks: vec!["default".to_owned()],
            other_networks: OtherNetworks::Refuse,
        }
    }
}

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// No JSON, an unknown key, or a value of the wrong kind.
    #[error("settings of domain-libvirt do not fit its schema")]
    Shape(#[from] serde_json::Error),
    /// A firmware file without an absolute path.
    #[error("setting {key}: \"{}\" is not an absolute path", path.escape_debug())]
    Path {
        /// Which setting.
        key: &'static str,
        /// Its value.
        path: String,
    },
}

impl Settings {
    /// Reads and checks settings.
    ///
    /// # Errors
    /// [`InvalidSettings`] names the key and what is wrong.
    pub fn parse(json: &str) -> Result<Self, InvalidSettings> {
        // serde would take an array as well.
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json)?;
        let settings = Self::deserialize(serde_json::Value::Object(object))?;
        settings.check()?;
        Ok(settings)
    }

    /// Checks what the shape does not say.
    ///
    /// # Errors
    /// [`InvalidSettings::Path`] names the key.
    pub fn check(&self) -> Result<(), InvalidSettings> {
        let code = |firmware: &Option<FirmwareSettings>| firmware.as_ref().map(|f| f.code.clone());
        let vars =
            |firmware: &Option<FirmwareSettings>| firmware.as_ref().and_then(|f| f.vars_template.clone());
        for (key, path) in [
            ("firmware.code", code(&self.firmware)),
            ("firmware.vars-template", vars(&self.firmware)),
            ("secure-firmware.code", code(&self.secure_firmware)),
            ("secure-firmware.vars-template", vars(&self.secure_firmware)),
        ] {
            if let Some(path) = path.filter(|path| !path.starts_with('/')) {
                return Err(InvalidSettings::Path { key, path });
            }
        }
        Ok(())
    }

    /// JSON schema of the settings.
    pub const SCHEMA: &str = include_str!("../settings.schema.json");
}

impl FirmwareSettings {
    pub(crate) fn firmware(&self, secure: bool) -> Firmware {
        let vars_template = self.vars_template.clone().map(FirmwareFile::Path);
        Firmware::Uefi { code: self.code.clone().into(), vars_template, secure }
    }
}

#[cfg(test)]
mod tests {
    use super::{OtherNetworks, Settings};

    #[test]
    fn reads_settings_and_names_what_is_wrong() {
        assert_eq!(Settings::parse("{}").unwrap(), Settings::default());
        let settings = Settings::parse(
            r#"{"firmware": {"code": "/a", "vars-template": "/b"}, "image-pool": "golden", "other-networks": "user"}"#,
        )
        .unwrap();
        assert_eq!(settings.image_pool, "golden");
        assert_eq!(settings.other_networks, OtherNetworks::User);
        for (json, part) in [
            ("", "EOF"),
            ("[]", "expected a map"),
            (r#"{"frimware": {}}"#, "unknown field `frimware`"),
            (r#"{"firmware": {}}"#, "missing field `code`"),
            (r#"{"other-networks": "drop"}"#, "unknown variant `drop`"),
            (r#"{"firmware": {"code": "OVMF.fd"}}"#, "setting firmware.code: \"OVMF.fd\""),
        ] {
            let error = Settings::parse(json).unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            assert!(format!("{error} {source}").contains(part), "{json}: {error}: {source}");
        }
    }

    #[test]
    fn schema_knows_every_key() {
        let schema: serde_json::Value = serde_json::from_str(Settings::SCHEMA).unwrap();
        let mut keys: Vec<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        let unknown = Settings::parse(r#"{"x": 1}"#).unwrap_err();
        let text = std::error::Error::source(&unknown).unwrap().to_string();
        for key in &keys {
            assert!(text.contains(&format!("`{key}`")), "{key}: {text}");
        }
        assert_eq!(text.matches('`').count() / 2, keys.len() + 1, "{text}");
    }
}
