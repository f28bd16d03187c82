//! Names of machines, images, volumes and plugins.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that is safe as a file name, a DNS label and an argument: 1 to 63 characters of `a-z`, `0-9`, `-`, `.` and `_`,
/// starting and ending with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// Why a text is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{}\" is not a name: use 1 to 63 of a-z, 0-9, '-', '.' and '_', with a letter or digit at both ends",
    .0.escape_debug()
)]
pub struct InvalidName(String);

impl Name {
    /// Checks a text.
    ///
    /// # Errors
    /// [`InvalidName`] with the rule.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
        let text = text.into();
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let ends = edge(text.chars().next()) && edge(text.chars().next_back());
        if text.len() > 63 || !ends || !text.chars().all(allowed) {
            return Err(InvalidName(text));
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn accepts_names_and_refuses_paths() {
        for good in ["a", "web-1", "debian.12", "x_y", &"a".repeat(63)] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "..", ".a", "a.", "a/b", "A", "-a", "a b", "a\n", "é", &"a".repeat(64)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }
}
