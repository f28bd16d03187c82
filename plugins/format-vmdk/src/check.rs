//! Inconsistencies that do not stop a reader: redundant tables that differ, grains that overlap, markers of other grains,
//! extents that were not closed.

use witvirt_sdk::core::extent::{ExtentKind, Finding};
use witvirt_sdk::disk::{ERROR, Findings, ImageReader as _, ReadAt, WARNING, hex, le32, le64, read_exact};

use crate::image::{Content, Image, Part};
use crate::sector::{SECTOR, bytes_of};
use crate::sparse::grain::GRAIN_MARKER;
use crate::sparse::hosted::{MARKERS, REDUNDANT};
use crate::sparse::tables::Slot;
use crate::{Error, ErrorKind};

/// Ranges of files that are compared with each other.
const MAX_RANGES: usize = 1 << 20;
/// Markers that are read one by one.
const MAX_MARKERS: u64 = 500_000;
/// Most extents of a page.
const PAGE: u32 = 4096;

/// Stored bytes: file, first byte, end.
type Stored = (u32, u64, u64);

impl<R: ReadAt> Image<R> {
    /// At most 1,000 findings, worst first.
    ///
    /// # Errors
    /// `limit` when the image is too large to check in one call, or what the source reports.
    pub(crate) fn findings(&mut self) -> Result<Vec<Finding>, Error> {
        let mut findings = Findings::default();
        self.check_headers(&mut findings);
        self.check_map(&mut findings)?;
        let mut parts = self.take_parts();
        let checked = parts.iter_mut().try_for_each(|part| self.check_redundant(part, &mut findings));
        self.parts = parts;
        checked?;
        Ok(findings.into_sorted())
    }

    fn check_headers(&self, findings: &mut Findings) {
        for header in self.sparse().filter_map(|sparse| sparse.header()).filter(|header| header.unclean) {
            let message = format!("an extent of {} sectors was not closed cleanly", header.capacity);
            findings.add(WARNING, "unclean-shutdown", message, None);
        }
    }

    fn check_map(&mut self, findings: &mut Findings) -> Result<(), Error> {
        let size = self.geometry().virtual_size;
        let mut stored: Vec<Stored> = Vec::new();
        let (mut at, mut markers) = (0, 0);
        while at < size {
            let page = match self.extents(at, size - at, PAGE) {
                Ok(page) => page,
                Err(error) if error.kind == ErrorKind::Corrupt => {
                    let context: Vec<String> =
                        error.context.iter().map(|(key, value)| format!("{key} {value}")).collect();
                    let message = format!("{} ({})", error.message, context.join(", "));
                    findings.add(ERROR, "invalid-map", message, None);
                    break;
                }
                Err(error) => return Err(error),
            };
            for extent in &page.extents {
                match &extent.kind {
                    ExtentKind::Data { source, offset } => {
                        stored.push((*source, *offset, offset + extent.length))
                    }
                    ExtentKind::Encoded(encoded) => {
                        let (id, offset) = (encoded.source, encoded.offset);
                        let length = match markers < MAX_MARKERS {
                            true => self.check_marker(id, offset, extent.start, encoded.length, findings)?,
                            false => None,
                        };
                        markers += 1;
                        stored.push((
                            id,
                            offset,
                            offset + length.unwrap_or(encoded.length).min(encoded.length),
                        ));
                    }
                    _ => {}
                }
            }
            if stored.len() > MAX_RANGES {
                return Err(Error::new(
                    ErrorKind::Limit,
                    "the image has too many grains to check in one call",
                )
                .with("limit", MAX_RANGES));
            }
            at = page.next.unwrap_or(size);
        }
        check_overlaps(stored, findings);
        Ok(())
    }

    /// Whether the marker before a stream is that of the grain; its length where there is one.
    fn check_marker(
        &self,
        id: u32,
        offset: u64,
        guest: u64,
        bound: u64,
        findings: &mut Findings,
    ) -> Result<Option<u64>, Error> {
        let part = self.parts.iter().find(|part| part.start <= guest && guest < part.start + part.length);
        let Some(Part { start, content: Content::Sparse { opened: Some(sparse), .. }, .. }) = part else {
            return Ok(None);
        };
        let marked = sparse.header().is_some_and(|header| header.has(MARKERS));
        let (Some(source), Some(at), true) = (self.file(id), offset.checked_sub(GRAIN_MARKER), marked) else {
            return Ok(None);
        };
        let marker = read_exact(source, at, GRAIN_MARKER as usize, "the marker of a grain")?;
        let expected = (guest - start) / sparse.grain() * sparse.grain() / SECTOR;
        let sector = le64(&marker, 0).unwrap_or_default();
        if sector != expected {
            let message = format!("the marker of the grain of sector {expected} says {sector}");
            findings.add(ERROR, "grain-marker", message, Some(at));
        }
        let length = u64::from(le32(&marker, 8).unwrap_or_default());
        if length == 0 || length > bound {
            let message = format!("the marker of the grain of sector {expected} says {length} bytes");
            findings.add(ERROR, "grain-marker", message, Some(at));
            return Ok(None);
        }
        Ok(Some(length))
    }

    fn check_redundant(&self, part: &mut Part, findings: &mut Findings) -> Result<(), Error> {
        let Content::Sparse { id, opened: Some(sparse), .. } = &mut part.content else { return Ok(()) };
        let offset =
            sparse.header().filter(|header| header.has(REDUNDANT)).map(|header| header.redundant_offset);
        let (Some(offset), Some(tables), Some(source)) = (offset, sparse.tables(), self.file(*id)) else {
            return Ok(());
        };
        let bytes = tables.directory_bytes() as usize;
        let directory = bytes_of(offset).ok_or(()).and_then(|offset| {
            read_exact(source, offset, bytes, "the redundant grain directory").map_err(drop)
        });
        let Ok(directory) = directory else {
            let message = "the redundant grain directory cannot be read".to_owned();
            findings.add(WARNING, "redundant-directory", message, bytes_of(offset));
            return Ok(());
        };
        for index in 0..tables.directory_entries() {
            let copy = u64::from(le32(&directory, index as usize * 4).unwrap_or_default()) * SECTOR;
            let length = tables.table_bytes(index) as usize;
            let same = match tables.table_at(source, index)? {
                Slot::Unallocated => copy == 0,
                Slot::Zero => copy == SECTOR,
                Slot::At(table) if table == copy => true,
                Slot::At(table) => {
                    let table = read_exact(source, table, length, "a grain table")?;
                    read_exact(source, copy, length, "a redundant grain table")
                        .is_ok_and(|copy| copy == table)
                }
            };
            if !same {
                let message = format!("grain table {index} and its redundant copy differ");
                findings.add(WARNING, "redundant-table", message, Some(copy));
            }
        }
        Ok(())
    }
}

fn check_overlaps(mut stored: Vec<Stored>, findings: &mut Findings) {
    stored.sort_unstable();
    let mut end = (u32::MAX, 0);
    for (source, from, to) in stored {
        if end.0 == source && from < end.1 {
            let message = format!("two grains of the disk share bytes of the file at {}", hex(from));
            findings.add(ERROR, "grain-overlap", message, Some(from));
        }
        end = if end.0 == source { (source, end.1.max(to)) } else { (source, to) };
    }
}
