//! Names, removal, integrity, overlays, full disks and kills.
#![allow(missing_docs)]

mod formats;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use formats::{Bench, Installed, Scripted, Told, content, installed, qemu_img, run};
use witvirt_core::extent::{Extent, ExtentKind, Page};
use witvirt_core::spec::{DataFile, DiskSource};
use witvirt_core::{ByteSize, Name};
use witvirt_disk::{
    Access, AllowedDirs, Checksum, DiskHandle, Error, ErrorKind, ImageState, ImportRequest, Imported,
    Progress, SourceFile, Store, StoreOptions,
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn import(bench: &Bench, seed: u64, as_name: &str) -> Result<Imported, Error> {
    fs::write(bench.path("source"), content(seed, 3 << 20)).unwrap();
    let mut request = ImportRequest::new(SourceFile::new(bench.path("source")).with_format("raw"));
    request.name = Some(name(as_name));
    bench.store.import(bench.access(), &request, &Progress::new())
}

#[test]
fn names_come_and_go_and_the_content_with_the_last() {
    let bench = Bench::new();
    let first = import(&bench, 1, "web").unwrap().record;
    assert!(import(&bench, 1, "web").unwrap().existed);
    assert_eq!(import(&bench, 2, "web").unwrap_err().kind(), ErrorKind::AlreadyExists);
    bench.store.tag("web", &name("spare"), false).unwrap();
    let second = import(&bench, 2, "other").unwrap().record;
    let listed: Vec<_> =
        bench.store.list().unwrap().into_iter().map(|image| (image.names, image.digest)).collect();
    let expected = [(vec![name("other")], second.digest), (vec![name("spare"), name("web")], first.digest)];
    assert_eq!(listed, expected);
    for reference in ["web", &first.digest.to_string(), &first.digest.hex(), &first.digest.short()] {
        assert_eq!(bench.store.resolve(reference).unwrap(), first.digest, "{reference}");
    }
    for reference in ["none", &first.digest.hex()[..11], "../web", "", "ffffffffffffffff"] {
        assert_eq!(bench.store.resolve(reference).unwrap_err().kind(), ErrorKind::NotFound, "{reference}");
    }
    let removed = bench.store.remove("web", &["vm".into()], false).unwrap();
    assert_eq!((removed.names, removed.image), (vec![name("web")], None));
    let error = bench.store.remove("spare", &["vm-1".into()], false).unwrap_err();
    assert!(error.kind() == ErrorKind::InUse && error.to_string().contains("vm-1"), "{error}");
    let removed = bench.store.remove("spare", &["vm-1".into()], true).unwrap();
    assert_eq!(removed.image, Some(first.digest));
    assert_eq!(bench.store.list().unwrap().len(), 1);
    assert_eq!(bench.unfinished().len(), 0);
}

#[test]
fn a_base_that_was_touched_is_hashed_and_one_that_was_altered_is_refused() {
    let bench = Bench::new();
    let record = import(&bench, 1, "web").unwrap().record;
    let disk = bench.dir.path().join("store/images").join(record.digest.hex()).join("disk.raw");
    assert_eq!(fs::metadata(&disk).unwrap().permissions().mode() & 0o777, 0o400);
    let state = || bench.store.inspect("web").unwrap().state;
    assert_eq!(state(), ImageState::Ready);

    // Touched: the same bytes written again.
    fs::set_permissions(&disk, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(&disk).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 77).unwrap();
    file.write_all_at(&byte, 77).unwrap();
    assert!(matches!(state(), ImageState::Altered(_)));
    bench.store.base(&record.digest, &Progress::new()).unwrap();
    assert_eq!(state(), ImageState::Ready);

    file.write_all_at(&[byte[0] ^ 1], 77).unwrap();
    let error = bench.store.base(&record.digest, &Progress::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
    assert_eq!(bench.store.verify("web", &Progress::new()).unwrap_err().kind(), ErrorKind::Changed);
    // The same import mends it.
    assert!(!import(&bench, 1, "web").unwrap().existed);
    bench.store.base(&record.digest, &Progress::new()).unwrap();

    // A record cut in half breaks that image alone, and an import mends it too.
    import(&bench, 2, "other").unwrap();
    let json = bench.dir.path().join("store/images").join(record.digest.hex()).join("image.json");
    let text = fs::read(&json).unwrap();
    fs::write(&json, &text[..text.len() / 2]).unwrap();
    let listed = bench.store.list().unwrap();
    let broken = listed.iter().filter(|image| matches!(image.state, ImageState::Broken(_))).count();
    assert_eq!((listed.len(), broken), (2, 1));
    assert!(!import(&bench, 1, "web").unwrap().existed);
    assert_eq!(state(), ImageState::Ready);
}

#[test]
fn the_source_digest_is_recorded_and_checked() {
    let bench = Bench::new();
    fs::write(bench.path("source"), "abc").unwrap();
    let mut request = ImportRequest::new(SourceFile::new(bench.path("source")).with_format("raw"));
    // FIPS 180-2, B.1.
    let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap();
    request.checksums = vec![Checksum::from(abc)];
    let record = bench.store.import(bench.access(), &request, &Progress::new()).unwrap().record;
    assert_eq!((record.origin.source.digest, record.virtual_size), (Some(abc), 512));
    fs::write(bench.path("source"), "abd").unwrap();
    let error = bench.store.import(bench.access(), &request, &Progress::new()).unwrap_err();
    assert!(error.to_string().contains("not sha256:ba7816bf"), "{error}");
    assert_eq!(bench.store.list().unwrap().len(), 1);
}

#[test]
fn equal_imports_at_once_converge() {
    let bench = Bench::new();
    fs::write(bench.path("source"), content(5, 12 << 20)).unwrap();
    let mut request = ImportRequest::new(SourceFile::new(bench.path("source")).with_format("raw"));
    request.name = Some(name("web"));
    let imported: Vec<Imported> = std::thread::scope(|scope| {
        let import = || bench.store.import(bench.access(), &request, &Progress::new()).unwrap();
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(import)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(imported.iter().filter(|imported| !imported.existed).count(), 1);
    assert_eq!(bench.store.list().unwrap().len(), 1);
    assert_eq!(bench.unfinished().len(), 0);
}

#[test]
fn a_machine_gets_the_same_disk_again() {
    let bench = Bench::new();
    let image = import(&bench, 1, "web").unwrap().record;
    fs::create_dir(bench.dir.path().join("machine")).unwrap();
    let dir = Dir::open_ambient_dir(bench.dir.path().join("machine"), cap_std::ambient_authority()).unwrap();
    let attach = |disk: &str, source: &DiskSource, read_only| {
        bench.store.attach(bench.access(), &dir, &name(disk), source, read_only, &Progress::new())
    };
    let source = DiskSource::Image("web".into());
    for _ in 0..2 {
        match attach("root", &source, false).unwrap() {
            DiskHandle::Overlay { file, base } => {
                let mut magic = [0; 4];
                file.read_exact_at(&mut magic, 0).unwrap();
                assert_eq!(&magic, b"QFI\xfb");
                assert_eq!(base.metadata().unwrap().len(), image.virtual_size);
                assert!(base.write_at(b"x", 0).is_err());
                assert_eq!(bench.store.image_of(&dir, &name("root")).unwrap(), Some(image.digest));
            }
            // A filesystem with reflinks.
            DiskHandle::Raw { file, .. } => assert_eq!(file.metadata().unwrap().len(), image.virtual_size),
        }
        // The name moves on, the disk stays.
        bench.store.remove_disk(&dir, &name("none")).unwrap();
        let _ = import(&bench, 2, "next").unwrap();
        bench.store.tag("next", &name("web"), true).unwrap();
    }
    if qemu_img() && bench.dir.path().join("machine/root.qcow2").exists() {
        let machine = bench.dir.path().join("machine");
        fs::write(machine.join("first.raw"), content(1, 3 << 20)).unwrap();
        run("qemu-img", &["check", "-q", "-f", "qcow2", "root.qcow2"], &machine);
        run("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", "root.qcow2", "first.raw"], &machine);
    }
    let DiskHandle::Raw { file, read_only: true } =
        attach("cd", &DiskSource::Image("next".into()), true).unwrap()
    else {
        panic!("a read-only disk needs no overlay");
    };
    assert!(file.write_at(b"x", 0).is_err());

    let blank = DiskSource::Blank { size: ByteSize(1000) };
    let DiskHandle::Raw { file, .. } = attach("scratch", &blank, false).unwrap() else {
        panic!("blank disks are raw")
    };
    assert_eq!(file.metadata().unwrap().len(), 1024);
    file.write_all_at(b"kept", 0).unwrap();
    let DiskHandle::Raw { file, .. } = attach("scratch", &blank, false).unwrap() else {
        panic!("blank disks are raw")
    };
    let mut kept = [0; 4];
    file.read_exact_at(&mut kept, 0).unwrap();
    assert_eq!(&kept, b"kept");

    let volume = |size| DiskSource::Volume { name: name("data"), size };
    assert_eq!(attach("data", &volume(None), false).unwrap_err().kind(), ErrorKind::NotFound);
    attach("data", &volume(Some(ByteSize::mib(1))), false).unwrap();
    attach("data", &volume(None), false).unwrap();
    assert_eq!(
        attach("data", &volume(Some(ByteSize::mib(2))), false).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    let volumes = bench.store.volumes().unwrap();
    assert_eq!(
        volumes.iter().map(|volume| (&volume.name, volume.size)).collect::<Vec<_>>(),
        [(&name("data"), 1 << 20)]
    );
    bench.store.remove_volume(&name("data")).unwrap();
    assert!(bench.store.volumes().unwrap().is_empty());

    bench.store.remove_disk(&dir, &name("root")).unwrap();
    bench.store.remove_disk(&dir, &name("scratch")).unwrap();
    assert_eq!(bench.store.image_of(&dir, &name("root")).unwrap(), None);
    let mut left: Vec<_> = dir.entries().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.retain(|name| name != "first.raw");
    assert!(left.is_empty(), "{left:?}");
}

fn machine_dir(bench: &Bench, machine: &str) -> Dir {
    fs::create_dir(bench.dir.path().join(machine)).unwrap();
    Dir::open_ambient_dir(bench.dir.path().join(machine), cap_std::ambient_authority()).unwrap()
}

#[test]
fn a_data_disk_is_built_anew_for_its_owner_alone() {
    let bench = Bench::new();
    let dir = machine_dir(&bench, "machine");
    let attach = |text: &str, read_only| {
        let files = vec![DataFile::text("user-data", text)];
        let source = DiskSource::Data { label: "cidata".into(), files };
        bench.store.attach(bench.access(), &dir, &name("seed"), &source, read_only, &Progress::new())
    };
    let DiskHandle::Raw { file, read_only: true } = attach("first", true).unwrap() else { panic!("raw") };
    assert!(file.write_at(b"x", 0).is_err());
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let DiskHandle::Raw { file, read_only: false } = attach("second", false).unwrap() else { panic!("raw") };
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(has(b"second") && !has(b"first"));
    bench.store.remove_disk(&dir, &name("seed")).unwrap();
    assert_eq!(dir.entries().unwrap().count(), 0);
    let bad = DiskSource::Data { label: "x".into(), files: vec![DataFile::text("a/../b", "s3cret")] };
    let error =
        bench.store.attach(bench.access(), &dir, &name("bad"), &bad, true, &Progress::new()).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && !error.to_string().contains("s3cret"), "{error}");
}

#[test]
fn a_volume_is_written_by_one_or_read_by_many() {
    let bench = Bench::new();
    let (one, two) = (machine_dir(&bench, "one"), machine_dir(&bench, "two"));
    let attach = |dir: &Dir, source: &DiskSource, read_only| {
        bench.store.attach(bench.access(), dir, &name("data"), source, read_only, &Progress::new())
    };
    let volume = DiskSource::Volume { name: name("shared"), size: Some(ByteSize::mib(1)) };
    let over = DiskSource::Overlay { volume: name("shared") };
    let in_use = |outcome: Result<DiskHandle, Error>| {
        let Err(error) = outcome else { panic!("it is not in use") };
        assert!(
            error.kind() == ErrorKind::InUse && error.to_string().contains("shared is in use"),
            "{error}"
        );
    };
    assert_eq!(attach(&one, &over, false).unwrap_err().kind(), ErrorKind::NotFound);

    let writer = attach(&one, &volume, false).unwrap();
    in_use(attach(&two, &over, false));
    in_use(attach(&two, &volume, true));
    drop(writer);
    let DiskHandle::Overlay { file, base } = attach(&one, &over, false).unwrap() else {
        panic!("an overlay")
    };
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0).unwrap();
    assert_eq!(&magic, b"QFI\xfb");
    assert!(base.write_at(b"x", 0).is_err());
    assert_eq!(one.entries().unwrap().count(), 0, "the overlay has no name to be left behind");
    let second = attach(&two, &over, false).unwrap();
    let reader = attach(&two, &volume, true).unwrap();
    in_use(attach(&two, &volume, false));
    drop((file, base, second, reader));
    attach(&two, &volume, false).unwrap();
}

#[test]
fn firmware_of_the_store_stays_with_its_machine() {
    let bench = Bench::new();
    let dir = machine_dir(&bench, "machine");
    let image = import(&bench, 1, "code").unwrap().record.digest;
    let open = |reference: &str| bench.store.firmware(&dir, &name("code"), reference, &Progress::new());
    let first = open("code").unwrap();
    assert!(first.write_at(b"x", 0).is_err());
    assert_eq!(bench.store.firmware_of(&dir, &name("code")).unwrap(), Some(image));
    let next = import(&bench, 2, "next").unwrap().record.digest;
    bench.store.tag("next", &name("code"), true).unwrap();
    open("code").unwrap();
    assert_eq!(bench.store.firmware_of(&dir, &name("code")).unwrap(), Some(image), "the first for ever");
    assert_eq!(bench.store.users(&image).unwrap().len(), 1);
    assert!(bench.store.users(&next).unwrap().is_empty());
    bench.store.note_disks(&dir).unwrap();
    bench.store.release(&dir).unwrap();
    assert!(bench.store.users(&image).unwrap().is_empty());
    let other = machine_dir(&bench, "other");
    let missing = bench.store.firmware(&other, &name("code"), "none", &Progress::new());
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    fs::write(bench.path("source"), content(3, 9 << 20)).unwrap();
    let mut request = ImportRequest::new(SourceFile::new(bench.path("source")).with_format("raw"));
    request.name = Some(name("large"));
    bench.store.import(bench.access(), &request, &Progress::new()).unwrap();
    let large = bench.store.firmware(&other, &name("code"), "large", &Progress::new()).unwrap_err();
    assert!(large.to_string().contains("9437184 bytes"), "{large}");
}

#[test]
fn a_cancelled_import_leaves_nothing() {
    let progress = Arc::new(Progress::new());
    let canceller = progress.clone();
    let plugin = Scripted::new("slow", move |_| {
        let canceller = canceller.clone();
        Told {
            virtual_size: 8 << 20,
            page: Box::new(move |start, length, _| {
                canceller.cancel();
                Page {
                    extents: vec![Extent { start, length, kind: ExtentKind::Literal(vec![1]) }],
                    next: None,
                }
            }),
            ..Told::default()
        }
    });
    let bench = Bench::with(Installed(vec![plugin]));
    fs::write(bench.path("file"), "x").unwrap();
    let request = ImportRequest::new(SourceFile::new(bench.path("file")).with_format("slow"));
    progress.cancel();
    let error = bench.store.import(bench.access(), &request, &progress).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert_eq!(bench.unfinished().len(), 0);
}

/// A small filesystem, mounted while the value lives.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        println!("skipped: mounting a tmpfs is not permitted here");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_ends_an_import_clearly_and_leaves_nothing() {
    let Some(mount) = Mount::new("size=8m") else { return };
    let images = tempfile::tempdir().unwrap();
    let allowed = AllowedDirs::new([images.path()]).unwrap();
    let path = mount.0.path().join("store");
    let store = Store::open(&path, StoreOptions::default()).unwrap();
    fs::write(images.path().join("large"), vec![1; 12 << 20]).unwrap();
    let request = ImportRequest::new(SourceFile::new(images.path().join("large")).with_format("raw"));
    let formats = installed();
    let access = Access { formats: &formats, allowed: &allowed, references: &allowed };
    let error = store.import(access, &request, &Progress::new()).unwrap_err();
    assert!(error.kind() == ErrorKind::NoSpace && error.to_string().contains("free"), "{error}");

    // Enough when it was asked for, not any more when it is written.
    let filler = path.clone();
    let plugin = Scripted::new("filling", move |_| {
        let filler = filler.clone();
        let mut readings = 0;
        Told {
            virtual_size: 6 << 20,
            page: Box::new(move |start, length, _| {
                readings += 1;
                if readings == 2 {
                    fs::write(filler.join("filler"), vec![1; 4 << 20]).unwrap();
                }
                Page {
                    extents: vec![Extent {
                        start,
                        length,
                        kind: ExtentKind::Data { source: 0, offset: start },
                    }],
                    next: None,
                }
            }),
            ..Told::default()
        }
    });
    let formats = Installed(vec![plugin]);
    let access = Access { formats: &formats, allowed: &allowed, references: &allowed };
    let request = ImportRequest::new(SourceFile::new(images.path().join("large")).with_format("filling"));
    let error = store.import(access, &request, &Progress::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert_eq!(fs::read_dir(path.join("tmp")).unwrap().count(), 0);
    assert!(store.list().unwrap().is_empty());
    fs::remove_file(path.join("filler")).unwrap();
    let formats = installed();
    let access = Access { formats: &formats, allowed: &allowed, references: &allowed };
    fs::write(images.path().join("small"), vec![1; 6 << 20]).unwrap();
    let request = ImportRequest::new(SourceFile::new(images.path().join("small")).with_format("raw"));
    store.import(access, &request, &Progress::new()).unwrap();
}

/// Not a test by itself: the process that is killed. It imports again and again.
#[test]
fn importer_to_be_killed() {
    let Some(root) = std::env::var_os("WITVIRT_TEST_IMPORT") else { return };
    let root = Path::new(&root);
    let store = Store::open(&root.join("store"), StoreOptions::default()).unwrap();
    let allowed = AllowedDirs::new([root]).unwrap();
    let formats = installed();
    let access = Access { formats: &formats, allowed: &allowed, references: &allowed };
    for file in ["a", "b"].iter().cycle() {
        let mut request = ImportRequest::new(SourceFile::new(root.join(file)).with_format("raw"));
        request.name = Some(name(file));
        store.import(access, &request, &Progress::new()).unwrap();
        println!("imported");
        std::io::stdout().flush().unwrap();
        store.remove(file, &[], false).unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_leaves_images_or_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), content(1, 6 << 20)).unwrap();
    fs::write(root.path().join("b"), content(2, 6 << 20)).unwrap();
    let mut unfinished = 0;
    for round in 0..25u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "importer_to_be_killed", "--nocapture"])
            .env("WITVIRT_TEST_IMPORT", root.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Once it is at work, at a moment that differs from round to round.
        let mut output = child.stdout.take().unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("imported") {
            let mut buffer = [0; 64];
            let read = output.read(&mut buffer).unwrap();
            assert!(read > 0, "the importer ended by itself");
            seen.extend_from_slice(&buffer[..read]);
        }
        let until = Instant::now() + Duration::from_micros(round * 1700);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        unfinished += fs::read_dir(root.path().join("store/tmp")).unwrap().count();
        let store = Store::open(&root.path().join("store"), StoreOptions::default()).unwrap();
        assert_eq!(fs::read_dir(root.path().join("store/tmp")).unwrap().count(), 0, "round {round}");
        for image in store.list().unwrap() {
            assert_eq!(image.state, ImageState::Ready, "round {round}");
            store.verify(&image.digest.hex(), &Progress::new()).unwrap();
        }
    }
    assert!(unfinished > 0, "no kill ever hit an import");
}

