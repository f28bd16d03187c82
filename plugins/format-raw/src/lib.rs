//! The raw format: guest byte n is file byte n.
//!
//! Raw has no signature, so nothing probes as raw: whoever wants it says so. A guest sees whole sectors of 512 bytes, so a
//! file of another length appears rounded up and its last sector ends in zeros, as in QEMU. Holes of the file are the
//! host's business: it copies them as holes.

#[cfg(target_family = "wasm")]
mod glue;
pub mod image;

/// The format's registry name.
pub const FORMAT: &str = "raw";
