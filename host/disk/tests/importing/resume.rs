//! Imports that broke off and go on where they were.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use witvirt_core::Digest;
use witvirt_disk::{Checksum, ErrorKind, Progress, Store, StoreOptions};

use crate::fake::{FakeBlob, request};
use crate::formats::{Bench, noise, qemu_img, run};
use crate::transports::import;

fn sha256(bytes: &[u8]) -> Digest {
    use sha2::Digest as _;
    Digest::from_bytes(sha2::Sha256::digest(bytes).into())
}

fn digest_of(bytes: &[u8]) -> Digest {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    witvirt_disk::content::digest_of_file(file, 1).unwrap()
}

fn partial(bench: &Bench) -> std::path::PathBuf {
    let left = bench.unfinished();
    assert_eq!(left.len(), 1, "{left:?}");
    bench.dir.path().join("store/tmp").join(&left[0])
}

/// Every kind of image that can be resumed, and the format to state.
fn images(bench: &Bench, raw: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut images = vec![("raw", raw.to_vec())];
    if qemu_img() {
        fs::write(bench.path("disk.raw"), raw).unwrap();
        for options in [&["-c"][..], &[]] {
            let convert =
                [&["convert", "-f", "raw", "-O", "qcow2"], options, &["disk.raw", "disk.qcow2"]].concat();
            run("qemu-img", &convert, &bench.dir.path().join("images"));
            images.push(("qcow2", fs::read(bench.path("disk.qcow2")).unwrap()));
        }
    }
    images
}

#[test]
fn a_server_that_comes_back_is_asked_for_the_rest() {
    let bench = Bench::new();
    let raw = noise(11, 64 << 20);
    for (format, image) in images(&bench, &raw) {
        let size = image.len() as u64;
        let blob = Arc::new(FakeBlob::new(image.clone()));
        let mut wanted = request(&blob);
        wanted.reading.format = Some(format.into());
        wanted.checksums = vec![Checksum::from(sha256(&image))];
        let cut = size / 4 * 3;
        blob.cut.store(cut, Ordering::Relaxed);
        let error = import(&bench, &wanted).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{format}: {error}");
        // Another start does not take it away.
        Store::open(&bench.dir.path().join("store"), StoreOptions::default()).unwrap();
        partial(&bench);
        let before = blob.served();
        blob.cut.store(u64::MAX, Ordering::Relaxed);
        let record = import(&bench, &wanted).unwrap().record;
        assert_eq!(record.digest, digest_of(&raw), "{format}");
        assert_eq!(record.origin.source.digest, Some(sha256(&image)), "{format}");
        let again = blob.served() - before;
        // A checkpoint of the hash functions every 4 MiB, and the window of what had arrived but was not written.
        assert!(again < size - cut + (28 << 20), "{format}: {again} bytes for the last {}", size - cut);
        assert!(again < size * 3 / 4, "{format}: {again} of {size}");
        assert!(*blob.begun.lock().unwrap().last().unwrap() > 0, "{format}");
        assert_eq!(bench.unfinished().len(), 0);
        bench.store.remove(&record.digest.to_string(), &[], true).unwrap();
    }
}

/// The client has gone, or the daemon ends: that is not to cost the download.
#[test]
fn a_cancelled_download_is_gone_on_with() {
    let bench = Bench::new();
    let raw = noise(16, 32 << 20);
    let blob = Arc::new(FakeBlob::new(raw.clone()));
    let mut wanted = request(&blob);
    wanted.reading.format = Some("raw".into());
    for (cut, kept) in [(0, 0), (24 << 20, 1)] {
        let progress = Arc::new(Progress::new());
        blob.cut.store(cut, Ordering::Relaxed);
        *blob.cancels.lock().unwrap() = Some(Arc::clone(&progress));
        let error = bench.store.import(bench.access(), &wanted, &progress).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        assert_eq!(bench.unfinished().len(), kept, "what has not begun is not kept");
    }
    *blob.cancels.lock().unwrap() = None;
    blob.cut.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(import(&bench, &wanted).unwrap().record.digest, digest_of(&raw));
    assert!(*blob.begun.lock().unwrap().last().unwrap() > 0);
    assert_eq!(bench.unfinished().len(), 0);
}

