//! Nothing gets into an image that the checksums of its source did not see: not by ranges, and not by two attempts.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use witvirt_core::Digest;
use witvirt_core::extent::{Extent, ExtentKind, Page};
use witvirt_core::format::Format;
use witvirt_disk::{Blob, Checksum, ErrorKind, ImportRequest, ImportSource, Result};

use crate::fake::{FakeBlob, Shared, request};
use crate::formats::{Bench, Installed, Scripted, Told, noise};
use crate::transports::import;

const MIB: u64 = 1 << 20;

/// Where the clusters begin.
const HEAD: u64 = 4096;

fn sha256(bytes: &[u8]) -> Digest {
    use sha2::Digest as _;
    Digest::from_bytes(sha2::Sha256::digest(bytes).into())
}

fn digest_of(bytes: &[u8]) -> Digest {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    witvirt_disk::content::digest_of_file(file, 1).unwrap()
}

/// A disk of `count` clusters of 1 MiB after a head; guest cluster n is cluster `map(n)` of the file.
fn mapped(count: u64, map: impl Fn(u64) -> u64 + Clone + Send + 'static) -> Told {
    let page = move |start: u64, length: u64, _| {
        let cluster = start / MIB;
        let length = length.min(MIB - start % MIB);
        let offset = HEAD + map(cluster) * MIB + start % MIB;
        let extents = vec![Extent { start, length, kind: ExtentKind::Data { source: 0, offset } }];
        let next = start + length;
        Page { extents, next: (next < count * MIB).then_some(next) }
    };
    Told { virtual_size: count * MIB, page: Box::new(page), ..Told::default() }
}

fn clusters(count: u64, map: impl Fn(u64) -> u64 + Clone + Send + Sync + 'static) -> Arc<dyn Format> {
    Scripted::new("clusters", move |_| mapped(count, map.clone()))
}

/// The file, and the digest of its disk.
fn image(count: u64, map: impl Fn(u64) -> u64) -> (Vec<u8>, Digest) {
    let bytes = noise(21, (HEAD + count * MIB) as usize);
    let cluster = |number: u64| {
        let start = (HEAD + map(number) * MIB) as usize;
        &bytes[start..start + MIB as usize]
    };
    let disk: Vec<u8> = (0..count).flat_map(|number| cluster(number).to_vec()).collect();
    (bytes.clone(), digest_of(&disk))
}

fn wanted(blob: &Arc<FakeBlob>, format: &str, sum: Digest) -> ImportRequest {
    let mut wanted = request(blob);
    wanted.reading.format = Some(format.into());
    wanted.checksums = vec![Checksum::from(sum)];
    wanted
}

/// A server that is quick enough for the movers, and is gone from `cut` on.
fn broken(bytes: &[u8], cut: u64) -> Arc<FakeBlob> {
    let blob = FakeBlob { delay: Duration::from_millis(1), ..FakeBlob::new(bytes.to_vec()) };
    blob.cut.store(cut, Ordering::Relaxed);
    Arc::new(blob)
}

