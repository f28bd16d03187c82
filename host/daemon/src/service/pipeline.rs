//! From a document to a machine, through the converters that the config names.

use std::sync::Arc;

use serde_json::json;
use witvirt_core::Name;
use witvirt_core::domain::{Converter, Document, MACHINE_JSON, Outcome, Severity};
use witvirt_core::spec::MachineSpec;

use crate::api::document::{Conversion, ConvertRequest, Stage};
use crate::api::{Error, ErrorKind};
use crate::config::Pipeline;

/// The largest document, in bytes (`witvirt:domain/converter.document`).
const LARGEST_DOCUMENT: usize = 4 << 20;

/// Who has the converters.
pub trait Converters {
    /// The plugin of this name.
    fn converter(&self, name: &Name) -> Option<Arc<dyn Converter>>;
}

/// A converter and the media type that it is asked for.
struct Step {
    converter: Arc<dyn Converter>,
    target: String,
}

/// Converts a document and keeps every stage. What refuses the result is in `problems`. Blocks.
///
/// # Errors
/// When no pipeline takes the document, or its converters do not fit together.
pub fn convert(
    pipelines: &[Pipeline],
    converters: &dyn Converters,
    request: &ConvertRequest,
) -> Result<Conversion, Error> {
    if request.body.len() > LARGEST_DOCUMENT {
        let message =
            format!("the document is {} bytes long, more than {LARGEST_DOCUMENT}", request.body.len());
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    if request.media_type == MACHINE_JSON {
        return Ok(without_converters(request));
    }
    let pipeline = choose(pipelines, request.pipeline.as_deref(), &request.media_type)?;
    let steps = plan(pipeline, converters, &request.media_type, request.to.as_deref())?;
    let mut conversion = begin(pipeline.name.as_str(), request);
    let options = request.name.as_ref().map_or_else(|| json!({}), |name| json!({ "name": name }));
    let mut document = Document { media_type: request.media_type.clone(), body: request.body.clone() };
    for step in &steps {
        match step.converter.convert(&document, &step.target, &options) {
            Ok(outcome) => document = keep(&mut conversion, step, outcome),
            Err(error) => conversion.problems.push(error.to_string()),
        }
        if !conversion.problems.is_empty() {
            return Ok(conversion);
        }
    }
    if document.media_type == MACHINE_JSON {
        let maker = steps
            .last()
            .map(|step| format!("plugin {} {}", step.converter.plugin(), step.converter.version()));
        finish(&mut conversion, &document.body, &maker.unwrap_or_default(), request.name.as_deref());
    }
    Ok(conversion)
}

/// The pipeline that a document takes.
fn choose<'p>(
    pipelines: &'p [Pipeline],
    name: Option<&str>,
    media_type: &str,
) -> Result<&'p Pipeline, Error> {
    let names = || pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect::<Vec<_>>().join(", ");
    let Some(name) = name else {
        let found = pipelines.iter().find(|pipeline| pipeline.automatic && pipeline.source == media_type);
        return found.ok_or_else(|| {
            Error::new(ErrorKind::Refused, format!("no pipeline takes documents of type {media_type}"))
                .hint("add a [pipeline.NAME] with that source to witvirt.toml")
        });
    };
    let found = pipelines.iter().find(|pipeline| pipeline.name.as_str() == name).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("there is no pipeline \"{}\"", name.escape_debug()))
            .hint(format!("there are: {}", names()))
    })?;
    if found.source != media_type {
        let message = format!("pipeline {name} takes {}, and the document is {media_type}", found.source);
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Ok(found)
}

/// Whether the chain of a pipeline leads to a machine; for the check of a config.
///
/// # Errors
/// Where it breaks.
pub fn check(pipeline: &Pipeline, converters: &dyn Converters) -> Result<(), Error> {
    plan(pipeline, converters, &pipeline.source, None).map(drop)
}

