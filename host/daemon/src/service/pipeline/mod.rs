//! From a document to a machine, through the converters that the config names.

mod condition;
mod conflict;
mod context;
mod plan;
mod run;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use witvirt_core::Name;
use witvirt_core::domain::{CONTEXT_JSON, Converter, Diagnostic, Document, MACHINE_JSON, MACHINES_JSON};
use witvirt_core::hook::DomainHook;
use witvirt_core::spec::MachineSpec;

use crate::api::document::{Conversion, ConvertRequest, Stage};
use crate::api::{Error, ErrorKind};
use crate::config::Pipeline;
use plan::{Plan, offers, plan};
use run::Run;

/// The largest document, in bytes (`witvirt:domain/converter.document`).
const LARGEST_DOCUMENT: usize = 4 << 20;
/// The longest path of a directory, in bytes (PATH_MAX).
const LONGEST_PATH: usize = 4096;

/// Who has the converters.
pub trait Converters {
    /// The plugin of this name.
    fn converter(&self, name: &Name) -> Option<Arc<dyn Converter>>;

    /// The hook behind a socket; `None` where nothing speaks to such hooks.
    fn hook(&self, socket: &Path) -> Option<Arc<dyn DomainHook>> {
        let _nobody_speaks_to_it = socket;
        None
    }
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
    check_request(request)?;
    if request.media_type == MACHINE_JSON && request.pipeline.is_none() {
        return Ok(without_converters(request));
    }
    let pipeline = choose(pipelines, request.pipeline.as_deref(), &request.media_type)?;
    let mut plan = plan(pipeline, converters)?;
    let mut conversion = begin(pipeline.name.as_str(), request);
    match request.to.as_deref() {
        Some(to @ (CONTEXT_JSON | MACHINES_JSON)) => {
            inform(&plan, request, to, &mut conversion)?;
            return Ok(conversion);
        }
        Some(to) if !plan.cut(&request.media_type, to) => {
            let message = format!("pipeline {} makes no document of type {to}", pipeline.name);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        _ => {}
    }
    let document = Run::new(&plan, request, &mut conversion).all();
    if !conversion.problems.is_empty()
        && let Some(machines) = several(&plan, request)
    {
        let mut conversion = begin(pipeline.name.as_str(), request);
        conversion.problems.push(format!(
            "the document holds {} machines: {}; one of them has to be selected",
            machines.len(),
            machines.join(", ")
        ));
        conversion.machines = machines;
        return Ok(conversion);
    }
    conversion.conflicts = conflict::find(&conversion.stages);
    if document.media_type == MACHINE_JSON && conversion.problems.is_empty() {
        finish(&mut conversion, &document.body, request.name.as_deref());
    }
    Ok(conversion)
}

fn check_request(request: &ConvertRequest) -> Result<(), Error> {
    if request.body.len() > LARGEST_DOCUMENT {
        let message =
            format!("the document is {} bytes long, more than {LARGEST_DOCUMENT}", request.body.len());
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    if let Some(directory) = &request.directory {
        let sane = directory.len() <= LONGEST_PATH && !directory.contains(char::is_control);
        if !sane || !Path::new(directory).is_absolute() {
            let message = "the directory of a document is an absolute path without control characters";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
    }
    let context = request.context.as_ref().map(context::check);
    context
        .transpose()
        .map_err(|problem| Error::new(ErrorKind::Invalid, format!("the context: {problem}")))?;
    Ok(())
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

/// Whether the chain of a pipeline leads to its end, whichever of its hooks are passed over; for the check of a config.
///
/// # Errors
/// Where it breaks.
pub fn check(pipeline: &Pipeline, converters: &dyn Converters) -> Result<(), Error> {
    plan(pipeline, converters).map(drop)
}

/// Options of `witvirt:domain/converter.convert`, without a context.
fn options(request: &ConvertRequest) -> Map<String, Value> {
    let given = [("name", &request.name), ("select", &request.select), ("directory", &request.directory)];
    let given = given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?.into())));
    given.collect()
}

fn document(request: &ConvertRequest) -> Document {
    Document { media_type: request.media_type.clone(), body: request.body.clone() }
}

/// Adds what a document says of itself.
fn inform(plan: &Plan, request: &ConvertRequest, to: &str, conversion: &mut Conversion) -> Result<(), Error> {
    let reader = plan.informants.iter().find(|plugin| offers(plugin.as_ref(), &request.media_type, to));
    let reader = reader.ok_or_else(|| {
        let message =
            format!("no converter of pipeline {} makes {to} of {}", conversion.pipeline, request.media_type);
        Error::new(ErrorKind::Invalid, message)
    })?;
    let asked = plan::Planned {
        callee: plan::Callee::Plugin(Arc::clone(reader)),
        from: request.media_type.clone(),
        target: to.to_owned(),
        timeout: None,
        on_failure: crate::config::StepFailure::Refuse,
        when: None,
    };
    let plan = Plan { steps: vec![asked], informants: Vec::new() };
    Run::new(&plan, request, conversion).all();
    Ok(())
}

/// The machines of a document that holds several and of which none was selected. Only asked once a converter has refused the
/// document, as it has to where it cannot know which one is meant.
fn several(plan: &Plan, request: &ConvertRequest) -> Option<Vec<String>> {
    if request.select.is_some() {
        return None;
    }
    let options = Value::Object(options(request));
    // Where this fails too, the first failure tells more.
    let machines = context::machines(&plan.informants, &document(request), &options).ok()??;
    (machines.len() > 1).then_some(machines)
}

fn begin(pipeline: &str, request: &ConvertRequest) -> Conversion {
    let input = Stage {
        plugin: None,
        version: None,
        media_type: request.media_type.clone(),
        body: request.body.clone(),
        skipped: None,
        diagnostics: Vec::new(),
    };
    Conversion {
        pipeline: pipeline.to_owned(),
        stages: vec![input],
        machine: None,
        problems: Vec::new(),
        diagnostics: Vec::new(),
        conflicts: Vec::new(),
        machines: Vec::new(),
    }
}

/// "plugin x 1.2: line 7: /domain: cannot be (x.y)".
fn told(who: &str, diagnostic: &Diagnostic) -> String {
    let line = diagnostic.line.map(|line| format!("line {line}: ")).unwrap_or_default();
    let path = diagnostic.path.as_deref().map(|path| format!("{path}: ")).unwrap_or_default();
    format!("{who}: {line}{path}{} ({})", diagnostic.message, diagnostic.code)
}

fn without_converters(request: &ConvertRequest) -> Conversion {
    let mut conversion = begin("none", request);
    finish(&mut conversion, &request.body, request.name.as_deref());
    conversion
}

/// Reads the machine as if a stranger had typed it.
fn finish(conversion: &mut Conversion, body: &str, name: Option<&str>) {
    let maker = conversion.stages.iter().rev().find(|stage| stage.skipped.is_none());
    let maker = maker.and_then(|stage| Some((stage.plugin.as_ref()?, stage.version.as_ref()?)));
    let maker = maker.map_or("the document".to_owned(), |(name, version)| format!("plugin {name} {version}"));
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
mod steps_tests;
#[cfg(test)]
mod tests;
