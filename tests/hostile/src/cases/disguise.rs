//! Files that are taken for something else, and things that are no files.

use witvirt_disk::ErrorKind::{Denied, Unsupported};

use super::{patched, qcow2, vdi, vpc};
use crate::case::{Case, Content, Entry, Place, What};

pub fn cases(place: &Place) -> Vec<Case> {
    let canary = place.canary();
    let backed = patched(&qcow2::backed(canary.as_bytes(), Some("raw")), &[(2 << 20, &[0])]);
    let mut padded = backed.clone();
    padded.resize(3 << 20, 0);
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\
         RW 2048 FLAT \"{canary}\" 0\n"
    );
    let mut described = text.into_bytes();
    described.resize(1 << 20, 0);
    let footed = [qcow2::image(), vpc::footer(0x60000, 2)].concat();
    let gzip = [&[0x1f, 0x8b, 8, 0][..], &crate::bytes::noise(4092)].concat();
    let nested = patched(&qcow2::image(), &[(0x50000, &backed[..0x10000])]);
    let mut inner = backed[..0x10000].to_vec();
    inner.resize(1 << 20, 0);
    let probed = |name: &str, bytes: Vec<u8>| Case::of(name, Entry::bytes(bytes));
    vec![
        // Raw is what the user says it is, whatever a guest wrote into it.
        Case::new("raw-with-qcow2-header.img", "raw", padded.clone()).confined(Content::Bytes(padded)),
        Case::new("raw-with-descriptor.img", "raw", described.clone()).confined(Content::Bytes(described)),
        Case::new("raw-with-gzip-header.img", "raw", gzip.clone()).confined(Content::Bytes(gzip)),
        Case::new("qcow2-in-qcow2.qcow2", "qcow2", nested).confined(Content::Bytes(inner)),
        probed("noise.img", crate::bytes::noise(1 << 20)).refused([Unsupported], "no plugin recognises"),
        probed("empty.img", Vec::new()).refused([Unsupported], "no plugin recognises"),
        // Both plugins leave this one to the user.
        probed("qcow2-and-vhd.img", footed).refused([Unsupported], "no plugin recognises"),
        probed("qcow2-and-dmg.img", [qcow2::image(), koly()].concat()).denied("looks like"),
        probed("vdi-and-vhd.img", [vdi::image(), vpc::footer(2 << 20, 2)].concat()).denied("looks like"),
        Case::of("pipe.raw", Entry::Pipe).stated("raw").denied("only regular files"),
        Case::of("zero.raw", Entry::Device).stated("raw").refused([Denied], "only regular files"),
        Case::of("directory.raw", Entry::Directory).stated("raw").denied("only regular files"),
        Case::of("link.raw", Entry::Link(canary.clone())).stated("raw").denied("symbolic link"),
        Case::of("link-in-path", Entry::Link(".".to_owned()))
            .with("disk.raw", Entry::bytes(vec![1; 512]))
            .stated("raw")
            .import(What::File("link-in-path/disk.raw".to_owned()))
            .denied("symbolic link"),
        Case::of("8-tib.raw", Entry::Pieces(8 << 40, Vec::new()))
            .stated("raw")
            .confined(Content::Hole(8 << 40)),
        Case::of("raw-65-tib.raw", Entry::Pieces(15 << 40, vec![(0, vec![1])]))
            .stated("vhdx")
            .refused([super::INVALID], "signature"),
        // What a client sends has no files beside it.
        Case::new("upload-backed.qcow2", "qcow2", qcow2::backed(b"base.img", Some("raw")))
            .with("base.img", Entry::bytes(vec![7; 1 << 20]))
            .import(What::Upload("upload-backed.qcow2".to_owned()))
            .refused([Denied, Unsupported, super::MISSING], "base.img"),
        Case::of("two/a.qcow2", Entry::bytes(qcow2::image()))
            .with("two/b.qcow2", Entry::bytes(qcow2::image()))
            .import(What::Directory("two".to_owned()))
            .refused([super::INVALID, Denied, Unsupported], ""),
        Case::of("linked/a.qcow2", Entry::Link(canary))
            .import(What::Directory("linked".to_owned()))
            .refused([super::MISSING, Denied, Unsupported, super::INVALID], ""),
    ]
}

/// The trailer of a disk image of Apple's, without more.
fn koly() -> Vec<u8> {
    patched(&[0; 512], &[(0, b"koly\0\0\0\x04\0\0\x02\0")])
}
