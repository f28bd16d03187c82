//! What lies beside an artifact's disk, and the places that an image came from.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use witvirt_core::{Digest, Name};
use witvirt_disk::{
    ArtifactDisk, ArtifactFile, ArtifactPiece, Blob, CollectRules, ErrorKind, ImageState, ImportRequest,
    ImportSource, MOST_ORIGINS, Progress, SourceFile, Unpack,
};

use crate::fake::{FakeBlob, Shared};
use crate::formats::{Bench, content};
use crate::transports::import;

fn sha256(bytes: &[u8]) -> Digest {
    use sha2::Digest as _;
    Digest::from_bytes(sha2::Sha256::digest(bytes).into())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn piece(name: &str, stored: Vec<u8>, unpack: &str, length: usize) -> ArtifactPiece {
    let blob = Arc::new(FakeBlob { digest: Some(sha256(&stored)), ..FakeBlob::new(stored) });
    ArtifactPiece {
        name: name.to_owned(),
        offset: 0,
        length: Some(length as u64),
        blobs: vec![Arc::new(Shared(blob)) as Arc<dyn Blob>],
        unpack: unpack.parse::<Unpack>().unwrap(),
        member: None,
        whiteouts: None,
        digest: None,
    }
}

fn file(role: &str, content: ArtifactPiece) -> ArtifactFile {
    ArtifactFile { role: role.to_owned(), name: format!("{role}.bin\n"), content }
}

fn artifact(label: &str, disk: &[u8], files: Vec<ArtifactFile>) -> ImportRequest {
    let disk = ArtifactDisk {
        label: label.to_owned(),
        size: Some(disk.len() as u64),
        pieces: vec![piece("layer 1 of 1", disk.to_vec(), "", disk.len())],
        files,
        machine: vec![("cpus".to_owned(), "4\u{7}".to_owned())],
    };
    let mut request = ImportRequest::of(ImportSource::Artifact(disk));
    request.reading.format = Some("raw".to_owned());
    request.name = Some(Name::new("vm").unwrap());
    request
}

fn kept(bench: &Bench, image: &Digest, file: &Digest) -> PathBuf {
    bench.dir.path().join("store/images").join(image.hex()).join("files").join(file.hex())
}

fn read(bench: &Bench, role: &str) -> Result<Vec<u8>, witvirt_disk::Error> {
    let (mut file, _) = bench.store.kept_file("vm", role)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

#[test]
fn files_are_kept_verified_set_aside_and_removed_with_their_image() {
    let bench = Bench::new();
    let (disk, nvram, aux) = (content(51, 3 << 20), content(52, 4096), vec![7; 900_000]);
    let files = || {
        vec![
            file("nvram", piece("the nvram", nvram.clone(), "", nvram.len())),
            file("aux-image", piece("the aux-image", gzip(&aux), "gzip", aux.len())),
        ]
    };
    let record = import(&bench, &artifact("docker://a@1", &disk, files())).unwrap().record;
    assert_eq!(record.roles(), ["aux-image", "nvram"]);
    assert_eq!(record.origin.machine, [("cpus".to_owned(), "4".to_owned())]);
    assert_eq!(record.file("nvram").unwrap().name, "nvram.bin");
    assert!(read(&bench, "nvram").unwrap() == nvram && read(&bench, "aux-image").unwrap() == aux);
    let error = read(&bench, "config").unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("aux-image, nvram"), "{error}");

    // Touched, but what it was.
    let stored = kept(&bench, &record.digest, &sha256(&nvram));
    assert_eq!(fs::metadata(&stored).unwrap().permissions().mode() & 0o777, 0o400);
    fs::set_permissions(&stored, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(read(&bench, "nvram").unwrap() == nvram);
    bench.store.verify("vm", &Progress::new()).unwrap();
    // Altered: found whoever looks, and the image is out of the way with it.
    fs::write(&stored, vec![0; nvram.len()]).unwrap();
    let error = bench.store.verify("vm", &Progress::new()).unwrap_err();
    assert!(error.kind() == ErrorKind::Changed && error.to_string().contains("nvram"), "{error}");
    assert!(matches!(bench.store.inspect("vm").unwrap().state, ImageState::Quarantined(_)));
    assert_eq!(read(&bench, "aux-image").unwrap_err().kind(), ErrorKind::Changed);

    // From elsewhere the disk comes back, and what is good of the rest: the altered origin is forgotten, to be fetched again.
    let path = bench.path("disk.raw");
    fs::write(&path, &disk).unwrap();
    let request = ImportRequest::new(SourceFile::new(&path).with_format("raw"));
    let again = import(&bench, &request).unwrap();
    assert_eq!((again.existed, again.record.others.len()), (false, 0), "{:?}", again.record);
    let again = import(&bench, &artifact("docker://a@1", &disk, files())).unwrap();
    assert!(again.existed && again.record.origins().count() == 2);
    assert!(read(&bench, "nvram").unwrap() == nvram);
    bench.store.verify("vm", &Progress::new()).unwrap();

    // An altered disk, with files that are good: those stay.
    let stored = bench.dir.path().join("store/images").join(record.digest.hex()).join("disk.raw");
    fs::set_permissions(&stored, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&stored, vec![1; disk.len()]).unwrap();
    bench.store.verify("vm", &Progress::new()).unwrap_err();
    bench.store.restore(bench.access(), &record.digest, &Progress::new()).unwrap();
    assert!(read(&bench, "nvram").unwrap() == nvram && read(&bench, "aux-image").unwrap() == aux);
    bench.store.verify("vm", &Progress::new()).unwrap();

    let rules = CollectRules { unused_for: Duration::ZERO, keep_free: None, named: true, dry_run: false };
    let collected = bench.store.collect(&rules, || Ok(BTreeSet::new())).unwrap();
    assert!(collected[0].allocated >= (nvram.len() + aux.len()) as u64);
    assert!(fs::read_dir(bench.dir.path().join("store/images")).unwrap().next().is_none());
    assert_eq!(bench.unfinished().len(), 0);
}

#[test]
fn files_that_are_not_what_was_promised_keep_the_image_out() {
    let bench = Bench::new();
    let disk = content(53, 1 << 20);
    let mut wrong = piece("the nvram", b"x".to_vec(), "", 1);
    wrong.digest = Some(sha256(b"y"));
    // A small blob that unpacks to more than anybody keeps.
    let mut bomb = piece("the bomb", gzip(&vec![0; (256 << 20) + 1]), "gzip", 0);
    bomb.length = None;
    for (file, kind) in [
        (file("nvram", wrong), ErrorKind::Corrupt),
        (file("nvram", piece("the nvram", b"x".to_vec(), "", 2)), ErrorKind::Corrupt),
        (file("nvram", bomb), ErrorKind::Limit),
    ] {
        let error = import(&bench, &artifact("docker://a@2", &disk, vec![file])).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(bench.store.list().unwrap().is_empty());
    }
    assert_eq!(bench.unfinished().len(), 0);
}

#[test]
fn the_first_place_and_the_last_ones_are_remembered() {
    let bench = Bench::new();
    let disk = content(54, 1 << 20);
    for number in 0..MOST_ORIGINS + 4 {
        let nvram = format!("nvram {number}").into_bytes();
        let files = vec![file("nvram", piece("the nvram", nvram.clone(), "", nvram.len()))];
        import(&bench, &artifact(&format!("docker://a@{number}"), &disk, files)).unwrap();
    }
    let record = bench.store.inspect("vm").unwrap().record.unwrap();
    let paths: Vec<&str> = record.origins().map(|origin| origin.source.path.as_str()).collect();
    assert_eq!((paths.len(), paths[0], paths[1]), (MOST_ORIGINS + 1, "docker://a@0", "docker://a@4"));
    let last = format!("nvram {}", MOST_ORIGINS + 3);
    assert_eq!(read(&bench, "nvram").unwrap(), last.as_bytes());
    let files = kept(&bench, &record.digest, &sha256(b"")).parent().unwrap().to_owned();
    assert_eq!(fs::read_dir(&files).unwrap().count(), MOST_ORIGINS + 1, "those of the forgotten are gone");
    // The same place again is the same origin.
    import(&bench, &artifact("docker://a@0", &disk, Vec::new())).unwrap();
    let record = bench.store.inspect("vm").unwrap().record.unwrap();
    assert_eq!((record.origins().count(), record.origin.files.len()), (MOST_ORIGINS + 1, 0));
    bench.store.verify("vm", &Progress::new()).unwrap();
}
