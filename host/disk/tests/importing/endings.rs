//! Sources that end badly: a typed error each, and nothing left behind.

use std::fs;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use witvirt_core::Name;
use witvirt_disk::{
    Checksum, ErrorKind, ImportRequest, ImportSource, Limits, Progress, Store, StoreOptions, Transport,
    Unpack, Upload,
};

use crate::fake::{FakeBlob, request};
use crate::formats::{Bench, content, noise, qemu_img, run};
use crate::transports::{file, import};

fn raw(mut request: ImportRequest) -> ImportRequest {
    request.reading.format = Some("raw".into());
    request
}

fn upload(bytes: &[u8], length: Option<u64>) -> ImportRequest {
    let reader = std::io::Cursor::new(bytes.to_vec());
    raw(ImportRequest::of(ImportSource::Upload(Upload::new("standard input", length, reader))))
}

#[test]
fn lengths_and_digests_have_to_be_right() {
    let bench = Bench::new();
    let bytes = content(1, 3 << 20);
    let size = bytes.len() as u64;
    let wrong_size =
        |size| Arc::new(FakeBlob { size: Some(size), ..FakeBlob::without_ranges(bytes.clone()) });
    let mut sums: Vec<ImportRequest> = Vec::new();
    for text in ["0".repeat(32), "0".repeat(40), "0".repeat(64), "0".repeat(128)] {
        let mut wrong = upload(&bytes, Some(size));
        wrong.checksums = vec![text.parse::<Checksum>().unwrap()];
        sums.push(wrong);
    }
    let promised = witvirt_core::Digest::from_bytes([7; 32]);
    let lying = Arc::new(FakeBlob { digest: Some(promised), ..FakeBlob::new(bytes.clone()) });
    let short = Arc::new(FakeBlob { short: size - 5, ..FakeBlob::new(bytes.clone()) });
    sums.push(raw(request(&lying)));
    for (request, word) in [
        (upload(&bytes, Some(size + 1)), "ends 1 bytes before"),
        (upload(&bytes, Some(size - 1)), "goes on after"),
        (raw(request(&wrong_size(size + 4096))), "ends 4096 bytes before"),
        (raw(request(&wrong_size(size - 4096))), "goes on after"),
        (raw(request(&short)), "ends 5 bytes before"),
    ] {
        let error = import(&bench, &request).expect_err(word);
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(word), "{word}: {error}");
    }
    for request in sums {
        let error = import(&bench, &request).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Corrupt && error.to_string().contains("has the digest"),
            "{error}"
        );
    }
    let mut twice = upload(&bytes, None);
    twice.name = Some(Name::new("a").unwrap());
    import(&bench, &twice).unwrap();
    assert_eq!(import(&bench, &twice).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(bench.unfinished().len(), 0);
    assert_eq!(bench.store.list().unwrap().len(), 1);
}

#[test]
fn damaged_and_cut_streams_are_told() {
    let bench = Bench::new();
    fs::write(bench.path("disk"), content(2, 2 << 20)).unwrap();
    let images = bench.dir.path().join("images");
    for (program, suffix) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst"), ("bzip2", "bz2")] {
        if std::process::Command::new(program).arg("--version").output().is_err() {
            println!("skipped: {program} is not installed");
            continue;
        }
        let name = format!("disk.{suffix}");
        run(program, &["-k", "-f", "disk"], &images);
        let bytes = fs::read(bench.path(&name)).unwrap();
        let mut flipped = bytes.clone();
        let middle = flipped.len() / 2;
        flipped[middle..middle + 16].iter_mut().for_each(|byte| *byte ^= 0x3c);
        let trailing = [&bytes[..], b"something else"].concat();
        for (what, bytes) in
            [("cut", &bytes[..bytes.len() - 9]), ("flipped", &flipped), ("trailing", &trailing)]
        {
            fs::write(bench.path(&name), bytes).unwrap();
            let error = import(&bench, &raw(file(&bench, &name))).expect_err(what);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{program} {what}: {error}");
            assert!(error.to_string().contains("stream is damaged"), "{program} {what}: {error}");
        }
        fs::remove_file(bench.path(&name)).unwrap();
    }
    // Zeros after the last member are padding.
    run("gzip", &["-k", "disk"], &images);
    let padded = [fs::read(bench.path("disk.gz")).unwrap(), vec![0; 5000]].concat();
    fs::write(bench.path("disk.gz"), padded).unwrap();
    import(&bench, &raw(file(&bench, "disk.gz"))).unwrap();
    assert_eq!(bench.unfinished().len(), 0);
}

