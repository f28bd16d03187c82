//! Header extensions: what lies between the header and the name of the backing file.

use witvirt_sdk::disk::{be32, be64, hex};

use crate::{Error, ErrorKind};

const END: u32 = 0;
pub(crate) const BACKING_FORMAT: u32 = 0xe279_2aca;
const FEATURE_NAMES: u32 = 0x6803_f857;
const BITMAPS: u32 = 0x2385_2875;
const DATA_FILE: u32 = 0x4441_5441;

const FEATURE_NAME_LEN: usize = 48;

/// The extensions that matter to a reader. What is unknown is skipped, as the format asks.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Extensions {
    pub backing_format: Option<Vec<u8>>,
    pub data_file: Option<Vec<u8>>,
    pub bitmaps: Option<Bitmaps>,
    /// Type (0 incompatible, 1 compatible, 2 autoclear), bit, name; not more than there are bits.
    feature_names: Vec<(u8, u8, String)>,
}

/// Where the persistent bitmaps are described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bitmaps {
    pub count: u32,
    pub directory_size: u64,
    pub directory_offset: u64,
}

impl Extensions {
    /// From the first cluster of an image; the area runs from `start` to `end`.
    pub fn parse(cluster: &[u8], start: usize, end: usize) -> Result<Self, Error> {
        let mut found = Self::default();
        let mut offset = start;
        // A file that ends inside its first cluster has no more extensions.
        while offset < end
            && let (Some(kind), Some(length)) = (be32(cluster, offset), be32(cluster, offset + 4))
        {
            if kind == END {
                break;
            }
            let body = offset + 8;
            let stop = body.checked_add(length as usize).filter(|stop| *stop <= end);
            let bytes = stop.and_then(|stop| cluster.get(body..stop)).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, "a header extension runs past its area")
                    .with("offset", hex(offset as u64))
                    .with("type", hex(u64::from(kind)))
                    .with("length", length)
            })?;
            found.take(kind, bytes)?;
            offset = body + bytes.len().next_multiple_of(8);
        }
        Ok(found)
    }

    fn take(&mut self, kind: u32, bytes: &[u8]) -> Result<(), Error> {
        match kind {
            BACKING_FORMAT => self.backing_format = Some(bytes.to_vec()),
            DATA_FILE => self.data_file = Some(bytes.to_vec()),
            FEATURE_NAMES => self.feature_names = feature_names(bytes),
            BITMAPS => self.bitmaps = Some(bitmaps(bytes)?),
            _ => {}
        }
        Ok(())
    }

    /// The name that the image gives to an incompatible feature bit.
    pub fn incompatible_name(&self, bit: u32) -> Option<&str> {
        self.feature_names
            .iter()
            .find(|(kind, b, _)| *kind == 0 && u32::from(*b) == bit)
            .map(|(_, _, name)| &**name)
    }
}

/// Names are hostile: only printable ASCII is kept.
fn feature_names(bytes: &[u8]) -> Vec<(u8, u8, String)> {
    bytes
        .chunks_exact(FEATURE_NAME_LEN)
        .take(3 * 64)
        .filter_map(|entry| {
            let (&kind, rest) = entry.split_first()?;
            let (&bit, name) = rest.split_first()?;
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            let printable =
                !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
            printable.then(|| (kind, bit, String::from_utf8_lossy(name).into_owned()))
        })
        .collect()
}

fn bitmaps(bytes: &[u8]) -> Result<Bitmaps, Error> {
    let fields = (be32(bytes, 0), be64(bytes, 8), be64(bytes, 16));
    let (Some(count), Some(directory_size), Some(directory_offset)) = fields else {
        return Err(
            Error::new(ErrorKind::Corrupt, "the bitmaps extension is too short").with("length", bytes.len())
        );
    };
    Ok(Bitmaps { count, directory_size, directory_offset })
}

#[cfg(test)]
mod tests {
    use super::{BACKING_FORMAT, Extensions, FEATURE_NAMES};

    fn extension(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = [&kind.to_be_bytes()[..], &(body.len() as u32).to_be_bytes(), body].concat();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn walks_past_the_unknown() {
        let mut area = extension(0x1234_5678, b"abc");
        area.extend(extension(BACKING_FORMAT, b"raw"));
        area.extend([0; 8]);
        area.extend(extension(BACKING_FORMAT, b"after the end"));
        let found = Extensions::parse(&area, 0, area.len()).unwrap();
        assert_eq!(found.backing_format.as_deref(), Some(&b"raw"[..]));
    }

    #[test]
    fn ends_with_the_file() {
        let area = extension(BACKING_FORMAT, b"raw");
        let found = Extensions::parse(&area, 0, 65536).unwrap();
        assert_eq!(found.backing_format.as_deref(), Some(&b"raw"[..]));
    }

    #[test]
    fn refuses_what_runs_over() {
        let mut area = extension(7, &[1; 16]);
        assert!(Extensions::parse(&area, 0, 20).is_err());
        area[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(Extensions::parse(&area, 0, area.len()).is_err());
    }

    #[test]
    fn keeps_only_printable_feature_names() {
        let mut body = vec![0; 96];
        body[1] = 7;
        body[2..6].copy_from_slice(b"good");
        body[49] = 8;
        body[50..54].copy_from_slice(b"b\x1bad");
        let area = extension(FEATURE_NAMES, &body);
        let found = Extensions::parse(&area, 0, area.len()).unwrap();
        assert_eq!(found.incompatible_name(7), Some("good"));
        assert_eq!(found.incompatible_name(8), None);
    }
}
