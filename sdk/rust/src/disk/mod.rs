//! For plugins that read and write disk images (`witvirt:disk`): the traits that such a plugin implements over the types of
//! [`witvirt_core::extent`], the macros that export them, and what most parsers need: exact reads ([`read_exact`]), numbers
//! in bytes ([`le32`]), tables read ahead ([`Window`]), pages of the map ([`Runs`]), lists of findings ([`Findings`]), and
//! for writers a set of blocks ([`Blocks`]).
//!
//! A format whose disk begins after a header of 8 bytes:
//!
//! ```
//! use witvirt_sdk::core::extent::{ExtentKind, Geometry, Page, Probe};
//! use witvirt_sdk::disk::{Format, ImageReader, ReadAt, Runs, read_exact};
//! use witvirt_sdk::{Error, ErrorKind, Info, Plugin};
//!
//! struct Boxed;
//!
//! impl Plugin for Boxed {
//!     fn describe() -> Info {
//!         Info::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), "boxed disk images: reads version 1")
//!     }
//! }
//!
//! impl Format for Boxed {
//!     const NAMES: &[&str] = &["boxed"];
//!     type Image<R: ReadAt> = Image<R>;
//!
//!     fn probe(head: &[u8], _tail: &[u8], _size: u64) -> Option<Probe> {
//!         let ours = head.starts_with(b"BOXED\0\0\x01");
//!         ours.then(|| Probe { confidence: 90, format: "boxed".into(), version: Some("1".into()) })
//!     }
//! }
//!
//! struct Image<R> {
//!     source: R,
//! }
//!
//! impl<R: ReadAt> ImageReader for Image<R> {
//!     type Source = R;
//!
//!     fn open(source: R) -> Result<Self, Error> {
//!         if read_exact(&source, 0, 8, "the header")? != b"BOXED\0\0\x01" {
//!             return Err(Error::new(ErrorKind::InvalidInput, "not a boxed image: it begins with something else"));
//!         }
//!         Ok(Self { source })
//!     }
//!
//!     fn geometry(&self) -> Geometry {
//!         let virtual_size = self.source.size().saturating_sub(8) / 512 * 512;
//!         Geometry { virtual_size, cluster_size: 0, logical_sector: 512 }
//!     }
//!
//!     fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
//!         let end = start.saturating_add(length).min(self.geometry().virtual_size);
//!         let mut runs = Runs::new(start, max);
//!         if start < end {
//!             runs.push(end - start, ExtentKind::Data { source: 0, offset: start + 8 });
//!         }
//!         Ok(runs.into_page(end))
//!     }
//! }
//!
//! // Everything works without WebAssembly, too: a `Vec` is a source.
//! let mut file = b"BOXED\0\0\x01".to_vec();
//! file.resize(8 + 1024, 7);
//! let mut image = Image::open(file).unwrap();
//! let page = image.extents(0, u64::MAX, 100).unwrap();
//! assert_eq!(page.extents[0].length, 1024);
//! assert!(Image::open(vec![0; 8]).is_err());
//! ```
//!
//! The glue, in a module that is only built for WebAssembly:
//!
//! ```ignore
//! mod bindings {
//!     wit_bindgen::generate!({
//!         path: ["../../wit/types", "../../wit/disk"],
//!         world: "witvirt:disk/disk-format", // with a writer: "witvirt:disk/disk-format-writer"
//!         with: {
//!             "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
//!             "witvirt:types/log@0.1.0": witvirt_sdk::log,
//!         },
//!     });
//! }
//! witvirt_sdk::lifecycle!(Boxed, bindings);
//! witvirt_sdk::disk_format!(Boxed, bindings);
//! // With a writer: witvirt_sdk::disk_writer!(Boxed, bindings);
//! bindings::export!(Boxed with_types_in bindings);
//! ```

mod blocks;
mod export;
mod findings;
mod read;
mod runs;
mod window;

use witvirt_core::extent::{Finding, Geometry, Page, Probe, Reference};
use witvirt_core::format::{Chunk, Ending, WritePlan};

pub use blocks::Blocks;
pub use findings::{ERROR, Findings, INFORMATION, WARNING};
pub use read::{MAX_READ, ReadAt, be16, be32, be64, hex, le16, le32, le64, read_exact};
pub use runs::Runs;
pub use window::Window;

use crate::{Error, ErrorKind};

/// A plugin that reads images; [`crate::disk_format`] exports it.
pub trait Format {
    /// Registry names of the formats, the usual one first. Names after the first are other names of the same format.
    const NAMES: &[&str];

    /// An opened image over any source: the host's in a component, a file or a `Vec` in tests.
    type Image<R: ReadAt>: ImageReader<Source = R>;

    /// Whether the bytes look like one of the formats: first 64 KiB, last 4 KiB (both shorter for a smaller file), length
    /// of the file. Never an error: what is not recognised is `None`.
    fn probe(head: &[u8], tail: &[u8], size: u64) -> Option<Probe>;
}

/// A plugin that also writes them; [`crate::disk_writer`] exports it.
pub trait WritableFormat: Format {
    /// An image in the making.
    type Writer: ImageWriter;
}

