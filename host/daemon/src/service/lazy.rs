//! Machines that are started before their images are here.
//!
//! Each arriving image is open once, whatever number of disks lies over it; each disk over one is served on a socket of its
//! own while its machine runs. Both are found again by the next daemon: the images in the store, the disks when their
//! machines are adopted.

use std::collections::HashMap;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;
use witvirt_core::format::Formats;
use witvirt_core::spec::{Disk, DiskSource};
use witvirt_core::{Digest, Name};
use witvirt_disk::nbd::{Export, NbdServer};
use witvirt_disk::{
    Access, ArtifactDisk, Connect, DiskHandle, Error, ErrorKind, ImageState, ImageSummary, Lazily,
    LazyAccess, LazyImage, LazyPhase, LazyRequest, LazyStatus, Origin, Pace, Progress, Result, Store,
    StoredDisk,
};
use witvirt_fetch::{Fetch, Reference};
use witvirt_hypervisor::{Block, BlockServer};
use witvirt_machine::{Arrival, ArrivingDisk, ResourceError};

use super::Service;
use super::import::{Places, as_disk_error, places};
use super::plugins::Plugins;
use super::watch::Watch;
use crate::api::{self, image::ImportRequest};

/// The arriving images of a daemon, and the disks over them that are served.
pub struct LazyDisks {
    store: Arc<Store>,
    plugins: Arc<Plugins>,
    fetch: Fetch,
    /// By URL: one attempt to begin at a time.
    beginning: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    /// One change of what is on disk at a time.
    changes: Mutex<()>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// By their ids in the store.
    images: HashMap<String, Arc<LazyImage>>,
    /// By machine and disk.
    served: HashMap<(Name, Name), Served>,
}

struct Served {
    /// `None` when it has arrived, and is served from the store.
    image: Option<Arc<LazyImage>>,
    _server: NbdServer,
}

/// A disk that is about to be served.
struct Server {
    lazy: Arc<LazyDisks>,
    machine: Name,
    disk: Name,
    image: Option<Arc<LazyImage>>,
    export: Arc<dyn Export>,
}

/// A remote image, as a machine's spec names it.
struct Wanted<'a> {
    url: &'a str,
    format: Option<&'a str>,
    sha256: Option<Digest>,
}

