//! What a plugin says of an artifact, bounded as the contract says. Whether a plan makes sense is decided in the data path.

use witvirt_core::artifact::{ArtifactChunk, Claim, Disk, DiskContent, File, Plan, Stored};
use witvirt_core::{Digest, PluginError};

use super::{at_most, word};
use crate::bindings::artifact::exports::witvirt::artifact::layout as wit;
use crate::revision::Revision;
use crate::text::{MESSAGE, WORD, clean};

/// Bounds of the contract in wit/artifact.
const DISKS: usize = 16;
const FILES: usize = 64;
const FACTS: usize = 64;
const CANDIDATES: usize = 256;
const BLOBS: usize = 16 << 10;
/// Bytes of an encoding's name.
const ENCODING: usize = 64;
/// Bytes of a path in a tar: PATH_MAX of Linux.
const MEMBER: usize = 4096;

pub(super) fn claim(
    revision: &Revision,
    layouts: &[String],
    answer: wit::ProbeResult,
) -> Result<Claim, PluginError> {
    if !(1..=100).contains(&answer.confidence) {
        let confidence = answer.confidence;
        return Err(revision
            .lied(format!("answered a probe with the confidence {confidence}, 1 to 100 are expected")));
    }
    if !layouts.contains(&answer.layout) {
        let name = clean(&answer.layout, WORD);
        return Err(
            revision.lied(format!("answered a probe with the layout \"{name}\", which it does not read"))
        );
    }
    Ok(Claim {
        confidence: answer.confidence,
        layout: answer.layout,
        version: answer.version.map(|version| clean(&version, WORD)),
    })
}

pub(super) fn digest(revision: &Revision, text: &str) -> Result<Digest, PluginError> {
    let digest = text.starts_with("sha256:").then(|| text.parse().ok()).flatten();
    digest.ok_or_else(|| {
        revision.lied(format!("names the digest \"{}\", sha256:<64 digits> is expected", clean(text, WORD)))
    })
}

pub(super) fn plan(revision: &Revision, plan: wit::Plan) -> Result<Plan, PluginError> {
    at_most(revision, "disks", plan.disks.len(), DISKS)?;
    at_most(revision, "files", plan.files.len(), FILES)?;
    at_most(revision, "facts", plan.facts.len(), FACTS)?;
    let mut reader = Reader { revision, blobs: 0 };
    let disks = plan.disks.into_iter().map(|disk| reader.disk(disk)).collect::<Result<_, _>>()?;
    let files = plan.files.into_iter().map(|file| reader.file(file)).collect::<Result<_, _>>()?;
    let fact = |(name, value): &(String, String)| (clean(name, WORD), clean(value, MESSAGE));
    Ok(Plan { disks, files, facts: plan.facts.iter().map(fact).collect() })
}

/// Counts the blobs that a plan names.
struct Reader<'a> {
    revision: &'a Revision,
    blobs: usize,
}

impl Reader<'_> {
    fn disk(&mut self, disk: wit::Disk) -> Result<Disk, PluginError> {
        let content = match disk.content {
            wit::DiskContent::Whole(candidates) => {
                at_most(self.revision, "places of one disk", candidates.len(), CANDIDATES)?;
                DiskContent::Whole(
                    candidates.into_iter().map(|stored| self.stored(stored)).collect::<Result<_, _>>()?,
                )
            }
            wit::DiskContent::Chunks(chunked) => {
                at_most(self.revision, "chunks of one disk", chunked.chunks.len(), BLOBS)?;
                let chunks = chunked.chunks.into_iter().map(|chunk| {
                    Ok(ArtifactChunk { offset: chunk.offset, content: self.stored(chunk.content)? })
                });
                DiskContent::Chunks {
                    size: chunked.size,
                    chunks: chunks.collect::<Result<_, PluginError>>()?,
                }
            }
        };
        let format = disk.format.map(|format| word(self.revision, "a format's name", format, WORD));
        Ok(Disk { name: clean(&disk.name, WORD), format: format.transpose()?, content })
    }

    fn file(&mut self, file: wit::File) -> Result<File, PluginError> {
        Ok(File {
            role: clean(&file.role, WORD),
            name: clean(&file.name, WORD),
            content: self.stored(file.content)?,
        })
    }

    fn stored(&mut self, stored: wit::Stored) -> Result<Stored, PluginError> {
        self.blobs = self.blobs.saturating_add(stored.blobs.len());
        at_most(self.revision, "blobs", self.blobs, BLOBS)?;
        let blobs = stored.blobs.iter().map(|text| digest(self.revision, text));
        let member = stored.member.map(|member| word(self.revision, "a member's path", member, MEMBER));
        Ok(Stored {
            blobs: blobs.collect::<Result<_, _>>()?,
            encoding: word(self.revision, "an encoding's name", stored.encoding, ENCODING)?,
            member: member.transpose()?,
            length: stored.length,
            digest: stored.digest.map(|text| digest(self.revision, &text)).transpose()?,
        })
    }
}
