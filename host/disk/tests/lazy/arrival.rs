//! What becomes of an image that has arrived, and of one that is not what was promised.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use cap_std::fs::Dir;
use sha2::{Digest as _, Sha256};
use witvirt_core::{Digest, Name};
use witvirt_disk::{
    Access, AllowedDirs, CollectRules, ErrorKind, ImageState, ImportRequest, Lazily, LazyPhase, LazyRequest,
    Progress, SourceFile,
};

use crate::formats::qemu_img;
use crate::support::{AT_ONCE, NEVER, Place, Server, URL, content, read, request, resume, until};

#[test]
fn what_has_arrived_is_an_image_like_any_other() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(3, (9 << 20) + 4096);
    let file = place.qcow2(&bytes, &["-c"]);
    let sha256 = Digest::from_bytes(Sha256::digest(&file).into());
    let server = Server::new(file);
    let request = LazyRequest { sha256: Some(sha256), name: Some(Name::new("web").unwrap()), ..request() };
    let image = place.image(&server, &request, AT_ONCE);
    until("the image to arrive", || matches!(image.status().phase, LazyPhase::Arrived(_)));
    let LazyPhase::Arrived(digest) = image.status().phase else { unreachable!() };
    assert_eq!(digest, place.content_digest(&bytes));
    let summary = place.store.inspect("web").unwrap();
    assert_eq!((summary.digest, summary.state), (digest, ImageState::Ready));
    let source = summary.record.unwrap().origin.source;
    assert_eq!((source.path.as_str(), source.format.as_str(), source.digest), (URL, "qcow2", Some(sha256)));
    // Now read from the store, by those who still have it open.
    server.up(false);
    assert!(read(&image, 77, 5 << 20) == bytes[77..77 + (5 << 20)]);
    let id = image.id().to_owned();
    drop(image);
    let again = place.store.resume_lazy(&place.access(&server, AT_ONCE), &id).unwrap();
    assert!(matches!(again, Lazily::Arrived(arrived) if arrived == digest));
    server.up(true);
    assert!(matches!(place.begin(&server, &request, AT_ONCE).unwrap(), Lazily::Arrived(_)));
    let kept: Vec<_> = fs::read_dir(place.dir.path().join("store/lazy").join(&id))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!kept.contains(&"source".to_owned()), "a second copy is left: {kept:?}");
}

#[test]
fn an_import_of_the_same_file_is_the_same_image() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(10, 6 << 20);
    let server = Server::new(place.qcow2(&bytes, &["-c"]));
    let image = place.image(&server, &request(), AT_ONCE);
    until("the image to arrive", || matches!(image.status().phase, LazyPhase::Arrived(_)));
    let allowed = AllowedDirs::new([place.dir.path().join("files")]).unwrap();
    let access = Access { formats: &*place.formats, allowed: &allowed, references: &allowed };
    let file = ImportRequest::new(SourceFile::new(place.path("made.qcow2")));
    let imported = place.store.import(access, &file, &Progress::new()).unwrap();
    assert!(imported.existed);
    assert_eq!(LazyPhase::Arrived(imported.record.digest), image.status().phase);
}

#[test]
fn a_digest_that_does_not_fit_is_told_at_the_end_and_for_good() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(6, 5 << 20);
    let server = Server::new(place.qcow2(&bytes, &["-c"]));
    let request = LazyRequest { sha256: Some(Digest::from_bytes([7; 32])), ..request() };
    let image = place.image(&server, &request, NEVER);
    assert!(image.is_promised());
    // Until the end the guest runs on trust.
    assert!(read(&image, 0, 4096) == bytes[..4096]);
    let id = image.id().to_owned();
    drop(image);
    let image = resume(&place, &server, AT_ONCE, &id);
    until("the digest to be compared", || matches!(image.status().phase, LazyPhase::Failed(_)));
    let LazyPhase::Failed(reason) = image.status().phase else { unreachable!() };
    assert!(reason.contains("0707") && reason.contains(URL), "{reason}");
    assert!(place.store.list().unwrap().is_empty(), "it was published all the same");
    drop(image);
    let image = resume(&place, &server, AT_ONCE, &id);
    assert_eq!(image.status().phase, LazyPhase::Failed(reason));
}

