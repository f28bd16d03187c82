//! The converters of a pipeline as KubeVirt's hooks.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;
use witvirt_core::domain::{DOMAIN_XML, Diagnostic, Severity};
use witvirt_core::{ErrorKind, Name};
use witvirt_hooks::cloud_init::CloudInitData;
use witvirt_hooks::server::{DomainCall, Hooks, Refusal};

use super::Plugins;
use super::pipeline;
use crate::api::document::{Context, Conversion, ConvertRequest};
use crate::api::{self, Error};
use crate::config::{Action, Config, Pipeline, Step};

/// Where KubeVirt's templates and preferences note the system of a guest: an annotation and a label.
const OF_SYSTEM: [&str; 2] = ["vm.kubevirt.io/os", "kubevirt.io/os"];

/// What a hook sidecar runs.
pub struct PipelineHooks {
    plugins: Plugins,
    domain: Pipeline,
    /// Of those converters that read and write the data of cloud-init; `None` where there are none.
    cloud_init: Option<Pipeline>,
}

impl PipelineHooks {
    /// Loads the plugins of one pipeline and no others. Blocks.
    ///
    /// # Errors
    /// When there is no such pipeline, it does not lead from domain XML to domain XML, or a plugin does not load.
    pub fn load(config: &Config, name: &str) -> anyhow::Result<Self> {
        let Some(domain) = config.pipelines.iter().find(|pipeline| pipeline.name.as_str() == name) else {
            let names: Vec<&str> = config.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
            bail!("there is no pipeline \"{}\"; the config has: {}", name.escape_debug(), names.join(", "));
        };
        if domain.source != DOMAIN_XML || domain.target != DOMAIN_XML {
            bail!(
                "pipeline {name} leads from {} to {}; launchers have domain XML and want it back: set source and target to \
                 \"{DOMAIN_XML}\"",
                domain.source,
                domain.target
            );
        }
        let mut needed = config.clone();
        let named: HashSet<&Name> = domain.steps.iter().flat_map(plugins_of).collect();
        needed.plugins.retain(|plugin| named.contains(&plugin.name));
        let plugins = load(needed).map_err(|failures| anyhow::anyhow!(failures.join("\n")))?;
        pipeline::check(domain, &plugins).with_context(|| format!("pipeline {name}"))?;
        let cloud_init = pipeline::cloud_init::pipeline(domain, &plugins);
        Ok(Self { plugins, domain: domain.clone(), cloud_init })
    }

    /// How many plugins serve.
    pub fn plugins(&self) -> usize {
        self.plugins.list().len()
    }

    fn run(&self, pipeline: &Pipeline, body: String, context: Context) -> Result<String, Refusal> {
        let request = ConvertRequest {
            media_type: pipeline.source.clone(),
            body,
            pipeline: Some(pipeline.name.to_string()),
            context: Some(context),
            ..ConvertRequest::default()
        };
        let converted = pipeline::convert(std::slice::from_ref(pipeline), &self.plugins, &request);
        result(converted.map_err(|error| refusal(&error))?)
    }
}

impl Hooks for PipelineHooks {
    fn define_domain(&self, call: &DomainCall) -> Result<String, Refusal> {
        let context = context(&call.vmi)?;
        tracing::info!(
            machine = context.name,
            namespace = context.namespace,
            invocation = call.invocation,
            "a domain is defined"
        );
        self.run(&self.domain, call.domain.clone(), context)
    }

    fn edits_cloud_init(&self) -> bool {
        self.cloud_init.is_some()
    }

    fn cloud_init(&self, data: CloudInitData, vmi: &str) -> Result<CloudInitData, Refusal> {
        let Some(pipeline) = &self.cloud_init else { return Ok(data) };
        let context = context(vmi)?;
        tracing::info!(machine = context.name, namespace = context.namespace, "cloud-init data is made");
        let body = serde_json::to_string(&data).map_err(|error| Refusal::invalid(error.to_string()))?;
        let edited = self.run(pipeline, body, context)?;
        serde_json::from_str(&edited).map_err(|error| Refusal {
            kind: ErrorKind::Plugin,
            message: format!("pipeline {} made no CloudInitData: {error}", pipeline.name),
        })
    }
}

/// Loads plugins, and compiles them for this run where the code that is there cannot be used and no other be kept: in
/// images it is of another user, or for another processor, and nothing of an image may be writable. The engine trusts the
/// directory for temporary files no more than any other.
fn load(mut config: Config) -> Result<Plugins, Vec<String>> {
    let failures = match Plugins::load(&config) {
        Ok(plugins) => return Ok(plugins),
        Err(failures) => failures,
    };
    let user = rustix::process::geteuid().as_raw();
    config.cache_directory = std::env::temp_dir().join(format!("witvirt-{user}"));
    let plugins = Plugins::load(&config).map_err(|more| [failures.clone(), more].concat())?;
    tracing::warn!(
        cache = %config.cache_directory.display(),
        "compiled plugins are kept elsewhere than the config says: {}",
        failures.join("; ")
    );
    Ok(plugins)
}

