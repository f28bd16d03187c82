//! Artifacts of registries: the host fetches and verifies, a plugin says what the blobs mean.

mod places;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use witvirt_core::Digest;
use witvirt_core::artifact::{self as core, DiskContent, Plan, Stored};
use witvirt_disk::artifact::{SMALL_BLOB, choose, disk_of, interpret};
use witvirt_disk::{
    ArtifactDisk, ArtifactFile, ArtifactPiece, Blob, ErrorKind as DiskError, ImportSource, Limits, Origin,
    Whiteouts,
};
use witvirt_fetch::registry::Descriptor;
use witvirt_fetch::{Authorities, DockerConfig, Helpers, Reference, Registry, RegistryAccess};

use super::{As, Import, invalid, login_of, platform};
use crate::api::image::{ImportReply, RemoteAccess};
use crate::api::{Error, ErrorKind};
use crate::service::plugins::Plugins;

pub(in crate::service) use places::{Places, as_disk_error, places};

/// Blobs that are asked for at the same time before anything is downloaded.
const AT_ONCE: usize = 8;

/// An artifact whose manifest has arrived.
struct Artifact<'a> {
    registry: &'a Registry,
    /// By the digest of its manifest.
    reference: Reference,
    descriptors: Vec<Descriptor>,
    /// Its name in messages and records.
    label: String,
}

impl Import<'_> {
    pub(super) fn import_artifact(&self, reference: &Reference) -> Result<ImportReply, Error> {
        let tail = self.label_tail();
        let same = |origin: &Origin| is_from(&origin.source.path, reference, &tail);
        if let Some(reply) = self.without_asking(&same)? {
            return Ok(reply);
        }
        let access = match self.who {
            As::Requester => registry_access(self.request.access.as_ref(), reference)?,
            As::Operator => self.service.fetch.operator_access()?,
        };
        let registry = self.service.fetch.registry(access);
        let digest = registry.resolve(reference)?;
        if reference.digest().is_some() {
            registry.ask(reference)?;
        }
        let label = format!("docker://{}{tail}", reference.with_digest(digest));
        // Whoever waits here has shown the registry credentials of its own and got a digest.
        self.service.flights.alone(&label, self.watch, |_| {
            if let Some(found) = self.known(&|origin| origin.source.path == label)? {
                return self.adopt(found);
            }
            self.fetch_artifact(&registry, &reference.with_digest(digest), label.clone())
        })
    }

    /// What else than the manifest decides what the image is.
    fn label_tail(&self) -> String {
        let mut tail = String::new();
        for (word, value) in [
            ("platform", &self.request.platform),
            ("layout", &self.request.layout),
            ("member", &self.request.member),
        ] {
            if let Some(value) = value {
                tail.push_str(&format!(" {word} {}", value.escape_debug()));
            }
        }
        tail
    }

    fn fetch_artifact(
        &self,
        registry: &Registry,
        reference: &Reference,
        label: String,
    ) -> Result<ImportReply, Error> {
        let (plugins, member) = (self.service.plugins(), self.request.member.as_deref());
        let wanted = Wanted {
            platform: self.request.platform.as_deref(),
            layout: self.request.layout.as_deref(),
            member,
        };
        let (artifact, plan, layout) = planned(registry, plugins, reference, &wanted, label)?;
        let disk = disk_of(&plan, member)?;
        let beside = Beside { files: artifact.files(&plan.files)?, facts: facts(&plan, &layout) };
        match &disk.content {
            DiskContent::Chunks { size, chunks } => {
                let stored: Vec<(u64, &Stored)> =
                    chunks.iter().map(|chunk| (chunk.offset, &chunk.content)).collect();
                self.import_disk(artifact.disk(Some(*size), &stored)?, disk.format.as_ref(), &beside)
            }
            DiskContent::Whole(places) => self.first_of(&artifact, places, disk.format.as_ref(), &beside),
        }
    }

    /// The first place that has the file: only a member of a tar can be missing, and the places are layers then, of which
    /// each hides what it deletes of those below it.
    fn first_of(
        &self,
        artifact: &Artifact<'_>,
        places: &[Stored],
        format: Option<&String>,
        beside: &Beside,
    ) -> Result<ImportReply, Error> {
        let whiteouts = Whiteouts::default();
        let mut missing = None;
        for place in places {
            let mut disk = artifact.disk(None, &[(0, place)])?;
            hide(&mut disk, &whiteouts);
            match self.import_disk(disk, format, beside) {
                Err(error) if error.kind == ErrorKind::NotFound => missing = Some(error),
                ended => return ended,
            }
        }
        if let Some(hidden) = whiteouts.hid() {
            let message = format!("{} holds no disk: an upper layer deletes {hidden}", artifact.label);
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        Err(missing.unwrap_or_else(|| invalid(format!("{} holds no disk", artifact.label))))
    }

    fn import_disk(
        &self,
        disk: ArtifactDisk,
        format: Option<&String>,
        beside: &Beside,
    ) -> Result<ImportReply, Error> {
        let disk = ArtifactDisk { files: beside.files.clone(), machine: beside.facts.clone(), ..disk };
        let mut wanted = self.wanted(ImportSource::Artifact(disk))?;
        wanted.reading.format = wanted.reading.format.or_else(|| format.cloned());
        self.store(&wanted, None, beside.facts.clone())
    }
}

