//! Images as artifacts of registries: a plugin designs the artifact, the host makes and uploads its blobs.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use witvirt_core::artifact::{ArtifactLayout, ArtifactLayouts, Packed, Packing, PublishRequest, SmallBlob};
use witvirt_disk::artifact::{check_documents, check_manifest, check_packings, pack, packed_document};
use witvirt_disk::{Access, AllowedDirs, ConvertRequest, ConvertSource, ImageRecord};
use witvirt_fetch::{Reference, Registry};
use witvirt_machine::Timestamp;

use super::Service;
use super::import::{platform, registry_access};
use super::watch::{Watch, with_progress};
use crate::api::image::{PushReply, PushRequest};
use crate::api::{Error, ErrorKind, Progress};

impl Service {
    /// Puts an image of the store into a registry. `anywhere`: the caller could read every file of this host anyway.
    pub fn push(
        self: &Arc<Self>,
        image: String,
        request: PushRequest,
        anywhere: bool,
    ) -> mpsc::Receiver<Progress<PushReply>> {
        let service = Arc::clone(self);
        with_progress("push", move |watch| {
            let reference: Reference = request.target.parse()?;
            if reference.tag().is_none() || reference.digest().is_some() {
                return Err(invalid("push to a tag, as in docker://HOST/NAME:TAG, not to a digest"));
            }
            let layout = service.plugins().by_layout(&request.layout).ok_or_else(|| {
                let message = format!("no plugin knows the layout \"{}\"", request.layout.escape_debug());
                Error::new(ErrorKind::NotFound, message).hint(format!("there are: {}", publishers(&service)))
            })?;
            let access = registry_access(request.access.as_ref(), &reference)?;
            let store = &service.resources().store;
            let (base, record) = store.base(&store.resolve(&image)?, watch)?;
            let root = if anywhere { Some(AllowedDirs::new(["/"])?) } else { None };
            let allowed = root.as_ref().unwrap_or(&service.resources().allowed);
            let mut push = Push {
                service: &service,
                layout: &*layout,
                registry: service.fetch.registry(access),
                reference,
                watch,
                base: &base,
                record: &record,
                files: files(&request, allowed)?,
            };
            push.add_kept(&request)?;
            push.run(&request)
        })
    }
}

/// One push.
struct Push<'a> {
    service: &'a Arc<Service>,
    layout: &'a dyn ArtifactLayout,
    registry: Registry,
    reference: Reference,
    watch: &'a Watch,
    base: &'a File,
    record: &'a ImageRecord,
    /// Files beside the disk, by role.
    files: Vec<(String, File)>,
}

