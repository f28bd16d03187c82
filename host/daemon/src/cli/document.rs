//! `witvirt domain`.

use std::process::ExitCode;

use witvirt_core::domain::{DOMAIN_XML, MACHINE_JSON};

use super::args::{DocumentArgs, DomainCommand, Target};
use super::explain::{explain, remarks, show};
use super::output::{self, Paint};
use super::{Context, input, local};
use crate::api;
use crate::api::document::Conversion;

pub(super) async fn domain(context: &Context, command: DomainCommand) -> anyhow::Result<ExitCode> {
    match command {
        DomainCommand::Convert { document, to } => {
            let to = match to {
                Target::Libvirt => DOMAIN_XML,
                Target::Machine => MACHINE_JSON,
            };
            let conversion = convert(context, document, Some(to)).await?;
            print_result(context, &conversion)
        }
        DomainCommand::Explain(document) => {
            let conversion = convert(context, document, None).await?;
            match context.json() {
                true => output::json(&conversion)?,
                false => output::print(&explain(&conversion, Paint::stdout()))?,
            }
            Ok(verdict(&conversion))
        }
    }
}

/// By the daemon where one answers, else here, with the plugins of the config.
async fn convert(context: &Context, args: DocumentArgs, to: Option<&str>) -> anyhow::Result<Conversion> {
    let mut request = input::document(&args.file, args.media_type.as_deref())?;
    request.pipeline = args.pipeline;
    request.name = args.name.map(|name| name.to_string());
    request.to = to.map(str::to_owned);
    let client = context.client()?;
    if client.reachable().await {
        return Ok(client.post("/v1/domain/convert", &request).await?);
    }
    local::document(&context.config()?, request).await
}

/// The last document on standard output, everything else on standard error.
fn print_result(context: &Context, conversion: &Conversion) -> anyhow::Result<ExitCode> {
    let paint = Paint::stderr();
    for diagnostic in conversion.stages.iter().flat_map(|stage| &stage.diagnostics) {
        eprintln!("{}", show(diagnostic, paint));
    }
    for remark in remarks(conversion, paint) {
        eprintln!("{remark}");
    }
    if !conversion.problems.is_empty() {
        let message = conversion.problems.join("\n");
        let hint = "`witvirt domain explain` shows each stage";
        return Err(api::Error::new(api::ErrorKind::Refused, message).hint(hint).into());
    }
    match (&conversion.machine, conversion.stages.last()) {
        (Some(machine), _) => output::json(machine)?,
        (None, Some(stage)) if context.json() => output::json(stage)?,
        (None, Some(stage)) => output::print(&format!("{}\n", stage.body.trim_end()))?,
        (None, None) => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn verdict(conversion: &Conversion) -> ExitCode {
    match conversion.problems.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(api::ErrorKind::Refused.exit_code()),
    }
}
