//! Scratch directories, QEMU's tools, and a reader that follows a map.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use format_qed::image::Image;
use format_qed::{Error, ErrorKind};
use sha2::{Digest, Sha256};
use witvirt_sdk::core::extent::{Extent, ExtentKind};
use witvirt_sdk::disk::{ImageReader, ReadAt};

/// The name that QEMU has for the format.
pub const QEMU_NAME: &str = "qed";

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

/// Test material beside the repository; says so when it is not there.
pub fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/images").join(name);
    if !path.exists() {
        eprintln!("skipped: no {}", path.display());
        return None;
    }
    Some(path)
}

/// The rows of a table with a header line.
pub fn table(path: &Path) -> Vec<HashMap<String, String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let names = lines.next().unwrap();
    lines.map(|line| names.iter().cloned().zip(line).collect()).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
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

    /// Runs commands on an image.
    pub fn qemu_io(&self, image: &str, commands: &[String]) {
        let mut arguments = vec!["-f", QEMU_NAME];
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
        self.qemu_img(&format!("convert -f {QEMU_NAME} -O raw {image} content.raw"));
        let bytes = self.read("content.raw");
        std::fs::remove_file(self.path("content.raw")).unwrap();
        bytes
    }

    /// The images of the matrix in the part of its script between two marks.
    pub fn matrix(&self, script: &Path, from: &str, to: &str) {
        let script = std::fs::read_to_string(script).unwrap();
        let (head, _) = script.split_once("# ---- qcow2").unwrap();
        let (_, tail) = script.split_once(from).unwrap();
        let part = tail.split_once(to).map_or(tail, |(part, _)| part);
        self.write("make.sh", format!("{head}cp base.raw raw.img\n# {part}").as_bytes());
        self.run("bash", &["make.sh", "out"]);
    }
}

impl Scratch {
    /// The hostile images of others for a format: file and row of the table. Empty, with a printed reason, where they cannot
    /// be made.
    pub fn hostile(&self, format: &str) -> Vec<(PathBuf, HashMap<String, String>)> {
        let Some(generator) = data("hostile/make-hostile.py") else { return Vec::new() };
        if !have("python3", "python3") {
            return Vec::new();
        }
        // A bomb of 2 GiB for another test takes most of the time; a small one does here.
        let script = std::fs::read_to_string(generator).unwrap();
        self.write("make.py", script.replace("in range(2048)", "in range(1)").as_bytes());
        self.run("python3", &["make.py", "out", self.path("canary.txt").to_str().unwrap()]);
        let rows = table(&self.path("out/hostile.tsv")).into_iter();
        let rows = rows.filter(|row| row["format_claimed"] == format);
        rows.map(|row| (self.path("out").join(&row["file"]), row)).collect()
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
        let mut bytes = vec![0; u64::from(len).min(self.size().saturating_sub(offset)) as usize];
        self.0
            .read_exact_at(&mut bytes, offset)
            .map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
        Ok(bytes)
    }
}

/// What a guest sees of an image over `below`, by the map.
pub fn content<R: ReadAt>(image: &mut Image<R>, source: &R, below: &[u8]) -> Result<Vec<u8>, Error> {
    let mut content = vec![0; image.geometry().virtual_size as usize];
    for extent in map(image, 1000)? {
        let start = extent.start as usize;
        let target = &mut content[start..start + extent.length as usize];
        match extent.kind {
            ExtentKind::Zero | ExtentKind::Unallocated => {}
            ExtentKind::Parent => {
                let end = below.len().min(start + target.len());
                let known = below.get(start..end).unwrap_or_default();
                target[..known.len()].copy_from_slice(known);
            }
            ExtentKind::Data { source: 0, offset } => {
                for (index, piece) in target.chunks_mut(1 << 20).enumerate() {
                    let bytes = source.read_at(offset + ((index as u64) << 20), piece.len() as u32)?;
                    piece.copy_from_slice(&bytes);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    Ok(content)
}

/// What a guest sees of a file without a parent.
pub fn file_content(path: &Path) -> Result<Vec<u8>, Error> {
    let mut image = Image::open(FileSource::open(path))?;
    content(&mut image, &FileSource::open(path), &[])
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
}

/// Noise of one byte a run, with holes; `size` is a multiple of 512. No two runs are alike nearby.
pub fn disk_content(size: usize, longest: u64) -> Vec<u8> {
    let mut content = vec![0; size];
    let mut noise = Noise::new(20_240_607);
    let mut at = 0;
    while at < size {
        let length = (512 * (1 + noise.below(longest / 512)) as usize).min(size - at);
        if noise.below(3) > 0 {
            for (index, byte) in content[at..at + length].iter_mut().enumerate() {
                *byte = (noise.0 as usize + index / 512) as u8;
            }
        }
        at += length;
    }
    if let Some(last) = content.last_chunk_mut::<512>() {
        last.fill(b'.');
    }
    content
}