impl LazyDisks {
    pub fn new(store: Arc<Store>, plugins: Arc<Plugins>, fetch: Fetch) -> Arc<Self> {
        let (beginning, changes, open) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { store, plugins, fetch, beginning, changes, open })
    }

    /// Makes a remote disk over an image that arrives while its machine runs; `Lazily::Whole` where that cannot be.
    fn prepare(
        &self,
        access: Access<'_>,
        overlays: &Dir,
        disk: &Name,
        wanted: &Wanted<'_>,
    ) -> Result<Lazily> {
        let turn = Arc::clone(lock(&self.beginning).entry(wanted.url.to_owned()).or_default());
        let begun = {
            let _one_at_a_time = lock(&turn);
            self.make_over(access, overlays, disk, wanted)
        };
        let mut beginning = lock(&self.beginning);
        // Who is about to wait for it holds another one.
        if Arc::strong_count(&turn) == 2 {
            beginning.remove(wanted.url);
        }
        begun
    }

    fn make_over(
        &self,
        access: Access<'_>,
        overlays: &Dir,
        disk: &Name,
        wanted: &Wanted<'_>,
    ) -> Result<Lazily> {
        loop {
            // Waits for servers, and so without the lock that everybody needs.
            let begun = self.begin(wanted)?;
            match &begun {
                Lazily::Served(image) => {
                    let _changing = lock(&self.changes);
                    let known = lock(&self.open).images.get(image.id()).cloned();
                    // Until now nobody used it: the last user of the same image may have taken it along.
                    if !known.is_some_and(|known| Arc::ptr_eq(&known, image)) {
                        continue;
                    }
                    self.store.create_lazy_disk(access, overlays, disk, image)?;
                }
                Lazily::Arrived(digest) => self.over_image(access, overlays, disk, digest)?,
                Lazily::Whole(_) => {}
            }
            return Ok(begun);
        }
    }

    /// # Errors
    /// `NotFound` for a remote disk that was never made.
    pub fn check_made(&self, overlays: &Dir, disk: &Disk) -> Result<()> {
        let Some(wanted) = Wanted::of(disk) else { return Ok(()) };
        if self.store.has_disk(overlays, &disk.name)? {
            return Ok(());
        }
        let message = format!("{} was not imported yet: start the machine again", wanted.url);
        Err(Error::new(ErrorKind::NotFound, message))
    }

    /// The block behind a disk that waits for an image; `None` for every other disk, also one whose image has arrived.
    ///
    /// # Errors
    /// When the image cannot be opened, or turned out to be another one than was promised.
    pub fn block(self: &Arc<Self>, machine: &Name, overlays: &Dir, disk: &Name) -> Result<Option<Block>> {
        let Some(id) = self.store.lazy_of(overlays, disk)? else { return Ok(None) };
        let _changing = lock(&self.changes);
        let image = match self.resume_image(&id)? {
            Lazily::Served(image) => image,
            Lazily::Arrived(digest) => {
                self.store.settle_lazy_disk(overlays, disk, &digest)?;
                return Ok(None);
            }
            Lazily::Whole(reason) => return Err(Error::new(ErrorKind::Unsupported, reason)),
        };
        match image.status().phase {
            LazyPhase::Failed(reason) => {
                let message =
                    format!("{reason}: remove the machine, what it has written was made from another image");
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            LazyPhase::Arrived(digest) => {
                self.store.settle_lazy_disk(overlays, disk, &digest)?;
                return Ok(None);
            }
            LazyPhase::Arriving | LazyPhase::Importing => {}
        }
        let file = self.store.open_lazy_disk(overlays, disk)?;
        let server = self.server(machine, disk, Arc::clone(&image) as Arc<dyn Export>, Some(image));
        Ok(Some(Block::Overlay { file, backing: Box::new(Block::Served(Arc::new(server))) }))
    }

    /// Serves the disks of a machine that runs since before this daemon.
    ///
    /// # Errors
    /// When one cannot be served.
    pub fn resume(
        self: &Arc<Self>,
        machine: &Name,
        overlays: &Dir,
        disks: &[Disk],
        run_dir: &Path,
    ) -> std::result::Result<(), ResourceError> {
        for (index, disk) in disks.iter().enumerate() {
            let Some(id) = self.store.lazy_of(overlays, &disk.name)? else { continue };
            let _changing = lock(&self.changes);
            let (export, image): (Arc<dyn Export>, _) = match self.resume_image(&id)? {
                Lazily::Served(image) => (Arc::clone(&image) as _, Some(image)),
                // It has arrived while nobody served it, or just before: its guest still asks here.
                Lazily::Arrived(digest) => {
                    (Arc::new(StoredDisk::open(&self.store, &digest, &Progress::new())?), None)
                }
                Lazily::Whole(reason) => return Err(Error::new(ErrorKind::Unsupported, reason).into()),
            };
            let listener = witvirt_hypervisor::served_socket(run_dir, index)?;
            self.server(machine, &disk.name, export, image).serve(listener)?;
            tracing::info!(%machine, disk = %disk.name, "a disk whose image is arriving is served again");
        }
        Ok(())
    }

    /// Stops serving a machine that has ended. Its images go on arriving.
    pub fn ended(&self, machine: &Name) {
        let mut open = lock(&self.open);
        let gone: Vec<_> = open.served.keys().filter(|(owner, _)| owner == machine).cloned().collect();
        let served: Vec<_> = gone.into_iter().filter_map(|key| open.served.remove(&key)).collect();
        drop(open);
        drop(served);
    }

    /// Forgets a machine and what it uses, and removes arriving images that nobody else waits for.
    ///
    /// # Errors
    /// When the store cannot be changed.
    pub fn release(&self, machine: &Name, overlays: &Dir) -> Result<()> {
        self.ended(machine);
        let _changing = lock(&self.changes);
        for id in self.store.release(overlays)? {
            let image = lock(&self.open).images.remove(&id);
            self.store.remove_lazy(&id, image.as_deref())?;
        }
        Ok(())
    }

    /// Disks of a machine that is served, as far as their images have not arrived.
    pub fn arriving(&self, machine: &Name) -> Vec<ArrivingDisk> {
        let open = lock(&self.open);
        let mine = open.served.iter().filter(|((owner, _), _)| owner == machine);
        let images: Vec<_> = mine
            .filter_map(|((_, disk), served)| Some((disk.clone(), Arc::clone(served.image.as_ref()?))))
            .collect();
        drop(open);
        let mut disks: Vec<_> =
            images.into_iter().filter_map(|(disk, image)| arriving(disk, image.status())).collect();
        disks.sort_by(|a, b| a.disk.cmp(&b.disk));
        disks
    }

    /// Machines that run over an image that is not what was promised, with the reason.
    pub fn betrayed(&self) -> Vec<(Name, String)> {
        let open = lock(&self.open);
        let failed = |(key, served): (&(Name, Name), &Served)| match served.image.as_ref()?.status().phase {
            LazyPhase::Failed(reason) => Some((key.0.clone(), reason)),
            _ => None,
        };
        open.served.iter().filter_map(failed).collect()
    }

    fn server(
        self: &Arc<Self>,
        machine: &Name,
        disk: &Name,
        export: Arc<dyn Export>,
        image: Option<Arc<LazyImage>>,
    ) -> Server {
        Server { lazy: Arc::clone(self), machine: machine.clone(), disk: disk.clone(), image, export }
    }

    /// `url` names always the same bytes, where that can be said.
    fn connect(&self, url: &str) -> Connect {
        let (fetch, plugins, url) = (self.fetch.clone(), Arc::clone(&self.plugins), url.to_owned());
        Arc::new(move || match registry_reference(&url)? {
            None => Ok(vec![ArtifactDisk::object(fetch.http_as_operator(&url)?)]),
            Some(reference) => Ok(places(&fetch, &plugins, &reference).map_err(as_disk_error)?.disks),
        })
    }

    fn access(&self, url: &str) -> LazyAccess {
        let formats = Arc::clone(&self.plugins) as Arc<dyn Formats>;
        LazyAccess { formats, connect: self.connect(url), pace: Pace::default() }
    }

    /// Begins to fetch, or finds what is being fetched.
    fn begin(&self, wanted: &Wanted<'_>) -> Result<Lazily> {
        let mut request = LazyRequest {
            url: wanted.url.to_owned(),
            format: wanted.format.map(str::to_owned),
            sha256: wanted.sha256,
            name: name_of(wanted.url),
        };
        let places = match registry_reference(wanted.url)? {
            None => self.connect(wanted.url)()?,
            Some(reference) => {
                // A tag may stand for something else tomorrow.
                let digest = self.fetch.registry(self.fetch.operator_access()?).resolve(&reference)?;
                let reference = reference.with_digest(digest);
                request.url = format!("docker://{reference}");
                if let Some(image) = self.stored(&request)? {
                    return Ok(Lazily::Arrived(image));
                }
                let Places { disks, format } =
                    places(&self.fetch, &self.plugins, &reference).map_err(as_disk_error)?;
                request.format = request.format.or(format);
                disks
            }
        };
        let known = lock(&self.open).images.clone();
        let mut ids = places.iter().filter_map(|place| Store::lazy_id(&request, place));
        if let Some(image) = ids.find_map(|id| known.get(&id).cloned()) {
            return Ok(Lazily::Served(image));
        }
        let begun = self.store.begin_lazy(&self.access(&request.url), &request, places)?;
        Ok(self.keep(begun))
    }

    /// An image that the artifact was made into before.
    fn stored(&self, request: &LazyRequest) -> Result<Option<Digest>> {
        let is = |image: &ImageSummary| {
            let format = |found: &String| request.format.as_ref().is_none_or(|format| format == found);
            let mut origins = image.record.iter().flat_map(|record| record.origins());
            image.state == ImageState::Ready
                && origins.any(|Origin { source, .. }| source.path == request.url && format(&source.format))
        };
        Ok(self.store.list()?.into_iter().find(is).map(|image| image.digest))
    }

    fn resume_image(&self, id: &str) -> Result<Lazily> {
        let known = lock(&self.open).images.get(id).cloned();
        if let Some(image) = known {
            return Ok(Lazily::Served(image));
        }
        let url = self.store.lazy_url(id)?;
        let resumed = self.store.resume_lazy(&self.access(&url), id)?;
        Ok(self.keep(resumed))
    }

    fn keep(&self, lazily: Lazily) -> Lazily {
        if let Lazily::Served(image) = &lazily {
            lock(&self.open).images.insert(image.id().to_owned(), Arc::clone(image));
        }
        lazily
    }

    fn over_image(&self, access: Access<'_>, overlays: &Dir, disk: &Name, digest: &Digest) -> Result<()> {
        let source = DiskSource::Image(digest.hex());
        let made: DiskHandle = self.store.attach(access, overlays, disk, &source, false, &Progress::new())?;
        drop(made);
        Ok(())
    }
}

