//! A map compared with the one that qemu-img prints.

use serde::Deserialize;
use witvirt_sdk::core::extent::{Extent, ExtentKind};

use crate::Scratch;

/// A line of `qemu-img map --output=json`.
#[derive(Debug, Deserialize)]
struct Line {
    start: u64,
    length: u64,
    /// How many images below the top it was found; one more than there are where it was found nowhere.
    depth: u32,
    zero: bool,
    data: bool,
    offset: Option<u64>,
}

/// Asserts that both maps say the same of every byte.
pub fn assert_same_map(scratch: &Scratch, name: &str, extents: &[Extent]) {
    let text = scratch.qemu_img(&format!("map --output=json -f qcow2 {name}"));
    let lines: Vec<Line> = serde_json::from_str(&text).unwrap();
    let total: u64 = lines.iter().map(|line| line.length).sum();
    let ours = extents.last().map_or(0, |extent| extent.start + extent.length);
    assert_eq!(total, ours, "{name}: length of the map");
    for line in &lines {
        for extent in extents {
            let start = line.start.max(extent.start);
            let end = (line.start + line.length).min(extent.start + extent.length);
            if start < end {
                assert!(
                    agrees(line, extent, start),
                    "{name} at {start:#x}: QEMU {line:?}, plugin {extent:?}"
                );
            }
        }
    }
}

fn agrees(line: &Line, extent: &Extent, at: u64) -> bool {
    let expected = line.offset.map(|offset| offset + (at - line.start));
    match &extent.kind {
        ExtentKind::Data { offset, .. } => {
            line.depth == 0 && line.data && expected == Some(offset + (at - extent.start))
        }
        // This qemu-img prints no offset for compressed clusters.
        ExtentKind::Encoded(_) => line.depth == 0 && line.data && !line.zero && line.offset.is_none(),
        ExtentKind::Zero => line.depth == 0 && line.zero && !line.data,
        // Subclusters without data in a cluster that has a host cluster come with its offset.
        ExtentKind::Unallocated => line.zero && !line.data,
        // A hole all the way down is reported at depth 0 by some versions.
        ExtentKind::Parent => line.depth > 0 || (line.zero && !line.data),
        ExtentKind::Literal(_) => false,
    }
}
