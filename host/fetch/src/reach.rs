//! Where requests may lead.
//!
//! Users name URLs, registries and (by redirects and DNS) whatever those lead to, and the daemon has more reach than they: its
//! host's loopback, the metadata services of clouds, whose answers are credentials. So an address is judged when it is known
//! and before it is connected to, each time: names are resolved here, and what was judged is what is connected to.
//!
//! Refused unless the config allows it: loopback, link-local, multicast, unspecified and reserved addresses, and the metadata
//! services that lie elsewhere. Private networks are allowed: registries and image servers are usual there. Registries and
//! mirrors that the config names may be anywhere, the operator chose them; so may the proxy, which resolves names itself.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use serde::Deserialize;
use tower_service::Service;

use crate::config::FetchConfig;

/// The rules. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reach(Arc<Rules>);

#[derive(Debug, Default)]
struct Rules {
    allow: Vec<Network>,
    deny: Vec<Network>,
    /// Hosts (with their ports, where those are not the scheme's) that the config names.
    named: BTreeSet<String>,
}

/// An address that a request led to and must not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    host: String,
    what: &'static str,
}

/// A network: "10.0.0.0/8", "fd00::/8", or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidNetwork;

impl Reach {
    pub(crate) fn of(config: &FetchConfig) -> Self {
        let host = |name: &String| name.split('/').next().unwrap_or_default().to_ascii_lowercase();
        let named = config.registry.keys().map(host);
        let mirrors = config.registry.values().flat_map(|own| own.mirrors.iter().map(host));
        Self(Arc::new(Rules {
            allow: config.http.allow_networks.clone(),
            deny: config.http.deny_networks.clone(),
            named: named.chain(mirrors).collect(),
        }))
    }

    /// Whether the config names this server.
    pub(crate) fn is_named(&self, uri: &Uri) -> bool {
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let usual = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        match uri.port_u16() {
            Some(port) if port != usual => self.0.named.contains(&format!("{host}:{port}")),
            _ => self.0.named.contains(&host) || self.0.named.contains(&format!("{host}:{usual}")),
        }
    }

    /// Judges a URL whose host is an address; of names, the addresses are judged when they are known.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn judge_literal(&self, uri: &Uri) -> Result<(), Refused> {
        let host = uri.host().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        address.map_or(Ok(()), |address| self.judge(address, host))
    }

    fn judge(&self, address: IpAddr, host: &str) -> Result<(), Refused> {
        let address = embedded(address);
        let longest = |networks: &[Network]| {
            networks.iter().filter(|network| network.contains(address)).map(|network| network.prefix).max()
        };
        let (allowed, denied) = (longest(&self.0.allow), longest(&self.0.deny));
        let what = match (allowed, denied) {
            (None, None) => special(address),
            (allowed, denied) if allowed > denied => None,
            _ => Some("in a network of deny-networks"),
        };
        what.map_or(Ok(()), |what| Err(Refused { host: host.to_owned(), what }))
    }
}

/// An IPv4 address in the clothes of an IPv6 address, as itself: mapped and compatible (RFC 4291), NAT64 (RFC 6052), 6to4
/// (RFC 3056).
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [_, b, c, .., y, z] = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] if v6 != Ipv6Addr::UNSPECIFIED && v6 != Ipv6Addr::LOCALHOST => {
            v4(y, z)
        }
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => v4(y, z),
        [0x2002, ..] => v4(b, c),
        _ => address,
    }
}

/// What an address is that nobody may be led to.
fn special(address: IpAddr) -> Option<&'static str> {
    const METADATA: &str = "the metadata service of a cloud";
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [0, ..] => Some("an unspecified address"),
            [127, ..] => Some("loopback of the daemon's host"),
            [169, 254, ..] => Some("link-local, where clouds have their metadata"),
            // Alibaba, Oracle, Azure.
            [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => Some(METADATA),
            [224..=239, ..] => Some("a multicast address"),
            [240..=255, ..] => Some("a reserved address"),
            _ => None,
        },
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Some("an unspecified address"),
            [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback of the daemon's host"),
            [0xfe80..=0xfebf, ..] => Some("link-local"),
            // Amazon, Google.
            [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..] => Some(METADATA),
            [0xff00..=0xffff, ..] => Some("a multicast address"),
            _ => None,
        },
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = crate::label::quoted(&self.host);
        write!(f, "{host} is {}: the operator allows it with allow-networks in [http]", self.what)
    }
}

