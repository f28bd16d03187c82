//! What a component asks for and offers, read without running or compiling it, and whether this host can serve it.

use std::fmt;

use serde::Serialize;
use wasmparser::{Encoding, Parser, Payload};
use witvirt_core::plugin::PluginKind;

use crate::text::{WORD, clean};

const LOG: &str = "witvirt:types/log@0.1.0";
const ERRORS: &str = "witvirt:types/errors@0.1.0";
const IO: &str = "witvirt:disk/io@0.1.0";
const LIFECYCLE: &str = "witvirt:types/lifecycle@0.1.0";
const FORMAT: &str = "witvirt:disk/format@0.1.0";
/// Only writers have it.
const LAYOUT: &str = "witvirt:disk/layout@0.1.0";
const CONVERTER: &str = "witvirt:domain/converter@0.1.0";
const POLICY: &str = "witvirt:device/policy@0.1.0";
const ARTIFACT: &str = "witvirt:artifact/layout@0.1.0";
/// Only publishers have it.
const PUBLISH: &str = "witvirt:artifact/publish@0.1.0";

/// Imports or exports that are kept of a component.
const NAMES: usize = 1000;

/// The outside of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspection {
    /// Names of what it imports ("witvirt:types/log@0.1.0").
    pub imports: Vec<String>,
    /// Names of what it exports.
    pub exports: Vec<String>,
    /// The kind that its exports speak for.
    pub kind: Option<PluginKind>,
    /// The world of the contract that it implements ("witvirt:disk/disk-format@0.1.0").
    pub world: Option<String>,
}

/// Why bytes are no component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InspectError {
    /// A core module.
    Module,
    /// Code that wasmtime compiled before.
    Precompiled,
    /// The text format.
    Text,
    /// Anything else, with the parser's words.
    Malformed(String),
}

impl fmt::Display for InspectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module => f.write_str(
                "it is a core WebAssembly module, not a component; make one of it with \"cargo xtask plugins\" or \
                 \"wasm-tools component new\"",
            ),
            Self::Precompiled => f.write_str("it is precompiled native code, which is never accepted; give the .wasm file"),
            Self::Text => f.write_str("it is WebAssembly text, not a binary; translate it with \"wasm-tools parse\""),
            Self::Malformed(reason) => write!(f, "it is not a WebAssembly component: {reason}"),
        }
    }
}

impl std::error::Error for InspectError {}

/// Reads imports and exports of a component without compiling or running anything.
///
/// # Errors
/// [`InspectError`] when the bytes are no component.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, InspectError> {
    if bytes.starts_with(b"\x7fELF") {
        return Err(InspectError::Precompiled);
    }
    if bytes.trim_ascii_start().starts_with(b"(") {
        return Err(InspectError::Text);
    }
    let mut inspection = Inspection { imports: Vec::new(), exports: Vec::new(), kind: None, world: None };
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(InspectError::Module);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    push(&mut inspection.imports, import.map_err(malformed)?.name.name)?;
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    push(&mut inspection.exports, export.map_err(malformed)?.name.name)?;
                }
            }
            _ => {}
        }
    }
    inspection.kind = kind_of(&inspection);
    inspection.world = inspection.kind.map(|kind| world_of(kind, inspection.writes(kind)).to_owned());
    Ok(inspection)
}

fn malformed(error: wasmparser::BinaryReaderError) -> InspectError {
    InspectError::Malformed(clean(&error.to_string(), 1024))
}

fn push(names: &mut Vec<String>, name: &str) -> Result<(), InspectError> {
    if names.len() == NAMES {
        return Err(InspectError::Malformed(format!("it has more than {NAMES} imports or exports")));
    }
    names.push(clean(name, 2 * WORD));
    Ok(())
}

impl Inspection {
    /// Whether it exports `interface` in a version of the same compatibility track.
    pub(crate) fn offers(&self, interface: &str) -> bool {
        self.exports.iter().any(|name| compatible(name, interface))
    }

    /// Whether it also makes what plugins of its kind read.
    pub(crate) fn writes(&self, kind: PluginKind) -> bool {
        match kind {
            PluginKind::DiskFormat => self.offers(LAYOUT),
            PluginKind::ArtifactLayout => self.offers(PUBLISH),
            PluginKind::DomainConverter | PluginKind::DevicePolicy => false,
        }
    }
}

/// The interface that makes a plugin of this kind.
fn main_interface(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::DiskFormat => FORMAT,
        PluginKind::DomainConverter => CONVERTER,
        PluginKind::DevicePolicy => POLICY,
        PluginKind::ArtifactLayout => ARTIFACT,
    }
}

fn word(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::DiskFormat => "disk-format",
        PluginKind::DomainConverter => "domain-converter",
        PluginKind::DevicePolicy => "device-policy",
        PluginKind::ArtifactLayout => "artifact-layout",
    }
}

