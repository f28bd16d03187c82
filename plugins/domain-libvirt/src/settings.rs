//! What an operator can choose.

use std::collections::BTreeMap;

use serde::Deserialize;
use witvirt_sdk::core::spec::{Firmware, FirmwareFile};
use witvirt_sdk::core::{Digest, Name};

/// The settings; every key has a default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Firmware for `<os firmware='efi'>`; without it such a domain is refused.
    pub firmware: Option<FirmwareSettings>,
    /// Firmware for `<os firmware='efi'>` that asks for secure boot.
    pub secure_firmware: Option<FirmwareSettings>,
    /// Paths of `<loader>` and `<nvram>` that mean images of the store, and the images' names.
    pub firmware_images: BTreeMap<String, String>,
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
            firmware_images: BTreeMap::new(),
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
    /// No image that a path could mean.
    #[error(
        "setting firmware-images: {} of {} is no image of the store: use its name or digest",
        image.escape_debug(), path.escape_debug()
    )]
    Image {
        /// The path.
        path: String,
        /// What it is said to mean.
        image: String,
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
        for (path, image) in &self.firmware_images {
            if !path.starts_with('/') {
                return Err(InvalidSettings::Path { key: "firmware-images", path: path.clone() });
            }
            if Name::new(image.as_str()).is_err() && image.parse::<Digest>().is_err() {
                return Err(InvalidSettings::Image { path: path.clone(), image: image.clone() });
            }
        }
        Ok(())
    }

    /// What a path of a firmware file means.
    pub(crate) fn firmware_file(&self, path: &str) -> FirmwareFile {
        match self.firmware_images.get(path) {
            Some(image) => FirmwareFile::image(image.as_str()),
            None => FirmwareFile::from(path),
        }
    }

    /// JSON schema of the settings.
    pub const SCHEMA: &str = include_str!("../settings.schema.json");
}

impl FirmwareSettings {
    pub(crate) fn firmware(&self, secure: bool, settings: &Settings) -> Firmware {
        let vars_template = self.vars_template.as_deref().map(|path| settings.firmware_file(path));
        Firmware::Uefi { code: settings.firmware_file(&self.code), vars_template, secure }
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
            (r#"{"firmware-images": {"OVMF.fd": "ovmf"}}"#, "setting firmware-images: \"OVMF.fd\""),
            (
                r#"{"firmware-images": {"/OVMF.fd": "/b"}}"#,
                "setting firmware-images: /b of /OVMF.fd is no image",
            ),
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
