//! Volumes.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use witvirt_core::Name;

use super::reply::{Params, Payload, Reply, Segment, json, lines};
use crate::api::Empty;
use crate::api::machine::RemoveParams;
use crate::api::volume::{Volume, VolumeRequest};
use crate::service::Service;

type Shared = State<Arc<Service>>;

pub(super) async fn list(State(service): Shared) -> Reply<Vec<Volume>> {
    json(service.volumes().await?)
}

pub(super) async fn inspect(State(service): Shared, Segment(name): Segment<Name>) -> Reply<Volume> {
    json(service.volume(name).await?)
}

pub(super) async fn create(State(service): Shared, Payload(request): Payload<VolumeRequest>) -> Response {
    lines(service.create_volume(request))
}

pub(super) async fn remove(
    State(service): Shared,
    Segment(name): Segment<Name>,
    Params(params): Params<RemoveParams>,
) -> Reply<Empty> {
    service.remove_volume(name, params.force).await?;
    json(Empty {})
}
