//! What a document says of itself besides the machine: labels, annotations, and which machines it holds. Plugins read it,
//! and what they answer is read as if a stranger had typed it.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use witvirt_core::domain::{CONTEXT_JSON, Converter, Document, MACHINES_JSON, Severity};

use super::plan::offers;
use crate::api::document::Context;

/// Labels and annotations, each (Kubernetes has no bound for their count, and 256 KiB for all annotations).
const ENTRIES: usize = 4096;
/// Bytes of all labels and annotations.
const BYTES: usize = 1 << 20;
/// Bytes of a name (DNS subdomain, RFC 1123).
const NAME: usize = 253;
/// Machines of a document.
const MACHINES: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Machines {
    machines: Vec<Machine>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Machine {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
}

/// The first of these plugins that converts a document into this type.
fn reader<'p, P: AsRef<dyn Converter + 'static>>(
    plugins: &'p [P],
    document: &Document,
    to: &str,
) -> Option<&'p P> {
    plugins.iter().find(|plugin| offers((*plugin).as_ref(), &document.media_type, to))
}

/// What a document says of its machine; `None` where no plugin reads that out of it.
///
/// # Errors
/// What the plugin reports, and an answer that is no context, in words.
pub(super) fn of<P: AsRef<dyn Converter + 'static>>(
    plugins: &[P],
    document: &Document,
    options: &serde_json::Value,
) -> Result<Option<Context>, String> {
    let Some(plugin) = reader(plugins, document, CONTEXT_JSON) else { return Ok(None) };
    let context: Context = ask(plugin.as_ref(), document, CONTEXT_JSON, options)?;
    check(&context).map_err(|problem| lied(plugin.as_ref(), &problem))?;
    Ok(Some(context))
}

/// The machines that a document holds, as they are selected; `None` where no plugin reads that out of it.
///
/// # Errors
/// As [`of`].
pub(super) fn machines<P: AsRef<dyn Converter + 'static>>(
    plugins: &[P],
    document: &Document,
    options: &serde_json::Value,
) -> Result<Option<Vec<String>>, String> {
    let Some(plugin) = reader(plugins, document, MACHINES_JSON) else { return Ok(None) };
    let Machines { machines } = ask(plugin.as_ref(), document, MACHINES_JSON, options)?;
    if machines.len() > MACHINES {
        let problem = format!("it names {} machines, at most {MACHINES} are taken", machines.len());
        return Err(lied(plugin.as_ref(), &problem));
    }
    for machine in &machines {
        let parts = std::iter::once(&machine.name).chain(&machine.namespace);
        if let Some(bad) = parts.into_iter().find(|part| !is_name(part)) {
            let problem =
                format!("\"{}\" is no name", bad.chars().take(64).collect::<String>().escape_debug());
            return Err(lied(plugin.as_ref(), &problem));
        }
    }
    Ok(Some(selectors(&machines)))
}

/// Names where they tell machines apart, else namespaces too.
fn selectors(machines: &[Machine]) -> Vec<String> {
    let mut seen = HashSet::new();
    let unique = machines.iter().all(|machine| seen.insert(machine.name.as_str()));
    let one = |machine: &Machine| match &machine.namespace {
        Some(namespace) if !unique => format!("{namespace}/{}", machine.name),
        _ => machine.name.clone(),
    };
    machines.iter().map(one).collect()
}

fn ask<T: DeserializeOwned>(
    plugin: &dyn Converter,
    document: &Document,
    to: &str,
    options: &serde_json::Value,
) -> Result<T, String> {
    let outcome = plugin.convert(document, to, options).map_err(|error| error.to_string())?;
    if let Some(error) = outcome.diagnostics.iter().find(|one| one.severity == Severity::Error) {
        return Err(super::told(&format!("plugin {} {}", plugin.plugin(), plugin.version()), error));
    }
    if outcome.document.media_type != to {
        return Err(lied(plugin, &format!("it is {}, not {to}", outcome.document.media_type)));
    }
    serde_json::from_str(&outcome.document.body).map_err(|error| lied(plugin, &error.to_string()))
}

fn lied(plugin: &dyn Converter, problem: &str) -> String {
    format!(
        "plugin {} {}: what it says of the document cannot be used: {problem}",
        plugin.plugin(),
        plugin.version()
    )
}

/// Whether a context is within bounds, whoever made it.
///
/// # Errors
/// What is not.
pub(super) fn check(context: &Context) -> Result<(), String> {
    for (what, map) in [("labels", &context.labels), ("annotations", &context.annotations)] {
        if map.len() > ENTRIES {
            return Err(format!("it has {} {what}, at most {ENTRIES} are taken", map.len()));
        }
        let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > BYTES {
            return Err(format!("its {what} take {bytes} bytes, at most {BYTES} are taken"));
        }
    }
    let names = [Some(&context.name), context.namespace.as_ref(), context.os.as_ref()];
    match names.into_iter().flatten().find(|name| !name.is_empty() && !is_name(name)) {
        Some(bad) => {
            Err(format!("\"{}\" is no name", bad.chars().take(64).collect::<String>().escape_debug()))
        }
        None => Ok(()),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME && !text.contains(|c: char| c.is_control() || c == '/')
}
