//! What a writer remembers of the clusters it placed: runs, so that a large disk takes little memory.

use crate::{Error, ErrorKind};

/// 48 MiB; a growing list takes half as much again for a moment.
const MAX: usize = 2 << 20;

/// Guest clusters that follow each other; in the file, all runs do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// First guest cluster.
    pub cluster: u64,
    pub count: u64,
    /// Clusters of all runs before it.
    pub before: u64,
}

/// Ascending in the guest and in the file.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: Vec<Run>,
    clusters: u64,
}

impl Runs {
    /// Adds a cluster behind all others; returns how many there were.
    pub fn push(&mut self, cluster: u64) -> Result<u64, Error> {
        let (place, full) = (self.clusters, self.runs.len() == MAX);
        match self.runs.last_mut() {
            Some(last) if last.cluster + last.count == cluster => last.count += 1,
            _ if full => {
                return Err(Error::new(
                    ErrorKind::Limit,
                    "too many separate clusters to remember; take a larger cluster-size",
                )
                .with("limit", MAX));
            }
            _ => self.runs.push(Run { cluster, count: 1, before: place }),
        }
        self.clusters += 1;
        Ok(place)
    }

    /// Clusters in all.
    pub fn clusters(&self) -> u64 {
        self.clusters
    }

    /// The runs that have clusters from `first` up to `end`.
    pub fn between(&self, first: u64, end: u64) -> impl Iterator<Item = &Run> {
        let start = self.runs.partition_point(|run| run.cluster + run.count <= first);
        self.runs.get(start..).unwrap_or_default().iter().take_while(move |run| run.cluster < end)
    }

    /// Ascending numbers of the groups of `size` clusters that have one.
    pub fn groups(&self, size: u64) -> Vec<u64> {
        let mut groups: Vec<u64> = Vec::new();
        for run in &self.runs {
            let (first, last) = (run.cluster / size, (run.cluster + run.count - 1) / size);
            let known = groups.last().is_some_and(|known| *known == first);
            groups.extend(first + u64::from(known)..=last);
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::Runs;

    #[test]
    fn joins_and_finds() {
        let mut runs = Runs::default();
        for (place, cluster) in [3, 4, 5, 9, 20, 21].into_iter().enumerate() {
            assert_eq!(runs.push(cluster).unwrap(), place as u64);
        }
        assert_eq!(runs.clusters(), 6);
        let found = |first, end| runs.between(first, end).map(|run| run.cluster).collect::<Vec<_>>();
        assert_eq!(found(0, 100), [3, 9, 20]);
        assert_eq!(found(5, 9), [3]);
        assert_eq!(found(6, 9), [0; 0]);
        assert_eq!(found(21, 22), [20]);
        assert_eq!(runs.groups(4), [0, 1, 2, 5]);
        assert_eq!(runs.groups(100), [0]);
        assert_eq!(runs.groups(21), [0, 1]);
    }
}
