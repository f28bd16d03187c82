//! The cases, by what they abuse.

mod apple;
mod artifact;
mod changing;
mod disguise;
mod parallels;
mod parents;
mod qcow2;
mod qed;
mod streams;
mod tar;
mod transport;
mod vdi;
pub mod vhdx;
mod vmdk;
pub mod vpc;

use witvirt_disk::ErrorKind;

use crate::case::{Case, Place};

/// Every one of them.
pub fn all(place: &Place) -> Vec<Case> {
    [
        qcow2::cases(place),
        qed::cases(place),
        vdi::cases(),
        vpc::cases(place),
        vhdx::cases(place),
        vmdk::cases(place),
        parallels::cases(place),
        apple::cases(),
        parents::cases(place),
        disguise::cases(place),
        changing::cases(),
        transport::cases(),
        tar::cases(place),
        artifact::cases(),
        streams::cases(),
    ]
    .concat()
}

/// An image that nothing is wrong with.
pub fn sound() -> crate::case::Entry {
    crate::case::Entry::bytes(qcow2::image())
}

/// The kind of what has another signature than the format that was stated.
const INVALID: ErrorKind = ErrorKind::InvalidInput;

/// The kind of what names files that are not there.
const MISSING: ErrorKind = ErrorKind::NotFound;

/// Bytes and where they go.
type Patch<'a> = (usize, &'a [u8]);

/// What is patched, and what has to come of it.
type Row<'a> = (&'a str, Vec<Patch<'a>>, ErrorKind, &'a str);

/// A sound image with some bytes overwritten; it grows where they lie past its end.
fn patched(image: &[u8], patches: &[Patch]) -> Vec<u8> {
    let mut image = image.to_vec();
    for (offset, bytes) in patches {
        let end = offset + bytes.len();
        if image.len() < end {
            image.resize(end, 0);
        }
        image[*offset..end].copy_from_slice(bytes);
    }
    image
}

/// Cases of one format, each a sound image with some bytes overwritten.
fn table(format: &str, extension: &str, image: &[u8], rows: &[Row]) -> Vec<Case> {
    let case = |(name, patches, kind, word): &Row| {
        let name = format!("{format}-{name}.{extension}");
        Case::new(&name, format, patched(image, patches)).refused([*kind], word)
    };
    rows.iter().map(case).collect()
}
