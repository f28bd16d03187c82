//! What a file on the command line is: a machine, a document or an image.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;
use witvirt_core::domain::{DOMAIN_XML, KUBEVIRT, MACHINE_JSON, XHYVE};
use witvirt_core::spec::{DiskSource, Firmware, FirmwareFile, MachineSpec};
use witvirt_core::{ByteSize, Name};

use super::args::DocumentArgs;
use crate::api::document::ConvertRequest;
use crate::api::machine::Definition;
use crate::api::{Error, ErrorKind};

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

/// Finds out what was named, by its type or name, and by its first bytes where those do not say.
///
/// # Errors
/// When it cannot be read, or is a machine with mistakes.
pub fn classify(args: &DocumentArgs) -> anyhow::Result<Input> {
    let Some(file) = args.file.as_deref() else { return Ok(Input::Definition(definition(args)?)) };
    let path = Path::new(file);
    if ["https://", "http://", "docker://", "oci://"].iter().any(|scheme| file.starts_with(scheme)) {
        return Ok(Input::Remote(file.to_owned()));
    }
    let known = kind_by_name(path).is_some();
    if file != "-" && !path.exists() {
        if file.contains('/') || known || args.named_type().is_some() {
            bail!("{file} does not exist");
        }
        return Ok(Input::Image(file.to_owned()));
    }
    if file == "-" || known || args.named_type().is_some() || begins_like_a_document(path)? {
        return Ok(Input::Definition(definition(args)?));
    }
    Ok(Input::ImageFile(path.canonicalize().with_context(|| format!("cannot find {file}"))?))
}

/// Reads a machine or a document.
///
/// # Errors
/// When it cannot be read, or is a machine with mistakes.
pub fn definition(args: &DocumentArgs) -> anyhow::Result<Definition> {
    let (text, kind) = text_and_kind(args)?;
    match kind {
        Kind::Machine(notation) => Ok(Definition::Spec(Box::new(machine(args, &text, notation)?))),
        Kind::Document(media_type) => Ok(Definition::Document(Box::new(request(args, media_type, text)?))),
    }
}

/// Reads a document for a pipeline. A machine is one that has nothing to pass.
///
/// # Errors
/// When it cannot be read.
pub fn document(args: &DocumentArgs) -> anyhow::Result<ConvertRequest> {
    let (text, kind) = text_and_kind(args)?;
    match kind {
        Kind::Machine(Notation::Toml) => {
            let spec = machine(args, &text, Notation::Toml)?;
            request(args, MACHINE_JSON.to_owned(), serde_json::to_string_pretty(&spec)?)
        }
        Kind::Machine(Notation::Json) => request(args, MACHINE_JSON.to_owned(), text),
        Kind::Document(media_type) => request(args, media_type, text),
    }
}

fn request(args: &DocumentArgs, media_type: String, body: String) -> anyhow::Result<ConvertRequest> {
    Ok(ConvertRequest {
        media_type,
        body,
        pipeline: args.pipeline.clone(),
        name: args.name.as_ref().map(ToString::to_string),
        select: args.select.clone(),
        directory: Some(directory(args.file.as_deref())?),
        ..ConvertRequest::default()
    })
}

/// Where relative paths in a document begin: beside its file, or here.
fn directory(file: Option<&str>) -> anyhow::Result<String> {
    let beside = file.filter(|file| *file != "-").and_then(|file| Path::new(file).parent());
    let beside = beside.filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let whole = beside.canonicalize().with_context(|| format!("cannot find {}", beside.display()))?;
    Ok(whole.to_string_lossy().into_owned())
}

fn machine(args: &DocumentArgs, text: &str, notation: Notation) -> anyhow::Result<MachineSpec> {
    let file = args.file();
    let mut spec = match notation {
        Notation::Toml => crate::document::read::<MachineSpec>(file, text)?.value,
        Notation::Json => serde_json::from_str(text).with_context(|| format!("{file} is no machine"))?,
    };
    if let Some(name) = &args.name {
        spec.name = name.clone();
    }
    make_absolute(&mut spec, Path::new(file).parent().unwrap_or(Path::new(".")));
    Ok(spec)
}