fn world_of(kind: PluginKind, writes: bool) -> &'static str {
    match kind {
        PluginKind::DiskFormat if writes => "witvirt:disk/disk-format-writer@0.1.0",
        PluginKind::DiskFormat => "witvirt:disk/disk-format@0.1.0",
        PluginKind::DomainConverter => "witvirt:domain/domain-converter@0.1.0",
        PluginKind::DevicePolicy => "witvirt:device/device-policy@0.1.0",
        PluginKind::ArtifactLayout if writes => "witvirt:artifact/artifact-layout-publisher@0.1.0",
        PluginKind::ArtifactLayout => "witvirt:artifact/artifact-layout@0.1.0",
    }
}

/// Interfaces that this host offers to plugins of a kind.
pub fn offered(kind: PluginKind) -> &'static [&'static str] {
    match kind {
        PluginKind::DiskFormat => &[LOG, ERRORS, IO],
        PluginKind::DomainConverter | PluginKind::DevicePolicy | PluginKind::ArtifactLayout => &[LOG, ERRORS],
    }
}

fn kind_of(inspection: &Inspection) -> Option<PluginKind> {
    const KINDS: [PluginKind; 4] = [
        PluginKind::DiskFormat,
        PluginKind::DomainConverter,
        PluginKind::DevicePolicy,
        PluginKind::ArtifactLayout,
    ];
    KINDS.into_iter().find(|kind| inspection.offers(main_interface(*kind)))
}

/// Whether two versioned names are the same interface on the same track of versions (the same major, or 0.minor).
fn compatible(left: &str, right: &str) -> bool {
    fn track(name: &str) -> Option<(&str, &str, &str)> {
        let (interface, version) = name.split_once('@')?;
        let mut parts = version.split('.');
        let (major, minor) = (parts.next()?, parts.next()?);
        Some((interface, major, if major == "0" { minor } else { "" }))
    }
    match (track(left), track(right)) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

/// Checks that a component of this shape can serve as `kind`.
///
/// # Errors
/// A sentence: what is wanted, what there is, what to do.
pub(crate) fn check(inspection: &Inspection, kind: PluginKind) -> Result<(), String> {
    let interface = main_interface(kind);
    if !inspection.offers(interface) {
        return Err(wrong_kind(inspection, kind));
    }
    if !inspection.offers(LIFECYCLE) {
        return Err(format!(
            "the component does not export {LIFECYCLE}, which every plugin has (describe and configure); build it against \
             the world {}",
            world_of(kind, false)
        ));
    }
    let offered = offered(kind);
    let unknown = |name: &&String| !offered.iter().any(|interface| compatible(name, interface));
    match inspection.imports.iter().find(unknown) {
        Some(name) => Err(missing(name, kind)),
        None => Ok(()),
    }
}

fn wrong_kind(inspection: &Inspection, kind: PluginKind) -> String {
    let wanted = main_interface(kind);
    if let Some(actual) = inspection.kind {
        return format!(
            "the config says kind = \"{}\", but the component exports {} and is a {}; write kind = \"{}\" or give another file",
            word(kind),
            main_interface(actual),
            word(actual),
            word(actual),
        );
    }
    let same = |name: &&String| name.split('@').next() == wanted.split('@').next();
    if let Some(other) = inspection.exports.iter().find(same) {
        return format!(
            "the component exports {other}, this host speaks {wanted}; use a witvirt of that version or rebuild the plugin \
             with the SDK of this one"
        );
    }
    format!(
        "the component does not export {wanted}, which a plugin of kind \"{}\" has; it exports {}; build it against the world {}",
        word(kind),
        list(&inspection.exports),
        world_of(kind, false),
    )
}

fn missing(name: &str, kind: PluginKind) -> String {
    let offered = offered(kind);
    let remedy = if name.starts_with("wasi:") {
        "plugins have no WASI (no files, clock, environment or network); build Rust for wasm32-unknown-unknown, Python with \
         componentize-py --stub-wasi, JavaScript with all features disabled"
    } else if offered.iter().any(|interface| interface.split('@').next() == name.split('@').next()) {
        "use a witvirt of that version or rebuild the plugin with the SDK of this one"
    } else {
        "remove the import or use a host that offers it"
    };
    format!(
        "the component imports {name}, which this host does not offer; a plugin of kind \"{}\" may import {}; {remedy}",
        word(kind),
        offered.join(", "),
    )
}

/// The first names, and how many there are besides.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    match names.len() {
        0 => "nothing".to_owned(),
        count if count <= SHOWN => names.join(", "),
        count => format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::compatible;

    #[test]
    fn follows_the_tracks_of_semantic_versions() {
        assert!(compatible("a:b/c@0.1.0", "a:b/c@0.1.7"));
        assert!(compatible("a:b/c@1.0.0", "a:b/c@1.9.0"));
        assert!(!compatible("a:b/c@0.1.0", "a:b/c@0.2.0"));
        assert!(!compatible("a:b/c@1.0.0", "a:b/c@2.0.0"));
        assert!(!compatible("a:b/c@0.1.0", "a:b/d@0.1.0"));
        assert!(!compatible("a:b/c", "a:b/c@0.1.0"));
    }
}
