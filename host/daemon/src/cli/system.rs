//! `witvirt plugin`, `witvirt host` and `witvirt config`.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use witvirt_core::ByteSize;

use super::args::{ConfigCommand, HostCommand, PluginCommand, SchemaOf};
use super::output::{self, Paint, Table, clean};
use super::{Context, trial};
use crate::api::Empty;
use crate::api::host::{Check, CheckStatus, HostInfo};
use crate::api::plugin::{Plugin, Reload};
use crate::client::encode;
use crate::config;
use crate::service::{blocking, check, rehearse};

pub(super) async fn plugin(context: &Context, command: PluginCommand) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    match command {
        PluginCommand::Test(args) => return trial::test(context, args).await,
        PluginCommand::Ls => {
            let plugins: Vec<Plugin> = client.get("/v1/plugins").await?;
            if context.json() { output::json(&plugins)? } else { output::print(&table(&plugins))? }
        }
        PluginCommand::Inspect(one) => {
            let plugin: Plugin = client.get(&format!("/v1/plugins/{}", encode(&one.name))).await?;
            output::json(&plugin)?;
        }
        PluginCommand::Reload => {
            let reload: Reload = client.post("/v1/plugins/reload", &Empty {}).await?;
            if context.json() {
                output::json(&reload)?
            } else {
                output::print(&told(&reload))?
            }
            return Ok(if reload.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(plugins: &[Plugin]) -> String {
    let mut table = Table::new(&["NAME", "KIND", "VERSION", "SHA256", "HANDLES", "STATUS"]);
    for plugin in plugins {
        table.row([
            plugin.name.clone(),
            word(&plugin.kind),
            plugin.version.clone(),
            plugin.sha256.chars().take(12).collect(),
            plugin.handles.join(", "),
            match &plugin.reload_error {
                Some(reason) => format!("old revision serves: {reason}"),
                None => "serves".to_owned(),
            },
        ]);
    }
    table.render()
}

fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn told(reload: &Reload) -> String {
    let part = |what: &str, names: &[String]| {
        names.iter().map(|name| format!("{what} {}\n", clean(name))).collect::<String>()
    };
    let text = part("changed", &reload.changed)
        + &part("removed", &reload.removed)
        + &part("failed", &reload.failed);
    if text.is_empty() { "no plugin changed\n".to_owned() } else { text }
}

pub(super) async fn host(context: &Context, command: HostCommand) -> anyhow::Result<ExitCode> {
    match command {
        HostCommand::Info => {
            let info: HostInfo = context.client()?.get("/v1/host").await?;
            if context.json() {
                output::json(&info)?;
            } else {
                output::print(&format!(
                    "host       {} (Linux {})\ncpus       {}\nmemory     {}\ndriver     {}\nmachines   {}, {} running\nconfig     {}\nstate      {}\nimages     {}\n",
                    clean(&info.hostname),
                    clean(&info.kernel),
                    info.cpus,
                    ByteSize(info.memory_bytes),
                    info.driver,
                    info.machines,
                    info.running,
                    info.config.as_deref().unwrap_or("none: defaults"),
                    info.state_directory,
                    info.store_directory,
                ))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        HostCommand::Check => {
            let client = context.client()?;
            let checks: Vec<Check> = if client.reachable().await {
                client.get("/v1/host/check").await?
            } else {
                let config = context.config()?;
                blocking(move || check::host(&config)).await??
            };
            print_checks(context, &checks)
        }
    }
}

fn print_checks(context: &Context, checks: &[Check]) -> anyhow::Result<ExitCode> {
    let paint = Paint::stdout();
    if context.json() {
        output::json(&checks)?;
    } else {
        for check in checks {
            let status = match check.status {
                CheckStatus::Pass => paint.green("pass"),
                CheckStatus::Info => "info".to_owned(),
                CheckStatus::Warn => paint.yellow("warn"),
                CheckStatus::Fail => paint.red("fail"),
            };
            output::print(&format!("{status}  {:<18} {}\n", check.name, clean(&check.found)))?;
            if let Some(remedy) = &check.remedy {
                output::print(&format!("{:25}{}\n", "", clean(remedy)))?;
            }
        }
    }
    let failed = checks.iter().any(|check| check.status == CheckStatus::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(super) fn config(context: &Context, command: ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Schema { of: SchemaOf::Config } => output::json(&config::config_schema())?,
        ConfigCommand::Schema { of: SchemaOf::Machine } => output::json(&config::machine_schema())?,
        ConfigCommand::Check => {
            let config = context.config()?;
            let plugins = rehearse(&config)?;
            let file = config.file.as_deref().unwrap_or(Path::new("the default config"));
            if context.json() {
                output::json(&json!({ "config": file.display().to_string(), "plugins": plugins }))?;
            } else {
                output::print(&table(&plugins))?;
                output::print(&format!("{} is good\n", file.display()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
