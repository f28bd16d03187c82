//! Every route of API version 1.

use super::route::{Answer, Route};
use super::{console, host, images, machines, volumes};
use crate::api::document::{Conversion, ConvertRequest};
use crate::api::host::{Check, Health, HostInfo, Version};
use crate::api::image::{
    CheckReport, CollectRequest, CollectedImage, Image, ImportReply, ImportRequest, PushReply, PushRequest,
    UploadParams,
};
use crate::api::machine::{
    ConsoleParams, CreateReply, CreateRequest, EventParams, LogParams, RemoveParams, StartParams,
    StopRequest, WaitParams, WaitReply,
};
use crate::api::plugin::{Plugin, Reload};
use crate::api::volume::{Volume, VolumeRequest};
use crate::api::{Empty, Progress};
use crate::config::Role;
use witvirt_machine::{MachineDetail, MachineEvent, MachineStatus};

/// The table.
pub(super) fn all() -> Vec<Route> {
    let mut routes = daemon();
    routes.extend(machines());
    routes.extend(images());
    routes.extend(volumes());
    routes
}

fn daemon() -> Vec<Route> {
    vec![
        Route::get("/v1/version", "version", "Which daemon this is.", host::version)
            .role(Role::None)
            .json::<Version>(),
        Route::get("/v1/health", "health", "Whether the daemon does its work.", host::health)
            .json::<Health>(),
        Route::get("/v1/openapi.json", "openapi", "This document.", host::openapi)
            .json::<serde_json::Value>(),
        Route::get("/v1/host", "hostInfo", "What machines have to share.", host::info).json::<HostInfo>(),
        Route::get(
            "/v1/host/check",
            "hostCheck",
            "Whether machines can run here, and how well.",
            host::check,
        )
        .json::<Vec<Check>>(),
        Route::post(
            "/v1/domain/convert",
            "convert",
            "Take a document through a pipeline and keep each stage.",
            host::convert,
        )
        .role(Role::Full)
        .body::<ConvertRequest>()
        .json::<Conversion>(),
        Route::get("/v1/plugins", "listPlugins", "The plugins that serve.", host::plugins)
            .json::<Vec<Plugin>>(),
        Route::post(
            "/v1/plugins/reload",
            "reloadPlugins",
            "Read the config and load the plugins again.",
            host::reload,
        )
        .json::<Reload>(),
        Route::get("/v1/plugins/{name}", "inspectPlugin", "One plugin.", host::plugin).json::<Plugin>(),
    ]
}

fn machines() -> Vec<Route> {
    vec![
        Route::get("/v1/machines", "listMachines", "All machines.", machines::list)
            .json::<Vec<MachineStatus>>(),
        Route::post(
            "/v1/machines",
            "createMachine",
            "Define a machine from a spec or a document.",
            machines::create,
        )
        .body::<CreateRequest>()
        .told::<CreateReply>(),
        Route::get("/v1/machines/{name}", "inspectMachine", "All of a machine.", machines::inspect)
            .json::<MachineDetail>(),
        Route::delete(
            "/v1/machines/{name}",
            "removeMachine",
            "Remove a machine with its own disks.",
            machines::remove,
        )
        .query::<RemoveParams>()
        .json::<Empty>()
        .unbounded(),
        Route::post("/v1/machines/{name}/start", "startMachine", "Start it.", machines::start)
            .query::<StartParams>()
            .told::<CreateReply>(),
        Route::post(
            "/v1/machines/{name}/stop",
            "stopMachine",
            "Ask the guest to power off, then pull the plug.",
            machines::stop,
        )
        .body::<StopRequest>()
        .json::<MachineStatus>()
        .unbounded(),
        Route::post(
            "/v1/machines/{name}/restart",
            "restartMachine",
            "Stop it and start it again.",
            machines::restart,
        )
        .body::<StopRequest>()
        .json::<MachineStatus>()
        .unbounded(),
        Route::post("/v1/machines/{name}/pause", "pauseMachine", "Stop the virtual CPUs.", machines::pause)
            .json::<MachineStatus>(),
        Route::post(
            "/v1/machines/{name}/resume",
            "resumeMachine",
            "Run the virtual CPUs again.",
            machines::resume,
        )
        .json::<MachineStatus>(),
        Route::post("/v1/machines/{name}/kill", "killMachine", "Pull the plug.", machines::kill)
            .json::<MachineStatus>(),
        Route::get("/v1/machines/{name}/wait", "waitMachine", "Wait for a condition.", machines::wait)
            .query::<WaitParams>()
            .json::<WaitReply>()
            .unbounded(),
        Route::get("/v1/machines/{name}/console", "attachConsole", "Attach to the console.", console::attach)
            .role(Role::Full)
            .query::<ConsoleParams>()
            .answer(Answer::Upgrade),
        Route::get(
            "/v1/machines/{name}/logs",
            "machineLogs",
            "What it printed on its console.",
            console::logs,
        )
        .query::<LogParams>()
        .answer(Answer::Bytes),
        Route::get("/v1/events", "events", "What happens to machines, from now on.", machines::events)
            .query::<EventParams>()
            .lines::<MachineEvent>(),
    ]
}

fn images() -> Vec<Route> {
    vec![
        Route::get("/v1/images", "listImages", "All images.", images::list).json::<Vec<Image>>(),
        Route::post(
            "/v1/images",
            "importImage",
            "Bring an image into the store: a file of this host, a URL, an artifact in a registry.",
            images::import,
        )
        .body::<ImportRequest>()
        .lines::<Progress<ImportReply>>(),
        Route::put(
            "/v1/images",
            "uploadImage",
            "Bring the image in the request's body into the store.",
            images::upload,
        )
        .query::<UploadParams>()
        .bytes_body()
        .lines::<Progress<ImportReply>>(),
        Route::post(
            "/v1/images/collect",
            "collectImages",
            "Remove images that no machine uses, by age and free space.",
            images::collect,
        )
        .body::<CollectRequest>()
        .json::<Vec<CollectedImage>>(),
        Route::get("/v1/images/{name}", "inspectImage", "One image, by name or digest.", images::inspect)
            .json::<Image>(),
        Route::delete(
            "/v1/images/{name}",
            "removeImage",
            "Remove a name, and the image with its last one.",
            images::remove,
        )
        .query::<RemoveParams>()
        .json::<Empty>(),
        Route::post("/v1/images/{name}/push", "pushImage", "Put an image into a registry.", images::push)
            .body::<PushRequest>()
            .lines::<Progress<PushReply>>(),
        Route::post("/v1/images/{name}/check", "checkImage", "Hash an image again.", images::check)
            .lines::<Progress<CheckReport>>(),
    ]
}

fn volumes() -> Vec<Route> {
    vec![
        Route::get("/v1/volumes", "listVolumes", "All volumes.", volumes::list).json::<Vec<Volume>>(),
        Route::post("/v1/volumes", "createVolume", "Make a volume, empty or from an image.", volumes::create)
            .body::<VolumeRequest>()
            .lines::<Progress<Volume>>(),
        Route::get("/v1/volumes/{name}", "inspectVolume", "One volume.", volumes::inspect).json::<Volume>(),
        Route::delete(
            "/v1/volumes/{name}",
            "removeVolume",
            "Remove a volume with its content.",
            volumes::remove,
        )
        .query::<RemoveParams>()
        .json::<Empty>(),
    ]
}
