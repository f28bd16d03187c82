//! Any bytes as an image file, or as the descriptor of a bundle whose parts are sound images.

use format_parallels::Parallels;
use witvirt_testkit::check_any_bytes;

const SECTOR: usize = 512;

/// What must hold: see [`check_any_bytes`]. All files of a bundle are the same sound image.
pub fn run(data: &[u8]) {
    check_any_bytes::<Parallels>(data.to_vec(), |_| Some(part(true, 0)));
}

/// Image files of both kinds, and descriptors: of one image, of a split disk, of snapshots.
pub fn seeds() -> Vec<Vec<u8>> {
    let top = "5fbaabe3-6958-40ff-92a7-860e329aab41";
    let base = "11111111-2222-3333-4444-555555555555";
    let single = [(0, 40, vec![(top, "Compressed", "a.hds")])];
    let split = [(0, 20, vec![(top, "Compressed", "a.hds")]), (20, 40, vec![(top, "Plain", "b.hds")])];
    let snapshots = [(0, 40, vec![(top, "Compressed", "top.hds"), (base, "Compressed", "base.hds")])];
    vec![
        part(true, 0),
        part(false, 3),
        descriptor(40, &single, &[(top, "")]),
        descriptor(40, &split, &[(top, "")]),
        descriptor(40, &snapshots, &[(top, base), (base, "")]),
    ]
}

/// Clusters of 4 sectors; of three in a row, the first two from `shift` on are stored.
pub fn part(extended: bool, shift: usize) -> Vec<u8> {
    let (clusters, per_cluster) = (10usize, 4usize);
    let mut file = if extended { b"WithouFreSpacExt" } else { b"WithoutFreeSpace" }.to_vec();
    let sectors = clusters * per_cluster;
    for word in [2, 16, 1, per_cluster, clusters, sectors, 0, 0x312e_3276, per_cluster, 0, 0, 0] {
        file.extend((word as u32).to_le_bytes());
    }
    let mut place = 1;
    for cluster in 0..clusters {
        let stored = (cluster + shift) % 3 < 2;
        let entry = if extended { place } else { place * per_cluster };
        file.extend((if stored { entry as u32 } else { 0 }).to_le_bytes());
        place += usize::from(stored);
    }
    let data = per_cluster * SECTOR;
    file.resize(data, 0);
    file.resize(place * data, 0);
    for (index, byte) in file.iter_mut().enumerate().skip(data) {
        *byte = (index / 100 + shift) as u8 | 1;
    }
    file
}

/// First sector, the one after the last, and images as GUID, type and file.
pub type Storage<'a> = (u64, u64, Vec<(&'a str, &'a str, &'a str)>);

/// A descriptor; snapshots are GUID and parent.
pub fn descriptor(sectors: u64, storages: &[Storage<'_>], shots: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<Parallels_disk_image Version=\"1.0\">\n\
         <Disk_Parameters><Disk_size>{sectors}</Disk_size><Padding>0</Padding></Disk_Parameters>\n<StorageData>\n"
    );
    for (start, end, images) in storages {
        text += &format!("<Storage><Start>{start}</Start><End>{end}</End><Blocksize>4</Blocksize>\n");
        for (guid, kind, file) in images {
            text +=
                &format!("<Image><GUID>{{{guid}}}</GUID><Type>{kind}</Type><File>{file}</File></Image>\n");
        }
        text += "</Storage>\n";
    }
    text += "</StorageData>\n<Snapshots>\n";
    for (guid, parent) in shots {
        let parent = if parent.is_empty() { "00000000-0000-0000-0000-000000000000" } else { parent };
        text += &format!("<Shot><GUID>{{{guid}}}</GUID><ParentGUID>{{{parent}}}</ParentGUID></Shot>\n");
    }
    (text + "</Snapshots>\n</Parallels_disk_image>\n").into_bytes()
}
