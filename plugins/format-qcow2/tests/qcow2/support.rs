//! Scratch directories, QEMU's tools, and a reader that follows a map.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use format_qcow2::image::{BACKING, DATA_FILE, Image};
use format_qcow2::{Error, ErrorKind};
use witvirt_sdk::core::extent::{Encoded, Extent, ExtentKind};
use witvirt_sdk::disk::{ImageReader, ReadAt};

/// Whether QEMU's tools are here; says so when not.
pub fn have_qemu() -> bool {
    have("qemu-img", "qemu-utils") && have("qemu-io", "qemu-utils")
}

/// Whether a program is here; says so when not.
pub fn have(program: &str, package: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: {program} is missing (Debian: apt-get install {package})");
    }
    found
}

/// A directory for the images of one test.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a program in the directory; returns what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).current_dir(self.0.path()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs qemu-img with a line of arguments that have no spaces.
    pub fn qemu_img(&self, line: &str) -> String {
        self.run("qemu-img", &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs commands on a qcow2 image.
    pub fn qemu_io(&self, image: &str, commands: &[String]) {
        let mut arguments = vec!["-f", "qcow2"];
        for command in commands {
            arguments.extend(["-c", command]);
        }
        arguments.push(image);
        self.run("qemu-io", &arguments);
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// What a guest sees, as QEMU says.
    pub fn guest_content(&self, image: &str) -> Vec<u8> {
        self.qemu_img(&format!("convert -f qcow2 -O raw {image} content.raw"));
        let bytes = self.read("content.raw");
        std::fs::remove_file(self.path("content.raw")).unwrap();
        bytes
    }

    pub fn open(&self, name: &str) -> Result<Disk, Error> {
        Disk::open(&self.path(name))
    }
}

/// A file as a source.
#[derive(Debug)]
pub struct FileSource(pub File);

impl FileSource {
    pub fn open(path: &Path) -> Self {
        Self(File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }
}

impl ReadAt for FileSource {
    fn size(&self) -> u64 {
        self.0.metadata().unwrap().len()
    }

    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; (len as usize).min(self.size().saturating_sub(offset) as usize)];
        self.0
            .read_exact_at(&mut bytes, offset)
            .map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
        Ok(bytes)
    }
}

/// An image with the files that it names, as a host would open them.
pub struct Disk {
    pub image: Image<FileSource>,
    file: File,
    data: Option<File>,
    backing: Option<Below>,
}

enum Below {
    Raw(File),
    Image(Box<Disk>),
}

impl Disk {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut image = Image::open(FileSource::open(path))?;
        let (mut data, mut backing) = (None, None);
        for reference in image.references() {
            let named = path.parent().unwrap().join(&reference.name);
            match reference.id {
                DATA_FILE => {
                    let file = File::open(&named).unwrap();
                    image.attach(DATA_FILE, FileSource(file.try_clone().unwrap()))?;
                    data = Some(file);
                }
                BACKING if reference.format_hint.as_deref() == Some("raw") => {
                    backing = Some(Below::Raw(File::open(named).unwrap()));
                }
                BACKING => backing = Some(Below::Image(Box::new(Disk::open(&named)?))),
                other => panic!("reference {other}"),
            }
        }
        Ok(Self { image, file: File::open(path).unwrap(), data, backing })
    }

    pub fn size(&self) -> u64 {
        self.image.geometry().virtual_size
    }

    /// The whole map, in pages of at most `max` extents; checks that each page is as the contract says.
    pub fn map(&mut self, max: u32) -> Result<Vec<Extent>, Error> {
        map(&mut self.image, max)
    }

    /// What a guest sees, by the map.
    pub fn content(&mut self) -> Result<Vec<u8>, Error> {
        let size = self.size();
        self.content_upto(size)
    }

    fn content_upto(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut below = match &mut self.backing {
            None => Vec::new(),
            Some(Below::Raw(file)) => read_file(file, size),
            Some(Below::Image(disk)) => {
                let size = size.min(disk.size());
                disk.content_upto(size)?
            }
        };
        below.resize(size as usize, 0);
        let mut content = vec![0; size as usize];
        for extent in self.map(1000)? {
            let Some(range) = clip(&extent, size) else { continue };
            let target = &mut content[range.clone()];
            match &extent.kind {
                ExtentKind::Zero | ExtentKind::Unallocated => {}
                ExtentKind::Parent => target.copy_from_slice(&below[range]),
                ExtentKind::Data { source, offset } => {
                    let file = if *source == 0 { &self.file } else { self.data.as_ref().unwrap() };
                    file.read_exact_at(target, *offset).unwrap();
                }
                ExtentKind::Encoded(encoded) => {
                    let bytes = decode(&self.file, encoded)?;
                    let start = encoded.skip as usize;
                    target.copy_from_slice(&bytes[start..start + target.len()]);
                }
                ExtentKind::Literal(_) => panic!("qcow2 has no literals"),
            }
        }
        Ok(content)
    }
}

