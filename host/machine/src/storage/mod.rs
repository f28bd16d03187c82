//! What is kept on disk.
//!
//! ```text
//! STATE/lock                      held by the daemon; its process id
//! STATE/machines/NAME/machine.json   the spec, never changed
//!                     state.json     what it does, replaced at each change
//!                     console.log    what the guest printed; console.log.1, console.index, console.json: see `console`
//!                     vars.fd        the machine's own variable store, from its first start on
//!                     tpm/           the TPM's state
//!                     overlays/      the disks' own
//! STATE/machines/.new-*           half created     \  deleted by the next daemon; no machine's
//! STATE/machines/.gone-*          half removed     /  name begins with a dot
//! ```
//!
//! A file is replaced by writing another, syncing it, renaming it and syncing the directory; a machine appears and
//! disappears by one rename. So a daemon that is killed leaves the state before or after, never one between.

mod atomic;
mod files;
mod lock;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt};
use rustix::fs::RenameFlags;
use witvirt_core::Name;

pub(crate) use atomic::{open_dir, read_bounded, replace, sync_dir};
pub(crate) use files::{SCHEMA, SpecFile, StateFile};
pub(crate) use lock::Lock;

use crate::error::{Error, ErrorKind};

pub(crate) const CONSOLE_LOG: &str = "console.log";
pub(crate) const OVERLAYS: &str = "overlays";
pub(crate) const VARS: &str = "vars.fd";
const TPM: &str = "tpm";

const NEW: &str = ".new-";
const GONE: &str = ".gone-";

/// The daemon's directory of machines.
pub(crate) struct Storage {
    path: PathBuf,
    machines: Dir,
    next: AtomicU64,
    _lock: Lock,
}

/// One machine's directory.
#[derive(Clone)]
pub(crate) struct MachineDir {
    name: Name,
    path: PathBuf,
    dir: std::sync::Arc<Dir>,
}