/// An opened image. See `witvirt:disk/format.image` for the order of calls and the bounds.
pub trait ImageReader: Sized {
    /// What it reads from.
    type Source: ReadAt;

    /// Reads what has to be sound before anything can be said of the image.
    ///
    /// # Errors
    /// `invalid-input` when it is no such image, `unsupported` with the name of the feature, `corrupt` with what is wrong
    /// and where, `limit` where a bound is passed, or what the source reports.
    fn open(primary: Self::Source) -> Result<Self, Error>;

    /// What a guest sees.
    fn geometry(&self) -> Geometry;

    /// At most 64 names and values; "id" and "parent-id" are compared along a chain.
    fn facts(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Files that the image names, at most 4,096; ids are unique and not 0.
    fn references(&self) -> Vec<Reference> {
        Vec::new()
    }

    /// Hands over the bytes of a reference that is no backing image: those the host follows itself.
    ///
    /// # Errors
    /// `not-found` for an id that is none, or what is wrong with the file.
    fn attach(&mut self, id: u32, _content: Self::Source) -> Result<(), Error> {
        Err(no_such_file(id))
    }

    /// A page of the map from guest byte `start` for `length` bytes, cut at the end of the disk; see [`Runs`].
    ///
    /// # Errors
    /// `not-found` when a file is not attached, `corrupt` with what is wrong and where, or what the source reports.
    fn extents(&mut self, start: u64, length: u64, max: u32) -> Result<Page, Error>;

    /// Decodes a codec that the host lacks: exactly `decoded_length` bytes.
    ///
    /// # Errors
    /// `unsupported` for any other codec, `corrupt` for a damaged stream.
    fn decode(&self, codec: &str, _data: &[u8], _decoded_length: u32) -> Result<Vec<u8>, Error> {
        let message = "images of this format have no codec that the plugin decodes";
        Err(Error::new(ErrorKind::Unsupported, message).with("codec", codec))
    }

    /// What is wrong without stopping a reader: at most 1,000 findings, worst first; see [`Findings`]. Nothing, where all
    /// that could be wrong stops a reader.
    ///
    /// # Errors
    /// `limit` when the image is too large to check in one call, or what the source reports.
    fn check(&mut self) -> Result<Vec<Finding>, Error> {
        Ok(Vec::new())
    }
}

/// An image in the making. See `witvirt:disk/layout` for the order of calls and the bounds.
pub trait ImageWriter: Sized {
    /// Starts an image of `virtual_size` bytes. `options` is a JSON object that the plugin documents; `backing` names the
    /// backing image of an overlay, and its format.
    ///
    /// # Errors
    /// `invalid-input` with what is wrong, `unsupported` for what is not written.
    fn create(
        format: &str,
        virtual_size: u64,
        options: &str,
        backing: Option<(String, String)>,
    ) -> Result<Self, Error>;

    /// How the host has to hand data over.
    fn plan(&self) -> WritePlan;

    /// The file offset for a chunk. Chunks come in ascending order.
    ///
    /// # Errors
    /// `invalid-input` for a chunk that is not as the plan says.
    fn allocate(&mut self, chunk: &Chunk) -> Result<u64, Error>;

    /// The metadata, in answers of less than 4 MiB.
    ///
    /// # Errors
    /// `invalid-input` when called again after the end.
    fn finish(&mut self) -> Result<Ending, Error>;
}

/// What [`ImageReader::attach`] says to an id that is none of a file to attach.
pub fn no_such_file(id: u32) -> Error {
    Error::new(ErrorKind::NotFound, "the image has no such file to attach").with("reference", id)
}

/// Whether the options of `image.open` name one of the plugin's formats, or none. [`crate::disk_format`] calls it.
#[doc(hidden)]
pub fn check_open_options(options: &str, names: &[&str]) -> Result<(), Error> {
    let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message);
    // A value, not a struct: the code that reads one is there already, for settings.
    let options: serde_json::Value = serde_json::from_str(options)
        .map_err(|error| invalid(format!("the options to open with: {error}")))?;
    let Some(options) = options.as_object() else {
        return Err(invalid("the options to open with: not a JSON object".to_owned()));
    };
    match options.get("format").filter(|format| !format.is_null()) {
        None => Ok(()),
        Some(format) if format.as_str().is_some_and(|format| names.contains(&format)) => Ok(()),
        Some(other) => Err(invalid(format!("this plugin reads {}, not {other}", names.join(" and ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::check_open_options;

    #[test]
    fn opens_as_one_of_its_formats() {
        for sound in
            ["{}", "{\"other\":1}", "{\"format\":\"vpc\"}", "{\"format\":\"vhd\"}", "{\"format\":null}"]
        {
            check_open_options(sound, &["vpc", "vhd"]).unwrap();
        }
        let error = check_open_options("{\"format\":\"qcow2\"}", &["vpc", "vhd"]).unwrap_err();
        assert_eq!(error.message, "this plugin reads vpc and vhd, not \"qcow2\"");
        assert!(
            check_open_options("", &["vpc"]).unwrap_err().message.starts_with("the options to open with")
        );
    }
}
