use std::io::{Read as _, Write as _};

use super::{Decoder, Encoder, NativeCodec};

const CODECS: [NativeCodec; 3] = [NativeCodec::DeflateRaw, NativeCodec::Zlib, NativeCodec::Zstd];

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|n| b"the quick brown fox, "[(n * n / 977) % 21]).collect()
}

/// What becomes of `plain`, if it is shorter.
fn shorter(encoder: &mut Encoder, plain: &[u8]) -> Option<Vec<u8>> {
    let mut output = vec![0; plain.len().saturating_sub(1)];
    let length = encoder.encode(plain, &mut output).unwrap()?;
    output.truncate(length);
    Some(output)
}

#[test]
fn decodes_what_it_encodes_and_ignores_what_follows() {
    let mut decoder = Decoder::new();
    for codec in CODECS {
        let mut encoder = Encoder::new(codec);
        for length in [1000, 65536, 2 << 20] {
            let plain = text(length);
            let mut encoded = shorter(&mut encoder, &plain).unwrap();
            let cut = &encoded[..encoded.len() / 2];
            let mut output = vec![0xaa; length];
            assert!(decoder.decode(codec, cut, &mut output).is_err(), "{codec:?}");
            encoded.extend_from_slice(&[0x5a; 700]);
            decoder.decode(codec, &encoded, &mut output).unwrap();
            assert_eq!(output, plain);
            assert!(decoder.decode(codec, &encoded, &mut vec![0; length + 1]).is_err(), "{codec:?} short");
            assert!(decoder.decode(codec, &encoded, &mut vec![0; length - 1]).is_err(), "{codec:?} long");
        }
    }
}

#[test]
fn says_when_nothing_is_gained() {
    use sha2::Digest as _;
    let noise: Vec<u8> = (0..2048u32).flat_map(|n| sha2::Sha256::digest(n.to_le_bytes())).collect();
    for codec in CODECS {
        let mut encoder = Encoder::new(codec);
        assert_eq!(shorter(&mut encoder, &noise), None, "{codec:?}");
        assert_eq!(shorter(&mut encoder, &[]), None, "{codec:?}");
        // The refusal leaves no state behind.
        assert!(shorter(&mut encoder, &text(4096)).is_some());
        // Nor does noise become longer than was said.
        let mut room = vec![0; Encoder::longest(noise.len())];
        assert!(encoder.encode(&noise, &mut room).unwrap().is_some(), "{codec:?}");
    }
}

