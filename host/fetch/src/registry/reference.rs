//! Names of artifacts in registries: `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`.
//!
//! The grammar is that of github.com/distribution/reference, with its defaults: no host means Docker Hub, a single name there
//! is below "library/", and neither tag nor digest means the tag "latest". The first component is a host when it holds a "."
//! or a ":" or an upper-case letter, or is "localhost".

use std::fmt;
use std::str::FromStr;

use witvirt_core::Digest;
use witvirt_disk::{Error, ErrorKind};

/// Longest host and repository together.
const LONGEST_NAME: usize = 255;

/// Longest tag.
const LONGEST_TAG: usize = 128;

/// An artifact in a registry. Displayed in full: "docker.io/library/alpine:3".
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry's host and port, as configs and credentials name it; "docker.io" for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; where there is a digest too, the digest counts.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where the reference is by digest.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same repository at a digest.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// Registry and repository.
    pub(crate) fn repository_name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What manifests are asked for by: digest or tag.
    pub(crate) fn target(&self) -> String {
        let tag = || self.tag.clone().unwrap_or_else(|| "latest".to_owned());
        self.digest.map_or_else(tag, |digest| digest.to_string())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// Reads a reference, with or without "docker://" or "oci://" before it.
    fn from_str(text: &str) -> Result<Self, Error> {
        let shown = crate::label::quoted(text);
        let invalid = |why: &str| {
            let message = format!("{shown} names nothing in a registry: {why}");
            Error::new(ErrorKind::InvalidInput, message)
        };
        let text =
            ["docker://", "oci://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) if digest.starts_with("sha256:") => {
                let digest = digest.parse().map_err(|_| invalid("sha256: wants 64 hexadecimal digits"))?;
                (name, Some(digest))
            }
            Some(_) => return Err(invalid("only digests of sha256 are known")),
        };
        // The first colon after the last slash: before it, a colon is that of a port.
        let path = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[path..].split_once(':') {
            None => (name, None),
            Some((last, tag)) => (&name[..path + last.len()], Some(tag)),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(invalid("the tag has characters that no tag has, or is too long"));
        }
        let (registry, repository) = match name.split_once('/') {
            Some((host, rest)) if is_named_host(host) => (host, rest.to_owned()),
            _ => ("docker.io", name.to_owned()),
        };
        // As configs and credentials are looked up by it; a host that is one by its upper case alone keeps it.
        let lower = registry.to_ascii_lowercase();
        let registry = if is_named_host(&lower) { &*lower } else { registry };
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        let single = registry == "docker.io" && !repository.contains('/');
        let repository = if single { format!("library/{repository}") } else { repository };
        if !is_host(registry) {
            return Err(invalid("the host is none"));
        }
        if !repository.split('/').all(is_component) {
            return Err(invalid(
                "the repository is to be of lower-case letters and digits, with . _ - between them",
            ));
        }
        if registry.len() + repository.len() + 1 > LONGEST_NAME {
            return Err(invalid("it is longer than 255 characters"));
        }
        let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

fn is_named_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// A host name or an address, and perhaps a port.
pub(super) fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            return address.parse::<std::net::Ipv6Addr>().is_ok() && (port.is_empty() || is_port(port));
        }
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    host.split('.').all(label) && (port.is_empty() || is_port(port))
}

/// ":" and a number.
fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(':').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.is_some_and(|digits| digits.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Lower-case letters and digits, with ".", "_", "__" or any number of "-" between them.
pub(super) fn is_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = text.as_bytes().chunk_by(|a, b| alphanumeric(*a) == alphanumeric(*b));
    let valid = |run: &[u8]| {
        alphanumeric(run[0]) || matches!(run, b"." | b"_" | b"__") || run.iter().all(|byte| *byte == b'-')
    };
    let ends = text.as_bytes().first().zip(text.as_bytes().last());
    ends.is_some_and(|(first, last)| alphanumeric(*first) && alphanumeric(*last))
        && separators.into_iter().all(valid)
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let inner = |byte: u8| word(byte) || matches!(byte, b'.' | b'-');
    text.len() <= LONGEST_TAG && text.bytes().next().is_some_and(word) && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::Reference;

    #[test]
    fn defaults_are_those_of_docker() {
        let hex = "0123456789abcdef".repeat(4);
        for (text, wanted) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("docker://alpine:3", "docker.io/library/alpine:3"),
            ("oci://team/app", "docker.io/team/app:latest"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b/c:v1", "localhost:5000/a/b/c:v1"),
            ("host.example/app", "host.example/app:latest"),
            ("Host/app", "Host/app:latest"),
            ("Registry.Example/app", "registry.example/app:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest"),
            ("registry.example/a__b/c--d/e.f_g:_x.Y-1", "registry.example/a__b/c--d/e.f_g:_x.Y-1"),
            (&format!("registry.example/a@sha256:{hex}"), &format!("registry.example/a@sha256:{hex}")),
            (&format!("registry.example/a:t@sha256:{hex}"), &format!("registry.example/a:t@sha256:{hex}")),
        ] {
            let reference: Reference = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(reference.to_string(), wanted, "{text}");
            assert_eq!(wanted.parse::<Reference>().unwrap(), reference, "{wanted}");
        }
        let both: Reference = format!("a:t@sha256:{hex}").parse().unwrap();
        assert_eq!(both.target(), format!("sha256:{hex}"));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long = format!("registry.example/{}", "a/".repeat(130));
        for bad in [
            "",
            ":",
            "@",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "a b",
            "a\nb",
            "é",
            "a:",
            "a:.t",
            "a:t/b:",
            "a@sha256:00",
            "a@sha512:00",
            "a:b:c",
            "host.example:/a",
            "host.example:0/a",
            "host.example:99999/a",
            "-host.example/a",
            "../a",
            "a/../b",
            "host.example/..",
            "http://host/a",
            "[::g]/a",
            "user@host.example/a",
            "host.example?x/a",
            &format!("a:{}", "t".repeat(129)),
            &long,
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
