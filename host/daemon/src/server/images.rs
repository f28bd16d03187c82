//! Images.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::peer::Peer;
use super::reply::{Params, Payload, Reply, Segment, json, lines};
use crate::api::Empty;
use crate::api::image::{CollectRequest, CollectedImage, Image, ImportRequest};
use crate::api::machine::RemoveParams;
use crate::service::Service;

type Shared = State<Arc<Service>>;

pub(super) async fn list(State(service): Shared) -> Reply<Vec<Image>> {
    json(service.images().await?)
}

pub(super) async fn inspect(State(service): Shared, Segment(name): Segment<String>) -> Reply<Image> {
    json(service.image(name).await?)
}

pub(super) async fn remove(
    State(service): Shared,
    Segment(name): Segment<String>,
    Params(params): Params<RemoveParams>,
) -> Reply<Empty> {
    service.remove_image(name, params.force).await?;
    json(Empty {})
}

/// Root and the daemon's own user can read every file that the daemon can; others import from the allowed directories.
pub(super) async fn import(
    State(service): Shared,
    Extension(peer): Extension<Peer>,
    Payload(request): Payload<ImportRequest>,
) -> Response {
    let anywhere = peer.uid == 0 || peer.uid == rustix::process::geteuid().as_raw();
    lines(service.import(request, anywhere))
}

pub(super) async fn check(State(service): Shared, Segment(name): Segment<String>) -> Response {
    lines(service.check_image(name))
}

pub(super) async fn collect(
    State(service): Shared,
    Payload(request): Payload<CollectRequest>,
) -> Reply<Vec<CollectedImage>> {
    json(service.collect_images(request).await?)
}
