//! What cannot be started from before it is here, and says so.

use std::fs;

use witvirt_disk::{ErrorKind, Lazily, LazyRequest};

use crate::formats::{qemu_img, run};
use crate::support::{NEVER, Place, Server, content, request, served};

#[test]
fn what_cannot_be_read_in_the_middle_is_told_with_the_reason() {
    let place = Place::new();
    let raw = LazyRequest { format: Some("raw".into()), ..request() };
    let gzip = [&[0x1f, 0x8b, 8, 0][..], &[0; 5000]].concat();
    for (server, request, word) in [
        (Server::new(gzip.clone()), &request(), "gzip"),
        (Server::with(vec![0; 5000], false, Some("v1")), &raw, "byte ranges"),
        (Server::with(vec![0; 5000], true, None), &raw, "ETag"),
    ] {
        match place.begin(&server, request, NEVER).unwrap() {
            Lazily::Whole(reason) => assert!(reason.contains(word), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    // Whoever says raw means it.
    served(place.begin(&Server::new(gzip), &raw, NEVER).unwrap());
    let server = Server::new(vec![0; 5000]);
    server.up(false);
    assert_eq!(place.begin(&server, &raw, NEVER).unwrap_err().kind(), ErrorKind::Unavailable);
    let server = Server::new(b"QFI\xfb and then nothing of a qcow2".repeat(100));
    assert_eq!(place.begin(&server, &request(), NEVER).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(fs::read_dir(place.dir.path().join("store/tmp")).unwrap().count(), 0);
}

#[test]
fn an_image_over_another_one_is_refused() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    fs::write(place.path("base.raw"), content(1, 1 << 20)).unwrap();
    let create = ["create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "top.qcow2"];
    run("qemu-img", &create, &place.dir.path().join("files"));
    let server = Server::new(fs::read(place.path("top.qcow2")).unwrap());
    let error = place.begin(&server, &request(), NEVER).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("base.raw"), "{error}");
}
