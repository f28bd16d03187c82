//! Files that change between the moments at which they are looked at.

use witvirt_disk::ErrorKind::{Changed, Corrupt};

use super::{qcow2, vdi};
use crate::case::{Case, Entry};
use crate::meddle::{Change, Meddling, Moment};

fn while_(case: Case, moment: Moment, change: Change) -> Case {
    let file = case.what.name().to_owned();
    case.while_(Meddling { moment, file, change })
}

pub fn cases() -> Vec<Case> {
    let probed = |name: &str| Case::of(name, Entry::bytes(qcow2::image()));
    let raw = |name: &str| Case::new(name, "raw", crate::bytes::noise(8 << 20));
    let other = qcow2::backed(b"/etc/passwd", Some("raw"));
    vec![
        while_(probed("becomes-backed.qcow2"), Moment::Open, Change::Bytes(0, other))
            .refused([Changed, Corrupt, witvirt_disk::ErrorKind::Denied], ""),
        while_(probed("becomes-vdi.qcow2"), Moment::Open, Change::Bytes(0, vdi::image()[..1024].to_vec()))
            .refused([Changed, Corrupt, super::INVALID], ""),
        // The file that was opened is read to the end, whatever has its name now: what counts is that it did not change.
        while_(
            probed("replaced.qcow2").with("other", Entry::bytes(vdi::image())),
            Moment::Open,
            Change::Replaced("other".into()),
        )
        .refused([Changed], "replaced.qcow2"),
        while_(
            probed("tables-change.qcow2"),
            Moment::Map,
            Change::Bytes(0x40008, vec![0x80, 0, 0, 0, 0, 5, 0, 0]),
        )
        .refused([Changed], "tables-change.qcow2"),
        while_(probed("shrinks.qcow2"), Moment::Map, Change::Length(0x48000))
            .refused([Changed, Corrupt, witvirt_disk::ErrorKind::Io], "shrank below"),
        while_(raw("shrinks.raw"), Moment::Map, Change::Length(1 << 20))
            .refused([Changed, Corrupt], "shrinks.raw"),
        while_(raw("vanishes.raw"), Moment::Map, Change::Length(0))
            .refused([Changed, Corrupt], "vanishes.raw"),
        while_(raw("grows.raw"), Moment::Map, Change::Length(16 << 20)).refused([Changed], "grows.raw"),
        while_(raw("rewritten.raw"), Moment::Map, Change::Bytes(4 << 20, vec![0; 4096]))
            .refused([Changed], "rewritten.raw"),
    ]
}
