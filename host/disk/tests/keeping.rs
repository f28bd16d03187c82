//! What happens to images after they were imported: altered ones are set aside and fetched again, unused ones removed.

mod formats;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use cap_std::fs::Dir;
use formats::Bench;
use witvirt_core::spec::DiskSource;
use witvirt_core::{Digest, Name};
use witvirt_disk::{
    CollectRules, Collected, DiskHandle, ErrorKind, ImageState, ImportRequest, ImportSource, Progress,
    SourceFile, Transport, Unpack,
};

const RULES: CollectRules =
    CollectRules { unused_for: Duration::ZERO, keep_free: None, named: true, dry_run: false };

fn import(bench: &Bench, file: &str, byte: u8, as_name: Option<&str>) -> Digest {
    fs::write(bench.path(file), vec![byte; 1 << 20]).unwrap();
    let mut request = ImportRequest::new(SourceFile::new(bench.path(file)).with_format("raw"));
    request.name = as_name.map(|name| Name::new(name).unwrap());
    bench.store.import(bench.access(), &request, &Progress::new()).unwrap().record.digest
}

fn disk_of(bench: &Bench, digest: &Digest) -> PathBuf {
    bench.dir.path().join("store/images").join(digest.hex()).join("disk.raw")
}

fn alter(bench: &Bench, digest: &Digest) {
    let disk = disk_of(bench, digest);
    fs::set_permissions(&disk, fs::Permissions::from_mode(0o600)).unwrap();
    fs::OpenOptions::new().write(true).open(&disk).unwrap().write_all_at(b"altered", 5000).unwrap();
}

