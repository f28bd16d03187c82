//! Pull secrets: docker's config.json and podman's auth.json.
//!
//! Keys: `auths` (by registry, or by registry and the beginning of a repository), `credHelpers` (by registry), `credsStore`.
//! Everything else in such a file concerns the programs that wrote it.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;
use witvirt_disk::{Error, ErrorKind, Result};

use super::{Login, Secret, helper, read_small};

/// Whether the programs that a file names are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Helpers {
    /// They are: the file is the operator's.
    Run,
    /// They are not: the file is a user's, and names no program that the daemon would run.
    Refuse,
}

/// Credentials for registries, as docker keeps them.
#[derive(Clone)]
pub struct DockerConfig {
    /// By registry and perhaps a repository's beginning, without scheme.
    auths: BTreeMap<String, Entry>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
    run: Helpers,
    only: Option<String>,
}

/// What a registry is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    Login(Login),
    /// A refresh token of OAuth 2.
    Identity(Secret),
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl DockerConfig {
    /// From the file's text. A file without an `auths` is read as the older format, where the registries are the keys.
    ///
    /// # Errors
    /// `InvalidInput` for what is no such file.
    pub fn parse(text: &[u8], run: Helpers) -> Result<Self> {
        // What is wrong is not quoted: it may be a password.
        let invalid = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            let message = format!("credentials that docker would not read: line {line}, column {column}");
            Error::new(ErrorKind::InvalidInput, message)
        };
        let value: serde_json::Value = serde_json::from_slice(text).map_err(invalid)?;
        let new_format = ["auths", "credHelpers", "credsStore"].iter().any(|key| value.get(key).is_some());
        let file = if new_format {
            serde_json::from_slice(text).map_err(invalid)?
        } else {
            let auths = serde_json::from_slice(text).map_err(invalid)?;
            File { auths, helpers: BTreeMap::new(), store: None }
        };
        let auths = file.auths.into_iter().map(|(key, entry)| (normal(&key), entry)).collect();
        let helpers = file.helpers.into_iter().map(|(key, helper)| (normal(&key), helper)).collect();
        Ok(Self { auths, helpers, store: file.store.filter(|store| !store.is_empty()), run, only: None })
    }

    /// From a file of at most 1 MiB.
    ///
    /// # Errors
    /// As [`DockerConfig::parse`]; whatever reading the file reports.
    pub fn from_file(path: &Path, run: Helpers) -> Result<Self> {
        Self::parse(&read_small(path)?, run).map_err(|error| error.during(path.display()))
    }

    /// The same, for one registry alone.
    #[must_use]
    pub(crate) fn only_for(mut self, registry: &str) -> Self {
        self.only = Some(registry.to_owned());
        self
    }

    /// The credentials for a repository: a helper for this registry, else the longest entry that fits, else the store.
    pub(crate) async fn find(&self, registry: &str, repository: &str) -> Result<Option<Credential>> {
        if self.only.as_ref().is_some_and(|only| only != registry) {
            return Ok(None);
        }
        if let Some(name) = self.helpers.get(registry) {
            return self.ask(name, registry).await;
        }
        let mut key = format!("{registry}/{repository}");
        loop {
            if let Some(found) = self.auths.get(&key).map(Entry::credential).transpose()?.flatten() {
                return Ok(Some(found));
            }
            let Some(end) = key.rfind('/') else { break };
            key.truncate(end);
        }
        match &self.store {
            // An own entry without content says that the store has it; without an entry it may have it too.
            Some(name) => self.ask(name, registry).await,
            None => Ok(None),
        }
    }

    async fn ask(&self, name: &str, registry: &str) -> Result<Option<Credential>> {
        if self.run == Helpers::Refuse {
            let message = format!(
                "the credentials for {registry} are with a credential helper, which is run for the operator alone: give them as auths"
            );
            return Err(Error::new(ErrorKind::Denied, message));
        }
        // Docker Hub's key is a URL, for historical reasons.
        let server = if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry };
        helper::get(name, server).await.map_err(|error| error.during(format!("credentials for {registry}")))
    }
}

