//! KubeVirt manifests to libvirt domain XML.
//!
//! A text holds a VirtualMachine or VirtualMachineInstance of kubevirt.io/v1 or v1alpha3 and what it names: Secrets, ConfigMaps,
//! DataVolumes, claims, instancetypes and preferences. The machine is expanded as a cluster would do it ([`context`] shows the
//! result), then becomes the domain XML that KubeVirt's launcher would make, as far as it does not speak of pods.
//!
//! What the manifest says is either carried over or reported with its path, field by field:
//! - **error**: hardware or contents that the guest would miss, or what a cluster would refuse. The host refuses the machine.
//! - **warning**: the machine runs, but this part is not honoured; or KubeVirt knows no such field.
//! - **info**: means nothing outside of a cluster, or needs to be known only by who wonders.
//!
//! Volumes and ports that libvirt has no words for stand in `<metadata>` (`urn:witvirt:domain:1`): domain-libvirt reads them.
//!
//! The fields are those of KubeVirt's OpenAPI document, the defaults those of its webhooks and launcher (August 2026).

mod converter;
mod devices;
mod domain;
mod draft;
mod expand;
mod manifest;
mod metadata;
mod quantity;
mod settings;
mod tree;
mod volumes;

pub use converter::{Conversion, KubeVirt, context, convert, machines};
pub use manifest::ReadError;
pub use settings::{HostPorts, OtherNetworks, Settings};
pub use tree::ParseError;

witvirt_sdk::domain_converter!(KubeVirt);
