//! An opened disk image.

use witvirt_sdk::core::extent::{Encoded, ExtentKind, Finding, Geometry, Page};
use witvirt_sdk::disk::{ImageReader, ReadAt, Runs, hex, read_exact};

use crate::run::{Bounds, CODECS, Kind, Run, read_table, sort};
use crate::trailer::{Checksum, Fork, Trailer};
use crate::{Error, ErrorKind, SECTOR, adc, base64, facts, plist, resource};

/// An image whose tables are sound.
#[derive(Debug)]
pub struct Image<R> {
    pub(crate) source: R,
    pub(crate) trailer: Trailer,
    /// The tables' checksums, in the order of the tables.
    pub(crate) checksums: Vec<Checksum>,
    /// In order, without overlap, inside the file and the disk.
    pub(crate) runs: Vec<Run>,
}

impl<R: ReadAt> ImageReader for Image<R> {
    type Source = R;

    /// Reads the trailer and all tables.
    ///
    /// # Errors
    /// `invalid-input` when it is no disk image, `unsupported` with the name of the feature, `corrupt` with what is wrong
    /// and where, `limit` where a bound is passed, or what the source reports.
    fn open(source: R) -> Result<Self, Error> {
        let trailer = Trailer::read(&source)?;
        let bounds =
            Bounds { file: source.size(), data: trailer.data.offset, disk: trailer.sectors * SECTOR };
        let (checksums, mut runs) = if trailer.plist.length > 0 {
            from_plist(&source, trailer.plist, &bounds)?
        } else if trailer.resources.length > 0 {
            from_resources(&source, trailer.resources, &bounds)?
        } else {
            let message = "the image has neither a property list nor a resource fork, so nothing says where its sectors are";
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        if checksums.is_empty() {
            return Err(Error::new(ErrorKind::Corrupt, "the image lists no tables of runs (blkx)"));
        }
        sort(&mut runs)?;
        Ok(Self { source, trailer, checksums, runs })
    }

    fn geometry(&self) -> Geometry {
        Geometry { virtual_size: self.virtual_size(), cluster_size: 0, logical_sector: SECTOR as u32 }
    }

    fn facts(&self) -> Vec<(String, String)> {
        facts::facts(self)
    }

    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
        let end = start.saturating_add(length).min(self.virtual_size());
        let mut runs = Runs::new(start, max);
        let mut stored = self.runs[self.runs.partition_point(|run| run.start + run.length <= start)..].iter();
        while runs.position() < end {
            let at = runs.position();
            let run = stored.next().filter(|run| run.start <= at).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, "no run of the image covers these sectors")
                    .with("guest-offset", hex(at))
            })?;
            if !runs.push((run.start + run.length).min(end) - at, kind(run, at - run.start)) {
                break;
            }
        }
        Ok(runs.into_page(end))
    }

    fn decode(&self, codec: &str, data: &[u8], length: u32) -> Result<Vec<u8>, Error> {
        if codec != CODECS[0].1 {
            let message = "the host decodes all of the format's codecs but ADC itself";
            return Err(Error::new(ErrorKind::Unsupported, message).with("codec", codec));
        }
        adc::decode(data, length as usize)
    }

    fn check(&mut self) -> Result<Vec<Finding>, Error> {
        self.findings()
    }
}

impl<R: ReadAt> Image<R> {
    pub(crate) fn virtual_size(&self) -> u64 {
        self.trailer.sectors * SECTOR
    }
}

/// What lies `skip` bytes into a run.
fn kind(run: &Run, skip: u64) -> ExtentKind {
    match run.kind {
        Kind::Zero => ExtentKind::Zero,
        Kind::Ignored => ExtentKind::Unallocated,
        Kind::Raw => ExtentKind::Data { source: 0, offset: run.offset + skip },
        Kind::Encoded(codec) => ExtentKind::Encoded(Encoded {
            codec: CODECS[usize::from(codec)].1.to_owned(),
            source: 0,
            offset: run.offset,
            length: run.stored,
            decoded_length: run.length as u32,
            skip: skip as u32,
        }),
    }
}

type Tables = (Vec<Checksum>, Vec<Run>);

fn from_plist<R: ReadAt>(source: &R, place: Fork, bounds: &Bounds) -> Result<Tables, Error> {
    let xml = read_fork(source, place, "the property list")?;
    let (mut checksums, mut runs) = (Vec::new(), Vec::new());
    for range in plist::tables(&xml)? {
        let at = range.start;
        let table = base64::decode(&xml[range]).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "a table in the property list is no base 64").with("at-byte", at)
        })?;
        checksums.push(read_table(&table, bounds, &mut runs)?);
    }
    Ok((checksums, runs))
}

fn from_resources<R: ReadAt>(source: &R, place: Fork, bounds: &Bounds) -> Result<Tables, Error> {
    let fork = read_fork(source, place, "the resource fork")?;
    let (mut checksums, mut runs) = (Vec::new(), Vec::new());
    let mut entries = 0;
    for range in resource::tables(&fork)? {
        // Many references may name the same bytes.
        entries += range.len();
        if entries > fork.len() {
            return Err(Error::new(ErrorKind::Corrupt, "tables in the resource fork overlap"));
        }
        checksums.push(read_table(&fork[range], bounds, &mut runs)?);
    }
    Ok((checksums, runs))
}

fn read_fork<R: ReadAt>(source: &R, place: Fork, what: &str) -> Result<Vec<u8>, Error> {
    let Fork { offset, length } = place;
    if length > plist::MAX_LENGTH {
        return Err(
            Error::new(ErrorKind::Limit, format!("{what} is longer than 32 MiB")).with("length", length)
        );
    }
    read_exact(source, offset, length as usize, what)
}
