//! What the host says beside the document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use witvirt_core::Name;
use witvirt_core::domain::{CONTEXT_JSON, Document};

use crate::{Error, ErrorKind};

/// The options of `converter.convert`; keys of later contracts are no reason to refuse.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Options {
    /// What the machine shall be called.
    pub name: Option<Name>,
    /// Which machine of a document with several is meant.
    pub select: Option<String>,
    /// Absolute path that relative paths in the document are relative to.
    pub directory: Option<String>,
    /// What is known of the machine; for hooks.
    pub context: Context,
}

/// What is known of a machine besides its hardware. As JSON it is a document of type [`CONTEXT_JSON`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// Its name in the document that it comes from.
    pub name: String,
    /// The namespace of that name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels, for selection.
    pub labels: BTreeMap<String, String>,
    /// Annotations, for tools.
    pub annotations: BTreeMap<String, String>,
    /// What runs in it, "linux", "windows" or "macos".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
}

impl Options {
    /// From the JSON object that the host hands over.
    ///
    /// # Errors
    /// `invalid-input` for anything else.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let invalid =
            |what: &dyn std::fmt::Display| Error::new(ErrorKind::InvalidInput, format!("options: {what}"));
        // serde would take an array as well.
        if !json.trim_start().starts_with('{') {
            return Err(invalid(&"not a JSON object"));
        }
        serde_json::from_str(json).map_err(|error| invalid(&error))
    }
}

impl Context {
    /// As a document.
    ///
    /// # Errors
    /// None that can happen: maps of texts are JSON.
    pub fn document(&self) -> Result<Document, Error> {
        let body = serde_json::to_string(self)
            .map_err(|error| Error::new(ErrorKind::Other, format!("cannot write the context: {error}")))?;
        Ok(Document { media_type: CONTEXT_JSON.to_owned(), body })
    }
}

#[cfg(test)]
mod tests {
    use super::{Context, Options};

    #[test]
    fn reads_options() {
        let text = r#"{"name": "a", "select": "b", "directory": "/c", "later": 1,
            "context": {"name": "vm", "labels": {"k": "v"}, "os": "macos", "resource": {}}}"#;
        let options = Options::parse(text).unwrap();
        assert_eq!(options.name.unwrap().as_str(), "a");
        assert_eq!((options.select.as_deref(), options.directory.as_deref()), (Some("b"), Some("/c")));
        assert_eq!(options.context.labels["k"], "v");
        assert_eq!(options.context.os.as_deref(), Some("macos"));
        assert_eq!(Options::parse("{}").unwrap(), Options::default());
        for (bad, part) in [
            ("[]", "not a JSON object"),
            ("", "not a JSON object"),
            ("{\"name\": \"A B\"}", "is not a name"),
            ("{\"context\": 1}", "invalid type"),
        ] {
            let message = Options::parse(bad).unwrap_err().message;
            assert!(message.starts_with("options: ") && message.contains(part), "{bad}: {message}");
        }
    }

    #[test]
    fn contexts_are_documents() {
        let context = Context { name: "a".to_owned(), ..Context::default() };
        let body = context.document().unwrap().body;
        assert_eq!(body, r#"{"name":"a","labels":{},"annotations":{}}"#);
        assert_eq!(serde_json::from_str::<Context>(&body).unwrap(), context);
    }
}
