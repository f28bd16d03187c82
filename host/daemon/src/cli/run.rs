//! `witvirt run`: a machine and its console, on a daemon or hosted by this process.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use witvirt_core::Name;
use witvirt_core::spec::{DiskSource, MachineSpec};
use witvirt_machine::{Condition, MachineDetail, MachineStatus};

use super::args::RunArgs;
use super::input::{self, Input};
use super::machine::{path, starting, wait_for, warn};
use super::output::clean;
use super::terminal::{Left, attach};
use super::{Context, image, local};
use crate::api::document::ConvertRequest;
use crate::api::image::{Image, ImportRequest};
use crate::api::machine::{CreateReply, CreateRequest, Definition, StopRequest};
use crate::api::{self, Empty, ErrorKind};
use crate::client::{Client, encode};
use crate::server::{self, Socket};
use crate::service::{Service, refused};

pub(super) async fn run(context: &Context, args: RunArgs) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let input = input::classify(&args.document)?;
    if !args.no_daemon && client.reachable().await {
        return on(&client, input, &args, Host::Daemon).await;
    }
    if args.detach {
        bail!(
            "--detach needs a daemon, and none answers at {}: start one with `witvirt daemon`",
            client.socket().display()
        );
    }
    let alone = Alone::start(context, &input, &args).await?;
    let result = on(&alone.client, input, &args, Host::Here).await;
    alone.end().await;
    result
}

/// Who keeps the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    /// A daemon, which goes on when this process ends.
    Daemon,
    /// This process.
    Here,
}

async fn on(client: &Client, input: Input, args: &RunArgs, host: Host) -> anyhow::Result<ExitCode> {
    let definition = define(client, input, args).await?;
    let name = create(client, definition, args.lazy).await?;
    if args.detach {
        println!("{name}");
        return Ok(ExitCode::SUCCESS);
    }
    let left = watch(client, &name).await?;
    let status = leave(client, &name, left, host).await?;
    finish(client, &name, status, args.rm).await
}

/// The machine, or the document that becomes one. An image file is imported first.
async fn define(client: &Client, input: Input, args: &RunArgs) -> anyhow::Result<Definition> {
    let image = match input {
        Input::Definition(definition) => {
            let said = args.memory.is_some() || args.cpus.is_some() || args.format.is_some();
            if said || args.sha256.is_some() {
                bail!(
                    "--memory, --cpus, --format and --sha256 are for images: {} says them itself",
                    args.document.file()
                );
            }
            return Ok(definition);
        }
        Input::Image(name) => {
            let found: Result<Image, api::Error> = client.get(&format!("/v1/images/{}", encode(&name))).await;
            found.map_err(|error| match error.kind {
                ErrorKind::NotFound => {
                    error.hint(format!("{name} is no file either: import one with `witvirt image import`"))
                }
                _ => error,
            })?;
            name
        }
        Input::Remote(url) => {
            let name = name_of_url(args, &url)?;
            let source = DiskSource::Remote { url, format: args.format.clone(), sha256: args.sha256 };
            let spec = input::machine_over(source, &name, args.memory, args.cpus)?;
            return Ok(Definition::Spec(Box::new(spec)));
        }
        Input::ImageFile(file) => {
            let request = ImportRequest {
                source: image::whole(&file)?,
                format: args.format.clone(),
                replace: true,
                ..ImportRequest::default()
            };
            let reply = image::import(client, &request).await?;
            reply.image.names.first().map_or_else(|| reply.image.digest.to_string(), ToString::to_string)
        }
    };
    let spec = input::machine_of_image(&image, args.document.name.as_ref(), args.memory, args.cpus)?;
    Ok(Definition::Spec(Box::new(spec)))
}