impl std::error::Error for Refused {}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let ((own, width), (other, others)) = (bits(self.address), bits(address));
        width == others && (self.prefix == 0 || (own ^ other) >> (128 - u32::from(self.prefix)) == 0)
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), |prefix| prefix.parse().map_err(|_| InvalidNetwork))?;
        if prefix > most { Err(InvalidNetwork) } else { Ok(Self { address, prefix }) }
    }
}

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a network is an address with the length of its prefix, like \"10.0.0.0/8\", or an address",
        )
    }
}

impl std::error::Error for InvalidNetwork {}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Network {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F.:]+(/[0-9]{1,3})?$" })
    }
}

/// Resolves names to addresses that may be reached.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    system: GaiResolver,
    reach: Reach,
}

impl Resolver {
    pub(crate) fn new(reach: &Reach) -> Self {
        Self { system: GaiResolver::new(), reach: reach.clone() }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.system.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let host = name.as_str().to_owned();
        let (resolving, reach) = (self.system.call(name), self.reach.clone());
        Box::pin(async move {
            let (mut good, mut refused) = (Vec::new(), None);
            for address in resolving.await? {
                match reach.judge(address.ip(), &host) {
                    Ok(()) => good.push(address),
                    Err(error) => refused = Some(error),
                }
            }
            match refused {
                Some(error) if good.is_empty() => Err(error.into()),
                _ => Ok(good.into_iter()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Network, Reach};
    use crate::config::FetchConfig;

    fn reach(text: &str) -> Reach {
        Reach::of(&toml::from_str::<FetchConfig>(text).unwrap())
    }

    fn reaches(reach: &Reach, address: &str) -> bool {
        reach.judge(address.parse().unwrap(), "host").is_ok()
    }

    #[test]
    fn what_nobody_is_led_to() {
        let reach = Reach::default();
        for refused in [
            "127.0.0.1",
            "127.255.0.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!reaches(&reach, refused), "{refused}");
        }
        for good in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "8.8.8.8",
            "fd12::1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(reaches(&reach, good), "{good}");
        }
    }

    #[test]
    fn the_config_says_otherwise_and_the_longest_prefix_counts() {
        let reach = reach(
            "[http]\nallow-networks = [\"127.0.0.1\", \"10.1.0.0/16\", \"fe80::/64\"]\n\
             deny-networks = [\"10.0.0.0/8\", \"0.0.0.0/0\"]",
        );
        for (address, expected) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("127.0.0.2", false),
            ("10.1.2.3", true),
            ("10.2.2.3", false),
            ("8.8.8.8", false),
            ("fe80::7", true),
            ("fe80:1::7", false),
            ("2001:db8::1", true),
        ] {
            assert_eq!(reaches(&reach, address), expected, "{address}");
        }
        for bad in ["", "10.0.0.0/33", "host", "10.0.0.0/8/8", "::/129", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn registries_of_the_config_are_where_they_are() {
        let reach =
            reach("[registry.\"localhost:5000\"]\nmirrors = [\"127.0.0.1:81/hub\", \"mirror.example\"]");
        let named = |url: &str| reach.is_named(&url.parse().unwrap());
        assert!(named("https://localhost:5000/v2/") && named("http://127.0.0.1:81/v2/"));
        assert!(named("https://mirror.example/v2/") && named("https://Mirror.example:443/"));
        assert!(
            !named("https://localhost/")
                && !named("http://127.0.0.1/")
                && !named("https://x.mirror.example/")
        );
    }
}
