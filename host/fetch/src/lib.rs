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
pub mod registry;
mod resource;
mod runtime;
mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;
use witvirt_disk::{Blob, Error, ErrorKind, Result};

pub use access::{DockerConfig, Helpers, HttpAccess, Login, RegistryAccess, Secret};
pub use config::{FetchConfig, HttpConfig, Proxy, RegistryConfig};
pub use registry::{Reference, Registry};
pub use tls::Authorities;

use client::{Client, Plain};
use http::{Remote, RemoteBlob};
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
    client: Client,
    /// Those of registries with authorities of their own.
    registries: BTreeMap<String, Client>,
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
        let mut registries = BTreeMap::new();
        for (host, registry) in &config.registry {
            if registry.ca_file.is_some() {
                let all = of_file(&registry.ca_file)?.and(&authorities);
                registries.insert(host.clone(), Client::new(&config.http, &all)?);
            }
        }
        let plain = config.registry.iter().filter(|(_, registry)| registry.plain_http);
        let inner = Inner {
            config: config.clone(),
            runtime: Runtime::new()?,
            client: Client::new(&config.http, &authorities)?,
            authorities,
            registries,
            plain: plain.map(|(host, _)| host.clone()).collect(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Asks a server what a URL is. A user and password in the URL count where `access` has no login.
    ///
    /// # Errors
    /// `InvalidInput` for what is no http or https URL, `NotFound`, `Denied`, `Unavailable` and the rest of what a server
    /// answers.
    pub fn http(&self, url: &str, access: &HttpAccess) -> Result<Arc<dyn Blob>> {
        let invalid = |message: &str| Error::new(ErrorKind::InvalidInput, message);
        // The text is not shown: it may hold a password.
        let mut url = Url::parse(url).map_err(|error| invalid(&format!("not a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("not a URL of the scheme http or https"));
        }
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
            None => self.inner.client.clone(),
            Some(own) => Client::new(&self.inner.config.http, &own.clone().and(&self.inner.authorities))?,
        };
        let place = Resource::new(client, url, Auth::Fixed(access.secrets()?), Plain::Inherited);
        let runtime = self.inner.runtime.clone();
        let remote = runtime.block_on(Remote::open(label, vec![place], None))?;
        Ok(Arc::new(RemoteBlob::new(remote, runtime)))
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

/// The user and password of a URL.
fn login_of(url: &Url) -> Option<Login> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = Secret::new(decoded(url.password().unwrap_or_default()));
    Some(Login::Basic { user: decoded(url.username()), password })
}