/// What was left is looked at before it is believed.
#[test]
fn what_was_left_is_verified() {
    let bench = Bench::new();
    let raw = noise(12, 16 << 20);
    for (format, image) in images(&bench, &raw) {
        for damage in ["disk", "journal", "sparse", "none"] {
            let blob = Arc::new(FakeBlob::new(image.clone()));
            blob.cut.store(image.len() as u64 / 4 * 3, Ordering::Relaxed);
            let mut wanted = request(&blob);
            wanted.reading.format = Some(format.into());
            import(&bench, &wanted).unwrap_err();
            let left = partial(&bench);
            let disk = left.join("image/disk.raw");
            match damage {
                "disk" => {
                    let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
                    std::os::unix::fs::FileExt::write_all_at(&file, b"flipped", 1_500_000).unwrap();
                    // And something that nothing was noted about.
                    let end = fs::metadata(&disk).unwrap().len() - 7;
                    std::os::unix::fs::FileExt::write_all_at(&file, b"flipped", end).unwrap();
                }
                "journal" => {
                    let text = fs::read(left.join("journal")).unwrap();
                    fs::write(left.join("journal"), &text[..text.len() / 2]).unwrap();
                }
                "sparse" => {
                    let length = fs::metadata(&disk).unwrap().len();
                    let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
                    file.set_len(length / 2).unwrap();
                    file.set_len(length).unwrap();
                }
                _ => {}
            }
            blob.cut.store(u64::MAX, Ordering::Relaxed);
            let record = import(&bench, &wanted).unwrap().record;
            assert_eq!(record.digest, digest_of(&raw), "{format} {damage}");
            bench.store.verify(&record.digest.to_string(), &witvirt_disk::Progress::new()).unwrap();
            bench.store.remove(&record.digest.to_string(), &[], true).unwrap();
            assert_eq!(bench.unfinished().len(), 0);
        }
    }
}

#[test]
fn another_version_or_other_settings_begin_anew() {
    let bench = Bench::new();
    let raw = noise(13, 20 << 20);
    let blob = Arc::new(FakeBlob::new(raw.clone()));
    blob.cut.store(15 << 20, Ordering::Relaxed);
    let mut wanted = request(&blob);
    wanted.reading.format = Some("raw".into());
    import(&bench, &wanted).unwrap_err();
    let other = noise(14, 20 << 20);
    let changed = Arc::new(FakeBlob { version: Some("\"two\"".into()), ..FakeBlob::new(other.clone()) });
    let mut wanted = request(&changed);
    wanted.reading.format = Some("raw".into());
    assert_eq!(import(&bench, &wanted).unwrap().record.digest, digest_of(&other));
    assert_eq!(changed.served(), other.len() as u64);
    // Nobody came back for the first one: after a week it goes.
    let journal = fs::File::options().write(true).open(partial(&bench).join("journal")).unwrap();
    journal.set_modified(SystemTime::now() - Duration::from_secs(6 * 24 * 3600)).unwrap();
    let open = || Store::open(&bench.dir.path().join("store"), StoreOptions::default()).unwrap();
    open();
    partial(&bench);
    journal.set_modified(SystemTime::now() - Duration::from_secs(8 * 24 * 3600)).unwrap();
    open();
    assert_eq!(bench.unfinished().len(), 0);
    // Without a version nobody knows whether it is the same, and a compressed one cannot be entered halfway.
    let nameless = FakeBlob { version: None, ..FakeBlob::new(raw.clone()) };
    let plain = FakeBlob::without_ranges(raw);
    for blob in [nameless, plain] {
        let blob = Arc::new(blob);
        blob.cut.store(15 << 20, Ordering::Relaxed);
        let mut wanted = request(&blob);
        wanted.reading.format = Some("raw".into());
        assert_eq!(import(&bench, &wanted).unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(bench.unfinished().len(), 0);
    }
}

const CHILD: &str = "WITVIRT_TEST_RESUME";

/// Imports until it is killed.
#[test]
#[ignore = "the child of the next test"]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let dir = std::path::PathBuf::from(dir);
    let mut bench = Bench::new();
    bench.store = Store::open(&dir.join("store"), StoreOptions::default()).unwrap();
    let blob =
        FakeBlob { delay: Duration::from_millis(1), ..FakeBlob::new(fs::read(dir.join("image")).unwrap()) };
    let mut wanted = request(&Arc::new(blob));
    wanted.reading.format = Some("raw".into());
    import(&bench, &wanted).unwrap();
}

#[test]
fn a_killed_process_leaves_what_the_next_one_goes_on_with() {
    let bench = Bench::new();
    let raw = noise(15, 64 << 20);
    fs::write(bench.dir.path().join("image"), &raw).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "resume::child", "--ignored", "--nocapture"])
        .env(CHILD, bench.dir.path())
        .spawn()
        .unwrap();
    let tmp = bench.dir.path().join("store/tmp");
    let far = || {
        let journals = fs::read_dir(&tmp).unwrap().filter_map(|entry| {
            fs::metadata(entry.unwrap().path().join("journal")).ok().map(|metadata| metadata.len())
        });
        journals.sum::<u64>() > 3000
    };
    for _ in 0..1000 {
        if far() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    Store::open(&bench.dir.path().join("store"), StoreOptions::default()).unwrap();
    partial(&bench);
    let blob = Arc::new(FakeBlob::new(raw.clone()));
    let mut wanted = request(&blob);
    wanted.reading.format = Some("raw".into());
    assert_eq!(import(&bench, &wanted).unwrap().record.digest, digest_of(&raw));
    let begun = blob.begun.lock().unwrap()[0];
    assert!(begun >= 8 << 20, "it began at byte {begun} again");
    assert_eq!(blob.served(), raw.len() as u64 - begun);
    assert_eq!(bench.unfinished().len(), 0);
}
