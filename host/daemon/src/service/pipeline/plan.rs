//! Which converters a document passes, and which media type each is asked for: found before anything runs, so that the chain
//! holds together whichever of its hooks are passed over.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use witvirt_core::Name;
use witvirt_core::domain::{CLOUD_INIT_JSON, Converter, DOMAIN_XML};
use witvirt_core::hook::DomainHook;

use super::Converters;
use crate::api::{Error, ErrorKind};
use crate::config::{Action, Pipeline, Step, StepFailure, WhenTable};

/// The way of a document.
pub(super) struct Plan {
    /// In order.
    pub steps: Vec<Planned>,
    /// Converters that always run, whatever the document: who may be asked what a document says.
    pub informants: Vec<Arc<dyn Converter>>,
}

/// A step and the media types on both sides of it.
pub(super) struct Planned {
    /// What runs.
    pub callee: Callee,
    /// What it is given.
    pub from: String,
    /// What it is asked for.
    pub target: String,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// What its failure means.
    pub on_failure: StepFailure,
    /// When it runs.
    pub when: Option<WhenTable>,
}

/// What runs in a step.
pub(super) enum Callee {
    /// A plugin.
    Plugin(Arc<dyn Converter>),
    /// Those that an annotation names.
    Ordered(Choice),
    /// A sidecar.
    Socket(Arc<dyn DomainHook>),
}

/// Hooks by the names that annotations have for them.
pub(super) struct Choice {
    /// The annotation.
    pub annotation: String,
    /// What its words mean.
    pub plugins: BTreeMap<String, Arc<dyn Converter>>,
    /// The words that count without it.
    pub otherwise: Vec<String>,
}

impl Planned {
    /// Whether it changes a document and leaves its type.
    pub fn is_hook(&self) -> bool {
        self.from == self.target
    }
}

/// Whether a plugin converts the one into the other.
pub(super) fn offers(converter: &dyn Converter, from: &str, to: &str) -> bool {
    converter.conversions().iter().any(|(source, target)| source == from && target == to)
}

/// The whole chain of a pipeline.
///
/// # Errors
/// When a plugin is not loaded, or the chain does not hold together.
pub(super) fn plan(pipeline: &Pipeline, converters: &dyn Converters) -> Result<Plan, Error> {
    let mut chain = Vec::new();
    for step in &pipeline.steps {
        chain.push((step, callee(pipeline, step, converters)?));
    }
    let targets = path(&chain, &pipeline.source, &pipeline.target, &mut HashSet::new())
        .ok_or_else(|| broken(pipeline, &chain))?;
    let informants = chain.iter().filter(|(step, _)| !step.may_be_passed_over());
    let informants = informants.filter_map(|(_, callee)| match callee {
        Callee::Plugin(converter) => Some(Arc::clone(converter)),
        _ => None,
    });
    let informants = informants.collect();
    let sources = std::iter::once(pipeline.source.clone()).chain(targets.clone());
    let steps = chain.into_iter().zip(sources.zip(targets)).map(|((step, callee), (from, target))| Planned {
        callee,
        from,
        target,
        timeout: step.timeout,
        on_failure: step.on_failure,
        when: step.when.clone(),
    });
    Ok(Plan { steps: steps.collect(), informants })
}

impl Plan {
    /// Cuts the chain after the last document of this type; `false` where it passes none.
    pub fn cut(&mut self, source: &str, to: &str) -> bool {
        match self.steps.iter().rposition(|step| step.target == to) {
            Some(last) => self.steps.truncate(last + 1),
            None if to == source => self.steps.clear(),
            None => return false,
        }
        true
    }
}

