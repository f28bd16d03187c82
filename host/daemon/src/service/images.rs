//! Images of the store.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::Dir;
use tokio::sync::mpsc;
use witvirt_core::spec::{DiskSource, Firmware, FirmwareFile, MachineSpec};
use witvirt_core::{Digest, Name};
use witvirt_disk::{ErrorKind, ImageRecord, ImageState, ImageSummary, KeptFile, Origin, SourceRecord};

use super::watch::with_progress;
use super::{Service, blocking};
use crate::api::image::{CheckFinding, CheckReport, Image, ImageFile, ImageOrigin, ImageSource};
use crate::api::{Error, Progress};

impl Service {
    /// Every image.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn images(self: &Arc<Self>) -> Result<Vec<Image>, Error> {
        let service = Arc::clone(self);
        let images = blocking(move || service.resources().store.list()).await??;
        Ok(images.into_iter().map(image).collect())
    }

    /// One image, by name or digest.
    ///
    /// # Errors
    /// [`crate::api::ErrorKind::NotFound`].
    pub async fn image(self: &Arc<Self>, reference: String) -> Result<Image, Error> {
        let service = Arc::clone(self);
        blocking(move || {
            let store = &service.resources().store;
            let mut found = image(store.inspect(&reference)?);
            found.users = store.users(&found.digest)?.iter().map(ToString::to_string).collect();
            Ok(found)
        })
        .await?
    }

    /// Removes a name, and the image with its last name.
    ///
    /// # Errors
    /// [`crate::api::ErrorKind::Conflict`] when machines need it.
    pub async fn remove_image(self: &Arc<Self>, reference: String, force: bool) -> Result<(), Error> {
        let users = self.users_of(&reference).await?;
        let service = Arc::clone(self);
        blocking(move || service.resources().store.remove(&reference, &users, force)).await??;
        Ok(())
    }

    /// Machines that will have a disk over the image once they are started. Those that have one are known to the store
    /// afterwards.
    async fn users_of(self: &Arc<Self>, reference: &str) -> Result<Vec<String>, Error> {
        let (service, reference) = (Arc::clone(self), reference.to_owned());
        blocking(move || {
            service.note_disks()?;
            let digest = service.resources().store.resolve(&reference)?;
            let wanted = service.wanted_images()?.into_iter().filter(|(_, image)| *image == digest);
            let users: BTreeSet<String> = wanted.map(|(machine, _)| machine.to_string()).collect();
            Ok(users.into_iter().collect())
        })
        .await?
    }

    /// Makes sure that the store knows every disk that machines of this daemon have, broken ones too. Blocks.
    ///
    /// # Errors
    /// When a disk's record cannot be read.
    pub(super) fn note_disks(&self) -> Result<(), witvirt_disk::Error> {
        let path = self.config().state_directory.join("machines");
        let failed = |error| failed(&path, &error);
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let machine = entry.map_err(failed)?.file_name();
            // Half created ones have no disks yet, half removed ones need theirs no more.
            let Some(machine) = machine.to_str().and_then(|name| Name::new(name).ok()) else { continue };
            let Some(overlays) = self.directory_of_disks(&machine)? else { continue };
            self.resources().store.note_disks(&overlays).map_err(|error| {
                error.during(format!("what machine {machine} needs is unknown, so nothing is removed"))
            })?;
        }
        Ok(())
    }

    /// The images that machines name for disks which are not made yet. Blocks.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub(super) fn wanted_images(&self) -> Result<Vec<(Name, Digest)>, witvirt_disk::Error> {
        let store = &self.resources().store;
        let mut wanted = Vec::new();
        for status in self.machines().list() {
            // A broken machine's disks are known to the store; it will have no others.
            let spec = self.machines().inspect(&status.name).ok().and_then(|detail| detail.spec);
            let Some((spec, overlays)) = spec.zip(self.directory_of_disks(&status.name)?) else { continue };
            for disk in &spec.disks {
                let Some(DiskSource::Image(named)) = &disk.source else { continue };
                if store.has_disk(&overlays, &disk.name)? {
                    continue;
                }
                match store.resolve(named) {
                    // It cannot be started as it is.
                    Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {}
                    digest => wanted.push((status.name.clone(), digest?)),
                }
            }
            for (part, image) in firmware_images(&spec) {
                // What it has is marked in the store.
                if store.firmware_of(&overlays, &part)?.is_some() {
                    continue;
                }
                match store.resolve(image) {
                    Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {}
                    digest => wanted.push((status.name.clone(), digest?)),
                }
            }
        }
        Ok(wanted)
    }

    /// The directory of a machine's disks; `None` when the machine is gone.
    pub(super) fn directory_of_disks(&self, machine: &Name) -> Result<Option<Dir>, witvirt_disk::Error> {
        let path = self.config().state_directory.join("machines").join(machine.as_str()).join("overlays");
        match Dir::open_ambient_dir(&path, cap_std::ambient_authority()) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    /// Hashes an image again.
    pub fn check_image(self: &Arc<Self>, reference: String) -> mpsc::Receiver<Progress<CheckReport>> {
        let service = Arc::clone(self);
        with_progress("check", move |progress| match service.resources().store.verify(&reference, progress) {
            Ok(_) => Ok(CheckReport { good: true, findings: Vec::new() }),
            Err(error) if error.kind() == ErrorKind::Changed => {
                let finding = CheckFinding {
                    severity: "error".to_owned(),
                    code: "altered".to_owned(),
                    message: error.to_string(),
                    offset: None,
                };
                Ok(CheckReport { good: false, findings: vec![finding] })
            }
            Err(error) => Err(error.into()),
        })
    }
}

