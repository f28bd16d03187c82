//! Volumes with files: small read-only disks that the host builds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use witvirt_sdk::xml::Element;

use super::Content;
use crate::draft::Draft;
use crate::tree::{Field, Waiver, quote};

/// Most bytes of files on a disk.
const MOST: usize = 1 << 20;
/// Most bytes of a label.
const MOST_LABEL: usize = 32;
/// The label of disks that say nothing of it.
const LABEL: &str = "cfgdata";
const OPTIONAL: Waiver =
    Waiver::info("kubevirt.volume.optional", "is not in the text: the disk has no files");
const TOKEN: Waiver =
    Waiver::error("kubevirt.volume.service-account", "there is no cluster that would give the guest a token");

/// Files of a disk in the making.
#[derive(Debug, Default)]
pub(crate) struct Files {
    list: Vec<Element>,
    size: usize,
}

impl Files {
    pub(crate) fn add(&mut self, path: &str, bytes: &[u8]) {
        self.size = self.size.saturating_add(bytes.len());
        let file = Element::new("w:file").attribute("path", path);
        let readable = |text: &&str| {
            // Carriage returns and spaces at the ends do not survive every reader of XML.
            let fits =
                |c: char| matches!(c, '\n' | '\t') || (!c.is_control() && c != '\u{fffe}' && c != '\u{ffff}');
            text.chars().all(fits) && text.trim() == text.strip_suffix('\n').unwrap_or(text)
        };
        self.list.push(match std::str::from_utf8(bytes).ok().filter(readable) {
            Some(text) if !text.is_empty() => file.attribute("encoding", "text").text(text),
            _ => file.attribute("encoding", "base64").text(STANDARD.encode(bytes)),
        });
    }

    /// The disk, as one of the document's sources.
    pub(crate) fn finish<'a>(
        self,
        place: Field<'a>,
        label: &str,
        name: &str,
        draft: &mut Draft<'a>,
    ) -> Content {
        if self.size > MOST {
            place.error("kubevirt.volume.size", || {
                format!("its files have {} bytes, {MOST} are the most", self.size)
            });
            return Content::refused();
        }
        let data = Element::new("w:data").attribute("label", label).children(self.list);
        draft.sources.push(Element::new("w:source").attribute("name", name).child(data));
        // The host lets nobody write to it where the bus can do that; drives of ATA cannot.
        Content::source(name)
    }
}

/// A value of a Secret or ConfigMap.
pub(super) struct Item<'a> {
    pub(super) key: &'a str,
    pub(super) bytes: Vec<u8>,
}

/// What a Secret holds.
pub(super) fn secret_items(secret: Field<'_>) -> Vec<Item<'_>> {
    items(secret, &[("data", true), ("stringData", false)])
}

fn items<'a>(object: Field<'a>, maps: &[(&'static str, bool)]) -> Vec<Item<'a>> {
    let mut items: Vec<Item<'a>> = Vec::new();
    for (map, encoded) in maps {
        for (key, value) in object.get(map).map(Field::entries).unwrap_or_default() {
            let Some(text) = value.private_string() else { continue };
            let bytes = if *encoded { decode(value, text) } else { Some(text.as_bytes().to_vec()) };
            let Some(bytes) = bytes else { continue };
            items.retain(|item| item.key != key);
            items.push(Item { key, bytes });
        }
    }
    items
}

/// Base64 as Go reads it: lines may be broken.
pub(super) fn decode(field: Field<'_>, text: &str) -> Option<Vec<u8>> {
    let joined: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    let bytes = STANDARD.decode(joined).ok();
    if bytes.is_none() {
        // Not quoted: it may be a secret.
        field.error("kubevirt.value.invalid", || "is not base64".to_owned());
    }
    bytes
}

/// An object that is named; one that is not in the text is an error that names it.
pub(super) fn named<'a>(
    place: Field<'a>,
    kind: &str,
    name: &str,
    draft: &mut Draft<'a>,
) -> Option<Field<'a>> {
    let object = draft.object(kind, name);
    if object.is_none() {
        place.error("kubevirt.reference.missing", || {
            format!("{kind} {} is not in the text: add it", quote(name))
        });
    }
    object
}

fn label<'a>(volume: Field<'a>) -> Option<&'a str> {
    let label = volume.text("volumeLabel").unwrap_or(LABEL);
    if label.len() > MOST_LABEL || !label.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        volume.get("volumeLabel")?.refuse("at most 32 ASCII characters");
        return None;
    }
    Some(label)
}

