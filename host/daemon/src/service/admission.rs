//! Whether a machine may be: policies in the order of the config, the host's own rules last.

use std::sync::Arc;

use serde_json::Value;
use witvirt_core::plugin::{Mode, OnFailure};
use witvirt_core::policy::{Policy, Review, Verdict};
use witvirt_core::spec::{InterfaceSource, MachineSpec};

use super::secret::{give_back, withhold};
use crate::api::{Error, ErrorKind};
use crate::config::Network;

/// Changes of a machine that are told one by one; more are counted.
const SHOWN_CHANGES: usize = 16;

/// A policy and what the config says of it.
#[derive(Clone)]
pub struct Judge {
    /// The plugin.
    pub policy: Arc<dyn Policy>,
    /// What its failure means.
    pub on_failure: OnFailure,
    /// Whether its verdicts bind.
    pub mode: Mode,
}

/// What the host itself demands.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Networks that machines may have.
    pub network: Network,
    /// Hypervisor options that machines may add.
    pub allow_arguments: Vec<String>,
}

/// A machine that may be.
#[derive(Debug)]
pub struct Admitted {
    /// After what policies changed.
    pub spec: MachineSpec,
    /// For the user.
    pub warnings: Vec<String>,
}

/// Asks every judge, then applies the rules. Each decision is a line of the audit log. Blocks.
///
/// # Errors
/// [`ErrorKind::Refused`] with who refused and why.
pub fn admit(
    judges: &[Judge],
    rules: &Rules,
    spec: MachineSpec,
    request: &Review,
) -> Result<Admitted, Error> {
    let mut admitted = Admitted { spec, warnings: Vec::new() };
    for judge in judges {
        let mut review = request.clone();
        review.object = to_json(&shown(&admitted.spec))?;
        ask(judge, &review, &mut admitted)?;
    }
    let problems: Vec<String> = admitted.spec.validate().iter().map(ToString::to_string).collect();
    if !problems.is_empty() {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("machine {}: {}", admitted.spec.name, problems.join("; ")),
        ));
    }
    rules.apply(&admitted.spec)?;
    Ok(admitted)
}

fn ask(judge: &Judge, review: &Review, admitted: &mut Admitted) -> Result<(), Error> {
    let (plugin, version) = (judge.policy.plugin(), judge.policy.version());
    let monitor = judge.mode == Mode::Monitor;
    let decision = match judge.policy.evaluate(review) {
        Ok(decision) => decision,
        Err(error) => {
            audit(judge, review, "failed", &error.to_string());
            if monitor || judge.on_failure == OnFailure::Allow {
                admitted.warnings.push(format!("{error}; the config lets the machine pass"));
                return Ok(());
            }
            return Err(Error::new(ErrorKind::Refused, format!("machine {}: {error}", admitted.spec.name))
                .hint(format!(
                    "a policy that fails refuses, unless [[plugin]] {plugin} has on-failure = \"allow\""
                )));
        }
    };
    for (key, value) in &decision.annotations {
        tracing::info!(target: "audit", review = review.id, plugin, version, key, value, "annotation");
    }
    admitted
        .warnings
        .extend(decision.warnings.iter().map(|warning| format!("policy {plugin} {version}: {warning}")));
    match decision.verdict {
        Verdict::Allow => audit(judge, review, "allow", ""),
        Verdict::Deny(reason) => {
            audit(judge, review, "deny", &reason);
            if !monitor {
                let message =
                    format!("policy {plugin} {version} refuses machine {}: {reason}", admitted.spec.name);
                return Err(Error::new(ErrorKind::Refused, message));
            }
        }
        Verdict::AllowWith(object) => {
            let patched = patched(judge, &admitted.spec, &object)?;
            let changes = changes(&review.object, &to_json(&shown(&patched))?);
            audit(judge, review, "allow-with", &changes.join(", "));
            if !monitor && !changes.is_empty() {
                admitted.warnings.push(format!("policy {plugin} {version} changed {}", changes.join(", ")));
                admitted.spec = patched;
            }
        }
    }
    Ok(())
}

