//! From an entry of the config to a plugin that serves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use wasmtime::component::Component;
use witvirt_core::artifact::ArtifactLayout;
use witvirt_core::domain::Converter;
use witvirt_core::format::Format;
use witvirt_core::plugin::{PluginEntry, PluginKind};
use witvirt_core::policy::Policy;
use witvirt_core::{ByteSize, Digest, PluginError};

use crate::artifact::ArtifactPlugin;
use crate::bindings::plugin::exports::witvirt::types::lifecycle::Info;
use crate::cache::Lookup;
use crate::compile::{CompileError, compile};
use crate::converter::ConverterPlugin;
use crate::engine::Engine;
use crate::file::{self, FileError};
use crate::format::FormatPlugin;
use crate::interface::{self, InspectError, Inspection};
use crate::policy::PolicyPlugin;
use crate::revision::Revision;
use crate::text::{MESSAGE, WORD, clean};

/// Bytes of settings and of their schema.
const SETTINGS: usize = 256 << 10;

/// A plugin that serves calls.
#[derive(Clone)]
pub enum Plugin {
    /// Reads (and perhaps writes) disk images.
    Format(Arc<dyn Format>),
    /// Converts documents.
    Converter(Arc<dyn Converter>),
    /// Judges machines.
    Policy(Arc<dyn Policy>),
    /// Reads (and perhaps writes) artifacts of registries.
    Artifact(Arc<dyn ArtifactLayout>),
}

/// What [`Engine::load`] gives back.
#[derive(Clone)]
pub struct Loaded {
    /// For lists and status.
    pub report: LoadReport,
    /// For calls.
    pub plugin: Plugin,
}

/// What is known of a loaded plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LoadReport {
    /// Its name in the config.
    pub name: String,
    /// Its kind in the config.
    pub kind: PluginKind,
    /// Its file.
    pub file: PathBuf,
    /// Digest of the file.
    pub sha256: Digest,
    /// Bytes of the file.
    pub size: u64,
    /// The name it describes itself with.
    pub described_name: String,
    /// The version it describes itself with.
    pub version: String,
    /// The line it describes itself with.
    pub description: String,
    /// JSON schema of its settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings_schema: Option<serde_json::Value>,
    /// The world of the contract that it implements.
    pub world: String,
    /// Names of what it imports.
    pub imports: Vec<String>,
    /// Names of what it exports.
    pub exports: Vec<String>,
    /// Names of the formats it reads, for disk formats.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<String>,
    /// Names of the layouts it reads, for artifact layouts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layouts: Vec<String>,
    /// Whether it makes new images, for disk formats, or new artifacts, for artifact layouts.
    pub writes: bool,
    /// Source and target media types, for converters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conversions: Vec<(String, String)>,
    /// Whether its compiled code was in the cache.
    pub cache: CacheUse,
    /// All of the load, in microseconds.
    pub load_us: u64,
    /// The part spent in the compiler, in microseconds; 0 when the code was in the cache.
    pub compile_us: u64,
}

/// What the cache was good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheUse {
    /// It had the code.
    Hit,
    /// It had none; it does now.
    Miss,
    /// What it had could not be trusted, for this reason, and was made again.
    Replaced(String),
}

/// Why a plugin is not loaded. Each message names the plugin and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its file cannot be read.
    #[error("plugin {plugin}: cannot load {}", file.display())]
    File {
        /// Its name in the config.
        plugin: String,
        /// Its file.
        file: PathBuf,
        /// What is wrong with the file.
        #[source]
        source: FileError,
    },
    /// Its file is not the one that was agreed on.
    #[error(
        "plugin {plugin}: {} has {found}, but the config says {expected}; if the change is yours, write the new sha256 in the \
         config, else get the agreed file back", file.display()
    )]
    Digest {
        /// Its name in the config.
        plugin: String,
        /// Its file.
        file: PathBuf,
        /// In the config.
        expected: Digest,
        /// In the file.
        found: Digest,
    },
    /// Its file is no component.
    #[error("plugin {plugin}: cannot use {}", file.display())]
    NoComponent {
        /// Its name in the config.
        plugin: String,
        /// Its file.
        file: PathBuf,
        /// What it is instead.
        #[source]
        source: InspectError,
    },
    /// It wants what this host does not have, or lacks what its kind must have.
    #[error("plugin {plugin}: {reason}")]
    Interface {
        /// Its name in the config.
        plugin: String,
        /// What is wanted, what there is, what to do.
        reason: String,
    },
    /// It does not compile.
    #[error("plugin {plugin}: cannot compile {}", file.display())]
    Compile {
        /// Its name in the config.
        plugin: String,
        /// Its file.
        file: PathBuf,
        /// Why.
        #[source]
        source: CompileError,
    },
    /// Its compiled code cannot be stored or read back.
    #[error("plugin {plugin}: cannot keep its compiled code in {}: {reason}", cache.display())]
    Cache {
        /// Its name in the config.
        plugin: String,
        /// The directory.
        cache: PathBuf,
        /// Why.
        reason: String,
    },
    /// Its settings are no JSON object, or too large.
    #[error("plugin {plugin}: {reason}")]
    Settings {
        /// Its name in the config.
        plugin: String,
        /// Why.
        reason: String,
    },
    /// It refuses its settings, or breaks.
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

