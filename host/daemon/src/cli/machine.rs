//! Commands on machines.

use std::process::ExitCode;

use hyper::Method;
use serde::Serialize;
use witvirt_core::ByteSize;
use witvirt_core::spec::RunStrategy;
use witvirt_machine::{
    Arrival, ArrivingDisk, Condition, MachineDetail, MachineEvent, MachineStatus, Timestamp,
};

use super::args::{Command, CreateArgs, LogArgs, PsArgs, StopArgs, Until, WaitArgs};
use super::filter::TerminalFilter;
use super::output::{self, Paint, Table, clean, duration};
use super::progress::Bar;
use super::terminal::{Left, attach};
use super::{Context, explain, input};
use crate::api::document::Conversion;
use crate::api::machine::{CreateReply, CreateRequest, Definition, StopRequest, WaitReply};
use crate::api::{self, Empty, Progress};
use crate::client::{Client, encode};
use crate::config::Span;

pub(super) async fn machine(context: &Context, command: Command) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    match command {
        Command::Create(args) => create(context, &client, args).await?,
        Command::Start(args) => {
            for name in &args.names {
                let start = format!("{}?lazy={}", path(name, "start"), args.lazy);
                let reply = starting(&client, &format!("start {name}"), &start, &Empty {}).await?;
                warn(&reply);
                print_status(context, reply.status.as_ref())?;
            }
        }
        Command::Stop(args) => ending(context, &client, args, "stop").await?,
        Command::Restart(args) => ending(context, &client, args, "restart").await?,
        Command::Pause(args) => each(context, &client, &args.names, "pause").await?,
        Command::Resume(args) => each(context, &client, &args.names, "resume").await?,
        Command::Kill(args) => each(context, &client, &args.names, "kill").await?,
        Command::Rm(args) => {
            for name in &args.names {
                client
                    .delete::<Empty>(&format!("/v1/machines/{}?force={}", encode(name), args.force))
                    .await?;
                output::print(&format!("{}\n", clean(name)))?;
            }
        }
        Command::Ps(args) => list(context, &client, args).await?,
        Command::Inspect(one) => {
            let detail: MachineDetail = client.get(&format!("/v1/machines/{}", encode(&one.name))).await?;
            if context.json() { output::json(&detail)? } else { output::print(&details(&detail)?)? }
        }
        Command::Console(one) => return console(&client, &one.name).await,
        Command::Logs(args) => logs(&client, args).await?,
        Command::Events(args) => events(context, &client, args.machine).await?,
        Command::Wait(args) => wait(context, &client, args).await?,
        // Taken care of before a client is made.
        Command::Daemon(_)
        | Command::Run(_)
        | Command::Image(_)
        | Command::Domain(_)
        | Command::Plugin(_)
        | Command::Host(_)
        | Command::Config(_)
        | Command::Completion { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// "/v1/machines/NAME/VERB".
pub(super) fn path(name: &str, verb: &str) -> String {
    format!("/v1/machines/{}/{verb}", encode(name))
}

async fn each(context: &Context, client: &Client, names: &[String], verb: &str) -> anyhow::Result<()> {
    for name in names {
        let status: MachineStatus = client.post(&path(name, verb), &Empty {}).await?;
        print_status(context, Some(&status))?;
    }
    Ok(())
}

async fn ending(context: &Context, client: &Client, args: StopArgs, verb: &str) -> anyhow::Result<()> {
    let request = StopRequest { timeout: args.timeout.map(whole_seconds) };
    for name in &args.names {
        let status: MachineStatus = client.post(&path(name, verb), &request).await?;
        print_status(context, Some(&status))?;
    }
    Ok(())
}

fn whole_seconds(span: Span) -> u64 {
    span.0.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

async fn create(context: &Context, client: &Client, args: CreateArgs) -> anyhow::Result<()> {
    let definition = input::definition(&args.document)?;
    let request = CreateRequest { definition, start: args.start, lazy: args.lazy, dry_run: args.dry_run };
    let machines = several(client, &request.definition).await?;
    if !machines.is_empty() {
        input::no_name_for_several(&args.document, &machines)?;
        return create_all(context, client, &request, &machines).await;
    }
    let reply = starting(client, "create", "/v1/machines", &request).await?;
    warn(&reply);
    if context.json() {
        return output::json(&reply);
    }
    print_created(context, &reply)
}

/// The machines of a document that holds several and of which none is selected.
async fn several(client: &Client, definition: &Definition) -> anyhow::Result<Vec<String>> {
    match definition {
        Definition::Document(request) if request.select.is_none() => {
            let conversion: Conversion = client.post("/v1/domain/convert", request).await?;
            Ok(conversion.machines)
        }
        _ => Ok(Vec::new()),
    }
}

/// Creates every machine of a document, once all of them are admitted and none of their names is taken.
async fn create_all(
    context: &Context,
    client: &Client,
    request: &CreateRequest,
    machines: &[String],
) -> anyhow::Result<()> {
    let one = |machine: &String, dry_run: bool| {
        let mut request = CreateRequest { dry_run, ..request.clone() };
        if let Definition::Document(document) = &mut request.definition {
            document.select = Some(machine.clone());
        }
        request
    };
    let mut checked: Vec<CreateReply> = Vec::new();
    for machine in machines {
        let of = |error: api::Error| api::Error {
            message: format!("machine {machine}: {}; nothing was created", error.message),
            ..error
        };
        let reply: CreateReply = client.post("/v1/machines", &one(machine, true)).await.map_err(of)?;
        let name = &reply.spec.name;
        if checked.iter().any(|other| other.spec.name == *name) {
            let message = format!("two machines of the document are called {name}; nothing was created");
            let hint = "create them one by one with --select and --name";
            return Err(api::Error::new(api::ErrorKind::Conflict, message).hint(hint).into());
        }
        match client.get::<MachineDetail>(&format!("/v1/machines/{name}")).await {
            Err(error) if error.kind == api::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
            Ok(_) if request.dry_run => {}
            Ok(_) => {
                let message = format!("machine {name} exists already; nothing was created");
                let hint = format!("remove it with `witvirt rm {name}`, or create the others with --select");
                return Err(api::Error::new(api::ErrorKind::Conflict, message).hint(hint).into());
            }
        }
        checked.push(reply);
    }
    let mut replies = Vec::new();
    for (machine, checked) in machines.iter().zip(checked) {
        let reply = match request.dry_run {
            true => checked,
            false => {
                let what = format!("create {machine}");
                starting(client, &what, "/v1/machines", &one(machine, false)).await?
            }
        };
        warn(&reply);
        if !context.json() {
            print_created(context, &reply)?;
        }
        replies.push(reply);
    }
    if context.json() { output::json(&replies) } else { Ok(()) }
}

fn print_created(context: &Context, reply: &CreateReply) -> anyhow::Result<()> {
    match &reply.status {
        Some(status) => print_status(context, Some(status)),
        None => output::print(&format!("{} would be created\n", reply.spec.name)),
    }
}

/// Asks for something that may start a machine; shows how far images are that have to arrive first, and what is said at once.
pub(super) async fn starting<B: Serialize>(
    client: &Client,
    what: &str,
    path: &str,
    body: &B,
) -> Result<CreateReply, api::Error> {
    let (mut bar, mut told) = (None, Vec::new());
    let reply = client.progress(path, body, |line: &Progress<CreateReply>| {
        match line {
            Progress::Warning { message } => told.push(message.clone()),
            Progress::Progress { done, total, .. } if *done > 0 || total.is_some() => {}
            _ if bar.is_some() => {}
            // Nothing has to arrive so far.
            _ => return,
        }
        bar.get_or_insert_with(|| Bar::new(what)).update(line);
    });
    let mut reply = reply.await?;
    reply.warnings.retain(|warning| !told.contains(warning));
    Ok(reply)
}

/// What converters and policies said, on standard error.
pub(super) fn warn(reply: &CreateReply) {
    let paint = Paint::stderr();
    for diagnostic in
        reply.diagnostics.iter().filter(|one| one.severity != witvirt_core::domain::Severity::Info)
    {
        eprintln!("{}", explain::show(diagnostic, paint));
    }
    for warning in &reply.warnings {
        eprintln!("{} {}", paint.yellow("warning:"), clean(warning));
    }
}

fn print_status(context: &Context, status: Option<&MachineStatus>) -> anyhow::Result<()> {
    let Some(status) = status else { return Ok(()) };
    if context.json() {
        return output::json(status);
    }
    output::print(&format!("{}  {}\n", status.name, status.state))
}

async fn list(context: &Context, client: &Client, args: PsArgs) -> anyhow::Result<()> {
    let mut machines: Vec<MachineStatus> = client.get("/v1/machines").await?;
    if args.running {
        machines.retain(|machine| !machine.state.is_ended());
    }
    if args.quiet {
        return output::print(
            &machines.iter().map(|machine| format!("{}\n", machine.name)).collect::<String>(),
        );
    }
    if context.json() {
        return output::json(&machines);
    }
    let mut table = Table::new(&["NAME", "STATE", "UPTIME", "VCPUS", "MEMORY", "ACCEL", "PORTS", "NOTE"]);
    for machine in machines {
        let ports = machine
            .forwards
            .iter()
            .map(|forward| format!("{}:{}->{}", forward.address, forward.host_port, forward.guest_port));
        table.row([
            machine.name.to_string(),
            machine.state.to_string(),
            machine.uptime.map_or_else(|| "-".to_owned(), duration),
            machine.vcpus.to_string(),
            machine.memory.to_string(),
            machine.accelerator.clone().unwrap_or_else(|| machine.driver.clone()),
            ports.collect::<Vec<_>>().join(","),
            note(&machine),
        ]);
    }
    output::print(&table.render())
}

/// What is worth a remark: why it is paused or broken, how it crashed, why it is emulated.
fn note(machine: &MachineStatus) -> String {
    let crash =
        machine.exit.as_ref().filter(|exit| !exit.orderly).map(|exit| exit.message.lines().next_back());
    let arrival = machine.arriving.first().map(arrival);
    let text = machine.reason.as_deref().or(arrival.as_deref()).or(crash.flatten()).unwrap_or_default();
    let restarts = match machine.restarts {
        0 => String::new(),
        count => format!("restarted {count}x "),
    };
    let text = format!("{restarts}{text}");
    if text.chars().count() > 60 { format!("{}...", text.chars().take(57).collect::<String>()) } else { text }
}

/// How far the image of a disk is, the most important first: the table has little room.
fn arrival(disk: &ArrivingDisk) -> String {
    // The server's name is enough to know which one it is.
    let server = disk.from.split_once("://").map_or(disk.from.as_str(), |(_, rest)| rest);
    let server = server.split('/').next().unwrap_or(server);
    let percent = disk.present.saturating_mul(100) / disk.total.max(1);
    match (disk.state, disk.waiting) {
        (Arrival::Failed, _) => format!("image refused: {}", disk.reason.as_deref().unwrap_or_default()),
        (_, Some(seconds)) => format!("waiting for {server}, {seconds} s"),
        (Arrival::Importing, None) => format!("{}: all is here, importing", disk.disk),
        (Arrival::Arriving, None) => format!("{}: {percent} % of its image is here", disk.disk),
    }
}

fn details(detail: &MachineDetail) -> anyhow::Result<String> {
    let status = &detail.status;
    let mut lines: Vec<(&str, String)> = vec![
        ("name", status.name.to_string()),
        ("state", format!("{} since {}", status.state, status.since)),
        ("driver", status.driver.clone()),
    ];
    let mut optional = |key, value: Option<String>| lines.extend(value.map(|value| (key, value)));
    optional("accelerator", status.accelerator.clone());
    optional("because", status.accelerator_reason.clone());
    optional("uptime", status.uptime.map(duration));
    optional("process", status.pid.map(|pid| pid.to_string()));
    optional("vnc", status.vnc.clone());
    optional("reason", status.reason.clone());
    for disk in &status.arriving {
        let here = format!("{} of {} from {}", ByteSize(disk.present), ByteSize(disk.total), disk.from);
        let why = disk.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        optional("image", Some(format!("{}; {here}{why}", arrival(disk))));
    }
    optional("run", Some(status.run).filter(|run| *run != RunStrategy::Manual).map(|run| run.to_string()));
    optional(
        "last end",
        status.exit.as_ref().map(|exit| {
            let how = if exit.orderly { "in order" } else { "crashed" };
            format!("{how} at {} {}", exit.at, exit.message)
        }),
    );
    optional("restarts", Some(status.restarts).filter(|count| *count > 0).map(|count| count.to_string()));
    optional("next start", status.next_restart.map(|time| time.to_string()));
    optional("created", detail.created.map(|time| time.to_string()));
    optional("created by", detail.created_by.clone());
    let mut text: String = lines.iter().map(|(key, value)| format!("{key:<12} {}\n", clean(value))).collect();
    if let Some(spec) = &detail.spec {
        text.push_str(&format!("\n{}\n", serde_json::to_string_pretty(spec)?));
    }
    Ok(text)
}

async fn console(client: &Client, name: &str) -> anyhow::Result<ExitCode> {
    let stream = client.upgrade(&path(name, "console")).await?;
    match attach(stream, &clean(name)).await? {
        Left::ByUser => return Ok(ExitCode::SUCCESS),
        Left::Signal => return Ok(ExitCode::FAILURE),
        Left::Closed => {}
    }
    // The machine has ended or is about to, or it goes on and a newer client took its console.
    let second = Some(Span(std::time::Duration::from_secs(1)));
    match wait_for(client, name, Condition::Ended, second).await {
        Err(error) if error.kind == api::ErrorKind::Timeout => {
            Ok(ExitCode::from(api::ErrorKind::Conflict.exit_code()))
        }
        Err(error) if error.kind == api::ErrorKind::NotFound => Ok(ExitCode::SUCCESS),
        ended => ended.map(|_| ExitCode::SUCCESS).map_err(Into::into),
    }
}

async fn logs(client: &Client, args: LogArgs) -> anyhow::Result<()> {
    let mut query = vec![format!("follow={}", args.follow)];
    query.extend(args.tail.map(|lines| format!("tail={lines}")));
    if let Some(since) = &args.since {
        query.push(format!("since={}", encode(&moment(since)?)));
    }
    let mut stream = client.bytes(&format!("{}?{}", path(&args.name, "logs"), query.join("&"))).await?;
    let mut filter = TerminalFilter::default();
    while let Some(chunk) = stream.next().await? {
        match args.raw {
            true => output::print_bytes(&chunk)?,
            false => output::print_bytes(&filter.filter(&chunk))?,
        }
    }
    Ok(())
}

/// A time, or how long ago.
fn moment(text: &str) -> anyhow::Result<String> {
    if let Ok(ago) = text.parse::<Span>() {
        let now = Timestamp::from(std::time::SystemTime::now());
        let ago = u64::try_from(ago.0.as_millis()).unwrap_or(u64::MAX);
        return Ok(Timestamp::from_millis(now.millis().saturating_sub(ago)).to_string());
    }
    match text.parse::<Timestamp>() {
        Ok(time) => Ok(time.to_string()),
        Err(error) => Err(api::Error::new(
            api::ErrorKind::Invalid,
            format!("--since: {error}, nor a length of time like \"5min\""),
        )
        .into()),
    }
}

async fn events(context: &Context, client: &Client, machine: Option<String>) -> anyhow::Result<()> {
    let query = machine.map(|name| format!("?machine={}", encode(&name))).unwrap_or_default();
    let mut lines =
        client.lines::<_, MachineEvent>(Method::GET, &format!("/v1/events{query}"), &Empty {}).await?;
    while let Some(event) = lines.next().await? {
        if context.json() {
            output::json_line(&event)?;
            continue;
        }
        let kind = serde_json::to_value(event.kind)?.as_str().unwrap_or_default().to_owned();
        let detail = event.detail.as_deref().map(|detail| format!("  {}", clean(detail))).unwrap_or_default();
        output::print(&format!("{}  {}  {kind}{detail}\n", event.time, event.machine))?;
    }
    Ok(())
}

/// Waits for a condition; `None` when the machine is gone.
pub(super) async fn wait_for(
    client: &Client,
    name: &str,
    condition: Condition,
    timeout: Option<Span>,
) -> Result<Option<MachineStatus>, api::Error> {
    let word = serde_json::to_value(condition)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default();
    let timeout = timeout.map(|span| format!("&timeout={}", whole_seconds(span))).unwrap_or_default();
    let reply: WaitReply = client.get(&format!("{}?condition={word}{timeout}", path(name, "wait"))).await?;
    Ok(reply.status)
}

async fn wait(context: &Context, client: &Client, args: WaitArgs) -> anyhow::Result<()> {
    let condition = match args.until {
        Until::Running => Condition::Running,
        Until::Paused => Condition::Paused,
        Until::Ended => Condition::Ended,
        Until::Removed => Condition::Removed,
    };
    let status = wait_for(client, &args.name, condition, args.timeout).await?;
    match status {
        Some(status) => print_status(context, Some(&status)),
        None => output::print(&format!("{}  removed\n", clean(&args.name))),
    }
}
