//! Cylinders, heads and sectors.

/// Bytes in a sector.
pub const SECTOR: u64 = 512;

/// The geometry of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u16,
    /// Heads, and so tracks of a cylinder.
    pub heads: u8,
    /// Sectors of a track.
    pub sectors: u8,
}

impl Geometry {
    /// The largest, 127 GiB: says nothing of the size of a disk.
    pub const MAX: Self = Self { cylinders: u16::MAX, heads: 16, sectors: 255 };

    /// Sectors of the disk.
    pub fn total(self) -> u64 {
        u64::from(self.cylinders) * u64::from(self.heads) * u64::from(self.sectors)
    }

    /// Bytes of the disk.
    pub fn bytes(self) -> u64 {
        self.total() * SECTOR
    }

    /// The geometry for a disk of `total` sectors, rounded down, by the algorithm in the appendix of the specification.
    pub fn below(total: u64) -> Self {
        let total = total.min(Self::MAX.total());
        let per_track = |sectors: u64| total / sectors;
        let (sectors, heads) = if total >= 65535 * 16 * 63 {
            (255, 16)
        } else {
            let tracks = per_track(17);
            let heads = tracks.div_ceil(1024).max(4);
            if tracks < heads * 1024 && heads <= 16 {
                (17, heads)
            } else if per_track(31) < 16 * 1024 {
                (31, 16)
            } else {
                (63, 16)
            }
        };
        let cylinders = per_track(sectors) / heads;
        // Both stay below 256, and the cylinders below 65,536 because the total does.
        Self { cylinders: cylinders as u16, heads: heads as u8, sectors: sectors as u8 }
    }

    /// The geometry of the smallest disk that has `total` sectors or more and of which the geometry says all; the largest
    /// geometry where there is none.
    pub fn at_least(total: u64) -> Self {
        let limit = Self::MAX.total();
        // A cylinder has at most 16 * 255 sectors: a few steps less than that find the next one.
        (total..=limit.min(total.saturating_add(16 * 255)))
            .map(Self::below)
            .find(|geometry| geometry.total() >= total)
            .unwrap_or(Self::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Geometry;

    #[test]
    fn known_disks() {
        let shape = |geometry: Geometry| (geometry.cylinders, geometry.heads, geometry.sectors);
        // As Virtual PC and Hyper-V give them in images of 127 GiB and of 4 MiB.
        assert_eq!(shape(Geometry::below(136_365_211_648 / 512)), (65278, 16, 255));
        assert_eq!(shape(Geometry::below(8192)), (120, 4, 17));
        assert_eq!(shape(Geometry::below(u64::MAX)), (65535, 16, 255));
        assert_eq!(Geometry::below(0).total(), 0);
    }

    #[test]
    fn the_next_one_is_never_less() {
        for total in (0..70_000_000).step_by(99_991).chain([1, 67, 68, 69, 8192, 66_059_280, 267_382_799]) {
            let next = Geometry::at_least(total);
            assert!(next.total() >= total && next.total() - total < 16 * 255, "{total}: {next:?}");
            assert_eq!(Geometry::below(next.total()), next, "{total}");
        }
        assert_eq!(Geometry::at_least(267_382_801), Geometry::MAX);
    }
}
