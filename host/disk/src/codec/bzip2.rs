//! One .bz2 stream.

use ::bzip2::{Decompress, Status};

use super::{damaged, too_long};

/// Decodes the first stream of `input`; the length of what came out.
pub(super) fn decode(input: &[u8], output: &mut [u8]) -> Result<usize, String> {
    let wanted = output.len();
    let mut stream = Decompress::new(false);
    // The end of the stream is read after the last byte came out; a byte too many goes here.
    let mut rest = [0];
    loop {
        let (read, written) = (stream.total_in() as usize, stream.total_out() as usize);
        let space = match output.get_mut(written..) {
            Some(space) if !space.is_empty() => space,
            _ => &mut rest[..],
        };
        let status = stream.decompress(&input[read.min(input.len())..], space);
        let decoded = stream.total_out() as usize;
        if decoded > wanted {
            return Err(too_long(wanted));
        }
        match status {
            Ok(Status::StreamEnd) => return Ok(decoded),
            Ok(Status::MemNeeded) => return Err("there is not enough memory to decode it".to_owned()),
            Ok(_) if stream.total_in() as usize != read || decoded != written => {}
            Ok(_) | Err(_) => return Err(damaged()),
        }
    }
}
