//! VMDK: a text that names files, and sparse extents with tables of their own.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use witvirt_disk::ErrorKind::{self, Corrupt, Denied, InvalidInput, Limit, NotFound, Unsupported};

use super::{Row, patched, table};
use crate::bytes::{Bytes, noise};
use crate::case::{Case, Content, Entry, Place};

/// A descriptor with these lines of extents.
fn descriptor(kind: &str, extents: &str) -> String {
    over(kind, extents, "ffffffff", "")
}

fn over(kind: &str, extents: &str, parent: &str, hint: &str) -> String {
    let hint = if hint.is_empty() { String::new() } else { format!("parentFileNameHint=\"{hint}\"\n") };
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID={parent}\ncreateType=\"{kind}\"\n{hint}\n\
         # Extent description\n{extents}\n\n#DDB\nddb.adapterType = \"ide\"\n"
    )
}

/// A sparse extent of `sectors` with an embedded descriptor: directory at sector 21, table at 22, the first grain at 128.
fn sparse(sectors: u64, descriptor: &str) -> Vec<u8> {
    Bytes::new(256 << 9)
        .put(0, b"KDMV")
        .le32(4, 1)
        .le32(8, 1)
        .le64(12, sectors)
        .le64(20, 128)
        .le64(28, 1)
        .le64(36, 20)
        .le32(44, 512)
        .le64(56, 21)
        .le64(64, 128)
        .put(73, b"\n \r\n")
        .put(512, descriptor.as_bytes())
        .le32(21 << 9, 22)
        .le32(22 << 9, 128)
        .put(128 << 9, &noise(1 << 16))
        .into()
}

fn monolithic() -> Vec<u8> {
    sparse(2048, &descriptor("monolithicSparse", "RW 2048 SPARSE \"x.vmdk\""))
}

