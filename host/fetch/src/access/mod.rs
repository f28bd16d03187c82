//! What a caller may present to servers. It belongs to a request of that caller, is kept by nothing that others use, and is
//! shown by no `Debug`, label or error.

mod docker;
mod helper;

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use witvirt_disk::{Error, ErrorKind, Result};

use crate::tls::Authorities;

pub(crate) use docker::Credential;
pub use docker::{DockerConfig, Helpers};

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// From the text itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Who the caller is, to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A user and a password.
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token.
    Bearer(Secret),
}

impl Login {
    /// The value of an Authorization header.
    pub(crate) fn header(&self) -> Result<HeaderValue> {
        let text = match self {
            Self::Basic { user, password } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose())))
            }
            Self::Bearer(token) => format!("Bearer {}", token.expose()),
        };
        sensitive(&text, "the credentials")
    }
}

/// What a caller presents to an HTTP server. All of it goes to the server of the URL (scheme, host and port) and never to one
/// that it redirects to.
#[derive(Debug, Clone, Default)]
pub struct HttpAccess {
    headers: HeaderMap,
    login: Option<Login>,
    authorities: Option<Authorities>,
}

impl HttpAccess {
    /// With user and password, or a token.
    #[must_use]
    pub fn with_login(mut self, login: Login) -> Self {
        self.login = Some(login);
        self
    }

    /// With a further header, which is treated as a secret.
    ///
    /// # Errors
    /// `InvalidInput` for what is no header, and for those that frame the request (Host, Range, Content-Length and the like).
    pub fn with_header(mut self, name: &str, value: &Secret) -> Result<Self> {
        const OWN: [&str; 14] = [
            "accept-encoding",
            "connection",
            "content-length",
            "expect",
            "host",
            "if-match",
            "if-modified-since",
            "if-none-match",
            "if-range",
            "range",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ];
        let shown = crate::label::quoted(name);
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message);
        let name: HeaderName =
            name.parse().map_err(|_| invalid(format!("{shown} is no name of a header")))?;
        if OWN.contains(&name.as_str()) || name.as_str().starts_with("proxy-") {
            return Err(invalid(format!("the header {shown} is set by the request itself")));
        }
        let value = sensitive(value.expose(), &format!("the value of the header {shown}"))?;
        self.headers.append(name, value);
        Ok(self)
    }

    /// With certificates to trust besides those of the system and the config.
    #[must_use]
    pub fn with_authorities(mut self, authorities: Authorities) -> Self {
        self.authorities = Some(authorities);
        self
    }

    pub(crate) fn authorities(&self) -> Option<&Authorities> {
        self.authorities.as_ref()
    }

    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Everything that goes to the origin alone.
    pub(crate) fn secrets(&self) -> Result<HeaderMap> {
        let mut headers = self.headers.clone();
        if let Some(login) = &self.login {
            headers.insert(AUTHORIZATION, login.header()?);
        }
        Ok(headers)
    }
}

/// What a caller presents to registries.
#[derive(Debug, Clone, Default)]
pub struct RegistryAccess {
    /// By the host that references name.
    login: Option<(String, Login)>,
    docker: Vec<Arc<DockerConfig>>,
    authorities: Option<Authorities>,
}

impl RegistryAccess {
    /// Nothing: what is public.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// With a login for one registry, named as references name it.
    #[must_use]
    pub fn with_login(mut self, registry: impl Into<String>, login: Login) -> Self {
        self.login = Some((registry.into(), login));
        self
    }

    /// With pull secrets; of several, the first that knows a registry counts.
    #[must_use]
    pub fn with_docker_config(mut self, config: DockerConfig) -> Self {
        self.docker.push(Arc::new(config));
        self
    }

    /// With certificates to trust besides those of the system and the config.
    #[must_use]
    pub fn with_authorities(mut self, authorities: Authorities) -> Self {
        self.authorities = Some(authorities);
        self
    }

    pub(crate) fn authorities(&self) -> Option<&Authorities> {
        self.authorities.as_ref()
    }

    /// What to present for a repository of a registry; `registry` as references name it.
    pub(crate) async fn credential(&self, registry: &str, repository: &str) -> Result<Option<Credential>> {
        if let Some((host, login)) = &self.login
            && host == registry
        {
            return Ok(Some(Credential::Login(login.clone())));
        }
        for config in &self.docker {
            if let Some(found) = config.find(registry, repository).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// A header's value that is not shown.
pub(crate) fn sensitive(text: &str, what: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Error::new(ErrorKind::InvalidInput, format!("{what}: characters that a header cannot have"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a file of certificates or credentials.
pub(crate) fn read_small(path: &Path) -> Result<Vec<u8>> {
    const MOST: u64 = 1 << 20;
    let failed = |error| Error::io(format!("read {}", path.display()), error);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MOST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST {
        let message = format!("{}: longer than 1 MiB", path.display());
        return Err(Error::new(ErrorKind::Limit, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{HttpAccess, Login, Secret};

    #[test]
    fn credentials_are_not_shown() {
        let login = Login::Basic { user: "joe".into(), password: Secret::new("hunter2:x") };
        let header = login.header().unwrap();
        assert_eq!(header, "Basic am9lOmh1bnRlcjI6eA==");
        let access = HttpAccess::default().with_login(login).with_header("X-Token", &Secret::new("hunter2"));
        let access = access.unwrap();
        let shown = format!("{access:?} {header:?} {:?}", access.secrets().unwrap());
        assert!(!shown.contains("hunter2") && !shown.contains("am9l"), "{shown}");
    }

    #[test]
    fn headers_of_the_request_itself_are_refused() {
        for name in ["Host", "range", "Proxy-Authorization", "a b", ""] {
            assert!(HttpAccess::default().with_header(name, &Secret::new("x")).is_err(), "{name}");
        }
        assert!(HttpAccess::default().with_header("x", &Secret::new("a\nb")).is_err());
        let bad = Login::Bearer(Secret::new("a\r\nx: y"));
        assert!(bad.header().is_err());
    }
}
