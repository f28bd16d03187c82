//! Bounds on what an image may cost.

/// Bounds that hold whatever a plugin or an image says.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest virtual disk, in bytes.
    pub max_virtual_size: u64,
    /// Most guest bytes that may have to be copied or decoded, in bytes: the answer to tables that name one cluster a
    /// million times. Holes are free.
    pub max_data: u64,
    /// Most extents of one layer.
    pub max_extents: u64,
    /// Most layers of a chain, the image itself included.
    pub max_chain: usize,
    /// Most files that one image may name.
    pub max_references: usize,
}

impl Default for Limits {
    /// 64 TiB virtual, 16 TiB of data, 256 million extents, 32 layers, 4,096 references.
    fn default() -> Self {
        Self {
            max_virtual_size: 64 << 40,
            max_data: 16 << 40,
            max_extents: 256 << 20,
            max_chain: 32,
            max_references: 4096,
        }
    }
}

/// Most extents asked of a plugin at once.
pub(crate) const PAGE: u32 = 4096;

/// What a map is made of, in bytes: only in the last sector of a disk and at the end of what was asked for may one end inside
/// of a sector.
pub(crate) const SECTOR: u64 = 512;

/// Longest literal extent, in bytes (`witvirt:disk/format.extent-kind`).
pub(crate) const MAX_LITERAL: u64 = 64 << 10;

/// Largest decoded run, in bytes (`witvirt:disk/format.encoded`).
pub(crate) const MAX_DECODED: u64 = 64 << 20;

/// Largest encoded run, in bytes: a run that did not become smaller, plus the slack of its container.
pub(crate) const MAX_ENCODED: u64 = MAX_DECODED + (64 << 10);

/// How much of the end of an encoded run may be missing from its source, in bytes (exclusive).
pub(crate) const ENCODED_SLACK: u64 = 512;