fn last_used(bench: &Bench, digest: &Digest, age: Duration) {
    let used = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(disk_of(bench, digest).with_file_name("used"))
        .unwrap();
    used.set_modified(SystemTime::now() - age).unwrap();
    // The import is no use of its own, but nothing is older than its import.
    let record = disk_of(bench, digest).with_file_name("image.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    let created = json["created"].as_u64().unwrap();
    json["created"] = (created.saturating_sub(age.as_secs() + 10)).into();
    fs::write(&record, json.to_string()).unwrap();
}

fn digests(collected: &[Collected]) -> Vec<Digest> {
    collected.iter().map(|image| image.digest).collect()
}

#[test]
fn an_altered_image_is_set_aside_and_fetched_again() {
    let bench = Bench::new();
    let digest = import(&bench, "source", 1, Some("web"));
    alter(&bench, &digest);
    let error = bench.store.base(&digest, &Progress::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
    assert!(!disk_of(&bench, &digest).exists());
    // It stays visible under its name, with the reason, and is used by nobody.
    assert!(matches!(bench.store.inspect("web").unwrap().state, ImageState::Quarantined(_)));
    let error = bench.store.base(&digest, &Progress::new()).unwrap_err();
    assert!(error.to_string().contains("quarantine") && error.to_string().contains("/source"), "{error}");

    let restored = bench.store.restore(bench.access(), &digest, &Progress::new()).unwrap();
    assert!(restored.record.digest == digest && !restored.existed);
    assert_eq!(bench.store.inspect("web").unwrap().state, ImageState::Ready);
    assert!(bench.store.quarantined(&digest).unwrap().is_none());
    bench.store.base(&digest, &Progress::new()).unwrap();
    assert_eq!(bench.unfinished().len(), 0);
}

#[test]
fn a_source_that_is_another_disk_by_now_restores_nothing() {
    let bench = Bench::new();
    let digest = import(&bench, "source", 1, Some("web"));
    alter(&bench, &digest);
    bench.store.verify("web", &Progress::new()).unwrap_err();
    fs::write(bench.path("source"), vec![9; 1 << 20]).unwrap();
    let error = bench.store.restore(bench.access(), &digest, &Progress::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
    let states: Vec<_> = bench.store.list().unwrap().into_iter().map(|image| image.state).collect();
    assert!(matches!(&states[..], [ImageState::Quarantined(_)]), "{states:?}");
    // It can be thrown away like any other.
    bench.store.remove("web", &[], false).unwrap();
    assert!(bench.store.list().unwrap().is_empty());
}

#[test]
fn images_go_by_age_and_never_from_under_a_machine() {
    let bench = Bench::new();
    let day = Duration::from_secs(86_400);
    let (old, used, named, fresh) = (
        import(&bench, "a", 1, None),
        import(&bench, "b", 2, None),
        import(&bench, "c", 3, Some("c")),
        import(&bench, "d", 4, None),
    );
    for (image, days) in [(&old, 40), (&used, 50), (&named, 60)] {
        last_used(&bench, image, day * days);
    }
    let in_use = || Ok(BTreeSet::from([used]));
    let rules = CollectRules { unused_for: day * 30, named: false, ..RULES };
    let dry = bench.store.collect(&CollectRules { dry_run: true, ..rules }, in_use).unwrap();
    assert_eq!(digests(&dry), [old]);
    assert_eq!(bench.store.list().unwrap().len(), 4);
    assert_eq!(digests(&bench.store.collect(&rules, in_use).unwrap()), [old]);
    let gone = bench.store.collect(&CollectRules { named: true, ..rules }, in_use).unwrap();
    assert_eq!((digests(&gone), &gone[0].names[..]), (vec![named], &[Name::new("c").unwrap()][..]));
    let mut left: Vec<_> = bench.store.list().unwrap().into_iter().map(|image| image.digest).collect();
    left.sort();
    let mut expected = vec![used, fresh];
    expected.sort();
    assert_eq!(left, expected);
}

#[test]
fn only_as_much_goes_as_has_to() {
    let bench = Bench::new();
    let day = Duration::from_secs(86_400);
    let images: Vec<_> = (1..=3).map(|n| import(&bench, &format!("f{n}"), n, None)).collect();
    for (image, days) in images.iter().zip([5, 9, 7]) {
        last_used(&bench, image, day * days);
    }
    let nobody = || Ok(BTreeSet::new());
    let enough = CollectRules { keep_free: Some(0), ..RULES };
    assert!(bench.store.collect(&enough, nobody).unwrap().is_empty());
    let stat = rustix::fs::statvfs(bench.dir.path()).unwrap();
    // Half of an image more than there is; the filesystem is shared, so this may turn out to be some images.
    let free = stat.f_bavail * stat.f_frsize + (1 << 19);
    let gone = bench.store.collect(&CollectRules { keep_free: Some(free), ..RULES }, nobody).unwrap();
    let expected = [images[1], images[2], images[0]];
    assert!(digests(&gone).iter().eq(expected.iter().take(gone.len())), "{gone:?}");
}

#[test]
fn an_image_that_is_taken_into_use_meanwhile_stays() {
    let bench = Bench::new();
    let image = import(&bench, "a", 1, None);
    last_used(&bench, &image, Duration::from_secs(100));
    // A machine is made after the list of users was drawn up.
    let late = || {
        bench.store.base(&image, &Progress::new())?;
        Ok(BTreeSet::new())
    };
    assert!(bench.store.collect(&RULES, late).unwrap().is_empty());
    assert_eq!(bench.store.list().unwrap().len(), 1);
}

#[test]
fn an_overlay_may_be_read_over_the_image_of_the_store_that_it_was_made_over() {
    if !formats::qemu_img() {
        return;
    }
    let bench = Bench::new();
    let digest = import(&bench, "base", 5, Some("base"));
    let disk = disk_of(&bench, &digest);
    let backing = format!("backing_file={},backing_fmt=raw", disk.display());
    formats::run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &backing, "over.qcow2"], &bench.path(""));
    let request = ImportRequest::new(SourceFile::new(bench.path("over.qcow2")));
    let imported = bench.store.import(bench.access(), &request, &Progress::new()).unwrap();
    assert!(imported.existed && imported.record.digest == digest);
    // Another file there is none of the images, and outside of what is allowed.
    let record = disk.with_file_name("image.json");
    let backing = format!("backing_file={},backing_fmt=raw", record.display());
    formats::run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &backing, "bad.qcow2"], &bench.path(""));
    let request = ImportRequest::new(SourceFile::new(bench.path("bad.qcow2")));
    let error = bench.store.import(bench.access(), &request, &Progress::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

/// A machine's directory of disks, anywhere on the host.
fn overlays(bench: &Bench, machine: &str) -> Dir {
    let path = bench.dir.path().join(machine);
    fs::create_dir_all(&path).unwrap();
    Dir::open_ambient_dir(path, cap_std::ambient_authority()).unwrap()
}

/// Makes a disk over an image; false, and says so, where that is a clone which does not need it.
fn over(bench: &Bench, dir: &Dir, image: &Digest) -> bool {
    let (disk, source) = (Name::new("root").unwrap(), DiskSource::Image(image.hex()));
    let made = bench.store.attach(bench.access(), dir, &disk, &source, false, &Progress::new()).unwrap();
    let needed = matches!(made, DiskHandle::Overlay { .. });
    if !needed {
        println!("skipped: the filesystem clones files");
    }
    needed
}

fn collect_as_a_stranger(bench: &Bench) -> Vec<Digest> {
    digests(&bench.store.collect(&RULES, || Ok(BTreeSet::new())).unwrap())
}

fn marks(bench: &Bench, image: &Digest) -> Vec<PathBuf> {
    let dir = bench.dir.path().join("store/users").join(image.hex());
    fs::read_dir(dir).map_or(Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect())
}

#[test]
fn images_below_the_disks_of_other_processes_stay() {
    let bench = Bench::new();
    let image = import(&bench, "a", 1, None);
    let (one, two) = (overlays(&bench, "one"), overlays(&bench, "two"));
    if !over(&bench, &one, &image) || !over(&bench, &two, &image) {
        return;
    }
    assert!(collect_as_a_stranger(&bench).is_empty());
    let error = bench.store.remove(&image.hex(), &[], false).unwrap_err();
    assert!(error.kind() == ErrorKind::InUse && error.to_string().contains("/one/root"), "{error}");
    // A machine of the same name in another directory is another one.
    assert!(bench.store.release(&one).unwrap().is_empty());
    assert_eq!(bench.store.users(&image).unwrap().len(), 1);
    assert!(collect_as_a_stranger(&bench).is_empty());
    bench.store.remove_disk(&two, &Name::new("root").unwrap()).unwrap();
    assert_eq!(collect_as_a_stranger(&bench), [image]);
    assert!(marks(&bench, &image).is_empty());
}

#[test]
fn a_disk_that_nobody_can_look_at_keeps_its_image_until_somebody_insists() {
    let bench = Bench::new();
    let image = import(&bench, "a", 1, None);
    let dir = overlays(&bench, "one");
    if !over(&bench, &dir, &image) {
        return;
    }
    let (here, there) = (bench.dir.path().join("one"), bench.dir.path().join("elsewhere"));
    let doubted = || {
        assert!(collect_as_a_stranger(&bench).is_empty());
        let users = bench.store.users(&image).unwrap();
        assert!(users.len() == 1 && users[0].doubt.is_some(), "{users:?}");
    };
    let record = fs::read(here.join("root.json")).unwrap();
    fs::write(here.join("root.json"), &record[..record.len() / 2]).unwrap();
    doubted();
    assert!(bench.store.note_disks(&dir).is_err(), "nobody knows what it needs");
    fs::write(here.join("root.json"), &record).unwrap();
    // Not mounted, or moved.
    fs::rename(&here, &there).unwrap();
    doubted();
    // Another container's directory of that name, where nothing is known of the disk.
    overlays(&bench, "one");
    doubted();
    // Whoever has the disks notes them where they are now.
    bench.store.note_disks(&dir).unwrap();
    assert_eq!(bench.store.users(&image).unwrap().iter().filter(|user| user.doubt.is_none()).count(), 1);
    let error = bench.store.remove(&image.hex(), &[], false).unwrap_err();
    assert!(error.to_string().contains("--force"), "{error}");
    bench.store.remove(&image.hex(), &[], true).unwrap();
    assert!(marks(&bench, &image).is_empty());
    // What has no image any more is no reason to keep one.
    bench.store.note_disks(&dir).unwrap();
    assert!(marks(&bench, &image).is_empty());
}

#[test]
fn disks_older_than_marks_are_noted() {
    let bench = Bench::new();
    let image = import(&bench, "a", 1, None);
    let dir = overlays(&bench, "one");
    if !over(&bench, &dir, &image) {
        return;
    }
    for again in [true, false] {
        fs::remove_dir_all(bench.dir.path().join("store/users").join(image.hex())).unwrap();
        match again {
            true => drop(over(&bench, &dir, &image)),
            false => bench.store.note_disks(&dir).unwrap(),
        }
        assert_eq!(marks(&bench, &image).len(), 1);
    }
}

#[test]
fn a_disk_in_the_making_keeps_its_image_and_one_whose_maker_was_killed_does_not() {
    let bench = Bench::new();
    let image = import(&bench, "a", 1, None);
    if !over(&bench, &overlays(&bench, "one"), &image) {
        return;
    }
    // As it is before the record is written.
    fs::remove_file(bench.dir.path().join("one/root.json")).unwrap();
    let mark = fs::File::open(&marks(&bench, &image)[0]).unwrap();
    rustix::fs::flock(&mark, rustix::fs::FlockOperation::LockShared).unwrap();
    assert!(collect_as_a_stranger(&bench).is_empty());
    assert!(bench.store.users(&image).unwrap()[0].doubt.is_none());
    drop(mark);
    assert_eq!(collect_as_a_stranger(&bench), [image]);
}

#[test]
fn an_image_that_is_named_imported_or_used_meanwhile_stays() {
    let bench = Bench::new();
    let image = import(&bench, "a", 1, None);
    let old = Duration::from_secs(100);
    last_used(&bench, &image, old);
    let rules = CollectRules { named: false, ..RULES };
    let named = || {
        bench.store.tag(&image.hex(), &Name::new("late").unwrap(), false)?;
        last_used(&bench, &image, old);
        Ok(BTreeSet::new())
    };
    assert!(bench.store.collect(&rules, named).unwrap().is_empty());
    assert_eq!(bench.store.resolve("late").unwrap(), image);
    let used = || {
        if !over(&bench, &overlays(&bench, "one"), &image) {
            bench.store.base(&image, &Progress::new())?;
            return Ok(BTreeSet::new());
        }
        last_used(&bench, &image, old);
        Ok(BTreeSet::new())
    };
    assert!(bench.store.collect(&RULES, used).unwrap().is_empty());
}

#[test]
fn a_name_or_another_import_is_a_use() {
    let bench = Bench::new();
    let image = import(&bench, "a", 1, None);
    let (day, nobody) = (Duration::from_secs(86_400), || Ok(BTreeSet::new()));
    let rules = CollectRules { unused_for: day * 30, ..RULES };
    for again in [true, false] {
        last_used(&bench, &image, day * 31);
        match again {
            true => drop(import(&bench, "b", 1, None)),
            false => bench.store.tag(&image.hex(), &Name::new("a").unwrap(), false).unwrap(),
        }
        assert!(bench.store.collect(&rules, nobody).unwrap().is_empty(), "{again}");
    }
    last_used(&bench, &image, day * 31);
    assert_eq!(digests(&bench.store.collect(&rules, nobody).unwrap()), [image]);
}

/// Unfinished work of somebody who is dead.
fn partial(bench: &Bench, name: &str, age: Duration, size: u64) -> PathBuf {
    let path = bench.dir.path().join("store/tmp").join(name);
    fs::create_dir_all(path.join("image")).unwrap();
    let disk = fs::File::create(path.join("image/disk.raw")).unwrap();
    rustix::fs::fallocate(&disk, rustix::fs::FallocateFlags::empty(), 0, size).unwrap();
    let journal = fs::File::create(path.join("journal")).unwrap();
    journal.set_modified(SystemTime::now() - age).unwrap();
    path
}

#[test]
fn unfinished_work_goes_after_a_week_and_before_images_where_space_is_wanted() {
    let bench = Bench::new();
    let image = import(&bench, "a", 1, None);
    last_used(&bench, &image, Duration::from_secs(100));
    let day = Duration::from_secs(86_400);
    let (old, new) =
        (partial(&bench, "partial-a", day * 8, 4096), partial(&bench, "partial-b", day, 1 << 30));
    let dead = partial(&bench, "7-0-abc", Duration::ZERO, 4096);
    let keep = CollectRules { unused_for: day, ..RULES };
    bench.store.collect(&CollectRules { dry_run: true, ..keep }, || Ok(BTreeSet::new())).unwrap();
    assert!(old.exists() && dead.exists());
    bench.store.collect(&keep, || Ok(BTreeSet::new())).unwrap();
    assert!(!old.exists() && !dead.exists() && new.exists());
    // The filesystem is shared: half a gigabyte may come and go.
    let stat = rustix::fs::statvfs(bench.dir.path()).unwrap();
    let rules = CollectRules { keep_free: Some(stat.f_bavail * stat.f_frsize + (1 << 29)), ..RULES };
    for dry_run in [true, false] {
        let rules = CollectRules { dry_run, ..rules };
        assert!(bench.store.collect(&rules, || Ok(BTreeSet::new())).unwrap().is_empty());
        assert_eq!(new.exists(), dry_run);
    }
}

#[test]
fn what_frees_nothing_does_not_count_as_freed() {
    let bench = Bench::new();
    let images: Vec<_> = (1..=3).map(|n| import(&bench, &format!("f{n}"), n, None)).collect();
    for image in &images {
        last_used(&bench, image, Duration::from_secs(100));
        // As if its blocks were shared with all the others.
        let record = disk_of(&bench, image).with_file_name("image.json");
        let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
        json["allocated"] = (1u64 << 50).into();
        fs::write(&record, json.to_string()).unwrap();
    }
    let rules = CollectRules { keep_free: Some(1 << 49), ..RULES };
    assert_eq!(bench.store.collect(&rules, || Ok(BTreeSet::new())).unwrap().len(), 3);
}

#[test]
fn what_was_packed_is_fetched_again_as_it_was_stated() {
    let bench = Bench::new();
    let images = bench.dir.path().join("images");
    let quoted = "bob's \"disks\".tar";
    for (name, byte) in [("a.raw", 3), ("b.raw", 4), ("c.raw", 5)] {
        fs::write(bench.path(name), vec![byte; 1 << 20]).unwrap();
    }
    formats::run("tar", &["-cf", quoted, "a.raw", "b.raw"], &images);
    formats::run("gzip", &["-n", "c.raw"], &images);
    fs::rename(bench.path("c.raw.gz"), bench.path("c")).unwrap();
    for (name, transport, member) in [(quoted, Transport::Tar, Some("b.raw")), ("c", Transport::Gzip, None)] {
        let mut request = ImportRequest::of(ImportSource::File(bench.path(name)));
        request.reading.format = Some("raw".into());
        request.reading.unpack = Unpack::Stated(vec![transport]);
        request.reading.member = member.map(str::to_owned);
        let record = bench.store.import(bench.access(), &request, &Progress::new()).unwrap().record;
        assert_eq!(record.origin.source.size, fs::metadata(bench.path(name)).unwrap().len());
        alter(&bench, &record.digest);
        bench.store.base(&record.digest, &Progress::new()).unwrap_err();
        let restored = bench.store.restore(bench.access(), &record.digest, &Progress::new()).unwrap();
        assert_eq!(restored.record.digest, record.digest);
    }
}
