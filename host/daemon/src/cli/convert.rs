//! `witvirt image convert` and `witvirt image export`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Args, ValueHint};
use serde_json::json;
use witvirt_core::ByteSize;
use witvirt_disk::{ConvertRequest, ConvertSource, SourceFile};

use super::image::{parse_options, whole};
use super::{Context, kept, local, output};
use crate::service::blocking;

/// What is converted.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// The file to read, or an image of the store
    #[arg(value_hint = ValueHint::FilePath)]
    source: String,
    #[command(flatten)]
    target: TargetArgs,
    /// Format to read [default: probed]
    #[arg(long)]
    format: Option<String>,
}

/// What is exported.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// An image of the store, by name or digest
    image: String,
    #[command(flatten)]
    target: TargetArgs,
    /// Write a file that came with the image too (NVRAM, an auxiliary image), as ROLE=FILE; may be repeated
    #[arg(long = "file", value_name = "ROLE=FILE")]
    files: Vec<String>,
}

/// The new file.
#[derive(Debug, Args)]
struct TargetArgs {
    /// The file to write
    #[arg(value_hint = ValueHint::FilePath)]
    target: PathBuf,
    /// Format to write: raw, qcow2, vmdk, vdi, vpc, vhdx, qed
    #[arg(long, default_value = "raw")]
    to: String,
    /// How data is compressed in the target; short for --option compression=CODEC
    #[arg(long, value_name = "CODEC")]
    compression: Option<String>,
    /// An option of the target's format, as NAME=VALUE
    #[arg(long = "option", value_name = "NAME=VALUE")]
    options: Vec<String>,
    /// Write only what differs from this image, over which the target is to be read (a file, or an image of the store)
    #[arg(long, value_name = "FILE|IMAGE", value_hint = ValueHint::FilePath)]
    backing: Option<String>,
    /// Format of the backing file [default: probed]
    #[arg(long, value_name = "FORMAT", requires = "backing")]
    backing_format: Option<String>,
    /// Replace the target
    #[arg(long)]
    replace: bool,
    /// Leave it to the kernel when the target reaches the disk, as qemu-img does: faster, and lost by a power cut
    #[arg(long)]
    no_sync: bool,
}

/// Writes a file, or an image of the store, in another format.
///
/// # Errors
/// Whatever is wrong with the files.
pub(super) async fn convert(context: &Context, args: ConvertArgs) -> anyhow::Result<()> {
    write(context, file_or_image(args.source, args.format)?, args.target).await
}

/// Writes an image of the store as a file.
///
/// # Errors
/// Whatever is wrong with the image or the file.
pub(super) async fn export(context: &Context, args: ExportArgs) -> anyhow::Result<()> {
    let kept = kept::find(&context.config()?, &args.image, &args.files, args.target.replace).await?;
    write(context, ConvertSource::Image(args.image), args.target).await?;
    blocking(move || kept.into_iter().try_for_each(kept::Kept::write)).await?
}

async fn write(context: &Context, source: ConvertSource, args: TargetArgs) -> anyhow::Result<()> {
    let mut options = args.options;
    options.extend(args.compression.map(|codec| format!("compression={codec}")));
    let backing = args.backing.map(|backing| file_or_image(backing, args.backing_format)).transpose()?;
    let request = ConvertRequest {
        source,
        target: target_of(&args.target)?,
        format: args.to,
        options: parse_options(&options)?,
        backing,
        replace: args.replace,
        sync: !args.no_sync,
    };
    let converted = local::convert_image(&context.config()?, request).await?;
    if context.json() {
        return output::json(&json!({
            "virtual-size": converted.virtual_size,
            "size": converted.size,
            "allocated": converted.allocated,
        }));
    }
    output::print(&format!("{}: {}\n", args.target.display(), ByteSize(converted.size)))
}

/// A file, where there is one of that name.
fn file_or_image(named: String, format: Option<String>) -> anyhow::Result<ConvertSource> {
    if !Path::new(&named).exists() {
        return Ok(ConvertSource::Image(named));
    }
    let path = whole(Path::new(&named))?.into();
    Ok(ConvertSource::File(SourceFile { path, format, backing_format: None }))
}

/// The absolute path of a file that is to be written.
fn target_of(target: &Path) -> anyhow::Result<PathBuf> {
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = target.file_name() else { bail!("{} is no file name", target.display()) };
    Ok(Path::new(&whole(directory)?).join(name))
}
