//! Disks whose content stands in the spec: cloud-init seeds, answer files, secrets.

use std::collections::{HashMap, HashSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{DiskSource, MachineSpec};
use crate::bytes::ByteSize;
use crate::digest::Digest;
use crate::name::Name;

/// The most that the files of one data disk hold together.
pub const MAX_DATA: ByteSize = ByteSize::mib(1);

/// The most that all data disks of a machine hold together.
pub const MAX_ALL_DATA: ByteSize = ByteSize::mib(4);

/// The most files of one data disk.
pub const MAX_DATA_FILES: usize = 1024;

/// The longest name of a file or directory on a data disk, in bytes: Rock Ridge keeps it beside the ISO 9660 name.
const MAX_NAME: usize = 128;

/// ISO 9660 has eight levels of directories, the root included.
const MAX_DEPTH: usize = 8;

/// A file on a data disk. Its content may be a secret: it is shown neither by `Debug` nor to whoever asks for a machine.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DataFile {
    /// Where it lies, from the root of the disk, with `/` between names ("user-data", "openstack/latest/user_data").
    pub path: String,
    /// Its content as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its content as base64 with padding; white space is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// What stands for the content where a machine is shown; no machine can be made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
}

/// What is told of a content that is kept secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Withheld {
    /// Bytes.
    pub size: ByteSize,
    /// SHA-256.
    pub sha256: Digest,
}

/// Why a [`DataFile`] has no content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidData {
    /// Neither text nor base64.
    #[error("no content: give \"text\" or \"base64\"")]
    Missing,
    /// Both.
    #[error("\"text\" and \"base64\" at once: give one")]
    Twice,
    /// What was shown instead of the content came back.
    #[error("its content was withheld where this machine was shown: give \"text\" or \"base64\"")]
    Withheld,
    /// Not base64.
    #[error("\"base64\" is not base64 with padding")]
    Base64,
}

impl DataFile {
    /// A file with a text.
    pub fn text(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: Some(text.into()), base64: None, withheld: None }
    }

    /// A file with any bytes: as text where they are UTF-8.
    pub fn bytes(path: impl Into<String>, bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::text(path, text),
            Err(_) => {
                Self { path: path.into(), text: None, base64: Some(STANDARD.encode(bytes)), withheld: None }
            }
        }
    }

    /// The content.
    ///
    /// # Errors
    /// [`InvalidData`]; never with the content in its words.
    pub fn content(&self) -> Result<Vec<u8>, InvalidData> {
        match (&self.text, &self.base64, &self.withheld) {
            (Some(text), None, None) => Ok(text.as_bytes().to_vec()),
            (None, Some(text), None) => {
                let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
                STANDARD.decode(digits).map_err(|_| InvalidData::Base64)
            }
            (None, None, None) => Err(InvalidData::Missing),
            (_, _, Some(_)) => Err(InvalidData::Withheld),
            (Some(_), Some(_), None) => Err(InvalidData::Twice),
        }
    }
}

impl MachineSpec {
    /// Takes away the contents of data disks, for whoever may see a machine but not its secrets.
    pub fn withhold(&mut self, sha256: &dyn Fn(&[u8]) -> Digest) {
        for (_, file) in self.data_files() {
            let Ok(content) = file.content() else { continue };
            let withheld = Withheld { size: ByteSize(content.len() as u64), sha256: sha256(&content) };
            *file = DataFile { path: file.path.clone(), text: None, base64: None, withheld: Some(withheld) };
        }
    }

    /// Puts back what [`MachineSpec::withhold`] took from `before`: into files of the same disk, path and digest.
    pub fn give_back(&mut self, before: &MachineSpec, sha256: &dyn Fn(&[u8]) -> Digest) {
        let mut before = before.clone();
        let known: HashMap<_, _> = before
            .data_files()
            .filter_map(|(disk, file)| {
                Some(((disk, file.path.clone()), (sha256(&file.content().ok()?), file.clone())))
            })
            .collect();
        for (disk, file) in self.data_files() {
            let found = known.get(&(disk, file.path.clone()));
            if let (Some(withheld), Some((digest, original))) = (&file.withheld, found)
                && withheld.sha256 == *digest
            {
                *file = original.clone();
            }
        }
    }

    fn data_files(&mut self) -> impl Iterator<Item = (Name, &mut DataFile)> {
        self.disks.iter_mut().flat_map(|disk| {
            let name = disk.name.clone();
            let files = match &mut disk.source {
                Some(DiskSource::Data { files, .. }) => files.as_mut_slice(),
                _ => &mut [],
            };
            files.iter_mut().map(move |file| (name.clone(), file))
        })
    }
}

impl fmt::Debug for DataFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.text.as_deref().or(self.base64.as_deref()).map(str::len);
        f.debug_struct("DataFile")
            .field("path", &self.path)
            .field("length", &size)
            .field("withheld", &self.withheld)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a data disk: where below its source, and what.
pub(super) fn problems(label: &str, files: &[DataFile]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if label.is_empty() || label.len() > 32 || !label.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        found.push(("label".to_owned(), "not 1 to 32 printable ASCII characters".to_owned()));
    }
    if files.len() > MAX_DATA_FILES {
        found.push(("files".to_owned(), format!("more than {MAX_DATA_FILES}")));
        return found;
    }
    let (mut total, mut paths) = (0usize, HashSet::new());
    for (index, file) in files.iter().enumerate() {
        let here = format!("files[{index}]");
        match wrong_path(&file.path) {
            Some(why) => found.push((format!("{here}.path"), why.to_owned())),
            None if !paths.insert(file.path.as_str()) => {
                found.push((format!("{here}.path"), "used twice".to_owned()));
            }
            None => {}
        }
        match file.content() {
            Ok(content) => total = total.saturating_add(content.len()),
            Err(error) => found.push((here, error.to_string())),
        }
    }
    for (index, file) in files.iter().enumerate() {
        let mut directories = file.path.match_indices('/').map(|(at, _)| &file.path[..at]);
        if directories.any(|directory| paths.contains(directory)) {
            found.push((format!("files[{index}].path"), "lies below another file".to_owned()));
        }
    }
    if total as u64 > MAX_DATA.get() {
        found.push(("files".to_owned(), format!("more than {MAX_DATA} together")));
    }
    found
}

/// Bytes of all contents, where they are given.
pub(super) fn size(files: &[DataFile]) -> u64 {
    files.iter().map(|file| file.content().map_or(0, |content| content.len() as u64)).sum()
}

fn wrong_path(path: &str) -> Option<&'static str> {
    let names: Vec<_> = path.split('/').collect();
    if names.len() > MAX_DEPTH {
        return Some("more than 8 levels deep");
    }
    for name in names {
        if name.is_empty() || name == "." || name == ".." {
            return Some("not a path from the disk's root, like \"openstack/latest/user_data\"");
        }
        if name.len() > MAX_NAME {
            return Some("a name of more than 128 bytes");
        }
        if name.contains(|c: char| c.is_control() || "\\:*?;".contains(c)) {
            return Some("a name with a control character or one of \\ : * ? ;");
        }
    }
    None
}