/// Has a layer not show what those above it delete, and note what it deletes itself.
fn hide(layer: &mut ArtifactDisk, whiteouts: &Whiteouts) {
    layer.pieces.iter_mut().for_each(|piece| piece.whiteouts = Some(whiteouts.clone()));
}

/// What an artifact holds beside its disk.
struct Beside {
    files: Vec<ArtifactFile>,
    facts: Vec<(String, String)>,
}

/// What a user says of an artifact.
#[derive(Default)]
struct Wanted<'a> {
    platform: Option<&'a str>,
    layout: Option<&'a str>,
    member: Option<&'a str>,
}

/// An artifact, what its plugin says it holds, and the layout that it is read as.
fn planned<'a>(
    registry: &'a Registry,
    plugins: &Plugins,
    reference: &Reference,
    wanted: &Wanted<'_>,
    label: String,
) -> Result<(Artifact<'a>, Plan, String), Error> {
    let document = registry.select(reference, &platform(wanted.platform)?)?;
    let text = String::from_utf8(document.bytes().to_vec())
        .map_err(|_| invalid(format!("{label}: the manifest is not UTF-8")))?;
    let manifest = core::Manifest { media_type: document.media_type().to_owned(), text };
    let artifact = Artifact {
        registry,
        reference: reference.with_digest(document.digest()),
        descriptors: document.blobs().to_vec(),
        label,
    };
    let (plugin, layout) = choose(plugins, &manifest, wanted.layout)?;
    let mut small = |blob: &core::Descriptor| artifact.small(blob.digest);
    let plan = interpret(&*plugin, &layout, &manifest, wanted.member, &mut small, &Limits::default())?;
    Ok((artifact, plan, layout))
}

