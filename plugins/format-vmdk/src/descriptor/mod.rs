//! The text that describes a disk: a file of its own, or embedded in a sparse extent.
//!
//! Lines of `key=value`, comments, and one line for each extent. Source: VMware, "Virtual Disk Format 5.0", and libyal's
//! description of the format.

mod line;

pub use line::{Access, ExtentLine, ExtentType};

use crate::{Error, ErrorKind};

/// Most bytes of a descriptor; QEMU reads no more either.
pub const MAX_BYTES: u64 = 1 << 20;
/// Most extents of a disk; the contract's bound for references.
pub const MAX_EXTENTS: usize = 4096;
/// `parentCID` of an image without parent.
const NO_PARENT: u32 = u32::MAX;

/// How the content of a disk is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateType {
    /// One growing file with the descriptor inside.
    MonolithicSparse,
    /// One file as long as the disk.
    MonolithicFlat,
    /// Growing files of at most 2 GiB.
    SplitSparse,
    /// Files of at most 2 GiB that add up to the disk.
    SplitFlat,
    /// One compressed file that can be written and read front to back.
    StreamOptimized,
    /// Files on VMFS that add up to the disk, however they are allocated.
    Vmfs,
    /// COWD files, as ESX makes for snapshots.
    VmfsSparse,
    /// Space-efficient sparse files, as ESXi makes for snapshots on VMFS 6.
    SeSparse,
}

impl CreateType {
    fn from_name(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "monolithicSparse" => Self::MonolithicSparse,
            "monolithicFlat" => Self::MonolithicFlat,
            "twoGbMaxExtentSparse" | "2GbMaxExtentSparse" => Self::SplitSparse,
            "twoGbMaxExtentFlat" | "2GbMaxExtentFlat" => Self::SplitFlat,
            "streamOptimized" => Self::StreamOptimized,
            "vmfs" | "vmfsPreallocated" | "vmfsEagerZeroedThick" | "vmfsThin" => Self::Vmfs,
            "vmfsSparse" => Self::VmfsSparse,
            "seSparse" => Self::SeSparse,
            "fullDevice"
            | "partitionedDevice"
            | "vmfsRaw"
            | "vmfsRDM"
            | "vmfsRDMP"
            | "vmfsRawDeviceMap"
            | "vmfsPassthroughRawDeviceMap" => {
                let message = format!(
                    "the image is of type \"{name}\", a view of a device of its host, not a disk image"
                );
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            other => {
                let message = format!("images of type \"{}\" are not supported", shown(other));
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        })
    }

    /// Whether extents of this type belong into such an image.
    fn allows(self, kind: ExtentType) -> bool {
        match kind {
            ExtentType::Zero => true,
            ExtentType::Sparse => {
                matches!(self, Self::MonolithicSparse | Self::SplitSparse | Self::StreamOptimized)
            }
            ExtentType::Flat => matches!(self, Self::MonolithicFlat | Self::SplitFlat | Self::Vmfs),
            ExtentType::Vmfs => self == Self::Vmfs,
            ExtentType::VmfsSparse => self == Self::VmfsSparse,
            ExtentType::SeSparse => self == Self::SeSparse,
        }
    }
}

/// A descriptor that makes sense in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// 1 to 3.
    pub version: u32,
    /// Its name as it is written.
    pub create_type_name: String,
    /// What that means.
    pub create_type: CreateType,
    /// Identity of the content.
    pub cid: Option<u32>,
    /// Identity and name of the parent, verbatim.
    pub parent: Option<(u32, String)>,
    /// In the order of the disk.
    pub extents: Vec<ExtentLine>,
    /// `ddb.adapterType`.
    pub adapter_type: Option<String>,
    /// `ddb.virtualHWVersion`.
    pub hardware_version: Option<String>,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Fields {
    version: Option<String>,
    create_type: Option<String>,
    cid: Option<String>,
    parent_cid: Option<String>,
    parent_name: Option<String>,
    adapter_type: Option<String>,
    hardware_version: Option<String>,
    extents: Vec<ExtentLine>,
}

impl Descriptor {
    /// Parses a descriptor; what follows the first zero byte is no part of it.
    ///
    /// # Errors
    /// `corrupt` with the line that is wrong, `unsupported` for images that are views of devices, `limit` for too many
    /// extents.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
        let mut fields = Fields::default();
        for (index, line) in text.lines().enumerate() {
            fields.line(line.trim()).map_err(|error| error.with("descriptor-line", index + 1))?;
        }
        fields.into_descriptor()
    }
}

