//! Device policies: a fresh instance for each review.

use std::sync::Arc;

use wasmtime::component::InstancePre;
use witvirt_core::PluginError;
use witvirt_core::policy::{Decision, Policy, Review, Verdict};

use crate::bindings::policy::exports::witvirt::device::policy as wit;
use crate::bindings::policy::{Policy as World, PolicyIndices};
use crate::revision::{Revision, Session};
use crate::state::State;
use crate::text::{MESSAGE, WORD, clean};

/// Warnings and annotations of a decision, each.
const REMARKS: usize = 64;

pub(crate) struct PolicyPlugin {
    revision: Arc<Revision>,
    indices: PolicyIndices,
}

impl PolicyPlugin {
    pub(crate) fn new<E>(
        revision: Arc<Revision>,
        instance: &InstancePre<State>,
        mismatch: impl Fn(wasmtime::Error) -> E,
    ) -> Result<Self, E> {
        let indices = PolicyIndices::new(instance).map_err(mismatch)?;
        Ok(Self { revision, indices })
    }

    fn world(&self, session: &mut Session) -> Result<World, PluginError> {
        let instance = session.instance;
        session.call(&self.revision, |store| self.indices.load(store, &instance))
    }

    fn decision(&self, decision: wit::Decision) -> Result<Decision, PluginError> {
        for (what, count) in
            [("warnings", decision.warnings.len()), ("annotations", decision.annotations.len())]
        {
            if count > REMARKS {
                return Err(self
                    .revision
                    .lied(format!("answered with {count} {what}, at most {REMARKS} are taken")));
            }
        }
        Ok(Decision {
            verdict: self.verdict(decision.verdict)?,
            warnings: decision.warnings.iter().map(|text| clean(text, MESSAGE)).collect(),
            annotations: decision
                .annotations
                .iter()
                .map(|(key, value)| (clean(key, WORD), clean(value, MESSAGE)))
                .collect(),
        })
    }

    fn verdict(&self, verdict: wit::Verdict) -> Result<Verdict, PluginError> {
        match verdict {
            wit::Verdict::Allow => Ok(Verdict::Allow),
            wit::Verdict::Deny(reason) => Ok(Verdict::Deny(clean(&reason, MESSAGE))),
            wit::Verdict::AllowWith(text) => {
                serde_json::from_str(&text).map(Verdict::AllowWith).map_err(|error| {
                    self.revision.lied(format!("allowed with a machine that is not JSON: {error}"))
                })
            }
        }
    }
}

impl Policy for PolicyPlugin {
    fn plugin(&self) -> &str {
        &self.revision.name
    }

    fn version(&self) -> &str {
        &self.revision.version
    }

    fn evaluate(&self, review: &Review) -> Result<Decision, PluginError> {
        let mut session = self.revision.ready()?;
        let world = self.world(&mut session)?;
        let request = wit::Review {
            id: review.id.clone(),
            operation: review.operation.clone(),
            subject: review.subject.clone(),
            object: review.object.to_string(),
            old_object: review.old_object.as_ref().map(ToString::to_string),
            host: review.host.to_string(),
            time_ms: review.time_ms,
            dry_run: review.dry_run,
        };
        let decision = session
            .call(&self.revision, |store| world.witvirt_device_policy().call_evaluate(store, &request))?
            .map_err(|error| self.revision.reported(error))?;
        self.decision(decision)
    }
}