impl Storage {
    /// Opens or makes a state directory, takes its lock, and deletes what was half created or half removed.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::io(format!("cannot open the state directory {}", path.display()), error);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        Dir::create_ambient_dir_all(path, ambient_authority()).map_err(failed)?;
        let root = Dir::open_ambient_dir(path, ambient_authority()).map_err(failed)?;
        let lock = Lock::take(&root, path)?;
        root.create_dir_with("machines", &builder).map_err(failed)?;
        let machines = open_dir(&root, "machines").map_err(failed)?;
        sync_dir(&root).map_err(failed)?;
        let storage = Self { path: path.join("machines"), machines, next: AtomicU64::new(0), _lock: lock };
        storage.sweep().map_err(failed)?;
        Ok(storage)
    }

    fn sweep(&self) -> std::io::Result<()> {
        for entry in self.machines.entries()? {
            let name = entry?.file_name();
            let leftover = name.to_str().is_some_and(|name| name.starts_with(NEW) || name.starts_with(GONE));
            if leftover {
                tracing::info!(directory = ?name, "deleting what an interrupted daemon left");
                self.machines.remove_dir_all(&name)?;
            }
        }
        Ok(())
    }

    /// The machines that are there, in the order of their names.
    pub(crate) fn list(&self) -> Result<Vec<Name>, Error> {
        let failed = |error| Error::io(format!("cannot list {}", self.path.display()), error);
        let mut names = Vec::new();
        for entry in self.machines.entries().map_err(failed)? {
            let file_name = entry.map_err(failed)?.file_name();
            match file_name.to_str().map(Name::new) {
                Some(Ok(name)) => names.push(name),
                _ => {
                    tracing::warn!(directory = %self.path.display(), entry = ?file_name, "not a machine: ignored")
                }
            }
        }
        names.sort();
        Ok(names)
    }

    /// The directory of a machine.
    pub(crate) fn machine(&self, name: &Name) -> Result<MachineDir, Error> {
        let path = self.path.join(name.as_str());
        let dir = open_dir(&self.machines, name.as_str())
            .map_err(|error| Error::io(format!("cannot open {}", path.display()), error))?;
        Ok(MachineDir { name: name.clone(), path, dir: dir.into() })
    }

    /// Makes a machine's directory; it appears whole or not at all.
    pub(crate) fn create(&self, spec: &SpecFile, state: &StateFile) -> Result<MachineDir, Error> {
        let name = &spec.spec.name;
        let draft = format!("{NEW}{name}-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let created = self.draft(&draft, spec, state).and_then(|()| self.publish(&draft, name));
        if created.is_err() {
            // The error that is being returned says more than one of the tidying.
            let _ = self.machines.remove_dir_all(&draft);
        }
        created?;
        self.machine(name)
    }

    fn draft(&self, draft: &str, spec: &SpecFile, state: &StateFile) -> Result<(), Error> {
        let failed = |error| {
            Error::io(format!("cannot create machine {} in {}", spec.spec.name, self.path.display()), error)
        };
        let mut private = DirBuilder::new();
        private.mode(0o700);
        self.machines.create_dir_with(draft, &private).map_err(failed)?;
        let dir = open_dir(&self.machines, draft).map_err(failed)?;
        dir.create_dir_with(OVERLAYS, &private).map_err(failed)?;
        replace(&dir, files::MACHINE, &files::to_json(spec)).map_err(failed)?;
        replace(&dir, files::STATE, &files::to_json(state)).map_err(failed)
    }

    fn publish(&self, draft: &str, name: &Name) -> Result<(), Error> {
        match rustix::fs::renameat_with(
            &self.machines,
            draft,
            &self.machines,
            name.as_str(),
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => {
                let message = format!("machine {name} exists already: remove it, or choose another name");
                return Err(Error::new(ErrorKind::Exists, message));
            }
            Err(error) => return Err(Error::io(format!("cannot create machine {name}"), error)),
        }
        sync_dir(&self.machines).map_err(|error| Error::io(format!("cannot create machine {name}"), error))
    }

    /// Takes a machine's directory out of sight, then deletes it.
    pub(crate) fn remove(&self, name: &Name) -> Result<(), Error> {
        let failed =
            |error| Error::io(format!("cannot remove {}", self.path.join(name.as_str()).display()), error);
        let gone = format!("{GONE}{name}-{}", self.next.fetch_add(1, Ordering::Relaxed));
        match self.machines.rename(name.as_str(), &self.machines, &gone) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(failed)?,
        }
        sync_dir(&self.machines).map_err(failed)?;
        if let Err(error) = self.machines.remove_dir_all(&gone) {
            tracing::warn!(machine = %name, %error, "not everything could be deleted; the next daemon tries again");
        }
        Ok(())
    }
}

impl MachineDir {
    /// Where it is, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn dir(&self) -> &std::sync::Arc<Dir> {
        &self.dir
    }

    /// The spec.
    pub(crate) fn spec(&self) -> Result<SpecFile, Error> {
        let file: SpecFile = files::load(self, files::MACHINE)?;
        if file.spec.name == self.name {
            return Ok(file);
        }
        let message = format!(
            "{} describes {}, not {}",
            self.path.join(files::MACHINE).display(),
            file.spec.name,
            self.name
        );
        Err(Error::new(ErrorKind::Broken, message))
    }

    /// The state.
    pub(crate) fn state(&self) -> Result<StateFile, Error> {
        files::load(self, files::STATE)
    }

    /// Replaces the state.
    pub(crate) fn write_state(&self, state: &StateFile) -> Result<(), Error> {
        replace(&self.dir, files::STATE, &files::to_json(state)).map_err(|error| {
            Error::io(format!("cannot write {}", self.path.join(files::STATE).display()), error)
        })
    }

    /// The directory of the TPM's state, made when it is missing.
    pub(crate) fn tpm(&self) -> Result<PathBuf, Error> {
        let path = self.path.join(TPM);
        let mut private = DirBuilder::new();
        private.mode(0o700);
        match self.dir.create_dir_with(TPM, &private) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(Error::io(format!("cannot make {}", path.display()), error))
            }
            _ => Ok(path),
        }
    }

    /// The directory of the disks' overlays.
    pub(crate) fn overlays(&self) -> Result<Dir, Error> {
        open_dir(&self.dir, OVERLAYS)
            .map_err(|error| Error::io(format!("cannot open {}", self.path.join(OVERLAYS).display()), error))
    }
}