impl Engine {
    /// Loads a plugin: file, digest, shape, code, `describe`, `configure`.
    ///
    /// # Errors
    /// [`LoadError`], which says what is wrong and what to do. Nothing of a plugin that failed to load goes on running.
    pub fn load(&self, entry: &PluginEntry) -> Result<Loaded, LoadError> {
        let start = Instant::now();
        let name = entry.name.to_string();
        let settings = settings(entry)?;
        let (wasm, digest) = read(entry, self.options.max_component)?;
        let no_component =
            |source| LoadError::NoComponent { plugin: name.clone(), file: entry.file.clone(), source };
        let inspection = interface::inspect(&wasm).map_err(no_component)?;
        let refused = |reason| LoadError::Interface { plugin: name.clone(), reason };
        interface::check(&inspection, entry.kind).map_err(refused)?;
        let code = self.code(entry, &wasm, &digest)?;
        let mismatch = |error: wasmtime::Error| {
            let detail = clean(&format!("{error:#}"), MESSAGE);
            refused(format!(
                "the component has the right interfaces, but not in the shape of this host's contract ({detail}); rebuild it with \
                 the SDK of this witvirt"
            ))
        };
        let instance = self.linker(entry.kind).instantiate_pre(&code.component).map_err(mismatch)?;
        let engine = self.engine.clone();
        let mut revision =
            Revision::new(&name, entry.limits, settings, engine, instance.clone()).map_err(mismatch)?;
        let mut session = revision.start()?;
        let info = describe(&mut revision, &mut session)?;
        revision.configure(&mut session)?;
        let revision = Arc::new(revision);
        let mut report = report(entry, &wasm, digest, inspection, info, &code)?;
        let plugin = match entry.kind {
            PluginKind::DiskFormat => {
                let plugin = FormatPlugin::new(revision, &instance, report.writes, &mut session, mismatch)?;
                report.formats = plugin.formats().to_vec();
                Plugin::Format(Arc::new(plugin))
            }
            PluginKind::DomainConverter => {
                let plugin = ConverterPlugin::new(revision, &instance, &mut session, mismatch)?;
                report.conversions = plugin.conversions().to_vec();
                Plugin::Converter(Arc::new(plugin))
            }
            PluginKind::DevicePolicy => {
                Plugin::Policy(Arc::new(PolicyPlugin::new(revision, &instance, mismatch)?))
            }
            PluginKind::ArtifactLayout => {
                let plugin = ArtifactPlugin::new(revision, &instance, report.writes, &mut session, mismatch)?;
                report.layouts = plugin.layouts().to_vec();
                Plugin::Artifact(Arc::new(plugin))
            }
        };
        report.load_us = microseconds(start.elapsed());
        Ok(Loaded { report, plugin })
    }

