//! Where a registry's API is: its mirrors and itself.

use url::Url;
use witvirt_disk::{Error, ErrorKind, Result};

use super::reference::{Reference, is_component, is_host};
use crate::config::FetchConfig;

/// One server that may have a repository.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// As the config and credentials name it.
    pub(super) host: String,
    /// The repository there: below a mirror's own path.
    pub(super) repository: String,
    pub(super) mirror: bool,
    /// "https://HOST/v2/".
    base: Url,
}

impl Endpoint {
    /// The mirrors of a reference's registry in their order, then the registry.
    pub(super) fn all(config: &FetchConfig, reference: &Reference) -> Result<Vec<Self>> {
        let mirrors = config.registry.get(reference.registry()).map_or(&[][..], |own| &own.mirrors);
        let mut all = Vec::with_capacity(mirrors.len() + 1);
        for mirror in mirrors {
            let (host, path) =
                mirror.split_once('/').map_or((&**mirror, None), |(host, path)| (host, Some(path)));
            let repository = match path {
                Some(path) if !path.split('/').all(is_component) => return Err(no_mirror(mirror)),
                Some(path) => format!("{path}/{}", reference.repository()),
                None => reference.repository().to_owned(),
            };
            all.push(Self::new(config, host, repository, true).ok_or_else(|| no_mirror(mirror))?);
        }
        all.push(Self::origin(config, reference)?);
        Ok(all)
    }

    /// The registry itself.
    pub(super) fn origin(config: &FetchConfig, reference: &Reference) -> Result<Self> {
        let repository = reference.repository().to_owned();
        Self::new(config, reference.registry(), repository, false).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, format!("{} is no host", reference.registry()))
        })
    }

    fn new(config: &FetchConfig, host: &str, repository: String, mirror: bool) -> Option<Self> {
        if !is_host(host) {
            return None;
        }
        let plain = config.registry.get(host).is_some_and(|own| own.plain_http);
        // Docker Hub's API is not at its name.
        let server = if host == "docker.io" { "registry-1.docker.io" } else { host };
        let scheme = if plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{server}/v2/")).ok()?;
        Some(Self { host: host.to_owned(), repository, mirror, base })
    }

    /// "/v2/REPOSITORY/" and the parts, which are of characters that need no escaping.
    pub(super) fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{}/{}", self.repository, parts.join("/")));
        url
    }
}

fn no_mirror(text: &str) -> Error {
    let shown = crate::label::quoted(text);
    let message = format!("the mirror {shown} in the config is no HOST[:PORT][/PATH]");
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::Endpoint;
    use crate::config::FetchConfig;

    #[test]
    fn mirrors_come_first() {
        let config: FetchConfig = toml::from_str(
            "[registry.\"docker.io\"]\nmirrors = [\"m.example:5000/hub\", \"n.example\"]\n[registry.\"n.example\"]\nplain-http = true",
        )
        .unwrap();
        let urls = |text: &str| -> Vec<String> {
            let all = Endpoint::all(&config, &text.parse().unwrap()).unwrap();
            all.iter().map(|endpoint| endpoint.url(&["tags", "list"]).to_string()).collect()
        };
        assert_eq!(
            urls("alpine"),
            [
                "https://m.example:5000/v2/hub/library/alpine/tags/list",
                "http://n.example/v2/library/alpine/tags/list",
                "https://registry-1.docker.io/v2/library/alpine/tags/list",
            ]
        );
        assert_eq!(urls("localhost:5000/a"), ["https://localhost:5000/v2/a/tags/list"]);
        for bad in ["https://m.example", "m.example/../x", "", "m.example/a?b"] {
            let text = format!("[registry.\"docker.io\"]\nmirrors = [\"{bad}\"]");
            let config: FetchConfig = toml::from_str(&text).unwrap();
            assert!(Endpoint::all(&config, &"alpine".parse().unwrap()).is_err(), "{bad}");
        }
    }
}
