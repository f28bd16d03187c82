//! What machines are made of: disks from the store, kernels and firmware from the allowed directories.

use std::fs::File;
use std::sync::Arc;

use cap_std::fs::Dir;
use witvirt_core::Name;
use witvirt_core::spec::Disk;
use witvirt_disk::{Access, AllowedDirs, DiskHandle, Progress, Store};
use witvirt_hypervisor::Block;
use witvirt_machine::{ResourceError, Resources};

use super::plugins::Plugins;

/// The store and what it needs to read files of strangers.
pub struct StoreResources {
    /// Images, volumes, overlays.
    pub store: Arc<Store>,
    /// Format plugins.
    pub plugins: Arc<Plugins>,
    /// Where users may name files.
    pub allowed: AllowedDirs,
}

impl StoreResources {
    /// What an operation may use.
    pub fn access(&self) -> Access<'_> {
        Access { formats: self.plugins.as_ref(), allowed: &self.allowed, references: &self.allowed }
    }
}

impl Resources for StoreResources {
    fn block(&self, _: &Name, overlays: &Dir, disk: &Disk) -> Result<Option<Block>, ResourceError> {
        let Some(source) = &disk.source else { return Ok(None) };
        let progress = Progress::new();
        let handle =
            self.store.attach(self.access(), overlays, &disk.name, source, disk.read_only, &progress)?;
        Ok(Some(match handle {
            DiskHandle::Raw { file, read_only } => Block::Raw { file, read_only },
            DiskHandle::Overlay { file, base } => {
                Block::Overlay { file, backing: Box::new(Block::Raw { file: base, read_only: true }) }
            }
        }))
    }

    fn file(&self, path: &str) -> Result<File, ResourceError> {
        Ok(self.allowed.open_file(std::path::Path::new(path))?)
    }

    fn release(&self, _: &Name, _: &Dir) -> Result<(), ResourceError> {
        // The store keeps nothing for a machine outside its directory.
        Ok(())
    }
}
