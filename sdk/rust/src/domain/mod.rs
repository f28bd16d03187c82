//! For plugins that convert domain documents (`witvirt:domain`): the trait that such a plugin implements over the types of
//! [`witvirt_core::domain`], and the macro that exports it.
//!
//! A hook that says in a comment which machine a document is for:
//!
//! ```
//! use witvirt_sdk::core::domain::{DOMAIN_XML, Document, Outcome};
//! use witvirt_sdk::domain::{Converter, Options};
//! use witvirt_sdk::{Error, ErrorKind};
//!
//! pub struct Signature;
//!
//! #[derive(Default, serde::Deserialize)]
//! #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
//! pub struct Settings {
//!     signed_by: Option<String>,
//! }
//!
//! impl Converter for Signature {
//!     const NAME: &str = env!("CARGO_PKG_NAME");
//!     const VERSION: &str = env!("CARGO_PKG_VERSION");
//!     const DESCRIPTION: &str = "adds a comment";
//!     const SETTINGS_SCHEMA: Option<&str> = None;
//!     type Settings = Settings;
//!
//!     fn check(settings: &Settings) -> Result<(), Error> {
//!         if settings.signed_by.as_ref().is_some_and(|name| name.contains("--")) {
//!             let message = "setting signed-by: \"--\" cannot stand in a comment: use another name";
//!             return Err(Error::new(ErrorKind::InvalidInput, message));
//!         }
//!         Ok(())
//!     }
//!
//!     fn conversions() -> Vec<(&'static str, &'static str)> {
//!         vec![(DOMAIN_XML, DOMAIN_XML)]
//!     }
//!
//!     fn convert(
//!         settings: &Settings,
//!         input: &Document,
//!         target: &str,
//!         _options: &Options,
//!     ) -> Result<Outcome, Error> {
//!         let name = settings.signed_by.as_deref().unwrap_or("nobody");
//!         let body = format!("{}<!-- {name} -->", input.body);
//!         let document = Document { media_type: target.to_owned(), body };
//!         Ok(Outcome { document, diagnostics: Vec::new() })
//!     }
//! }
//!
//! // In the plugin's crate this is all the glue; natively it is nothing.
//! witvirt_sdk::domain_converter!(Signature);
//!
//! let settings = witvirt_sdk::domain::configure::<Signature>(r#"{"signed-by": "me"}"#).unwrap();
//! let input = Document { media_type: DOMAIN_XML.into(), body: "<domain/>".into() };
//! let made = witvirt_sdk::domain::convert::<Signature>(&settings, &input, DOMAIN_XML, "{}").unwrap();
//! assert_eq!(made.document.body, "<domain/><!-- me -->");
//! ```

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
    if !offered.iter().any(|pair| *pair == (input.media_type.as_str(), target)) {
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