/// A few kilobytes that unpack to more than is allowed; zeros without end are holes, but a disk has a size.
#[test]
fn bombs_stop_at_the_limits() {
    let mut bench = Bench::new();
    let limits = Limits { max_data: 8 << 20, max_virtual_size: 64 << 20, ..Limits::default() };
    let options = StoreOptions { limits, threads: 2 };
    bench.store = Store::open(&bench.dir.path().join("small"), options).unwrap();
    let images = bench.dir.path().join("images");
    fs::write(bench.path("ones"), vec![b'1'; 32 << 20]).unwrap();
    fs::File::create(bench.path("zeros")).unwrap().set_len(100 << 20).unwrap();
    let gzip = |name: &str| run("sh", &["-c", &format!("gzip -1 -c {name} > {name}.gz")], &images);
    for name in ["ones", "zeros"] {
        gzip(name);
        gzip(&format!("{name}.gz"));
        for packed in [format!("{name}.gz"), format!("{name}.gz.gz")] {
            let start = Instant::now();
            let error = import(&bench, &raw(file(&bench, &packed))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit, "{packed}: {error}");
            assert!(start.elapsed() < Duration::from_secs(5), "{packed}");
        }
    }
    let mut deep = file(&bench, "ones.gz");
    deep.reading.unpack = Unpack::Stated(vec![Transport::Gzip; 3]);
    assert_eq!(import(&bench, &raw(deep)).unwrap_err().kind(), ErrorKind::Corrupt);
    for wrapped in 1..5 {
        gzip(&format!("ones{}", ".gz".repeat(wrapped)));
    }
    assert_eq!(import(&bench, &file(&bench, "ones.gz.gz.gz.gz.gz")).unwrap_err().kind(), ErrorKind::Limit);
    let left = fs::read_dir(bench.dir.path().join("small/tmp")).unwrap().count();
    assert_eq!(left, 0);
}

/// Gives a little for ever.
struct Dripping(Arc<AtomicU64>);

impl Read for Dripping {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        std::thread::sleep(Duration::from_millis(5));
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let count = buffer.len().min(1000);
        buffer[..count].fill(7);
        Ok(count)
    }
}

#[test]
fn a_cancelled_import_ends_and_stops_reading() {
    let bench = Bench::new();
    let reads = Arc::new(AtomicU64::new(0));
    let upload = Upload::new("standard input", None, Dripping(Arc::clone(&reads)));
    let request = raw(ImportRequest::of(ImportSource::Upload(upload)));
    let progress = Arc::new(Progress::new());
    let cancel = Arc::clone(&progress);
    let canceller = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        cancel.cancel();
    });
    let start = Instant::now();
    let error = bench.store.import(bench.access(), &request, &progress).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert!(start.elapsed() < Duration::from_secs(3));
    canceller.join().unwrap();
    assert!(!progress.phase().is_empty() && progress.parts()[0].name == "standard input");
    assert_eq!(bench.unfinished().len(), 0);
    // The thread that reads notices, too.
    std::thread::sleep(Duration::from_millis(500));
    let seen = reads.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(reads.load(std::sync::atomic::Ordering::Relaxed), seen);
}

#[test]
fn a_file_that_changes_while_it_is_unpacked_is_refused() {
    let bench = Bench::new();
    let images = bench.dir.path().join("images");
    fs::write(bench.path("disk"), noise(3, 24 << 20)).unwrap();
    run("gzip", &["-1", "disk"], &images);
    let path = bench.path("disk.gz");
    let size = fs::metadata(&path).unwrap().len();
    let request = raw(file(&bench, "disk.gz"));
    let changer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(size + 4096).unwrap();
    });
    let outcome = import(&bench, &request);
    changer.join().unwrap();
    match outcome {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Changed, "{error}"),
        // The change came after the import.
        Ok(_) => println!("skipped: the import was faster"),
    }
    assert_eq!(bench.unfinished().len(), 0);
}

#[test]
fn names_inside_images_from_elsewhere_mean_nothing_here() {
    if !qemu_img() {
        return;
    }
    let bench = Bench::new();
    fs::write(bench.path("base.raw"), content(3, 1 << 20)).unwrap();
    let images = bench.dir.path().join("images");
    let backing = bench.path("base.raw");
    for name in ["base.raw", backing.to_str().unwrap()] {
        let options = format!("backing_fmt=raw,backing_file={name}");
        run("qemu-img", &["create", "-f", "qcow2", "-o", &options, "top.qcow2", "1M"], &images);
        let bytes = fs::read(bench.path("top.qcow2")).unwrap();
        for request in [
            request(&Arc::new(FakeBlob::new(bytes.clone()))),
            ImportRequest::of(ImportSource::Upload(Upload::new(
                "-",
                None,
                std::io::Cursor::new(bytes.clone()),
            ))),
        ] {
            let error = import(&bench, &request).unwrap_err();
            assert!(error.to_string().contains("base.raw"), "{error}");
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        }
    }
    assert_eq!(bench.unfinished().len(), 0);
}