/// Which media type each converter is asked for, so that the last one makes `to` (a machine when absent). A chain that
/// passes `to` on its way is cut there.
fn plan(
    pipeline: &Pipeline,
    converters: &dyn Converters,
    source: &str,
    to: Option<&str>,
) -> Result<Vec<Step>, Error> {
    let mut chain = Vec::new();
    for name in &pipeline.converters {
        let converter = converters.converter(name).ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                format!("pipeline {}: the plugin {name} is not loaded", pipeline.name),
            )
            .hint("`witvirt plugin ls` shows why")
        })?;
        chain.push(converter);
    }
    let targets = path(&chain, source, MACHINE_JSON).ok_or_else(|| broken(pipeline, &chain, source))?;
    let mut steps: Vec<Step> =
        chain.into_iter().zip(targets).map(|(converter, target)| Step { converter, target }).collect();
    if let Some(to) = to {
        let last = steps.iter().rposition(|step| step.target == to);
        match last {
            Some(last) => steps.truncate(last + 1),
            None if to == source => steps.clear(),
            None => {
                let message = format!("pipeline {} makes no document of type {to}", pipeline.name);
                return Err(Error::new(ErrorKind::Invalid, message));
            }
        }
    }
    Ok(steps)
}

/// A target for each converter such that each takes what the one before it made and the last makes `end`.
fn path(chain: &[Arc<dyn Converter>], source: &str, end: &str) -> Option<Vec<String>> {
    let (first, rest) = chain.split_first()?;
    for (from, to) in first.conversions() {
        if from != source {
            continue;
        }
        if rest.is_empty() {
            if to == end {
                return Some(vec![to.clone()]);
            }
        } else if let Some(mut targets) = path(rest, to, end) {
            targets.insert(0, to.clone());
            return Some(targets);
        }
    }
    None
}

fn broken(pipeline: &Pipeline, chain: &[Arc<dyn Converter>], source: &str) -> Error {
    let parts: Vec<String> = chain
        .iter()
        .map(|converter| {
            let pairs = converter.conversions().iter().map(|(from, to)| format!("{from} -> {to}"));
            format!("{} ({})", converter.plugin(), pairs.collect::<Vec<_>>().join(", "))
        })
        .collect();
    let message = format!(
        "pipeline {}: these converters do not lead from {source} to {MACHINE_JSON}: {}",
        pipeline.name,
        parts.join(", then ")
    );
    Error::new(ErrorKind::Invalid, message).hint("correct converters in [pipeline] of witvirt.toml")
}

fn begin(pipeline: &str, request: &ConvertRequest) -> Conversion {
    let input = Stage {
        plugin: None,
        version: None,
        media_type: request.media_type.clone(),
        body: request.body.clone(),
        diagnostics: Vec::new(),
    };
    Conversion { pipeline: pipeline.to_owned(), stages: vec![input], machine: None, problems: Vec::new() }
}

/// Records a stage; a diagnostic of severity error becomes a problem.
fn keep(conversion: &mut Conversion, step: &Step, outcome: Outcome) -> Document {
    let (plugin, version) = (step.converter.plugin(), step.converter.version());
    let Outcome { document, diagnostics } = outcome;
    for diagnostic in diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error) {
        let line = diagnostic.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let path = diagnostic.path.as_deref().map(|path| format!("{path}: ")).unwrap_or_default();
        let message =
            format!("plugin {plugin} {version}: {line}{path}{} ({})", diagnostic.message, diagnostic.code);
        conversion.problems.push(message);
    }
    if document.media_type != step.target {
        let message = format!(
            "plugin {plugin} {version} was asked for {} and made {}",
            step.target, document.media_type
        );
        conversion.problems.push(message);
    }
    conversion.stages.push(Stage {
        plugin: Some(plugin.to_owned()),
        version: Some(version.to_owned()),
        media_type: document.media_type.clone(),
        body: readable(&document),
        diagnostics,
    });
    document
}

/// JSON with one value in each line, so that differences show; anything else as it is.
fn readable(document: &Document) -> String {
    if document.media_type != MACHINE_JSON {
        return document.body.clone();
    }
    let parsed = serde_json::from_str::<serde_json::Value>(&document.body);
    parsed.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| document.body.clone())
}

fn without_converters(request: &ConvertRequest) -> Conversion {
    let mut conversion = begin("none", request);
    finish(&mut conversion, &request.body, "the document", request.name.as_deref());
    conversion
}

/// Reads the machine as if a stranger had typed it.
fn finish(conversion: &mut Conversion, body: &str, maker: &str, name: Option<&str>) {
    let mut spec: MachineSpec = match serde_json::from_str(body) {
        Ok(spec) => spec,
        Err(error) => return conversion.problems.push(format!("{maker} is no machine: {error}")),
    };
    match name.map(Name::new).transpose() {
        Ok(Some(name)) => spec.name = name,
        Ok(None) => {}
        Err(error) => return conversion.problems.push(error.to_string()),
    }
    conversion.problems.extend(spec.validate().iter().map(ToString::to_string));
    conversion.machine = Some(spec);
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