/// Two halves that take turns: half of what is missing after a cut lies before the place where the stream goes on.
#[test]
fn what_an_attempt_fetches_again_is_what_the_one_before_has_seen() {
    const COUNT: u64 = 32;
    let turns = |number: u64| number / 2 + number % 2 * (COUNT / 2);
    let (bytes, disk) = image(COUNT, turns);
    let bench = Bench::with(Installed(vec![clusters(COUNT, turns)]));
    for lies_from in [5 << 19, u64::MAX] {
        let error =
            import(&bench, &wanted(&broken(&bytes, 26 * MIB), "clusters", sha256(&bytes))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let blob = Arc::new(FakeBlob { lies_from, lies_to: 16 * MIB, ..FakeBlob::new(bytes.clone()) });
        let outcome = import(&bench, &wanted(&blob, "clusters", sha256(&bytes)));
        let begun = blob.begun.lock().unwrap()[0];
        assert!(begun >= 16 * MIB, "it began at byte {begun} again");
        if lies_from == u64::MAX {
            assert_eq!(outcome.unwrap().record.digest, disk);
            // Every block once, and what the first attempt had not written yet.
            let (served, asked) = (blob.served(), blob.asked.lock().unwrap().len());
            assert!(
                served < bytes.len() as u64 - begun + 14 * MIB && asked < 16,
                "{served} bytes, {asked} ranges"
            );
        } else {
            let error = outcome.unwrap_err();
            assert!(
                error.kind() == ErrorKind::Changed && error.to_string().contains("than it gave before"),
                "{error}"
            );
        }
        assert_eq!(bench.unfinished().len(), 0);
    }
}

/// The head, too, of which the format is told.
#[test]
fn the_head_of_a_resumed_image_is_compared() {
    let (mut bytes, _) = image(20, |number| number);
    bytes[..8].copy_from_slice(b"clusters");
    let bench = Bench::with(Installed(vec![clusters(20, |number| number)]));
    let probed = |blob: &Arc<FakeBlob>| {
        let mut wanted = wanted(blob, "", sha256(&bytes));
        wanted.reading.format = None;
        wanted
    };
    let error = import(&bench, &probed(&broken(&bytes, 17 * MIB))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let lying = Arc::new(FakeBlob { lies_from: 0, lies_to: 1, ..FakeBlob::new(bytes.clone()) });
    let error = import(&bench, &probed(&lying)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
}

/// The first attempt wrote chunks of bytes after the last state of its hash functions, and the second hashes others there.
#[test]
fn chunks_of_an_attempt_count_only_with_the_bytes_they_were_made_of() {
    const COUNT: u64 = 32;
    let (bytes, disk) = image(COUNT, |number| number);
    let bench = Bench::with(Installed(vec![clusters(COUNT, |number| number)]));
    let mut evil = bytes.clone();
    evil[(28 * MIB + 9000) as usize..][..50_000].fill(0x66);
    import(&bench, &wanted(&broken(&evil, 31 * MIB), "clusters", sha256(&bytes))).unwrap_err();
    let honest = wanted(&Arc::new(FakeBlob::new(bytes.clone())), "clusters", sha256(&bytes));
    let error = import(&bench, &honest).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
    assert_eq!(import(&bench, &honest).unwrap().record.digest, disk);
}

/// A map at the end of the file, one byte for a cluster.
fn tabled(count: u64) -> Arc<dyn Format> {
    Scripted::new("tabled", move |source| {
        let mut table = vec![0; count as usize];
        let at = source.size() - count;
        assert_eq!(source.read_at(&mut table, at).unwrap(), table.len());
        mapped(count, move |number| u64::from(table[number as usize]) % count)
    })
}

fn with_table(count: u64) -> (Vec<u8>, Digest) {
    let (mut bytes, disk) = image(count, |number| number);
    bytes.extend((0..count).map(|number| number as u8));
    (bytes, disk)
}

/// What the first attempt fetched ahead was never compared: the stream did not get there.
#[test]
fn a_map_that_an_attempt_fetched_ahead_is_compared_by_the_next() {
    const COUNT: u64 = 24;
    let (bytes, disk) = with_table(COUNT);
    let bench = Bench::with(Installed(vec![tabled(COUNT)]));
    let first =
        FakeBlob { lies_from: 20 << 20, delay: Duration::from_millis(1), ..FakeBlob::new(bytes.clone()) };
    first.cut.store(18 * MIB, Ordering::Relaxed);
    let error = import(&bench, &wanted(&Arc::new(first), "tabled", sha256(&bytes))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let honest = wanted(&Arc::new(FakeBlob::new(bytes.clone())), "tabled", sha256(&bytes));
    let error = import(&bench, &honest).unwrap_err();
    assert!(error.kind() == ErrorKind::Changed && error.to_string().contains("for a range"), "{error}");
    assert_eq!(import(&bench, &honest).unwrap().record.digest, disk);
}

/// Answers the lying ranges when the stream has passed them.
#[derive(Debug)]
struct Late {
    blob: Shared,
    streamed: Arc<AtomicU64>,
}

impl Blob for Late {
    fn label(&self) -> &str {
        self.blob.label()
    }

    fn size(&self) -> Option<u64> {
        self.blob.size()
    }

    fn ranges(&self) -> bool {
        true
    }

    fn version(&self) -> Option<&str> {
        self.blob.version()
    }

    fn digest(&self) -> Option<Digest> {
        None
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        if offset < self.blob.0.lies_from {
            return self.blob.read(offset, buffer);
        }
        for _ in 0..500 {
            if self.streamed.load(Ordering::Relaxed) >= self.blob.0.bytes.len() as u64 {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // From there to the spool.
        std::thread::sleep(Duration::from_millis(100));
        self.blob.read(offset, buffer)
    }

    fn stream(&self, offset: u64) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(Counting { reader: self.blob.stream(offset)?, count: Arc::clone(&self.streamed) }))
    }
}

struct Counting {
    reader: Box<dyn Read + Send>,
    count: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[test]
fn a_range_that_comes_after_the_stream_is_not_used() {
    const COUNT: u64 = 12;
    let (bytes, disk) = with_table(COUNT);
    let bench = Bench::with(Installed(vec![tabled(COUNT)]));
    let fake = FakeBlob {
        lies_from: bytes.len() as u64 - COUNT,
        delay: Duration::from_millis(1),
        ..FakeBlob::new(bytes.clone())
    };
    let blob = Shared(Arc::new(fake));
    let mut request =
        ImportRequest::of(ImportSource::Blob(Arc::new(Late { blob, streamed: Arc::default() })));
    request.reading.format = Some("tabled".into());
    request.checksums = vec![Checksum::from(sha256(&bytes))];
    match import(&bench, &request) {
        Ok(imported) => assert_eq!(imported.record.digest, disk),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Changed, "{error}"),
    }
}

/// A break in zeros, which are not written: the file of the attempt is shorter than what it has seen.
#[test]
fn a_raw_disk_goes_on_where_it_broke_off_in_zeros() {
    let bench = Bench::new();
    let mut raw = noise(22, 24 << 20);
    raw[6 << 20 | 1 << 19..22 << 20].fill(0);
    let blob = Arc::new(FakeBlob::new(raw.clone()));
    blob.cut.store(20 * MIB, Ordering::Relaxed);
    let wanted = wanted(&blob, "raw", sha256(&raw));
    assert_eq!(import(&bench, &wanted).unwrap_err().kind(), ErrorKind::Unavailable);
    blob.cut.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(import(&bench, &wanted).unwrap().record.digest, digest_of(&raw));
    let begun = blob.begun.lock().unwrap()[1];
    assert!(begun >= 12 * MIB, "it began at byte {begun} again");
}

/// One layer as it is, whose length the manifest tells.
#[test]
fn a_whole_layer_with_a_length_goes_on() {
    let bench = Bench::new();
    let raw = noise(23, 24 << 20);
    let blob = FakeBlob { digest: Some(sha256(&raw)), ..FakeBlob::new(raw.clone()) };
    blob.cut.store(18 * MIB, Ordering::Relaxed);
    let blob = Arc::new(blob);
    let piece = witvirt_disk::ArtifactPiece {
        name: "disk".into(),
        offset: 0,
        length: Some(raw.len() as u64),
        blobs: vec![Arc::new(Shared(Arc::clone(&blob)))],
        unpack: witvirt_disk::Unpack::Stated(Vec::new()),
        member: None,
        whiteouts: None,
        digest: None,
    };
    let disk = witvirt_disk::ArtifactDisk {
        label: "registry/vm@1".into(),
        size: None,
        pieces: vec![piece],
        files: Vec::new(),
        machine: Vec::new(),
    };
    let mut request = ImportRequest::of(ImportSource::Artifact(disk));
    request.reading.format = Some("raw".into());
    assert_eq!(import(&bench, &request).unwrap_err().kind(), ErrorKind::Unavailable);
    blob.cut.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(import(&bench, &request).unwrap().record.digest, digest_of(&raw));
    assert!(blob.begun.lock().unwrap()[1] > 0);
}
