//! What an author of a witvirt plugin needs besides the contract in `wit/`: the shared types, logging with panics
//! included, and the machine spec that documents are made of.
//!
//! For each kind of plugin there are traits and macros that leave nothing else to write: [`disk`] for disk formats,
//! [`artifact`] for layouts of artifacts, [`domain`] for converters of documents.
//!
//! A plugin is a `cdylib` for `wasm32-unknown-unknown`. Its glue generates the bindings of its world, with the shared
//! interfaces taken from here, implements [`Plugin`] and the world's `Guest` traits, and exports them:
//!
//! ```ignore
//! mod bindings {
//!     wit_bindgen::generate!({
//!         path: ["../../wit/types", "../../wit/disk"],
//!         world: "witvirt:disk/disk-format",
//!         with: {
//!             "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
//!             "witvirt:types/log@0.1.0": witvirt_sdk::log,
//!         },
//!     });
//! }
//! witvirt_sdk::lifecycle!(MyPlugin, bindings);
//! bindings::export!(MyPlugin with_types_in bindings);
//! ```
//!
//! `cargo xtask plugins` makes components of the crates in `plugins/`. Keep the glue thin and everything else in pure
//! modules, which also build, test and fuzz natively: the crate `witvirt-testkit` has what tests of disk formats need.

pub use witvirt_core as core;

pub mod artifact;
mod bindings;
pub mod disk;
pub mod domain;
pub mod xml;

pub use bindings::errors::{self, Error, ErrorKind};
pub use bindings::log;
#[doc(hidden)]
pub use wit_bindgen;

/// Who a plugin says it is.
#[derive(Debug, Clone)]
pub struct Info {
    /// The plugin's own name.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One line.
    pub description: String,
    /// JSON schema of the settings; `None` where there are none.
    pub settings_schema: Option<String>,
}

impl Info {
    /// Of a plugin without settings. Name and version are usually `env!("CARGO_PKG_NAME")` and
    /// `env!("CARGO_PKG_VERSION")`.
    pub fn new(name: &str, version: &str, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            description: description.to_owned(),
            settings_schema: None,
        }
    }
}

/// What every plugin has, of whatever kind.
pub trait Plugin {
    /// Who it is; pure and cheap.
    fn describe() -> Info;

    /// Takes the settings (a JSON object) before anything else is called. As it is here, there are none.
    ///
    /// # Errors
    /// When the settings make no sense: says which key, and what would be right.
    fn configure(settings: &str) -> Result<(), Error> {
        no_settings(settings)
    }
}

impl Error {
    /// Without context.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), context: Vec::new() }
    }

    /// Adds a key and value ("offset", "0x30000").
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.context.push((key.to_owned(), value.to_string()));
        self
    }
}

/// For plugins without settings: refuses anything but an empty object.
///
/// # Errors
/// `invalid-input` when there is a setting.
pub fn no_settings(settings: &str) -> Result<(), Error> {
    let value: serde_json::Value = serde_json::from_str(settings)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, format!("settings are not JSON: {error}")))?;
    match value.as_object().map(|object| object.keys().next()) {
        Some(None) => Ok(()),
        Some(Some(key)) => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("unknown setting \"{key}\": this plugin has none"),
        )),
        None => Err(Error::new(ErrorKind::InvalidInput, "settings are not a JSON object")),
    }
}

/// Sends a panic's message to the host's log, where the report of the trap finds it. [`lifecycle!`] calls it.
#[doc(hidden)]
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        log::write(1, &format!("{info}"), &[]);
    }));
}

/// Implements the exported `lifecycle` interface of the bindings in `$bindings` by [`Plugin`] of `$plugin`.
#[macro_export]
macro_rules! lifecycle {
    ($plugin:ty, $bindings:ident) => {
        impl $bindings::exports::witvirt::types::lifecycle::Guest for $plugin {
            fn describe() -> $bindings::exports::witvirt::types::lifecycle::Info {
                $crate::install_panic_hook();
                let info = <$plugin as $crate::Plugin>::describe();
                $bindings::exports::witvirt::types::lifecycle::Info {
                    name: info.name,
                    version: info.version,
                    description: info.description,
                    settings_schema: info.settings_schema,
                }
            }

            fn configure(settings: ::std::string::String) -> ::std::result::Result<(), $crate::Error> {
                $crate::install_panic_hook();
                <$plugin as $crate::Plugin>::configure(&settings)
            }
        }
    };
}
