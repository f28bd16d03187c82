//! Files with what the machine is called, and how it is tagged.

use super::{Content, Files};
use crate::draft::Draft;
use crate::tree::{Field, Waiver};

const RESOURCE: Waiver =
    Waiver::error("kubevirt.volume.downward", "there is no pod whose resources a file could tell");
const VERSION: Waiver = Waiver::info("kubevirt.volume.downward", "paths mean the same in all versions");
const MODE: Waiver = Waiver::info("kubevirt.volume.mode", "all files are readable");

pub(super) fn read<'a>(volume: Field<'a>, name: &str, draft: &mut Draft<'a>) -> Content {
    let mut files = Files::default();
    let label = volume.text("volumeLabel").unwrap_or("cfgdata");
    for item in volume.list("fields") {
        item.waive_fields(&["mode"], &MODE);
        item.waive_fields(&["resourceFieldRef"], &RESOURCE);
        let Some(path) = item.required("path") else { continue };
        let sound = !path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !sound || path.len() > 200 || path.chars().any(char::is_control) {
            item.cover();
            if let Some(field) = item.get("path") {
                field.refuse("a relative path without \"..\"");
            }
            continue;
        }
        let Some(reference) = item.get("fieldRef") else { continue };
        reference.waive_fields(&["apiVersion"], &VERSION);
        if let Some(text) = reference.get("fieldPath").and_then(|field| value(field, draft)) {
            files.add(path, text.as_bytes());
        }
    }
    if label.len() > 32 || !label.is_ascii() {
        volume.error("kubevirt.value.invalid", || "the label has more than 32 ASCII characters".to_owned());
        return Content::refused();
    }
    files.finish(volume, label, name, draft)
}

/// The value of a path in the metadata.
fn value(field: Field<'_>, draft: &Draft<'_>) -> Option<String> {
    let path = field.string()?;
    let tree = &draft.manifest.tree;
    let map = |name: &str| {
        let entries = tree.child(draft.machine.metadata, name).map(|id| tree.to_json(id));
        entries.and_then(|json| json.as_object().cloned()).unwrap_or_default()
    };
    let found = match path {
        "metadata.name" => Some(draft.machine.object.name.clone()),
        "metadata.namespace" => Some(crate::metadata::namespace(draft).to_owned()),
        "metadata.labels" => Some(lines(&map("labels"))),
        "metadata.annotations" => Some(lines(&map("annotations"))),
        _ => {
            let entry = |kind: &str| {
                let name = path.strip_prefix(kind)?.strip_prefix("['")?.strip_suffix("']")?;
                Some((kind.strip_prefix("metadata.")?.to_owned(), name.to_owned()))
            };
            let entry = entry("metadata.labels").or_else(|| entry("metadata.annotations"));
            entry.map(|(kind, name)| {
                map(&kind).get(&name).and_then(|v| v.as_str()).unwrap_or_default().to_owned()
            })
        }
    };
    if found.is_none() {
        field.refuse("metadata.name, metadata.namespace, metadata.labels, metadata.annotations, or metadata.labels['KEY']");
    }
    found
}

/// `key="value"`, one to a line, sorted, as kubelet writes them.
fn lines(map: &serde_json::Map<String, serde_json::Value>) -> String {
    let mut lines: Vec<_> =
        map.iter().map(|(key, value)| format!("{key}={:?}", value.as_str().unwrap_or_default())).collect();
    lines.sort();
    lines.join("\n")
}
