//! Where files can share blocks: XFS on a loop device, for which the test has to be root.
#![allow(missing_docs)]

mod formats;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cap_std::fs::Dir;
use formats::{installed, noise, qemu_img, run};
use witvirt_core::Name;
use witvirt_core::spec::DiskSource;
use witvirt_disk::{
    Access, AllowedDirs, ConvertRequest, ConvertSource, DiskHandle, ImportRequest, Progress, SourceFile,
    Store, StoreOptions,
};

/// Bytes of data on the test's disk.
const DATA: usize = 48 << 20;

/// A mounted XFS; gone when it is dropped.
struct Xfs {
    mount: PathBuf,
    _dir: tempfile::TempDir,
}

impl Xfs {
    /// `None`, and a line that says why, where it cannot be.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (file, mount) = (dir.path().join("file"), dir.path().join("mount"));
        fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
        fs::create_dir(&mount).unwrap();
        let does = |command: &mut Command| {
            let output = command.output();
            let why = match &output {
                Ok(output) if output.status.success() => return true,
                Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                Err(error) => error.to_string(),
            };
            println!("skipped: {command:?}: {why}");
            false
        };
        let made = does(Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1"]).arg(&file))
            && does(Command::new("mount").args(["-o", "loop"]).arg(&file).arg(&mount));
        made.then_some(Self { mount, _dir: dir })
    }

    /// Bytes in use.
    fn used(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.mount).unwrap();
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    }

    fn synced(&self) -> u64 {
        run("sync", &["-f", self.mount.to_str().unwrap()], Path::new("/"));
        self.used()
    }
}

impl Drop for Xfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mount).status();
    }
}

#[test]
fn data_is_shared_instead_of_copied() {
    let Some(xfs) = Xfs::new().filter(|_| qemu_img()) else { return };
    let dir = xfs.mount.join("images");
    fs::create_dir(&dir).unwrap();
    let mut bytes = noise(1, DATA);
    // The end is no whole block: that part has to be copied.
    bytes.splice(DATA / 2..DATA / 2, vec![0; 3 << 20]);
    bytes.extend([7; 512]);
    fs::write(dir.join("source.raw"), &bytes).unwrap();
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", "source.raw", "source.qcow2"], &dir);
    let store = Store::open(&xfs.mount.join("store"), StoreOptions::default()).unwrap();
    let allowed = AllowedDirs::new([&dir]).unwrap();
    let formats = installed();
    let access = Access { formats: &formats, allowed: &allowed, references: &allowed };
    let before = xfs.synced();
    let little = |what: &str| {
        let more = xfs.synced() - before;
        assert!(more < DATA as u64 / 8, "{what}: {more} bytes");
    };

    for (source, format) in [("source.raw", "raw"), ("source.qcow2", "qcow2")] {
        let request = ConvertRequest {
            source: ConvertSource::File(SourceFile::new(dir.join(source)).with_format(format)),
            target: dir.join("out.raw"),
            format: "raw".into(),
            options: serde_json::json!({}),
            backing: None,
            replace: true,
            sync: true,
        };
        store.convert(access, &request, &Progress::new()).unwrap();
        assert!(fs::read(dir.join("out.raw")).unwrap() == bytes, "{source}");
        little(source);
    }

    let request = ImportRequest::new(SourceFile::new(dir.join("source.qcow2")));
    let digest = store.import(access, &request, &Progress::new()).unwrap().record.digest;
    little("import");
    assert_eq!(store.verify(&digest.hex(), &Progress::new()).unwrap(), digest);

    let machine = xfs.mount.join("machine");
    fs::create_dir(&machine).unwrap();
    let machine = Dir::open_ambient_dir(machine, cap_std::ambient_authority()).unwrap();
    let (name, source) = (Name::new("root").unwrap(), DiskSource::Image(digest.hex()));
    for round in 0..2u8 {
        let disk = store.attach(access, &machine, &name, &source, false, &Progress::new()).unwrap();
        let DiskHandle::Raw { file, read_only: false } = disk else { panic!("a clone is raw, not {disk:?}") };
        let mut there = vec![0; bytes.len()];
        file.read_exact_at(&mut there, 0).unwrap();
        // What a machine wrote stays, and stays its own.
        there[5 << 20] ^= round * 0xff;
        assert!(there == bytes);
        file.write_all_at(&[!bytes[5 << 20]], 5 << 20).unwrap();
    }
    little("a machine's disk");
    assert_eq!(store.verify(&digest.hex(), &Progress::new()).unwrap(), digest);
}