fn fill<'a>(place: Field<'a>, items: Vec<Item<'a>>) -> Files {
    let mut files = Files::default();
    for item in items {
        let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if item.key.is_empty()
            || item.key.len() > 253
            || item.key.starts_with("..")
            || !item.key.chars().all(usual)
        {
            place.error("kubevirt.value.invalid", || {
                format!(
                    "{} cannot be the name of a file: use letters, digits, '-', '_' and '.'",
                    quote(item.key)
                )
            });
            continue;
        }
        files.add(item.key, &item.bytes);
    }
    files
}

/// The disk of an object with a name, whose absence may be allowed.
fn from_object<'a>(
    volume: Field<'a>,
    field: &'static str,
    kind: &str,
    maps: &[(&'static str, bool)],
    name: &str,
    draft: &mut Draft<'a>,
) -> Content {
    let optional = volume.flag("optional").unwrap_or(false);
    let label = label(volume);
    let Some(wanted) = volume.required(field) else { return Content::refused() };
    let object = if optional {
        let object = draft.object(kind, wanted);
        if object.is_none() {
            volume.info(OPTIONAL.code, || format!("{kind} {} {}", quote(wanted), OPTIONAL.reason));
        }
        object
    } else {
        let Some(object) = named(volume, kind, wanted, draft) else { return Content::refused() };
        Some(object)
    };
    let Some(label) = label else { return Content::refused() };
    let items = object.map(|object| items(object, maps)).unwrap_or_default();
    fill(volume, items).finish(volume, label, name, draft)
}

pub(super) fn config_map<'a>(volume: Field<'a>, name: &str, draft: &mut Draft<'a>) -> Content {
    from_object(volume, "name", "ConfigMap", &[("data", false), ("binaryData", true)], name, draft)
}

pub(super) fn secret<'a>(volume: Field<'a>, name: &str, draft: &mut Draft<'a>) -> Content {
    from_object(volume, "secretName", "Secret", &[("data", true), ("stringData", false)], name, draft)
}

pub(super) fn service_account<'a>(volume: Field<'a>, _: &str, _: &mut Draft<'a>) -> Content {
    volume.waive(&TOKEN);
    Content::refused()
}

/// Answers for Windows' setup.
pub(super) fn sysprep<'a>(volume: Field<'a>, name: &str, draft: &mut Draft<'a>) -> Content {
    let sources = [("configMap", "ConfigMap"), ("secret", "Secret")];
    let found = sources.iter().filter_map(|(field, kind)| Some((volume.get(field)?, *kind)));
    let found: Vec<_> = found.collect();
    let [(reference, kind)] = found[..] else {
        volume.error("kubevirt.volume.source", || "use one of configMap and secret".to_owned());
        return Content::refused();
    };
    let Some(object) = reference.required("name").and_then(|wanted| named(reference, kind, wanted, draft))
    else {
        return Content::refused();
    };
    let items = match kind {
        "Secret" => secret_items(object),
        _ => items(object, &[("data", false), ("binaryData", true)]),
    };
    let answers =
        |item: &Item<'_>| matches!(&*item.key.to_ascii_lowercase(), "autounattend.xml" | "unattend.xml");
    if !items.iter().any(answers) {
        reference.error("kubevirt.volume.sysprep", || {
            format!("{kind} needs a key autounattend.xml or unattend.xml")
        });
    }
    fill(volume, items).finish(volume, "unattendCD", name, draft)
}
