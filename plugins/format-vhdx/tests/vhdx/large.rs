//! Maps of large disks: how many reads they take.

use format_vhdx::Vhdx;
use format_vhdx::image::Image;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{Pieces, cost, lay_out, plain};

/// With data in every so many MiB.
fn laid_out(size: u64, options: &str, every: usize) -> Pieces {
    let chunks = (0..size >> 20).step_by(every).map(|mib| plain(mib << 20, 1 << 20));
    lay_out::<Vhdx>(size, options, None, chunks).file
}

/// Runs and reads of the whole map.
fn mapped(what: &str, source: &Pieces) -> (u64, u64) {
    let cost = cost::<Vhdx>(what, source, u32::MAX);
    (cost.runs, cost.reads)
}

#[test]
fn sixty_four_tebibytes_almost_empty() {
    let source = laid_out(64 << 40, "{}", 1 << 20);
    let (runs, reads) = mapped("64 TiB", &source);
    assert_eq!(runs, 128);
    assert!(reads < 40, "{reads}");
}

#[test]
fn one_tebibyte_in_small_blocks() {
    let source = laid_out(1 << 40, "{\"block-size\": 1048576}", 2);
    let (runs, reads) = mapped("1 TiB in fragments", &source);
    assert_eq!(runs, 1 << 20);
    assert!(reads < 300, "{reads}");
    assert_eq!(Image::open(&source).unwrap().check().unwrap(), []);
}

#[test]
fn data_in_a_row() {
    let source = laid_out(256 << 30, "{}", 1);
    let (runs, reads) = mapped("256 GiB in a row", &source);
    assert_eq!(runs, 1, "one extent");
    assert!(reads < 40, "{reads}");
}
