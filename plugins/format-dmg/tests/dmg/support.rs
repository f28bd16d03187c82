//! A reader that follows a map, encoders of every codec, and noise.

use std::io::{Read, Write};

use format_dmg::Error;
use format_dmg::image::Image;
use witvirt_sdk::core::extent::{Encoded, ExtentKind};
use witvirt_sdk::disk::ImageReader;

/// What a guest sees, in pages of `max` extents.
pub fn content(file: &[u8], max: u32) -> Result<Vec<u8>, Error> {
    let mut image = Image::open(file.to_vec())?;
    let size = image.geometry().virtual_size;
    let mut bytes = Vec::new();
    loop {
        let page = image.extents(bytes.len() as u64, size, max)?;
        assert!(page.extents.len() <= max as usize);
        for extent in page.extents {
            assert_eq!(extent.start, bytes.len() as u64);
            let length = extent.length as usize;
            match extent.kind {
                ExtentKind::Zero | ExtentKind::Unallocated => bytes.resize(bytes.len() + length, 0),
                ExtentKind::Data { source: 0, offset } => bytes.extend(&file[offset as usize..][..length]),
                ExtentKind::Encoded(encoded) => {
                    let decoded = decode(
                        &image,
                        &file[encoded.offset as usize..][..encoded.length as usize],
                        &encoded,
                    )?;
                    bytes.extend(&decoded[encoded.skip as usize..][..length]);
                }
                other => panic!("{other:?}"),
            }
        }
        match page.next {
            Some(next) => assert_eq!(next, bytes.len() as u64),
            None => break,
        }
    }
    assert_eq!(bytes.len() as u64, size);
    Ok(bytes)
}

fn decode(image: &Image<Vec<u8>>, data: &[u8], encoded: &Encoded) -> Result<Vec<u8>, Error> {
    let mut decoded = Vec::new();
    let length = u64::from(encoded.decoded_length);
    match encoded.codec.as_str() {
        "zlib" => flate2::read::ZlibDecoder::new(data).take(length).read_to_end(&mut decoded),
        "bzip2" => bzip2::read::BzDecoder::new(data).take(length).read_to_end(&mut decoded),
        "xz" => lzma_rust2::XzReader::new(data, false).take(length).read_to_end(&mut decoded),
        "lzfse" => lzfse_rust::decode_bytes(data, &mut decoded)
            .map(|read| read as usize)
            .map_err(std::io::Error::other),
        codec => return image.decode(codec, data, encoded.decoded_length),
    }
    .unwrap_or_else(|error| panic!("{}: {error}", encoded.codec));
    assert_eq!(decoded.len(), encoded.decoded_length as usize, "{}", encoded.codec);
    Ok(decoded)
}

/// `plain` as a run of type `kind` stores it.
pub fn encode(kind: u32, plain: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    match kind {
        0 | 2 => assert!(plain.iter().all(|byte| *byte == 0)),
        1 => encoded.extend(plain),
        0x8000_0004 => encoded = adc(plain),
        0x8000_0005 => {
            let mut writer = flate2::write::ZlibEncoder::new(&mut encoded, flate2::Compression::default());
            writer.write_all(plain).unwrap();
            writer.finish().unwrap();
        }
        0x8000_0006 => {
            let mut writer = bzip2::write::BzEncoder::new(&mut encoded, bzip2::Compression::best());
            writer.write_all(plain).unwrap();
            writer.finish().unwrap();
        }
        0x8000_0007 => {
            lzfse_rust::encode_bytes(plain, &mut encoded).unwrap();
        }
        0x8000_0008 => {
            let mut writer =
                lzma_rust2::XzWriter::new(&mut encoded, lzma_rust2::XzOptions::with_preset(1)).unwrap();
            writer.write_all(plain).unwrap();
            writer.finish().unwrap();
        }
        other => panic!("{other:#x}"),
    }
    encoded
}

/// Matches of the byte before, of both sizes, and literals.
fn adc(plain: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut at = 0;
    while at < plain.len() {
        let same = |from: usize| plain[from..].iter().take_while(|byte| **byte == plain[from - 1]).count();
        let run = if at == 0 { 0 } else { same(at) };
        if run >= 19 {
            let length = run.min(67);
            encoded.extend([0x40 | (length - 4) as u8, 0, 0]);
            at += length;
        } else if run >= 3 {
            let length = run.min(18);
            encoded.extend([((length - 3) << 2) as u8, 0]);
            at += length;
        } else {
            let length = (plain.len() - at).min(50);
            encoded.push(0x80 | (length - 1) as u8);
            encoded.extend(&plain[at..at + length]);
            at += length;
        }
    }
    encoded
}

/// Numbers that are the same every time.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