#[test]
fn work_of_the_living_is_left_alone() {
    let bench = Bench::new();
    let path = bench.dir.path().join("store");
    let other = path.clone();
    let plugin = Scripted::new("slow", move |_| {
        let other = other.clone();
        Told {
            virtual_size: 1 << 20,
            page: Box::new(move |start, length, _| {
                // Another daemon opens the store in the middle of this import.
                Store::open(&other, StoreOptions::default()).unwrap();
                Page {
                    extents: vec![Extent { start, length, kind: ExtentKind::Data { source: 0, offset: 0 } }],
                    next: None,
                }
            }),
            ..Told::default()
        }
    });
    fs::write(bench.path("file"), vec![3; 1 << 20]).unwrap();
    let formats = Installed(vec![plugin]);
    let access = Access { formats: &formats, allowed: &bench.allowed, references: &bench.allowed };
    let request = ImportRequest::new(SourceFile::new(bench.path("file")).with_format("slow"));
    bench.store.import(access, &request, &Progress::new()).unwrap();
    assert_eq!(bench.store.list().unwrap().len(), 1);
}

#[test]
fn a_volume_is_made_whole_from_an_image_or_not_at_all() {
    let bench = Bench::new();
    import(&bench, 7, "web").unwrap();
    let make =
        |volume: &str, size, image| bench.store.create_volume(&name(volume), size, image, &Progress::new());
    let made = make("grown", Some(4 << 20), Some("web")).unwrap();
    assert_eq!(made.size, 4 << 20);
    let file = bench.store.volume(&name("grown"), None).unwrap();
    let mut bytes = vec![0xff; 4 << 20];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes[..3 << 20] == content(7, 3 << 20)[..], "the image's content");
    assert!(bytes[3 << 20..].iter().all(|&byte| byte == 0), "zeros behind it");
    file.write_all_at(b"mine", 0).unwrap();
    assert_eq!(make("same", None, Some("web")).unwrap().size, 3 << 20);

    let refused = |made: Result<witvirt_disk::Volume, Error>| made.unwrap_err().kind();
    assert_eq!(refused(make("grown", Some(1 << 20), None)), ErrorKind::AlreadyExists);
    assert_eq!(refused(make("small", Some(1 << 20), Some("web"))), ErrorKind::InvalidInput);
    assert_eq!(refused(make("none", None, None)), ErrorKind::InvalidInput);
    assert_eq!(refused(make("lost", None, Some("nothing"))), ErrorKind::NotFound);
    let stopped = Progress::new();
    stopped.cancel();
    let cancelled = bench.store.create_volume(&name("cut"), None, Some("web"), &stopped);
    // A filesystem that shares blocks has nothing to copy.
    if let Err(error) = cancelled {
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(bench.store.volumes().unwrap().len(), 2);
    }
    assert_eq!(bench.unfinished().len(), 0);
    // What is written into a volume stays out of the image.
    bench.store.verify("web", &Progress::new()).unwrap();
}
