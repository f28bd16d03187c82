//! How many processors, and in what shape.

use crate::tree::{Field, Id, Kind, Tree};

use super::Referenced;

/// What a preference says of the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Sockets,
    Cores,
    Threads,
    Any,
    Spread { ratio: u64, across: Across },
}

/// What a spread divides between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Across {
    SocketsCores,
    CoresThreads,
    SocketsCoresThreads,
}

const THREADS_PER_CORE: u64 = 2;
/// As many as any guest has.
const MOST: i64 = 1 << 16;

impl Shape {
    /// What a preference asks for; sockets where it says nothing.
    pub(super) fn of(preference: Option<Field<'_>>) -> Self {
        let cpu = preference.and_then(|spec| spec.get("cpu"));
        let old_ratio = preference.and_then(|spec| spec.get("preferSpreadSocketToCoreRatio"));
        let old_ratio = old_ratio.and_then(|ratio| ratio.integer(1, MOST));
        let spread = cpu.and_then(|cpu| cpu.get("spreadOptions"));
        let ratio = spread.and_then(|spread| spread.get("ratio")).and_then(|ratio| ratio.integer(1, MOST));
        let across = spread.and_then(|spread| spread.get("across")).and_then(|across| {
            across.choose(&[
                ("SocketsCores", Across::SocketsCores),
                ("CoresThreads", Across::CoresThreads),
                ("SocketsCoresThreads", Across::SocketsCoresThreads),
            ])
        });
        let spread = Self::Spread {
            ratio: ratio.or(old_ratio).map_or(2, i64::unsigned_abs),
            across: across.unwrap_or(Across::SocketsCores),
        };
        let wanted = cpu.and_then(|cpu| cpu.get("preferredCPUTopology")).and_then(|wanted| {
            wanted.choose(&[
                ("sockets", Self::Sockets),
                ("preferSockets", Self::Sockets),
                ("cores", Self::Cores),
                ("preferCores", Self::Cores),
                ("threads", Self::Threads),
                ("preferThreads", Self::Threads),
                ("any", Self::Any),
                ("preferAny", Self::Any),
                ("spread", spread),
                ("preferSpread", spread),
            ])
        });
        wanted.unwrap_or(Self::Sockets)
    }

    /// Sockets, cores and threads of so many processors; `None` where they do not divide.
    pub(super) fn divide(self, count: u64) -> Option<[u64; 3]> {
        let exact = |count: u64, by: u64| count.checked_rem(by).filter(|rest| *rest == 0).map(|_| count / by);
        if count == 1 {
            return Some([1, 1, 1]);
        }
        match self {
            Self::Sockets | Self::Any => Some([count, 1, 1]),
            Self::Cores => Some([1, count, 1]),
            Self::Threads => Some([1, 1, count]),
            Self::Spread { ratio, across: Across::SocketsCores } => Some([exact(count, ratio)?, ratio, 1]),
            Self::Spread { ratio, across: Across::CoresThreads } => Some([1, exact(count, ratio)?, ratio]),
            Self::Spread { ratio, across: Across::SocketsCoresThreads } => {
                let cores = exact(count, THREADS_PER_CORE)?;
                Some([exact(cores, ratio)?, ratio, THREADS_PER_CORE])
            }
        }
    }
}

/// Writes the shape of an instancetype's processors into the machine.
pub(super) fn apply(
    tree: &mut Tree,
    cpu: Id,
    count: u64,
    preference: Option<&Referenced>,
    instancetype: &Referenced,
) -> Option<()> {
    let shape = Shape::of(preference.map(|preference| tree.field(preference.spec)));
    let Some(parts) = shape.divide(count) else {
        tree.field(instancetype.spec).error("kubevirt.cpu.topology", || {
            format!("{count} processors do not divide as the preference wants them spread")
        });
        return Some(());
    };
    for (name, value) in ["sockets", "cores", "threads"].into_iter().zip(parts) {
        let value = tree.make(cpu, Kind::Number(value.into()), instancetype.origin)?;
        tree.insert(cpu, name, value);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{Across, Shape};

    #[test]
    fn divides_processors() {
        let spread = |ratio, across| Shape::Spread { ratio, across };
        for (shape, count, expected) in [
            (Shape::Sockets, 4, Some([4, 1, 1])),
            (Shape::Cores, 4, Some([1, 4, 1])),
            (Shape::Threads, 2, Some([1, 1, 2])),
            (Shape::Any, 3, Some([3, 1, 1])),
            (spread(2, Across::SocketsCores), 8, Some([4, 2, 1])),
            (spread(2, Across::SocketsCores), 1, Some([1, 1, 1])),
            (spread(2, Across::SocketsCores), 3, None),
            (spread(2, Across::CoresThreads), 8, Some([1, 4, 2])),
            (spread(4, Across::SocketsCoresThreads), 16, Some([2, 4, 2])),
            (spread(4, Across::SocketsCoresThreads), 6, None),
            (spread(0, Across::SocketsCores), 6, None),
        ] {
            assert_eq!(shape.divide(count), expected, "{shape:?} {count}");
        }
    }
}
