//! The map of an image.

use std::collections::BTreeMap;

use witvirt_core::extent::{Extent, ExtentKind};
use witvirt_sdk::Error;
use witvirt_sdk::disk::{Format, ImageReader, MAX_READ};

use crate::source::Pieces;

/// The whole map of any image, in pages of at most `max` extents; asks for each page twice and checks that it is as the
/// contract says.
///
/// # Errors
/// What the plugin reports.
pub fn map(image: &mut impl ImageReader, max: u32) -> Result<Vec<Extent>, Error> {
    let size = image.geometry().virtual_size;
    let mut extents: Vec<Extent> = Vec::new();
    let mut start = 0;
    while start < size {
        let page = image.extents(start, size - start, max)?;
        assert!(page.extents.len() <= max as usize);
        assert_eq!(page, image.extents(start, size - start, max)?, "deterministic");
        for extent in page.extents {
            assert_eq!(extent.start, start, "contiguous");
            assert!(extent.length > 0);
            start += extent.length;
            extents.push(extent);
        }
        assert!(start <= size);
        assert_eq!(page.next, (start < size).then_some(start));
    }
    Ok(extents)
}

/// Where the units that are stored as they are in the primary file lie, by their numbers.
pub fn places(extents: &[Extent], unit: u64) -> BTreeMap<u64, u64> {
    let mut places = BTreeMap::new();
    for extent in extents {
        if let ExtentKind::Data { source: 0, offset } = extent.kind {
            let units = (0..extent.length).step_by(unit as usize);
            places.extend(units.map(|at| ((extent.start + at) / unit, offset + at)));
        }
    }
    places
}

/// What it took to read a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Extents, without the cuts between pages of [`map`].
    pub runs: u64,
    /// Calls.
    pub pages: u64,
    /// Reads of the file.
    pub reads: u64,
    /// Bytes that they asked for.
    pub bytes: u64,
}

/// Reads the whole map of an image, in pages of at most `max` extents; prints what it took.
///
/// # Panics
/// When the plugin refuses, or reads more at once than the host allows.
pub fn cost<F: Format>(what: &str, file: &Pieces, max: u32) -> Cost {
    file.forget();
    let mut image = F::Image::open(file).unwrap();
    let (mut runs, mut pages, mut at) = (0, 0, Some(0));
    while let Some(start) = at {
        let page = image.extents(start, u64::MAX, max).unwrap();
        runs += page.extents.len() as u64;
        pages += 1;
        at = page.next;
    }
    assert!(file.largest() <= MAX_READ);
    let cost = Cost { runs, pages, reads: file.reads(), bytes: file.bytes() };
    eprintln!("{what}: {cost:?}");
    cost
}

/// Start, length and kind of the extents, without the cuts between pages.
pub fn joined(extents: &[Extent]) -> Vec<(u64, u64, &'static str)> {
    let mut runs: Vec<(u64, u64, &'static str)> = Vec::new();
    for extent in extents {
        let kind = match extent.kind {
            ExtentKind::Zero => "zero",
            ExtentKind::Data { .. } => "data",
            ExtentKind::Encoded(_) => "encoded",
            ExtentKind::Literal(_) => "literal",
            ExtentKind::Parent => "parent",
            ExtentKind::Unallocated => "unallocated",
        };
        match runs.last_mut() {
            Some(last) if last.2 == kind => last.1 += extent.length,
            _ => runs.push((extent.start, extent.length, kind)),
        }
    }
    runs
}
