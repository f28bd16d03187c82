//! Files that came with images, written beside an exported disk.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::local;
use crate::api::Error;
use crate::config::Config;
use crate::service::blocking;

/// A file of the store, and where it is to be written.
pub(super) struct Kept {
    stored: File,
    target: PathBuf,
    replace: bool,
}

/// Finds the files that are wanted ("ROLE=FILE") of an image, before anything is written.
///
/// # Errors
/// When the image has no such file, or the target exists and is not to be replaced.
pub(super) async fn find(
    config: &Config,
    image: &str,
    wanted: &[String],
    replace: bool,
) -> anyhow::Result<Vec<Kept>> {
    let (config, image, wanted) = (config.clone(), image.to_owned(), wanted.to_vec());
    let found = blocking(move || {
        let mut found = Vec::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        let store = local::store(&config)?;
        for text in &wanted {
            let Some((role, target)) = text.split_once('=') else {
                bail!("--file {text} has no \"=\": write ROLE=FILE")
            };
            let (stored, _) = store.kept_file(&image, role).map_err(Error::from)?;
            if !replace && Path::new(target).exists() {
                bail!("{target} exists already");
            }
            found.push(Kept { stored, target: target.into(), replace });
        }
        Ok(found)
    });
    found.await?
}

impl Kept {
    /// # Errors
    /// When the target cannot be written.
    pub(super) fn write(mut self) -> anyhow::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true);
        match self.replace {
            true => options.create(true).truncate(true),
            false => options.create_new(true),
        };
        let shown = self.target.display();
        let mut file = options.open(&self.target).with_context(|| format!("cannot write {shown}"))?;
        std::io::copy(&mut self.stored, &mut file).with_context(|| format!("cannot write {shown}"))?;
        file.sync_all().with_context(|| format!("cannot flush {shown}"))
    }
}