    /// Compiled code, from the cache where it has some.
    fn code(&self, entry: &PluginEntry, wasm: &[u8], digest: &Digest) -> Result<Code, LoadError> {
        let cache = match self.cache.lookup(&self.engine, digest) {
            Lookup::Hit(component) => {
                return Ok(Code { component, cache: CacheUse::Hit, compile: Duration::ZERO });
            }
            Lookup::Miss => CacheUse::Miss,
            Lookup::Removed(reason) => {
                tracing::warn!(plugin = %entry.name, "compiled code removed from the cache: {reason}");
                CacheUse::Replaced(reason)
            }
        };
        let failed = |reason: String| LoadError::Cache {
            plugin: entry.name.to_string(),
            cache: self.cache.path().to_owned(),
            reason,
        };
        let start = Instant::now();
        let partial = self.cache.begin(digest).map_err(|error| failed(error.to_string()))?;
        compile(&self.options.compiler, self.options.compile_deadline, wasm, partial.file()).map_err(
            |source| LoadError::Compile { plugin: entry.name.to_string(), file: entry.file.clone(), source },
        )?;
        partial.commit(digest).map_err(|error| failed(error.to_string()))?;
        let compile = start.elapsed();
        match self.cache.lookup(&self.engine, digest) {
            Lookup::Hit(component) => Ok(Code { component, cache, compile }),
            Lookup::Miss => Err(failed("it was removed as soon as it was stored".to_owned())),
            Lookup::Removed(reason) => Err(failed(reason)),
        }
    }
}

struct Code {
    component: Component,
    cache: CacheUse,
    compile: Duration,
}

fn settings(entry: &PluginEntry) -> Result<String, LoadError> {
    let refused = |reason: String| LoadError::Settings { plugin: entry.name.to_string(), reason };
    if !entry.settings.is_object() {
        return Err(refused("its settings are not a table".to_owned()));
    }
    let text = entry.settings.to_string();
    if text.len() > SETTINGS {
        return Err(refused(format!(
            "its settings are {} bytes of JSON, at most {SETTINGS} are allowed",
            text.len()
        )));
    }
    Ok(text)
}

/// The bytes of the file, if they are the agreed ones.
fn read(entry: &PluginEntry, limit: ByteSize) -> Result<(Vec<u8>, Digest), LoadError> {
    let (plugin, file) = (entry.name.to_string(), entry.file.clone());
    let (wasm, found) = match file::read(&entry.file, limit) {
        Ok(read) => read,
        Err(source) => return Err(LoadError::File { plugin, file, source }),
    };
    match entry.sha256 {
        Some(expected) if expected != found => Err(LoadError::Digest { plugin, file, expected, found }),
        _ => Ok((wasm, found)),
    }
}

fn describe(revision: &mut Revision, session: &mut crate::revision::Session) -> Result<Info, LoadError> {
    let mut info = revision.describe(session)?;
    let semantic = |text: &str| {
        let numbers = text.split(['-', '+']).next().unwrap_or_default();
        numbers.split('.').count() == 3 && numbers.split('.').all(|part| part.parse::<u64>().is_ok())
    };
    if info.version.len() > WORD || !semantic(&info.version) {
        let message = format!(
            "describes itself with the version \"{}\", which is not semantic (1.2.3)",
            clean(&info.version, WORD)
        );
        return Err(revision.lied(message).into());
    }
    info.version = clean(&info.version, WORD);
    revision.version.clone_from(&info.version);
    info.name = clean(&info.name, WORD);
    info.description = clean(&info.description, 1024);
    Ok(info)
}

fn report(
    entry: &PluginEntry,
    wasm: &[u8],
    sha256: Digest,
    inspection: Inspection,
    info: Info,
    code: &Code,
) -> Result<LoadReport, LoadError> {
    let schema = |text: String| {
        let value = (text.len() <= SETTINGS).then(|| serde_json::from_str(&text).ok()).flatten();
        value.ok_or_else(|| LoadError::Interface {
            plugin: entry.name.to_string(),
            reason: format!("describe gives a settings schema that is not JSON of at most {SETTINGS} bytes"),
        })
    };
    Ok(LoadReport {
        name: entry.name.to_string(),
        kind: entry.kind,
        file: entry.file.clone(),
        sha256,
        size: wasm.len() as u64,
        described_name: info.name,
        version: info.version,
        description: info.description,
        settings_schema: info.settings_schema.map(schema).transpose()?,
        world: inspection.world.clone().unwrap_or_default(),
        formats: Vec::new(),
        layouts: Vec::new(),
        writes: inspection.writes(entry.kind),
        conversions: Vec::new(),
        imports: inspection.imports,
        exports: inspection.exports,
        cache: code.cache.clone(),
        load_us: 0,
        compile_us: microseconds(code.compile),
    })
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