impl Fields {
    fn line(&mut self, line: &str) -> Result<(), Error> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(extent) = ExtentLine::parse(line)? {
            if self.extents.len() == MAX_EXTENTS {
                let message = format!("the descriptor has more than {MAX_EXTENTS} extents");
                return Err(Error::new(ErrorKind::Limit, message));
            }
            self.extents.push(extent);
            return Ok(());
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(corrupt(format!(
                "the descriptor has a line that means nothing: \"{}\"",
                shown(line)
            )));
        };
        let (key, value) = (key.trim(), unquoted(value.trim()));
        let field = match key.to_ascii_lowercase().as_str() {
            "version" => &mut self.version,
            "createtype" => &mut self.create_type,
            "cid" => &mut self.cid,
            "parentcid" => &mut self.parent_cid,
            "parentfilenamehint" => &mut self.parent_name,
            "ddb.adaptertype" => &mut self.adapter_type,
            "ddb.virtualhwversion" => &mut self.hardware_version,
            _ => return Ok(()),
        };
        // Programs differ in which of two they take.
        if field.replace(value.to_owned()).is_some() {
            return Err(corrupt(format!("the descriptor has two lines \"{}\"", shown(key))));
        }
        Ok(())
    }

    fn into_descriptor(self) -> Result<Descriptor, Error> {
        let version = match self.version.as_deref() {
            Some("1") => 1,
            Some("2") => 2,
            Some("3") => 3,
            Some(other) => {
                let message = format!("descriptors of version \"{}\" are not supported", shown(other));
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            None => return Err(corrupt("the descriptor has no line \"version\"")),
        };
        let create_type_name =
            self.create_type.ok_or_else(|| corrupt("the descriptor has no line \"createType\""))?;
        let create_type = CreateType::from_name(&create_type_name)?;
        let cid = self.cid.as_deref().map(|text| identity("CID", text)).transpose()?;
        let parent_cid = self.parent_cid.as_deref().map(|text| identity("parentCID", text)).transpose()?;
        let parent = parent(parent_cid.unwrap_or(NO_PARENT), self.parent_name)?;
        check_extents(create_type, &create_type_name, &self.extents)?;
        Ok(Descriptor {
            version,
            create_type_name,
            create_type,
            cid,
            parent,
            extents: self.extents,
            adapter_type: self.adapter_type,
            hardware_version: self.hardware_version,
        })
    }
}

fn check_extents(create_type: CreateType, name: &str, extents: &[ExtentLine]) -> Result<(), Error> {
    if extents.is_empty() {
        return Err(corrupt("the descriptor names no extents"));
    }
    let mut sectors = 0u64;
    for extent in extents {
        if !create_type.allows(extent.kind) {
            return Err(corrupt(format!(
                "an image of type \"{name}\" cannot have an extent of type {}",
                extent.kind.name()
            )));
        }
        sectors = sectors
            .checked_add(extent.sectors)
            .filter(|sum| crate::sector::bytes_of(*sum).is_some())
            .ok_or_else(|| corrupt("the extents of the descriptor add up to more than 2^63 bytes"))?;
    }
    Ok(())
}

fn parent(cid: u32, name: Option<String>) -> Result<Option<(u32, String)>, Error> {
    match (cid, name) {
        (NO_PARENT, None) => Ok(None),
        (NO_PARENT, Some(_)) => {
            Err(corrupt("the descriptor names a parent and has the parentCID of an image without one"))
        }
        (_, None) => {
            Err(corrupt("the image needs its parent and does not name it: parentFileNameHint is missing"))
        }
        (cid, Some(name)) => {
            line::check_name("parent image", &name)?;
            Ok(Some((cid, name)))
        }
    }
}

/// Up to 8 hexadecimal digits; QEMU leaves out leading zeros.
fn identity(key: &str, text: &str) -> Result<u32, Error> {
    let digits = !text.is_empty() && text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = if digits { u32::from_str_radix(text, 16).ok() } else { None };
    value.ok_or_else(|| {
        corrupt(format!("{key} of the descriptor is no hexadecimal number: \"{}\"", shown(text)))
    })
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

/// A text from the file in a message.
fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
