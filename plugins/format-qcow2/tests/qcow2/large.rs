//! Maps of large disks: how many reads they take, and how many runs they have.

use format_qcow2::Qcow2;
use witvirt_sdk::core::format::Chunk;
use witvirt_testkit::{Cost, cost, lay_out, plain};

fn mapped(what: &str, size: u64, options: &str, chunks: impl Iterator<Item = Chunk>) -> Cost {
    cost::<Qcow2>(what, &lay_out::<Qcow2>(size, options, None, chunks).file, u32::MAX)
}

#[test]
fn two_gibibytes_compressed() {
    let chunk = |index: u64| Chunk {
        start: index << 16,
        length: 65536,
        stored: 20_000 + index % 1000,
        encoded: true,
    };
    let cost = mapped("2 GiB compressed", 2 << 30, "{\"compression\": \"zlib\"}", (0..1 << 15).map(chunk));
    assert_eq!(cost.runs, 1 << 15);
    assert!(cost.reads < 10 && cost.bytes < 1 << 20, "{} reads, {} bytes", cost.reads, cost.bytes);
}

#[test]
fn a_hundred_and_twenty_eight_gibibytes_in_fragments() {
    let chunk = |index: u64| plain(index << 17, 65536);
    let cost = mapped("128 GiB in fragments", 128 << 30, "{}", (0..1 << 20).map(chunk));
    assert_eq!(cost.runs, 1 << 21);
    assert!(cost.reads < 300 && cost.bytes < 20 << 20, "{} reads, {} bytes", cost.reads, cost.bytes);
}

#[test]
fn sixty_four_tebibytes_almost_empty() {
    let chunk = |index: u64| plain(index << 40, 65536);
    let cost = mapped("64 TiB", 64 << 40, "{}", (0..64).map(chunk));
    assert_eq!(cost.runs, 128);
    assert!(cost.reads < 120 && cost.bytes < 10 << 20, "{} reads, {} bytes", cost.reads, cost.bytes);
}

#[test]
fn small_clusters_in_a_row() {
    let chunk = |index: u64| plain(index << 9, 512);
    let cost = mapped(
        "256 MiB in clusters of 512 bytes",
        256 << 20,
        "{\"cluster-size\": 512}",
        (0..1 << 19).map(chunk),
    );
    assert_eq!(cost.runs, 1);
    assert!(cost.reads < 40, "8192 tables in {} reads", cost.reads);
}
