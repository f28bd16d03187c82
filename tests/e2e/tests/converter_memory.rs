//! A thousand conversions leave memory where it was. Alone in its program: others' memory would count.
#![allow(missing_docs)]

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use witvirt_core::Name;
use witvirt_core::domain::{DOMAIN_XML, Document};
use witvirt_core::plugin::{Limits, Mode, OnFailure, PluginEntry, PluginKind};
use witvirt_engine::{CompileCommand, Engine, EngineOptions, Plugin};
use witvirt_harness::macos::{HOOKS, OSK};
use witvirt_harness::{plugins, witvirt};
use witvirt_testkit::domain::KUBEVIRT;

/// KiB that are this process's own.
fn own() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[test]
fn a_thousand_conversions_leave_memory_where_it_was() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let compiler = CompileCommand { program: witvirt(), arguments: vec!["compile-plugin".into()] };
    let engine = Engine::new(EngineOptions::new(directory.path().join("cache"), compiler))?;
    let mut hooks = Vec::new();
    for name in HOOKS {
        let entry = PluginEntry {
            name: Name::new(name)?,
            kind: PluginKind::DomainConverter,
            file: plugins().join(format!("{name}.wasm")),
            sha256: None,
            settings: if name == "hook-board" { json!({ "osk": OSK }) } else { json!({}) },
            limits: Limits::default(),
            on_failure: OnFailure::Deny,
            mode: Mode::Enforce,
        };
        match engine.load(&entry).with_context(|| format!("{name}; built by: cargo xtask plugins"))?.plugin {
            Plugin::Converter(hook) => hooks.push(hook),
            _ => bail!("{name} is no converter"),
        }
    }
    let input = Document { media_type: DOMAIN_XML.to_owned(), body: KUBEVIRT.to_owned() };
    let options = json!({ "context": { "name": "machine" } });
    let run = |times: usize| {
        for _ in 0..times {
            for hook in &hooks {
                hook.convert(&input, DOMAIN_XML, &options)?;
            }
        }
        own()
    };
    // What the allocator and the engine keep for the next call is there after the first ones.
    let before = run(20)?;
    let after = run(200)?;
    // An instance that stayed would be 1 MiB at the least.
    ensure!(after < before + 1024, "{before} KiB have become {after} KiB in a thousand conversions");
    Ok(())
}
