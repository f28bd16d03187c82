//! Pipelines: from the file to what runs, and the rules that can be checked without their plugins.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use witvirt_core::Name;
use witvirt_core::domain::{DOMAIN_XML, MACHINE_JSON};
use witvirt_core::plugin::PluginKind;

use super::file::ConfigFile;
use super::pipeline::{PipelineTable, StepEntry, StepFailure, StepTable};
use super::resolve::normal;
use super::{Action, Ordered, Pipeline, Step};
use crate::document::{Document, Problem};

/// The plugin of the pipeline that there is where none is configured.
const CONVERTER_BY_DEFAULT: &str = "domain-libvirt";
/// Where KubeVirt's own sidecars make their sockets.
const HOOKS: &str = "/run/kubevirt-hooks";
/// Time for one call of a hook behind a socket.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(5);
/// Steps of a pipeline, and plugins of one step.
const STEPS: usize = 64;

/// The pipelines with every default applied. `base` is what relative paths are relative to.
pub(super) fn pipelines(file: &ConfigFile, base: &Path) -> Vec<Pipeline> {
    if !file.pipeline.is_empty() {
        let chain = |(name, table): (&Name, &PipelineTable)| Pipeline {
            name: name.clone(),
            source: table.source.clone(),
            target: table.target.clone(),
            steps: table.converters.iter().map(|entry| step(entry, file, base)).collect(),
            automatic: is_automatic(table),
        };
        return file.pipeline.iter().map(chain).collect();
    }
    let converter = file.plugin.iter().find(|plugin| plugin.name.as_str() == CONVERTER_BY_DEFAULT);
    let default = |name: &Name| Pipeline {
        name: name.clone(),
        source: DOMAIN_XML.to_owned(),
        target: MACHINE_JSON.to_owned(),
        steps: vec![Step::plugin(name.clone())],
        automatic: true,
    };
    converter.map(|plugin| default(&plugin.name)).into_iter().collect()
}

fn is_automatic(table: &PipelineTable) -> bool {
    table.automatic.unwrap_or(true) && table.target == MACHINE_JSON
}

fn step(entry: &StepEntry, file: &ConfigFile, base: &Path) -> Step {
    let table = match entry {
        StepEntry::Name(name) => return Step::plugin(name.clone()),
        StepEntry::Table(table) => table,
    };
    let timeout = table.timeout.map(|span| span.0);
    let (action, timeout) = match (&table.plugin, &table.order_from, &table.socket) {
        (Some(plugin), ..) => (Action::Plugin(plugin.clone()), timeout),
        (None, None, Some(socket)) => {
            let socket = hooks_directory(file, base).join(socket);
            (Action::Socket(normal(&socket)), timeout.or(Some(SOCKET_TIMEOUT)))
        }
        (None, annotation, _) => {
            let ordered = Ordered {
                annotation: annotation.clone().unwrap_or_default(),
                plugins: table.plugins.clone(),
                otherwise: table.otherwise.clone(),
            };
            (Action::Ordered(ordered), timeout)
        }
    };
    Step { action, timeout, on_failure: table.on_failure, when: table.when.clone() }
}

fn hooks_directory(file: &ConfigFile, base: &Path) -> PathBuf {
    file.hooks.directory.as_ref().map_or_else(|| HOOKS.into(), |directory| normal(&base.join(directory)))
}

/// Where a part of a pipeline is in the file.
struct Place<'a> {
    document: &'a Document<ConfigFile>,
    pipeline: &'a Name,
}

impl Place<'_> {
    fn span(&self, path: &[&str]) -> Range<usize> {
        let whole: Vec<&str> =
            ["pipeline", self.pipeline.as_str()].into_iter().chain(path.iter().copied()).collect();
        self.document.span(&whole)
    }

    fn step(&self, index: &str, path: &[&str]) -> Range<usize> {
        let whole: Vec<&str> = ["converters", index].into_iter().chain(path.iter().copied()).collect();
        self.span(&whole)
    }

    /// A converter that no plugin is.
    fn check_plugin(&self, name: &Name, span: Range<usize>, problems: &mut Vec<Problem>) {
        let plugins = &self.document.value.plugin;
        match plugins.iter().find(|plugin| plugin.name == *name).map(|plugin| plugin.kind) {
            Some(PluginKind::DomainConverter) => {}
            Some(_) => {
                let message = format!("\"{name}\" is no plugin of kind \"domain-converter\"");
                problems.push(Problem::at(span, message));
            }
            None => {
                let converters = plugins.iter().filter(|plugin| plugin.kind == PluginKind::DomainConverter);
                let mut names: Vec<&str> = converters.map(|plugin| plugin.name.as_str()).collect();
                names.sort_unstable();
                let message = format!("there is no plugin named \"{name}\"");
                problems.push(Problem::at(span, message).suggest(name.as_str(), names));
            }
        }
    }
}

/// What is wrong with the pipelines whatever their plugins can.
pub(super) fn check_pipelines(document: &Document<ConfigFile>, problems: &mut Vec<Problem>) {
    let mut automatic: HashMap<&str, &Name> = HashMap::new();
    for (name, table) in &document.value.pipeline {
        let place = Place { document, pipeline: name };
        check_chain(&place, table, problems);
        for (index, entry) in table.converters.iter().enumerate() {
            let index = index.to_string();
            match entry {
                StepEntry::Name(plugin) => place.check_plugin(plugin, place.step(&index, &[]), problems),
                StepEntry::Table(step) => check_step(&place, &index, step, problems),
            }
        }
        if table.automatic == Some(true) && table.target != MACHINE_JSON {
            let message =
                format!("pipeline \"{name}\" ends in {}, and so is only taken by name", table.target);
            let help = "remove automatic; it is for pipelines that end in a machine";
            problems.push(Problem::at(place.span(&["automatic"]), message).help(help));
        }
        if !is_automatic(table) {
            continue;
        }
        if let Some(other) = automatic.insert(&table.source, name) {
            let message = format!("pipelines \"{other}\" and \"{name}\" both take {}", table.source);
            let help = "set automatic = false in one of them";
            problems.push(Problem::at(place.span(&["converters"]), message).help(help));
        }
    }
}

