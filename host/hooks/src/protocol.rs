//! Names that both sides of the protocol share.

use std::fmt;
use std::str::FromStr;

/// The largest domain, or cloud-init data, that is sent or taken, in bytes.
pub const LARGEST_DOCUMENT: usize = 4 << 20;
/// What a message may have besides: names of fields, lengths, and a VirtualMachineInstance (etcd keeps none of more than
/// 1.5 MiB).
pub(crate) const REST_OF_MESSAGE: usize = 4 << 20;

/// A version of the `Callbacks` service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `OnDefineDomain`
    V1Alpha1,
    /// `PreCloudInitIso` too
    V1Alpha2,
    /// `Shutdown` too
    V1Alpha3,
}

impl Version {
    /// All of them, newest first: the order in which KubeVirt prefers them.
    pub const ALL: [Self; 3] = [Self::V1Alpha3, Self::V1Alpha2, Self::V1Alpha1];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1Alpha1 => "v1alpha1",
            Self::V1Alpha2 => "v1alpha2",
            Self::V1Alpha3 => "v1alpha3",
        }
    }

    /// Whether this version has the call.
    pub fn has(self, point: HookPoint) -> bool {
        match point {
            HookPoint::OnDefineDomain => true,
            HookPoint::PreCloudInitIso => self >= Self::V1Alpha2,
            HookPoint::Shutdown => self >= Self::V1Alpha3,
        }
    }

    /// The newest version that both sides speak. Words that are no version known here are passed over.
    pub(crate) fn newest_of<'w>(words: impl IntoIterator<Item = &'w str>) -> Option<Self> {
        words.into_iter().filter_map(|word| word.parse().ok()).max()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no version of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is no version of the hook protocol; there are: v1alpha3, v1alpha2, v1alpha1", .0.escape_debug())]
pub struct UnknownVersion(pub String);

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(word: &str) -> Result<Self, UnknownVersion> {
        let found = Self::ALL.into_iter().find(|version| version.as_str() == word);
        found.ok_or_else(|| UnknownVersion(word.chars().take(64).collect()))
    }
}

/// A call that sidecars subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookPoint {
    /// The domain may be edited before it is defined.
    OnDefineDomain,
    /// The data of cloud-init may be edited before its disk is made.
    PreCloudInitIso,
    /// The machine has ended.
    Shutdown,
}

impl HookPoint {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OnDefineDomain, Self::PreCloudInitIso, Self::Shutdown];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnDefineDomain => "OnDefineDomain",
            Self::PreCloudInitIso => "PreCloudInitIso",
            Self::Shutdown => "Shutdown",
        }
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call of one of the three services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Info,
    Callback(Version, HookPoint),
    MutateDomain,
}

const INFO: &str = "/kubevirt.hooks.info.Info/Info";
const MUTATE_DOMAIN: &str = "/kubevirt.hooks.plugins.v1alpha1.DomainHookService/MutateDomain";

impl Call {
    /// From the path of a request.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            INFO => return Some(Self::Info),
            MUTATE_DOMAIN => return Some(Self::MutateDomain),
            _ => {}
        }
        let (service, method) = path.strip_prefix("/kubevirt.hooks.")?.split_once('/')?;
        let version: Version = service.strip_suffix(".Callbacks")?.parse().ok()?;
        let point = HookPoint::ALL.into_iter().find(|point| point.as_str() == method)?;
        version.has(point).then_some(Self::Callback(version, point))
    }

    /// The path of a request.
    pub(crate) fn path(self) -> String {
        match self {
            Self::Info => INFO.to_owned(),
            Self::MutateDomain => MUTATE_DOMAIN.to_owned(),
            Self::Callback(version, point) => format!("/kubevirt.hooks.{version}.Callbacks/{point}"),
        }
    }

    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Info => "Info",
            Self::MutateDomain => "MutateDomain",
            Self::Callback(_, point) => point.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_calls_are_the_same_both_ways() {
        let mut count = 0;
        for version in Version::ALL {
            for point in HookPoint::ALL {
                let call = Call::Callback(version, point);
                let found = Call::of(&call.path());
                assert_eq!(found, version.has(point).then_some(call), "{}", call.path());
                count += usize::from(found.is_some());
            }
        }
        assert_eq!(count, 6);
        assert_eq!(Call::of(INFO), Some(Call::Info));
        assert_eq!(Call::of(MUTATE_DOMAIN), Some(Call::MutateDomain));
        for odd in [
            "",
            "/",
            "/kubevirt.hooks.v1alpha4.Callbacks/OnDefineDomain",
            "/kubevirt.hooks.v1alpha3.Callbacks/",
        ] {
            assert_eq!(Call::of(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_newest_known_version_is_spoken() {
        assert_eq!(Version::newest_of(["v1alpha1", "v1alpha2"]), Some(Version::V1Alpha2));
        assert_eq!(Version::newest_of(["v2", "v1alpha1", ""]), Some(Version::V1Alpha1));
        assert_eq!(Version::newest_of(["v1"]), None);
    }
}