impl Service {
    /// Makes the disks of a machine that are remote and not there yet: `lazily` over images that arrive while it runs, as far
    /// as that is possible, else over images that are imported now. Returns what there is to say. Blocks.
    ///
    /// # Errors
    /// When a server cannot be reached, or something is wrong with an image.
    pub(super) fn make_remote_disks(
        self: &Arc<Self>,
        machine: &Name,
        overlays: &Dir,
        disks: &[Disk],
        lazily: bool,
        watch: &Arc<Watch>,
    ) -> std::result::Result<Vec<String>, api::Error> {
        let mut told = Vec::new();
        for disk in disks {
            let Some(wanted) = Wanted::of(disk) else { continue };
            let resources = self.resources();
            if resources.store.has_disk(overlays, &disk.name)? {
                continue;
            }
            let during = |error: Error| error.during(format!("disk {}", disk.name));
            if lazily {
                let lazy = &resources.lazy;
                let begun = lazy.prepare(resources.access(), overlays, &disk.name, &wanted);
                let (said, made) = say(&disk.name, wanted.url, &begun.map_err(during)?);
                if let Some(said) = &said {
                    watch.warn(said.clone());
                }
                told.extend(said);
                if made {
                    continue;
                }
            }
            let request = ImportRequest {
                source: wanted.url.to_owned(),
                name: Some(name_of(wanted.url).unwrap_or_else(|| machine.clone())),
                format: wanted.format.map(str::to_owned),
                checksums: wanted.sha256.iter().map(ToString::to_string).collect(),
                ..ImportRequest::default()
            };
            let imported = self.import_for_machine(&request, watch)?;
            let made =
                resources.lazy.over_image(resources.access(), overlays, &disk.name, &imported.image.digest);
            made.map_err(during)?;
        }
        Ok(told)
    }
}

