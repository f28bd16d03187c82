//! For plugins that convert domain documents (`witvirt:domain`): the traits that such a plugin implements over the types of
//! [`witvirt_core::domain`], and the macro that exports it.
//!
//! A [`Hook`] goes from domain XML to domain XML and changes a few places of a [`crate::xml::Document`]; what it does not
//! touch goes on byte for byte. Any other pair of media types is a [`Converter`]. Both have settings, which are parsed once;
//! [`domain_converter!`](crate::domain_converter) is all the glue there is.
//!
//! A hook that gives network cards the model that an annotation of the machine asks for:
//!
//! ```
//! use witvirt_sdk::core::domain::{Diagnostic, Severity};
//! use witvirt_sdk::domain::{Context, Hook};
//! use witvirt_sdk::xml::Document;
//! use witvirt_sdk::{Error, ErrorKind};
//!
//! pub struct NicModel;
//!
//! /// Unknown keys are refused, and each has a default.
//! #[derive(Default, serde::Deserialize)]
//! #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
//! pub struct Settings {
//!     model: Option<String>,
//! }
//!
//! impl Hook for NicModel {
//!     const NAME: &str = env!("CARGO_PKG_NAME");
//!     const VERSION: &str = env!("CARGO_PKG_VERSION");
//!     const DESCRIPTION: &str = "the model of network cards";
//!     const SETTINGS_SCHEMA: Option<&str> = None; // usually Some(include_str!("../settings.schema.json"))
//!     type Settings = Settings;
//!
//!     fn check(settings: &Settings) -> Result<(), Error> {
//!         if settings.model.as_deref() == Some("") {
//!             let message = "setting model: is empty: use a model like \"virtio\", or leave the key away";
//!             return Err(Error::new(ErrorKind::InvalidInput, message));
//!         }
//!         Ok(())
//!     }
//!
//!     fn edit(settings: &Settings, domain: &mut Document, context: &Context) -> Vec<Diagnostic> {
//!         let wanted = context.annotations.get("example.org/nic-model").or(settings.model.as_ref());
//!         let Some(wanted) = wanted else { return Vec::new() };
//!         let mut diagnostics = Vec::new();
//!         for interface in domain.find_all(domain.root(), "devices/interface") {
//!             if domain.attribute(interface, "type").as_deref() == Some("hostdev") {
//!                 let message = "a card of the host's has no model: it stays as it is";
//!                 let said = Diagnostic::new(Severity::Warning, "nic-model.hostdev", message);
//!                 diagnostics.push(said.at(domain.path(interface), domain.line(interface)));
//!                 continue;
//!             }
//!             // Idempotent: run again, this finds what it made.
//!             let model = domain.find_or_append(interface, "model");
//!             domain.set_attribute(model, "type", wanted);
//!         }
//!         diagnostics
//!     }
//! }
//!
//! // In the plugin's crate this is all the glue; natively it expands to nothing.
//! witvirt_sdk::domain_converter!(NicModel);
//!
//! // Everything works without WebAssembly, too.
//! use witvirt_sdk::core::domain::{DOMAIN_XML, Document as Text};
//! use witvirt_sdk::domain::{configure, convert};
//!
//! let settings = configure::<NicModel>(r#"{"model": "virtio"}"#).unwrap();
//! let body = "<domain><devices><!-- one --><interface type=\"user\"><mac address='02:00:00:00:00:01'/></interface>\
//!             </devices></domain>";
//! let input = Text { media_type: DOMAIN_XML.into(), body: body.into() };
//! let options = r#"{"context": {"annotations": {"example.org/nic-model": "e1000"}}}"#;
//! let made = convert::<NicModel>(&settings, &input, DOMAIN_XML, options).unwrap();
//! assert_eq!(
//!     made.document.body,
//!     "<domain><devices><!-- one --><interface type=\"user\"><mac address='02:00:00:00:00:01'/><model type=\"e1000\"/>\
//!      </interface></devices></domain>"
//! );
//! let error = configure::<NicModel>(r#"{"modle": "virtio"}"#).err().unwrap();
//! assert!(error.message.starts_with("unknown setting: unknown field `modle`"));
//! ```
//!
//! The crate `witvirt-testkit` runs hooks and compares: see its module `domain`.

mod export;
mod hook;
mod options;
pub mod qemu;
mod settings;

pub use hook::{Hook, replace_devices};
pub use options::{Context, Options};
pub use settings::configure;

use serde::de::DeserializeOwned;
use witvirt_core::domain::{Document, Outcome};

use crate::{Error, ErrorKind};

