//! Which footer counts.

use format_vpc::Vpc;
use format_vpc::image::Image;
use format_vpc::{Error, ErrorKind};
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{islands, write_image};

use crate::Scratch;
use crate::differencing::seal;

fn image(options: &str) -> Vec<u8> {
    let scratch = Scratch::new();
    write_image::<Vpc>(&scratch.path("disk.vhd"), &islands(3 << 20), options, None);
    std::fs::read(scratch.path("disk.vhd")).unwrap()
}

fn size(file: &[u8]) -> Result<u64, Error> {
    Image::open(file.to_vec()).map(|image| image.geometry().virtual_size)
}

#[test]
fn a_footer_of_511_bytes() {
    for options in ["{}", "{\"subformat\": \"fixed\"}"] {
        let mut file = image(options);
        let before = size(&file).unwrap();
        file.pop();
        assert_eq!(size(&file).unwrap(), before, "{options}");
        file.pop();
        let fixed = options != "{}";
        assert_eq!(size(&file).is_err(), fixed, "a dynamic image has another one");
    }
}

#[test]
fn a_dynamic_image_without_its_end() {
    let mut file = image("{}");
    let end = file.len() - 512;
    file.truncate(end);
    let mut opened = Image::open(file.clone()).unwrap();
    let findings = opened.check().unwrap();
    assert_eq!((findings.len(), findings[0].code.as_str(), findings[0].severity), (1, "footer-missing", 2));
    opened.extents(0, u64::MAX, 100).unwrap();
    // More is missing than the footer: the end of the last block's data.
    file.truncate(end - (1 << 20) - 512);
    let error = Image::open(file).unwrap().extents(0, u64::MAX, 100).unwrap_err();
    assert!(error.message.contains("cut short"), "{error:?}");
}

#[test]
fn two_footers_have_to_agree() {
    let sound = image("{}");
    let last = sound.len() - 512;
    for (offset, value) in [(48 + 5, 0x10), (63, 4), (70, 0xee), (22, 4)] {
        for start in [0, last] {
            let mut file = sound.clone();
            file[start + offset] = value;
            let error = size(&file).unwrap_err();
            assert!(error.message.contains("checksum"), "{error:?}");
            seal(&mut file[start..start + 512], 64);
            let error = size(&file).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Corrupt);
            assert!(error.message.contains("different disks"), "{error:?}");
        }
    }
    // What says nothing of the disk may differ: the time, the state of the machine.
    let mut file = sound.clone();
    file[24] = 9;
    seal(&mut file[..512], 64);
    size(&file).unwrap();
    // Without its copy at the start it is no dynamic image.
    let mut file = sound;
    file[..512].fill(0);
    assert_eq!(size(&file).unwrap_err().kind, ErrorKind::Corrupt);
}

#[test]
fn a_disk_that_holds_another_image() {
    // The guest of a fixed image wrote a dynamic one to the beginning of its disk.
    let mut file = image("{\"subformat\": \"fixed\"}");
    let inner = image("{}");
    file[..inner.len().min(1 << 20)].copy_from_slice(&inner[..inner.len().min(1 << 20)]);
    let mut image = Image::open(file).unwrap();
    assert_eq!(image.geometry().virtual_size, 3 << 20);
    assert_eq!(image.extents(0, u64::MAX, 10).unwrap().extents.len(), 1);
}

#[test]
fn a_fixed_image_that_is_cut_short() {
    let file = image("{\"subformat\": \"fixed\"}");
    let error = size(&file[512..]).unwrap_err();
    assert!(error.message.contains("cut short"), "{error:?}");
    let error = size(&file[file.len() - 512..]).unwrap_err();
    assert!(error.message.contains("cut short"), "{error:?}");
}
