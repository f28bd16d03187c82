//! What lies beside the disk of an artifact: fetched, verified and kept with the image.
//!
//! `images/<digest>/files/` has each file by the digest of its bytes, once however many artifacts brought it. The record says
//! which role it has for whom; what no record names is removed when the record is written.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use witvirt_core::Digest;

use super::IMAGE;
use super::artifact::{Joined, Unpacked};
use crate::artifact::FILE_BYTES;
use crate::error::{Doing, Error, ErrorKind, Result};
use crate::import_source::{ArtifactDisk, ArtifactFile};
use crate::progress::Progress;
use crate::record::{ImageRecord, KeptFile, Origin, Seal};
use crate::store::images::FILES;
use crate::store::temp::Temp;
use crate::store::{Store, dirs};
use crate::stream::{Beginning, Budget, Hashers, Incoming, Meant, Plan, unwrap_stream};

/// Most bytes of all files of one artifact.
const ALL_BYTES: u64 = 1 << 30;

/// Longest texts of strangers in a record, in characters.
const NAME: usize = 128;
const VALUE: usize = 4096;

/// A file on its way.
const ARRIVING: &str = ".arriving";

impl Store {
    /// Fetches the files of an artifact into the directory of an image in the making.
    pub(super) fn fetch_files(
        &self,
        image: &Dir,
        disk: &ArtifactDisk,
        progress: &Progress,
    ) -> Result<Vec<KeptFile>> {
        if disk.files.is_empty() {
            return Ok(Vec::new());
        }
        progress.set_phase("fetching what belongs to the machine");
        let dir = dirs::subdir(image, FILES)?;
        let mut left = ALL_BYTES;
        let mut kept = Vec::new();
        for file in &disk.files {
            let fetched = fetch(&dir, file, left.min(FILE_BYTES), progress);
            let file = fetched.map_err(|error| {
                error.during(format!("{} (file \"{}\")", disk.label, file.name.escape_debug()))
            })?;
            left -= file.size;
            kept.push(file);
        }
        dirs::sync(&dir)?;
        Ok(kept)
    }

    /// Notes where an image that is there came from as well. The caller holds the store's lock; the files are in `temp`.
    pub(super) fn add_origin(
        &self,
        temp: &Temp,
        mut record: ImageRecord,
        origin: Origin,
    ) -> Result<ImageRecord> {
        let image = dirs::existing(&self.images, &record.digest.hex())?;
        let digests: BTreeSet<Digest> = origin.files.iter().map(|file| file.digest).collect();
        record.add_origin(origin);
        if !digests.is_empty() {
            let from = dirs::existing(&dirs::existing(&temp.dir, IMAGE)?, FILES)?;
            let to = dirs::subdir(&image, FILES)?;
            for digest in digests {
                let name = digest.hex();
                from.rename(&name, &to, &name).doing(|| format!("keep the file {digest}"))?;
                // Renaming changes the inode's time.
                record.seal_file(digest, Seal::of(&dirs::open(&to, &name, OFlags::RDONLY)?)?);
            }
            dirs::sync(&to)?;
        }
        self.write_record(&image, &record)?;
        remove_unnamed(&image, &record);
        Ok(record)
    }

    /// Takes what is known of the origins of an image that is replaced over to the new one, which lies in `temp` beside the
    /// old one. Those whose files are no longer what they were are forgotten, so that they are fetched again.
    pub(super) fn carry_over(
        &self,
        temp: &Temp,
        old: Option<ImageRecord>,
        new: &mut ImageRecord,
    ) -> Result<()> {
        let Some(old) = old else { return Ok(()) };
        let image = dirs::existing(&temp.dir, IMAGE)?;
        let from = dirs::existing(&temp.dir, crate::store::images::REMOVED)
            .and_then(|removed| dirs::existing(&removed, FILES));
        let latest = new.origin.clone();
        for origin in std::iter::once(old.origin).chain(old.others) {
            let mut whole = true;
            for file in &origin.files {
                let moved = from.as_ref().is_ok_and(|from| carry(from, &image, file).is_ok());
                whole &= moved
                    || new
                        .origins()
                        .flat_map(|origin| &origin.files)
                        .any(|other| other.digest == file.digest);
            }
            if whole {
                new.add_origin(origin);
            }
        }
        // What was fetched just now is the last word.
        new.add_origin(latest);
        if let Ok(files) = dirs::existing(&image, FILES) {
            let digests: Vec<Digest> =
                new.origins().flat_map(|origin| &origin.files).map(|file| file.digest).collect();
            for digest in digests {
                new.seal_file(digest, Seal::of(&dirs::open(&files, &digest.hex(), OFlags::RDONLY)?)?);
            }
            dirs::sync(&files)?;
        }
        remove_unnamed(&image, new);
        self.write_record(&image, new)
    }
}

