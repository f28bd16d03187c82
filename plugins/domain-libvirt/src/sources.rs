//! `<w:source>`: contents of disks that libvirt has no words for. A disk names one as `<source pool='witvirt' volume=/>`.

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{DataFile, DiskSource, MAX_ALL_DATA, MAX_DATA, MAX_DATA_FILES};
use witvirt_sdk::core::{ByteSize, Digest, Name};

use crate::document::{Element, Value, quote};
use crate::machine::NAMESPACE;

/// The storage pool whose volumes are the sources here.
pub(crate) const POOL: &str = "witvirt";
/// Most sources of a document.
const MAX_SOURCES: usize = 256;

struct Source<'a> {
    name: Value<'a>,
    /// `None` where it was refused.
    content: Option<DiskSource>,
    used: bool,
}

/// The sources of a document, by their names.
#[derive(Default)]
pub(crate) struct Sources<'a> {
    list: Vec<Source<'a>>,
    /// Bytes of files on the disks so far: many disks may have one source.
    given: u64,
}

impl Sources<'_> {
    /// What a disk means by a volume of this name; a name that is none is an error.
    pub(crate) fn used_by(&mut self, volume: Value<'_>) -> Option<DiskSource> {
        let Some(source) = self.list.iter_mut().find(|source| source.name.text == volume.text) else {
            volume.report(Severity::Error, "libvirt.witvirt.source", || {
                format!("<metadata> has no <source> of the name {} in {NAMESPACE}", quote(volume.text))
            });
            return None;
        };
        source.used = true;
        if let Some(DiskSource::Data { files, .. }) = &source.content {
            self.given = self.given.saturating_add(files.iter().map(length).sum());
            if self.given > MAX_ALL_DATA.get() {
                volume.report(Severity::Error, "libvirt.witvirt.data", || {
                    format!("all data disks together hold at most {MAX_ALL_DATA}")
                });
                return None;
            }
        }
        source.content.clone()
    }

    pub(crate) fn report_unused(&self) {
        for source in self.list.iter().filter(|source| !source.used) {
            source.name.report(Severity::Warning, "libvirt.witvirt.source", || {
                format!("no disk uses the source {}", quote(source.name.text))
            });
        }
    }
}

/// Reads one source. What is wrong with it is reported here, and disks that use it are empty.
pub(crate) fn read<'a>(source: Element<'a>, sources: &mut Sources<'a>) {
    let Some(name) = source.required("name") else { return };
    if sources.list.iter().any(|other| other.name.text == name.text) {
        name.report(Severity::Error, "libvirt.witvirt.repeated", || {
            format!("there are two sources {}: remove one", quote(name.text))
        });
        return;
    }
    if sources.list.len() >= MAX_SOURCES {
        let most = || format!("there are more than {MAX_SOURCES} sources");
        return source.cover(Severity::Error, "libvirt.witvirt.source", most);
    }
    let mut kinds = source.unread().filter(|child| child.namespace() == Some(NAMESPACE));
    let first = kinds.next();
    if first.is_none() || kinds.next().is_some() {
        let message = || "a source is one of <data>, <remote>, <volume>, <overlay> and <blank>".to_owned();
        source.report(Severity::Error, "libvirt.witvirt.source", message);
    }
    let content = first.and_then(|kind| match kind.local_name() {
        "data" => data(kind.open()),
        "remote" => remote(kind.open()),
        "volume" => volume(kind.open()),
        "overlay" => {
            let volume = kind.open().required("volume").and_then(volume_name)?;
            Some(DiskSource::Overlay { volume })
        }
        "blank" => {
            let size = kind.open().required("size").and_then(size)?;
            Some(DiskSource::Blank { size })
        }
        _ => {
            let open = kind.open();
            open.cover(Severity::Error, "libvirt.witvirt.source", || {
                format!("<{}>: use <data>, <remote>, <volume>, <overlay> or <blank>", open.name())
            });
            None
        }
    });
    sources.list.push(Source { name, content, used: false });
}

fn data(data: Element<'_>) -> Option<DiskSource> {
    let label = data.required("label");
    // The host always adds Joliet's names.
    data.attribute("joliet").and_then(Value::yes);
    let mut files = Vec::new();
    let mut room = MAX_DATA.get();
    let named = |name: &str, namespace| name == "file" && namespace == Some(NAMESPACE);
    for file in data.unread().filter(|child| named(child.local_name(), child.namespace())) {
        let file = file.open();
        let read = read_file(file)?;
        let least = length(&read);
        if files.len() >= MAX_DATA_FILES || least > room {
            file.report(Severity::Error, "libvirt.witvirt.data", || {
                format!("a disk holds at most {MAX_DATA_FILES} files with {MAX_DATA} together")
            });
            return None;
        }
        room -= least;
        if let Err(error) = read.content() {
            file.report(Severity::Error, "libvirt.witvirt.data", || error.to_string());
            return None;
        }
        files.push(read);
    }
    Some(DiskSource::Data { label: label?.untrimmed().to_owned(), files })
}

/// Bytes of a file, or fewer: base64 has more characters than that, and line ends.
fn length(file: &DataFile) -> u64 {
    let text = file.text.as_deref().map_or(0, str::len) as u64;
    text.saturating_add(file.base64.as_deref().map_or(0, str::len) as u64 / 2)
}

/// Contents may be secrets: no message quotes them.
fn read_file(file: Element<'_>) -> Option<DataFile> {
    let path = file.required("path");
    let encoded = file
        .attribute("encoding")
        .map_or(Some(false), |encoding| encoding.choose(&[("text", false), ("base64", true)]));
    let content = file.whole_text();
    let path = path?.untrimmed();
    let mut made = DataFile::text(path, "");
    match encoded? {
        true => (made.text, made.base64) = (None, Some(content.into_owned())),
        false => made.text = Some(content.into_owned()),
    }
    Some(made)
}

fn remote(remote: Element<'_>) -> Option<DiskSource> {
    let url = remote.required("url");
    let format = remote.attribute("format").filter(|format| !format.text.is_empty());
    let sha256 = match remote.attribute("sha256") {
        None => None,
        Some(text) => {
            let digest: Option<Digest> = text.text.parse().ok();
            if digest.is_none() {
                text.refuse("a SHA-256 of 64 hexadecimal digits");
            }
            Some(digest?)
        }
    };
    let format = format.map(|format| format.text.to_owned());
    Some(DiskSource::Remote { url: url?.text.to_owned(), format, sha256 })
}

fn volume(volume: Element<'_>) -> Option<DiskSource> {
    let name = volume.required("name").and_then(volume_name);
    let size = match volume.attribute("size") {
        Some(text) => Some(size(text)?),
        None => None,
    };
    Some(DiskSource::Volume { name: name?, size })
}

fn volume_name(text: Value<'_>) -> Option<Name> {
    let name = Name::new(text.text).ok();
    if name.is_none() {
        text.refuse("a volume name of 1 to 63 of a-z, 0-9, '-', '.' and '_'");
    }
    name
}

fn size(text: Value<'_>) -> Option<ByteSize> {
    let size: Option<ByteSize> = text.text.parse().ok();
    if size.is_none() {
        text.refuse("a size like 16GiB, or a number of bytes");
    }
    size
}
