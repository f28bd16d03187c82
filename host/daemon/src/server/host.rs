//! Plugins, documents, the host and the daemon.

use std::sync::Arc;

use axum::extract::State;

use super::reply::{Payload, Reply, Segment, json};
use crate::api::document::{Conversion, ConvertRequest};
use crate::api::host::{Check, Health, HostInfo, Version};
use crate::api::plugin::{Plugin, Reload};
use crate::service::{Service, blocking};

type Shared = State<Arc<Service>>;

pub(super) async fn version() -> Reply<Version> {
    json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: "v1".to_owned(),
        pid: std::process::id(),
    })
}

pub(super) async fn health(State(service): Shared) -> Reply<Health> {
    json(service.health().await)
}

pub(super) async fn openapi() -> Reply<serde_json::Value> {
    json(super::openapi())
}

pub(super) async fn info(State(service): Shared) -> Reply<HostInfo> {
    json(service.info().await)
}

pub(super) async fn check(State(service): Shared) -> Reply<Vec<Check>> {
    json(service.check().await?)
}

pub(super) async fn convert(
    State(service): Shared,
    Payload(request): Payload<ConvertRequest>,
) -> Reply<Conversion> {
    json(service.convert(request).await?)
}

pub(super) async fn plugins(State(service): Shared) -> Reply<Vec<Plugin>> {
    json(service.plugins().list())
}

pub(super) async fn plugin(State(service): Shared, Segment(name): Segment<String>) -> Reply<Plugin> {
    json(service.plugins().inspect(&name)?)
}

pub(super) async fn reload(State(service): Shared) -> Reply<Reload> {
    json(blocking(move || service.reload()).await??)
}
