//! What a file on the command line is: a machine, a document or an image.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;
use witvirt_core::domain::{DOMAIN_XML, MACHINE_JSON};
use witvirt_core::spec::{DiskSource, Firmware, FirmwareFile, MachineSpec};
use witvirt_core::{ByteSize, Name};

use crate::api::document::ConvertRequest;
use crate::api::machine::Definition;

/// The largest file that is read whole.
const LARGEST: u64 = 4 << 20;

/// What was named.
pub enum Input {
    /// A machine or a document.
    Definition(Definition),
    /// An image file, by its real path.
    ImageFile(PathBuf),
    /// A name that may be an image's.
    Image(String),
    /// Where an image is.
    Remote(String),
}

/// Finds out what `file` is by its name, and by its first bytes where the name does not say.
///
/// # Errors
/// When it cannot be read, or is a machine with mistakes.
pub fn classify(file: &str, name: Option<&Name>, pipeline: Option<&str>) -> anyhow::Result<Input> {
    let path = Path::new(file);
    if ["https://", "http://", "docker://", "oci://"].iter().any(|scheme| file.starts_with(scheme)) {
        return Ok(Input::Remote(file.to_owned()));
    }
    if file != "-" && !path.exists() {
        if file.contains('/')
            || extension(path).is_some_and(|ending| ["toml", "json", "xml"].contains(&ending))
        {
            bail!("{file} does not exist");
        }
        return Ok(Input::Image(file.to_owned()));
    }
    let by_name = extension(path);
    if file == "-" || matches!(by_name, Some("toml" | "json" | "xml")) || begins_like_xml(path)? {
        return Ok(Input::Definition(definition(file, name, pipeline)?));
    }
    Ok(Input::ImageFile(path.canonicalize().with_context(|| format!("cannot find {file}"))?))
}

/// Reads a machine or a document.
///
/// # Errors
/// When it cannot be read, or is a machine with mistakes.
pub fn definition(file: &str, name: Option<&Name>, pipeline: Option<&str>) -> anyhow::Result<Definition> {
    let text = read(file)?;
    let mut spec = match kind(file, &text) {
        Kind::Toml => crate::document::read::<MachineSpec>(file, &text)?.value,
        Kind::Json => serde_json::from_str(&text).with_context(|| format!("{file} is no machine"))?,
        Kind::Xml => {
            return Ok(Definition::Document(ConvertRequest {
                media_type: DOMAIN_XML.to_owned(),
                body: text,
                pipeline: pipeline.map(str::to_owned),
                name: name.map(ToString::to_string),
                ..ConvertRequest::default()
            }));
        }
    };
    if let Some(name) = name {
        spec.name = name.clone();
    }
    make_absolute(&mut spec, Path::new(file).parent().unwrap_or(Path::new(".")));
    Ok(Definition::Spec(Box::new(spec)))
}

/// Reads a document for a pipeline.
///
/// # Errors
/// When it cannot be read.
pub fn document(file: &str, media_type: Option<&str>) -> anyhow::Result<ConvertRequest> {
    let body = read(file)?;
    let guessed = match kind(file, &body) {
        Kind::Xml => DOMAIN_XML,
        Kind::Json => MACHINE_JSON,
        Kind::Toml => bail!("{file} is a machine already: there is nothing to convert"),
    };
    let media_type = media_type.unwrap_or(guessed).to_owned();
    Ok(ConvertRequest { media_type, body, ..ConvertRequest::default() })
}

/// A machine over an image, by its name or digest.
///
/// # Errors
/// When no name can be made of the image's.
pub fn machine_of_image(
    image: &str,
    name: Option<&Name>,
    memory: Option<ByteSize>,
    cpus: Option<u32>,
) -> anyhow::Result<MachineSpec> {
    let name = match name {
        Some(name) => name.clone(),
        None => Name::new(image.trim_start_matches("sha256:").chars().take(40).collect::<String>())
            .context("no machine name can be made of the image's: give one with --name")?,
    };
    machine_over(DiskSource::Image(image.to_owned()), &name, memory, cpus)
}

/// A machine with one disk and a `user` network.
///
/// # Errors
/// When it cannot be expressed.
pub fn machine_over(
    source: DiskSource,
    name: &Name,
    memory: Option<ByteSize>,
    cpus: Option<u32>,
) -> anyhow::Result<MachineSpec> {
    let spec = json!({
        "name": name,
        "memory": memory.unwrap_or(ByteSize::gib(1)),
        "cpu": { "count": cpus.unwrap_or(1) },
        "disks": [{ "name": "root", "source": source }],
        "interfaces": [{}],
        "rng": {},
    });
    serde_json::from_value(spec).context("cannot make a machine for the image")
}

enum Kind {
    Toml,
    Json,
    Xml,
}

fn kind(file: &str, text: &str) -> Kind {
    match extension(Path::new(file)) {
        Some("toml") => Kind::Toml,
        Some("json") => Kind::Json,
        Some("xml") => Kind::Xml,
        _ if text.trim_start().starts_with('<') => Kind::Xml,
        _ if text.trim_start().starts_with('{') => Kind::Json,
        _ => Kind::Toml,
    }
}

fn extension(path: &Path) -> Option<&str> {
    path.extension().and_then(|extension| extension.to_str())
}

fn begins_like_xml(path: &Path) -> anyhow::Result<bool> {
    let mut head = [0; 5];
    let mut file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let count = file.read(&mut head).with_context(|| format!("cannot read {}", path.display()))?;
    let head = &head[..count];
    Ok(head.starts_with(b"<?xml") || head.starts_with(b"<doma"))
}

fn read(file: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    let count = if file == "-" {
        std::io::stdin()
            .lock()
            .take(LARGEST + 1)
            .read_to_string(&mut text)
            .context("cannot read standard input")?
    } else {
        let opened = std::fs::File::open(file).with_context(|| format!("cannot open {file}"))?;
        opened.take(LARGEST + 1).read_to_string(&mut text).with_context(|| format!("cannot read {file}"))?
    };
    if count as u64 > LARGEST {
        bail!("{file} is longer than {LARGEST} bytes");
    }
    Ok(text)
}

/// Relative paths in a machine's file are relative to that file; the daemon takes absolute ones only.
fn make_absolute(spec: &mut MachineSpec, base: &Path) {
    let fix = |path: &mut String| {
        if !Path::new(path.as_str()).is_absolute() {
            let joined = base.join(path.as_str());
            let whole = joined.canonicalize().or_else(|_| std::path::absolute(&joined)).unwrap_or(joined);
            *path = whole.to_string_lossy().into_owned();
        }
    };
    [&mut spec.boot.kernel, &mut spec.boot.initrd].into_iter().flatten().for_each(fix);
    if let Firmware::Uefi { code, vars_template, .. } = &mut spec.boot.firmware {
        for file in [Some(code), vars_template.as_mut()].into_iter().flatten() {
            if let FirmwareFile::Path(path) = file {
                fix(path);
            }
        }
    }
    for disk in &mut spec.disks {
        if let Some(DiskSource::File { path, .. }) = &mut disk.source {
            fix(path);
        }
    }
}