/// Several machines cannot have one name.
///
/// # Errors
/// When one was given.
pub fn no_name_for_several(args: &DocumentArgs, machines: &[String]) -> anyhow::Result<()> {
    if args.name.is_some() {
        let message = format!("{} holds several machines, and --name is for one", args.file());
        let hint = format!("choose one with --select: {}", machines.join(", "));
        return Err(Error::new(ErrorKind::Invalid, message).hint(hint).into());
    }
    Ok(())
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

/// How a machine is written.
#[derive(Clone, Copy)]
enum Notation {
    Toml,
    Json,
}

/// What a text is.
enum Kind {
    Machine(Notation),
    /// Of this media type.
    Document(String),
}

fn text_and_kind(args: &DocumentArgs) -> anyhow::Result<(String, Kind)> {
    let text = match &args.file {
        Some(file) => read(file)?,
        None => serde_json::to_string(&args.command_line)?,
    };
    let path = Path::new(args.file.as_deref().unwrap_or_default());
    let kind = match args.named_type() {
        Some(MACHINE_JSON) => Kind::Machine(notation(&text)),
        Some(media_type) => Kind::Document(media_type.to_owned()),
        None => kind_by_name(path).map_or_else(|| kind_by_content(&text), |by_name| by_name(&text)),
    };
    Ok((text, kind))
}

/// What files of a name are, once their text is known.
fn kind_by_name(path: &Path) -> Option<fn(&str) -> Kind> {
    Some(match path.extension()?.to_str()? {
        "toml" => |_| Kind::Machine(Notation::Toml),
        "json" => json,
        "xml" => |_| Kind::Document(DOMAIN_XML.to_owned()),
        "yaml" | "yml" => |_| Kind::Document(KUBEVIRT.to_owned()),
        "sh" => |_| Kind::Document(XHYVE.to_owned()),
        _ => return None,
    })
}

fn kind_by_content(text: &str) -> Kind {
    let begin = text.trim_start();
    let kubernetes = |line: &str| line.starts_with("apiVersion:");
    match begin {
        _ if begin.starts_with('<') => Kind::Document(DOMAIN_XML.to_owned()),
        _ if begin.starts_with("#!") => Kind::Document(XHYVE.to_owned()),
        _ if begin.starts_with(['{', '[']) && !is_toml_table(begin) => json(text),
        _ if text.lines().any(kubernetes) => Kind::Document(KUBEVIRT.to_owned()),
        _ => Kind::Machine(Notation::Toml),
    }
}

/// Whether a text that begins with a bracket is the header of a TOML table.
fn is_toml_table(text: &str) -> bool {
    text.starts_with('[') && serde_json::from_str::<serde_json::Value>(text).is_err()
}

/// A machine, or an object of Kubernetes, or a list of those.
fn json(text: &str) -> Kind {
    let kubernetes = |value: &serde_json::Value| value.get("apiVersion").is_some();
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Array(items)) if items.iter().any(kubernetes) => {
            Kind::Document(KUBEVIRT.to_owned())
        }
        Ok(value) if kubernetes(&value) => Kind::Document(KUBEVIRT.to_owned()),
        _ => Kind::Machine(Notation::Json),
    }
}

fn notation(text: &str) -> Notation {
    if text.trim_start().starts_with('{') { Notation::Json } else { Notation::Toml }
}

fn begins_like_a_document(path: &Path) -> anyhow::Result<bool> {
    let mut head = [0; 5];
    let mut file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let count = file.read(&mut head).with_context(|| format!("cannot read {}", path.display()))?;
    let head = &head[..count];
    Ok(head.starts_with(b"<?xml") || head.starts_with(b"<doma") || head.starts_with(b"#!"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_apart_by_name_and_content() {
        let told = |name: &str, text: &str| {
            let kind = kind_by_name(Path::new(name)).map_or_else(|| kind_by_content(text), |kind| kind(text));
            match kind {
                Kind::Machine(Notation::Toml) => "toml".to_owned(),
                Kind::Machine(Notation::Json) => "json".to_owned(),
                Kind::Document(media_type) => media_type,
            }
        };
        for (name, text, expected) in [
            ("a.toml", "<", "toml"),
            ("a.json", "{\"name\": \"a\"}", "json"),
            ("a.json", "{\"apiVersion\": \"kubevirt.io/v1\"}", KUBEVIRT),
            ("a.json", "[{\"apiVersion\": \"kubevirt.io/v1\"}]", KUBEVIRT),
            ("a.json", "{", "json"),
            ("a.yml", "", KUBEVIRT),
            ("a.sh", "", XHYVE),
            ("a.xml", "", DOMAIN_XML),
            ("-", " <domain/>", DOMAIN_XML),
            ("-", "#!/bin/sh\nxhyve", XHYVE),
            ("-", "# a VM\napiVersion: kubevirt.io/v1\n", KUBEVIRT),
            ("-", "{\"name\": \"a\"}", "json"),
            ("-", "name = \"apiVersion: 1\"", "toml"),
            ("-", "[cpu]\ncount = 1", "toml"),
            ("", "", "toml"),
        ] {
            assert_eq!(told(name, text), expected, "{name} {text}");
        }
    }
}
