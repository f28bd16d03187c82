//! The converter as the host sees it.

use witvirt_sdk::core::domain::{DOMAIN_XML, Document, Outcome, XHYVE};
use witvirt_sdk::domain::{Converter, Options};
use witvirt_sdk::{Error, ErrorKind};

use crate::{InputError, Settings, convert};

/// The plugin.
pub struct Xhyve;

impl Converter for Xhyve {
    const NAME: &str = env!("CARGO_PKG_NAME");
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &str = "xhyve, hyperkit and bhyve command lines to libvirt domain XML";
    const SETTINGS_SCHEMA: Option<&str> = Some(Settings::SCHEMA);
    type Settings = Settings;

    fn conversions() -> Vec<(&'static str, &'static str)> {
        vec![(XHYVE, DOMAIN_XML)]
    }

    fn convert(
        settings: &Settings,
        input: &Document,
        target: &str,
        options: &Options,
    ) -> Result<Outcome, Error> {
        let made = convert(&input.body, options, settings).map_err(|error| refusal(&error))?;
        let document = Document { media_type: target.to_owned(), body: made.xml };
        Ok(Outcome { document, diagnostics: made.diagnostics })
    }
}

fn refusal(error: &InputError) -> Error {
    let kind = match error {
        InputError::TooLarge { .. } => ErrorKind::Limit,
        _ => ErrorKind::InvalidInput,
    };
    let mut message = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        message.push_str(&format!(": {source}"));
    }
    message.truncate(message.floor_char_boundary(4000));
    Error::new(kind, message)
}

witvirt_sdk::domain_converter!(Xhyve);
