use std::io::Read;
use std::process::Command;

use super::{MemberReader, is_tar};
use crate::error::{Error, ErrorKind};

/// A member: name, type flag, content.
fn block(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend_from_slice(content);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

fn read(archive: Vec<u8>, wanted: Option<&str>) -> Result<(String, Vec<u8>), Error> {
    let (mut reader, entry) =
        MemberReader::find(Box::new(std::io::Cursor::new(archive)), "a.tar", wanted.into())?;
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok((entry.name, bytes)),
        Err(error) => Err(error.downcast().unwrap()),
    }
}

#[test]
fn the_only_disk_or_the_named_member_is_read() {
    let archive = [
        block("./box.ovf", b'0', b"<Envelope/>"),
        block("./box-disk1.vmdk", b'0', b"disk"),
        block("box.mf", b'0', b"sums"),
        block("disk/", b'5', b""),
        block("disk/fedora", b'0', b"other"),
        vec![0; 1024],
    ];
    assert!(is_tar(&archive[0]));
    let archive = archive.concat();
    assert_eq!(read(archive.clone(), None).unwrap(), ("box-disk1.vmdk".into(), b"disk".to_vec()));
    for wanted in ["disk/", "/disk/", "./disk/fedora", "/disk/fedora"] {
        assert_eq!(read(archive.clone(), Some(wanted)).unwrap().1, b"other", "{wanted}");
    }
    assert_eq!(read(archive.clone(), Some("box.mf")).unwrap().1, b"sums");
    let error = read(archive, Some("none")).unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("box.ovf"), "{error}");
}

#[test]
fn what_an_extractor_should_refuse_is_refused() {
    let disk = || block("a.raw", b'0', b"disk");
    for (archive, wanted, kind, word) in [
        ([disk(), disk()].concat(), None, ErrorKind::Denied, "two of this name"),
        ([disk(), block("b.qcow2", b'0', b"x")].concat(), None, ErrorKind::InvalidInput, "several disks"),
        (block("../a.raw", b'0', b"x"), None, ErrorKind::Denied, "leads out"),
        (block("/a.raw", b'0', b"x"), None, ErrorKind::Denied, "leads out"),
        (block("x/../../a.raw", b'0', b"x"), None, ErrorKind::Denied, "leads out"),
        (block("a.raw", b'2', b""), None, ErrorKind::Denied, "no regular file"),
        (block("a.raw", b'1', b""), None, ErrorKind::Denied, "no regular file"),
        (block("a.raw", b'3', b""), None, ErrorKind::Denied, "no regular file"),
        ([disk(), block("a.raw", b'2', b"")].concat(), None, ErrorKind::Denied, "no regular file"),
        (block("secret", b'2', b""), Some("secret"), ErrorKind::Denied, "no regular file"),
        (block("README", b'0', b"x"), None, ErrorKind::NotFound, "README"),
        (Vec::new(), None, ErrorKind::NotFound, "no files"),
        (disk()[..514].to_vec(), None, ErrorKind::Corrupt, "ends in a member"),
        (disk()[..100].to_vec(), None, ErrorKind::Corrupt, "ends in a member"),
        (vec![b'x'; 600], None, ErrorKind::Corrupt, "checksum"),
        ([block("x", b'x', b"5 a=b"), disk()].concat(), None, ErrorKind::Corrupt, "pax"),
        ([block("x", b'x', b"11 size=-1\n"), disk()].concat(), None, ErrorKind::Corrupt, "number"),
        (
            [block("x", b'x', b"29 size=18446744073709551615\n"), disk()].concat(),
            None,
            ErrorKind::Corrupt,
            "too long",
        ),
    ] {
        let error = read(archive, wanted).expect_err(word);
        assert_eq!(error.kind(), kind, "{word}: {error}");
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}

/// Archives of the real program, with every way it has to store holes and long names.
#[test]
fn sparse_members_are_whole_again() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("{}/disk.raw", "d".repeat(120));
    let path = dir.path().join(&long);
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let mut content = vec![0; 3 << 20];
    for at in (0..content.len()).step_by(200_000) {
        content[at..at + 77].fill(b'a' + (at % 23) as u8);
    }
    // Holes for the archiver to see.
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(content.len() as u64).unwrap();
    for at in (0..content.len()).step_by(200_000) {
        std::os::unix::fs::FileExt::write_all_at(&file, &content[at..at + 77], at as u64).unwrap();
    }
    for options in [
        &["--format=gnu", "-S"][..],
        &["--format=oldgnu", "-S"],
        &["--format=pax", "-S"],
        &["--format=pax", "-S", "--sparse-version=0.1"],
        &["--format=pax", "-S", "--sparse-version=0.0"],
        &["--format=pax"],
        &["--format=gnu"],
    ] {
        let output =
            Command::new("tar").arg("-c").args(options).arg("-C").arg(dir.path()).arg(&long).output();
        let Ok(output) = output else {
            println!("skipped: there is no tar");
            return;
        };
        assert!(output.status.success(), "{options:?}");
        assert_eq!(output.stdout.len() < 2 << 20, options.contains(&"-S"), "{options:?}");
        let (name, bytes) = read(output.stdout, None).unwrap();
        assert_eq!(name, long, "{options:?}");
        assert!(bytes == content, "{options:?}");
    }
}
