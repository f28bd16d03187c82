use super::{Descriptor, Kind, Part};
use crate::ErrorKind;

const TOP: &str = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
const NIL: &str = "{00000000-0000-0000-0000-000000000000}";
const BASE: &str = "{11111111-2222-3333-4444-555555555555}";

fn image(guid: &str, kind: &str, file: &str) -> String {
    format!("<Image><GUID>{guid}</GUID><Type>{kind}</Type><File>{file}</File></Image>")
}

fn storage(start: u64, end: u64, images: &str) -> String {
    format!("<Storage><Start>{start}</Start><End>{end}</End><Blocksize>2048</Blocksize>{images}</Storage>")
}

fn shot(guid: &str, parent: &str) -> String {
    format!("<Shot><GUID>{guid}</GUID><ParentGUID>{parent}</ParentGUID></Shot>")
}

fn document(parameters: &str, storages: &str, shots: &str) -> String {
    format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<Parallels_disk_image Version=\"1.0\">\
         <Disk_Parameters><Disk_size>4096</Disk_size>{parameters}</Disk_Parameters>\
         <StorageData>{storages}</StorageData><Snapshots>{shots}</Snapshots></Parallels_disk_image>"
    )
}

fn parse(text: &str) -> Result<Descriptor, crate::Error> {
    Descriptor::parse(text.as_bytes())
}

fn part(kind: Kind, name: &str) -> Part {
    Part { kind, name: name.to_owned() }
}

#[test]
fn finds_the_chain_of_the_top() {
    let images = image(TOP, "Compressed", "top.hds")
        + &image("{99999999-0000-0000-0000-000000000000}", "Compressed", "other.hds")
        + &image(BASE, "Plain", "base.hds");
    let shots = shot(TOP, BASE) + &shot("{99999999-0000-0000-0000-000000000000}", BASE) + &shot(BASE, NIL);
    let chain = [part(Kind::Expanding, "top.hds"), part(Kind::Plain, "base.hds")];
    let found = parse(&document("<Padding>0</Padding>", &storage(0, 4096, &images), &shots)).unwrap();
    assert_eq!((found.disk_size, found.snapshots), (2 << 20, 3));
    assert_eq!(found.storages[0].chain, chain);
    assert_eq!(found.storages[0].cluster_size, 1 << 20);
    assert_eq!(found.top.as_deref(), Some(TOP));
    // Another top.
    let named = format!("<TopGUID>{{99999999-0000-0000-0000-000000000000}}</TopGUID>{shots}");
    let found = parse(&document("", &storage(0, 4096, &images), &named)).unwrap();
    assert_eq!(found.storages[0].chain[0].name, "other.hds");
    // None.
    let single = image(BASE, "Plain", "base.hds");
    let found = parse(&document("", &storage(0, 4096, &single), "")).unwrap();
    assert_eq!((found.top, found.storages[0].cluster_size), (None, 0));
}

#[test]
fn sorts_split_disks() {
    let (first, second) = (image(TOP, "Compressed", "a.hds"), image(TOP, "Plain", "b.hds"));
    let storages = storage(2048, 4096, &second) + &storage(0, 2048, &first);
    let found = parse(&document("", &storages, &shot(TOP, NIL))).unwrap();
    let names: Vec<&str> = found.storages.iter().map(|storage| storage.chain[0].name.as_str()).collect();
    assert_eq!(names, ["a.hds", "b.hds"]);
}

