//! One model for all network cards. The converter "nic-model" of droidvirt's `osx-hook-sidecar`.

use serde::Deserialize;
use witvirt_sdk::core::domain::Diagnostic;
use witvirt_sdk::domain::{Context, Hook};
use witvirt_sdk::xml::{Document, Id};
use witvirt_sdk::{Error, ErrorKind};

/// The plugin.
pub struct NicModel;

/// Its settings.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// libvirt's name of the model.
    pub model: String,
}

impl Default for Settings {
    fn default() -> Self {
        // macOS has a driver for it since 10.11; for virtio only since 11.
        Self { model: "vmxnet3".to_owned() }
    }
}

impl Hook for NicModel {
    const NAME: &str = env!("CARGO_PKG_NAME");
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &str = "one model for all network cards";
    const SETTINGS_SCHEMA: Option<&str> = Some(include_str!("../settings.schema.json"));
    type Settings = Settings;

    fn check(settings: &Settings) -> Result<(), Error> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !settings.model.is_empty() && settings.model.len() <= 32 && settings.model.bytes().all(word) {
            return Ok(());
        }
        let message = "setting model: has to be a model of libvirt's, such as \"vmxnet3\" or \"virtio\"";
        Err(Error::new(ErrorKind::InvalidInput, message))
    }

    fn edit(settings: &Settings, domain: &mut Document, _: &Context) -> Vec<Diagnostic> {
        for interface in domain.find_all(domain.root(), "devices/interface") {
            if has_model(domain, interface) {
                let model = domain.find_or_append(interface, "model");
                domain.set_attribute(model, "type", &settings.model);
            }
        }
        Vec::new()
    }
}

/// A card of the host's that is handed through is what it is.
fn has_model(domain: &Document, interface: Id) -> bool {
    domain.attribute(interface, "type").is_none_or(|kind| kind != "hostdev")
}

witvirt_sdk::domain_converter!(NicModel);
