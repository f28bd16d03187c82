//! What the sandbox costs: loading from the cache, and a conversion in a fresh instance with all limits on.

use std::time::Duration;

use anyhow::{Result, bail};
use witvirt_core::Name;
use witvirt_core::domain::{DOMAIN_XML, Document, MACHINE_JSON};
use witvirt_core::plugin::{Limits, Mode, OnFailure, PluginEntry, PluginKind};
use witvirt_engine::{CompileCommand, Engine, EngineOptions, Plugin};
use witvirt_harness::{plugins, root};

use crate::chain;
use crate::installed::installed;
use crate::measure::{median, report, timed};

/// The argument that makes this program the compiler's process.
pub const COMPILE: &str = "compile-plugin";

/// Prints the medians.
pub fn run() -> Result<()> {
    let cache = tempfile::tempdir()?;
    let command = CompileCommand { program: std::env::current_exe()?, arguments: vec![COMPILE.into()] };
    let engine = Engine::new(EngineOptions::new(cache.path().join("cwasm"), command))?;
    let mut slowest = (Duration::ZERO, String::new());
    for (name, kind) in installed()? {
        let entry = entry(&name, kind)?;
        let (cold, _) = timed(|| Ok(engine.load(&entry)?))?;
        let loads: Vec<Duration> =
            (0..50).map(|_| Ok(timed(|| Ok(engine.load(&entry)?))?.0)).collect::<Result<_>>()?;
        let load = median(loads);
        report(&format!("load {name} from the cache (compiled: {cold:.0?})"), format!("{load:.0?}"));
        slowest = slowest.max((load, name));
    }
    report("the slowest of them", format!("{}, {:.0?} (aim < 1ms)", slowest.1, slowest.0));
    let Plugin::Converter(converter) =
        engine.load(&entry("domain-libvirt", PluginKind::DomainConverter)?)?.plugin
    else {
        bail!("domain-libvirt is no converter");
    };
    let body = std::fs::read_to_string(root().join("examples/demo.xml"))?;
    let input = Document { media_type: DOMAIN_XML.to_owned(), body };
    let options = serde_json::json!({});
    let convert = || timed(|| Ok(converter.convert(&input, MACHINE_JSON, &options)?)).map(|(time, _)| time);
    let calls: Vec<Duration> = (0..2000).map(|_| convert()).collect::<Result<_>>()?;
    report(
        "domain XML -> machine, fresh instance, all limits",
        format!("{:.0?} (aim < 200µs)", median(calls)),
    );
    chain::run(&engine)
}

/// A plugin as the config has it that says nothing of it.
pub fn entry(name: &str, kind: PluginKind) -> Result<PluginEntry> {
    Ok(PluginEntry {
        name: Name::new(name)?,
        kind,
        file: plugins().join(format!("{name}.wasm")),
        sha256: None,
        settings: serde_json::json!({}),
        limits: Limits::default(),
        on_failure: OnFailure::Deny,
        mode: Mode::Enforce,
    })
}
