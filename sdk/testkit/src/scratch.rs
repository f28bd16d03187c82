//! A directory for the images of one test, and programs to run in it.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use witvirt_sdk::Error;
use witvirt_sdk::disk::Format;

use crate::disk::Disk;
use crate::material::{data, table};

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

/// A directory for images of a format, which goes when it is dropped. QEMU knows the format by the first of its names.
#[derive(Debug)]
pub struct Scratch<F>(tempfile::TempDir, PhantomData<F>);

impl<F: Format> Default for Scratch<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Format> Scratch<F> {
    /// An empty one.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), PhantomData)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a program in the directory; returns what it printed.
    ///
    /// # Panics
    /// When it fails.
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

    /// Runs commands of qemu-io on an image.
    pub fn qemu_io(&self, image: &str, commands: &[impl AsRef<str>]) {
        let mut arguments = vec!["-f", F::NAMES[0]];
        for command in commands {
            arguments.extend(["-c", command.as_ref()]);
        }
        arguments.push(image);
        self.run("qemu-io", &arguments);
    }

    /// What a guest sees of an image, as QEMU says.
    pub fn guest_content(&self, image: &str) -> Vec<u8> {
        self.qemu_img(&format!("convert -f {} -O raw {image} content.raw", F::NAMES[0]));
        let bytes = self.read("content.raw");
        std::fs::remove_file(self.path("content.raw")).unwrap();
        bytes
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Opens an image and what it names.
    ///
    /// # Errors
    /// As [`Disk::open`].
    pub fn open(&self, name: &str) -> Result<Disk<F>, Error> {
        Disk::open(&self.path(name))
    }

    /// The images of the matrix in the part of its script between two marks, in the directory `out`.
    pub fn matrix(&self, script: &Path, from: &str, to: &str) {
        let script = std::fs::read_to_string(script).unwrap();
        let (head, _) = script.split_once("# ---- qcow2").unwrap();
        let (_, tail) = script.split_once(from).unwrap();
        let part = tail.split_once(to).map_or(tail, |(part, _)| part);
        self.write("make.sh", format!("{head}cp base.raw raw.img\n# {part}").as_bytes());
        self.run("bash", &["make.sh", "out"]);
    }

    /// The hostile images of others for the format: file and row of the table. Empty, with a printed reason, where they
    /// cannot be made.
    pub fn hostile(&self) -> Vec<(PathBuf, HashMap<String, String>)> {
        let Some(generator) = data("hostile/make-hostile.py") else { return Vec::new() };
        if !have("python3", "python3") {
            return Vec::new();
        }
        // A bomb of 2 GiB for another test takes most of the time; a small one does here.
        let script = std::fs::read_to_string(generator).unwrap();
        self.write("make.py", script.replace("in range(2048)", "in range(1)").as_bytes());
        self.run("python3", &["make.py", "out", self.path("canary.txt").to_str().unwrap()]);
        let rows = table(&self.path("out/hostile.tsv")).into_iter();
        let rows = rows.filter(|row| row["format_claimed"].split('|').any(|name| F::NAMES.contains(&name)));
        rows.map(|row| (self.path("out").join(&row["file"]), row)).collect()
    }
}
