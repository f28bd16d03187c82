//! Volumes of the store.

use std::sync::Arc;

use tokio::sync::mpsc;
use witvirt_core::Name;
use witvirt_core::spec::DiskSource;

use super::watch::with_progress;
use super::{Service, blocking};
use crate::api::volume::{Volume, VolumeRequest};
use crate::api::{Error, ErrorKind, Progress};

impl Service {
    /// Every volume.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn volumes(self: &Arc<Self>) -> Result<Vec<Volume>, Error> {
        let service = Arc::clone(self);
        let volumes = blocking(move || service.resources().store.volumes()).await??;
        let volume = |volume: witvirt_disk::Volume| self.volume_of(volume);
        Ok(volumes.into_iter().map(volume).collect())
    }

    /// One volume.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn volume(self: &Arc<Self>, name: Name) -> Result<Volume, Error> {
        let found = self.volumes().await?.into_iter().find(|volume| volume.name == name);
        found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no volume \"{name}\""))
                .hint("`witvirt volume ls` lists them")
        })
    }

    /// Makes one.
    pub fn create_volume(self: &Arc<Self>, request: VolumeRequest) -> mpsc::Receiver<Progress<Volume>> {
        let service = Arc::clone(self);
        with_progress("copy", move |progress| {
            let VolumeRequest { name, size, image } = request;
            let size = size.map(|size| size.get());
            match service.resources().store.create_volume(&name, size, image.as_deref(), progress) {
                Ok(volume) => Ok(service.volume_of(volume)),
                Err(error) if error.kind() == witvirt_disk::ErrorKind::AlreadyExists => {
                    Err(Error::new(ErrorKind::Conflict, error.to_string()))
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Removes a volume with its content.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Conflict`] while a machine runs on it, and unless `force` when any names it.
    pub async fn remove_volume(self: &Arc<Self>, name: Name, force: bool) -> Result<(), Error> {
        let users = self.users_of_volume(&name);
        let running = users.iter().find(|(_, runs)| *runs);
        if let Some((machine, _)) = running {
            let message = format!("the machine {machine} runs with the volume {name}");
            return Err(Error::new(ErrorKind::Conflict, message).hint("stop the machine first"));
        }
        if !users.is_empty() && !force {
            let machines: Vec<&str> = users.iter().map(|(machine, _)| machine.as_str()).collect();
            let message = format!("the volume {name} belongs to {}", machines.join(", "));
            return Err(Error::new(ErrorKind::Conflict, message)
                .hint("remove the machines first, or insist with --force"));
        }
        let service = Arc::clone(self);
        blocking(move || service.resources().store.remove_volume(&name)).await??;
        Ok(())
    }

    fn volume_of(&self, volume: witvirt_disk::Volume) -> Volume {
        let witvirt_disk::Volume { name, size, allocated } = volume;
        let users = self.users_of_volume(&name).into_iter().map(|(machine, _)| machine).collect();
        Volume { name, size, allocated, users }
    }

    /// Machines that name a volume, and whether they run.
    fn users_of_volume(&self, volume: &Name) -> Vec<(Name, bool)> {
        let names_it = |source: &DiskSource| matches!(source, DiskSource::Volume { name, .. } | DiskSource::Overlay { volume: name } if name == volume);
        let mut users = Vec::new();
        for status in self.machines().list() {
            let spec = self.machines().inspect(&status.name).ok().and_then(|detail| detail.spec);
            let Some(spec) = spec else { continue };
            if spec.disks.iter().filter_map(|disk| disk.source.as_ref()).any(names_it) {
                users.push((status.name.clone(), !status.state.is_ended()));
            }
        }
        users
    }
}
