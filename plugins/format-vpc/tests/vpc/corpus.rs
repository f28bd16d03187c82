//! Images that others wrote, in a folder beside the repository. Skipped where it is absent.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use witvirt_sdk::disk::ImageReader;

use crate::support::{Scratch, data};

/// Disks up to this size are read to their end; the digest of a larger one takes minutes.
const READ: u64 = 1 << 30;

/// The rows of a table with a header line.
pub fn table(path: &Path) -> Vec<HashMap<String, String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let names = lines.next().unwrap();
    lines.map(|line| names.iter().cloned().zip(line).collect()).collect()
}

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
        let mut packed = bzip2::read::BzDecoder::new(File::open(data(name).unwrap()).unwrap());
        let mut file = File::create(scratch.path("disk.vhd")).unwrap();
        std::io::copy(&mut packed, &mut file).unwrap();
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
