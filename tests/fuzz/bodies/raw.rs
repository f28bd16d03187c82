//! Any length as a raw image, any range of it.

use format_raw::image::Image;
use witvirt_sdk::Error;
use witvirt_sdk::disk::{ImageReader, ReadAt};

/// A file of which only the length matters.
struct Length(u64);

impl ReadAt for Length {
    fn size(&self) -> u64 {
        self.0
    }

    fn read_at(&self, _: u64, _: u32) -> Result<Vec<u8>, Error> {
        panic!("a raw image is not read")
    }
}

/// What must hold: the pages of a range are contiguous and cover it up to the end of the disk.
pub fn run(data: &[u8]) {
    let number = |index: usize| {
        let bytes = data.get(index * 8..index * 8 + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let (Some(file), Some(start), Some(length), Some(max)) = (number(0), number(1), number(2), number(3))
    else {
        return;
    };
    let Ok(mut raw) = Image::open(Length(file)) else { return };
    let size = raw.geometry().virtual_size;
    assert!(size >= file && size - file < 512);
    let end = start.saturating_add(length).min(size);
    let mut at = start;
    while at < end {
        let page = raw.extents(at, end - at, max as u32).expect("nothing is read");
        for extent in &page.extents {
            assert_eq!(extent.start, at);
            assert!(extent.length > 0);
            at += extent.length;
        }
        assert_eq!(page.next, (at < end).then_some(at));
    }
}
