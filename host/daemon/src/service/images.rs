//! Images of the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use tokio::sync::mpsc;
use witvirt_core::spec::{Disk, DiskSource};
use witvirt_core::{Digest, Name};
use witvirt_disk::{
    Access, AllowedDirs, Checksum, ImageRecord, ImageState, ImageSummary, ImportRequest as DiskImport,
    SourceFile, SourceRecord,
};

use super::{Service, blocking};
use crate::api::image::{CheckFinding, CheckReport, Image, ImageSource, ImportReply, ImportRequest};
use crate::api::{Error, ErrorKind, Progress};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(200);

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
    /// [`ErrorKind::NotFound`].
    pub async fn image(self: &Arc<Self>, reference: String) -> Result<Image, Error> {
        let service = Arc::clone(self);
        Ok(image(blocking(move || service.resources().store.inspect(&reference)).await??))
    }

    /// Removes a name, and the image with its last name.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when machines need it.
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

    /// Copies an image file into the store. `anywhere`: the caller could read every file of this host anyway.
    pub fn import(
        self: &Arc<Self>,
        request: ImportRequest,
        anywhere: bool,
    ) -> mpsc::Receiver<Progress<ImportReply>> {
        let service = Arc::clone(self);
        with_progress("import", move |progress| {
            let path = PathBuf::from(&request.path);
            let name = match request.name {
                Some(name) => name,
                None => name_of(&path)?,
            };
            let root = if anywhere { Some(AllowedDirs::new(["/"])?) } else { None };
            let resources = service.resources();
            let allowed = root.as_ref().unwrap_or(&resources.allowed);
            let access =
                Access { formats: resources.plugins.as_ref(), allowed, references: &resources.allowed };
            let mut wanted =
                DiskImport::new(SourceFile { path, format: request.format, backing_format: None });
            wanted.name = Some(name);
            wanted.replace = request.replace;
            wanted.checksums.extend(request.sha256.map(Checksum::from));
            let imported = resources.store.import(access, &wanted, progress)?;
            let summary = resources.store.inspect(&imported.record.digest.to_string())?;
            Ok(ImportReply { image: image(summary), existed: imported.existed })
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

/// A name for an image from its file's name: "Debian 12.qcow2" becomes "debian-12".
///
/// # Errors
/// When nothing usable is left of it.
pub fn name_of(path: &std::path::Path) -> Result<Name, Error> {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let usable: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' })
        .take(63)
        .collect();
    Name::new(usable.trim_matches(|c: char| !c.is_ascii_alphanumeric())).map_err(|_| {
        Error::new(ErrorKind::Invalid, format!("no name can be made of {}", path.display()))
            .hint("give one with --name")
    })
}

/// Runs `work` away from the async threads and tells how far it is. When nobody listens any more, it is cancelled.
pub(crate) fn with_progress<T: Send + 'static>(
    phase: &'static str,
    work: impl FnOnce(&witvirt_disk::Progress) -> Result<T, Error> + Send + 'static,
) -> mpsc::Receiver<Progress<T>> {
    let (sender, receiver) = mpsc::channel(16);
    let progress = Arc::new(witvirt_disk::Progress::new());
    let shared = Arc::clone(&progress);
    tokio::spawn(async move {
        let mut working = tokio::task::spawn_blocking(move || work(&shared));
        let end = loop {
            tokio::select! {
                end = &mut working => break end,
                () = sender.closed() => progress.cancel(),
                () = tokio::time::sleep(TICK) => {
                    let status = progress.status();
                    let total = Some(status.total).filter(|total| *total > 0);
                    let line = Progress::Progress { phase: phase.to_owned(), done: status.done, total };
                    let _ = sender.try_send(line);
                }
            }
            if sender.is_closed() {
                break working.await;
            }
        };
        let line = match end {
            Ok(Ok(result)) => Progress::Done { result },
            Ok(Err(error)) => Progress::Error { error },
            Err(error) => {
                Progress::Error { error: Error::caused(ErrorKind::Internal, "the operation broke", &error) }
            }
        };
        let _ = sender.send(line).await;
    });
    receiver
}

/// As the API shows it.
fn image(summary: ImageSummary) -> Image {
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
        facts: record.as_ref().map(|record| record.facts.clone()).unwrap_or_default(),
        sources: record
            .map(|record| std::iter::once(record.source).chain(record.chain).map(source).collect())
            .unwrap_or_default(),
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

#[cfg(test)]
mod tests {
    #[test]
    fn names_come_from_file_names() {
        for (path, name) in [("/a/Debian 12.qcow2", "debian-12"), ("x.tar.img", "x.tar"), ("/-a-.raw", "a")] {
            assert_eq!(super::name_of(path.as_ref()).unwrap().as_str(), name);
        }
        assert!(super::name_of("/---.img".as_ref()).is_err());
    }
}
