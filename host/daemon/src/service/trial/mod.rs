//! Tries plugins out: that they answer the same each time, that hooks leave their own result as it is, and that what makes
//! no sense is refused without breaking.
//!
//! A plugin that refuses a document has done its work; a plugin that traps, runs out of its limits or breaks the contract
//! has not.

mod converter;
mod other;

use serde::Serialize;
use witvirt_core::plugin::PluginKind;
use witvirt_core::{ErrorKind, PluginError};
use witvirt_engine::Plugin;

use super::Plugins;
use crate::api::document::Context;
use crate::api::{Error, ErrorKind as Kind};

/// A document to try converters with.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its media type.
    pub media_type: String,
    /// The text.
    pub body: String,
    /// What relative paths in it are relative to.
    pub directory: String,
}

/// What came of one plugin.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trial {
    /// Its name in the config.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Its contract.
    pub kind: PluginKind,
    /// What was tried.
    pub checks: Vec<Check>,
}

/// One thing that was tried.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Check {
    /// What.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
    /// Why, or what is worth knowing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it has to be.
    Pass,
    /// The plugin refuses the document, the same way each time.
    Refused,
    /// Nothing to try it with.
    Skipped,
    /// Not as it has to be.
    Fail,
}

impl Trial {
    /// Whether nothing failed.
    pub fn good(&self) -> bool {
        self.checks.iter().all(|check| check.verdict != Verdict::Fail)
    }
}

impl Check {
    fn pass(name: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Pass, detail: None }
    }

    fn fail(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Fail, detail: Some(detail.into()) }
    }

    fn with(name: impl Into<String>, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { name: name.into(), verdict, detail: Some(detail.into()) }
    }

    /// Of an answer to what makes no sense.
    fn survives<T>(name: impl Into<String>, answer: &Result<T, PluginError>) -> Self {
        match answer {
            Err(error) if is_broken(error) => Self::fail(name, error.to_string()),
            _ => Self::pass(name),
        }
    }
}

/// Whether an error is the plugin's fault and not the document's.
fn is_broken(error: &PluginError) -> bool {
    matches!(error.kind, ErrorKind::Plugin | ErrorKind::Limit)
}

/// Tries plugins out, all of them where none is named. Loading them has asked each for its description and configured it.
/// Blocks.
///
/// # Errors
/// [`Kind::NotFound`], and a document for a plugin that takes none.
pub fn run(
    plugins: &Plugins,
    name: Option<&str>,
    sample: Option<&Sample>,
    context: &Context,
) -> Result<Vec<Trial>, Error> {
    if let Some(name) = name {
        plugins.inspect(name)?;
    }
    let mut trials = Vec::new();
    for (plugin, report) in plugins.loaded() {
        if name.is_some_and(|name| name != report.name) {
            continue;
        }
        let mut checks = vec![Check::pass("describe and configure")];
        checks.extend(match &plugin {
            Plugin::Converter(plugin) => converter::checks(plugin.as_ref(), sample, context)?,
            _ if sample.is_some() => {
                let message = format!("plugin {} takes no documents", report.name);
                return Err(Error::new(Kind::Invalid, message));
            }
            Plugin::Format(plugin) => other::format(plugin.as_ref()),
            Plugin::Policy(plugin) => other::policy(plugin.as_ref()),
            Plugin::Artifact(plugin) => other::artifact(plugin.as_ref()),
        });
        trials.push(Trial { plugin: report.name, version: report.version, kind: report.kind, checks });
    }
    Ok(trials)
}