#[test]
fn every_refusal_names_its_reason() {
    use ErrorKind::{Corrupt, InvalidInput, Unsupported};
    let one = storage(0, 4096, &image(TOP, "Compressed", "a.hds"));
    let root = shot(TOP, NIL);
    let sound = document("", &one, &root);
    parse(&sound).unwrap();
    let engine = "<Encryption><Engine>{11111111-2222-3333-4444-555555555555}</Engine></Encryption>";
    let both = image(TOP, "Plain", "a.hds") + &image(BASE, "Compressed", "b.hds");
    let twice = image(TOP, "Compressed", "a.hds").repeat(2);
    let two = image(TOP, "Compressed", "a.hds") + &image(BASE, "Compressed", "b.hds");
    let over = shot(TOP, BASE) + &shot(BASE, NIL);
    let with = |from: &str, to: &str| sound.replace(from, to);
    let cases = [
        ("<domain/>".to_owned(), InvalidInput, "root element"),
        (with("<StorageData>", "<StorageData"), InvalidInput, "as XML"),
        (
            with("<Parallels_disk", "<!DOCTYPE a [<!ENTITY b \"c\">]><Parallels_disk"),
            Unsupported,
            "document type",
        ),
        (with("\"1.0\"", "\"2.0\""), Unsupported, "version 1.0"),
        (document("<Padding>1</Padding>", &one, &root), Unsupported, "padding"),
        (document("<LogicSectorSize>4096</LogicSectorSize>", &one, &root), Unsupported, "sectors"),
        (document(engine, &one, &root), Unsupported, "encrypted"),
        (with("<Disk_size>4096</Disk_size>", ""), Corrupt, "no Disk_size"),
        (with("<Disk_size>4096", "<Disk_size>-1"), Corrupt, "no number of sectors"),
        (with("<Disk_size>4096", "<Disk_size>18446744073709551615"), Corrupt, "no number of sectors"),
        (with("<Disk_size>4096", "<Disk_size>4097"), Corrupt, "do not end where the disk does"),
        (with("<Start>0", "<Start>1"), Corrupt, "do not follow each other"),
        (with("<End>4096", "<End>0"), Corrupt, "do not follow each other"),
        (with("Compressed", "Squeezed"), Unsupported, "type \"Squeezed\""),
        (with("a.hds", ""), Corrupt, "name of an image"),
        (with("a.hds", "a\tb"), Corrupt, "name of an image"),
        (with("<Blocksize>2048", "<Blocksize>0"), Corrupt, "block size"),
        (with("<Blocksize>2048", "<Blocksize>99999999999"), Corrupt, "block size"),
        (with(TOP, "{1}"), Corrupt, "no GUID"),
        (document("", &one, &shot(TOP, TOP)), Corrupt, "below itself"),
        (document("", &one, &shot(TOP, BASE)), Corrupt, "below itself"),
        (document("", &one, &root.repeat(2)), Corrupt, "two snapshots"),
        (document("", &one, &over), Corrupt, "no image for a snapshot"),
        (document("", &one, &shot(BASE, NIL)), Corrupt, "which snapshot is on top"),
        (document("", &storage(0, 4096, &both), &over), Corrupt, "plain image over"),
        (document("", &storage(0, 4096, &twice), &root), Corrupt, "same GUID"),
        (document("", &storage(0, 4096, &two), ""), Corrupt, "has to have one image"),
        (document("", "", &root), Corrupt, "do not end where the disk does"),
    ];
    for (text, kind, part) in cases {
        let error = parse(&text).expect_err(part);
        assert_eq!(error.kind, kind, "{part}: {error:?}");
        assert!(error.message.contains(part), "\"{part}\" in {error:?}");
    }
    assert_eq!(Descriptor::parse(b"<a>\xff</a>").unwrap_err().message, "the descriptor is not UTF-8");
}

#[test]
fn large_documents_take_no_time() {
    let images: String =
        (0..5000).map(|index| image(&format!("{{{index:032x}}}"), "Compressed", "a.hds")).collect();
    let shots: String = (1..5000)
        .map(|index| shot(&format!("{{{index:032x}}}"), &format!("{{{:032x}}}", index - 1)))
        .collect();
    let text =
        document("", &storage(0, 4096, &images), &format!("<TopGUID>{{{:032x}}}</TopGUID>{shots}", 4999));
    assert!(text.len() as u64 <= super::MAX_BYTES * 2);
    let before = std::time::Instant::now();
    let error = parse(&text).unwrap_err();
    assert!(error.message.contains("XML") || error.message.contains("too many files"), "{error:?}");
    assert!(before.elapsed().as_secs() < 2);
}