impl std::fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let registries: Vec<&String> = self.auths.keys().chain(self.helpers.keys()).collect();
        f.debug_struct("DockerConfig").field("registries", &registries).finish_non_exhaustive()
    }
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::Identity(Secret::new(&self.identitytoken))));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::Login(Login::Bearer(Secret::new(&self.registrytoken)))));
        }
        if !self.auth.is_empty() {
            return decode(self.auth.trim()).map(Some);
        }
        if self.username.is_empty() {
            return Ok(None);
        }
        let (user, password) = (self.username.clone(), Secret::new(&self.password));
        Ok(Some(Credential::Login(Login::Basic { user, password })))
    }
}

fn decode(auth: &str) -> Result<Credential> {
    let invalid =
        || Error::new(ErrorKind::InvalidInput, "an \"auth\" that is not the base64 of user:password");
    let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).map_err(|_| invalid())?;
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    let (user, password) = text.split_once(':').ok_or_else(invalid)?;
    // Docker pads passwords with zeros.
    let password = Secret::new(password.trim_end_matches('\0'));
    Ok(Credential::Login(Login::Basic { user: user.to_owned(), password }))
}

/// A key as it is compared: "https://index.docker.io/v1/" is "docker.io", "http://host:5000/v2/" is "host:5000".
fn normal(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let (host, path) = key.split_once('/').map_or((key, None), |(host, path)| (host, Some(path)));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    path.map_or_else(|| host.to_owned(), |path| format!("{host}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::{Credential, DockerConfig, Helpers, normal};
    use crate::access::{Login, Secret};

    fn basic(user: &str, password: &str) -> Option<Credential> {
        let password = Secret::new(password);
        Some(Credential::Login(Login::Basic { user: user.to_owned(), password }))
    }

    #[tokio::test]
    async fn the_longest_entry_counts() {
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
            "registry.example": {"username": "q", "password": "p"},
            "registry.example/team/app": {"auth": "dGVhbTpzZWNyZXQAAA=="},
            "git.example": {"identitytoken": "idt"},
            "cloud.example": {"registrytoken": "rt"},
            "empty.example": {}
        }, "HttpHeaders": {"User-Agent": "x"}}"#;
        let config = DockerConfig::parse(text.as_bytes(), Helpers::Refuse).unwrap();
        for (registry, repository, wanted) in [
            ("docker.io", "library/alpine", basic("hub", "pw")),
            ("registry.example", "other/app", basic("q", "p")),
            ("registry.example", "team/app", basic("team", "secret")),
            ("registry.example", "team/app/more", basic("team", "secret")),
            ("registry.example", "team/application", basic("q", "p")),
            ("git.example", "x", Some(Credential::Identity(Secret::new("idt")))),
            ("cloud.example", "x", Some(Credential::Login(Login::Bearer(Secret::new("rt"))))),
            ("empty.example", "x", None),
            ("evil-registry.example", "team/app", None),
        ] {
            assert_eq!(config.find(registry, repository).await.unwrap(), wanted, "{registry}/{repository}");
        }
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[tokio::test]
    async fn old_files_and_broken_ones() {
        let old =
            DockerConfig::parse(br#"{"registry.example": {"auth": "aHViOnB3", "email": ""}}"#, Helpers::Run)
                .unwrap();
        assert_eq!(old.find("registry.example", "a").await.unwrap(), basic("hub", "pw"));
        for bad in ["", "[]", r#"{"auths": {"a": "hunter2"}}"#, r#"{"auths": 1}"#] {
            let error = DockerConfig::parse(bad.as_bytes(), Helpers::Run).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let broken = DockerConfig::parse(br#"{"auths": {"a": {"auth": "???"}}}"#, Helpers::Run).unwrap();
        assert!(broken.find("a", "b").await.is_err());
        let helper = DockerConfig::parse(br#"{"credsStore": "pass"}"#, Helpers::Refuse).unwrap();
        assert!(helper.find("a", "b").await.unwrap_err().to_string().contains("operator"));
    }

    #[test]
    fn keys_are_normalised() {
        for (key, wanted) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("http://host:5000/v2/", "host:5000"),
            ("host/a/b", "host/a/b"),
            ("registry-1.docker.io", "docker.io"),
        ] {
            assert_eq!(normal(key), wanted);
        }
    }
}
