//! `witvirt domain`.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use witvirt_core::domain::{CONTEXT_JSON, DOMAIN_XML, MACHINE_JSON};

use super::args::{ContextArgs, DocumentArgs, DomainCommand, Target};
use super::explain::{explain, remarks, show};
use super::output::{self, Paint, clean};
use super::{Context, input, local, qemu};
use crate::api;
use crate::api::document::{self, Conversion, ConvertRequest};
use crate::client::Client;
use crate::config::Config;
use crate::service::Plugins;

pub(super) async fn domain(context: &Context, command: DomainCommand) -> anyhow::Result<ExitCode> {
    match command {
        DomainCommand::Convert { document, context: told, to } => {
            let end = match to {
                Target::Libvirt => DOMAIN_XML,
                Target::Machine | Target::QemuArgs => MACHINE_JSON,
                Target::Context => CONTEXT_JSON,
            };
            let conversions = convert(context, &document, &told, Some(end)).await?;
            print_results(context, &conversions, to)
        }
        DomainCommand::Explain { document, context: told } => {
            let conversions = convert(context, &document, &told, None).await?;
            print_stages(context, &conversions)
        }
    }
}

/// A machine of a document: how it was selected, where there are several, and what became of it.
type Converted = (Option<String>, Conversion);

async fn convert(
    context: &Context,
    args: &DocumentArgs,
    told: &ContextArgs,
    to: Option<&str>,
) -> anyhow::Result<Vec<Converted>> {
    let mut request = input::document(args)?;
    request.context = context_of(told);
    request.to = to.map(str::to_owned);
    let converters = converters(context).await?;
    let first = converters.convert(&request).await?;
    if first.machines.is_empty() {
        return Ok(vec![(None, first)]);
    }
    input::no_name_for_several(args, &first.machines)?;
    let mut all = Vec::new();
    for machine in first.machines {
        request.select = Some(machine.clone());
        all.push((Some(machine), converters.convert(&request).await?));
    }
    Ok(all)
}

pub(super) fn context_of(told: &ContextArgs) -> Option<document::Context> {
    let said = !told.annotations.is_empty() || !told.labels.is_empty() || told.os.is_some();
    said.then(|| document::Context {
        annotations: told.annotations.iter().cloned().collect(),
        labels: told.labels.iter().cloned().collect(),
        os: told.os.clone(),
        ..document::Context::default()
    })
}

/// Who converts.
enum Converters {
    Daemon(Client),
    /// This process, with the plugins of the config.
    Here(Arc<Plugins>, Arc<Config>),
}

/// The daemon where one answers.
async fn converters(context: &Context) -> anyhow::Result<Converters> {
    let client = context.client()?;
    if client.reachable().await {
        return Ok(Converters::Daemon(client));
    }
    let config = Arc::new(context.config()?);
    Ok(Converters::Here(local::converters(&config).await?, config))
}

impl Converters {
    async fn convert(&self, request: &ConvertRequest) -> anyhow::Result<Conversion> {
        match self {
            Self::Daemon(client) => Ok(client.post("/v1/domain/convert", request).await?),
            Self::Here(plugins, config) => {
                let (plugins, config) = (Arc::clone(plugins), Arc::clone(config));
                local::convert(plugins, config, request.clone()).await
            }
        }
    }
}

/// The last documents on standard output, everything else on standard error.
fn print_results(context: &Context, conversions: &[Converted], to: Target) -> anyhow::Result<ExitCode> {
    let (mut texts, mut values) = (Vec::new(), Vec::new());
    let mut refused = None;
    for (machine, conversion) in conversions {
        if let Err(refusal) = tell(machine.as_deref(), conversion) {
            refused.get_or_insert(refusal);
            continue;
        }
        if to == Target::QemuArgs {
            let Some(spec) = &conversion.machine else { continue };
            let line = qemu::command(&context.config()?, spec)?;
            texts.push(line.text());
            values.push(line.value());
        } else if to == Target::Libvirt && conversion.pipeline == "none" {
            anyhow::bail!("machine specs do not become domain XML: --to takes machine or qemu-args for them");
        } else if let Some(spec) = &conversion.machine {
            values.push(serde_json::to_value(spec)?);
        } else if let Some(stage) = conversion.stages.iter().rev().find(|stage| stage.skipped.is_none()) {
            let end = if stage.body.ends_with('\n') { "" } else { "\n" };
            texts.push(format!("{}{end}", stage.body));
            values.push(json!(stage));
        }
    }
    if let Some(refusal) = refused.take_if(|_| values.is_empty()) {
        return Err(refusal);
    }
    match (context.json() || texts.is_empty(), values.as_slice()) {
        (true, [value]) => output::json(value)?,
        (true, values) => output::json(&values)?,
        (false, _) => output::print(&texts.concat())?,
    }
    refused.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Diagnostics, and an error where the result must not be used.
fn tell(machine: Option<&str>, conversion: &Conversion) -> anyhow::Result<()> {
    let paint = Paint::stderr();
    if let Some(machine) = machine {
        eprintln!("{}", paint.bold(&format!("machine {}", clean(machine))));
    }
    for diagnostic in conversion.stages.iter().flat_map(|stage| &stage.diagnostics) {
        eprintln!("{}", show(diagnostic, paint));
    }
    for remark in remarks(conversion, paint) {
        eprintln!("{remark}");
    }
    if !conversion.problems.is_empty() {
        let of = machine.map(|machine| format!("machine {machine}: ")).unwrap_or_default();
        let message = format!("{of}{}", conversion.problems.join("\n"));
        let hint = "`witvirt domain explain` shows each stage";
        return Err(api::Error::new(api::ErrorKind::Refused, message).hint(hint).into());
    }
    Ok(())
}

fn print_stages(context: &Context, conversions: &[Converted]) -> anyhow::Result<ExitCode> {
    match (context.json(), conversions) {
        (true, [(_, conversion)]) => output::json(conversion)?,
        (true, all) => output::json(&all.iter().map(|(_, conversion)| conversion).collect::<Vec<_>>())?,
        (false, all) => {
            let paint = Paint::stdout();
            for (machine, conversion) in all {
                if let Some(machine) = machine {
                    output::print(&format!("{}\n", paint.bold(&format!("machine {}", clean(machine)))))?;
                }
                output::print(&explain(conversion, paint))?;
            }
        }
    }
    let good = conversions.iter().all(|(_, conversion)| conversion.problems.is_empty());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(api::ErrorKind::Refused.exit_code()) })
}
