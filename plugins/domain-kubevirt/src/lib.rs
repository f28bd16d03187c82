//! KubeVirt manifests to libvirt domain XML.

mod manifest;
mod quantity;
mod settings;
mod tree;
mod xml;

pub use manifest::ReadError;
pub use settings::{HostPorts, OtherNetworks, Settings};
pub use tree::ParseError;
