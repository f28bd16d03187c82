//! Compiled plugins on disk: `<cache>/<compatibility of the engine>/<sha256 of the component>.cwasm`.
//!
//! wasmtime trusts compiled code blindly, so the engine loads only what it stored itself: directories and files have to
//! belong to this user and be closed to all others, no symbolic link is followed, and the code has to match the digest
//! recorded next to it in `<sha256 of the component>.blake3` (three times as fast as SHA-256, and nobody else reads it).
//! Whatever does not fit is removed and compiled again.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use wasmtime::component::Component;
use witvirt_core::Digest;

/// Age after which the unfinished file of a dead process is removed.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Bytes of a recorded digest: two times 64 digits, a space and a newline.
const RECORD: usize = 130;

/// Why a cache directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The operating system's reason.
    #[error("cannot use the plugin cache {path}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Somebody else could put code there.
    #[error("the plugin cache {path} cannot be trusted: {reason}")]
    Untrusted {
        /// The directory.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// What the cache has for a component.
pub(crate) enum Lookup {
    /// Code that this user's engine stored.
    Hit(Component),
    /// Nothing.
    Miss,
    /// Something that did not fit and was removed.
    Removed(String),
}

/// The directory for this engine's compiled code.
pub(crate) struct Cache {
    directory: OwnedFd,
    path: PathBuf,
    unique: AtomicU64,
}

impl Cache {
    /// Opens the directory, making it when it is missing.
    pub(crate) fn open(root: &Path, engine: &wasmtime::Engine) -> Result<Self, CacheError> {
        let failed = |path: &Path, source: io::Error| CacheError::Io { path: path.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(|error| {
            match error.kind() {
                // A link to nowhere; whether anything else is a directory is seen when it is opened.
                io::ErrorKind::AlreadyExists => symlink(root),
                _ => failed(root, error),
            }
        })?;
        let parent = open_directory(rustix::fs::CWD, root, root)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let name = format!("{:016x}", hasher.finish());
        let path = root.join(&name);
        match rustix::fs::mkdirat(&parent, &name, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed(&path, error.into())),
        }
        let directory = open_directory(parent.as_fd(), Path::new(&name), &path)?;
        let cache = Self { directory, path, unique: AtomicU64::new(0) };
        cache.sweep();
        Ok(cache)
    }

    /// Where compiled code lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Loads the code for a component if it can be trusted.
    pub(crate) fn lookup(&self, engine: &wasmtime::Engine, wasm: &Digest) -> Lookup {
        let code = match self.open_entry(&code_name(wasm)) {
            Ok(Some(file)) => file,
            Ok(None) => return Lookup::Miss,
            Err(reason) => return self.remove(wasm, reason),
        };
        let loaded = self.verify(&code, wasm).and_then(|()| load(engine, &code));
        match loaded {
            Ok(component) => Lookup::Hit(component),
            Err(reason) => self.remove(wasm, reason),
        }
    }

    /// A new file for the compiling child, gone again unless it is committed.
    pub(crate) fn begin(&self, wasm: &Digest) -> io::Result<Partial<'_>> {
        let name = self.partial_name(wasm);
        let file = self.create(&name, Mode::RUSR | Mode::WUSR)?;
        Ok(Partial { cache: self, name: Some(name), file })
    }

    fn verify(&self, code: &File, wasm: &Digest) -> Result<(), String> {
        let record =
            self.open_entry(&record_name(wasm))?.ok_or("the digest that belongs to it is missing")?;
        let mut text = String::new();
        let unreadable = |error: io::Error| format!("it cannot be read: {error}");
        record.take(RECORD as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
        let found = hash(code).map_err(unreadable)?;
        if text != record_text(wasm, &found) {
            return Err("it is not what the engine stored".to_owned());
        }
        Ok(())
    }

    /// A file of the cache, if there is one that only this user can have written.
    fn open_entry(&self, name: &str) -> Result<Option<File>, String> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => return Err("it is a symbolic link".to_owned()),
            Err(error) => return Err(format!("it cannot be opened: {error}")),
        };
        let stat = rustix::fs::fstat(&file).map_err(|error| format!("it cannot be looked at: {error}"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err("it is not a regular file".to_owned());
        }
        let (owner, mode) = (stat.st_uid, stat.st_mode & 0o7777);
        if owner != rustix::process::geteuid().as_raw() {
            return Err(format!("it belongs to user {owner}"));
        }
        if mode != 0o400 {
            return Err(format!("its mode is {mode:04o} instead of 0400"));
        }
        Ok(Some(File::from(file)))
    }

    fn remove(&self, wasm: &Digest, reason: String) -> Lookup {
        for name in [code_name(wasm), record_name(wasm)] {
            match rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => tracing::warn!("cannot remove {}: {error}", self.path.join(&name).display()),
            }
        }
        Lookup::Removed(reason)
    }

    fn create(&self, name: &str, mode: Mode) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.directory, name, flags, mode)?))
    }

    fn partial_name(&self, wasm: &Digest) -> String {
        let unique = self.unique.fetch_add(1, Ordering::Relaxed);
        format!(".{}.{}.{unique}.partial", wasm.hex(), std::process::id())
    }

    /// Removes what processes that died while compiling have left.
    fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let old = entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|modified| {
                SystemTime::now().duration_since(modified).is_ok_and(|age| age > ABANDONED)
            });
            if old && name.to_string_lossy().ends_with(".partial") {
                // Whoever else sweeps may have been faster.
                let _ = rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty());
            }
        }
    }
}

