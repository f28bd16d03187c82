//! What happens to images after they were imported: altered ones are set aside and fetched again, unused ones removed.

mod formats;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use formats::Bench;
use witvirt_core::{Digest, Name};
use witvirt_disk::{CollectRules, Collected, ErrorKind, ImageState, ImportRequest, Progress, SourceFile};

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
