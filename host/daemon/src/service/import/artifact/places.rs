//! Where in a registry the disk of an artifact lies, for those who read it before it is here.

use witvirt_core::artifact::DiskContent;
use witvirt_disk::artifact::disk_of;
use witvirt_disk::{ArtifactDisk, Whiteouts};
use witvirt_fetch::{Fetch, Reference};

use super::{Wanted, hide, planned};
use crate::api::{Error, ErrorKind};
use crate::service::plugins::Plugins;

/// The places of a disk, and the format of its image file.
#[derive(Debug)]
pub(in crate::service) struct Places {
    /// The first that has the image file counts.
    pub(in crate::service) disks: Vec<ArtifactDisk>,
    /// Registry name, where the artifact says it.
    pub(in crate::service) format: Option<String>,
}

/// What an artifact, by its digest, has for a machine of this host. Asked with the operator's credentials: a machine's spec has
/// none.
pub(in crate::service) fn places(
    fetch: &Fetch,
    plugins: &Plugins,
    reference: &Reference,
) -> Result<Places, Error> {
    let registry = fetch.registry(fetch.operator_access()?);
    let label = format!("docker://{reference}");
    let (artifact, plan, _) = planned(&registry, plugins, reference, &Wanted::default(), label)?;
    let disk = disk_of(&plan, None)?;
    let disks = match &disk.content {
        DiskContent::Chunks { size, chunks } => {
            let stored: Vec<_> = chunks.iter().map(|chunk| (chunk.offset, &chunk.content)).collect();
            vec![artifact.disk(Some(*size), &stored)?]
        }
        DiskContent::Whole(places) => {
            let layers = places.iter().map(|place| artifact.disk(None, &[(0, place)]));
            below_each_other(layers.collect::<Result<_, _>>()?)
        }
    };
    Ok(Places { disks, format: disk.format.clone() })
}

/// Layers, the uppermost first, which are looked at in this order.
fn below_each_other(mut layers: Vec<ArtifactDisk>) -> Vec<ArtifactDisk> {
    let whiteouts = Whiteouts::default();
    layers.iter_mut().for_each(|layer| hide(layer, &whiteouts));
    layers
}

/// For those who speak of failures in the words of the disk.
pub(in crate::service) fn as_disk_error(error: Error) -> witvirt_disk::Error {
    use witvirt_disk::ErrorKind as Disk;
    let kind = match error.kind {
        ErrorKind::NotFound => Disk::NotFound,
        ErrorKind::Denied | ErrorKind::Refused => Disk::Denied,
        ErrorKind::Unavailable | ErrorKind::Unreachable | ErrorKind::Timeout => Disk::Unavailable,
        ErrorKind::TooLarge => Disk::Limit,
        ErrorKind::Internal => Disk::Io,
        ErrorKind::Invalid | ErrorKind::Conflict => Disk::InvalidInput,
    };
    witvirt_disk::Error::new(kind, error.message)
}
