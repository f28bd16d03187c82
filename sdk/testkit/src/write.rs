//! What a plugin writes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use witvirt_core::format::{Chunk, Write};
use witvirt_sdk::disk::{ImageWriter, WritableFormat};

use crate::codec::encode;
use crate::source::Pieces;

/// An image without its data.
#[derive(Debug)]
pub struct Laid {
    /// Where each chunk has its place.
    pub places: Vec<u64>,
    /// The metadata, in a file of the length that it would have.
    pub file: Pieces,
}

/// Lays out an image of the first of the format's names, without writing data. `backing` is a name to record and the format
/// of it.
///
/// # Panics
/// When the plugin refuses.
pub fn lay_out<F: WritableFormat>(
    size: u64,
    options: &str,
    backing: Option<(&str, &str)>,
    chunks: impl IntoIterator<Item = Chunk>,
) -> Laid {
    let mut writer = F::Writer::create(F::NAMES[0], size, options, backing.map(owned)).unwrap();
    let places = chunks.into_iter().map(|chunk| writer.allocate(&chunk).unwrap()).collect();
    let mut pieces: Vec<Write> = Vec::new();
    let size = endings(&mut writer, |write| pieces.push(write));
    Laid { places, file: Pieces::new(size, pieces) }
}

/// Writes an image as a host does: chunks that are all zeros are left out, what becomes smaller is encoded. `backing` is a
/// name to record and the format of it. Returns the length of the file.
///
/// # Panics
/// When the plugin refuses or breaks the contract.
pub fn write_image<F: WritableFormat>(
    path: &Path,
    content: &[u8],
    options: &str,
    backing: Option<(&str, &str)>,
) -> u64 {
    let size = content.len() as u64;
    let mut writer = F::Writer::create(F::NAMES[0], size, options, backing.map(owned)).unwrap();
    let file = File::create(path).unwrap();
    let plan = writer.plan();
    let size = plan.chunk_size as usize;
    for (index, data) in content.chunks(size).enumerate() {
        if data.iter().all(|byte| *byte == 0) {
            continue;
        }
        let encoded = encode(&plan.codec, data, size);
        let stored = encoded.as_deref().unwrap_or(data);
        let chunk = Chunk {
            start: index as u64 * u64::from(plan.chunk_size),
            length: data.len() as u64,
            stored: stored.len() as u64,
            encoded: encoded.is_some(),
        };
        file.write_all_at(stored, writer.allocate(&chunk).unwrap()).unwrap();
    }
    finish(&mut writer, &file)
}

fn owned((name, format): (&str, &str)) -> (String, String) {
    (name.to_owned(), format.to_owned())
}

/// A chunk that is stored as it is.
pub fn plain(start: u64, length: u64) -> Chunk {
    Chunk { start, length, stored: length, encoded: false }
}

/// Applies the last writes of a writer to a file; returns its length.
///
/// # Panics
/// When the plugin refuses or breaks the contract.
pub fn finish(writer: &mut impl ImageWriter, file: &File) -> u64 {
    let size = endings(writer, |write| file.write_all_at(&write.bytes, write.offset).unwrap());
    assert!(file.metadata().unwrap().len() <= size, "no data lies past the end");
    file.set_len(size).unwrap();
    assert!(writer.finish().is_err(), "there is one ending");
    size
}

/// The writes of all answers of `finish`, in order; returns the length that the file must have.
fn endings(writer: &mut impl ImageWriter, mut each: impl FnMut(Write)) -> u64 {
    loop {
        let ending = writer.finish().unwrap();
        assert!(ending.writes.iter().map(|write| write.bytes.len()).sum::<usize>() < 4 << 20);
        for write in ending.writes {
            assert!(write.offset + write.bytes.len() as u64 <= ending.size);
            each(write);
        }
        if !ending.next {
            return ending.size;
        }
    }
}