fn failed(path: &Path, error: &std::io::Error) -> witvirt_disk::Error {
    witvirt_disk::Error::new(ErrorKind::Io, format!("cannot look at {}: {error}", path.display()))
}

/// As the API shows it.
pub(super) fn image(summary: ImageSummary) -> Image {
    let (state, reason) = match summary.state {
        ImageState::Ready => ("ready", None),
        ImageState::Quarantined(reason) => ("quarantined", Some(reason)),
        ImageState::Altered(reason) => ("altered", Some(reason)),
        ImageState::Broken(reason) => ("broken", Some(reason)),
    };
    let record: Option<ImageRecord> = summary.record;
    Image {
        digest: summary.digest,
        names: summary.names,
        state: state.to_owned(),
        reason,
        virtual_size: record.as_ref().map_or(0, |record| record.virtual_size),
        allocated: record.as_ref().map_or(0, |record| record.allocated),
        created: record.as_ref().map_or(0, |record| record.created),
        users: Vec::new(),
        origins: record.map(|record| record.origins().cloned().map(origin).collect()).unwrap_or_default(),
    }
}

fn origin(origin: Origin) -> ImageOrigin {
    let file = |file: KeptFile| {
        let KeptFile { role, name, digest, size, .. } = file;
        ImageFile { role, name, digest, size }
    };
    ImageOrigin {
        sources: std::iter::once(origin.source).chain(origin.chain).map(source).collect(),
        member: origin.member,
        facts: origin.facts,
        machine: origin.machine,
        files: origin.files.into_iter().map(file).collect(),
    }
}

fn source(record: SourceRecord) -> ImageSource {
    ImageSource {
        path: record.path,
        format: record.format,
        plugin: format!("{} {}", record.plugin, record.plugin_version),
        size: record.size,
        digest: record.digest,
    }
}

/// Images of the store that a machine's firmware is made of, by their part.
fn firmware_images(spec: &MachineSpec) -> Vec<(Name, &str)> {
    let Firmware::Uefi { code, vars_template, .. } = &spec.boot.firmware else { return Vec::new() };
    let parts = [("code", Some(code)), ("vars", vars_template.as_ref())];
    let images = parts.into_iter().filter_map(|(part, file)| match file {
        Some(FirmwareFile::Image { image }) => Some((Name::new(part).ok()?, image.as_str())),
        _ => None,
    });
    images.collect()
}
