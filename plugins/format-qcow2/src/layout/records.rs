//! What a writer remembers of the clusters it placed: runs, so that a large disk takes little memory.

use crate::{Error, ErrorKind};

/// Memory that the records may take, within the 64 MiB that a plugin has by default.
const MAX_BYTES: usize = 44 << 20;
/// Elements of a part, so that growing copies nothing.
const PART: usize = 8192;

/// Clusters that follow each other in the guest and in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// First guest cluster.
    pub cluster: u64,
    /// Byte of the file.
    pub host: u64,
    pub count: u32,
    /// Compressed: index of the first stored size.
    pub sizes: Option<u32>,
}

/// Ascending in the guest and in the file.
#[derive(Debug, Default)]
pub(super) struct Records {
    runs: Parts<Run>,
    /// Stored sizes of compressed clusters, in order.
    sizes: Parts<u32>,
    /// Where the last cluster ends in the file.
    end: u64,
}

impl Records {
    /// Adds a cluster behind all others; `stored` is the size of a compressed one.
    pub fn add(
        &mut self,
        cluster: u64,
        host: u64,
        stored: Option<u32>,
        cluster_size: u64,
    ) -> Result<(), Error> {
        let bytes = self.runs.len * size_of::<Run>() + self.sizes.len * size_of::<u32>();
        if bytes > MAX_BYTES {
            return Err(Error::new(
                ErrorKind::Limit,
                "too many separate clusters to remember; take a larger cluster-size",
            )
            .with("runs", self.runs.len)
            .with("compressed-clusters", self.sizes.len));
        }
        let follows = host == self.end;
        self.end = host + stored.map_or(cluster_size, u64::from);
        let sizes = stored.map(|size| {
            self.sizes.push(size);
            (self.sizes.len - 1) as u32
        });
        match self.runs.last_mut() {
            Some(last)
                if follows
                    && last.cluster + u64::from(last.count) == cluster
                    && last.sizes.is_some() == sizes.is_some()
                    && last.count < u32::MAX =>
            {
                last.count += 1;
            }
            _ => self.runs.push(Run { cluster, host, count: 1, sizes }),
        }
        Ok(())
    }

    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.parts.iter().flatten()
    }

    pub fn run(&self, index: usize) -> Option<&Run> {
        self.runs.get(index)
    }

    /// Bytes that the `nth` cluster of a compressed run takes.
    pub fn size(&self, run: &Run, nth: u32) -> Option<u64> {
        let first = run.sizes?;
        self.sizes.get(first as usize + nth as usize).copied().map(u64::from)
    }
}

/// A vector in parts.
#[derive(Debug)]
struct Parts<T> {
    parts: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self { parts: Vec::new(), len: 0 }
    }
}

impl<T> Parts<T> {
    fn push(&mut self, value: T) {
        match self.parts.last_mut() {
            Some(part) if part.len() < PART => part.push(value),
            _ => {
                let mut part = Vec::with_capacity(PART);
                part.push(value);
                self.parts.push(part);
            }
        }
        self.len += 1;
    }

    fn get(&self, index: usize) -> Option<&T> {
        self.parts.get(index / PART)?.get(index % PART)
    }

    fn last_mut(&mut self) -> Option<&mut T> {
        self.parts.last_mut()?.last_mut()
    }
}
