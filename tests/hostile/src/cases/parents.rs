//! Chains: too deep, round in circles, of images that are not the ones that were meant.

use witvirt_disk::ErrorKind::{Corrupt, Limit, NotFound};

use super::{patched, qcow2, vdi};
use crate::case::{Case, Content, Entry, Place};

pub fn cases(place: &Place) -> Vec<Case> {
    let over = |name: &str| Entry::bytes(qcow2::backed(name.as_bytes(), Some("qcow2")));
    let deep = |count: usize| {
        let last = format!("{count:03}.qcow2");
        let first = Case::of("000.qcow2", over("001.qcow2")).stated("qcow2");
        (1..count)
            .fold(first, |case, index| {
                case.with(&format!("{index:03}.qcow2"), over(&format!("{:03}.qcow2", index + 1)))
            })
            .with(&last, Entry::bytes(qcow2::image()))
    };
    let named = |mut case: Case, name: &str| {
        case.name = name.to_owned();
        case
    };
    let mut content = crate::bytes::noise(0x1_0000);
    content.resize(1 << 20, 0);
    let child = |parent: [u8; 16]| patched(&vdi::image(), &[(76, &[4]), (392, &[2; 16]), (424, &parent)]);
    let parent = |own: [u8; 16], of: [u8; 16]| {
        let kind = if of == [0; 16] { 1 } else { 4 };
        Entry::bytes(patched(&vdi::image(), &[(76, &[kind]), (392, &own), (424, &of)]))
    };
    vec![
        named(deep(300), "chain-300").refused([Limit], "more than 32 images"),
        named(deep(20), "chain-20").confined(Content::Bytes(content)),
        Case::of("self.qcow2", over("self.qcow2")).corrupt("below itself"),
        Case::of("dot.qcow2", over("./dot.qcow2")).corrupt("below itself"),
        Case::of("a.qcow2", over("b.qcow2")).with("b.qcow2", over("a.qcow2")).corrupt("below itself"),
        // A chain whose last link leads out.
        Case::of("out.qcow2", over("middle.qcow2"))
            .with("middle.qcow2", Entry::bytes(qcow2::backed(place.canary().as_bytes(), Some("raw"))))
            .denied("outside the allowed directories"),
        // What the child calls qcow2 is something else.
        Case::of("liar.qcow2", over("base"))
            .with("base", Entry::bytes(vec![7; 4096]))
            .refused([super::INVALID, Corrupt], "base"),
        Case::new("unknown.qcow2", "qcow2", qcow2::backed(b"base", Some("../../etc")))
            .with("base", Entry::bytes(vec![7; 4096]))
            .refused([witvirt_disk::ErrorKind::Unsupported], "no plugin reads the format"),
        Case::new("circle.vdi", "vdi", child([3; 16]))
            .with("other.vdi", parent([3; 16], [2; 16]))
            .corrupt("below itself"),
        Case::new("wanted.vdi", "vdi", child([3; 16]))
            .with("other.vdi", parent([4; 16], [0; 16]))
            .with("link.vdi", Entry::Link(place.canary()))
            .with("pipe.vdi", Entry::Pipe)
            .refused([NotFound], "none of the 1 other files"),
    ]
}
