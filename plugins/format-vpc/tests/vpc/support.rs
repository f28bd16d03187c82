//! Scratch directories, QEMU's tools, and a reader that follows a map.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use format_vpc::image::Image;
use format_vpc::layout::Writer;
use format_vpc::{Error, ErrorKind};
use sha2::{Digest, Sha256};
use witvirt_sdk::core::extent::{Extent, ExtentKind};
use witvirt_sdk::core::format::Chunk;
use witvirt_sdk::disk::{ImageReader, ImageWriter, ReadAt};

/// Whether QEMU's tools are here; says so when not.
pub fn have_qemu() -> bool {
    have("qemu-img", "qemu-utils")
}

/// Whether a program is here; says so when not.
pub fn have(program: &str, package: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: {program} is missing (Debian: apt-get install {package})");
    }
    found
}

/// A file of the folder beside the repository; says so when it is not there.
pub fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/images").join(name);
    if !path.exists() {
        eprintln!("skipped: no {}", path.display());
        return None;
    }
    Some(path)
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

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
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

/// An image with its parents beside it, as a host would open them.
pub struct Disk {
    pub image: Image<FileSource>,
    file: File,
    parent: Option<Box<Disk>>,
}

impl Disk {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let image = Image::open(FileSource::open(path))?;
        let mut parent = None;
        for reference in image.references() {
            assert_eq!((reference.role.as_str(), reference.required), ("parent", true));
            parent = Some(Box::new(Disk::open(&path.parent().unwrap().join(&reference.name))?));
        }
        Ok(Self { image, file: File::open(path).unwrap(), parent })
    }

    pub fn size(&self) -> u64 {
        self.image.geometry().virtual_size
    }

    pub fn map(&mut self, max: u32) -> Result<Vec<Extent>, Error> {
        map(&mut self.image, max)
    }

    /// What a guest sees, by the map.
    pub fn content(&mut self) -> Result<Vec<u8>, Error> {
        let size = self.size();
        let mut content = vec![0; size as usize];
        if let Some(parent) = &mut self.parent {
            let below = parent.content()?;
            let length = below.len().min(content.len());
            content[..length].copy_from_slice(&below[..length]);
        }
        for extent in self.map(1000)? {
            let target = &mut content[extent.start as usize..(extent.start + extent.length) as usize];
            match extent.kind {
                ExtentKind::Unallocated => assert!(self.parent.is_none()),
                ExtentKind::Parent => assert!(self.parent.is_some()),
                ExtentKind::Data { source: 0, offset } => self.file.read_exact_at(target, offset).unwrap(),
                other => panic!("{other:?}"),
            }
        }
        Ok(content)
    }

    /// The digest of what a guest sees; for disks that are too large to be held in memory.
    pub fn sha256(&mut self) -> Result<String, Error> {
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let zeros = vec![0; 1 << 20];
        for extent in self.map(1000)? {
            for at in (0..extent.length).step_by(1 << 20) {
                let length = (extent.length - at).min(1 << 20) as usize;
                match extent.kind {
                    ExtentKind::Data { source: 0, offset } => {
                        self.file.read_exact_at(&mut buffer[..length], offset + at).unwrap();
                        digest.update(&buffer[..length]);
                    }
                    ExtentKind::Unallocated => digest.update(&zeros[..length]),
                    ref other => panic!("{other:?}"),
                }
            }
        }
        Ok(hex(&digest.finalize()))
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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

/// Writes an image as a host does: chunks that are all zeros are left out. Returns the length of the file.
pub fn write_image(path: &Path, content: &[u8], options: &str) -> u64 {
    let mut writer = Writer::create("vpc", content.len() as u64, options, None).unwrap();
    let file = File::create(path).unwrap();
    let plan = writer.plan();
    for (index, data) in content.chunks(plan.chunk_size as usize).enumerate() {
        if data.iter().all(|byte| *byte == 0) {
            continue;
        }
        let start = index as u64 * u64::from(plan.chunk_size);
        let length = data.len() as u64;
        let offset = writer.allocate(&Chunk { start, length, stored: length, encoded: false }).unwrap();
        file.write_all_at(data, offset).unwrap();
    }
    finish(&mut writer, &file)
}

/// Applies the last writes; returns the length of the file.
pub fn finish(writer: &mut Writer, file: &File) -> u64 {
    loop {
        let ending = writer.finish().unwrap();
        assert!(ending.writes.iter().map(|write| write.bytes.len()).sum::<usize>() < 4 << 20);
        for write in &ending.writes {
            assert!(write.offset + write.bytes.len() as u64 <= ending.size);
            file.write_all_at(&write.bytes, write.offset).unwrap();
        }
        if !ending.next {
            file.set_len(ending.size).unwrap();
            return ending.size;
        }
    }
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
}

/// A disk with islands of data in holes, of a few MiB each, and data in its last sector. `size` is a multiple of 512.
pub fn disk_content(size: usize) -> Vec<u8> {
    let mut content = vec![0; size];
    let mut noise = Noise::new(20_240_607);
    let mut at = 0;
    while at < size {
        let length = (512 * (1 + noise.below(9000)) as usize).min(size - at);
        if noise.below(3) == 0 {
            for word in content[at..at + length].chunks_mut(8) {
                let bytes = noise.next().to_le_bytes();
                word.copy_from_slice(&bytes[..word.len()]);
            }
        }
        at += length;
    }
    let end = size - 512;
    content[end..].fill(b'.');
    content
}
