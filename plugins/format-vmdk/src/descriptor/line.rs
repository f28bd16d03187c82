//! A line that describes an extent: access, sectors, type, name, first sector.

use super::{corrupt, shown};
use crate::{Error, ErrorKind};

/// Longest name of a file, in bytes.
const MAX_NAME: usize = 1023;

/// Who may use an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    ReadWrite,
    /// Readers.
    ReadOnly,
}

/// How an extent is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentType {
    /// As it is.
    Flat,
    /// As it is, on VMFS.
    Vmfs,
    /// In a hosted sparse extent (KDMV).
    Sparse,
    /// In a COWD file.
    VmfsSparse,
    /// In a space-efficient sparse file.
    SeSparse,
    /// Nowhere: it reads as zeros.
    Zero,
}

impl ExtentType {
    /// As it is written in descriptors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flat => "FLAT",
            Self::Vmfs => "VMFS",
            Self::Sparse => "SPARSE",
            Self::VmfsSparse => "VMFSSPARSE",
            Self::SeSparse => "SESPARSE",
            Self::Zero => "ZERO",
        }
    }

    /// Whether it is a range of a file that is as long as the extent.
    pub fn is_flat(self) -> bool {
        matches!(self, Self::Flat | Self::Vmfs)
    }
}

/// An extent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtentLine {
    /// Whether the image may be written to there.
    pub access: Access,
    /// Length in sectors of 512 bytes, never 0.
    pub sectors: u64,
    /// How it is stored.
    pub kind: ExtentType,
    /// The file, verbatim; empty for [`ExtentType::Zero`].
    pub name: String,
    /// First sector in the file, for flat extents.
    pub offset: u64,
}

impl ExtentLine {
    /// `None` when the line describes no extent.
    ///
    /// # Errors
    /// `corrupt` with what is wrong, `unsupported` for devices and extents that may not be read.
    pub fn parse(line: &str) -> Result<Option<Self>, Error> {
        let (access, rest) = word(line);
        let access = match access {
            "RW" => Access::ReadWrite,
            "RDONLY" => Access::ReadOnly,
            "NOACCESS" => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "the image has an extent that may not be read",
                ));
            }
            _ => return Ok(None),
        };
        let (sectors, rest) = word(rest);
        let sectors = number("the length of an extent", sectors)?;
        if sectors == 0 {
            return Err(corrupt("an extent is 0 sectors long"));
        }
        let (kind, rest) = word(rest);
        let kind = kind_of(kind)?;
        if kind == ExtentType::Zero {
            let ends = rest.trim().is_empty();
            let zero = Self { access, sectors, kind, name: String::new(), offset: 0 };
            return if ends { Ok(Some(zero)) } else { Err(trailing(rest)) };
        }
        let (name, rest) = quoted(rest)?;
        check_name("extent", name)?;
        let (offset, rest) = word(rest);
        if !rest.trim().is_empty() {
            return Err(trailing(rest));
        }
        let offset = match (kind, offset) {
            (ExtentType::Flat, "") => {
                return Err(corrupt("a FLAT extent does not say where in its file it begins"));
            }
            (_, "") => 0,
            (_, offset) => number("the first sector of an extent", offset)?,
        };
        if !kind.is_flat() && offset != 0 {
            return Err(corrupt(format!("an extent of type {} cannot begin inside its file", kind.name())));
        }
        let ends = offset.checked_add(sectors).and_then(crate::sector::bytes_of).is_some();
        let extent = Self { access, sectors, kind, name: name.to_owned(), offset };
        if ends { Ok(Some(extent)) } else { Err(corrupt("an extent ends after 2^63 bytes")) }
    }
}

/// Names reach the host as they are; it decides what may be opened.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    let why = if name.is_empty() {
        "is empty"
    } else if name.len() > MAX_NAME {
        "is longer than 1023 bytes"
    } else if name.contains(char::REPLACEMENT_CHARACTER) {
        "is not UTF-8"
    } else if name.chars().any(char::is_control) {
        "has control characters"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Unsupported, format!("the name of the {what} {why}")))
}

fn kind_of(word: &str) -> Result<ExtentType, Error> {
    Ok(match word {
        "FLAT" => ExtentType::Flat,
        "VMFS" => ExtentType::Vmfs,
        "SPARSE" => ExtentType::Sparse,
        "VMFSSPARSE" => ExtentType::VmfsSparse,
        "SESPARSE" => ExtentType::SeSparse,
        "ZERO" => ExtentType::Zero,
        "VMFSRDM" | "VMFSRAW" => {
            let message = format!("the image has an extent of type {word}, a device of its host");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        other => {
            let message = format!("extents of type \"{}\" are not supported", shown(other));
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    })
}

/// The first word and what follows it.
fn word(text: &str) -> (&str, &str) {
    text.trim_start().split_once(char::is_whitespace).unwrap_or((text.trim_start(), ""))
}

/// A name in quotes and what follows it. It goes on to the last quote of the line: no file is meant by the first half of
/// a name that has quotes inside, and the host shall see all of it.
fn quoted(text: &str) -> Result<(&str, &str), Error> {
    text.trim_start()
        .strip_prefix('"')
        .and_then(|text| text.rsplit_once('"'))
        .ok_or_else(|| corrupt("an extent has no file name in quotes"))
}

/// Decimal, without sign.
fn number(what: &str, text: &str) -> Result<u64, Error> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(number),
        _ => Err(corrupt(format!("{what} is no number of sectors: \"{}\"", shown(text)))),
    }
}

fn trailing(text: &str) -> Error {
    corrupt(format!("the line of an extent goes on with \"{}\"", shown(text.trim())))
}
