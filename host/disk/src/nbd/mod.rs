//! A server of the NBD protocol for one read-only disk on a unix socket.
//!
//! Just what a hypervisor needs of it: the fixed newstyle negotiation with `EXPORT_NAME`, `ABORT`, `LIST`, `INFO`, `GO`,
//! structured replies and the context `base:allocation`; `READ`, `BLOCK_STATUS` and `DISC`. The client is a process that a
//! guest may have taken over: every number of its is checked before anything is allocated, its requests in flight are
//! bounded in number and bytes, and the worst that it achieves is that its own connection is closed.
//!
//! A request that cannot be answered yet is not answered with an error: it waits, for as long as the client stays.
//!
//! Facts: the protocol's own document, `doc/proto.md` of the project NetworkBlockDevice/nbd.

mod negotiate;
mod protocol;
mod server;
#[cfg(test)]
mod tests;
mod transmit;

pub use server::NbdServer;

use crate::error::Result;

/// The name under which the disk is exported; the empty name means it too.
pub const EXPORT: &str = "disk";

/// A disk that is served.
pub trait Export: Send + Sync {
    /// Length in bytes; does not change.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset` (bytes); the range lies inside the disk. Waits for bytes that are still to come, until
    /// `gone` says that nobody wants them any more.
    ///
    /// # Errors
    /// When the bytes will never come; the client is told of an input error.
    fn read(&self, buffer: &mut [u8], offset: u64, gone: &dyn Fn() -> bool) -> Result<()>;

    /// What lies at `offset`, as runs of at most `length` bytes together, the first one beginning there: the length of a
    /// run and whether it is known to read as zeros. Never empty for a `length` above 0, and at most `most` runs.
    ///
    /// # Errors
    /// As [`Export::read`].
    fn runs(
        &self,
        offset: u64,
        length: u64,
        most: usize,
        gone: &dyn Fn() -> bool,
    ) -> Result<Vec<(u64, bool)>>;
}