fn clip(extent: &Extent, size: u64) -> Option<std::ops::Range<usize>> {
    let end = (extent.start + extent.length).min(size);
    (extent.start < end).then_some(extent.start as usize..end as usize)
}

fn read_file(file: &File, size: u64) -> Vec<u8> {
    let mut bytes = vec![0; size.min(file.metadata().unwrap().len()) as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Decodes to exactly the stated length, or fails as a host does.
fn decode(file: &File, encoded: &Encoded) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; encoded.length as usize];
    file.read_exact_at(&mut bytes, encoded.offset).unwrap();
    let length = encoded.decoded_length as usize;
    let decoded = match encoded.codec.as_str() {
        "deflate-raw" => inflate(&bytes, length),
        "zstd" => unzstd(&bytes, length),
        other => panic!("codec {other}"),
    };
    decoded
        .filter(|decoded| decoded.len() == length)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "does not decode"))
}

fn inflate(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(length);
    let mut stream = flate2::Decompress::new(false);
    stream.decompress_vec(bytes, &mut decoded, flate2::FlushDecompress::Finish).ok()?;
    Some(decoded)
}

fn unzstd(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut decoded = vec![0; length];
    let frame = zstd::zstd_safe::find_frame_compressed_size(bytes).ok()?;
    let written = zstd::bulk::decompress_to_buffer(&bytes[..frame], &mut decoded).ok()?;
    decoded.truncate(written);
    Some(decoded)
}

/// The whole map of any image, in pages of at most `max` extents; checks that each page is as the contract says.
pub fn map<R: ReadAt>(image: &mut Image<R>, max: u32) -> Result<Vec<Extent>, Error> {
    let size = image.geometry().virtual_size;
    let mut extents: Vec<Extent> = Vec::new();
    let mut start = 0;
    while start < size {
        let page = image.extents(start, size - start, max)?;
        assert!(page.extents.len() <= max as usize);
        assert_eq!(page, image.extents(start, size - start, max)?, "deterministic");
        for extent in page.extents {
            assert_eq!(extent.start, start, "contiguous");
            assert!(extent.length > 0);
            start += extent.length;
            extents.push(extent);
        }
        assert!(start <= size);
        assert_eq!(page.next, (start < size).then_some(start));
    }
    Ok(extents)
}

/// A stream of numbers that looks random and is the same each time (xorshift64*).
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// A disk like real ones: text, noise, repeated blocks, small islands and holes. `size` is a multiple of 512.
pub fn disk_content(size: usize) -> Vec<u8> {
    let mut content = vec![0; size];
    let mut noise = Noise::new(20_240_607);
    let mut at = 0;
    while at < size {
        let length = (512 * (1 + noise.below(700)) as usize).min(size - at);
        let piece = &mut content[at..at + length];
        match noise.below(5) {
            0 | 1 => {}
            2 => noise.fill(piece),
            3 => piece.fill(0xa5),
            _ => {
                for word in piece.chunks_mut(6) {
                    let text = [b"virtual", b"machine", b"cluster"][noise.below(3) as usize];
                    word.copy_from_slice(&text[..word.len()]);
                }
            }
        }
        at += length;
    }
    let end = size - 512;
    content[end..].fill(b'.');
    content
}
