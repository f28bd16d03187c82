//! What a host offers to machines: the checks of `virt-host-validate qemu` (libvirt, tools/virt-host-validate-qemu.c), and
//! those that are missing there.
//!
//! Everything that lies in files is read below one directory handle, so that a test can show another host.

mod device;
mod kernel;
mod program;
#[cfg(test)]
mod tests;
mod tree;

use std::path::PathBuf;

use cap_std::fs::Dir;
use serde::Serialize;

use crate::{Error, ErrorKind};
use tree::Tree;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// As it should be.
    Pass,
    /// Machines run, but slower, less confined or without something.
    Warn,
    /// Machines do not run.
    Fail,
    /// Good to know.
    Info,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Check {
    /// Stable name ("kvm-device").
    pub name: String,
    /// How it came out.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to do about it, where something can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What is looked at, and where.
pub struct CheckOptions {
    /// The root of the host's file system.
    pub root: Dir,
    /// The emulator: a name to look for in PATH, or a path.
    pub qemu: PathBuf,
    /// The TPM emulator, likewise.
    pub swtpm: PathBuf,
    /// Directory of the image store, to see whether its file system shares blocks between files.
    pub image_dir: Option<PathBuf>,
    /// Whether programs are run and KVM is measured; otherwise only files are read.
    pub live: bool,
}

impl CheckOptions {
    /// This host, with programs run.
    ///
    /// # Errors
    /// When the root directory cannot be opened.
    pub fn host() -> Result<Self, Error> {
        let root = Dir::open_ambient_dir("/", cap_std::ambient_authority())
            .map_err(|error| Error::caused(ErrorKind::Io, "cannot open /", error))?;
        Ok(Self {
            root,
            qemu: "qemu-system-x86_64".into(),
            swtpm: "swtpm".into(),
            image_dir: None,
            live: true,
        })
    }
}

/// Looks at everything. Blocks for up to a second, while KVM is measured.
pub fn run(options: &CheckOptions) -> Vec<Check> {
    let tree = Tree::new(&options.root);
    let mut checks = device::checks(&tree, options);
    checks.extend(kernel::checks(&tree, options));
    checks.extend(program::checks(&tree, options));
    checks
}

impl Check {
    fn new(name: &str, status: Status, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), status, detail: detail.into(), remedy: None }
    }

    fn pass(name: &str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Pass, detail)
    }

    fn info(name: &str, detail: impl Into<String>) -> Self {
        Self::new(name, Status::Info, detail)
    }

    fn warn(name: &str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(name, Status::Warn, detail) }
    }

    fn fail(name: &str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(name, Status::Fail, detail) }
    }
}
