//! `[pipeline.NAME]` and `[hooks]` as they are written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use witvirt_core::domain::MACHINE_JSON;
use witvirt_core::{Name, Span};

/// How a kind of document becomes a machine.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PipelineTable {
    /// The media type it takes. Default: libvirt domain XML, "application/vnd.libvirt.domain+xml".
    #[serde(default = "domain_xml")]
    pub source: String,
    /// The media type that the last converter makes. Default: the machine, "application/vnd.witvirt.machine.v1+json".
    /// Pipelines for `witvirt hook-sidecar` end in domain XML.
    #[serde(default = "machine")]
    pub target: String,
    /// Domain-converter plugins by name, or tables with more to say; in order.
    pub converters: Vec<StepEntry>,
    /// Whether documents of this media type take it without being asked to. Default: true where it ends in a machine;
    /// others are only taken by name.
    #[serde(default)]
    pub automatic: Option<bool>,
}

fn domain_xml() -> String {
    witvirt_core::domain::DOMAIN_XML.to_owned()
}

fn machine() -> String {
    MACHINE_JSON.to_owned()
}

/// A converter of a pipeline: its name alone, or a table.
#[derive(Debug, Clone)]
pub enum StepEntry {
    /// A plugin that always runs, and whose failure refuses the document.
    Name(Name),
    /// Anything else.
    Table(Box<StepTable>),
}

/// A converter of a pipeline that is more than a name: one of `plugin`, `order-from` and `socket`.
#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct StepTable {
    /// A domain-converter plugin.
    pub plugin: Option<Name>,
    /// An annotation of the machine whose value, separated by commas, names hooks of `plugins` and their order.
    pub order_from: Option<String>,
    /// With order-from: what the annotation may name, and the plugin that each name means.
    pub plugins: BTreeMap<String, Name>,
    /// With order-from: the names that count where the machine has no such annotation. Default: none.
    pub otherwise: Vec<String>,
    /// The socket of a hook sidecar of KubeVirt, below `[hooks] directory`.
    pub socket: Option<PathBuf>,
    /// How long it may take in all; a plugin's own limits.deadline holds as well. Default: that alone, and "5s" for a
    /// socket.
    pub timeout: Option<Span>,
    /// What its failure means. Default: "refuse".
    pub on_failure: StepFailure,
    /// It only runs for machines of which all of this holds. Default: for every machine.
    pub when: Option<WhenTable>,
}

/// What the failure of a converter means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepFailure {
    /// The document is refused.
    #[default]
    Refuse,
    /// The document goes on as it was before, with a warning. Only for hooks.
    Skip,
}

/// A condition on a machine; all of it has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct WhenTable {
    /// Labels: a text that the value equals, in which "*" stands for any characters; or whether the label is there.
    pub labels: BTreeMap<String, ValueMatch>,
    /// Annotations, likewise.
    pub annotations: BTreeMap<String, ValueMatch>,
    /// Guest systems, as in "linux", "macos", "windows"; one of them, and "*" as above. Default: any.
    pub os: Vec<String>,
}

/// What is expected of a label or annotation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum ValueMatch {
    /// That it is there, or is not.
    Present(bool),
    /// That it is there, with this value; "*" stands for any characters.
    Value(String),
}

/// Hook sidecars of KubeVirt as converters.
#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HooksTable {
    /// Whether converters of pipelines may be sockets. What answers there runs outside every sandbox. Default: false.
    pub sockets: bool,
    /// The directory that these sockets lie below. Default: /run/kubevirt-hooks.
    pub directory: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for StepEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

/// Not serde's `untagged`, which forgets what was wrong.
struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = StepEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a plugin or a table")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<StepEntry, E> {
        Name::new(text).map(StepEntry::Name).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StepEntry, A::Error> {
        StepTable::deserialize(MapAccessDeserializer::new(map)).map(|table| StepEntry::Table(Box::new(table)))
    }
}

impl schemars::JsonSchema for StepEntry {
    fn schema_name() -> Cow<'static, str> {
        "StepEntry".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (name, table) = (generator.subschema_for::<Name>(), generator.subschema_for::<StepTable>());
        schemars::json_schema!({
            "description": "A converter of a pipeline: its name alone, or a table.",
            "anyOf": [name, table],
        })
    }
}
