//! What tests of a disk format plugin need, without WebAssembly: a plugin is a type that implements [`Format`](witvirt_sdk::disk::Format), and so all
//! of this works on it as it is, whoever wrote it.
//!
//! - [`check_any_bytes`]: any bytes as an image, under the validator of the host: the body of a fuzz target;
//!   [`mutations`] of sound images, for a test that runs with every other;
//! - [`Disk`]: an image file with the files that it names, and what a guest sees of it by the map;
//! - [`lay_out`] and [`write_image`]: what a plugin writes, without and with data;
//! - [`Scratch`]: a directory, and QEMU's tools in it, to compare with;
//! - [`data`]: test material beside the repository.
//!
//! And of a hook, a converter that edits domain XML: [`domain`].
//!
//! It is a crate of its own and no feature of the SDK: it brings the host's validator and codecs, which no plugin that is
//! built for WebAssembly should ever see.
//!
//! ```
//! use witvirt_sdk::core::extent::{ExtentKind, Geometry, Page, Probe};
//! use witvirt_sdk::disk::{Format, ImageReader, ReadAt, Runs, read_exact};
//! use witvirt_sdk::{Error, ErrorKind};
//! use witvirt_testkit::{Noise, check_any_bytes, content, mutations};
//!
//! struct Boxed;
//!
//! impl Format for Boxed {
//!     const NAMES: &[&str] = &["boxed"];
//!     type Image<R: ReadAt> = Image<R>;
//!
//!     fn probe(head: &[u8], _: &[u8], _: u64) -> Option<Probe> {
//!         let ours = head.starts_with(b"BOXED\0\0\x01");
//!         ours.then(|| Probe { confidence: 90, format: "boxed".into(), version: None })
//!     }
//! }
//!
//! struct Image<R>(R);
//!
//! impl<R: ReadAt> ImageReader for Image<R> {
//!     type Source = R;
//!
//!     fn open(source: R) -> Result<Self, Error> {
//!         match read_exact(&source, 0, 8, "the header")?.as_slice() {
//!             b"BOXED\0\0\x01" => Ok(Self(source)),
//!             _ => Err(Error::new(ErrorKind::InvalidInput, "not a boxed image")),
//!         }
//!     }
//!
//!     fn geometry(&self) -> Geometry {
//!         Geometry { virtual_size: (self.0.size() - 8) / 512 * 512, cluster_size: 0, logical_sector: 512 }
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
//! let seed = [&b"BOXED\0\0\x01"[..], &[7; 1024]].concat();
//! let mut image = Image::open(seed.clone()).unwrap();
//! assert_eq!(content(&mut image, &[&seed], &[]).unwrap(), [7; 1024]);
//! // Half of the changes hit the header, 8 bytes from byte 0.
//! for file in mutations(&seed, 0..8, 500) {
//!     check_any_bytes::<Boxed>(file, |_| None);
//! }
//! ```

mod any_bytes;
mod codec;
mod contents;
mod disk;
pub mod domain;
mod map;
mod material;
mod noise;
mod scratch;
mod source;
mod write;

pub use any_bytes::{check_any_bytes, check_ranges, mutations};
pub use codec::encode;
pub use contents::{islands, like_real, stripes};
pub use disk::{Disk, content, file_content};
pub use map::{Cost, cost, joined, map, places};
pub use material::{data, hex, sha256, sha256_of, table, unpack, unpacked};
pub use noise::Noise;
pub use scratch::{Scratch, have, have_qemu};
pub use source::{FileSource, Pieces};
pub use write::{Laid, finish, lay_out, plain, write_image};
