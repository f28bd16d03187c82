//! Chains of images of different formats, read through the host as a daemon does. What a guest has to see is what was written:
//! qemu-img ignores the parents of differencing VHDs, and refuses those of others.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;

use uuid::Uuid;
use witvirt_disk::ErrorKind;
use witvirt_disk::ErrorKind::{Corrupt, NotFound};
use witvirt_hostile::bytes::{Bytes, noise};
use witvirt_hostile::case::{Case, Content, Entry, Verdict, What};
use witvirt_hostile::cases::{vhdx, vpc};
use witvirt_hostile::corpus::{have, run};
use witvirt_hostile::judge::faults;
use witvirt_hostile::plugins;
use witvirt_hostile::run::Bench;

const PROGRAM: &str = env!("CARGO_BIN_EXE_witvirt-hostile");
const MIB: usize = 1 << 20;

/// A bench with 8 MiB of noise and holes in `base.raw`; nothing where programs are missing.
fn bench() -> Option<(Bench, Vec<u8>)> {
    if !plugins::built() || !have("qemu-img", "qemu-utils") || !have("qemu-io", "qemu-utils") {
        return None;
    }
    let bench = Bench::new(PROGRAM).unwrap();
    let mut base = noise(8 * MIB);
    base[2 * MIB..3 * MIB].fill(0);
    base[7 * MIB..].fill(0);
    fs::write(bench.place().directory.join("base.raw"), &base).unwrap();
    Some((bench, base))
}

fn image(bench: &Bench, line: &str) {
    run("qemu-img", &line.split_whitespace().collect::<Vec<_>>(), &bench.place().directory).unwrap();
}

/// Writes through qemu, and into what a guest has to see.
fn write(bench: &Bench, format: &str, file: &str, seen: &mut [u8], at: usize, length: usize, byte: u8) {
    let command = format!("write -q -P {byte} {at} {length}");
    run("qemu-io", &["-f", format, "-c", &command, file], &bench.place().directory).unwrap();
    seen[at..at + length].fill(byte);
}

fn put(bench: &Bench, file: &str, bytes: &[u8]) {
    fs::write(bench.place().directory.join(file), bytes).unwrap();
}

fn get(bench: &Bench, file: &str) -> Vec<u8> {
    fs::read(bench.place().directory.join(file)).unwrap()
}

/// Files of the bench's directory as a case.
fn present(file: &str, format: &str) -> Case {
    let mut case = Case::of(file, Entry::Directory).import(What::File(file.to_owned()));
    case.format = Some(format.to_owned());
    case
}

fn ends(bench: &Bench, case: &Case) {
    let ended = bench.import(case, &bench.place().directory).unwrap();
    let found = faults(case, &ended);
    assert!(found.is_empty(), "{}: {found:?}", case.name);
}

fn reads(bench: &Bench, file: &str, format: &str, seen: &[u8]) {
    ends(bench, &present(file, format).confined(Content::Bytes(seen.to_vec())));
}

fn refused(bench: &Bench, file: &str, format: &str, kind: ErrorKind, word: &str) {
    let mut case = present(file, format);
    case.verdict = Verdict::Refuse(vec![kind], word.to_owned());
    ends(bench, &case);
}

