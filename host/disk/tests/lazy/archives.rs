//! Images inside of tar archives: the layers of containerDisks, OVAs.

use std::sync::Arc;

use witvirt_core::Name;
use witvirt_disk::{ArtifactDisk, Connect, ErrorKind, Lazily, LazyPhase, LazyRequest, Transport, Unpack};

use crate::formats::qemu_img;
use crate::support::{
    AT_ONCE, NEVER, Place, Server, URL, content, numbers, read, request, resume_with, served, sha256, until,
};

/// A member of a tar, padded.
fn member(name: &str, kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut header = vec![0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header.extend_from_slice(bytes);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes: Vec<u8> = members.iter().flat_map(|(name, bytes)| member(name, b'0', bytes)).collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// The layers of an image in a registry, from the uppermost on: each in an encoding.
fn layers(layers: &[(&Arc<Server>, Vec<Transport>)]) -> Connect {
    let layers: Vec<_> = layers.iter().map(|(server, unpack)| (server.connect(), unpack.clone())).collect();
    Arc::new(move || {
        let mut places = Vec::new();
        for (connect, unpack) in &layers {
            for mut place in connect()? {
                place.label = URL.into();
                place.pieces[0].unpack = Unpack::Stated(unpack.clone());
                place.pieces[0].member = unpack.contains(&Transport::Tar).then(|| "disk/".to_owned());
                places.push(place);
            }
        }
        Ok::<Vec<ArtifactDisk>, _>(places)
    })
}

fn layer(bytes: Vec<u8>) -> Arc<Server> {
    let server = Server::new(bytes);
    *server.digest.lock().unwrap() = Some(sha256(&server.bytes.lock().unwrap()));
    server
}

#[test]
fn a_layer_is_read_where_its_disk_is_and_not_beyond() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(31, (18 << 20) + 1024);
    let disk = place.qcow2(&bytes, &["-c"]);
    let other = vec![7; 3 << 20];
    let archive =
        tar(&[("etc/motd", b"hello"), ("a/filler", &other), ("disk/vm.qcow2", &disk), ("z", &other)]);
    let (above, below) = (layer(tar(&[("etc/passwd", b"root")])), layer(archive.clone()));
    let connect = layers(&[(&above, vec![Transport::Tar]), (&below, vec![Transport::Tar])]);
    let access = place.access_to(connect, NEVER);
    let named = LazyRequest { name: Some(Name::new("vm").unwrap()), format: None, ..request() };
    let image = served(place.begin_with(&access, &named).unwrap());
    assert!(image.is_promised(), "the layer's digest is compared at the end");
    assert_eq!(image.virtual_size(), bytes.len() as u64);
    let mut next = numbers(3);
    for _ in 0..100 {
        let length = 1 + next() as usize % 200_000;
        let at = next() as usize % (bytes.len() - length);
        assert!(read(&image, at as u64, length) == bytes[at..at + length], "{length} at {at}");
    }
    assert!(below.served() <= archive.len() as u64, "{} of {}", below.served(), archive.len());

    // The next process finds the disk in the layer without the registry, and in the end it is an image of its own.
    let id = image.id().to_owned();
    drop(image);
    below.up(false);
    let image = resume_with(&place, &access, &id);
    assert!(read(&image, 0, 4096) == bytes[..4096]);
    below.up(true);
    drop(image);
    let image = resume_with(&place, &place.access_to(access.connect.clone(), AT_ONCE), &id);
    until("the image to arrive", || matches!(image.status().phase, LazyPhase::Arrived(_)));
    let record = place.store.inspect("vm").unwrap().record.unwrap();
    assert_eq!(record.digest, place.content_digest(&bytes));
    assert_eq!(
        (record.origin.source.path.as_str(), record.origin.source.digest),
        (URL, Some(sha256(&archive)))
    );
    assert_eq!(
        (record.origin.member.as_deref(), &record.origin.transport[..]),
        (Some("disk/vm.qcow2"), &[Transport::Tar][..])
    );
}

#[test]
fn an_archive_on_a_server_is_read_in_the_middle_too() {
    let place = Place::new();
    let bytes = content(32, 5 << 20);
    let server = Server::new(tar(&[("readme.txt", b"x"), ("vm.img", &bytes)]));
    let raw = LazyRequest { url: format!("{URL}.tar"), format: Some("raw".into()), ..request() };
    // Its label does not end in ".tar": what is declared raw is raw.
    let image = place.image(&server, &raw, NEVER);
    assert!(image.virtual_size() > bytes.len() as u64);
    let connect = server.connect();
    let connect: Connect = Arc::new(move || {
        let mut places = connect()?;
        places[0].label = format!("{URL}.tar");
        Ok(places)
    });
    let raw = LazyRequest { url: format!("{URL}.2.tar"), ..raw };
    let image = served(place.begin_with(&place.access_to(connect, AT_ONCE), &raw).unwrap());
    assert!(read(&image, 0, bytes.len()) == bytes);
    until("the image to arrive", || matches!(image.status().phase, LazyPhase::Arrived(_)));
    assert_eq!(image.status().phase, LazyPhase::Arrived(place.content_digest(&bytes)));
}

#[test]
fn a_layer_that_is_not_what_its_digest_says_is_told_at_the_end() {
    let place = Place::new();
    let mut archive = tar(&[("disk/vm.img", &content(33, 3 << 20))]);
    let server = layer(archive.clone());
    archive[2 << 20] ^= 1;
    *server.bytes.lock().unwrap() = Arc::new(archive);
    let raw = LazyRequest { format: Some("raw".into()), ..request() };
    let access = place.access_to(layers(&[(&server, vec![Transport::Tar])]), AT_ONCE);
    let image = served(place.begin_with(&access, &raw).unwrap());
    until("the digest to be compared", || matches!(image.status().phase, LazyPhase::Failed(_)));
    assert!(place.store.list().unwrap().is_empty(), "it was published all the same");
}

#[test]
fn layers_that_cannot_be_read_in_the_middle_are_told_by_blob_and_encoding() {
    let place = Place::new();
    let disk = content(34, 1 << 20);
    let plain = layer(tar(&[("disk/vm.img", &disk)]));
    let whiteout = layer(tar(&[("etc/motd", b"x")]));
    let sparse = {
        // GNU's: one range of a kilobyte of a file of a mebibyte.
        let mut archive = member("disk/vm.img", b'S', &disk[..1024]);
        archive[257..265].copy_from_slice(b"ustar  \0");
        archive[386..398].copy_from_slice(b"00000000000\0");
        archive[398..410].copy_from_slice(b"00000002000\0");
        archive[483..495].copy_from_slice(b"00004000000\0");
        archive[148..156].fill(b' ');
        let sum: u32 = archive[..512].iter().map(|byte| u32::from(*byte)).sum();
        archive[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        archive.resize(archive.len() + 1024, 0);
        layer(archive)
    };
    let inner = tar(&[("disk/vm.img", &disk)]);
    let nested = layer(tar(&[("disk/inner.tar", &inner)]));
    let raw = LazyRequest { format: Some("raw".into()), ..request() };
    let tar = || vec![Transport::Tar];
    for (connect, word) in [
        (layers(&[(&plain, vec![Transport::Gzip, Transport::Tar])]), "is packed as gzip"),
        (layers(&[(&whiteout, tar()), (&plain, vec![Transport::Zstd, Transport::Tar])]), "packed as zstd"),
        (layers(&[(&sparse, tar())]), "holes"),
        (layers(&[(&nested, vec![Transport::Tar, Transport::Tar])]), "archive in an archive"),
    ] {
        match place.begin_with(&place.access_to(connect, NEVER), &raw).unwrap() {
            Lazily::Whole(reason) => assert!(reason.contains(word) && reason.contains("http"), "{reason}"),
            other => panic!("{word}: {other:?}"),
        }
    }
    let nowhere = layers(&[(&whiteout, tar())]);
    let error = place.begin_with(&place.access_to(nowhere, NEVER), &raw).unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("disk/"), "{error}");
    let kept = std::fs::read_dir(place.dir.path().join("store/lazy")).map(|entries| entries.count());
    assert_eq!(kept.unwrap_or(0), 0);
    assert_eq!(std::fs::read_dir(place.dir.path().join("store/tmp")).unwrap().count(), 0);
}
