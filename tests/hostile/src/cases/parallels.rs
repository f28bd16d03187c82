//! Parallels: image files, and bundles whose descriptor names them.

use witvirt_disk::ErrorKind::{Corrupt, InvalidInput, Unsupported};

use super::{Row, table};
use crate::bytes::Bytes;
use crate::case::{Case, Entry, Place, What};

const TOP: &str = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
const NONE: &str = "{00000000-0000-0000-0000-000000000000}";

/// 2 MiB in clusters of 1 MiB, the first stored at 1 MiB.
pub fn image() -> Vec<u8> {
    Bytes::new(2 << 20)
        .put(0, b"WithouFreSpacExt")
        .le32(16, 2)
        .le32(20, 16)
        .le32(24, 1)
        .le32(28, 2048)
        .le32(32, 2)
        .le64(36, 4096)
        .le32(48, 2048)
        .le32(64, 1)
        .put(1 << 20, &[7; 1 << 20])
        .into()
}

fn bundle(file: &str) -> String {
    shots(file, &format!("<Shot><GUID>{TOP}</GUID><ParentGUID>{NONE}</ParentGUID></Shot>"))
}

fn shots(file: &str, shots: &str) -> String {
    format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<Parallels_disk_image Version=\"1.0\">\
         <Disk_Parameters><Disk_size>4096</Disk_size><Padding>0</Padding></Disk_Parameters>\
         <StorageData><Storage><Start>0</Start><End>4096</End><Blocksize>2048</Blocksize>\
         <Image><GUID>{TOP}</GUID><Type>Compressed</Type><File>{file}</File></Image></Storage></StorageData>\
         <Snapshots>{shots}</Snapshots></Parallels_disk_image>"
    )
}

pub fn cases(place: &Place) -> Vec<Case> {
    let rows: Vec<Row> = vec![
        ("signature", vec![(0, b"X")], InvalidInput, "signature"),
        ("version-1", vec![(16, &[1])], Unsupported, "version 1"),
        ("cluster-0", vec![(28, &[0; 4])], Corrupt, "cluster size is none"),
        ("cluster-2-31", vec![(28, &[0xff; 4])], Corrupt, "cluster size is none"),
        ("entries-1", vec![(32, &[1])], Corrupt, "fewer entries"),
        ("entries-2-32", vec![(32, &[0xff; 4])], Corrupt, "table lies past the end"),
        ("size-2-64", vec![(36, &[0xff; 8])], Corrupt, "larger than a disk can be"),
        ("cluster-far", vec![(64, &[0xff; 4])], Corrupt, "a cluster lies past the end"),
    ];
    let mut cases = table("parallels", "hds", &image(), &rows);
    let xml = |name: &str, text: String| {
        let name = format!("parallels-{name}/DiskDescriptor.xml");
        let mut case = Case::new(&name, "parallels", text);
        case.what = What::File(name);
        case
    };
    let entities = entities("Parallels_disk_image");
    let loop_ = shots("a.hds", &format!("<Shot><GUID>{TOP}</GUID><ParentGUID>{TOP}</ParentGUID></Shot>"));
    let deep = format!("{}{}", "<a>".repeat(200_000), "</a>".repeat(200_000));
    cases.extend([
        xml("xml-absolute", bundle(&place.canary())).denied("outside the allowed directories"),
        xml("xml-dots", bundle("../canary.txt")).denied("contains \"..\""),
        xml("xml-protocol", bundle("nbd://127.0.0.1/x")).denied("names a protocol"),
        xml("xml-link", bundle("a.hds"))
            .with("parallels-xml-link/a.hds", Entry::Link(place.canary()))
            .denied("symbolic link"),
        xml("xml-pipe", bundle("a.hds"))
            .with("parallels-xml-pipe/a.hds", Entry::Pipe)
            .denied("only regular files"),
        xml("xml-entities", entities).refused([Unsupported], "document type"),
        xml("xml-snapshot-loop", loop_).corrupt("below itself"),
        xml("xml-deep", bundle("a.hds").replace("<Snapshots>", &format!("{deep}<Snapshots>")))
            .refused([InvalidInput, Corrupt, Unsupported, witvirt_disk::ErrorKind::Limit], ""),
        xml(
            "xml-external",
            bundle("&x;").replace(
                "<Parallels_disk_image",
                &format!(
                    "<!DOCTYPE a [<!ENTITY x SYSTEM \"file://{}\">]><Parallels_disk_image",
                    place.canary()
                ),
            ),
        )
        .refused([Unsupported], "document type"),
    ]);
    cases
}

/// A document whose entities stand for ten of each other, nine times.
pub fn entities(root: &str) -> String {
    let mut text = String::from("<?xml version=\"1.0\"?><!DOCTYPE p [<!ENTITY a \"aaaaaaaaaa\">");
    for (name, of) in ('b'..='j').zip('a'..) {
        text += &format!("<!ENTITY {name} \"{}\">", format!("&{of};").repeat(10));
    }
    text + &format!("]><{root} Version=\"1.0\">&j;</{root}>")
}
