//! Apple Data Compression: literals, and matches in two sizes, without entropy coding.
//!
//! | opcode | meaning |
//! | --- | --- |
//! | `1LLLLLLL` | L + 1 literals follow |
//! | `0 0 LLLLDD DDDDDDDD` | L + 3 bytes from D + 1 back |
//! | `0 1 LLLLLL DDDDDDDD DDDDDDDD` | L + 4 bytes from D + 1 back |

use crate::{Error, ErrorKind};

/// Exactly `length` bytes out of `input`; what follows is ignored. Memory grows with what is decoded, not with `length`.
///
/// # Errors
/// `corrupt` when the stream ends before, reaches before its first byte or past its last one.
pub fn decode(input: &[u8], length: usize) -> Result<Vec<u8>, Error> {
    let mut output = Vec::with_capacity(length.min(1 << 20));
    let mut read = 0;
    while output.len() < length {
        let step = step(input, read, &mut output).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the ADC stream is damaged or cut").with("stream-offset", read)
        })?;
        read += step;
    }
    if output.len() > length {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("the ADC stream decodes to more than {length} bytes"),
        ));
    }
    Ok(output)
}

/// One opcode; how long it is with its literals.
fn step(input: &[u8], read: usize, output: &mut Vec<u8>) -> Option<usize> {
    let byte = |index: usize| input.get(read + index).map(|byte| usize::from(*byte));
    let first = byte(0)?;
    let (opcode, length, distance) = match first {
        0x80.. => {
            let length = (first & 0x7f) + 1;
            output.extend_from_slice(input.get(read + 1..read + 1 + length)?);
            return Some(1 + length);
        }
        0x40.. => (3, (first & 0x3f) + 4, (byte(1)? << 8 | byte(2)?) + 1),
        _ => (2, (first >> 2) + 3, ((first & 3) << 8 | byte(1)?) + 1),
    };
    let from = output.len().checked_sub(distance)?;
    for index in from..from + length {
        output.push(*output.get(index)?);
    }
    Some(opcode)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn literals_and_matches() {
        // "abc", then 4 + 3 bytes from 3 back, then 4 from the first, then a run of the last byte.
        let stream = [0x82, b'a', b'b', b'c', 4 << 2, 2, 0x40, 0, 9, 0x00, 0x00];
        assert_eq!(decode(&stream, 17).unwrap(), b"abcabcabcaabcaaaa");
        assert_eq!(decode(&stream, 3).unwrap(), b"abc", "what follows is ignored");
        assert!(decode(&stream, 18).unwrap_err().message.contains("damaged or cut"));
        assert!(decode(&stream, 5).unwrap_err().message.contains("more than 5 bytes"));
        assert!(decode(&[0x80, b'a', 0, 1], 4).is_err(), "before the first byte");
        assert!(decode(&[0x85, b'a'], 6).is_err());
        assert!(decode(&[0x80, b'a', 0x40, 0], 6).is_err());
        assert_eq!(decode(&[], 0).unwrap(), b"");
    }
}