/// What there is to say of a disk's beginning, and whether the disk is there now.
fn say(disk: &Name, url: &str, begun: &Lazily) -> (Option<String>, bool) {
    match begun {
        Lazily::Served(image) if image.is_promised() => {
            let promise = format!(
                "disk {disk}: the digest of {} is compared once all of it is here; a machine over another one is paused then",
                image.status().from
            );
            (Some(promise), true)
        }
        Lazily::Served(_) | Lazily::Arrived(_) => (None, true),
        Lazily::Whole(reason) => {
            let said = format!(
                "disk {disk}: {url} cannot be started from before all of it is here: {reason}; it is imported first"
            );
            (Some(said), false)
        }
    }
}

impl BlockServer for Server {
    fn serve(&self, listener: UnixListener) -> std::io::Result<()> {
        let server = NbdServer::start(listener, Arc::clone(&self.export))?;
        let key = (self.machine.clone(), self.disk.clone());
        let served = Served { image: self.image.clone(), _server: server };
        let before = lock(&self.lazy.open).served.insert(key, served);
        drop(before);
        Ok(())
    }
}

impl<'a> Wanted<'a> {
    fn of(disk: &'a Disk) -> Option<Self> {
        let Some(DiskSource::Remote { url, format, sha256 }) = &disk.source else { return None };
        Some(Self { url, format: format.as_deref(), sha256: *sha256 })
    }
}

/// What to call an image, by the last part of its URL.
pub fn name_of(url: &str) -> Option<Name> {
    if is_in_registry(url) {
        return super::import::name_of_source(url).ok();
    }
    let path = url.split(['?', '#']).next()?;
    let (_, rest) = path.split_once("://")?;
    let (_, file) = rest.rsplit_once('/')?;
    super::name_of(Path::new(file)).ok()
}

fn is_in_registry(url: &str) -> bool {
    url.starts_with("docker://") || url.starts_with("oci://")
}

/// The reference of a URL that names something in a registry.
fn registry_reference(url: &str) -> Result<Option<Reference>> {
    is_in_registry(url).then(|| url.parse()).transpose()
}

fn arriving(disk: Name, status: LazyStatus) -> Option<ArrivingDisk> {
    let (state, failed) = match status.phase {
        LazyPhase::Arriving => (Arrival::Arriving, None),
        LazyPhase::Importing => (Arrival::Importing, None),
        LazyPhase::Arrived(_) => return None,
        LazyPhase::Failed(reason) => (Arrival::Failed, Some(reason)),
    };
    let waiting = status.waiting.as_ref().map(|waiting| waiting.seconds);
    Some(ArrivingDisk {
        disk,
        from: status.from,
        state,
        present: status.present,
        total: status.total,
        waiting,
        reason: failed.or(status.trouble).or(status.waiting.map(|waiting| waiting.reason)),
    })
}

/// Nothing that a panic could leave half done is guarded.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn names_come_from_the_last_part() {
        for (url, name) in [
            ("https://images.example/a/Debian 12.qcow2?token=x", Some("debian-12")),
            ("https://images.example/web.img#top", Some("web")),
            ("docker://registry.example:5000/team/web.disk:1", Some("web.disk")),
            ("oci://registry.example/", None),
            ("https://images.example/", None),
            ("https://images.example", None),
            ("web.qcow2", None),
        ] {
            assert_eq!(name_of(url).map(|name| name.to_string()).as_deref(), name, "{url}");
        }
    }
}
