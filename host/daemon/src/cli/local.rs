//! What the command line does itself, with the plugins of the config and the user's own rights.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use witvirt_core::plugin::PluginKind;
use witvirt_disk::{Access, AllowedDirs, Converted, ImageInfo, SourceFile, Store, StoreOptions};

use super::image::whole;
use super::progress::Bar;
use crate::api::Error;
use crate::api::document::{Conversion, ConvertRequest};
use crate::api::image::{CheckFinding, CheckReport};
use crate::config::Config;
use crate::service::{Plugins, blocking, pipeline};

/// The converters of the config.
///
/// # Errors
/// When one of them cannot be loaded.
pub(super) async fn converters(config: &Config) -> anyhow::Result<Arc<Plugins>> {
    let mut config = config.clone();
    config.plugins.retain(|entry| entry.kind == PluginKind::DomainConverter);
    Ok(Arc::new(blocking(move || load(&config)).await??))
}

/// Takes a document through a pipeline.
///
/// # Errors
/// When no pipeline fits.
pub(super) async fn convert(
    plugins: Arc<Plugins>,
    config: Arc<Config>,
    request: ConvertRequest,
) -> anyhow::Result<Conversion> {
    let converted = blocking(move || pipeline::convert(&config.pipelines, plugins.as_ref(), &request));
    Ok(converted.await??)
}

/// Looks for inconsistencies in a file.
///
/// # Errors
/// When it is no image that a plugin reads.
pub(super) async fn check(
    config: &Config,
    file: &Path,
    format: Option<String>,
) -> anyhow::Result<CheckReport> {
    let report = look(config, file, format, Store::check).await?;
    let findings: Vec<CheckFinding> = report
        .findings
        .into_iter()
        .map(|finding| CheckFinding {
            severity: word(finding.severity).to_owned(),
            code: finding.code,
            message: finding.message,
            offset: finding.offset,
        })
        .collect();
    Ok(CheckReport { good: findings.iter().all(|finding| finding.severity != "error"), findings })
}

/// What a file is.
///
/// # Errors
/// As [`check`].
pub(super) async fn info(config: &Config, file: &Path, format: Option<String>) -> anyhow::Result<ImageInfo> {
    look(config, file, format, Store::info).await
}

/// Opens a file with the plugins and whatever it may name.
async fn look<T: Send + 'static>(
    config: &Config,
    file: &Path,
    format: Option<String>,
    at: fn(&Store, Access<'_>, &SourceFile) -> witvirt_disk::Result<T>,
) -> anyhow::Result<T> {
    let (config, path) = (config.clone(), whole(file)?);
    let looked = blocking(move || {
        let plugins = load(&config)?;
        let (store, allowed) = (store(&config)?, everywhere()?);
        let references = AllowedDirs::new(&config.allowed_directories)?;
        let file = SourceFile { path: path.into(), format, backing_format: None };
        let access = Access { formats: &plugins, allowed: &allowed, references: &references };
        Ok::<_, anyhow::Error>(at(&store, access, &file).map_err(Error::from)?)
    });
    looked.await?
}

/// The severities of `witvirt:disk/format.finding`.
fn word(severity: u8) -> &'static str {
    match severity {
        1 => "error",
        2 => "warning",
        _ => "info",
    }
}

/// Writes an image in another format.
///
/// # Errors
/// Whatever is wrong with the source, a plugin or the disk.
pub(super) async fn convert_image(
    config: &Config,
    request: witvirt_disk::ConvertRequest,
) -> anyhow::Result<Converted> {
    let config = config.clone();
    let bar = Bar::new(&format!("convert to {}", request.target.display()));
    let progress = Arc::new(witvirt_disk::Progress::new());
    let shared = Arc::clone(&progress);
    let mut working = tokio::spawn(blocking(move || {
        let plugins = load(&config)?;
        let (store, allowed) = (store(&config)?, everywhere()?);
        let references = AllowedDirs::new(&config.allowed_directories)?;
        let converted = store.convert(
            Access { formats: &plugins, allowed: &allowed, references: &references },
            &request,
            &shared,
        );
        Ok::<_, anyhow::Error>(converted.map_err(Error::from)?)
    }));
    loop {
        tokio::select! {
            end = &mut working => return end.context("the conversion broke")??,
            _ = tokio::signal::ctrl_c() => progress.cancel(),
            () = tokio::time::sleep(std::time::Duration::from_millis(200)) => {
                let status = progress.status();
                bar.set(status.done, Some(status.total).filter(|total| *total > 0));
            }
        }
    }
}

pub(super) fn load(config: &Config) -> anyhow::Result<Plugins> {
    if config.plugins.is_empty() {
        bail!("no plugins are configured: name a config with --config or $WITVIRT_CONFIG");
    }
    Plugins::load(config).map_err(|failures| anyhow::anyhow!(failures.join("\n")))
}

/// What the user may read is for the operating system to say. What an image names is not: see [`Access`].
fn everywhere() -> Result<AllowedDirs, Error> {
    Ok(AllowedDirs::new(["/"])?)
}

pub(super) fn store(config: &Config) -> Result<Store, Error> {
    Ok(Store::open(&config.store_directory, StoreOptions::default())?)
}
