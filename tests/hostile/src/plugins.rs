//! The plugins of `config/witvirt.toml`, with its limits.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use witvirt_core::artifact::{ArtifactLayout, ArtifactLayouts};
use witvirt_core::format::{Format, Formats};
use witvirt_core::plugin::{Limits, Mode, OnFailure, PluginEntry, PluginKind};
use witvirt_core::{ByteSize, Name};
use witvirt_engine::{CompileCommand, Engine, EngineOptions, Plugin};

/// The argument that makes this crate's program the compiler's process.
pub const COMPILE: &str = "compile-plugin";

/// What is read of the config.
#[derive(Deserialize)]
struct Config {
    plugin: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    kind: PluginKind,
    #[serde(default)]
    limits: Bounds,
}

#[derive(Default, Deserialize)]
struct Bounds {
    memory: Option<ByteSize>,
    deadline: Option<String>,
}

/// Formats and artifact layouts, ready to be called.
pub struct Installed {
    // The deadlines are watched as long as it lives.
    _engine: Engine,
    formats: Vec<Arc<dyn Format>>,
    layouts: Vec<Arc<dyn ArtifactLayout>>,
}

impl Formats for Installed {
    fn all(&self) -> Vec<Arc<dyn Format>> {
        self.formats.clone()
    }
}

impl ArtifactLayouts for Installed {
    fn artifact_layouts(&self) -> Vec<Arc<dyn ArtifactLayout>> {
        self.layouts.clone()
    }
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the crate lies two levels below the root").to_path_buf()
}

fn default_directory() -> PathBuf {
    root().join("target/plugins")
}

/// Where the components are: `$WITVIRT_PLUGINS`, or `target/plugins`, where `cargo xtask plugins` puts them.
pub fn directory() -> PathBuf {
    std::env::var_os("WITVIRT_PLUGINS").map_or_else(default_directory, PathBuf::from)
}

/// Whether every component of the config is there; says so where not.
pub fn built() -> bool {
    let entries = entries().expect("config/witvirt.toml is readable");
    let missing: Vec<&Path> =
        entries.iter().map(|entry| entry.file.as_path()).filter(|file| !file.is_file()).collect();
    if let Some(file) = missing.first() {
        println!("skipped: {} is missing, run: cargo xtask plugins", file.display());
    }
    missing.is_empty()
}

/// Loads them. `cache` is where compiled plugins are kept; `program` is this crate's own.
///
/// # Errors
/// When one cannot be loaded.
pub fn load(cache: &Path, program: &Path) -> Result<Installed> {
    let command = CompileCommand { program: program.to_owned(), arguments: vec![COMPILE.into()] };
    let engine = Engine::new(EngineOptions::new(cache, command))?;
    let (mut formats, mut layouts) = (Vec::new(), Vec::new());
    for entry in entries()? {
        let loaded = engine.load(&entry).with_context(|| format!("plugin {}", entry.name))?;
        match loaded.plugin {
            Plugin::Format(format) => formats.push(format),
            Plugin::Artifact(layout) => layouts.push(layout),
            _ => {}
        }
    }
    Ok(Installed { _engine: engine, formats, layouts })
}

/// The entries of the config for formats and layouts.
///
/// # Errors
/// When it cannot be read.
pub fn entries() -> Result<Vec<PluginEntry>> {
    let text = fs::read_to_string(root().join("config/witvirt.toml"))?;
    let config: Config = toml::from_str(&text)?;
    let wanted = |kind| matches!(kind, PluginKind::DiskFormat | PluginKind::ArtifactLayout);
    config.plugin.into_iter().filter(|entry| wanted(entry.kind)).map(entry_of).collect()
}

fn entry_of(entry: Entry) -> Result<PluginEntry> {
    let mut limits = Limits::default();
    limits.memory = entry.limits.memory.unwrap_or(limits.memory);
    if let Some(deadline) = &entry.limits.deadline {
        let seconds = deadline.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
        limits.deadline =
            std::time::Duration::from_secs(seconds.ok_or_else(|| anyhow!("deadline {deadline}"))?);
    }
    Ok(PluginEntry {
        file: directory().join(format!("{}.wasm", entry.name)),
        name: Name::new(&entry.name)?,
        kind: entry.kind,
        sha256: None,
        settings: serde_json::json!({}),
        limits,
        on_failure: OnFailure::Deny,
        mode: Mode::Enforce,
    })
}