/// Creates and starts it. One that exists with the same definition is started, or attached to where it runs.
async fn create(client: &Client, definition: Definition, lazy: bool) -> anyhow::Result<Name> {
    let checked = CreateRequest { definition: definition.clone(), start: false, lazy, dry_run: true };
    let wanted: CreateReply = client.post("/v1/machines", &checked).await?;
    let name = wanted.spec.name.clone();
    match client.get::<MachineDetail>(&format!("/v1/machines/{name}")).await {
        Ok(existing) => start_existing(client, &wanted.spec, existing, lazy).await?,
        Err(error) if error.kind == ErrorKind::NotFound => {
            let request = CreateRequest { definition, start: true, lazy, dry_run: false };
            warn(&starting(client, &format!("start {name}"), "/v1/machines", &request).await?);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(name)
}

async fn start_existing(
    client: &Client,
    wanted: &MachineSpec,
    existing: MachineDetail,
    lazy: bool,
) -> anyhow::Result<()> {
    let name = &wanted.name;
    if existing.spec.as_ref() != Some(wanted) {
        let message = format!("machine {name} exists with another definition");
        let hint = format!("choose another with --name, or remove it: witvirt rm {name}");
        return Err(api::Error::new(ErrorKind::Conflict, message).hint(hint).into());
    }
    if existing.status.state.is_ended() {
        let start = format!("{}?lazy={lazy}", path(name.as_str(), "start"));
        warn(&starting(client, &format!("start {name}"), &start, &Empty {}).await?);
    }
    Ok(())
}

/// Shows the console until the user leaves or the machine has ended; over restarts of the machine.
async fn watch(client: &Client, name: &Name) -> anyhow::Result<Left> {
    loop {
        let stream = client.upgrade(&format!("{}?from=boot", path(name.as_str(), "console"))).await;
        let left = match stream {
            Ok(stream) => attach(stream, name.as_str()).await?,
            Err(error) if error.kind == ErrorKind::Conflict => Left::Closed,
            Err(error) => return Err(error.into()),
        };
        if left != Left::Closed {
            return Ok(left);
        }
        let status = status(client, name).await?;
        if status.pid.is_some() && status.state == witvirt_machine::State::Running {
            return Ok(Left::Closed);
        }
        if wait_for_restart(client, name).await?.is_none() {
            return Ok(Left::Closed);
        }
    }
}

/// The machine once it runs again; `None` when it has ended for good.
async fn wait_for_restart(client: &Client, name: &Name) -> anyhow::Result<Option<MachineStatus>> {
    tokio::select! {
        ended = wait_for(client, name.as_str(), Condition::Ended, None) => ended.map(|_| None).map_err(Into::into),
        again = wait_for(client, name.as_str(), Condition::Running, None) => again.map_err(Into::into),
    }
}

async fn status(client: &Client, name: &Name) -> anyhow::Result<MachineStatus> {
    Ok(client.get::<MachineDetail>(&format!("/v1/machines/{name}")).await?.status)
}

/// What leaving means: a daemon keeps the machine, this process powers it off.
async fn leave(client: &Client, name: &Name, left: Left, host: Host) -> anyhow::Result<MachineStatus> {
    let now = status(client, name).await?;
    if now.state.is_ended() && now.next_restart.is_none() {
        return Ok(now);
    }
    if host == Host::Daemon {
        eprintln!(
            "{name} goes on running; `witvirt console {name}` attaches again, `witvirt stop {name}` ends it"
        );
        return Ok(now);
    }
    if left == Left::Closed {
        eprintln!("another client has taken the console; waiting for {name} to end");
        let ended = wait_for(client, name.as_str(), Condition::Ended, None).await?;
        return ended.with_context(|| format!("{name} was removed"));
    }
    eprintln!("powering {name} off, since nobody else hosts it");
    Ok(client.post(&path(name.as_str(), "stop"), &StopRequest::default()).await?)
}

async fn finish(
    client: &Client,
    name: &Name,
    status: MachineStatus,
    remove: bool,
) -> anyhow::Result<ExitCode> {
    let ended = status.state.is_ended() && status.next_restart.is_none();
    let crashed = status.exit.as_ref().filter(|exit| ended && !exit.orderly);
    if let Some(exit) = crashed {
        let how = exit.signal.map(|signal| format!("signal {signal}"));
        let how = how
            .or(exit.code.map(|code| format!("exit code {code}")))
            .unwrap_or_else(|| "no exit code".to_owned());
        eprintln!("{name} crashed ({how}): {}", clean(&exit.message));
    }
    let failed = crashed.is_some();
    if remove && ended {
        client.delete::<Empty>(&format!("/v1/machines/{name}?force=true")).await?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A daemon inside this process, for one machine.
struct Alone {
    client: Client,
    places: [PathBuf; 2],
    service: Arc<Service>,
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Alone {
    async fn start(context: &Context, input: &Input, args: &RunArgs) -> anyhow::Result<Self> {
        let mut config = context.config()?;
        let name = name_of(&config, input, args).await?;
        config.alone(&name);
        let socket = Socket::bind(&config.api)?;
        let client = Client::new(&config.api.socket);
        let places = [config.state_directory.clone(), config.run_directory.clone()];
        let service = Service::open(config).await?;
        let (end, ended) = oneshot::channel();
        let ended = async {
            // Dropping the sender ends it too.
            let _ = ended.await;
        };
        let serving = tokio::spawn(server::serve(socket, Arc::clone(&service), ended));
        Ok(Self { client, places, service, end, serving })
    }

    async fn end(self) {
        let _ = self.end.send(());
        let _ = self.serving.await;
        if let Some(service) = Arc::into_inner(self.service) {
            service.close().await;
        }
        self.places.iter().for_each(|place| tidy(place));
    }
}

/// Removes a directory of its own in which no machine is left.
fn tidy(place: &Path) {
    if std::fs::remove_dir(place.join("machines")).is_ok() {
        for lock in ["lock", "witvirt.lock"] {
            let _ = std::fs::remove_file(place.join(lock));
        }
        let _ = std::fs::remove_dir(place);
    }
}

/// The machine's name, which is its directory's.
async fn name_of(config: &crate::config::Config, input: &Input, args: &RunArgs) -> anyhow::Result<Name> {
    if let Some(name) = &args.document.name {
        return Ok(name.clone());
    }
    match input {
        Input::Definition(Definition::Spec(spec)) => Ok(spec.name.clone()),
        Input::Definition(Definition::Document(request)) => converted_name(config, request).await,
        Input::Image(name) => Ok(Name::new(name.as_str())?),
        Input::Remote(url) => name_of_url(args, url),
        Input::ImageFile(file) => Ok(crate::service::name_of(file)?),
    }
}

/// A machine's name from the URL of its image.
fn name_of_url(args: &RunArgs, url: &str) -> anyhow::Result<Name> {
    let name = args.document.name.clone().or_else(|| crate::service::name_of_url(url));
    name.context("no machine name can be made of the URL: give one with --name")
}

async fn converted_name(config: &crate::config::Config, request: &ConvertRequest) -> anyhow::Result<Name> {
    let plugins = local::converters(config).await?;
    let conversion = local::convert(plugins, Arc::new(config.clone()), request.clone()).await?;
    match conversion.machine {
        Some(machine) => Ok(machine.name),
        None => Err(refused(&conversion).into()),
    }
}
