//! The plugins that serve, and their exchange while they do.

use std::sync::{Arc, PoisonError, RwLock};

use witvirt_core::Name;
use witvirt_core::artifact::{ArtifactLayout, ArtifactLayouts};
use witvirt_core::domain::Converter;
use witvirt_core::format::{Format, Formats};
use witvirt_core::plugin::PluginEntry;
use witvirt_engine::{CompileCommand, Engine, EngineOptions, LoadReport, Loaded};

use super::admission::Judge;
use super::pipeline::Converters;
use crate::api::error::chain;
use crate::api::plugin::{Plugin, Reload};
use crate::api::{Error, ErrorKind};
use crate::config::Config;

/// A plugin in the revision that serves.
#[derive(Clone)]
struct Serving {
    entry: PluginEntry,
    loaded: Loaded,
    reload_error: Option<String>,
}

/// Every plugin of the config. A call takes the plugins as of its beginning and keeps them to its end, whatever is
/// exchanged meanwhile.
pub struct Plugins {
    engine: Engine,
    serving: RwLock<Arc<Vec<Serving>>>,
    /// One exchange at a time.
    exchange: std::sync::Mutex<()>,
}

impl Plugins {
    /// Loads every plugin of the config. Blocks.
    ///
    /// # Errors
    /// The reasons of all that cannot be loaded.
    pub fn load(config: &Config) -> Result<Self, Vec<String>> {
        let one = |error: &(dyn std::error::Error + 'static)| vec![chain(error)];
        let program = std::env::current_exe().map_err(|error| one(&error))?;
        let compiler = CompileCommand { program, arguments: vec!["compile-plugin".into()] };
        let options = EngineOptions::new(&config.cache_directory, compiler);
        let engine = Engine::new(options).map_err(|error| one(&error))?;
        let mut serving = Vec::new();
        let mut failures = Vec::new();
        for (entry, loaded) in config.plugins.iter().zip(load_all(&engine, &config.plugins)) {
            match loaded {
                Ok(loaded) => serving.push(Serving { entry: entry.clone(), loaded, reload_error: None }),
                Err(error) => failures.push(error),
            }
        }
        if !failures.is_empty() {
            return Err(failures);
        }
        Ok(Self { engine, serving: RwLock::new(Arc::new(serving)), exchange: std::sync::Mutex::new(()) })
    }

    /// Loads what the config says now and exchanges plugin by plugin. What fails leaves the old revision serving; a plugin
    /// that had none is left out. Blocks.
    pub fn reload(&self, config: &Config) -> Reload {
        let _one_at_a_time = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current();
        let mut report = Reload { changed: Vec::new(), removed: Vec::new(), failed: Vec::new() };
        let mut after = Vec::new();
        for (entry, loaded) in config.plugins.iter().zip(load_all(&self.engine, &config.plugins)) {
            let old = before.iter().find(|old| old.entry.name == entry.name && old.entry.kind == entry.kind);
            match (loaded, old) {
                (Ok(loaded), old) => {
                    if old.is_none_or(|old| differs(old, entry, &loaded)) {
                        report.changed.push(format!("{} {}", entry.name, loaded.report.version));
                    }
                    after.push(Serving { entry: entry.clone(), loaded, reload_error: None });
                }
                (Err(error), Some(old)) => {
                    report
                        .failed
                        .push(format!("{error}; version {} goes on serving", old.loaded.report.version));
                    after.push(Serving { reload_error: Some(error), ..old.clone() });
                }
                (Err(error), None) => report.failed.push(error),
            }
        }
        let gone =
            before.iter().filter(|old| !config.plugins.iter().any(|entry| entry.name == old.entry.name));
        report.removed = gone.map(|old| old.entry.name.to_string()).collect();
        *self.serving.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        report
    }

    /// Notes for every plugin that the config itself could not be read.
    pub fn note_failed_reload(&self, reason: &str) {
        let mut noted = Vec::clone(&self.current());
        for serving in &mut noted {
            serving.reload_error = Some(reason.to_owned());
        }
        *self.serving.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(noted);
    }

    fn current(&self) -> Arc<Vec<Serving>> {
        Arc::clone(&self.serving.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The policies, in the order of the config.
    pub fn judges(&self) -> Vec<Judge> {
        let judge = |serving: &Serving| match &serving.loaded.plugin {
            witvirt_engine::Plugin::Policy(policy) => Some(Judge {
                policy: Arc::clone(policy),
                on_failure: serving.entry.on_failure,
                mode: serving.entry.mode,
            }),
            _ => None,
        };
        self.current().iter().filter_map(judge).collect()
    }

    /// Each plugin and what loading it said.
    pub fn loaded(&self) -> Vec<(witvirt_engine::Plugin, LoadReport)> {
        let current = self.current();
        current.iter().map(|serving| (serving.loaded.plugin.clone(), serving.loaded.report.clone())).collect()
    }

    /// For lists.
    pub fn list(&self) -> Vec<Plugin> {
        self.current().iter().map(describe).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn inspect(&self, name: &str) -> Result<Plugin, Error> {
        let current = self.current();
        let found = current.iter().find(|serving| serving.entry.name.as_str() == name).map(describe);
        found.ok_or_else(|| {
            let names: Vec<&str> = current.iter().map(|serving| serving.entry.name.as_str()).collect();
            Error::new(ErrorKind::NotFound, format!("there is no plugin \"{}\"", name.escape_debug()))
                .hint(format!("there are: {}", names.join(", ")))
        })
    }

    /// What is wrong since the last exchange.
    pub fn problems(&self) -> Vec<String> {
        self.current().iter().filter_map(|serving| serving.reload_error.clone()).collect()
    }
}

impl Formats for Plugins {
    fn all(&self) -> Vec<Arc<dyn Format>> {
        let format = |serving: &Serving| match &serving.loaded.plugin {
            witvirt_engine::Plugin::Format(format) => Some(Arc::clone(format)),
            _ => None,
        };
        self.current().iter().filter_map(format).collect()
    }
}

impl ArtifactLayouts for Plugins {
    fn artifact_layouts(&self) -> Vec<Arc<dyn ArtifactLayout>> {
        let layout = |serving: &Serving| match &serving.loaded.plugin {
            witvirt_engine::Plugin::Artifact(layout) => Some(Arc::clone(layout)),
            _ => None,
        };
        self.current().iter().filter_map(layout).collect()
    }
}

impl Converters for Plugins {
    fn converter(&self, name: &Name) -> Option<Arc<dyn Converter>> {
        self.current().iter().find(|serving| serving.entry.name == *name).and_then(|serving| {
            match &serving.loaded.plugin {
                witvirt_engine::Plugin::Converter(converter) => Some(Arc::clone(converter)),
                _ => None,
            }
        })
    }
}

/// Loads side by side: a plugin that has to be compiled does not hold up the others.
fn load_all(engine: &Engine, entries: &[PluginEntry]) -> Vec<Result<Loaded, String>> {
    std::thread::scope(|scope| {
        let load = |entry| scope.spawn(move || engine.load(entry).map_err(|error| chain(&error)));
        let threads: Vec<_> = entries.iter().map(load).collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .map(|result| result.unwrap_or_else(|_| Err("the loader of a plugin panicked".to_owned())))
            .collect()
    })
}

fn differs(old: &Serving, entry: &PluginEntry, loaded: &Loaded) -> bool {
    old.loaded.report.sha256 != loaded.report.sha256
        || old.entry.settings != entry.settings
        || old.entry.limits != entry.limits
        || old.entry.on_failure != entry.on_failure
        || old.entry.mode != entry.mode
}

fn describe(serving: &Serving) -> Plugin {
    let report = &serving.loaded.report;
    let conversions = report.conversions.iter().map(|(from, to)| format!("{from} -> {to}"));
    let formats = report.formats.iter().chain(&report.layouts).map(|name| match report.writes {
        true => format!("{name} (reads, writes)"),
        false => format!("{name} (reads)"),
    });
    Plugin {
        name: report.name.clone(),
        kind: report.kind,
        title: report.described_name.clone(),
        version: report.version.clone(),
        description: report.description.clone(),
        file: report.file.display().to_string(),
        sha256: report.sha256.hex(),
        world: report.world.clone(),
        handles: formats.chain(conversions).collect(),
        settings: serving.entry.settings.clone(),
        settings_schema: report.settings_schema.clone(),
        limits: serde_json::to_value(serving.entry.limits).unwrap_or_default(),
        on_failure: serving.entry.on_failure,
        mode: serving.entry.mode,
        load_us: report.load_us,
        reload_error: serving.reload_error.clone(),
    }
}