fn callee(pipeline: &Pipeline, step: &Step, converters: &dyn Converters) -> Result<Callee, Error> {
    let unavailable =
        |what: String| Error::new(ErrorKind::Unavailable, format!("pipeline {}: {what}", pipeline.name));
    let plugin = |name: &Name| {
        converters.converter(name).ok_or_else(|| {
            unavailable(format!("the plugin {name} is not loaded")).hint("`witvirt plugin ls` shows why")
        })
    };
    Ok(match &step.action {
        Action::Plugin(name) => Callee::Plugin(plugin(name)?),
        Action::Socket(socket) => {
            Callee::Socket(converters.hook(socket).ok_or_else(|| {
                unavailable(format!("nothing here speaks to the hook {}", socket.display()))
            })?)
        }
        Action::Ordered(ordered) => {
            let named = |(word, name): (&String, &Name)| plugin(name).map(|plugin| (word.clone(), plugin));
            Callee::Ordered(Choice {
                annotation: ordered.annotation.clone(),
                plugins: ordered.plugins.iter().map(named).collect::<Result<_, _>>()?,
                otherwise: ordered.otherwise.clone(),
            })
        }
    })
}

/// The types that a step can make of one type, in the order in which they are tried.
fn targets<'c>(step: &Step, callee: &'c Callee, from: &'c str) -> Vec<&'c str> {
    let same = |fits: bool| if fits { vec![from] } else { Vec::new() };
    match callee {
        // Sidecars know these two calls.
        Callee::Socket(_) => same([DOMAIN_XML, CLOUD_INIT_JSON].contains(&from)),
        Callee::Ordered(choice) => {
            same(choice.plugins.values().all(|plugin| offers(plugin.as_ref(), from, from)))
        }
        Callee::Plugin(plugin) if step.may_be_passed_over() => same(offers(plugin.as_ref(), from, from)),
        Callee::Plugin(plugin) => {
            let pairs = plugin.conversions().iter().filter(|(source, _)| source == from);
            pairs.map(|(_, target)| target.as_str()).collect()
        }
    }
}

/// A target for each step such that each takes what the one before it made and the last makes `end`. `dead`: from where no
/// way leads there.
fn path(
    chain: &[(&Step, Callee)],
    from: &str,
    end: &str,
    dead: &mut HashSet<(usize, String)>,
) -> Option<Vec<String>> {
    let Some(((step, callee), rest)) = chain.split_first() else {
        return (from == end).then(Vec::new);
    };
    let here = (chain.len(), from.to_owned());
    if dead.contains(&here) {
        return None;
    }
    for to in targets(step, callee, from) {
        if let Some(mut way) = path(rest, to, end, dead) {
            way.insert(0, to.to_owned());
            return Some(way);
        }
    }
    dead.insert(here);
    None
}

fn broken(pipeline: &Pipeline, chain: &[(&Step, Callee)]) -> Error {
    let parts: Vec<String> = chain.iter().map(|(step, callee)| told(step, callee)).collect();
    let message = format!(
        "pipeline {}: these converters do not lead from {} to {}: {}",
        pipeline.name,
        pipeline.source,
        pipeline.target,
        parts.join(", then ")
    );
    let error =
        Error::new(ErrorKind::Invalid, message).hint("correct converters in [pipeline] of witvirt.toml");
    match chain.iter().any(|(step, _)| step.may_be_passed_over()) {
        true => error.hint(
            "what may be passed over (when, on-failure = \"skip\", order-from, socket) has to leave the type of the \
             document as it is: the source converter and the last one cannot be passed over",
        ),
        false => error,
    }
}

fn told(step: &Step, callee: &Callee) -> String {
    let one = |plugin: &Arc<dyn Converter>| {
        let pairs = plugin.conversions().iter().map(|(from, to)| format!("{from} -> {to}"));
        format!("{} ({})", plugin.plugin(), pairs.collect::<Vec<_>>().join(", "))
    };
    let text = match callee {
        Callee::Plugin(plugin) => one(plugin),
        Callee::Socket(hook) => format!("{} ({DOMAIN_XML} -> {DOMAIN_XML})", hook.name()),
        Callee::Ordered(choice) => choice.plugins.values().map(one).collect::<Vec<_>>().join(" or "),
    };
    match step.may_be_passed_over() {
        true => format!("{text} which may be passed over"),
        false => text,
    }
}
