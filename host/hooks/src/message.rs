//! The protocol's messages. Field numbers are KubeVirt's; those of `OnDefineDomain` and `PreCloudInitIso` are the same in
//! every version that has the call.

use prost::Message;

/// `kubevirt.hooks.info.InfoParams`, and every other message without fields.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Nothing {}

/// `kubevirt.hooks.info.InfoResult`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct InfoResult {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) hook_points: Vec<Subscription>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) versions: Vec<String>,
}

/// `kubevirt.hooks.info.HookPoint`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Subscription {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, tag = "2")]
    pub(crate) priority: i32,
}

/// `kubevirt.hooks.v1alpha*.OnDefineDomainParams`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OnDefineDomainParams {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) domain_xml: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) vmi: Vec<u8>,
}

/// `kubevirt.hooks.v1alpha*.OnDefineDomainResult`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OnDefineDomainResult {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) domain_xml: Vec<u8>,
}

/// `kubevirt.hooks.v1alpha{2,3}.PreCloudInitIsoParams`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PreCloudInitIsoParams {
    /// JSON of a CloudInitNoCloudSource, for sidecars older than the field below.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) no_cloud_source: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) vmi: Vec<u8>,
    /// JSON of a CloudInitData.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) data: Vec<u8>,
}

/// `kubevirt.hooks.v1alpha{2,3}.PreCloudInitIsoResult`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PreCloudInitIsoResult {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) no_cloud_source: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) data: Vec<u8>,
}

/// `kubevirt.hooks.plugins.v1alpha1.MutateDomainRequest`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MutateDomainRequest {
    /// "libvirt"
    #[prost(string, tag = "1")]
    pub(crate) domain_type: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) domain: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) vmi: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    pub(crate) sidecar_context: Option<SidecarContext>,
}

/// `kubevirt.hooks.plugins.v1alpha1.SidecarContext`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SidecarContext {
    /// "Boot", "MigrationSource" or "MigrationTarget"
    #[prost(string, tag = "1")]
    pub(crate) invocation_context: String,
}

/// `kubevirt.hooks.plugins.v1alpha1.MutateDomainResponse`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MutateDomainResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) domain: Vec<u8>,
}
