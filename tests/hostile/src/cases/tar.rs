//! Archives: names that lead out, members that are no files, lengths that lie.

use witvirt_disk::ErrorKind::{Corrupt, Denied, Limit, NotFound};

use super::qcow2;
use crate::bytes::Bytes;
use crate::case::{Case, Content, Entry, Place, What};

/// A member of a type ('0' a file, '1' and '2' links, '3' a device ...), with what its header says of its length.
fn member(name: &str, kind: u8, link: &str, length: &[u8], content: &[u8]) -> Vec<u8> {
    let header = Bytes::new(512)
        .put(0, &name.as_bytes()[..name.len().min(100)])
        .put(100, b"0000644\0")
        .put(124, length)
        .put(136, b"00000000000\0")
        .put(148, b"        ")
        .put(156, &[kind])
        .put(157, &link.as_bytes()[..link.len().min(100)])
        .put(257, b"ustar\x0000");
    let sum: u32 = header.0.iter().map(|byte| u32::from(*byte)).sum();
    let header = header.put(148, format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = header.0;
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    member(name, b'0', "", format!("{:011o}\0", content.len()).as_bytes(), content)
}

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

pub fn cases(place: &Place) -> Vec<Case> {
    let canary = place.canary();
    let case =
        |name: &str, members: &[Vec<u8>]| Case::of(&format!("{name}.tar"), Entry::bytes(archive(members)));
    let image = qcow2::image();
    let backed = qcow2::backed(b"base.img", Some("raw"));
    let mut disk = crate::bytes::noise(0x1_0000);
    disk.resize(1 << 20, 0);
    let short = archive(&[file("disk.qcow2", &image)]);
    let descriptor = format!(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\
         RW 2048 FLAT \"{canary}\" 0\n"
    );
    let mut many = Vec::new();
    for index in 0..150_000 {
        many.extend(file(&format!("m{index}"), &[]));
    }
    let ovf = b"<Envelope/>";
    vec![
        case("sound", &[file("vm.ovf", ovf), file("disk.qcow2", &image)]).confined(Content::Bytes(disk)),
        case("dots", &[file("../../../../tmp/disk.qcow2", &image)]).denied("leads out of the archive"),
        case("dots-inside", &[file("a/../../disk.qcow2", &image)]).denied("leads out of the archive"),
        case("absolute", &[file("/tmp/disk.qcow2", &image)]).denied("leads out of the archive"),
        case("link", &[member("disk.vmdk", b'2', &canary, b"00000000000\0", &[])]).denied("no regular file"),
        case("hard-link", &[member("disk.vmdk", b'1', &canary, b"00000000000\0", &[])])
            .denied("no regular file"),
        case("device", &[member("disk.raw", b'3', "", b"00000000000\0", &[])]).denied("no regular file"),
        case("pipe", &[member("disk.raw", b'6', "", b"00000000000\0", &[])]).denied("no regular file"),
        case("twice", &[file("disk.qcow2", &image), file("disk.qcow2", &image)]).denied("two of this name"),
        case("two-disks", &[file("a.qcow2", &image), file("b.qcow2", &image)])
            .refused([super::INVALID], "several disks"),
        case("no-disk", &[file("vm.ovf", ovf)]).refused([NotFound], "called like a disk"),
        case("control", &[file("a\u{1b}[2J\n.qcow2", &image), file("b.qcow2", &image)])
            .refused([super::INVALID, Denied], ""),
        case(
            "2-63",
            &[member(
                "disk.qcow2",
                b'0',
                "",
                &[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                &image,
            )],
        )
        .refused([Corrupt, Limit], ""),
        case("negative", &[member("disk.qcow2", b'0', "", &[0xff; 12], &image)])
            .refused([Corrupt, Limit], ""),
        Case::of("cut.tar", Entry::bytes(&short[..2 << 16])).corrupt(""),
        Case::of("many.tar", Entry::bytes(many)).refused([NotFound], "called like a disk"),
        case("backed", &[file("base.img", &[7; 4096]), file("disk.qcow2", &backed)])
            .refused([super::INVALID, Denied, witvirt_disk::ErrorKind::Unsupported, NotFound], ""),
        case("descriptor", &[file("disk.vmdk", descriptor.as_bytes())])
            .refused([Denied, witvirt_disk::ErrorKind::Unsupported, NotFound], ""),
        Case::of(
            "link-upload.tar",
            Entry::bytes(archive(&[member("disk.vmdk", b'2', &canary, b"00000000000\0", &[])])),
        )
        .import(What::Upload("link-upload.tar".to_owned()))
        .denied("no regular file"),
    ]
}
