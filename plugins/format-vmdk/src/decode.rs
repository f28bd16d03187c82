//! The last grain of a compressed extent whose length is no multiple of the grain size. Some programs store all of it,
//! others (QEMU) only what belongs to the disk; the host's codecs want to know the length before.

use flate2::{Decompress, FlushDecompress, Status};

use crate::{Error, ErrorKind, codec};

/// Most bytes of an encoded grain, as for the grains that the host decodes.
const MAX_DECODED: u32 = 64 << 20;

/// The first `length` bytes that a grain decodes to.
pub(crate) fn decode(name: &str, data: &[u8], length: u32) -> Result<Vec<u8>, Error> {
    if name != codec::LAST_GRAIN || length > MAX_DECODED {
        let message = "the host decodes VMDK's codecs itself, except for the last grain";
        return Err(Error::new(ErrorKind::Unsupported, message).with("codec", name).with("length", length));
    }
    let damaged = |how: &str| {
        Error::new(ErrorKind::Corrupt, format!("the last grain does not decode: {how}"))
            .with("length", length)
    };
    let wanted = length as usize;
    let mut decoded = Vec::with_capacity(wanted);
    let mut stream = Decompress::new(true);
    let status = stream
        .decompress_vec(data, &mut decoded, FlushDecompress::Finish)
        .map_err(|error| damaged(&error.to_string()))?;
    if decoded.len() < wanted {
        return Err(damaged(&format!("it ends after {} bytes", decoded.len())));
    }
    if status == Status::StreamEnd {
        return Ok(decoded);
    }
    // A whole grain: what follows is padding, which counts for the checksum at the end.
    check_rest(&mut stream, data).map_err(|how| damaged(&how))?;
    Ok(decoded)
}

fn check_rest(stream: &mut Decompress, data: &[u8]) -> Result<(), String> {
    let mut rest = vec![0; 64 << 10];
    while stream.total_out() <= u64::from(MAX_DECODED) {
        let (read, written) = (stream.total_in(), stream.total_out());
        let input = data.get(read as usize..).unwrap_or_default();
        let status =
            stream.decompress(input, &mut rest, FlushDecompress::None).map_err(|error| error.to_string())?;
        match status {
            Status::StreamEnd => return Ok(()),
            _ if (stream.total_in(), stream.total_out()) == (read, written) => break,
            _ => {}
        }
    }
    Err("the stream is damaged or cut".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::decode;
    use crate::codec::LAST_GRAIN;

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn takes_short_and_whole_grains() {
        let grain: Vec<u8> = (0..1 << 16).map(|i: u32| ((i * i) >> 7) as u8).collect();
        for stored in [1536, 2000, 1 << 16] {
            let mut data = zlib(&grain[..stored]);
            assert_eq!(decode(LAST_GRAIN, &data, 1536).unwrap(), grain[..1536], "{stored}");
            data.extend([0; 300]);
            assert_eq!(decode(LAST_GRAIN, &data, 1536).unwrap(), grain[..1536], "padding after {stored}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        let grain = vec![7; 1 << 16];
        let data = zlib(&grain);
        for cut in 0..data.len() {
            decode(LAST_GRAIN, &data[..cut], 1536).unwrap_err();
        }
        assert!(decode(LAST_GRAIN, &zlib(&grain[..1535]), 1536).unwrap_err().message.contains("after 1535"));
        let mut wrong = data;
        *wrong.last_mut().unwrap() ^= 1;
        decode(LAST_GRAIN, &wrong, 1536).unwrap_err();
        decode("zlib", &wrong, 1536).unwrap_err();
        decode(LAST_GRAIN, &[], u32::MAX).unwrap_err();
    }
}
