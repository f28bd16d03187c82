//! Maps of large disks: how many reads they take.

use format_vpc::Vpc;
use format_vpc::image::Image;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{cost, lay_out, plain};

#[test]
fn two_tebibytes_with_every_second_block() {
    let size = 2040u64 << 30;
    let blocks = size >> 21;
    let chunks = (0..blocks).step_by(2).map(|block| plain(block << 21, 2 << 20));
    let file = lay_out::<Vpc>(size, "{}", None, chunks).file;
    let cost = cost::<Vpc>("2040 GiB", &file, u32::MAX);
    assert_eq!(cost.runs, blocks);
    assert!(cost.reads < 60 && cost.bytes < 5 << 20, "{cost:?}");
    assert_eq!(Image::open(&file).unwrap().check().unwrap(), []);
}