/// The plugins that a step may call.
fn plugins_of(step: &Step) -> Vec<&Name> {
    match &step.action {
        Action::Plugin(name) => vec![name],
        Action::Ordered(ordered) => ordered.plugins.values().collect(),
        Action::Socket(_) => Vec::new(),
    }
}

/// What hooks are told of a machine: from its VirtualMachineInstance, a Kubernetes object.
fn context(vmi: &str) -> Result<Context, Refusal> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Instance {
        metadata: Metadata,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Metadata {
        name: String,
        namespace: Option<String>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
    }
    if vmi.is_empty() {
        return Ok(Context::default());
    }
    let unreadable =
        |error: serde_json::Error| Refusal::invalid(format!("vmi is no VirtualMachineInstance: {error}"));
    let resource: Value = serde_json::from_str(vmi).map_err(unreadable)?;
    // Else serde reads a list as an object whose fields come in order.
    if !resource.is_object() {
        return Err(Refusal::invalid("vmi is no VirtualMachineInstance: it is no JSON object"));
    }
    let Metadata { name, namespace, labels, annotations } =
        Instance::deserialize(&resource).map_err(unreadable)?.metadata;
    let (labels, annotations) = (labels.unwrap_or_default(), annotations.unwrap_or_default());
    let os = OF_SYSTEM.iter().find_map(|key| annotations.get(*key).or_else(|| labels.get(*key)));
    // Other words are no names of systems, and nothing that keeps a machine from starting.
    let plain =
        |word: &String| word.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter));
    let os =
        os.filter(|word| plain(word) && (1..=63).contains(&word.len())).map(|word| word.to_ascii_lowercase());
    Ok(Context { name, namespace, labels, annotations, os, resource: Some(resource) })
}

/// The document at the end, or why there is none. What plugins say on the way goes to the log.
fn result(conversion: Conversion) -> Result<String, Refusal> {
    for stage in &conversion.stages {
        let plugin = stage.plugin.as_deref().unwrap_or_default();
        if let Some(reason) = &stage.skipped {
            tracing::info!(plugin, "passed over: {reason}");
        }
        stage.diagnostics.iter().for_each(|diagnostic| tell(plugin, diagnostic));
    }
    conversion.diagnostics.iter().for_each(|diagnostic| tell("", diagnostic));
    for conflict in &conversion.conflicts {
        tracing::warn!(
            first = conflict.first,
            second = conflict.second,
            line = conflict.line,
            "two hooks changed the same place; the second one's word counts"
        );
    }
    if !conversion.problems.is_empty() {
        return Err(Refusal { kind: ErrorKind::Other, message: conversion.problems.join("; ") });
    }
    let last = conversion.stages.into_iter().rev().find(|stage| stage.skipped.is_none());
    last.map(|stage| stage.body)
        .ok_or_else(|| Refusal { kind: ErrorKind::Other, message: "no stage".to_owned() })
}

fn tell(plugin: &str, diagnostic: &Diagnostic) {
    let Diagnostic { severity, code, message, path, line } = diagnostic;
    match severity {
        Severity::Error => tracing::error!(plugin, code, path, line, "{message}"),
        Severity::Warning => tracing::warn!(plugin, code, path, line, "{message}"),
        Severity::Info => tracing::info!(plugin, code, path, line, "{message}"),
    }
}

fn refusal(error: &Error) -> Refusal {
    let kind = match error.kind {
        api::ErrorKind::TooLarge => ErrorKind::Limit,
        api::ErrorKind::Invalid => ErrorKind::InvalidInput,
        _ => ErrorKind::Other,
    };
    Refusal { kind, message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_is_comes_from_its_object() {
        let vmi = r#"{"kind":"VirtualMachineInstance","metadata":{"name":"a","namespace":"b","labels":{"kubevirt.io/os":"linux"},
            "annotations":{"vm.kubevirt.io/os":"macos"},"creationTimestamp":null},"spec":{}}"#;
        let context = context(vmi).unwrap();
        assert_eq!(
            (context.name.as_str(), context.namespace.as_deref(), context.os.as_deref()),
            ("a", Some("b"), Some("macos"))
        );
        assert_eq!(context.labels["kubevirt.io/os"], "linux");
    }

    #[test]
    fn launchers_that_send_no_object_are_served() {
        assert_eq!(context("").unwrap(), Context::default());
        assert_eq!(context("{}").unwrap().name, "");
        let bare = context(r#"{"metadata":{"name":"a","labels":null}}"#).unwrap();
        assert!(bare.labels.is_empty() && bare.os.is_none());
        for odd in ["{", "[]", r#"{"metadata":{"labels":{"a":1}}}"#] {
            assert_eq!(context(odd).unwrap_err().kind, ErrorKind::InvalidInput, "{odd}");
        }
    }
}