#[test]
fn the_deflate_window_fits_qcow2() {
    // A repetition further back than 4 KiB must not be referred to.
    let mut plain: Vec<u8> = (0..6000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    plain.extend_from_within(..6000);
    plain.extend_from_slice(&[0; 2000]);
    let encoded = shorter(&mut Encoder::new(NativeCodec::DeflateRaw), &plain).unwrap();
    let mut inflate = flate2::Decompress::new_with_window_bits(false, 12);
    let mut output = Vec::with_capacity(plain.len() + 1);
    // In small pieces, so that the window is what the decoder falls back on.
    for piece in encoded.chunks(7) {
        let mut buffer = [0; 4096];
        let mut rest = piece;
        loop {
            let (seen_in, seen_out) = (inflate.total_in(), inflate.total_out());
            inflate.decompress(rest, &mut buffer, flate2::FlushDecompress::None).unwrap();
            let (read, wrote) =
                ((inflate.total_in() - seen_in) as usize, (inflate.total_out() - seen_out) as usize);
            output.extend_from_slice(&buffer[..wrote]);
            rest = &rest[read..];
            if read == 0 && wrote == 0 || rest.is_empty() && wrote < buffer.len() {
                break;
            }
        }
    }
    assert_eq!(output, plain);
}

const ADDED: [NativeCodec; 5] =
    [NativeCodec::Bzip2, NativeCodec::Xz, NativeCodec::Lzfse, NativeCodec::Lz4, NativeCodec::Lz4Apple];

/// What other people's encoders make of `plain`.
fn encode(codec: NativeCodec, plain: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    match codec {
        NativeCodec::Bzip2 => {
            let level = ::bzip2::Compression::best();
            ::bzip2::read::BzEncoder::new(plain, level).read_to_end(&mut encoded).unwrap();
        }
        NativeCodec::Xz => {
            let options = lzma_rust2::XzOptions::with_preset(6);
            let mut writer = lzma_rust2::XzWriter::new(&mut encoded, options).unwrap();
            writer.write_all(plain).unwrap();
            writer.finish().unwrap();
        }
        NativeCodec::Lzfse => {
            lzfse_rust::LzfseEncoder::default().encode_bytes(plain, &mut encoded).unwrap();
        }
        NativeCodec::Lz4 => encoded = lz4_flex::block::compress(plain),
        NativeCodec::Lz4Apple => {
            for (index, block) in plain.chunks(65536).enumerate() {
                if index % 3 == 2 {
                    encoded.extend_from_slice(b"bv4-");
                    encoded.extend((block.len() as u32).to_le_bytes());
                    encoded.extend_from_slice(block);
                    continue;
                }
                let packed = match index.checked_sub(1) {
                    Some(before) => {
                        let window = &plain[before * 65536..index * 65536];
                        lz4_flex::block::compress_with_dict(block, window)
                    }
                    None => lz4_flex::block::compress(block),
                };
                encoded.extend_from_slice(b"bv41");
                encoded.extend((block.len() as u32).to_le_bytes());
                encoded.extend((packed.len() as u32).to_le_bytes());
                encoded.extend(packed);
            }
            encoded.extend_from_slice(b"bv4$");
        }
        NativeCodec::DeflateRaw | NativeCodec::Zlib | NativeCodec::Zstd => {
            encoded = shorter(&mut Encoder::new(codec), plain).unwrap();
        }
    }
    encoded
}

/// Bytes of every texture: text, repetitions of every distance, noise, zeros.
fn mixture(length: usize) -> Vec<u8> {
    let mut seed = 7u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize
    };
    let mut bytes = Vec::with_capacity(length + 70_000);
    while bytes.len() < length {
        let count = random() % 3000;
        match random() % 4 {
            0 => bytes.extend((0..count).map(|_| random() as u8)),
            1 => bytes.resize(bytes.len() + count, 0),
            2 => bytes.extend(text(count)),
            _ if bytes.is_empty() => {}
            _ => {
                let from = bytes.len() - 1 - random() % bytes.len();
                bytes.extend_from_within(from..(from + count).min(bytes.len()));
            }
        }
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn decodes_what_others_encode() {
    let mut decoder = Decoder::new();
    for codec in ADDED {
        for length in [0, 1, 3, 100, 5000, 65536, 70_001, 300_000] {
            for plain in [text(length), mixture(length), vec![0; length]] {
                let mut encoded = encode(codec, &plain);
                if codec != NativeCodec::Lz4 {
                    encoded.extend_from_slice(&[0x5a; 700]);
                }
                let mut output = vec![0xaa; length];
                decoder
                    .decode(codec, &encoded, &mut output)
                    .unwrap_or_else(|why| panic!("{codec:?} {length}: {why}"));
                assert_eq!(output, plain, "{codec:?} {length}");
                output.push(0);
                let why = decoder.decode(codec, &encoded, &mut output).unwrap_err();
                assert_eq!(
                    why,
                    format!("it decodes to {length} bytes instead of {}", length + 1),
                    "{codec:?}"
                );
                if length > 0 {
                    let why = decoder.decode(codec, &encoded, &mut output[..length - 1]).unwrap_err();
                    assert_eq!(why, format!("it decodes to more than {} bytes", length - 1), "{codec:?}");
                }
            }
        }
    }
}

#[test]
fn refuses_what_is_cut() {
    let mut decoder = Decoder::new();
    let plain = mixture(20_000);
    let mut output = vec![0; plain.len()];
    for codec in ADDED {
        let encoded = encode(codec, &plain);
        for cut in (0..encoded.len()).step_by(encoded.len() / 300 + 1) {
            let result = decoder.decode(codec, &encoded[..cut], &mut output);
            assert!(result.is_err(), "{codec:?} cut to {cut} of {}", encoded.len());
        }
    }
}

/// Nothing panics and nothing takes long, whatever the bytes; checks and lengths notice most changes.
#[test]
fn survives_mutations() {
    let mut decoder = Decoder::new();
    let mut seed = 3u32;
    let mut random = |bound: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % bound
    };
    for codec in CODECS.into_iter().chain(ADDED) {
        for plain in [text(600), mixture(9000)] {
            let encoded = encode(codec, &plain);
            let mut output = vec![0; plain.len()];
            for _ in 0..600 {
                let mut damaged = encoded.clone();
                for _ in 0..=random(4) {
                    let bound = if random(2) == 0 { damaged.len().min(64) } else { damaged.len() };
                    damaged[random(bound)] = [0, 1, 0x7f, 0x80, 0xff, random(256) as u8][random(6)];
                }
                if random(8) == 0 {
                    damaged.truncate(random(damaged.len()));
                }
                let _ = decoder.decode(codec, &damaged, &mut output);
            }
            decoder.decode(codec, &encoded, &mut output).unwrap();
            assert_eq!(output, plain, "{codec:?}: damage leaves no state behind");
        }
    }
}

#[test]
fn bombs_do_not_grow() {
    let zeros = vec![0; 8 << 20];
    let mut decoder = Decoder::new();
    for codec in ADDED {
        let encoded = encode(codec, &zeros);
        let why = decoder.decode(codec, &encoded, &mut [0; 512]).unwrap_err();
        assert_eq!(why, "it decodes to more than 512 bytes", "{codec:?}");
    }
}

#[test]
fn a_window_of_gibibytes_is_refused() {
    let mut encoded = encode(NativeCodec::Xz, &text(5000));
    // The block header: size, flags, filter 0x21 with one byte of properties, the size of the window; then its checksum.
    assert_eq!(encoded[14..16], [0x21, 1]);
    encoded[16] = 38;
    let sum = crc32(&encoded[12..20]).to_le_bytes();
    encoded[20..24].copy_from_slice(&sum);
    let why = Decoder::new().decode(NativeCodec::Xz, &encoded, &mut vec![0; 5000]).unwrap_err();
    assert_eq!(why, "it wants a window of more than 66 MiB to decode");
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn apples_blocks_share_a_window_and_end_in_matches() {
    // Stored, then one literal and a match of 4 bytes from 17 back.
    let encoded = b"bv4-\x10\0\0\0HELLOWORLD123456bv41\x05\0\0\0\x04\0\0\0\x10X\x11\0bv4$";
    let mut output = [0; 21];
    Decoder::new().decode(NativeCodec::Lz4Apple, encoded, &mut output).unwrap();
    assert_eq!(&output, b"HELLOWORLD123456XHELL");
    let far = b"bv41\x05\0\0\0\x04\0\0\0\x10X\x11\0bv4$";
    assert!(Decoder::new().decode(NativeCodec::Lz4Apple, far, &mut [0; 5]).is_err());
}

#[test]
fn lzvn_opcodes() {
    let block = |decoded: u32, code: &[u8]| {
        let mut bytes = b"bvxn".to_vec();
        bytes.extend(decoded.to_le_bytes());
        bytes.extend((code.len() as u32 + 8).to_le_bytes());
        bytes.extend_from_slice(code);
        bytes.extend([6, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(b"bvx$");
        bytes
    };
    let decode = |decoded: u32, code: &[u8]| {
        let mut output = vec![0; decoded as usize];
        Decoder::new().decode(NativeCodec::Lzfse, &block(decoded, code), &mut output).map(|()| output)
    };
    // Two literals; then one literal and three from 3 back; the distance again, by 4; nothing; 16 literals more.
    let mut code = b"\xe2ab\x40\x03c\xf4\x0e\x16\xe0\x00".to_vec();
    code.extend_from_slice(b"0123456789abcdef");
    assert_eq!(decode(26, &code).unwrap(), b"abcabcabca0123456789abcdef");
    // The large distance, 16 bits; the medium one with 5 bits of length; the large match.
    let mut code = b"\xe4abcd\x07\x04\x00\xa0\x10\x00\xf0\x00".to_vec();
    assert_eq!(decode(26, &code).unwrap(), b"abcdabcdabcdabcdabcdabcdab"[..].to_vec());
    code.push(0x70);
    assert!(decode(26, &code).is_err(), "an opcode that is none");
    assert!(decode(3, b"\xf3").is_err(), "no distance yet");
    assert!(decode(4, b"\xe1a\x00\x02").is_err(), "before the first byte");
}
