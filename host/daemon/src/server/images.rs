//! Images.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use axum::response::Response;

use super::peer::Peer;
use super::reply::{Params, Payload, Reply, Segment, json, lines};
use crate::api::Empty;
use crate::api::image::{CollectRequest, CollectedImage, Image, ImportRequest, PushRequest, UploadParams};
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
    lines(service.import(request, anywhere(peer)))
}

/// The body is the image: read as it arrives, however long that takes.
pub(super) async fn upload(
    State(service): Shared,
    Params(params): Params<UploadParams>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    lines(service.upload(params, length, body))
}

/// Root and the daemon's own user name any file, others those in the allowed directories.
pub(super) async fn push(
    State(service): Shared,
    Extension(peer): Extension<Peer>,
    Segment(name): Segment<String>,
    Payload(request): Payload<PushRequest>,
) -> Response {
    lines(service.push(name, request, anywhere(peer)))
}

fn anywhere(peer: Peer) -> bool {
    peer.uid == 0 || peer.uid == rustix::process::geteuid().as_raw()
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