/// A stream of one grain of compressed bytes, without a footer: directory at sector 21.
fn compressed(lba: u64, length: u32, bytes: &[u8]) -> Vec<u8> {
    let text = descriptor("streamOptimized", "RW 2048 SPARSE \"x.vmdk\"");
    let grain = Bytes::new(12).le64(0, lba).le32(8, length).put(12, bytes);
    patched(&sparse(2048, &text), &[(4, &[3]), (10, &[3]), (77, &[1]), (128 << 9, &grain.0)])
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

pub fn cases(place: &Place) -> Vec<Case> {
    [headers(), grains(), embedded(place), texts(), names(place)].concat()
}

fn headers() -> Vec<Case> {
    let rows: Vec<Row> = vec![
        ("version-9", vec![(4, &[9])], Unsupported, "version 9"),
        ("capacity-2-62", vec![(12, &[0, 0, 0, 0, 0, 0, 0, 0x40])], Corrupt, "capacity"),
        ("capacity-0", vec![(12, &[0; 8])], Corrupt, "capacity"),
        ("grain-0", vec![(20, &[0; 8])], Corrupt, "power of two"),
        ("grain-2-63", vec![(20, &[0, 0, 0, 0, 0, 0, 0, 0x80])], Corrupt, "power of two"),
        ("entries-2-32", vec![(44, &[0xff; 4])], Corrupt, "1 to 512 entries"),
        ("entries-0", vec![(44, &[0; 4])], Corrupt, "1 to 512 entries"),
        ("descriptor-far", vec![(28, &[0xff; 8])], Corrupt, "place of the descriptor"),
        ("descriptor-1-tib", vec![(36, &[0, 0, 0, 0x80])], Limit, "descriptor is too large"),
        ("directory-far", vec![(56, &[0, 0, 0, 0, 1])], Corrupt, "grain directory lies past"),
        ("directory-on-text", vec![(56, &[2])], Corrupt, "overlaps the descriptor"),
        ("text-transfer", vec![(73, b" \n\n ")], Corrupt, "transfer as text"),
        ("compression-7", vec![(77, &[7])], Unsupported, "compression 7"),
        ("table-on-directory", vec![(21 << 9, &[21])], Corrupt, "overlaps the grain directory"),
        ("table-far", vec![(21 << 9, &[0xff; 4])], Corrupt, "grain table lies past"),
        ("grain-far", vec![(22 << 9, &[0xff; 4])], Corrupt, "a grain lies past"),
    ];
    let mut cases = table("vmdk", "vmdk", &monolithic(), &rows);
    // 64 TiB: every entry of the directory names the one table.
    let text = descriptor("monolithicSparse", "RW 137438953472 SPARSE \"x\"");
    let bomb = patched(
        &sparse(1 << 37, &text),
        &[(56, &1024u64.to_le_bytes()), (1024 << 9, &22u32.to_le_bytes().repeat(1 << 21))],
    );
    cases.push(Case::new("vmdk-one-table-64-tib.vmdk", "vmdk", bomb).corrupt("more grain tables than"));
    cases
}

fn grains() -> Vec<Case> {
    let sound = zlib(&noise(1 << 16));
    let bomb = zlib(&vec![0; 64 << 20]);
    let grain = |name: &str, bytes: Vec<u8>| Case::new(&format!("vmdk-grain-{name}.vmdk"), "vmdk", bytes);
    let twice = patched(&monolithic(), &[((22 << 9) + 4, &128u32.to_le_bytes())]);
    // The tables are bytes of the file like others.
    let on_table = patched(&monolithic(), &[(22 << 9, &22u32.to_le_bytes())]);
    let mut table = on_table[22 << 9..150 << 9].to_vec();
    table.truncate(1 << 16);
    table.resize(1 << 20, 0);
    let mut doubled = noise(1 << 16).repeat(2);
    doubled.resize(1 << 20, 0);
    vec![
        grain("4-gib", compressed(0, 0xffff_fff0, &sound)).corrupt(""),
        grain("of-another", compressed(128 * 7, sound.len() as u32, &sound)).corrupt(""),
        grain("damaged", compressed(0, 600, &[0xff; 600])).corrupt("byte"),
        grain("bomb", compressed(0, bomb.len() as u32, &bomb)).corrupt(""),
        grain("on-table", on_table).confined(Content::Bytes(table)),
        grain("shared", twice).confined(Content::Bytes(doubled)),
    ]
}

/// Descriptors in a sparse extent that speak of something else.
fn embedded(place: &Place) -> Vec<Case> {
    let canary = place.canary();
    let flat = format!("RW 2048 FLAT \"{canary}\" 0");
    let case = |name: &str, kind: &str, extents: &str, word: &str| {
        let name = format!("vmdk-embedded-{name}.vmdk");
        Case::new(&name, "vmdk", sparse(2048, &descriptor(kind, extents))).corrupt(word)
    };
    vec![
        case("flat", "monolithicFlat", &flat, "disagree"),
        case("two", "monolithicSparse", &format!("RW 2048 SPARSE \"x\"\n{flat}"), "cannot have an extent"),
        case("longer", "monolithicSparse", "RW 4096 SPARSE \"x\"", "disagree"),
        case("kind", "twoGbMaxExtentSparse", "RW 2048 SPARSE \"x\"", "disagree"),
    ]
}

fn texts() -> Vec<Case> {
    let flat = |extents: &str| descriptor("twoGbMaxExtentFlat", extents);
    let case = |name: &str, text: String, kinds: [ErrorKind; 1], word: &str| {
        Case::new(&format!("vmdk-text-{name}.vmdk"), "vmdk", text).refused(kinds, word)
    };
    let many = (0..60_000).fold(String::new(), |mut text, _| {
        let _ = writeln!(text, "RW 1 ZERO");
        text
    });
    vec![
        case("many-extents", flat(&many), [Limit], "extents"),
        case("negative", flat("RW -1 FLAT \"a\" 0"), [Corrupt], "number of sectors"),
        case("2-63", flat("RW 9223372036854775807 ZERO"), [Corrupt], ""),
        case("sum-2-64", flat(&"RW 9007199254740991 ZERO\n".repeat(4000)), [Corrupt], "2^63"),
        case("no-extents", flat(""), [Corrupt], "no extents"),
        case("device", descriptor("fullDevice", "RW 2048 FLAT \"/dev/sda\" 0"), [Unsupported], ""),
        case("raw-device", descriptor("vmfsRaw", "RW 2048 VMFSRAW \"/dev/sda\""), [Unsupported], ""),
        case("4-mib", flat(&"#".repeat(4 << 20)), [Limit], "too large"),
        case("version-9", flat("RW 1 ZERO").replace("version=1", "version=9"), [Unsupported], "version"),
        case("twice", flat("RW 1 ZERO").replace("CID=fffffffe", "CID=1\nCID=2"), [Corrupt], "two lines"),
        case("signature", "# Disk Descriptor".to_owned(), [InvalidInput], "not a VMDK"),
    ]
}

fn names(place: &Place) -> Vec<Case> {
    let canary = place.canary();
    let flat = |name: &str, of: &str| {
        let text = descriptor("twoGbMaxExtentFlat", &format!("RW 2048 FLAT \"{of}\" 0"));
        Case::new(&format!("vmdk-extent-{name}.vmdk"), "vmdk", text)
    };
    let parent = |name: &str, of: &str| {
        let text = over("monolithicFlat", "RW 2048 ZERO", "00000000", of);
        Case::new(&format!("vmdk-parent-{name}.vmdk"), "vmdk", text)
    };
    vec![
        flat("absolute", &canary).denied("outside the allowed directories"),
        flat("passwd", "/etc/passwd").denied("/etc/passwd is outside"),
        flat("dots", "../canary.txt").denied("contains \"..\""),
        flat("nbd", "nbd:127.0.0.1:1").denied("names a protocol"),
        flat("json", "json:{}").denied("names a protocol"),
        flat("link", "link").with("link", Entry::Link(canary.clone())).denied("symbolic link"),
        flat("pipe", "pipe").with("pipe", Entry::Pipe).denied("only regular files"),
        flat("device", "zero").with("zero", Entry::Device).refused([Denied], "only regular files"),
        flat("itself", "vmdk-extent-itself.vmdk").refused([Corrupt], ""),
        flat("missing", "nothing").refused([NotFound], "nothing"),
        flat("short", "part").with("part", Entry::bytes(vec![1; 4096])).corrupt(""),
        flat("control", "a\u{1b}[2Jb").refused([Unsupported], "control characters"),
        parent("absolute", &canary).denied("outside the allowed directories"),
        parent("dots", "../canary.txt").denied("contains \"..\""),
        parent("unnamed", "").corrupt("parentFileNameHint"),
    ]
}
