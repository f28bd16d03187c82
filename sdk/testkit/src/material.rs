//! Test material beside the repository.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A file or folder of `shared/data/images` beside the repository; says so when it is not there.
pub fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/images").join(name);
    if !path.exists() {
        eprintln!("skipped: no {}", path.display());
        return None;
    }
    Some(path)
}

/// The rows of a table with a header line, by the names of its columns.
pub fn table(path: &Path) -> Vec<HashMap<String, String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let names = lines.next().unwrap();
    lines.map(|line| names.iter().cloned().zip(line).collect()).collect()
}

/// The content of a file that is compressed as its name says (.zst, .bz2, .gz), or not at all.
pub fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream(path).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Unpacks a file as [`unpacked`] does to another, with holes where it holds zeros.
pub fn unpack(path: &Path, to: &Path) {
    let (mut stream, file) = (stream(path), File::create(to).unwrap());
    let (mut buffer, mut size) = (vec![0; 1 << 20], 0);
    loop {
        let length = stream.read(&mut buffer).unwrap();
        if length == 0 {
            return file.set_len(size).unwrap();
        }
        if buffer[..length].iter().any(|byte| *byte != 0) {
            file.write_all_at(&buffer[..length], size).unwrap();
        }
        size += length as u64;
    }
}

fn stream(path: &Path) -> Box<dyn Read> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("zst") => Box::new(zstd::stream::read::Decoder::new(file).unwrap()),
        Some("bz2") => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(file)),
        _ => Box::new(file),
    }
}

/// As other tools print it.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The digest of a file.
pub fn sha256_of(path: &Path) -> String {
    let mut digest = Sha256::new();
    std::io::copy(&mut File::open(path).unwrap(), &mut digest).unwrap();
    hex(&digest.finalize())
}

/// In lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
