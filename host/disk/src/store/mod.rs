//! The image store.

use std::fs::File;
use std::path::Path;

use cap_std::fs::Dir;
use witvirt_core::spec::DiskSource;
use witvirt_core::{Digest, Name};

use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::progress::Progress;
use crate::record::ImageSummary;
use crate::request::{
    Access, CheckReport, ConvertRequest, Converted, DiskHandle, ImageInfo, ImportRequest, Imported, Removed,
    SourceFile,
};

/// How a store works.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Bounds on images.
    pub limits: Limits,
    /// Threads that copy and decode; 0: as many as there are processors, 2 to 16.
    pub threads: usize,
}

/// Images, volumes and the machines' disks over them. Share it in an `Arc`; several processes may open one directory.
#[derive(Debug)]
pub struct Store {}

fn soon<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "not built yet"))
}

impl Store {
    /// Opens the store below the absolute path `dir`, makes it where it is missing (mode 0700) and removes what dead
    /// processes left unfinished.
    ///
    /// # Errors
    /// When the directory cannot be made, read or locked.
    pub fn open(_dir: &Path, _options: StoreOptions) -> Result<Self> {
        soon()
    }

    /// Copies a disk image into the store.
    ///
    /// # Errors
    /// Whatever is wrong with the source, its plugin or the disk; nothing is left behind then.
    pub fn import(
        &self,
        _access: Access<'_>,
        _request: &ImportRequest,
        _progress: &Progress,
    ) -> Result<Imported> {
        soon()
    }

    /// Every image, named ones first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<ImageSummary>> {
        soon()
    }

    /// One image by name, digest or the first 12 or more digits of one.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn inspect(&self, _reference: &str) -> Result<ImageSummary> {
        soon()
    }

    /// Removes a name, and the image with its last name; by digest, the image and all its names. `users` are the machines
    /// that need it.
    ///
    /// # Errors
    /// `InUse` when there are users and `force` is false; `NotFound`.
    pub fn remove(&self, _reference: &str, _users: &[String], _force: bool) -> Result<Removed> {
        soon()
    }

    /// Gives an image a (further) name.
    ///
    /// # Errors
    /// `AlreadyExists` when another image has it and `replace` is false; `NotFound`.
    pub fn tag(&self, _reference: &str, _name: &Name, _replace: bool) -> Result<()> {
        soon()
    }

    /// Hashes an image again; seals it anew when it is as it was.
    ///
    /// # Errors
    /// `Changed` when the content is another one.
    pub fn verify(&self, _reference: &str, _progress: &Progress) -> Result<Digest> {
        soon()
    }

    /// What a file is, without importing it.
    ///
    /// # Errors
    /// Whatever is wrong with the file or its plugin.
    pub fn info(&self, _access: Access<'_>, _file: &SourceFile) -> Result<ImageInfo> {
        soon()
    }

    /// What the format's plugin finds inconsistent in a file.
    ///
    /// # Errors
    /// Whatever is wrong with the file or its plugin.
    pub fn check(&self, _access: Access<'_>, _file: &SourceFile) -> Result<CheckReport> {
        soon()
    }

    /// Writes a disk image as a new file.
    ///
    /// # Errors
    /// Whatever is wrong with the source, a plugin or the disk; nothing is left behind then.
    pub fn convert(
        &self,
        _access: Access<'_>,
        _request: &ConvertRequest,
        _progress: &Progress,
    ) -> Result<Converted> {
        soon()
    }

    /// Opens the disk `disk` of a machine whose directory is `dir`, and makes it when it is not there yet. Idempotent:
    /// a restarted daemon gets the same disk again. `read_only` disks of images have no overlay.
    ///
    /// # Errors
    /// When the image, volume or file is missing, was altered, or the disk cannot be made.
    pub fn attach(
        &self,
        _access: Access<'_>,
        _dir: &Dir,
        _disk: &Name,
        _source: &DiskSource,
        _read_only: bool,
        _progress: &Progress,
    ) -> Result<DiskHandle> {
        soon()
    }

    /// Opens a volume for reading and writing; makes it when it is missing and a size (bytes) is given.
    ///
    /// # Errors
    /// `NotFound` without a size; `InvalidInput` when it exists with another size.
    pub fn volume(&self, _name: &Name, _size: Option<u64>) -> Result<File> {
        soon()
    }

    /// The volumes and their sizes in bytes, sorted by name.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn volumes(&self) -> Result<Vec<(Name, u64)>> {
        soon()
    }

    /// Removes a volume and its content.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove_volume(&self, _name: &Name) -> Result<()> {
        soon()
    }
}
