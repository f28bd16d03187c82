//! Data disks: files of a machine's spec as a file system in its directory.

use std::fs::File;
use std::io::Write;

use cap_std::fs::Dir;
use rustix::fs::OFlags;
use witvirt_core::Name;
use witvirt_core::spec::DataFile;

use super::dirs;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::iso;

/// Builds a data disk anew and opens it; only its owner may read the file. `read_only` says how it is opened.
pub(super) fn disk(dir: &Dir, disk: &Name, label: &str, files: &[DataFile], read_only: bool) -> Result<File> {
    let wrong = |why: &dyn std::fmt::Display| {
        Error::new(ErrorKind::InvalidInput, format!("the data disk \"{disk}\" cannot be built: {why}"))
    };
    let mut contents = Vec::with_capacity(files.len());
    for file in files {
        let content = file.content();
        contents.push(content.map_err(|error| wrong(&format!("{}: {error}", file.path.escape_debug())))?);
    }
    let pairs = files.iter().zip(&contents);
    let listed: Vec<_> = pairs.map(|(file, content)| iso::File { path: &file.path, content }).collect();
    let image = iso::build(label, &listed).map_err(|error| wrong(&error))?;
    let name = format!("{disk}.iso");
    let new = format!(".{name}.new");
    let mut file = dirs::create(dir, &new)?;
    file.write_all(&image).doing(|| format!("write {name}"))?;
    file.sync_all().doing(|| format!("flush {name}"))?;
    dirs::rename(dir, &new, &name)?;
    dirs::open(dir, &name, if read_only { OFlags::RDONLY } else { OFlags::RDWR })
}