/// The machine that a policy wants instead; one of the same name that is as good as one that a stranger typed.
fn patched(judge: &Judge, before: &MachineSpec, object: &Value) -> Result<MachineSpec, Error> {
    let (plugin, version) = (judge.policy.plugin(), judge.policy.version());
    let bad = |what: String| {
        let message = format!("policy {plugin} {version} answered with a machine that cannot be: {what}");
        Error::new(ErrorKind::Refused, message)
    };
    let mut spec: MachineSpec =
        serde_json::from_value(object.clone()).map_err(|error| bad(error.to_string()))?;
    give_back(&mut spec, before);
    if let Some(problem) = spec.validate().first() {
        return Err(bad(problem.to_string()));
    }
    if spec.name != before.name {
        return Err(bad(format!("name: it is {} and must stay {}", spec.name, before.name)));
    }
    Ok(spec)
}

/// What policies see: everything but the contents of data disks.
fn shown(spec: &MachineSpec) -> MachineSpec {
    let mut shown = spec.clone();
    withhold(&mut shown);
    shown
}

fn audit(judge: &Judge, review: &Review, verdict: &str, reason: &str) {
    let machine = review.object.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
    tracing::info!(
        target: "audit",
        review = review.id,
        operation = review.operation,
        subject = review.subject,
        machine,
        plugin = judge.policy.plugin(),
        version = judge.policy.version(),
        verdict,
        binding = judge.mode == Mode::Enforce,
        dry_run = review.dry_run,
        reason,
        "decision"
    );
}

fn to_json(spec: &MachineSpec) -> Result<Value, Error> {
    serde_json::to_value(spec)
        .map_err(|error| Error::caused(ErrorKind::Internal, "cannot write the machine", &error))
}

/// What differs between two JSON values ("memory: 1024 -> 512"), at most [`SHOWN_CHANGES`] and a count of the rest.
fn changes(before: &Value, after: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", before, after, &mut found);
    if found.len() > SHOWN_CHANGES {
        let more = found.len() - SHOWN_CHANGES;
        found.truncate(SHOWN_CHANGES);
        found.push(format!("and {more} more"));
    }
    found
}

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let mut keys: Vec<&String> =
                old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))).collect();
            keys.sort();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(
                    &path,
                    old.get(key).unwrap_or(&Value::Null),
                    new.get(key).unwrap_or(&Value::Null),
                    found,
                );
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for index in 0..old.len().max(new.len()) {
                let at = |list: &[Value]| list.get(index).cloned().unwrap_or(Value::Null);
                compare(&format!("{path}[{index}]"), &at(old), &at(new), found);
            }
        }
        (old, new) if old == new => {}
        (old, new) => found.push(format!("{path}: {} -> {}", brief(old), brief(new))),
    }
}

fn brief(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        other => {
            let text = other.to_string();
            if text.chars().count() > 60 {
                format!("{}...", text.chars().take(57).collect::<String>())
            } else {
                text
            }
        }
    }
}

impl Rules {
    fn apply(&self, spec: &MachineSpec) -> Result<(), Error> {
        let refused =
            |message: String| Error::new(ErrorKind::Refused, format!("machine {}: {message}", spec.name));
        let mut words = spec.qemu_arguments.iter().peekable();
        while let Some(option) = words.next() {
            let Some(name) = option.strip_prefix('-') else { continue };
            let value = words.peek().filter(|value| !value.starts_with('-')).map(|value| value.as_str());
            if !witvirt_hypervisor::allows(&self.allow_arguments, name, value) {
                // The rest of the value may be a secret.
                let kind = value.and_then(|value| value.split(',').next()).unwrap_or_default();
                let shown = format!("{option} {kind}");
                let shown = shown.trim_end().escape_debug();
                return Err(refused(format!("qemu-arguments: the option {shown} is not allowed"))
                    .hint("the operator can name it in [hypervisor] allow-arguments, with or without what its value begins with"));
            }
        }
        if spec.qemu_arguments.first().is_some_and(|first| !first.starts_with('-')) {
            return Err(refused("qemu-arguments: the first is no option".to_owned()));
        }
        for (index, interface) in spec.interfaces.iter().enumerate() {
            if interface.source == InterfaceSource::User && !self.network.user {
                return Err(refused(format!("interfaces[{index}]: `user` networks are not allowed"))
                    .hint("use source = \"none\", or let the operator set [network] user = true"));
            }
            if let Some(open) = interface.forwards.iter().find(|forward| !forward.address.is_loopback())
                && !self.network.public_forwards
            {
                return Err(refused(format!(
                    "interfaces[{index}]: a forward may not listen on {}",
                    open.address
                ))
                .hint("use a loopback address, or let the operator set [network] public-forwards = true"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
