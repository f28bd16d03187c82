//! One .xz stream.

use lzma_rust2::{Action, Status, XzStream};

use super::{damaged, too_long};

/// What a stream may ask for. 64 MiB is the window of `xz -9`, the largest that the program's presets make; a window is
/// reserved, but only as much of it is ever touched as is decoded.
pub(super) const MEMORY_LIMIT_KIB: u32 = 66 << 10;

/// Decodes the first stream of `input`; the length of what came out.
pub(super) fn decode(input: &[u8], output: &mut [u8]) -> Result<usize, String> {
    let wanted = output.len();
    let mut stream = XzStream::new_mem_limit(false, MEMORY_LIMIT_KIB);
    let (mut read, mut written) = (0, 0);
    // The index and the footer are read after the last byte came out; a byte too many goes here.
    let mut rest = [0];
    loop {
        let space = match output.get_mut(written..) {
            Some(space) if !space.is_empty() => space,
            _ => &mut rest[..],
        };
        let result =
            stream.process(&input[read..], space, Action::Finish).map_err(|error| error_text(&error))?;
        read += result.bytes_consumed;
        written += result.bytes_produced;
        if written > wanted {
            return Err(too_long(wanted));
        }
        if result.status == Status::StreamEnd {
            return Ok(written);
        }
        if result.bytes_consumed == 0 && result.bytes_produced == 0 {
            return Err(damaged());
        }
    }
}

pub(super) fn error_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::OutOfMemory => {
            format!("it wants a window of more than {} MiB to decode", MEMORY_LIMIT_KIB >> 10)
        }
        std::io::ErrorKind::UnexpectedEof => damaged(),
        _ => error.to_string().to_lowercase(),
    }
}