/// Moves a file that is what its record says into a new image.
fn carry(from: &Dir, image: &Dir, file: &KeptFile) -> Result<()> {
    let name = file.digest.hex();
    let stored = dirs::open(from, &name, OFlags::RDONLY)?;
    let (digest, _) = copy(&mut &stored, &mut io::sink(), FILE_BYTES)?;
    if digest != file.digest {
        return Err(Error::new(ErrorKind::Changed, format!("the file {digest} was altered")));
    }
    let to = dirs::subdir(image, FILES)?;
    from.rename(&name, &to, &name).doing(|| format!("keep the file {digest}"))
}

fn fetch(dir: &Dir, file: &ArtifactFile, most: u64, progress: &Progress) -> Result<KeptFile> {
    let piece = &file.content;
    let length = piece.blobs.iter().map(|blob| blob.size()).sum::<Option<u64>>();
    let part = progress.part(&piece.name, length.unwrap_or(0));
    let reader = Box::new(Joined::new(&piece.blobs));
    let beginning =
        Beginning { label: &piece.name, reader, length, hashers: Hashers::new(&[]), blocks: None, part };
    let (incoming, _) = Incoming::start(beginning, progress)?;
    let (plan, meant) = (Plan::unnamed(&piece.unpack), Meant::from(piece.member.as_deref()));
    let (no_image, budget) = (|_: &[u8]| Ok(false), Budget::whole());
    let arriving = unwrap_stream(Box::new(incoming), &piece.name, None, &plan, meant, &no_image, budget)?;
    let unpacked = Unpacked { length: piece.length, digest: piece.digest };
    let mut reader = unpacked.verifying(arriving.reader, &piece.name, 0);
    // One that a killed attempt left may be read only already.
    let _ = dir.remove_file(ARRIVING);
    let mut stored = dirs::create(dir, ARRIVING)?;
    let (digest, size) = copy(&mut reader, &mut stored, most)?;
    rustix::fs::fchmod(&stored, Mode::from_raw_mode(0o400)).doing(|| "make a file read only".into())?;
    stored.sync_all().doing(|| "flush a file".into())?;
    let name = digest.hex();
    dir.rename(ARRIVING, dir, &name).doing(|| format!("keep the file {digest}"))?;
    let seal = Seal::of(&dirs::open(dir, &name, OFlags::RDONLY)?)?;
    Ok(KeptFile { role: file.role.clone(), name: text(&file.name, NAME), digest, size, seal })
}

/// Copies and hashes. What is longer than `most` is refused.
fn copy(from: &mut dyn Read, to: &mut dyn Write, most: u64) -> Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.doing(|| "read a file of an artifact".into())?,
        };
        if count == 0 {
            return Ok((Digest::from_bytes(hasher.finalize().into()), size));
        }
        size += count as u64;
        if size > most {
            return Err(Error::new(ErrorKind::Limit, format!("longer than the {most} bytes that are kept")));
        }
        hasher.update(&buffer[..count]);
        to.write_all(&buffer[..count]).doing(|| "write a file of an artifact".into())?;
    }
}

/// SHA-256 of a stored file, which is at its beginning before and afterwards.
pub(in crate::store) fn hash(mut file: &File) -> Result<Digest> {
    let (digest, _) = copy(&mut file, &mut io::sink(), u64::MAX)?;
    file.rewind().doing(|| "rewind a file".into())?;
    Ok(digest)
}

/// Removes files that an image's record no longer names. What cannot be removed does no harm.
fn remove_unnamed(image: &Dir, record: &ImageRecord) {
    let named: BTreeSet<String> =
        record.origins().flat_map(|origin| &origin.files).map(|file| file.digest.hex()).collect();
    let Ok(files) = dirs::existing(image, FILES) else { return };
    for name in dirs::entries(&files).unwrap_or_default() {
        if !named.contains(&name) {
            let _ = files.remove_file(&name);
        }
    }
}

/// Facts of strangers as they are recorded.
pub(super) fn shown(facts: &[(String, String)]) -> Vec<(String, String)> {
    facts.iter().map(|(name, value)| (text(name, NAME), text(value, VALUE))).collect()
}

fn text(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}