impl Push<'_> {
    /// Adds the files that came with the image, as far as the layout has a place for them: its plugin says so of one after
    /// another. What the request names is there already, and is refused later where there is no place for it.
    fn add_kept(&mut self, request: &PushRequest) -> Result<(), Error> {
        if self.layout.prepare(&self.order(request, 0)?).is_err() {
            // It is told with the files that were named.
            return Ok(());
        }
        let store = &self.service.resources().store;
        for role in self.record.roles() {
            if self.files.iter().any(|(taken, _)| taken == role) {
                continue;
            }
            let (file, _) = store.kept_file(&self.record.digest.to_string(), role)?;
            self.files.push((role.to_owned(), file));
            let order = self.order(request, 0)?;
            let taken = self
                .layout
                .prepare(&order)
                .is_ok_and(|packings| packings.iter().any(|packing| packing.role == role));
            if !taken {
                self.files.pop();
            }
        }
        Ok(())
    }

    fn run(&self, request: &PushRequest) -> Result<PushReply, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let order = self.order(request, now)?;
        let packings = self.layout.prepare(&order).map_err(witvirt_disk::Error::from)?;
        self.blame(check_packings(&order, &packings))?;
        let mut blobs = Vec::new();
        for packing in &packings {
            blobs.push(self.upload(packing, now)?);
        }
        let documents = self.layout.documents(&order, &blobs).map_err(witvirt_disk::Error::from)?;
        self.blame(check_documents(&packings, &documents))?;
        for document in &documents {
            blobs.push(self.upload_document(document)?);
        }
        let manifest = self.layout.compose(&order, &blobs).map_err(witvirt_disk::Error::from)?;
        self.blame(check_manifest(&manifest, &blobs))?;
        let text = manifest.text.as_bytes();
        let digest = self.registry.push_manifest(&self.reference, &manifest.media_type, text)?;
        let size = blobs.iter().map(|blob| blob.size).sum();
        let reference = format!("docker://{}", self.reference.with_digest(digest));
        let files = self.files.iter().map(|(role, _)| role.clone()).collect();
        Ok(PushReply { reference, digest, size, files })
    }

    /// What the plugin is asked for.
    fn order(&self, request: &PushRequest, now: u64) -> Result<PublishRequest, Error> {
        let platform = platform(request.platform.as_deref())?;
        let mut inputs = vec![("disk".to_owned(), self.record.virtual_size)];
        for (role, file) in &self.files {
            let size = file
                .metadata()
                .map_err(|error| Error::caused(ErrorKind::Internal, "cannot stat a file", &error))?;
            inputs.push((role.clone(), size.len()));
        }
        Ok(PublishRequest {
            layout: request.layout.clone(),
            format: request.format.clone(),
            virtual_size: self.record.virtual_size,
            architecture: platform.architecture,
            os: platform.os,
            created: Timestamp::from_millis(now * 1000).to_string(),
            inputs,
            options: request.options.clone().into(),
        })
    }

    fn upload(&self, packing: &Packing, now: u64) -> Result<Packed, Error> {
        let mut file = self.input(packing)?;
        let size = file.seek(SeekFrom::End(0)).and_then(|size| file.rewind().map(|()| size));
        let size =
            size.map_err(|error| Error::caused(ErrorKind::Internal, "cannot read what is pushed", &error))?;
        let mut upload = self.registry.start_upload(&self.reference)?;
        let packed = pack(&mut file, size, packing, now, &mut upload, self.watch)?;
        upload.finish(packed.digest)?;
        Ok(packed)
    }

    /// The file that a blob is made of, for this blob alone.
    fn input(&self, packing: &Packing) -> Result<File, Error> {
        let again = |file: &File| {
            file.try_clone()
                .map_err(|error| Error::caused(ErrorKind::Internal, "cannot open a file again", &error))
        };
        if packing.role != "disk" {
            let found = self.files.iter().find(|(role, _)| *role == packing.role);
            return again(found.map(|(_, file)| file).ok_or_else(|| invalid("a file is missing"))?);
        }
        match packing.format.as_deref() {
            None | Some("raw") => again(self.base),
            Some(format) => self.converted(format),
        }
    }

    /// The disk in another format, in a file that is gone when it is closed.
    fn converted(&self, format: &str) -> Result<File, Error> {
        let scratch = Scratch::new(&self.service.config().state_directory)?;
        let target = scratch.0.join("disk");
        let allowed = AllowedDirs::new([&scratch.0])?;
        let resources = self.service.resources();
        let access =
            Access { formats: resources.plugins.as_ref(), allowed: &allowed, references: &resources.allowed };
        let wanted = ConvertRequest {
            source: ConvertSource::Image(self.record.digest.to_string()),
            target: target.clone(),
            backing: None,
            format: format.to_owned(),
            options: serde_json::json!({}),
            replace: false,
            sync: false,
        };
        resources.store.convert(access, &wanted, self.watch)?;
        File::open(&target)
            .map_err(|error| Error::caused(ErrorKind::Internal, "cannot open the converted disk", &error))
    }

    fn upload_document(&self, document: &SmallBlob) -> Result<Packed, Error> {
        let packed = packed_document(&document.id, &document.content);
        let mut open =
            || Ok(Box::new(std::io::Cursor::new(document.content.clone())) as Box<dyn std::io::Read + Send>);
        self.registry.push_blob(&self.reference, packed.digest, packed.size, &mut open)?;
        Ok(packed)
    }

    /// Puts the plugin's name before what is wrong with its answers.
    fn blame(&self, checked: witvirt_disk::Result<()>) -> Result<(), Error> {
        let named = format!("plugin {} {}", self.layout.plugin(), self.layout.version());
        Ok(checked.map_err(|error| error.during(named))?)
    }
}

/// Opens what the request names beside the disk.
fn files(request: &PushRequest, allowed: &AllowedDirs) -> Result<Vec<(String, File)>, Error> {
    let mut files: Vec<(String, File)> = Vec::new();
    for (role, path) in &request.files {
        if role == "disk" || files.iter().any(|(taken, _)| taken == role) {
            return Err(invalid(format!("the role \"{}\" is taken", role.escape_debug())));
        }
        files.push((role.clone(), allowed.open_file(Path::new(path))?));
    }
    Ok(files)
}

/// The layouts that can be made.
fn publishers(service: &Service) -> String {
    let plugins = service.plugins().artifact_layouts();
    let names =
        plugins.iter().filter(|plugin| plugin.publishes()).flat_map(|plugin| plugin.layouts().to_vec());
    names.collect::<Vec<_>>().join(", ")
}

/// A directory of its own, gone when it is dropped; what daemons left that were killed is removed with the next push.
struct Scratch(PathBuf);

impl Scratch {
    fn new(state: &Path) -> Result<Self, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let failed = |error: std::io::Error| {
            Error::caused(ErrorKind::Internal, "cannot make room for the converted disk", &error)
        };
        let pushes = state.join("push");
        let own = format!("{}-", std::process::id());
        for old in std::fs::read_dir(&pushes).into_iter().flatten().flatten() {
            if !old.file_name().to_string_lossy().starts_with(&own) {
                let _ = std::fs::remove_dir_all(old.path());
            }
        }
        let directory = pushes.join(format!("{own}{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&directory).map_err(failed)?;
        Ok(Self(directory))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(directory = %self.0.display(), %error, "cannot remove what a push left");
        }
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message.into())
}
