//! Remote sources of the image store: objects on HTTP servers and blobs of OCI registries.
//!
//! [`Fetch`] is what a daemon has one of; [`Fetch::http`] and [`Registry::blob`] give [`Blob`]s, which block and are bounded
//! in time. Servers are not trusted: ranges are found out by asking for one, every answer is compared with what was asked
//! for and with what is known of the object, redirects are counted and never take credentials to another origin, bodies that
//! come to a halt are given up and taken up again where they ended. Errors say which object it was, never what was presented
//! to get it.
//!
//! Credentials are parameters of a request ([`HttpAccess`], [`RegistryAccess`]): nothing here remembers them for somebody
//! else. Connections without credentials in their TLS are shared.
//!
//! Plain HTTP: what a user types as `http://` is fetched so, as CDI does, unless the config forbids it ([`HttpConfig`]); the
//! user gives a checksum if it matters. Registries are spoken to by plain HTTP only where their own table in the config says
//! so, loopback included.
//!
//! Where requests may lead: users name URLs, and the daemon has more reach than they do, so every address is judged once it is
//! known and before it is connected to (`reach`).
//!
//! Why no `oci-client`: it keeps the credentials in the client, resumes nothing, knows no mirrors, bounds neither manifests
//! nor waits, and `docker_credential` waits for helpers without end. What is left of it beyond that is the reference grammar,
//! whose crate costs more to build than everything here. HTTP and TLS are hyper and rustls, which a Kubernetes client
//! needs too.

mod access;
mod client;
mod config;
mod connect;
mod failure;
mod http;
mod label;
mod reach;
pub mod registry;
mod resource;
mod runtime;
mod tls;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use url::Url;
use witvirt_disk::{Blob, Error, ErrorKind, Result};

pub use access::{DockerConfig, Helpers, HttpAccess, Login, RegistryAccess, Secret};
pub use config::{FetchConfig, HttpConfig, Proxy, RegistryConfig};
pub use reach::Network;
pub use registry::{Reference, Registry};
pub use tls::Authorities;

use access::Credential;
use client::{Client, Plain};
use http::{Remote, RemoteBlob};
use reach::Reach;
use resource::{Auth, Resource};
use runtime::Runtime;

/// What reaches remote sources: connections, and the config. Cheap to clone; the calls of everything it gives block, and must
/// not be made on threads that drive async tasks.
#[derive(Clone, Debug)]
pub struct Fetch {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: FetchConfig,
    runtime: Runtime,
    /// What every connection trusts besides the system.
    authorities: Authorities,
    /// Where users' requests may lead.
    reach: Reach,
    /// Made when it is used first: the system's certificates are a megabyte that an idle process has no use for.
    client: OnceLock<Client>,
    /// Those of registries with authorities of their own.
    registries: BTreeMap<String, Client>,
    /// The operator's credentials for servers.
    auth: Option<DockerConfig>,
    /// Registries that may be spoken to by plain HTTP.
    plain: Arc<[String]>,
}

