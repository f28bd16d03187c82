//! The verdict.

use std::fmt;

use witvirt_sdk::core::ByteSize;
use witvirt_sdk::core::policy::{Decision, Verdict};

use crate::Error;
use crate::host::{Host, Machine, Usage, parse, same_os};
use crate::settings::Settings;

/// Judges a review: `operation` is "create", "update" or "start" (anything else counts as that); `object` is the machine
/// spec and `host` the host's state, both JSON as in `witvirt:device/policy.review`.
///
/// # Errors
/// `invalid-input` when the JSON is not what the contract says.
pub fn evaluate(settings: &Settings, operation: &str, object: &str, host: &str) -> Result<Decision, Error> {
    let machine: Machine = parse("the machine", object)?;
    let host: Host = parse("the host", host)?;
    let takes_now = !matches!(operation, "create" | "update");
    let (mut denials, mut warnings) = (Vec::new(), Vec::new());
    if settings.require_os && machine.os.as_ref().is_none_or(|os| os.trim().is_empty()) {
        denials.push("the machine does not say what OS it runs; set \"os\" in its spec".to_owned());
    }
    denials.extend(single_machine(settings, &machine));
    let bounds = bounds(settings, &machine, &host);
    for bound in &bounds {
        if bound.asked > bound.limit {
            denials.push(bound.never());
        } else if !bound.fits() && takes_now {
            denials.push(bound.to_string());
        } else if !bound.fits() {
            warnings.push(format!("no room to start it now: {bound}"));
        }
    }
    let verdict = if denials.is_empty() { Verdict::Allow } else { Verdict::Deny(denials.join("; and ")) };
    let annotations = bounds
        .iter()
        .map(|bound| (bound.name(), format!("{} + {} of {}", bound.used, bound.asked, bound.limit)));
    Ok(Decision { verdict, warnings, annotations: annotations.collect() })
}

/// What a bound is about.
#[derive(Debug, Clone, Copy)]
enum Resource {
    Machines,
    Vcpus,
    Memory,
}

/// A bound that several machines share.
#[derive(Debug)]
struct Bound {
    resource: Resource,
    /// The guest OS whose machines it is about.
    os: Option<String>,
    used: u64,
    asked: u64,
    limit: u64,
    /// Machines that use it.
    users: u64,
}

fn bounds(settings: &Settings, machine: &Machine, host: &Host) -> Vec<Bound> {
    let whole =
        [settings.machines, settings.vcpus.limit(host.cpus), settings.memory.limit(host.memory_bytes)];
    let mut bounds = shared(machine, host.usage(None), None, whole);
    for (os, limits) in &settings.os {
        if machine.os.as_deref().is_some_and(|its| same_os(its, os)) {
            let limits = [limits.machines, limits.vcpus, limits.memory.map(ByteSize::get)];
            bounds.extend(shared(machine, host.usage(Some(os)), Some(os), limits));
        }
    }
    bounds
}

/// `limits` are those of machines, vCPUs and memory in bytes.
fn shared(machine: &Machine, usage: Usage, os: Option<&str>, limits: [Option<u64>; 3]) -> Vec<Bound> {
    let resources = [
        (Resource::Machines, usage.machines, 1),
        (Resource::Vcpus, usage.vcpus, machine.cpu.count),
        (Resource::Memory, usage.memory, machine.memory.get()),
    ];
    let bound = |((resource, used, asked), limit): ((Resource, u64, u64), Option<u64>)| {
        let os = os.map(str::to_owned);
        limit.map(|limit| Bound { resource, os, used, asked, limit, users: usage.machines })
    };
    resources.into_iter().zip(limits).filter_map(bound).collect()
}

fn single_machine(settings: &Settings, machine: &Machine) -> Vec<String> {
    let bounds = [
        (Resource::Vcpus, machine.cpu.count, settings.vcpus.per_machine),
        (Resource::Memory, machine.memory.get(), settings.memory.per_machine.map(ByteSize::get)),
    ];
    let denial = |(resource, asked, limit): (Resource, u64, Option<u64>)| {
        let limit = limit.filter(|limit| asked > *limit)?;
        let (asked, limit) = (Amount(resource, asked), Amount(resource, limit));
        Some(format!("{resource}: {asked} asked for, and a machine may have {limit}; give it at most that"))
    };
    bounds.into_iter().filter_map(denial).collect()
}

impl Bound {
    fn fits(&self) -> bool {
        self.used.checked_add(self.asked).is_some_and(|sum| sum <= self.limit)
    }

    /// As annotations call it: "memory", "macos-machines".
    fn name(&self) -> String {
        let resource = match self.resource {
            Resource::Machines => "machines",
            Resource::Vcpus => "vcpus",
            Resource::Memory => "memory-bytes",
        };
        self.os.as_ref().map_or_else(|| resource.to_owned(), |os| format!("{os}-{resource}"))
    }

    fn subject(&self) -> String {
        let os = self.os.as_deref().unwrap_or_default();
        format!("{os} {}", self.resource).trim_start().to_owned()
    }

    /// For a machine that is larger than the bound itself.
    fn never(&self) -> String {
        let (asked, limit) = (Amount(self.resource, self.asked), Amount(self.resource, self.limit));
        let remedy = match self.resource {
            _ if self.limit == 0 => "have the operator raise the limit",
            _ => "give it at most that",
        };
        format!("{}: {asked} asked for, and all machines together may have {limit}; {remedy}", self.subject())
    }
}

impl fmt::Display for Bound {
    /// What is used, what was asked for, the limit, and what the user can do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = |value| Amount(self.resource, value);
        let (used, asked, limit) = (amount(self.used), amount(self.asked), amount(self.limit));
        let users = if self.users == 1 { "1 machine" } else { &format!("{} machines", self.users) };
        write!(f, "{}: {used} in use by {users}, {asked} asked for, {limit} allowed; ", self.subject())?;
        match (self.resource, self.limit.saturating_sub(self.used)) {
            (Resource::Machines, _) | (_, 0) => f.write_str("stop another machine first"),
            (_, room) => write!(f, "stop another machine first or give this one at most {}", amount(room)),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machines => "machines",
            Self::Vcpus => "vCPUs",
            Self::Memory => "memory",
        })
    }
}

/// A number in the unit of its resource. Memory that three digits would round is in bytes too, so that "64.0 GiB asked for,
/// 64.0 GiB allowed" never puzzles anybody.
struct Amount(Resource, u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(resource, value) = *self;
        match resource {
            Resource::Machines | Resource::Vcpus => write!(f, "{value}"),
            Resource::Memory if value.is_multiple_of(1 << 20) && value < 1000 << 20 => {
                write!(f, "{} MiB", value >> 20)
            }
            Resource::Memory if value.is_multiple_of(1 << 30) => write!(f, "{} GiB", value >> 30),
            Resource::Memory => write!(f, "{} ({value} bytes)", ByteSize(value)),
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
