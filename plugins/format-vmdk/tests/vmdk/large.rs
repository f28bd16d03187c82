//! Maps of large disks: how many reads and pages they take, and how many runs they have.

use format_vmdk::Vmdk;
use witvirt_sdk::core::format::Chunk;
use witvirt_testkit::{Cost, cost, lay_out, plain};

/// What it takes with pages as the host asks for them.
fn mapped(what: &str, size: u64, options: &str, chunks: impl Iterator<Item = Chunk>) -> Cost {
    cost::<Vmdk>(what, &lay_out::<Vmdk>(size, options, None, chunks).file, 4096)
}

const STREAM: &str = "{\"subformat\": \"streamOptimized\"}";

#[test]
fn sixteen_gibibytes_compressed() {
    let chunk = |index: u64| Chunk {
        start: index << 16,
        length: 65536,
        stored: 20_000 + index % 1000,
        encoded: true,
    };
    let cost = mapped("16 GiB compressed", 16 << 30, STREAM, (0..1 << 18).map(chunk));
    assert_eq!(cost.runs, 1 << 18);
    // One for each table of 512 grains, and one for the marker before it.
    assert!(cost.reads < 1100 && cost.bytes < 3 << 19, "{} reads, {} bytes", cost.reads, cost.bytes);
}

#[test]
fn a_quarter_of_a_tebibyte_in_fragments() {
    let chunk = |index: u64| plain(index << 18, 65536);
    let cost = mapped("256 GiB in fragments of 256 KiB", 1 << 38, "{}", (0..1 << 18).map(chunk));
    assert!(cost.runs >= 1 << 19);
    assert!(cost.reads < 2000, "{} reads", cost.reads);
}

#[test]
fn a_quarter_of_a_tebibyte_in_one_piece() {
    let chunk = |index: u64| plain(index << 16, 65536);
    let cost = mapped("256 GiB in one piece", 1 << 38, "{}", (0..1 << 22).map(chunk));
    assert!(cost.runs <= 1 + cost.pages, "{} runs", cost.runs);
}

#[test]
fn eight_tebibytes_almost_empty() {
    let chunk = |index: u64| plain(index << 37, 65536);
    let cost = mapped("8 TiB", 8 << 40, "{}", (0..64).map(chunk));
    assert!(cost.reads < 700, "{} reads", cost.reads);
}