fn check_chain(place: &Place<'_>, table: &PipelineTable, problems: &mut Vec<Problem>) {
    let (name, span) = (place.pipeline, || place.span(&["converters"]));
    if table.converters.is_empty() {
        problems.push(Problem::at(span(), format!("pipeline \"{name}\" names no converter")));
    } else if table.converters.len() > STEPS {
        let count = table.converters.len();
        problems.push(Problem::at(
            span(),
            format!("pipeline \"{name}\" has {count} converters, at most {STEPS} are taken"),
        ));
    } else if table.source != table.target && table.converters.iter().all(may_be_passed_over) {
        let message = format!(
            "pipeline \"{name}\": every converter may be passed over, and nothing leads from {} to {}",
            table.source, table.target
        );
        let help = "name the source converter and the last one without when and on-failure";
        problems.push(Problem::at(span(), message).help(help));
    }
}

fn may_be_passed_over(entry: &StepEntry) -> bool {
    match entry {
        StepEntry::Name(_) => false,
        StepEntry::Table(step) => {
            step.plugin.is_none() || step.when.is_some() || step.on_failure == StepFailure::Skip
        }
    }
}

fn check_step(place: &Place<'_>, index: &str, step: &StepTable, problems: &mut Vec<Problem>) {
    let at = |path: &[&str]| place.step(index, path);
    let given = [step.plugin.is_some(), step.order_from.is_some(), step.socket.is_some()];
    if given.into_iter().filter(|given| *given).count() != 1 {
        let message = "a converter is one of plugin, order-from and socket";
        problems.push(Problem::at(at(&[]), message).help("name one of the three keys"));
        return;
    }
    if let Some(plugin) = &step.plugin {
        place.check_plugin(plugin, at(&["plugin"]), problems);
    }
    if step.order_from.is_some() {
        check_ordered(place, index, step, problems);
    } else {
        for (key, given) in [("plugins", !step.plugins.is_empty()), ("otherwise", !step.otherwise.is_empty())]
        {
            if given {
                let message = format!("{key} goes with order-from alone");
                problems.push(Problem::at(at(&[key]), message).help(format!("remove {key}")));
            }
        }
    }
    if let Some(socket) = &step.socket {
        check_socket(place, socket, at(&["socket"]), problems);
    }
    if step.timeout.is_some_and(|span| span.0.is_zero()) {
        problems.push(Problem::at(at(&["timeout"]), "a timeout of nothing lets nothing run"));
    }
    check_when(place, index, step, problems);
}

fn check_ordered(place: &Place<'_>, index: &str, step: &StepTable, problems: &mut Vec<Problem>) {
    if step.plugins.is_empty() || step.plugins.len() > STEPS {
        let message = format!("order-from takes 1 to {STEPS} plugins, not {}", step.plugins.len());
        let help = "plugins = { NAME-IN-THE-ANNOTATION = \"PLUGIN\" }";
        problems.push(Problem::at(place.step(index, &["order-from"]), message).help(help));
    }
    for (word, plugin) in &step.plugins {
        let span = place.step(index, &["plugins", word]);
        if word.trim() != word || word.is_empty() || word.contains(',') {
            let message = format!("\"{}\" cannot be named in a list with commas", word.escape_debug());
            problems.push(Problem::at(span.clone(), message));
        }
        place.check_plugin(plugin, span, problems);
    }
    for (at, word) in step.otherwise.iter().enumerate() {
        if !step.plugins.contains_key(word) {
            let span = place.step(index, &["otherwise", &at.to_string()]);
            let message = format!("\"{}\" is none of plugins", word.escape_debug());
            problems.push(Problem::at(span, message).suggest(word, step.plugins.keys().map(String::as_str)));
        }
    }
}

fn check_socket(place: &Place<'_>, socket: &Path, span: Range<usize>, problems: &mut Vec<Problem>) {
    let hooks = &place.document.value.hooks;
    if !hooks.sockets {
        let message = "converters behind sockets are not allowed";
        let help = "they run outside every sandbox; allow them with [hooks] sockets = true";
        problems.push(Problem::at(span, message).help(help));
        return;
    }
    // Both are relative to the same place, or absolute.
    let directory = hooks.directory.clone().unwrap_or_else(|| HOOKS.into());
    let upwards = socket.components().any(|part| matches!(part, Component::ParentDir));
    let below = socket.is_relative() || (socket.starts_with(&directory) && socket != directory);
    if upwards || !below {
        let message = format!("{} does not lie below {}", socket.display(), directory.display());
        problems.push(Problem::at(span, message).help("sockets of hooks lie below [hooks] directory"));
    }
}

fn check_when(place: &Place<'_>, index: &str, step: &StepTable, problems: &mut Vec<Problem>) {
    let Some(when) = &step.when else { return };
    if when.labels.is_empty() && when.annotations.is_empty() && when.os.is_empty() {
        let message = "when names no label, annotation or os";
        let help = "remove when, or say what has to hold: when = { os = [\"macos\"] }";
        problems.push(Problem::at(place.step(index, &["when"]), message).help(help));
    }
}
