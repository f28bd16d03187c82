//! Reading: which file is the disk.

use witvirt_sdk::artifact::{
    Claim, Digest, Disk, DiskContent, Manifest, OciManifest, Plan, ReadOptions, Reader,
};
use witvirt_sdk::{Error, ErrorKind};

use crate::file::TitledFile;
use crate::{LAYOUT, Oras};

/// Files with names that end as disk images'.
const LIKELY: u8 = 30;
/// Files of any names.
const POSSIBLE: u8 = 10;

/// Names that an error lists.
const LISTED: usize = 20;

impl Reader for Oras {
    fn layouts() -> Vec<String> {
        vec![LAYOUT.to_owned()]
    }

    fn probe(manifest: &Manifest) -> Option<Claim> {
        let manifest = OciManifest::parse(manifest).ok()?;
        let files = TitledFile::all(&manifest.layers);
        let titled = files.iter().any(|file| !file.title.is_empty());
        if files.is_empty() || (manifest.is_container_image() && !titled) {
            return None;
        }
        let likely = files.iter().any(TitledFile::looks_like_image);
        let confidence = if likely { LIKELY } else { POSSIBLE };
        Some(Claim { confidence, layout: LAYOUT.to_owned(), version: None })
    }

    fn needs(_: &Manifest, _: &ReadOptions) -> Result<Vec<Digest>, Error> {
        Ok(Vec::new())
    }

    fn interpret(manifest: &Manifest, _: &[(Digest, Vec<u8>)], options: &ReadOptions) -> Result<Plan, Error> {
        let manifest = OciManifest::parse(manifest)?;
        let files = TitledFile::all(&manifest.layers);
        let (file, inside) = choose(&files, options.member.as_deref())?;
        let facts = [("title", file.title), ("media-type", file.layer.media_type.as_str())];
        let facts = facts.into_iter().filter(|(_, value)| !value.is_empty());
        let disk = Disk {
            name: if file.title.is_empty() { "disk" } else { file.title }.to_owned(),
            format: None,
            content: DiskContent::Whole(vec![file.stored(inside)?]),
        };
        Ok(Plan {
            disks: vec![disk],
            files: Vec::new(),
            facts: facts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        })
    }
}

/// The file that is the disk, and what the user says of what is inside of it.
fn choose<'a, 'm>(
    files: &'a [TitledFile<'a>],
    member: Option<&'m str>,
) -> Result<(&'a TitledFile<'a>, Option<&'m str>), Error> {
    if let Some(member) = member {
        if let Some(file) = files.iter().find(|file| file.is_meant(member)) {
            let inside = file.is_directory().then_some(member);
            return Ok((file, inside));
        }
        // Not the name of a file: a member of the only one there is.
        return match files {
            [file] => Ok((file, Some(member))),
            _ => Err(ambiguous(&format!("the artifact has no file \"{member}\""), files)),
        };
    }
    let mut images = files.iter().filter(|file| file.looks_like_image());
    match (files, images.next(), images.next()) {
        ([], ..) => {
            Err(Error::new(ErrorKind::Unsupported, "the artifact has no layers that are files (with titles)"))
        }
        ([file], ..) => Ok((file, None)),
        (_, Some(file), None) => Ok((file, None)),
        _ => Err(ambiguous("the artifact has several files, name the one that is the disk", files)),
    }
}

fn ambiguous(what: &str, files: &[TitledFile]) -> Error {
    let mut names: Vec<&str> = files.iter().take(LISTED).map(|file| file.title).collect();
    if files.len() > LISTED {
        names.push("...");
    }
    Error::new(ErrorKind::InvalidInput, format!("{what}; there are: {}", names.join(", ")))
}
