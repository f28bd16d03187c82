//! Domain converters: a fresh instance for each document.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::InstancePre;
use witvirt_core::PluginError;
use witvirt_core::domain::{Converter, Diagnostic, Document, Outcome, Severity};

use crate::bindings::converter::exports::witvirt::domain::converter as wit;
use crate::bindings::converter::{Converter as World, ConverterIndices};
use crate::revision::{Revision, Session};
use crate::state::State;
use crate::text::{MESSAGE, WORD, clean};

/// Bytes of a document, as the contract says.
const DOCUMENT: usize = 4 << 20;
/// Diagnostics of a conversion.
const DIAGNOSTICS: usize = 1000;
/// Pairs of media types.
const CONVERSIONS: usize = 64;

pub(crate) struct ConverterPlugin {
    revision: Arc<Revision>,
    indices: ConverterIndices,
    conversions: Vec<(String, String)>,
}

impl ConverterPlugin {
    pub(crate) fn new<E: From<PluginError>>(
        revision: Arc<Revision>,
        instance: &InstancePre<State>,
        session: &mut Session,
        mismatch: impl Fn(wasmtime::Error) -> E,
    ) -> Result<Self, E> {
        let indices = ConverterIndices::new(instance).map_err(mismatch)?;
        let mut plugin = Self { revision, indices, conversions: Vec::new() };
        plugin.conversions = plugin.ask_conversions(session)?;
        Ok(plugin)
    }

    fn ask_conversions(&self, session: &mut Session) -> Result<Vec<(String, String)>, PluginError> {
        let world = self.world(session)?;
        let conversions =
            session.call(&self.revision, |store| world.witvirt_domain_converter().call_conversions(store))?;
        if conversions.is_empty() || conversions.len() > CONVERSIONS {
            let count = conversions.len();
            return Err(self
                .revision
                .lied(format!("names {count} conversions, 1 to {CONVERSIONS} are expected")));
        }
        Ok(conversions.iter().map(|pair| (clean(&pair.source, WORD), clean(&pair.target, WORD))).collect())
    }

    fn world(&self, session: &mut Session) -> Result<World, PluginError> {
        let instance = session.instance;
        session.call(&self.revision, |store| self.indices.load(store, &instance))
    }

    fn outcome(&self, outcome: wit::Outcome, target: &str) -> Result<Outcome, PluginError> {
        let lied = |message: String| self.revision.lied(message);
        let document = outcome.document;
        if document.media_type != target {
            let given = clean(&document.media_type, WORD);
            return Err(lied(format!("was asked for {target} and answered with {given}")));
        }
        if document.body.len() > DOCUMENT {
            return Err(lied(format!(
                "answered with a document of {} bytes, at most {DOCUMENT} are taken",
                document.body.len()
            )));
        }
        if outcome.diagnostics.len() > DIAGNOSTICS {
            let count = outcome.diagnostics.len();
            return Err(lied(format!("answered with {count} diagnostics, at most {DIAGNOSTICS} are taken")));
        }
        Ok(Outcome {
            document: Document { media_type: document.media_type, body: document.body },
            diagnostics: outcome.diagnostics.into_iter().map(diagnostic).collect(),
        })
    }
}

impl Converter for ConverterPlugin {
    fn plugin(&self) -> &str {
        &self.revision.name
    }

    fn version(&self) -> &str {
        &self.revision.version
    }

    fn conversions(&self) -> &[(String, String)] {
        &self.conversions
    }

    fn convert_within(
        &self,
        input: &Document,
        target: &str,
        options: &serde_json::Value,
        timeout: Option<Duration>,
    ) -> Result<Outcome, PluginError> {
        if input.body.len() > DOCUMENT {
            let message =
                format!("the document has {} bytes, at most {DOCUMENT} are converted", input.body.len());
            return Err(self.revision.error(witvirt_core::ErrorKind::Limit, message, Vec::new()));
        }
        let mut session = self.revision.ready_within(timeout)?;
        let world = self.world(&mut session)?;
        let document = wit::Document { media_type: input.media_type.clone(), body: input.body.clone() };
        let options = options.to_string();
        let outcome = session
            .call(&self.revision, |store| {
                world.witvirt_domain_converter().call_convert(store, &document, target, &options)
            })?
            .map_err(|error| self.revision.reported(error))?;
        self.outcome(outcome, target)
    }
}

fn diagnostic(diagnostic: wit::Diagnostic) -> Diagnostic {
    Diagnostic {
        severity: match diagnostic.severity {
            1 => Severity::Error,
            3 => Severity::Info,
            // A level of a later contract must not go unseen.
            _ => Severity::Warning,
        },
        code: clean(&diagnostic.code, WORD),
        message: clean(&diagnostic.message, MESSAGE),
        path: diagnostic.path.map(|path| clean(&path, MESSAGE)),
        line: diagnostic.line,
    }
}
