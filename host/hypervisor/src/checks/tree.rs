//! A host's files below a directory handle.

use std::io::Read;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, OpenOptions};

/// The most that is read of a file: /proc/cpuinfo of a large host.
const MOST: u64 = 4 << 20;

pub(super) struct Tree<'a>(&'a Dir);

impl<'a> Tree<'a> {
    pub fn new(root: &'a Dir) -> Self {
        Self(root)
    }

    /// The text of a file; `None` when it cannot be read.
    pub fn read(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        self.0.open(inside(Path::new(path))).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The text of a file of one word.
    pub fn word(&self, path: &str) -> Option<String> {
        self.read(path).map(|text| text.trim().to_owned())
    }

    /// Whether it exists; a symbolic link counts, wherever it leads.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.0.symlink_metadata(inside(path.as_ref())).is_ok()
    }

    /// Whether this process may open it for reading and writing.
    pub fn open_writable(&self, path: &str) -> std::io::Result<()> {
        self.0.open_with(inside(Path::new(path)), OpenOptions::new().read(true).write(true)).map(drop)
    }

    pub fn entries(&self, path: &str) -> Vec<String> {
        let Ok(entries) = self.0.read_dir(inside(Path::new(path))) else { return Vec::new() };
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Where a program is: given by a path, or looked for in PATH.
    pub fn program(&self, program: &Path) -> Option<PathBuf> {
        if program.components().count() > 1 {
            return self.exists(program).then(|| program.to_owned());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| self.exists(file))
    }
}

/// The path relative to the root.
fn inside(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
