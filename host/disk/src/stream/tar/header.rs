//! Headers of tar archives: POSIX.1-1988 (ustar), POSIX.1-2001 (pax) and GNU. Pure.
//!
//! Facts: the GNU tar manual, "Basic Tar Format" and "Storing Sparse Files"; POSIX pax, "ustar Interchange Format".

/// Bytes in a header and in the units that members are padded to.
pub(crate) const BLOCK: usize = 512;

/// One header block, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// With its prefix, as it is written.
    pub(super) name: String,
    /// The type flag.
    pub(super) kind: u8,
    /// Bytes stored after the header, without padding.
    pub(super) size: u64,
    /// For a GNU sparse member: the first ranges of its map, and what the file is long.
    pub(super) sparse: Option<GnuSparse>,
}

/// What a GNU sparse header holds of its map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GnuSparse {
    /// Offset and length in bytes.
    pub(super) ranges: Vec<(u64, u64)>,
    /// Whether a block with more of them follows.
    pub(super) extended: bool,
    /// Length of the file with its holes.
    pub(super) real_size: u64,
}

/// Whether the first bytes of a file are the header of a tar: its magic and its checksum.
pub(crate) fn is_tar(head: &[u8]) -> bool {
    head.get(..BLOCK).is_some_and(|block| block[257..262] == *b"ustar" && checksum_fits(block))
}

impl Header {
    /// Reads a block; `None` for the zeros that end an archive.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Option<Self>, String> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if !checksum_fits(block) {
            return Err("a header's checksum is wrong".into());
        }
        let kind = block[156];
        let gnu = block[257..265] == *b"ustar  \0";
        let sparse = match kind == b'S' && gnu {
            true => Some(GnuSparse {
                ranges: ranges(&block[386..482])?,
                extended: block[482] != 0,
                real_size: number(&block[483..495])?,
            }),
            false => None,
        };
        let mut name = text(&block[..100]);
        let prefix = text(&block[345..500]);
        if !gnu && block[257..262] == *b"ustar" && !prefix.is_empty() {
            name = format!("{prefix}/{name}");
        }
        Ok(Some(Self { name, kind, size: number(&block[124..136])?, sparse }))
    }
}

/// The ranges of a block that goes on with a sparse map, and whether another follows.
pub(super) fn more_ranges(block: &[u8; BLOCK]) -> Result<(Vec<(u64, u64)>, bool), String> {
    Ok((ranges(&block[..504])?, block[504] != 0))
}

fn ranges(entries: &[u8]) -> Result<Vec<(u64, u64)>, String> {
    let mut ranges = Vec::new();
    for entry in entries.chunks_exact(24) {
        if entry[0] == 0 {
            break;
        }
        ranges.push((number(&entry[..12])?, number(&entry[12..])?));
    }
    Ok(ranges)
}

fn checksum_fits(block: &[u8]) -> bool {
    let sum = |byte: &u8| u32::from(*byte);
    let blank = 8 * u32::from(b' ');
    let actual =
        block[..148].iter().map(sum).sum::<u32>() + blank + block[156..BLOCK].iter().map(sum).sum::<u32>();
    number(&block[148..156]) == Ok(u64::from(actual))
}

/// Octal digits between blanks, or GNU's binary numbers: the first bit set, big endian.
fn number(field: &[u8]) -> Result<u64, String> {
    if field[0] & 0x80 != 0 {
        if field[0] != 0x80 || field[1..field.len() - 8].iter().any(|byte| *byte != 0) {
            return Err("a number is negative or does not fit 64 bits".into());
        }
        let low = &field[field.len() - 8..];
        return Ok(low.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
    }
    let digits = field.iter().copied().skip_while(|byte| *byte == b' ');
    let digits = digits.take_while(|byte| *byte != 0 && *byte != b' ');
    digits.into_iter().try_fold(0u64, |number, digit| match digit {
        b'0'..=b'7' => number
            .checked_mul(8)
            .map(|number| number + u64::from(digit - b'0'))
            .ok_or_else(|| "a number does not fit 64 bits".to_owned()),
        _ => Err("a number is not octal".to_owned()),
    })
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// The records of a pax header: "LENGTH KEY=VALUE\n".
pub(super) fn pax_records(mut data: &[u8]) -> Result<Vec<(String, String)>, String> {
    let bad = || "a pax header is malformed".to_owned();
    let mut records = Vec::new();
    while !data.is_empty() {
        let blank = data.iter().take(20).position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length: usize =
            std::str::from_utf8(&data[..blank]).ok().and_then(|text| text.parse().ok()).ok_or_else(bad)?;
        let record =
            data.get(blank + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(bad)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        let word = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        records.push((word(&record[..equals]), word(&record[equals + 1..])));
        data = &data[length..];
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Header, number, pax_records};

    #[test]
    fn numbers_are_octal_or_binary_and_fit() {
        assert_eq!(number(b"00000001750\0"), Ok(1000));
        assert_eq!(number(b"   1750 \0\0\0\0"), Ok(1000));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Ok(8 << 30));
        for bad in [
            &b"0000000175x\0"[..],
            b"\x81\0\0\0\0\0\0\0\0\0\0\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(number(bad).is_err(), "{bad:?}");
        }
        assert!(number(b"7777777777777777777777777").is_err());
    }

    #[test]
    fn blocks_that_are_no_headers_are_told() {
        assert_eq!(Header::parse(&[0; BLOCK]), Ok(None));
        assert!(Header::parse(&[b'a'; BLOCK]).unwrap_err().contains("checksum"));
    }

    #[test]
    fn pax_records_are_exact() {
        assert_eq!(
            pax_records(b"12 path=a/b\n9 size=7\n").unwrap(),
            [("path".to_owned(), "a/b".to_owned()), ("size".to_owned(), "7".to_owned())]
        );
        for bad in [
            &b"12 path=a/b"[..],
            b"99 path=a\n",
            b"0 a=b\n",
            b"x a=b\n",
            b"5 ab\n",
            b"\n",
            b"18446744073709551616 a=b\n",
        ] {
            assert!(pax_records(bad).is_err(), "{bad:?}");
        }
    }
}
