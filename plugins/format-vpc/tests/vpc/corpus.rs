//! Images that others wrote, in a folder beside the repository. Skipped where it is absent.

use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{data, table, unpack};

use crate::Scratch;

/// Disks up to this size are read to their end; the digest of a larger one takes minutes.
const READ: u64 = 1 << 30;

#[test]
fn images_of_others() {
    let Some(expected) = data("expected.tsv") else { return };
    let scratch = Scratch::new();
    let (mut read, mut refused) = (0, 0);
    for row in table(&expected) {
        let name = &row["path"];
        if !name.contains(".vhd.") && !name.contains("afl5") {
            continue;
        }
        unpack(&data(name).unwrap(), &scratch.path("disk.vhd"));
        let mut disk = match scratch.open("disk.vhd") {
            Ok(disk) => disk,
            Err(error) => {
                assert!(row["qemu_img_10.0.2"] == "REFUSED" && error.message.contains("past the end"));
                refused += 1;
                continue;
            }
        };
        assert_eq!(disk.size().to_string(), row["virtual_size"], "{name}");
        assert_eq!(disk.image.check().unwrap(), [], "{name}");
        if disk.size() < READ {
            assert_eq!(disk.sha256().unwrap(), row["true_content_sha256"], "{name}");
        } else {
            // These are empty, and their digest is that of zeros.
            assert_eq!(disk.map(10).unwrap().len(), 1, "{name}");
        }
        read += 1;
    }
    assert_eq!((read, refused), (3, 1));
}
