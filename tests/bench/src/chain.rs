//! What five hooks cost on the machine that they were written for: macOS's, each in a fresh instance with all limits on.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use witvirt_core::domain::{Converter, DOMAIN_XML, Document, KUBEVIRT};
use witvirt_core::plugin::PluginKind;
use witvirt_engine::{Engine, Plugin};
use witvirt_harness::macos::{self, ANNOTATIONS, HOOKS, OSK};

use crate::measure::{Memory, median, report, timed};
use crate::plugins::entry;

/// Conversions after which memory is looked at.
const CONVERSIONS: usize = 1000;

/// The hooks of the macOS machine, loaded, and what they are given.
pub struct Chain {
    hooks: Vec<std::sync::Arc<dyn Converter>>,
    domain: Document,
    options: Value,
}

impl Chain {
    /// Loads the hooks, and makes domain XML of the seed's VirtualMachine (of the example's where there is no seed).
    pub fn load(engine: &Engine) -> Result<Self> {
        let hooks = HOOKS.map(|name| converter(engine, name)).into_iter().collect::<Result<_>>()?;
        let machine = match macos::seed()? {
            Some(machine) => machine,
            None => macos::example()?,
        };
        let source = Document { media_type: KUBEVIRT.to_owned(), body: machine };
        let domain = converter(engine, "domain-kubevirt")?.convert(&source, DOMAIN_XML, &json!({}))?.document;
        let annotations: Map<String, Value> =
            ANNOTATIONS.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let options = json!({ "context": { "name": "osx-1", "annotations": annotations } });
        Ok(Self { hooks, domain, options })
    }

    /// Runs all of them, one after another, each in a fresh instance.
    pub fn run(&self) -> Result<Document> {
        let mut document = self.domain.clone();
        for hook in &self.hooks {
            document = hook.convert(&document, DOMAIN_XML, &self.options)?.document;
        }
        Ok(document)
    }

    /// The median of many runs.
    pub fn median(&self) -> Result<Duration> {
        let times: Vec<Duration> = (0..2000).map(|_| Ok(timed(|| self.run())?.0)).collect::<Result<_>>()?;
        Ok(median(times))
    }
}

fn converter(engine: &Engine, name: &str) -> Result<std::sync::Arc<dyn Converter>> {
    let mut entry = entry(name, PluginKind::DomainConverter)?;
    if name == "hook-board" {
        entry.settings = json!({ "osk": OSK });
    }
    match engine.load(&entry)?.plugin {
        Plugin::Converter(converter) => Ok(converter),
        _ => bail!("{name} is no converter"),
    }
}

/// Prints the medians, of the chain and of each hook alone, and what a thousand conversions leave in memory.
pub fn run(engine: &Engine) -> Result<()> {
    let chain = Chain::load(engine)?;
    let size = chain.domain.body.len();
    for hook in &chain.hooks {
        let once = || timed(|| Ok(hook.convert(&chain.domain, DOMAIN_XML, &chain.options)?));
        let times: Vec<Duration> = (0..500).map(|_| Ok(once()?.0)).collect::<Result<_>>()?;
        report(&format!("{} on {size} bytes of domain XML", hook.plugin()), format!("{:.0?}", median(times)));
    }
    report("five hooks on the macOS machine", format!("{:.0?} (aim < 500µs)", chain.median()?));
    let own = || Ok::<_, anyhow::Error>(Memory::of(std::process::id()).context("no /proc")?.own);
    let before = own()?;
    for _ in 0..CONVERSIONS {
        chain.run()?;
    }
    let grown = own()?.saturating_sub(before);
    report(
        &format!("memory of its own after {CONVERSIONS} such chains"),
        format!("{before} KiB, and {grown} KiB more (aim 0)"),
    );
    Ok(())
}
