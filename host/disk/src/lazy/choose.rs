//! Which of the places an image file is at, and whether it can be read there in the middle.

use std::sync::Arc;

use witvirt_core::format::Formats;

use super::arriving::{Arriving, Gone};
use super::file::{ImageFile, Present};
use super::journal::MAX_FILE;
use super::record::LazyRequest;
use super::units::Units;
use crate::blob::Blob;
use crate::error::{Error, ErrorKind, Result};
use crate::import_source::{ArtifactDisk, ArtifactPiece};
use crate::map::Ends;
use crate::request::Reading;
use crate::source::Source;
use crate::stream::{Meant, Plan, Transport, Unpack, Unwrapped, unwrap_source};

/// Most pieces: those of 512 MiB make 2 TiB.
const MAX_PIECES: usize = 4096;

/// Longest piece, in bytes: a guest waits for all of it.
const MAX_PIECE: u64 = 1 << 30;

/// Parts of an archive that are fetched to find a member in it. One with few members takes one or two for each.
const MAX_STEPS: usize = 64;

/// What keeps an image from being started from before it is here; `None`: nothing that is known without reading it.
pub(crate) fn reason_against(place: &ArtifactDisk) -> Option<String> {
    match (place.size, &place.pieces[..]) {
        (None, [piece]) => match &piece.blobs[..] {
            [blob] => against_object(&**blob, piece),
            blobs => Some(format!("it lies in {} blobs, one after another", blobs.len())),
        },
        (None, _) => Some("its pieces do not say where they belong".into()),
        (Some(size), _) if size > MAX_FILE => Some(format!("it has {size} bytes")),
        (Some(_), pieces) => against_pieces(pieces),
    }
}

fn against_object(blob: &dyn Blob, piece: &ArtifactPiece) -> Option<String> {
    match blob.size() {
        None => return Some("its server does not say how long it is".into()),
        Some(size) if size > MAX_FILE => return Some(format!("it has {size} bytes")),
        Some(_) => {}
    }
    if !blob.ranges() {
        return Some("its server does not send parts of it (no byte ranges)".into());
    }
    if blob.version().is_none() && blob.digest().is_none() {
        return Some("its server does not tell versions of it apart (no ETag, no Last-Modified)".into());
    }
    let Unpack::Stated(transports) = &piece.unpack else { return None };
    let packed = transports.iter().find(|transport| **transport != Transport::Tar)?;
    Some(is_packed(blob.label(), packed.name()))
}

fn against_pieces(pieces: &[ArtifactPiece]) -> Option<String> {
    if pieces.len() > MAX_PIECES {
        return Some(format!("it lies in {} pieces, at most {MAX_PIECES} are read one by one", pieces.len()));
    }
    let long = |piece: &&ArtifactPiece| piece.length.is_none_or(|length| length > MAX_PIECE);
    if let Some(piece) = pieces.iter().find(long) {
        let most = witvirt_core::ByteSize(MAX_PIECE);
        return Some(format!("{} decodes to more than {most}, which nobody can wait for", piece.name));
    }
    let blobs = || pieces.iter().flat_map(|piece| &piece.blobs);
    let unknown = blobs().find(|blob| blob.digest().is_none())?;
    Some(format!("{} has no digest", unknown.label()))
}

fn is_packed(what: &str, how: &str) -> String {
    format!("{what} is packed as {how}, which cannot be read from the middle")
}

/// How a place is fetched.
///
/// # Errors
/// `InvalidInput` for pieces that overlap or end past the file.
pub(crate) fn units_of(place: &ArtifactDisk, size: u64) -> Result<Units> {
    if place.size.is_none() {
        return Ok(Units::Even { size });
    }
    let ranges = place.pieces.iter().map(|piece| (piece.offset, piece.length.unwrap_or(0)));
    units_of_ranges(size, ranges.collect()).ok_or_else(|| {
        let message = format!("{}: its pieces overlap, or end past the disk", place.label);
        Error::new(ErrorKind::InvalidInput, message)
    })
}

/// `None` where they overlap, are empty, or end past the file.
pub(crate) fn units_of_ranges(size: u64, ranges: Vec<(u64, u64)>) -> Option<Units> {
    let mut at = 0;
    for (start, length) in &ranges {
        let end = start.checked_add(*length).filter(|end| *start >= at && *length > 0 && *end <= size)?;
        at = end;
    }
    Some(Units::Pieces { size, ranges })
}

/// Where in what arrives the image file is.
pub(crate) enum Place {
    /// Here; with the name of the member that it is.
    Here(ImageFile, Option<String>),
    /// Nowhere that could be read in the middle: the reason.
    Packed(String),
}

/// Looks for the image file in an object, and fetches what that takes.
///
/// # Errors
/// `NotFound` when the archive does not have it; whatever else is wrong with the archive; `Cancelled`.
pub(crate) fn locate(
    arriving: &Arc<Arriving>,
    formats: &dyn Formats,
    request: &LazyRequest,
    piece: &ArtifactPiece,
    gone: Gone<'_>,
) -> Result<Place> {
    let reading = Reading {
        format: request.format.clone(),
        unpack: piece.unpack.clone(),
        member: piece.member.clone(),
        ..Reading::default()
    };
    let plan = Plan::new(&reading, arriving.label());
    let is_image = |source: &dyn Source| Ends::read(source)?.is_image(formats, reading.format.as_deref());
    let whole = ImageFile::whole(Arc::clone(arriving));
    for _ in 0..MAX_STEPS {
        let present = Arc::new(Present::new(whole.clone()));
        let source = Arc::clone(&present) as Arc<dyn Source>;
        let meant = Meant { path: piece.member.as_deref(), whiteouts: piece.whiteouts.as_ref() };
        let found = unwrap_source(source, &plan, meant, &is_image);
        if let Some(missing) = present.take_missed() {
            whole.want(missing, gone)?;
            continue;
        }
        let label = piece.blobs.first().map_or(arriving.label(), |blob| blob.label());
        return Ok(match found? {
            Unwrapped::Packed(Some(transport)) => Place::Packed(is_packed(label, transport.name())),
            Unwrapped::Packed(None) => Place::Packed(format!(
                "its member of {label} is stored with holes, which are not kept track of"
            )),
            Unwrapped::Whole(_, wrappings) if wrappings.transports.len() > 1 => {
                Place::Packed(format!("{label} is an archive in an archive"))
            }
            Unwrapped::Whole(image, wrappings) => {
                let start = image.file().map_or(0, |(_, start)| start);
                let file = ImageFile::window(Arc::clone(arriving), start, image.size());
                Place::Here(file, wrappings.member)
            }
        });
    }
    Ok(Place::Packed(format!("{} is an archive of too many members", arriving.label())))
}
