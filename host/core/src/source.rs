//! Bytes that the host opened for a plugin.

/// A readable sequence of bytes of fixed length.
///
/// The engine lends it to a plugin as `witvirt:disk/io.source`; the data path reads the same object, so that both see one
/// file whatever happens to its name.
pub trait ByteSource: Send + Sync {
    /// Length in bytes, fixed when the source was opened.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset` (bytes); returns how many bytes were read, fewer only at the end of the source.
    ///
    /// # Errors
    /// The operating system's; also when the file shrank below the size it was opened with.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize>;
}