/// What keeps it from being imported may be a plugin's bad day: guests go on.
#[test]
fn what_cannot_be_imported_but_is_what_was_promised_is_served_on() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(8, 24 << 20);
    let mut file = place.qcow2(&bytes, &["-c"]);
    let middle = file.len() / 2;
    // No deflate stream begins so.
    file[middle..middle + (256 << 10)].fill(0xff);
    let sha256 = Digest::from_bytes(Sha256::digest(&file).into());
    let server = Server::new(file);
    let request = LazyRequest { sha256: Some(sha256), ..request() };
    let image = place.image(&server, &request, AT_ONCE);
    until("an import to fail", || image.status().trouble.is_some());
    assert_eq!(image.status().phase, LazyPhase::Importing);
    assert!(read(&image, 0, 4096) == bytes[..4096]);
    let id = image.id().to_owned();
    drop(image);
    let image = resume(&place, &server, NEVER, &id);
    assert!(!matches!(image.status().phase, LazyPhase::Failed(_)));
    assert!(read(&image, 0, 4096) == bytes[..4096]);
}

#[test]
fn a_name_that_nobody_asked_for_is_taken_only_where_it_is_free() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let web = Name::new("web").unwrap();
    fs::write(place.path("own.raw"), content(9, 1 << 20)).unwrap();
    let allowed = AllowedDirs::new([place.dir.path().join("files")]).unwrap();
    let access = Access { formats: &*place.formats, allowed: &allowed, references: &allowed };
    let mut own = ImportRequest::new(SourceFile::new(place.path("own.raw")).with_format("raw"));
    own.name = Some(web.clone());
    let own = place.store.import(access, &own, &Progress::new()).unwrap().record.digest;
    let server = Server::new(place.qcow2(&content(10, 3 << 20), &[]));
    let request = LazyRequest { name: Some(web), ..request() };
    let image = place.image(&server, &request, AT_ONCE);
    until("the image to arrive", || matches!(image.status().phase, LazyPhase::Arrived(_)));
    assert_eq!(place.store.resolve("web").unwrap(), own);
}

#[test]
fn disks_know_the_image_they_wait_for() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(7, 4 << 20);
    let server = Server::new(place.qcow2(&bytes, &[]));
    let image = place.image(&server, &request(), AT_ONCE);
    let nowhere = AllowedDirs::default();
    let access = Access { formats: &*place.formats, allowed: &nowhere, references: &nowhere };
    let (one, two, disk) = (Name::new("one").unwrap(), Name::new("two").unwrap(), Name::new("root").unwrap());
    let overlays = |machine: &Name| {
        let path = place.dir.path().join(machine.as_str());
        fs::create_dir_all(&path).unwrap();
        Dir::open_ambient_dir(path, cap_std::ambient_authority()).unwrap()
    };
    for machine in [&one, &two] {
        let dir = overlays(machine);
        assert_eq!(place.store.lazy_of(&dir, &disk).unwrap(), None);
        // Whoever fetches is about to make a disk.
        place.store.remove_lazy(image.id(), None).unwrap();
        place.store.create_lazy_disk(access, &dir, &disk, &image).unwrap();
        assert_eq!(place.store.lazy_of(&dir, &disk).unwrap().as_deref(), Some(image.id()));
        place.store.open_lazy_disk(&dir, &disk).unwrap();
    }
    until("the image to arrive", || matches!(image.status().phase, LazyPhase::Arrived(_)));
    let LazyPhase::Arrived(digest) = image.status().phase else { unreachable!() };
    // Also while the machine still runs over the arriving image, the image in the store is in use.
    assert_eq!(place.store.image_of(&overlays(&one), &disk).unwrap(), Some(digest));
    let rules = CollectRules { unused_for: Duration::ZERO, keep_free: None, named: true, dry_run: false };
    assert!(place.store.collect(&rules, || Ok(BTreeSet::new())).unwrap().is_empty());
    assert_eq!(place.store.users(&digest).unwrap().len(), 2);
    place.store.settle_lazy_disk(&overlays(&one), &disk, &digest).unwrap();
    assert_eq!(place.store.lazy_of(&overlays(&one), &disk).unwrap(), None);
    assert_eq!(place.store.image_of(&overlays(&one), &disk).unwrap(), Some(digest));
    assert_eq!(place.store.users(&digest).unwrap().len(), 2);
    assert!(place.store.release(&overlays(&one)).unwrap().is_empty(), "the other machine still needs it");
    place.store.remove_lazy(image.id(), Some(&image)).unwrap();
    assert_eq!(place.store.lazy_url(image.id()).unwrap(), URL);
    assert_eq!(place.store.release(&overlays(&two)).unwrap(), [image.id().to_owned()]);
    place.store.remove_lazy(image.id(), None).unwrap();
    assert_eq!(place.store.lazy_url(image.id()).unwrap(), URL, "it is this process that has it");
    place.store.remove_lazy(image.id(), Some(&image)).unwrap();
    assert_eq!(place.store.lazy_url(image.id()).unwrap_err().kind(), ErrorKind::NotFound);
}
