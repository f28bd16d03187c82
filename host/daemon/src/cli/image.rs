//! `witvirt image`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};
use witvirt_core::ByteSize;
use witvirt_disk::ImageInfo;

use super::Context;
use super::args::ImageCommand;
use super::convert;
use super::local;
use super::output::{self, Paint, Table};
use super::progress::Bar;
use super::remote;
use super::upkeep;
use crate::api::Empty;
use crate::api::image::{CheckReport, CollectRequest, Image, ImportReply, ImportRequest};
use crate::client::{Client, encode};

pub(super) async fn image(context: &Context, command: ImageCommand) -> anyhow::Result<ExitCode> {
    match command {
        ImageCommand::Import(args) => {
            let reply = remote::import(&context.client()?, args).await?;
            return imported(context, &reply);
        }
        ImageCommand::Push(args) => {
            let reply = remote::push(&context.client()?, args).await?;
            if context.json() {
                output::json(&reply)?;
            } else {
                output::print(&format!("{}  {}\n", output::clean(&reply.reference), ByteSize(reply.size)))?;
                for role in &reply.files {
                    output::print(&format!("  with {}\n", output::clean(role)))?;
                }
            }
        }
        ImageCommand::Ls => list(context).await?,
        ImageCommand::Inspect { image, format } => inspect(context, &image, format).await?,
        ImageCommand::Rm { names, force } => {
            let client = context.client()?;
            for name in names {
                client.delete::<Empty>(&format!("/v1/images/{}?force={force}", encode(&name))).await?;
                output::print(&format!("{name}\n"))?;
            }
        }
        ImageCommand::Convert(args) => convert::convert(context, args).await?,
        ImageCommand::Export(args) => convert::export(context, args).await?,
        ImageCommand::Verify { images, all } => return upkeep::verify(context, images, all).await,
        ImageCommand::Gc { unused_for, keep_free, all, dry_run } => {
            upkeep::collect(context, CollectRequest { unused_for, keep_free, all, dry_run }).await?
        }
        ImageCommand::Check { image, format } => return check(context, &image, format).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Imports a file with a progress bar.
pub(super) async fn import(
    client: &Client,
    request: &ImportRequest,
) -> Result<ImportReply, crate::api::Error> {
    let bar = Bar::new(&format!("import {}", request.source));
    client.progress("/v1/images", request, |line| bar.update(line)).await
}

/// The real, absolute path of a file, as the daemon wants it.
pub(super) fn whole(file: &Path) -> anyhow::Result<String> {
    let path = file.canonicalize().with_context(|| format!("cannot find {}", file.display()))?;
    path.into_os_string()
        .into_string()
        .map_err(|path| anyhow::anyhow!("{} is not UTF-8", PathBuf::from(path).display()))
}

fn imported(context: &Context, reply: &ImportReply) -> anyhow::Result<ExitCode> {
    if context.json() {
        output::json(reply)?;
    } else {
        let names = reply.image.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let known = if reply.existed { " (its content was in the store)" } else { "" };
        output::print(&format!("{names}  {}{known}\n", reply.image.digest))?;
        for (name, value) in &reply.facts {
            output::print(&format!("  {:<20} {}\n", output::clean(name), output::clean(value)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let images: Vec<Image> = context.client()?.get("/v1/images").await?;
    if context.json() {
        return output::json(&images);
    }
    let mut table = Table::new(&["NAME", "DIGEST", "SIZE", "ON HOST", "FORMAT", "STATE"]);
    for image in &images {
        let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
        let first = image.origins.first().and_then(|origin| origin.sources.first());
        let format = first.map(|source| source.format.clone()).unwrap_or_default();
        table.row([
            if names.is_empty() { "-".to_owned() } else { names.join(",") },
            image.digest.short(),
            ByteSize(image.virtual_size).to_string(),
            ByteSize(image.allocated).to_string(),
            format,
            image.state.clone(),
        ]);
    }
    output::print(&table.render())
}

async fn inspect(context: &Context, image: &str, format: Option<String>) -> anyhow::Result<()> {
    if Path::new(image).is_file() {
        let info = local::info(&context.config()?, Path::new(image), format).await?;
        return if context.json() { output::json(&info) } else { output::print(&of_file(&info)) };
    }
    let image: Image = context.client()?.get(&format!("/v1/images/{}", encode(image))).await?;
    if context.json() { output::json(&image) } else { output::print(&details(&image)) }
}

fn of_file(info: &ImageInfo) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        text.push_str(&format!("{key:<14} {}\n", output::clean(&value)));
    };
    let source = &info.source;
    line("file", source.path.clone());
    line("format", format!("{} (read by {} {})", source.format, source.plugin, source.plugin_version));
    line("virtual size", ByteSize(info.geometry.virtual_size).to_string());
    line("file size", ByteSize(source.size).to_string());
    for reference in &info.references {
        line(&reference.role, reference.name.clone());
    }
    for (key, value) in &info.facts {
        line(key, value.clone());
    }
    text
}

fn details(image: &Image) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        text.push_str(&format!("{:<16} {}\n", output::clean(key), output::clean(&value)));
    };
    line("digest", image.digest.to_string());
    line("names", image.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    line(
        "state",
        image.reason.as_ref().map_or(image.state.clone(), |reason| format!("{}: {reason}", image.state)),
    );
    line("virtual size", ByteSize(image.virtual_size).to_string());
    line("on host", ByteSize(image.allocated).to_string());
    for origin in &image.origins {
        for source in &origin.sources {
            let (size, plugin) = (ByteSize(source.size), &source.plugin);
            line("source", format!("{} ({}, {size}, read by {plugin})", source.path, source.format));
            if let Some(digest) = &source.digest {
                line("  digest", digest.to_string());
            }
        }
        if let Some(member) = &origin.member {
            line("  member", member.clone());
        }
        for (key, value) in origin.facts.iter().chain(&origin.machine) {
            line(&format!("  {key}"), value.clone());
        }
        for file in &origin.files {
            let (size, digest) = (ByteSize(file.size), file.digest);
            line(&format!("  {}", file.role), format!("{} ({size}, {digest})", file.name));
        }
    }
    for user in &image.users {
        line("used by", user.clone());
    }
    text
}

async fn check(context: &Context, image: &str, format: Option<String>) -> anyhow::Result<ExitCode> {
    let report = if Path::new(image).exists() {
        local::check(&context.config()?, Path::new(image), format).await?
    } else {
        let bar = Bar::new(&format!("check {image}"));
        let path = format!("/v1/images/{}/check", encode(image));
        context.client()?.progress::<_, CheckReport>(&path, &json!({}), |line| bar.update(line)).await?
    };
    if context.json() {
        output::json(&report)?;
    } else {
        let paint = Paint::stdout();
        for finding in &report.findings {
            let at = finding.offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default();
            let line = format!("{}: {}{at} ({})", finding.severity, finding.message, finding.code);
            output::print(&format!("{}\n", output::clean(&line)))?;
        }
        let verdict = if report.good { paint.green("good") } else { paint.red("bad") };
        output::print(&format!("{}: {verdict}\n", output::clean(image)))?;
    }
    Ok(if report.good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// "compression=zstd", "cluster-size=65536": numbers and truths are such, the rest are texts.
pub(super) fn parse_options(options: &[String]) -> anyhow::Result<Value> {
    let mut map = Map::new();
    for option in options {
        let Some((name, value)) = option.split_once('=') else {
            bail!("--option {option} has no \"=\": write NAME=VALUE")
        };
        let value = match value.parse::<u64>() {
            Ok(number) => number.into(),
            Err(_) => match value {
                "true" => true.into(),
                "false" => false.into(),
                text => text.into(),
            },
        };
        map.insert(name.to_owned(), value);
    }
    Ok(map.into())
}
