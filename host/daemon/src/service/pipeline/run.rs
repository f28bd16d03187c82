//! One document on its way through a plan.

use std::time::Duration;

use serde_json::{Map, Value, json};
use witvirt_core::PluginError;
use witvirt_core::domain::{Converter, DOMAIN_XML, Document, MACHINE_JSON, Outcome, Severity};
use witvirt_core::hook::DomainHook;

use super::condition::{chosen, remark, unmet};
use super::plan::{Callee, Plan, Planned};
use super::{LARGEST_DOCUMENT, context, told};
use crate::api::document::{Context, Conversion, ConvertRequest, Stage};
use crate::config::StepFailure;

/// Bytes of all stages that are kept of one conversion.
const STAGES: usize = 64 << 20;
/// Time for a call of a sidecar where the config says nothing.
const SIDECAR: Duration = Duration::from_secs(5);

/// The state of a conversion.
pub(super) struct Run<'a> {
    plan: &'a Plan,
    conversion: &'a mut Conversion,
    document: Document,
    options: Map<String, Value>,
    /// What hooks are told; known once one needs it.
    context: Option<Context>,
    source: &'a ConvertRequest,
    /// Bytes of the stages so far.
    kept: usize,
}

/// What is called in one step.
enum Call<'a> {
    Plugin(&'a dyn Converter),
    Socket(&'a dyn DomainHook),
}

impl Call<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Plugin(plugin) => plugin.plugin(),
            Self::Socket(hook) => hook.name(),
        }
    }

    /// A sidecar has none.
    fn version(&self) -> Option<&str> {
        match self {
            Self::Plugin(plugin) => Some(plugin.version()),
            Self::Socket(_) => None,
        }
    }

    /// In messages.
    fn title(&self) -> String {
        match self {
            Self::Plugin(plugin) => format!("plugin {} {}", plugin.plugin(), plugin.version()),
            Self::Socket(hook) => format!("hook {}", hook.name()),
        }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(plan: &'a Plan, request: &'a ConvertRequest, conversion: &'a mut Conversion) -> Self {
        Self {
            plan,
            conversion,
            document: super::document(request),
            options: super::options(request),
            context: request.context.clone(),
            source: request,
            kept: request.body.len(),
        }
    }

    /// Takes every step until one refuses the document.
    pub(super) fn all(mut self) -> Document {
        for step in &self.plan.steps {
            self.step(step);
            if !self.conversion.problems.is_empty() {
                break;
            }
        }
        self.document
    }

    fn step(&mut self, step: &Planned) {
        if step.is_hook()
            && let Err(problem) = self.learn()
        {
            return self.conversion.problems.push(problem);
        }
        let reason = match (&step.when, &self.context) {
            (Some(when), Some(context)) => unmet(when, context),
            _ => None,
        };
        let calls = match &step.callee {
            Callee::Plugin(plugin) => vec![Call::Plugin(plugin.as_ref())],
            Callee::Socket(hook) => vec![Call::Socket(hook.as_ref())],
            Callee::Ordered(choice) if reason.is_none() => {
                let (plugins, remarks) = chosen(choice, self.context.as_ref().unwrap_or(&Context::default()));
                self.conversion.diagnostics.extend(remarks);
                plugins.into_iter().map(|plugin| Call::Plugin(plugin.as_ref())).collect()
            }
            Callee::Ordered(choice) => {
                let message = format!(
                    "the hooks of {} were passed over: {}",
                    choice.annotation,
                    reason.unwrap_or_default()
                );
                return self.conversion.diagnostics.push(remark(
                    Severity::Info,
                    "pipeline.hook.passed",
                    message,
                ));
            }
        };
        for call in calls {
            match &reason {
                Some(reason) => self.pass_over(&call, reason.clone(), false),
                None => self.call(step, &call),
            }
            if !self.conversion.problems.is_empty() {
                return;
            }
        }
    }

    /// Finds out what hooks are told: from the document as it came, else from what it has become.
    fn learn(&mut self) -> Result<(), String> {
        if self.context.is_some() {
            return Ok(());
        }
        let options = Value::Object(self.options.clone());
        let source = super::document(self.source);
        let mut found = context::of(&self.plan.informants, &source, &options)?;
        if found.is_none() && source.media_type != self.document.media_type {
            found = context::of(&self.plan.informants, &self.document, &options)?;
        }
        self.context = Some(found.unwrap_or_default());
        Ok(())
    }

    fn call(&mut self, step: &Planned, call: &Call<'_>) {
        let answer = match call {
            Call::Plugin(plugin) => {
                let options = self.options_for(step);
                plugin.convert_within(&self.document, &step.target, &options, step.timeout)
            }
            Call::Socket(hook) => self.ask_hook(*hook, step.timeout.unwrap_or(SIDECAR)),
        };
        let refusals = match &answer {
            Ok(outcome) => self.refusals(step, call, outcome),
            Err(error) => vec![error.to_string()],
        };
        match answer {
            Ok(outcome) if refusals.is_empty() => self.keep(call, outcome),
            _ if step.on_failure == StepFailure::Skip => self.pass_over(call, refusals.join("; "), true),
            answer => {
                if let Some(outcome) = answer.ok().filter(|one| one.document.body.len() <= LARGEST_DOCUMENT) {
                    self.keep(call, outcome);
                }
                self.conversion.problems.extend(refusals);
            }
        }
    }

    /// Hooks are told what is known of the machine, without the resource itself: it may be large, and holds what a hook has
    /// no need to know.
    fn options_for(&self, step: &Planned) -> Value {
        let mut options = self.options.clone();
        if let (true, Some(context)) = (step.is_hook(), &self.context) {
            let bare = json!({
                "name": context.name,
                "namespace": context.namespace,
                "labels": context.labels,
                "annotations": context.annotations,
                "os": context.os,
            });
            options.insert("context".to_owned(), without_null(bare));
        }
        Value::Object(options)
    }

    fn ask_hook(&self, hook: &dyn DomainHook, timeout: Duration) -> Result<Outcome, PluginError> {
        let resource = self.context.as_ref().and_then(|context| context.resource.as_ref());
        let none = json!({});
        let vmi = resource.unwrap_or(&none);
        let body = if self.document.media_type == DOMAIN_XML {
            hook.define_domain(&self.document.body, vmi, timeout)?
        } else {
            let data = serde_json::from_str(&self.document.body).map_err(|error| PluginError {
                plugin: hook.name().to_owned(),
                version: String::new(),
                kind: witvirt_core::ErrorKind::InvalidInput,
                message: format!("the document is no JSON: {error}"),
                context: Vec::new(),
            })?;
            hook.cloud_init(&data, vmi, timeout)?.to_string()
        };
        let document = Document { media_type: self.document.media_type.clone(), body };
        Ok(Outcome { document, diagnostics: Vec::new() })
    }

    /// Why an answer must not be used.
    fn refusals(&self, step: &Planned, call: &Call<'_>, outcome: &Outcome) -> Vec<String> {
        let title = call.title();
        let errors = outcome.diagnostics.iter().filter(|one| one.severity == Severity::Error);
        let mut refusals: Vec<String> = errors.map(|error| told(&title, error)).collect();
        let Document { media_type, body } = &outcome.document;
        if *media_type != step.target {
            refusals.push(format!("{title} was asked for {} and made {media_type}", step.target));
        }
        if body.len() > LARGEST_DOCUMENT {
            refusals.push(format!("{title} made {} bytes, more than {LARGEST_DOCUMENT}", body.len()));
        } else if self.kept + body.len() > STAGES {
            refusals.push(format!("{title}: the stages of this conversion take more than {STAGES} bytes"));
        }
        refusals
    }

    fn keep(&mut self, call: &Call<'_>, outcome: Outcome) {
        let Outcome { document, diagnostics } = outcome;
        self.kept += document.body.len();
        self.conversion.stages.push(Stage {
            plugin: Some(call.name().to_owned()),
            version: call.version().map(str::to_owned),
            media_type: document.media_type.clone(),
            body: readable(&document),
            skipped: None,
            diagnostics,
        });
        self.document = document;
    }

    /// Notes that the document goes on as it was; with a warning where that is a failure.
    fn pass_over(&mut self, call: &Call<'_>, reason: String, failed: bool) {
        let remark = failed.then(|| {
            let message = format!("{} was skipped, and what it does is not done: {reason}", call.title());
            remark(Severity::Warning, "pipeline.hook.skipped", message)
        });
        self.conversion.stages.push(Stage {
            plugin: Some(call.name().to_owned()),
            version: call.version().map(str::to_owned),
            media_type: self.document.media_type.clone(),
            body: String::new(),
            skipped: Some(reason),
            diagnostics: remark.into_iter().collect(),
        });
    }
}

fn without_null(value: Value) -> Value {
    let Value::Object(map) = value else { return value };
    map.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

/// JSON with one value in each line, so that differences show; anything else as it is.
fn readable(document: &Document) -> String {
    if document.media_type != MACHINE_JSON {
        return document.body.clone();
    }
    let parsed = serde_json::from_str::<Value>(&document.body);
    parsed.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| document.body.clone())
}