/// A plugin that converts documents; [`crate::domain_converter`] exports it.
pub trait Converter {
    /// The plugin's name, usually `env!("CARGO_PKG_NAME")`.
    const NAME: &str;
    /// Its version, usually `env!("CARGO_PKG_VERSION")`.
    const VERSION: &str;
    /// One line.
    const DESCRIPTION: &str;
    /// JSON schema of the settings; `None` where there are none.
    const SETTINGS_SCHEMA: Option<&str>;

    /// The shape of the settings: kebab-case, unknown keys refused, a default for each key; `()` where there are none.
    type Settings: DeserializeOwned + Default + Send + Sync + 'static;

    /// What the shape of the settings cannot say.
    ///
    /// # Errors
    /// Names the key, says what is wrong and what would be right.
    fn check(settings: &Self::Settings) -> Result<(), Error> {
        let _ = settings;
        Ok(())
    }

    /// Pairs of source and target media type; a hook has the same on both sides.
    fn conversions() -> Vec<(&'static str, &'static str)>;

    /// Converts a document of one of the pairs in [`Converter::conversions`]; nothing else arrives here. Whatever of the
    /// document is not honoured is a diagnostic that says where.
    ///
    /// # Errors
    /// When there is no document to speak of; what can be reported with a place is a diagnostic of severity error instead.
    fn convert(
        settings: &Self::Settings,
        input: &Document,
        target: &str,
        options: &Options,
    ) -> Result<Outcome, Error>;
}

/// Calls a converter as the host does: refuses pairs that are not offered, and reads the options.
///
/// # Errors
/// `unsupported` for such a pair, `invalid-input` for options that make no sense, else what the converter reports.
pub fn convert<C: Converter>(
    settings: &C::Settings,
    input: &Document,
    target: &str,
    options: &str,
) -> Result<Outcome, Error> {
    let offered = C::conversions();
    if !offered.contains(&(input.media_type.as_str(), target)) {
        return Err(not_offered(&offered, input, target));
    }
    C::convert(settings, input, target, &Options::parse(options)?)
}

#[inline(never)]
fn not_offered(offered: &[(&str, &str)], input: &Document, target: &str) -> Error {
    let pairs: Vec<_> = offered.iter().map(|(source, target)| format!("{source} to {target}")).collect();
    let message = format!("does not convert this; it converts {}", pairs.join(", "));
    Error::new(ErrorKind::Unsupported, message).with("source", &input.media_type).with("target", target)
}

#[cfg(test)]
mod tests {
    use witvirt_core::domain::{DOMAIN_XML, Document, MACHINE_JSON, Outcome};

    use super::{Converter, Options, configure, convert};
    use crate::{Error, ErrorKind};

    struct Echo;

    impl Converter for Echo {
        const NAME: &str = "echo";
        const VERSION: &str = "0.0.0";
        const DESCRIPTION: &str = "returns what it gets";
        const SETTINGS_SCHEMA: Option<&str> = None;
        type Settings = ();

        fn conversions() -> Vec<(&'static str, &'static str)> {
            vec![(DOMAIN_XML, DOMAIN_XML)]
        }

        fn convert((): &(), input: &Document, _: &str, options: &Options) -> Result<Outcome, Error> {
            let name = options.name.as_ref().map_or("", |name| name.as_str());
            let body = format!("{}{name}", input.body);
            Ok(Outcome { document: Document { body, ..input.clone() }, diagnostics: Vec::new() })
        }
    }

    fn document(media_type: &str) -> Document {
        Document { media_type: media_type.to_owned(), body: "<a/>".to_owned() }
    }

    #[test]
    fn converts_offered_pairs_only() {
        let made = convert::<Echo>(&(), &document(DOMAIN_XML), DOMAIN_XML, "{\"name\":\"b\"}").unwrap();
        assert_eq!(made.document.body, "<a/>b");
        for (source, target) in [(DOMAIN_XML, MACHINE_JSON), (MACHINE_JSON, DOMAIN_XML)] {
            let error = convert::<Echo>(&(), &document(source), target, "{}").unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unsupported);
            assert!(error.message.contains("converts application/vnd.libvirt"), "{}", error.message);
        }
        let error = convert::<Echo>(&(), &document(DOMAIN_XML), DOMAIN_XML, "[]").unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput);
    }

    #[test]
    fn without_settings_none_are_taken() {
        configure::<Echo>("{}").unwrap();
        let error = configure::<Echo>("{\"x\": 1}").unwrap_err();
        assert!(error.message.contains("unknown setting \"x\": echo has none"), "{}", error.message);
    }
}
