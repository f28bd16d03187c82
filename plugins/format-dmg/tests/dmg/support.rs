//! A reader that follows a map, and encoders of every codec.

use std::io::Write;

use format_dmg::Error;
use format_dmg::image::Image;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::map;

/// What a guest sees, in pages of `max` extents too.
pub fn content(file: &[u8], max: u32) -> Result<Vec<u8>, Error> {
    let file = file.to_vec();
    let mut image = Image::open(&file)?;
    map(&mut image, max)?;
    witvirt_testkit::content(&mut image, &[&&file], &[])
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
