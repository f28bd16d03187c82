//! Machines and their events.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use witvirt_core::Name;
use witvirt_machine::{MachineDetail, MachineStatus};

use super::peer::Peer;
use super::reply::{Failure, Params, Payload, Reply, Segment, json, lines, told};
use crate::api::Empty;
use crate::api::machine::{
    CreateRequest, EventParams, RemoveParams, StartParams, StopRequest, WaitParams, WaitReply,
};
use crate::service::{Service, with_progress_of};

type Shared = State<Arc<Service>>;

pub(super) async fn list(State(service): Shared) -> Reply<Vec<MachineStatus>> {
    json(service.machines().list())
}

pub(super) async fn create(
    State(service): Shared,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Payload(request): Payload<CreateRequest>,
) -> Result<Response, Failure> {
    let work = |watch| async move { service.create(request, peer.subject(), &watch).await };
    told(&headers, with_progress_of("create", work)).await
}

pub(super) async fn inspect(State(service): Shared, Segment(name): Segment<Name>) -> Reply<MachineDetail> {
    json(service.inspect(&name)?)
}

pub(super) async fn remove(
    State(service): Shared,
    Segment(name): Segment<Name>,
    Params(params): Params<RemoveParams>,
) -> Reply<Empty> {
    service.machines().remove(&name, params.force).await?;
    json(Empty {})
}

pub(super) async fn start(
    State(service): Shared,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Segment(name): Segment<Name>,
    Params(params): Params<StartParams>,
) -> Result<Response, Failure> {
    let work = |watch| async move { service.start(&name, params.lazy, peer.subject(), &watch).await };
    told(&headers, with_progress_of("start", work)).await
}

pub(super) async fn stop(
    State(service): Shared,
    Segment(name): Segment<Name>,
    Payload(request): Payload<StopRequest>,
) -> Reply<MachineStatus> {
    service.machines().stop(&name, request.timeout.map(Duration::from_secs)).await?;
    json(service.machines().get(&name)?)
}

pub(super) async fn restart(
    State(service): Shared,
    Extension(peer): Extension<Peer>,
    Segment(name): Segment<Name>,
    Payload(request): Payload<StopRequest>,
) -> Reply<MachineStatus> {
    json(service.restart(&name, request.timeout.map(Duration::from_secs), peer.subject()).await?)
}

pub(super) async fn pause(State(service): Shared, Segment(name): Segment<Name>) -> Reply<MachineStatus> {
    json(service.pause(&name).await?)
}

pub(super) async fn resume(State(service): Shared, Segment(name): Segment<Name>) -> Reply<MachineStatus> {
    json(service.resume(&name).await?)
}

pub(super) async fn kill(State(service): Shared, Segment(name): Segment<Name>) -> Reply<MachineStatus> {
    service.machines().kill(&name).await?;
    json(service.machines().get(&name)?)
}

pub(super) async fn wait(
    State(service): Shared,
    Segment(name): Segment<Name>,
    Params(params): Params<WaitParams>,
) -> Reply<WaitReply> {
    let timeout = params.timeout.map(Duration::from_secs);
    json(WaitReply { status: service.machines().wait(&name, params.condition, timeout).await? })
}

pub(super) async fn events(State(service): Shared, Params(params): Params<EventParams>) -> Response {
    lines(service.events(params.machine))
}
