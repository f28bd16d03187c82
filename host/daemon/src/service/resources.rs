//! What machines are made of: disks from the store, kernels and firmware from the allowed directories.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};

use cap_std::fs::Dir;
use witvirt_core::Name;
use witvirt_core::spec::{Disk, DiskBus, DiskDevice, DiskSource};
use witvirt_disk::{Access, AllowedDirs, DiskHandle, ErrorKind, Progress, Store};
use witvirt_hypervisor::Block;
use witvirt_machine::{ArrivingDisk, ResourceError, Resources};

use super::Service;
use super::lazy::LazyDisks;
use super::plugins::Plugins;

/// The store and what it needs to read files of strangers.
pub struct StoreResources {
    /// Images, volumes, overlays.
    pub store: Arc<Store>,
    /// Format plugins.
    pub plugins: Arc<Plugins>,
    /// Where users may name files.
    pub allowed: AllowedDirs,
    /// Disks whose images are arriving.
    pub lazy: Arc<LazyDisks>,
    /// The daemon, once it is there.
    pub service: OnceLock<Weak<Service>>,
}

impl StoreResources {
    /// What an operation may use.
    pub fn access(&self) -> Access<'_> {
        Access { formats: self.plugins.as_ref(), allowed: &self.allowed, references: &self.allowed }
    }
}

impl StoreResources {
    /// Fetches the image below a disk again when it was altered and set aside; otherwise the machine cannot start for the
    /// reason it had.
    fn restore_below(
        &self,
        overlays: &Dir,
        disk: &Disk,
        altered: witvirt_disk::Error,
    ) -> Result<(), witvirt_disk::Error> {
        let below = match (self.store.image_of(overlays, &disk.name)?, &disk.source) {
            (Some(digest), _) => Some(digest),
            (None, Some(DiskSource::Image(named))) => Some(self.store.resolve(named)?),
            _ => None,
        };
        let Some(digest) = below else { return Err(altered) };
        let Some((record, _)) = self.store.quarantined(&digest)? else { return Err(altered) };
        tracing::warn!(image = %digest, "altered on disk and set aside; importing it again from its source");
        // Whoever imported it could read the file, which may lie outside the directories that others may name; and nothing
        // but the same content is accepted.
        let anywhere = AllowedDirs::new(["/"])?;
        let access = Access { allowed: &anywhere, ..self.access() };
        let restored = match self.store.restore(access, &digest, &Progress::new()).map(drop) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let refetched = match self.service.get().and_then(Weak::upgrade) {
            Some(service) => service.refetch(&digest, &record),
            None => return Err(restored),
        };
        let told = |error: witvirt_disk::Error| match error.kind() {
            // A file it was, and what is wrong with that says more.
            ErrorKind::Unsupported => restored,
            _ => error,
        };
        refetched.map_err(|error| told(error).during(format!("{altered}; importing it again")))
    }
}

impl Resources for StoreResources {
    fn block(&self, machine: &Name, overlays: &Dir, disk: &Disk) -> Result<Option<Block>, ResourceError> {
        let Some(source) = &disk.source else { return Ok(None) };
        if let Some(block) = self.lazy.block(machine, overlays, &disk.name)? {
            return Ok(Some(block));
        }
        self.lazy.check_made(overlays, disk)?;
        let progress = Progress::new();
        // Drives of ATA cannot refuse writes; those to a data disk are forgotten at the next start.
        let ata = matches!(disk.bus, DiskBus::Ide | DiskBus::Sata) && disk.device == DiskDevice::Disk;
        let read_only = disk.read_only || matches!(source, DiskSource::Data { .. }) && !ata;
        let attach = || self.store.attach(self.access(), overlays, &disk.name, source, read_only, &progress);
        let handle = match attach() {
            Err(error) if error.kind() == ErrorKind::Changed => {
                self.restore_below(overlays, disk, error)?;
                attach()?
            }
            handle => handle?,
        };
        Ok(Some(match handle {
            DiskHandle::Raw { file, read_only } => Block::Raw { file, read_only },
            DiskHandle::Overlay { file, base } => {
                Block::Overlay { file, backing: Box::new(Block::Raw { file: base, read_only: true }) }
            }
        }))
    }

    fn file(&self, path: &str) -> Result<File, ResourceError> {
        Ok(self.allowed.open_file(Path::new(path))?)
    }

    fn firmware(
        &self,
        _machine: &Name,
        overlays: &Dir,
        part: &'static str,
        image: &str,
    ) -> Result<File, ResourceError> {
        Ok(self.store.firmware(overlays, &Name::new(part)?, image, &Progress::new())?)
    }

    fn release(&self, machine: &Name, overlays: &Dir) -> Result<(), ResourceError> {
        // All else that the store keeps for a machine is in its directory.
        Ok(self.lazy.release(machine, overlays)?)
    }

    fn resume(
        &self,
        machine: &Name,
        overlays: &Dir,
        disks: &[Disk],
        run_dir: &Path,
    ) -> Result<(), ResourceError> {
        self.lazy.resume(machine, overlays, disks, run_dir)
    }

    fn ended(&self, machine: &Name) {
        self.lazy.ended(machine);
    }

    fn arriving(&self, machine: &Name) -> Vec<ArrivingDisk> {
        self.lazy.arriving(machine)
    }
}