impl Fetch {
    /// Reads the files of certificates that the config names. Paths in it have to be absolute or fit the working directory.
    ///
    /// # Errors
    /// Whatever is wrong with those files.
    pub fn new(config: &FetchConfig) -> Result<Self> {
        let of_file = |path: &Option<_>| {
            path.as_ref()
                .map_or(Ok(Authorities::default()), |path: &std::path::PathBuf| Authorities::from_file(path))
        };
        let authorities = of_file(&config.http.ca_file)?;
        let reach = Reach::of(config);
        let auth = config.http.auth_file.as_ref().map(|file| DockerConfig::from_file(file, Helpers::Run));
        let mut registries = BTreeMap::new();
        for (host, registry) in &config.registry {
            if registry.ca_file.is_some() {
                let all = of_file(&registry.ca_file)?.and(&authorities);
                registries.insert(host.clone(), Client::new(&config.http, &all, &reach)?);
            }
        }
        let plain = config.registry.iter().filter(|(_, registry)| registry.plain_http);
        let inner = Inner {
            config: config.clone(),
            runtime: Runtime::new()?,
            client: OnceLock::new(),
            authorities,
            reach,
            auth: auth.transpose()?,
            registries,
            plain: plain.map(|(host, _)| host.clone()).collect(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn client(&self) -> Result<Client> {
        let Inner { config, authorities, reach, client, .. } = &*self.inner;
        if let Some(client) = client.get() {
            return Ok(client.clone());
        }
        let made = Client::new(&config.http, authorities, reach)?;
        Ok(client.get_or_init(|| made).clone())
    }

    /// Asks a server what a URL is. A user and password in the URL count where `access` has no login.
    ///
    /// # Errors
    /// `InvalidInput` for what is no http or https URL, `NotFound`, `Denied`, `Unavailable` and the rest of what a server
    /// answers.
    pub fn http(&self, url: &str, access: &HttpAccess) -> Result<Arc<dyn Blob>> {
        let mut url = parse(url)?;
        let label = label::of(&url);
        if url.scheme() == "http" && !self.inner.config.http.plain_http {
            let message = format!("{label}: the config has plain-http = false in [http]");
            return Err(Error::new(ErrorKind::Denied, message));
        }
        let mut access = access.clone();
        if let (None, Some(login)) = (access.login(), login_of(&url)) {
            access = access.with_login(login);
        }
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        let client = match access.authorities() {
            None => self.client()?,
            Some(own) => self.client_with(own, &self.inner.authorities)?,
        };
        let place = Resource::new(client, url, Auth::Fixed(access.secrets()?), Plain::Inherited);
        let runtime = self.inner.runtime.clone();
        let remote = runtime.block_on(Remote::open(label, vec![place], None))?;
        Ok(Arc::new(RemoteBlob::new(remote, runtime)))
    }

    /// Asks a server what a URL is, with the operator's credentials for its host: what machines are made of names URLs alone,
    /// and is fetched while nobody is there who could show any. They go over https, or to hosts whose \[registry\] table has
    /// `plain-http`, and to no others.
    ///
    /// # Errors
    /// As [`Fetch::http`].
    pub fn http_as_operator(&self, url: &str) -> Result<Arc<dyn Blob>> {
        let parsed = parse(url)?;
        let mut access = HttpAccess::default();
        if let Some(login) = self.operator_login(&parsed)? {
            access = access.with_login(login);
        }
        self.http(url, &access)
    }

    fn operator_login(&self, url: &Url) -> Result<Option<Login>> {
        let host = client::authority(url);
        if url.scheme() != "https" && !self.inner.plain.contains(&host) {
            return Ok(None);
        }
        let own = self.inner.config.registry.get(&host).and_then(|registry| registry.auth_file.as_ref());
        let own = own.map(|file| DockerConfig::from_file(file, Helpers::Run)).transpose()?;
        for config in own.iter().chain(&self.inner.auth) {
            let found = self.inner.runtime.block_on(config.find(&host, url.path().trim_matches('/')))?;
            if let Some(Credential::Login(login)) = found {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }

    /// A client that trusts `own` authorities besides others.
    fn client_with(&self, own: &Authorities, others: &Authorities) -> Result<Client> {
        let inner = &self.inner;
        Client::new(&inner.config.http, &own.clone().and(others), &inner.reach)
    }

    /// Registries, as this caller.
    pub fn registry(&self, access: RegistryAccess) -> Registry {
        Registry::new(self.clone(), access)
    }

    /// What the config's auth-files give: for what is fetched in the operator's own name, never for users' requests.
    ///
    /// # Errors
    /// Whatever is wrong with those files.
    pub fn operator_access(&self) -> Result<RegistryAccess> {
        let files = self
            .inner
            .config
            .registry
            .iter()
            .filter_map(|(host, registry)| registry.auth_file.as_ref().map(|file| (host, file)));
        files.into_iter().try_fold(RegistryAccess::anonymous(), |access, (host, file)| {
            let config = DockerConfig::from_file(file, Helpers::Run)?;
            Ok(access.with_docker_config(config.only_for(host)))
        })
    }
}

/// What images from a URL are recorded as: without what may be a secret in it.
///
/// # Errors
/// `InvalidInput` for what is no http or https URL.
pub fn label_of(url: &str) -> Result<String> {
    let mut url = parse(url)?;
    url.set_fragment(None);
    Ok(label::of(&url))
}

fn parse(url: &str) -> Result<Url> {
    let invalid = |message: &str| Error::new(ErrorKind::InvalidInput, message);
    // The text is not shown: it may hold a password.
    let url = Url::parse(url).map_err(|error| invalid(&format!("not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("not a URL of the scheme http or https"));
    }
    Ok(url)
}

/// The user and password of a URL.
fn login_of(url: &Url) -> Option<Login> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = Secret::new(decoded(url.password().unwrap_or_default()));
    Some(Login::Basic { user: decoded(url.username()), password })
}
