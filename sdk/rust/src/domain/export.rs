//! The macro between the trait of this module and the bindings of a plugin's world.

/// Exports [`crate::domain::Converter`] of `$plugin` as a component of the world `domain-converter`: generates the
/// bindings, the exports of `lifecycle` and `converter`, and keeps the settings. Natively it expands to nothing, since
/// component exports have names that no native linker takes.
///
/// To be called once, in a crate whose dependency on the SDK is called `witvirt_sdk`. The paths are those of the contract,
/// relative to the crate's `Cargo.toml`; the ones of crates in `plugins/` need not be given.
#[macro_export]
macro_rules! domain_converter {
    ($plugin:ident) => {
        $crate::domain_converter!($plugin, "../../wit/types", "../../wit/domain");
    };
    ($plugin:ident, $types:tt, $domain:tt) => {
        #[cfg(target_arch = "wasm32")]
        #[doc(hidden)]
        mod domain_bindings {
            #![allow(missing_docs)]
            $crate::wit_bindgen::generate!({
                path: [$types, $domain],
                world: "witvirt:domain/domain-converter",
                runtime_path: "witvirt_sdk::wit_bindgen::rt",
                with: {
                    "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
                    "witvirt:types/log@0.1.0": witvirt_sdk::log,
                },
            });
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use ::std::sync::OnceLock;
            use ::std::{result::Result, string::String, vec::Vec};

            use $crate::core::domain as core;
            use $crate::domain as sdk;
            use domain_bindings::exports::witvirt::domain::converter as wit;

            static SETTINGS: OnceLock<<$plugin as sdk::Converter>::Settings> = OnceLock::new();

            impl $crate::Plugin for $plugin {
                fn describe() -> $crate::Info {
                    $crate::Info {
                        settings_schema: <$plugin as sdk::Converter>::SETTINGS_SCHEMA.map(String::from),
                        ..$crate::Info::new(<$plugin as sdk::Converter>::NAME, <$plugin as sdk::Converter>::VERSION, <$plugin as sdk::Converter>::DESCRIPTION)
                    }
                }

                fn configure(settings: &str) -> Result<(), $crate::Error> {
                    let settings = sdk::configure::<$plugin>(settings)?;
                    let twice = |_| $crate::Error::new($crate::ErrorKind::Other, "configured twice");
                    SETTINGS.set(settings).map_err(twice)
                }
            }

            impl wit::Guest for $plugin {
                fn conversions() -> Vec<wit::Conversion> {
                    let pairs = <$plugin as sdk::Converter>::conversions().into_iter();
                    let pair = |(source, target)| wit::Conversion {
                        source: String::from(source),
                        target: String::from(target),
                    };
                    pairs.map(pair).collect()
                }

                fn convert(
                    input: wit::Document,
                    target: String,
                    options: String,
                ) -> Result<wit::Outcome, $crate::Error> {
                    let unset = || $crate::Error::new($crate::ErrorKind::Other, "not configured");
                    let settings = SETTINGS.get().ok_or_else(unset)?;
                    let wit::Document { media_type, body } = input;
                    let input = core::Document { media_type, body };
                    let outcome = sdk::convert::<$plugin>(settings, &input, &target, &options)?;
                    let core::Document { media_type, body } = outcome.document;
                    let diagnostics = outcome.diagnostics.into_iter().map(diagnostic).collect();
                    Ok(wit::Outcome { document: wit::Document { media_type, body }, diagnostics })
                }
            }

            fn diagnostic(diagnostic: core::Diagnostic) -> wit::Diagnostic {
                let core::Diagnostic { severity, code, message, path, line } = diagnostic;
                let severity = match severity {
                    core::Severity::Error => 1,
                    core::Severity::Warning => 2,
                    core::Severity::Info => 3,
                };
                wit::Diagnostic { severity, code, message, path, line }
            }
        };

        #[cfg(target_arch = "wasm32")]
        $crate::lifecycle!($plugin, domain_bindings);
        #[cfg(target_arch = "wasm32")]
        domain_bindings::export!($plugin with_types_in domain_bindings);
    };
}
