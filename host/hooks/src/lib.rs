//! KubeVirt's hook protocol, both ways.
//!
//! virt-launcher calls hook sidecars over gRPC on unix sockets: it asks each socket what it is (`Info`), lets it edit the
//! domain before it is defined (`OnDefineDomain`) and the data of cloud-init before its disk is made (`PreCloudInitIso`), and
//! tells it when the machine has ended (`Shutdown`, v1alpha3). KubeVirt 1.9 has a second service for its structured plugins
//! (`MutateDomain`). [`server`] speaks as such a sidecar, for whatever implements [`server::Hooks`]; [`client`] speaks as the
//! launcher and is a [`witvirt_core::hook::DomainHook`].
//!
//! The messages are those of `pkg/hooks/*/api_*.proto` and `pkg/hooks/plugins/v1alpha1` of KubeVirt, written down in
//! [`protocol`] and its private neighbours by hand: they are frozen, and a build without `protoc` is a simpler one.

#![forbid(unsafe_code)]

pub mod client;
pub mod cloud_init;
mod message;
pub mod protocol;
pub mod server;
