//! What one disk has that another has not.

use crate::error::Result;

use super::planner::{Planner, UNIT, Unit};

/// Walks two disks at once, and leaves out what lies in the same place of the same file.
pub(crate) struct Difference<'a> {
    disk: Planner<'a>,
    below: Planner<'a>,
    align: u64,
}

impl<'a> Difference<'a> {
    /// What `disk` has that `below` has not. A disk reads as zeros past its end.
    pub(crate) fn new(disk: Planner<'a>, below: Planner<'a>) -> Self {
        Self { disk, below, align: UNIT }
    }

    /// Units start at multiples of `align` (bytes, a power of two).
    pub(super) fn aligned(self, align: u64) -> Self {
        let Self { disk, below, .. } = self;
        Self { disk: disk.aligned(align), below: below.aligned(align), align: align.max(UNIT) }
    }

    /// The next unit in which they may differ, as it is in each: of the same place, and the same length.
    pub(super) fn next_units(&mut self) -> Result<Option<(Unit, Unit)>> {
        loop {
            let size = self.disk.size();
            let below = self.below.next_data()?.filter(|at| *at < size);
            let first = match (self.disk.next_data()?, below) {
                (Some(one), Some(other)) => one.min(other),
                (one, other) => match one.or(other) {
                    Some(first) => first,
                    None => return Ok(None),
                },
            };
            let start = first / self.align * self.align;
            let end = start.saturating_add(self.align).min(size);
            let (unit, below) = (self.disk.unit_of(start, end)?, self.below.unit_of(start, end)?);
            if !same(&unit, &below) {
                return Ok(Some((unit, below)));
            }
            self.disk.progress().advance(unit.data);
        }
    }
}

/// Whether both are pieces of the same files.
fn same(unit: &Unit, below: &Unit) -> bool {
    unit.pieces.len() == below.pieces.len()
        && unit.pieces.iter().zip(&below.pieces).all(|(one, other)| {
            let (one, other) = (&one.piece, &other.piece);
            (one.start, one.length) == (other.start, other.length) && one.kind.same_place(&other.kind)
        })
}
