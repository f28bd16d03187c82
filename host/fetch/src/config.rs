//! The part of `witvirt.toml` that says how remote sources are reached: the tables `[http]` and `[registry."HOST"]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use witvirt_core::{ByteSize, Span};

use crate::reach::Network;

/// How remote sources are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct FetchConfig {
    /// Every server, those of registries included.
    pub http: HttpConfig,
    /// Registries, by the host (and port, where there is one) that references name them with: "registry.example",
    /// "localhost:5000"; "docker.io" for Docker Hub.
    pub registry: BTreeMap<String, RegistryConfig>,
}

/// Every server, those of registries included.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Time for one connection to be made. Default: "10s".
    pub connect_timeout: Span,
    /// How long a server may be silent before the connection counts as dead. Default: "30s".
    pub idle_timeout: Span,
    /// Bytes a second, over each idle-timeout, below which a connection counts as dead. Default: "1KiB".
    pub slowest_rate: ByteSize,
    /// How often one request is tried before it fails. Progress starts the count anew. Default: 5.
    pub attempts: u32,
    /// The longest pause before a request is tried again. They grow from 200 ms; a server that asks for a longer one (with
    /// Retry-After) ends the operation. Default: "30s".
    pub longest_pause: Span,
    /// How many redirects of one request are followed. Default: 10.
    pub redirects: u32,
    /// Whether a redirect from https to http is followed. Default: false.
    pub insecure_redirects: bool,
    /// Whether URLs of the scheme http may be fetched from. Registries are spoken to by https unless their own table has
    /// plain-http, whatever this says. Default: true.
    pub plain_http: bool,
    /// Networks that users' requests may lead to although they are refused otherwise: loopback of the daemon's host,
    /// link-local (where clouds have their metadata), multicast and reserved addresses. An address or a network,
    /// "127.0.0.0/8". Registries that have a table, and their mirrors, may be anywhere. Default: none.
    pub allow_networks: Vec<Network>,
    /// Networks that users' requests must not lead to. Of both lists, the longest prefix counts. Default: none.
    pub deny_networks: Vec<Network>,
    /// A file in the format of docker's config.json with the operator's credentials, by host, for remote disks of machines:
    /// whoever may define machines may have read with them what they protect. Requests of users never use them.
    pub auth_file: Option<PathBuf>,
    /// Certificates (PEM) to trust besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// The proxy: "none", "environment" (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY as curl reads them), or its URL,
    /// `http://proxy.example:3128`. Only proxies that are spoken to by plain HTTP work. Default: "none".
    pub proxy: Proxy,
    /// Hosts that are reached without the proxy: names (with what is below them), addresses, networks ("10.0.0.0/8").
    pub no_proxy: Vec<String>,
}

/// The proxy to use.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Proxy {
    /// None, whatever the environment says.
    #[default]
    None,
    /// What HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say.
    Environment,
    /// This one; the URL may hold a user and a password.
    Url(url::Url),
}

/// One registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RegistryConfig {
    /// Where to look first, in this order, for what is pulled: a host, a port, a path that repositories lie below
    /// ("mirror.example:5000/hub"). Each is reached as its own \[registry\] table says. The registry itself comes last.
    pub mirrors: Vec<String>,
    /// Certificates (PEM) to trust besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether it is spoken to by plain HTTP. Default: false.
    pub plain_http: bool,
    /// A file in the format of docker's config.json with the operator's credentials for it: what is fetched in the
    /// operator's own name uses them, requests of users never do. Credential helpers that it names are run.
    pub auth_file: Option<PathBuf>,
    /// Uploads are cut into requests of this size, each of which can be repeated. As much memory is used. Default: "16MiB".
    pub upload_chunk: Option<ByteSize>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Span(Duration::from_secs(10)),
            idle_timeout: Span(Duration::from_secs(30)),
            slowest_rate: ByteSize::kib(1),
            attempts: 5,
            longest_pause: Span(Duration::from_secs(30)),
            redirects: 10,
            insecure_redirects: false,
            plain_http: true,
            allow_networks: Vec::new(),
            deny_networks: Vec::new(),
            auth_file: None,
            ca_file: None,
            proxy: Proxy::None,
            no_proxy: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Proxy {
    /// Without the user and password of its URL.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Environment => f.write_str("environment"),
            Self::Url(url) => f.write_str(&crate::label::of(url)),
        }
    }
}

impl<'de> Deserialize<'de> for Proxy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "none" => return Ok(Self::None),
            "environment" => return Ok(Self::Environment),
            _ => {}
        }
        // The text is not shown: it may hold a password.
        let invalid = || {
            serde::de::Error::custom(
                "a proxy is \"none\", \"environment\" or a URL like \"http://proxy.example:3128\"",
            )
        };
        let url = url::Url::parse(&text).map_err(|_| invalid())?;
        if url.scheme() == "http" && url.has_host() { Ok(Self::Url(url)) } else { Err(invalid()) }
    }
}

impl schemars::JsonSchema for Proxy {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Proxy".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(none|environment|http://.+)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::{FetchConfig, Proxy};

    #[test]
    fn reads_every_key_and_refuses_others() {
        let config: FetchConfig = toml::from_str(
            r#"
            [http]
            connect-timeout = "1s"
            slowest-rate = "4KiB"
            proxy = "http://user:hunter2@proxy.example:3128"
            no-proxy = ["10.0.0.0/8"]
            [registry."docker.io"]
            mirrors = ["mirror.example:5000/hub"]
            [registry."mirror.example:5000"]
            plain-http = true
            upload-chunk = "4MiB"
            "#,
        )
        .unwrap();
        assert_eq!(config.registry["docker.io"].mirrors, ["mirror.example:5000/hub"]);
        assert!(config.registry["mirror.example:5000"].plain_http);
        assert_eq!(config.http.attempts, 5);
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(toml::from_str::<FetchConfig>("[http]\nretries = 1").is_err());
        assert!(toml::from_str::<FetchConfig>("[registry.\"a\"]\ninsecure = true").is_err());
        for bad in ["socks5://a", "hunter2"] {
            let error = toml::from_str::<FetchConfig>(&format!("[http]\nproxy = \"{bad}\"")).unwrap_err();
            assert!(!error.message().contains("hunter2"), "{error}");
        }
        assert_eq!(toml::from_str::<FetchConfig>("").unwrap().http.proxy, Proxy::None);
    }
}
