//! Scratch directories, QEMU's tools, and a reader that follows a map.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use format_vmdk::image::{Image, PARENT};
use format_vmdk::{Error, ErrorKind};
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

    /// Runs commands on a VMDK image.
    pub fn qemu_io(&self, image: &str, commands: &[&str]) {
        let mut arguments = vec!["-f", "vmdk"];
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
        self.qemu_img(&format!("convert -f vmdk -O raw {image} content.raw"));
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
    /// By their ids.
    files: Vec<File>,
    parent: Option<Box<Disk>>,
}

impl Disk {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut image = Image::open(FileSource::open(path))?;
        let mut files = vec![File::open(path).unwrap()];
        let mut parent = None;
        for reference in image.references() {
            let named = path.parent().unwrap().join(&reference.name);
            if reference.id == PARENT {
                assert_eq!((&*reference.role, reference.format_hint.as_deref()), ("parent", Some("vmdk")));
                parent = Some(Box::new(Disk::open(&named)?));
                continue;
            }
            assert_eq!((&*reference.role, reference.id as usize), ("extent", files.len()));
            let not_there = |error| Error::new(ErrorKind::NotFound, format!("{}: {error}", reference.name));
            image.attach(reference.id, FileSource(File::open(&named).map_err(not_there)?))?;
            files.push(File::open(named).unwrap());
        }
        let disk = Self { image, files, parent };
        if let Some(parent) = &disk.parent {
            assert_eq!(disk.fact("parent-id"), parent.fact("id"));
        }
        Ok(disk)
    }

    pub fn size(&self) -> u64 {
        self.image.geometry().virtual_size
    }

    pub fn fact(&self, name: &str) -> String {
        let facts = self.image.facts();
        facts.into_iter().find(|(key, _)| key == name).map(|(_, value)| value).unwrap_or_default()
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

    /// What is stored, piece by piece.
    pub fn pieces(&mut self) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let mut pieces = Vec::new();
        for extent in self.map(4096)? {
            let mut bytes = vec![0; extent.length as usize * usize::from(stores(&extent.kind))];
            if !bytes.is_empty() {
                self.read_stored(&extent.kind, &mut bytes)?;
                pieces.push((extent.start, bytes));
            }
        }
        Ok(pieces)
    }

    fn read_stored(&self, kind: &ExtentKind, target: &mut [u8]) -> Result<(), Error> {
        match kind {
            ExtentKind::Data { source, offset } => {
                self.files[*source as usize].read_exact_at(target, *offset).unwrap();
            }
            ExtentKind::Encoded(encoded) => {
                let bytes = decode(&self.image, &self.files[encoded.source as usize], encoded)?;
                let start = encoded.skip as usize;
                target.copy_from_slice(&bytes[start..start + target.len()]);
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    fn content_upto(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut below = match &mut self.parent {
            None => Vec::new(),
            Some(disk) => {
                let size = size.min(disk.size());
                disk.content_upto(size)?
            }
        };
        below.resize(size as usize, 0);
        let mut content = vec![0; size as usize];
        for extent in self.map(1000)? {
            let end = (extent.start + extent.length).min(size);
            if extent.start >= end {
                continue;
            }
            let range = extent.start as usize..end as usize;
            let target = &mut content[range.clone()];
            match &extent.kind {
                ExtentKind::Zero | ExtentKind::Unallocated => {}
                ExtentKind::Parent => target.copy_from_slice(&below[range]),
                kind => self.read_stored(kind, target)?,
            }
        }
        Ok(content)
    }
}

fn stores(kind: &ExtentKind) -> bool {
    matches!(kind, ExtentKind::Data { .. } | ExtentKind::Encoded(_))
}

/// Decodes to exactly the stated length, or fails as a host does.
fn decode<R: ReadAt>(image: &Image<R>, file: &File, encoded: &Encoded) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; encoded.length as usize];
    file.read_exact_at(&mut bytes, encoded.offset).unwrap();
    if encoded.codec != "zlib" {
        return image.decode(&encoded.codec, &bytes, encoded.decoded_length);
    }
    let mut decoded = Vec::new();
    let length = u64::from(encoded.decoded_length);
    let limit = flate2::read::ZlibDecoder::new(&bytes[..]).take(length + 1).read_to_end(&mut decoded);
    match limit {
        Ok(read) if read as u64 == length => Ok(decoded),
        _ => Err(Error::new(ErrorKind::Corrupt, "does not decode")),
    }
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

/// The map without the cuts between pages.
pub fn joined(extents: &[Extent]) -> Vec<(u64, u64, &'static str)> {
    let mut runs: Vec<(u64, u64, &'static str)> = Vec::new();
    for extent in extents {
        let kind = match extent.kind {
            ExtentKind::Zero => "zero",
            ExtentKind::Data { .. } => "data",
            ExtentKind::Encoded(_) => "encoded",
            ExtentKind::Literal(_) => "literal",
            ExtentKind::Parent => "parent",
            ExtentKind::Unallocated => "unallocated",
        };
        match runs.last_mut() {
            Some(last) if last.2 == kind => last.1 += extent.length,
            _ => runs.push((extent.start, extent.length, kind)),
        }
    }
    runs
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
