//! What users write to name a source.

use std::path::{Path, PathBuf};

use witvirt_core::Name;
use witvirt_fetch::Reference;
use witvirt_fetch::registry::Platform;

use super::invalid;
use crate::api::{Error, ErrorKind};

/// Where an image is to come from.
#[derive(Debug)]
pub(super) enum Place {
    /// A file or directory of this host.
    Here(PathBuf),
    /// A URL.
    Http(String),
    /// An artifact in a registry.
    Registry(Reference),
}

impl Place {
    /// # Errors
    /// When it is none of them, with what they look like.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        match text.split_once("://") {
            Some(("http" | "https", _)) => Ok(Self::Http(text.to_owned())),
            Some(("docker" | "oci", _)) => Ok(Self::Registry(text.parse()?)),
            Some((scheme, _)) => {
                let message = format!("no images come from \"{}://\"", scheme.escape_debug());
                Err(invalid(message)
                    .hint("there are: http://, https://, docker:// (the same: oci://), and files"))
            }
            None if text.starts_with('/') => Ok(Self::Here(text.into())),
            None => Err(invalid(format!("\"{}\" is no absolute path", text.escape_debug()))),
        }
    }

    /// What an image from there is called unless the user says so.
    pub(super) fn name(&self) -> Result<Name, Error> {
        match self {
            Self::Here(path) => name_of(path),
            Self::Http(url) => name_of(Path::new(without_query(url).rsplit('/').next().unwrap_or_default())),
            Self::Registry(reference) => {
                let last = reference.repository().rsplit('/').next().unwrap_or_default();
                // Not a file's name: what follows a dot belongs to it.
                name_from(last).ok_or_else(|| nameless(last))
            }
        }
    }
}

/// What an image from a source is called unless the user says so.
///
/// # Errors
/// When it is no source, or nothing usable is left of its name.
pub(in crate::service) fn name_of_source(text: &str) -> Result<Name, Error> {
    Place::parse(text)?.name()
}

/// A source in messages: what may be a password is not shown.
pub(super) fn shown(source: &str) -> String {
    let Some((scheme, rest)) = source.split_once("://") else { return source.escape_debug().to_string() };
    let authority = rest.split('/').next().unwrap_or_default();
    let rest = match authority.rfind('@') {
        Some(at) if scheme.starts_with("http") => &rest[at + 1..],
        _ => rest,
    };
    format!("{scheme}://{}", without_query(rest).escape_debug())
}

fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// A name for an image from its file's name: "Debian 12.qcow2" becomes "debian-12".
///
/// # Errors
/// When nothing usable is left of it.
pub fn name_of(path: &Path) -> Result<Name, Error> {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    name_from(&stem).ok_or_else(|| nameless(&path.display().to_string()))
}

fn name_from(text: &str) -> Option<Name> {
    let usable: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' })
        .take(63)
        .collect();
    Name::new(usable.trim_matches(|c: char| !c.is_ascii_alphanumeric())).ok()
}

fn nameless(source: &str) -> Error {
    let message = format!("no name can be made of {}", source.escape_debug());
    Error::new(ErrorKind::Invalid, message).hint("give one with --name")
}

/// "linux/arm64", "linux/arm/v7"; this host's for a Linux guest when absent.
///
/// # Errors
/// For anything else.
pub(in crate::service) fn platform(text: Option<&str>) -> Result<Platform, Error> {
    let Some(text) = text else { return Ok(Platform::new("linux", own_architecture())) };
    let parts: Vec<&str> = text.split('/').collect();
    match parts[..] {
        [os, architecture] if !os.is_empty() && !architecture.is_empty() => {
            Ok(Platform::new(os, architecture))
        }
        [os, architecture, variant] if ![os, architecture, variant].contains(&"") => {
            Ok(Platform { variant: Some(variant.to_owned()), ..Platform::new(os, architecture) })
        }
        _ => {
            Err(invalid(format!("\"{}\" is no platform", text.escape_debug()))
                .hint("write one like linux/arm64"))
        }
    }
}

/// As OCI calls it.
fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, name_of, platform, shown};

    #[test]
    fn names_come_from_the_last_part() {
        for (path, name) in [("/a/Debian 12.qcow2", "debian-12"), ("x.tar.img", "x.tar"), ("/-a-.raw", "a")] {
            assert_eq!(name_of(path.as_ref()).unwrap().as_str(), name);
        }
        assert!(name_of("/---.img".as_ref()).is_err());
        for (source, name) in [
            ("https://host/a/Noble.img?x=/y.z#f", "noble"),
            ("docker://registry.example/containerdisks/fedora:40", "fedora"),
            ("oci://localhost:5000/a/b.c:t", "b.c"),
            ("/srv/disk.raw", "disk"),
        ] {
            assert_eq!(Place::parse(source).unwrap().name().unwrap().as_str(), name, "{source}");
        }
        assert!(Place::parse("http://host/").unwrap().name().is_err());
    }

    #[test]
    fn sources_that_are_none() {
        for bad in
            ["", "disk.img", "ftp://host/a", "file:///etc/passwd", "json:{}", "docker://", "docker://A/b c"]
        {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("https://joe:hunter2@host/a?token=x"), "https://host/a");
        assert_eq!(shown("https://joe:hun/ter2@host"), "https://joe:hun/ter2@host", "no URL has that");
        assert_eq!(shown("docker://host/a@sha256:00"), "docker://host/a@sha256:00");
        assert_eq!(shown("/a\n"), "/a\\n");
    }

    #[test]
    fn platforms() {
        let arm = platform(Some("linux/arm/v7")).unwrap();
        assert_eq!(
            (arm.os.as_str(), arm.architecture.as_str(), arm.variant.as_deref()),
            ("linux", "arm", Some("v7"))
        );
        assert_eq!(platform(None).unwrap().os, "linux");
        for bad in ["", "linux", "linux/", "/arm", "a/b/c/d", "a//b"] {
            assert!(platform(Some(bad)).is_err(), "{bad}");
        }
    }
}
