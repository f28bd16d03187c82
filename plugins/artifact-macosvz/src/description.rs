//! `config.json`: what the machine is.

use serde::{Deserialize, Serialize};
use witvirt_sdk::{Error, ErrorKind};

use crate::words;

/// The file, as upstream writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) mediatype: String,
    pub(crate) os: String,
    /// Base64 of a property list: Apple's VZMacHardwareModel.
    #[serde(default, rename = "hardwareModelData", skip_serializing_if = "String::is_empty")]
    pub(crate) hardware_model: String,
    /// Base64 of a property list: Apple's VZMacMachineIdentifier.
    #[serde(default, rename = "machineIdData", skip_serializing_if = "String::is_empty")]
    pub(crate) machine_id: String,
    #[serde(default)]
    pub(crate) storage: Vec<Storage>,
}

/// A file of the artifact.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Storage {
    pub(crate) mediatype: String,
    pub(crate) file: String,
}

impl Description {
    /// # Errors
    /// `corrupt` when it is not this file.
    pub(crate) fn parse(content: &[u8]) -> Result<Self, Error> {
        let corrupt =
            |what: String| Error::new(ErrorKind::Corrupt, format!("{}: {what}", words::CONFIG_FILE));
        let description: Self =
            serde_json::from_slice(content).map_err(|error| corrupt(error.to_string()))?;
        if description.mediatype != words::CONFIG {
            return Err(corrupt(format!("its mediatype is not {}", words::CONFIG)));
        }
        for (name, value) in
            [("hardwareModelData", &description.hardware_model), ("machineIdData", &description.machine_id)]
        {
            if !is_base64(value) {
                return Err(corrupt(format!("{name} is not base64")));
            }
        }
        Ok(description)
    }

    /// What a machine is made of, as facts of the plan.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        let facts =
            [("os", &self.os), ("hardware-model", &self.hardware_model), ("machine-id", &self.machine_id)];
        let stated = facts.into_iter().filter(|(_, value)| !value.is_empty());
        stated.map(|(name, value)| (name.to_owned(), value.clone())).collect()
    }
}

/// The standard alphabet with padding (RFC 4648, section 4); nothing at all is base64 too.
pub(crate) fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    text.len().is_multiple_of(4) && padding <= 2 && digits.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::{Description, is_base64};

    #[test]
    fn base64_with_padding() {
        for good in ["", "YQ==", "YWI=", "YWJj", "+/+/"] {
            assert!(is_base64(good), "{good}");
        }
        for bad in ["Y", "YQ=", "====", "Y===", "YQ==YQ==", "YW J", "YQ-_", "é==="] {
            assert!(!is_base64(bad), "{bad}");
        }
    }

    #[test]
    fn a_description_of_another_kind() {
        let text = |media: &str, model: &str| {
            format!("{{\"mediatype\":\"{media}\",\"os\":\"darwin\",\"hardwareModelData\":\"{model}\"}}")
        };
        let config = "application/vnd.agoda.macosvz.config.v1+json";
        let description = Description::parse(text(config, "YQ==").as_bytes()).unwrap();
        let facts = [("os", "darwin"), ("hardware-model", "YQ==")];
        assert_eq!(description.facts(), facts.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(Description::parse(text("x/y", "").as_bytes()).unwrap_err().message.contains("mediatype"));
        assert!(
            Description::parse(text(config, "?").as_bytes())
                .unwrap_err()
                .message
                .contains("hardwareModelData")
        );
        assert!(Description::parse(b"[]").is_err());
    }
}
