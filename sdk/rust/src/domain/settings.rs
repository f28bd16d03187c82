//! Settings, from JSON to what a converter works with.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Converter;
use crate::{Error, ErrorKind};

/// Reads and checks a converter's settings.
///
/// # Errors
/// `invalid-input` that names the key.
pub fn configure<C: Converter>(json: &str) -> Result<C::Settings, Error> {
    if json.trim() == "{}" {
        return checked::<C>(C::Settings::default());
    }
    let object: Map<String, Value> = serde_json::from_str(json)
        .map_err(|error| invalid(format!("settings are not a JSON object: {error}")))?;
    if std::mem::size_of::<C::Settings>() == 0
        && let Some(key) = object.keys().next()
    {
        return Err(invalid(format!("unknown setting \"{}\": {} has none", key.escape_debug(), C::NAME)));
    }
    match C::Settings::deserialize(Value::Object(object.clone())) {
        Ok(settings) => checked::<C>(settings),
        Err(error) => Err(misfit::<C::Settings>(object, &error)),
    }
}

fn checked<C: Converter>(settings: C::Settings) -> Result<C::Settings, Error> {
    C::check(&settings)?;
    Ok(settings)
}

/// serde says what is wrong with a value, but not of which key: the one that fails alone as well.
fn misfit<T: serde::de::DeserializeOwned>(object: Map<String, Value>, whole: &serde_json::Error) -> Error {
    for (key, value) in object {
        let alone = Map::from_iter([(key.clone(), value)]);
        let Err(error) = T::deserialize(Value::Object(alone)) else { continue };
        let unknown = error.to_string().starts_with(&format!("unknown field `{key}`"));
        return match unknown {
            true => invalid(format!("unknown setting: {error}")),
            false => invalid(format!("setting {}: {error}", key.escape_debug())),
        };
    }
    invalid(format!("settings: {whole}"))
}

fn invalid(mut message: String) -> Error {
    message.truncate(message.floor_char_boundary(4000));
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use witvirt_core::domain::{Document, Outcome};

    use super::configure;
    use crate::domain::{Converter, Options};
    use crate::{Error, ErrorKind};

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
    struct Settings {
        port: u16,
        inner: Inner,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    struct Inner {
        path: String,
    }

    struct Fixture;

    impl Converter for Fixture {
        const NAME: &str = "fixture";
        const VERSION: &str = "0.0.0";
        const DESCRIPTION: &str = "";
        const SETTINGS_SCHEMA: Option<&str> = None;
        type Settings = Settings;

        fn check(settings: &Settings) -> Result<(), Error> {
            if settings.port == 7 {
                return Err(Error::new(ErrorKind::InvalidInput, "setting port: 7 is taken"));
            }
            Ok(())
        }

        fn conversions() -> Vec<(&'static str, &'static str)> {
            Vec::new()
        }

        fn convert(_: &Settings, _: &Document, _: &str, _: &Options) -> Result<Outcome, Error> {
            Err(Error::new(ErrorKind::Other, "nothing to convert"))
        }
    }

    #[test]
    fn errors_name_the_key() {
        assert_eq!(configure::<Fixture>(" {} ").unwrap(), Settings::default());
        assert_eq!(configure::<Fixture>("{\"port\": 8}").unwrap().port, 8);
        for (json, message) in [
            ("", "settings are not a JSON object: EOF while parsing a value at line 1 column 0"),
            (
                "[]",
                "settings are not a JSON object: invalid type: sequence, expected a map at line 1 column 0",
            ),
            (
                "{\"port\": 1, \"prot\": 2}",
                "unknown setting: unknown field `prot`, expected `port` or `inner`",
            ),
            (
                "{\"inner\": {\"path\": \"\"}, \"port\": \"x\"}",
                "setting port: invalid type: string \"x\", expected u16",
            ),
            ("{\"inner\": {}}", "setting inner: missing field `path`"),
            ("{\"inner\": {\"path\": \"\", \"x\": 1}}", "setting inner: unknown field `x`, expected `path`"),
            ("{\"port\": 7}", "setting port: 7 is taken"),
        ] {
            let error = configure::<Fixture>(json).unwrap_err();
            assert_eq!((error.kind, error.message.as_str()), (ErrorKind::InvalidInput, message), "{json}");
        }
    }
}