/// A differencing VHD of 8 MiB in blocks of 512 KiB over a parent of this identity, with these sectors of a byte each.
fn vhd(parent: &str, identity: &[u8], own: [u8; 16], sectors: &[(usize, u8)]) -> Vec<u8> {
    const BLOCK: usize = 512 << 10;
    let footer = Bytes(vpc::footer(8 << 20, 4)).put(68, &own);
    let footer = vpc::sealed(footer.0, 64);
    let path: Vec<u8> = format!(".\\{parent}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let header = Bytes::new(1024)
        .put(0, b"cxsparse")
        .put(8, &[0xff; 8])
        .be64(16, 1536)
        .be32(24, 0x1_0000)
        .be32(28, 16)
        .be32(32, BLOCK as u32)
        .put(40, identity)
        .put(576, b"W2ru")
        .be32(580, 512)
        .be32(584, path.len() as u32)
        .be64(592, 2048);
    let mut file = [footer.clone(), vpc::sealed(header.0, 36), vec![0xff; 512], path].concat();
    file.resize(2560, 0);
    for (sector, byte) in sectors {
        let (entry, bit) = (1536 + sector / 1024 * 4, sector % 1024);
        let mut place = u32::from_be_bytes(file[entry..entry + 4].try_into().unwrap());
        if place == u32::MAX {
            place = (file.len() / 512) as u32;
            file[entry..entry + 4].copy_from_slice(&place.to_be_bytes());
            file.resize(file.len() + 512 + BLOCK, 0);
        }
        let start = place as usize * 512;
        file[start + bit / 8] |= 0x80 >> (bit % 8);
        file[start + 512 + bit * 512..][..512].fill(*byte);
    }
    [file, footer].concat()
}

fn fill(seen: &mut [u8], sectors: &[(usize, u8)]) {
    sectors.iter().for_each(|(sector, byte)| seen[sector * 512..][..512].fill(*byte));
}

#[test]
fn qcow2_over_vhd_differencing_over_vhd_dynamic() {
    let Some((bench, mut seen)) = bench() else { return };
    image(&bench, "convert -f raw -O vpc -o subformat=dynamic,force_size=on base.raw base.vhd");
    let identity = get(&bench, "base.vhd")[68..84].to_vec();
    let (below, above) = ([(0, 1), (1, 2), (1023, 3), (4096, 4), (9000, 5)], [(1, 6), (4097, 7), (16383, 8)]);
    put(&bench, "one.vhd", &vhd("base.vhd", &identity, [8; 16], &below));
    fill(&mut seen, &below);
    reads(&bench, "one.vhd", "vpc", &seen);
    put(&bench, "two.vhd", &vhd("one.vhd", &[8; 16], [9; 16], &above));
    fill(&mut seen, &above);
    reads(&bench, "two.vhd", "vpc", &seen);
    image(&bench, "create -q -u -f qcow2 -F vpc -b two.vhd top.qcow2 8M");
    write(&bench, "qcow2", "top.qcow2", &mut seen, 3 * MIB, 65536, 0x5a);
    reads(&bench, "top.qcow2", "qcow2", &seen);

    put(&bench, "two.vhd", &vhd("one.vhd", &[7; 16], [9; 16], &above));
    refused(&bench, "two.vhd", "vpc", Corrupt, "another image");
}

#[test]
fn vhdx_differencing_over_vhdx() {
    let Some((bench, mut seen)) = bench() else { return };
    image(&bench, "convert -f raw -O vhdx base.raw base.vhdx");
    // The header that counts is the one with the larger sequence number.
    let file = get(&bench, "base.vhdx");
    let header =
        |at: usize| (u64::from_le_bytes(file[at + 8..at + 16].try_into().unwrap()), &file[at + 32..at + 48]);
    let (_, written) = header(0x1_0000).max(header(0x2_0000));
    let linkage = |id: Uuid| format!("{{{}}}", id.hyphenated().to_string().to_uppercase());
    let child = |parent: &str, id: Uuid| {
        let pairs = [("parent_linkage", &*linkage(id)), ("relative_path", parent)];
        let mut made = vhdx::Made::default();
        (made.size, made.locator) = (8 << 20, Some(vhdx::locator(&pairs)));
        // Block 1 is in part here; block 5 is all zeros; block 6 is all here.
        let mut bits = vec![0u8; MIB];
        let sectors = [2048usize, 2049, 3000, 4095];
        sectors.iter().for_each(|sector| bits[sector / 8] |= 1 << (sector % 8));
        let table = vhdx::TABLE;
        Bytes(made.build())
            .le64(table + 8, 5 << 20 | 7)
            .le64(table + 8 * 5, 2)
            .le64(table + 8 * 6, 6 << 20 | 6)
            .le64(table + 8 * 4096, 4 << 20 | 6)
            .put(4 * MIB, &bits)
            .put(5 * MIB, &[0x11; MIB])
            .put(6 * MIB, &[0x22; MIB])
            .0
    };
    put(&bench, "one.vhdx", &child(".\\base.vhdx", Uuid::from_slice_le(written).unwrap()));
    fill(&mut seen, &[(2048, 0x11), (2049, 0x11), (3000, 0x11), (4095, 0x11)]);
    seen[5 * MIB..6 * MIB].fill(0);
    seen[6 * MIB..7 * MIB].fill(0x22);
    reads(&bench, "one.vhdx", "vhdx", &seen);
    // A child of the child, which has the identity that all of those have that are made here.
    put(&bench, "two.vhdx", &child("one.vhdx", Uuid::from_bytes([2; 16])));
    reads(&bench, "two.vhdx", "vhdx", &seen);
    put(&bench, "two.vhdx", &child("one.vhdx", Uuid::from_bytes([3; 16])));
    refused(&bench, "two.vhdx", "vhdx", Corrupt, "another image");
}

/// Makes a VDI of qemu-img's differ from a parent: its identity, and that of the parent's last change.
fn vdi_over(file: Vec<u8>, parent: &[u8], changed: &[u8]) -> Vec<u8> {
    Bytes(file).le32(76, 4).put(392, &[0xcd; 16]).put(424, parent).put(440, changed).0
}

#[test]
fn vdi_differencing_by_identity_beside_it_and_in_the_store() {
    let Some((bench, mut seen)) = bench() else { return };
    let directory = bench.place().directory;
    image(&bench, "convert -f raw -O vdi base.raw base.vdi");
    // Two blocks of its own, and one that is explicitly of zeros.
    image(&bench, "create -q -f vdi child.vdi 8M");
    let mut own = vec![0; 8 * MIB];
    for at in [MIB, 7 * MIB] {
        write(&bench, "vdi", "child.vdi", &mut own, at, MIB, 0x33);
        seen[at..at + MIB].fill(0x33);
    }
    let parent = get(&bench, "base.vdi");
    let (id, changed) = (&parent[392..408], &parent[408..424]);
    let child = get(&bench, "child.vdi");
    let map = u32::from_le_bytes(child[340..344].try_into().unwrap()) as usize;
    let child = Bytes(child).le32(map + 4 * 4, 0xffff_fffe).0;
    seen[4 * MIB..5 * MIB].fill(0);
    put(&bench, "child.vdi", &vdi_over(child.clone(), id, changed));
    reads(&bench, "child.vdi", "vdi", &seen);
    // qemu refuses the child, and so is not shown it.
    image(&bench, "create -q -f qcow2 top.qcow2 8M");
    write(&bench, "qcow2", "top.qcow2", &mut seen, 0, 65536, 0x44);
    image(&bench, "rebase -u -f qcow2 -F vdi -b child.vdi top.qcow2");
    reads(&bench, "top.qcow2", "qcow2", &seen);
    fs::remove_file(directory.join("top.qcow2")).unwrap();
    seen[..65536].copy_from_slice(&get(&bench, "base.raw")[..65536]);

    // Not beside it any more, but in the store.
    fs::create_dir(directory.join("elsewhere")).unwrap();
    fs::rename(directory.join("base.vdi"), directory.join("elsewhere/base.vdi")).unwrap();
    refused(&bench, "child.vdi", "vdi", NotFound, "no image of the store");
    let stored = || present("child.vdi", "vdi").after("elsewhere/base.vdi", "vdi");
    ends(&bench, &stored().confined(Content::Bytes(seen.clone())));
    // Changed since the child was made over it; and one of another format with that identity is not it.
    put(&bench, "child.vdi", &vdi_over(child.clone(), id, &[0x77; 16]));
    ends(&bench, &stored().corrupt("last change"));
    fs::copy(directory.join("elsewhere/base.vdi"), directory.join("base.vdi")).unwrap();
    refused(&bench, "child.vdi", "vdi", Corrupt, "last change");
    put(&bench, "child.vdi", &vdi_over(child, &[0x66; 16], changed));
    ends(&bench, &stored().refused([NotFound], "none of the 2 other files"));
}

#[test]
fn vmdk_delta_over_monolithic_sparse() {
    let Some((bench, mut seen)) = bench() else { return };
    image(&bench, "convert -f raw -O vmdk -o subformat=monolithicSparse base.raw base.vmdk");
    image(&bench, "create -q -f vmdk -F vmdk -b base.vmdk delta.vmdk");
    write(&bench, "vmdk", "delta.vmdk", &mut seen, 2 * MIB, 65536, 0x77);
    write(&bench, "vmdk", "delta.vmdk", &mut seen, 5 * MIB + 512, 1024, 0x78);
    reads(&bench, "delta.vmdk", "vmdk", &seen);
    image(&bench, "create -q -f vmdk -F vmdk -b delta.vmdk second.vmdk");
    write(&bench, "vmdk", "second.vmdk", &mut seen, 0, 512, 0x79);
    reads(&bench, "second.vmdk", "vmdk", &seen);
    // Written to, the base is another one than the delta was made over.
    write(&bench, "vmdk", "base.vmdk", &mut seen, 0, 512, 1);
    refused(&bench, "delta.vmdk", "vmdk", Corrupt, "another image");
    assert!(Path::new(&bench.place().directory).join("second.vmdk").exists());
}