impl Artifact<'_> {
    fn descriptor(&self, digest: Digest) -> witvirt_disk::Result<&Descriptor> {
        self.descriptors.iter().find(|blob| blob.digest == digest).ok_or_else(|| {
            let message = format!("{}: {digest} is not in the manifest", self.label);
            witvirt_disk::Error::new(DiskError::Plugin, message)
        })
    }

    fn small(&self, digest: Digest) -> witvirt_disk::Result<Vec<u8>> {
        self.registry.small_blob(&self.reference, self.descriptor(digest)?, SMALL_BLOB)
    }

    /// The source of an import; `size` is that of the image file where it is known.
    fn disk(&self, size: Option<u64>, stored: &[(u64, &Stored)]) -> Result<ArtifactDisk, Error> {
        let count = stored.len();
        let named = stored
            .iter()
            .enumerate()
            .map(|(index, (offset, stored))| (format!("layer {} of {count}", index + 1), *offset, *stored));
        let pieces = self.pieces(&named.collect::<Vec<_>>())?;
        Ok(ArtifactDisk { label: self.label.clone(), size, pieces, files: Vec::new(), machine: Vec::new() })
    }

    /// What lies beside the disks.
    fn files(&self, files: &[core::File]) -> Result<Vec<ArtifactFile>, Error> {
        let named: Vec<_> =
            files.iter().map(|file| (format!("the {}", file.role), 0, &file.content)).collect();
        let pieces = self.pieces(&named)?;
        let file = |(file, content): (&core::File, ArtifactPiece)| {
            let core::File { role, name, .. } = file;
            ArtifactFile { role: role.clone(), name: name.clone(), content }
        };
        Ok(files.iter().zip(pieces).map(file).collect())
    }

    /// Bytes with their names in messages and their offsets, where they are.
    fn pieces(&self, named: &[(String, u64, &Stored)]) -> Result<Vec<ArtifactPiece>, Error> {
        let digests: Vec<Digest> = named.iter().flat_map(|(.., stored)| stored.blobs.clone()).collect();
        let mut blobs = self.open(&digests)?.into_iter();
        let piece = |(name, offset, stored): &(String, u64, &Stored)| {
            Ok(ArtifactPiece {
                name: name.clone(),
                offset: *offset,
                length: stored.length,
                blobs: blobs.by_ref().take(stored.blobs.len()).collect(),
                unpack: stored
                    .encoding
                    .parse()
                    .map_err(|error| invalid(format!("{}: {error}", self.label)))?,
                member: stored.member.clone(),
                whiteouts: None,
                digest: stored.digest,
            })
        };
        named.iter().map(piece).collect()
    }

    /// Asks for blobs, several at once: an artifact may have hundreds. Their order is kept.
    fn open(&self, digests: &[Digest]) -> Result<Vec<Arc<dyn Blob>>, Error> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut opened = Vec::new();
            while let Some(digest) = digests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let blob = self.registry.blob(&self.reference, self.descriptor(*digest)?)?;
                opened.push((*digest, blob));
            }
            Ok::<_, witvirt_disk::Error>(opened)
        };
        let opened = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_ONCE.min(digests.len())).map(|_| scope.spawn(work)).collect();
            let joined = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    Err(witvirt_disk::Error::new(DiskError::Io, "a thread that asks for blobs panicked"))
                })
            });
            joined.collect::<witvirt_disk::Result<Vec<_>>>()
        })?;
        let opened: std::collections::HashMap<Digest, Arc<dyn Blob>> = opened.into_iter().flatten().collect();
        Ok(digests.iter().filter_map(|digest| opened.get(digest).cloned()).collect())
    }
}

/// What a registry is shown for a reference.
///
/// # Errors
/// What cannot be shown to one.
pub(in crate::service) fn registry_access(
    access: Option<&RemoteAccess>,
    reference: &Reference,
) -> Result<RegistryAccess, Error> {
    let mut registry = RegistryAccess::anonymous();
    let Some(access) = access else { return Ok(registry) };
    if !access.headers.is_empty() {
        return Err(invalid("headers are for HTTP servers, registries take credentials"));
    }
    if let Some(ca) = &access.ca {
        registry = registry.with_authorities(Authorities::from_pem(ca.as_bytes())?);
    }
    if let Some(login) = &access.login {
        registry = registry.with_login(reference.registry(), login_of(login)?);
    }
    if let Some(text) = &access.docker_config {
        registry = registry.with_docker_config(DockerConfig::parse(text.as_bytes(), Helpers::Refuse)?);
    }
    Ok(registry)
}

/// Whether a recorded source is of this reference, at whatever digest.
fn is_from(path: &str, reference: &Reference, tail: &str) -> bool {
    let Some(rest) = path.strip_prefix(&format!("docker://{reference}")) else { return false };
    let rest = match reference.digest() {
        Some(_) => rest,
        None => match rest.strip_prefix("@sha256:") {
            Some(rest) if rest.len() >= 64 && rest.is_char_boundary(64) => &rest[64..],
            _ => return false,
        },
    };
    rest == tail
}

fn facts(plan: &Plan, layout: &str) -> Vec<(String, String)> {
    let mut facts = vec![("layout".to_owned(), layout.to_owned())];
    facts.extend(plan.facts.iter().cloned());
    facts
}

#[cfg(test)]
mod tests {
    use super::is_from;

    #[test]
    fn a_recorded_source_is_recognised_at_any_digest() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let path = format!("docker://registry.example/a/b:1@{digest}");
        let reference = |text: &str| text.parse().unwrap();
        assert!(is_from(&path, &reference("registry.example/a/b:1"), ""));
        assert!(is_from(&path, &reference(&format!("registry.example/a/b:1@{digest}")), ""));
        assert!(!is_from(&path, &reference("registry.example/a/b:10"), ""));
        assert!(!is_from(&path, &reference("registry.example/a/b"), ""), "latest is another tag");
        assert!(!is_from(&path, &reference("registry.example/a/b:1"), " member x"));
        assert!(is_from(&format!("{path} member x"), &reference("registry.example/a/b:1"), " member x"));
        assert!(!is_from("/srv/registry.example/a/b:1", &reference("registry.example/a/b:1"), ""));
    }
}
