//! Images of the store.

use std::sync::Arc;

use cap_std::fs::Dir;
use tokio::sync::mpsc;
use witvirt_core::spec::{Disk, DiskSource};
use witvirt_core::{Digest, Name};
use witvirt_disk::{ImageRecord, ImageState, ImageSummary, KeptFile, Origin, SourceRecord};

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
        Ok(image(blocking(move || service.resources().store.inspect(&reference)).await??))
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

    /// Machines with a disk over the image, or that will have one once they are started.
    async fn users_of(self: &Arc<Self>, reference: &str) -> Result<Vec<String>, Error> {
        let (service, reference) = (Arc::clone(self), reference.to_owned());
        blocking(move || {
            let digest = service.resources().store.resolve(&reference)?;
            let mut users = Vec::new();
            for status in service.machines().list() {
                let Ok(detail) = service.machines().inspect(&status.name) else { continue };
                let disks = detail.spec.map(|spec| spec.disks).unwrap_or_default();
                if disks.iter().any(|disk| service.image_below(&status.name, disk) == Some(digest)) {
                    users.push(status.name.to_string());
                }
            }
            Ok(users)
        })
        .await?
    }

    /// The image that a machine's disk was made over, or will be: a name may mean another image by now. Blocks.
    pub(super) fn image_below(&self, machine: &Name, disk: &Disk) -> Option<Digest> {
        let store = &self.resources().store;
        let overlays = self.config().state_directory.join("machines").join(machine.as_str()).join("overlays");
        let made = Dir::open_ambient_dir(overlays, cap_std::ambient_authority())
            .ok()
            .and_then(|overlays| store.image_of(&overlays, &disk.name).ok().flatten());
        made.or_else(|| match &disk.source {
            Some(DiskSource::Image(named)) => store.resolve(named).ok(),
            _ => None,
        })
    }

    /// Hashes an image again.
    pub fn check_image(self: &Arc<Self>, reference: String) -> mpsc::Receiver<Progress<CheckReport>> {
        let service = Arc::clone(self);
        with_progress("check", move |progress| match service.resources().store.verify(&reference, progress) {
            Ok(_) => Ok(CheckReport { good: true, findings: Vec::new() }),
            Err(error) if error.kind() == witvirt_disk::ErrorKind::Changed => {
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
