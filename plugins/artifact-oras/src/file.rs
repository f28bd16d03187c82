//! The files of an artifact.

use witvirt_sdk::artifact::{OciDescriptor, Stored, member_path};
use witvirt_sdk::{Error, ErrorKind};

/// The annotation of a directory.
const UNPACK: &str = "io.deis.oras.content.unpack";

/// How names of disk images end.
const IMAGES: [&str; 14] =
    ["img", "raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vhd", "vhdx", "hdd", "hds", "dmg", "iso", "ova"];

/// How names of compressed files end.
const COMPRESSIONS: [&str; 5] = ["gz", "xz", "zst", "zstd", "bz2"];

/// A layer with a title.
pub(crate) struct TitledFile<'a> {
    pub(crate) layer: &'a OciDescriptor,
    /// Empty for the only layer of an artifact without titles.
    pub(crate) title: &'a str,
}

impl<'a> TitledFile<'a> {
    /// A layer that is a file: any single one, else those with titles.
    pub(crate) fn all(layers: &'a [OciDescriptor]) -> Vec<Self> {
        match layers {
            [layer] => vec![Self { layer, title: layer.title().unwrap_or_default() }],
            _ => layers
                .iter()
                .filter_map(|layer| layer.title().map(|title| Self { layer, title }))
                .filter(|file| !file.title.is_empty())
                .collect(),
        }
    }

    /// Whether it is a directory, stored as tar.gz.
    pub(crate) fn is_directory(&self) -> bool {
        self.layer.annotation(UNPACK) == Some("true")
    }

    /// Whether its name ends as a disk image's, compressed or not.
    pub(crate) fn looks_like_image(&self) -> bool {
        let name = self.title.to_ascii_lowercase();
        let (stem, last) = name.rsplit_once('.').unwrap_or((&name, ""));
        let kind = match COMPRESSIONS.contains(&last) {
            true => stem.rsplit_once('.').map_or("", |(_, kind)| kind),
            false => last,
        };
        IMAGES.contains(&kind)
    }

    /// Whether the user means this file, or one in this directory.
    pub(crate) fn is_meant(&self, member: &str) -> bool {
        let inside = || member.strip_prefix(self.title).is_some_and(|rest| rest.starts_with('/'));
        self.title == member || (self.is_directory() && !self.title.is_empty() && inside())
    }

    /// Where the image is. `inside` is what the user says of a tar.
    ///
    /// # Errors
    /// `invalid-input` when that is no path; `corrupt` when the title of a directory is none.
    pub(crate) fn stored(&self, inside: Option<&str>) -> Result<Stored, Error> {
        let directory = self.is_directory();
        let member = match inside {
            Some(member) if !directory || member != self.title => Some(member_path(member)?),
            // The only file of the directory.
            _ if directory => Some(self.as_member()?),
            _ => None,
        };
        let encoding = if directory { "tar+gzip" } else { "auto" };
        Ok(Stored { member, ..self.layer.stored(encoding) })
    }

    /// The directory in its own tar.
    fn as_member(&self) -> Result<String, Error> {
        let directory = format!("{}/", self.title.trim_end_matches('/'));
        member_path(&directory)
            .map_err(|_| Error::new(ErrorKind::Corrupt, "the title of a directory is no path"))
    }
}
