//! What a hostile case is made of.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use witvirt_disk::ErrorKind;

use crate::meddle::Meddling;

/// Where a case is built.
#[derive(Debug, Clone)]
pub struct Place {
    /// The allowed directory that the case's files are in.
    pub directory: PathBuf,
    /// A file outside of it, which nothing may read.
    pub canary: PathBuf,
}

impl Place {
    /// The canary's absolute path, as images name it.
    pub fn canary(&self) -> String {
        self.canary.display().to_string()
    }
}

/// A file of a case.
#[derive(Debug, Clone)]
pub enum Entry {
    /// Bytes at offsets of a file of a length; holes between them.
    Pieces(u64, Vec<(u64, Vec<u8>)>),
    /// A symbolic link to this path.
    Link(String),
    /// A named pipe.
    Pipe,
    /// A character device (that of /dev/zero); left out where it cannot be made.
    Device,
    /// A directory.
    Directory,
}

impl Entry {
    /// A file of these bytes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::Pieces(bytes.len() as u64, vec![(0, bytes)])
    }

    /// Makes it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        match self {
            Self::Pieces(length, pieces) => {
                let file = File::create(path).with_context(|| path.display().to_string())?;
                file.set_len(*length)?;
                for (offset, bytes) in pieces {
                    file.write_all_at(bytes, *offset)?;
                }
            }
            Self::Link(target) => symlink(target, path)?,
            Self::Pipe => mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?,
            Self::Device => {
                let zero = rustix::fs::makedev(1, 5);
                mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o600), zero)?;
            }
            Self::Directory => fs::create_dir_all(path)?,
        }
        Ok(())
    }
}

/// What is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A file of the case.
    File(String),
    /// A directory of parts.
    Directory(String),
    /// The bytes of a file as they come from a client: no names beside it.
    Upload(String),
    /// A manifest, as a registry would serve it: it must not get as far as its blobs.
    Manifest(String),
}

impl What {
    /// The name of the file or directory.
    pub fn name(&self) -> &str {
        match self {
            Self::File(name) | Self::Directory(name) | Self::Upload(name) | Self::Manifest(name) => name,
        }
    }
}

/// What a guest has to see of a case that may be imported.
#[derive(Debug, Clone)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Zeros: this many, and next to none of them allocated.
    Hole(u64),
    /// The SHA-256 in lower-case hex.
    Sha256(String),
}

/// How an import of a case has to end.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// With an error of one of these kinds, whose message contains this.
    Refuse(Vec<ErrorKind>, String),
    /// With an image of exactly this content.
    Confine(Content),
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name in the table.
    pub name: String,
    /// Its files, by name.
    pub files: Vec<(String, Entry)>,
    /// Files of it that are in the store already when it is imported, with their formats.
    pub before: Vec<(String, String)>,
    /// What is imported.
    pub what: What,
    /// The format that the user states; absent: it is probed.
    pub format: Option<String>,
    /// How the import has to end.
    pub verdict: Verdict,
    /// What happens to the files meanwhile.
    pub meddling: Option<Meddling>,
}

impl Case {
    /// A case of one file of these bytes, of a stated format. It has to be refused as corrupt, for any reason, until told
    /// otherwise.
    pub fn new(name: &str, format: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::of(name, Entry::bytes(bytes)).stated(format)
    }

    /// A case of one file whose format is probed.
    pub fn of(name: &str, entry: Entry) -> Self {
        Self {
            name: name.to_owned(),
            files: vec![(name.to_owned(), entry)],
            before: Vec::new(),
            what: What::File(name.to_owned()),
            format: None,
            verdict: Verdict::Refuse(vec![ErrorKind::Corrupt], String::new()),
            meddling: None,
        }
    }

    /// With the format that the user states.
    #[must_use]
    pub fn stated(mut self, format: &str) -> Self {
        self.format = Some(format.to_owned());
        self
    }

    /// With the format left to the plugins.
    #[must_use]
    pub fn probed(mut self) -> Self {
        self.format = None;
        self
    }

    /// With another file.
    #[must_use]
    pub fn with(mut self, name: &str, entry: Entry) -> Self {
        self.files.push((name.to_owned(), entry));
        self
    }

    /// Imported after one of its files.
    #[must_use]
    pub fn after(mut self, name: &str, format: &str) -> Self {
        self.before.push((name.to_owned(), format.to_owned()));
        self
    }

    /// Imported in another way.
    #[must_use]
    pub fn import(mut self, what: What) -> Self {
        self.what = what;
        self
    }

    /// While something happens to a file.
    #[must_use]
    pub fn while_(mut self, meddling: Meddling) -> Self {
        self.meddling = Some(meddling);
        self
    }

    /// It has to end in such an error.
    #[must_use]
    pub fn refused<const N: usize>(mut self, kinds: [ErrorKind; N], word: &str) -> Self {
        self.verdict = Verdict::Refuse(kinds.to_vec(), word.to_owned());
        self
    }

    /// It has to contradict itself.
    #[must_use]
    pub fn corrupt(self, word: &str) -> Self {
        self.refused([ErrorKind::Corrupt], word)
    }

    /// It asks for what the operator's rules forbid.
    #[must_use]
    pub fn denied(self, word: &str) -> Self {
        self.refused([ErrorKind::Denied], word)
    }

    /// It has to become an image of this content.
    #[must_use]
    pub fn confined(mut self, content: Content) -> Self {
        self.verdict = Verdict::Confine(content);
        self
    }

    /// Makes its files.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, directory: &Path) -> Result<()> {
        for (name, entry) in &self.files {
            entry.write(&directory.join(name)).with_context(|| format!("{}: {name}", self.name))?;
        }
        Ok(())
    }

    /// Cuts or lengthens a file of a directory where it lies.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn resize(path: &Path, length: u64) -> Result<()> {
        Ok(OpenOptions::new().write(true).open(path)?.set_len(length)?)
    }
}
