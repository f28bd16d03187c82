//! Settings, from JSON to what a converter works with.

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
    // serde would take an array as well.
    if json.trim_start().starts_with('{')
        && let Ok(settings) = serde_json::from_str(json)
    {
        return checked::<C>(settings);
    }
    Err(misfit::<C>(json))
}

fn checked<C: Converter>(settings: C::Settings) -> Result<C::Settings, Error> {
    C::check(&settings)?;
    Ok(settings)
}

/// serde says what is wrong with a value, but not of which key: the one that fails alone as well.
#[cold]
fn misfit<C: Converter>(json: &str) -> Error {
    let object: Map<String, Value> = match serde_json::from_str(json) {
        Ok(object) => object,
        Err(error) => return invalid(format!("settings are not a JSON object: {error}")),
    };
    let takes_none = std::mem::size_of::<C::Settings>() == 0;
    for (key, value) in object {
        let escaped = key.escape_debug();
        if takes_none {
            return invalid(format!("unknown setting \"{escaped}\": {} has none", C::NAME));
        }
        let alone = Value::Object(Map::from_iter([(key.clone(), value)])).to_string();
        let Err(error) = serde_json::from_str::<C::Settings>(&alone) else { continue };
        let error = without_place(&error);
        return match error.starts_with(&format!("unknown field `{key}`")) {
            true => invalid(format!("unknown setting: {error}")),
            false => invalid(format!("setting {escaped}: {error}")),
        };
    }
    let whole = serde_json::from_str::<C::Settings>(json).err();
    let whole = whole.map_or_else(|| "not readable".to_owned(), |error| without_place(&error));
    invalid(format!("settings: {whole}"))
}

/// Lines and columns are none of the config's, and a text at the wrong place may be a secret.
fn without_place(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    for said in ["invalid type: string", "invalid value: string"] {
        if text.starts_with(said)
            && let Some(end) = text.rfind(", expected ")
        {
            text.replace_range(said.len()..end, "");
        }
    }
    if let Some(place) = text.rfind(" at line ") {
        text.truncate(place);
    }
    text
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
                "setting port: invalid type: string, expected u16",
            ),
            ("{\"inner\": {}}", "setting inner: missing field `path`"),
            ("{\"inner\": {\"path\": \"\", \"x\": 1}}", "setting inner: unknown field `x`, expected `path`"),
            ("{\"port\": 7}", "setting port: 7 is taken"),
        ] {
            let error = configure::<Fixture>(json).unwrap_err();
            assert_eq!((error.kind, error.message.as_str()), (ErrorKind::InvalidInput, message), "{json}");
        }
    }

    #[test]
    fn a_text_at_the_wrong_place_is_not_repeated() {
        let error = configure::<Fixture>(r#"{"port": "geheim, expected"}"#).err().map(|error| error.message);
        let error = error.unwrap_or_default();
        assert!(
            error.contains("setting port: invalid type: string, expected") && !error.contains("geheim"),
            "{error}"
        );
    }
}