/// A file of compiled code that is not part of the cache yet.
pub(crate) struct Partial<'a> {
    cache: &'a Cache,
    name: Option<String>,
    file: File,
}

impl Partial<'_> {
    /// For the child's output.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Records the digest and puts both files in their place, the record last: code without its record is never loaded.
    pub(crate) fn commit(mut self, wasm: &Digest) -> io::Result<()> {
        let directory = &self.cache.directory;
        rustix::fs::fchmod(&self.file, Mode::RUSR)?;
        self.file.sync_all()?;
        let record = self.cache.partial_name(wasm);
        let mut file = self.cache.create(&record, Mode::RUSR)?;
        let written =
            file.write_all(record_text(wasm, &hash(&self.file)?).as_bytes()).and_then(|()| file.sync_all());
        let renamed = written.and_then(|()| {
            if let Some(name) = &self.name {
                rustix::fs::renameat(directory, name, directory, code_name(wasm))?;
                self.name = None;
            }
            Ok(rustix::fs::renameat(directory, &record, directory, record_name(wasm))?)
        });
        if renamed.is_err() {
            // The error that is reported is the first one.
            let _ = rustix::fs::unlinkat(directory, &record, AtFlags::empty());
        }
        renamed?;
        Ok(rustix::fs::fsync(directory)?)
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // A leftover is swept when it is old.
            let _ = rustix::fs::unlinkat(&self.cache.directory, &name, AtFlags::empty());
        }
    }
}

fn load(engine: &wasmtime::Engine, code: &File) -> Result<Component, String> {
    let path = format!("/proc/self/fd/{}", code.as_raw_fd());
    // SAFETY: the bytes are the output of `precompile_component` of this engine's own child process: their digest is the
    // one recorded when they were stored, both files and their directory belong to this user and nobody else can write
    // them, and the path names the very descriptor that was hashed. Nobody writes a file of mode 0400 in this directory;
    // replacements are renamed over it and leave the mapped file as it was.
    let component = unsafe { Component::deserialize_file(engine, path) };
    component.map_err(|error| format!("the runtime does not accept it: {error:#}"))
}

fn hash(file: &File) -> io::Result<blake3::Hash> {
    use std::os::unix::fs::FileExt;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    let mut offset = 0;
    loop {
        let count = file.read_at(&mut buffer, offset)?;
        if count == 0 {
            return Ok(hasher.finalize());
        }
        hasher.update(&buffer[..count]);
        offset += count as u64;
    }
}

fn code_name(wasm: &Digest) -> String {
    format!("{}.cwasm", wasm.hex())
}

fn record_name(wasm: &Digest) -> String {
    format!("{}.blake3", wasm.hex())
}

/// Names the component too, so that files of two components cannot be swapped.
fn record_text(wasm: &Digest, code: &blake3::Hash) -> String {
    format!("{} {}\n", wasm.hex(), code.to_hex())
}

fn symlink(path: &Path) -> CacheError {
    let reason = "it is a symbolic link or no directory; set engine.cache to the directory itself".to_owned();
    CacheError::Untrusted { path: path.to_owned(), reason }
}

fn open_directory(parent: impl AsFd, name: &Path, path: &Path) -> Result<OwnedFd, CacheError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => symlink(path),
        error => CacheError::Io { path: path.to_owned(), source: error.into() },
    })?;
    let stat = rustix::fs::fstat(&directory)
        .map_err(|error| CacheError::Io { path: path.to_owned(), source: error.into() })?;
    match distrust(&stat) {
        Some(reason) => Err(CacheError::Untrusted { path: path.to_owned(), reason }),
        None => Ok(directory),
    }
}

fn distrust(stat: &Stat) -> Option<String> {
    let user = rustix::process::geteuid().as_raw();
    if stat.st_uid != user {
        return Some(format!(
            "it belongs to user {}, not to user {user}; remove it or give another directory",
            stat.st_uid
        ));
    }
    if stat.st_mode & 0o077 != 0 {
        let mode = stat.st_mode & 0o7777;
        return Some(format!(
            "its mode is {mode:04o}, so that others can reach it; remove it or run chmod 0700 on it"
        ));
    }
    None
}
