//! Servers that leave and come back, processes that end, disks that lose bits.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use witvirt_disk::ErrorKind;
use witvirt_disk::nbd::Export;

use crate::formats::qemu_img;
use crate::support::{AT_ONCE, CHUNK, NEVER, Place, Server, URL, content, read, request, resume, until};

#[test]
fn a_server_that_is_lost_makes_reads_wait_and_loses_nothing() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(4, 12 << 20);
    let server = Server::new(place.qcow2(&bytes, &["-c"]));
    let image = place.image(&server, &request(), NEVER);
    assert!(read(&image, 0, 4096) == bytes[..4096]);
    assert!(image.status().waiting.is_none());
    server.up(false);
    // What is here is read all the same.
    assert!(read(&image, 100, 1000) == bytes[100..1100]);
    let far = bytes.len() - 8192;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&image, far as u64, 8192));
        until("the image to say that it waits", || image.status().waiting.is_some());
        std::thread::sleep(Duration::from_millis(1200));
        assert!(!reader.is_finished(), "a read of what is not here has ended");
        let waiting = image.status().waiting.unwrap();
        assert!(waiting.seconds >= 1 && waiting.server == URL, "{waiting:?}");
        assert!(waiting.reason.contains("connection refused"), "{waiting:?}");
        server.up(true);
        assert!(reader.join().unwrap() == bytes[far..]);
    });
    assert!(image.status().waiting.is_none());

    // Another object in its place is not taken for it.
    server.up(false);
    let gone = AtomicBool::new(false);
    *server.bytes.lock().unwrap() = Arc::new(vec![1; 5 << 20]);
    *server.version.lock().unwrap() = Some("v2".into());
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut buffer = vec![0; 4096];
            image.read(&mut buffer, 6 << 20, &|| gone.load(Ordering::SeqCst))
        });
        until("the image to say that it waits", || image.status().waiting.is_some());
        server.up(true);
        until("the other object to be noticed", || {
            image.status().waiting.is_some_and(|waiting| waiting.reason.contains("another object"))
        });
        assert!(!reader.is_finished());
        // Whoever no longer waits is let go.
        gone.store(true, Ordering::SeqCst);
        assert_eq!(reader.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    });
}

#[test]
fn the_next_process_goes_on_with_what_is_there_and_checks_it() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(5, 24 << 20);
    let file = place.qcow2(&bytes, &[]);
    let size = file.len() as u64;
    let server = Server::new(file);
    server.budget.store(7 << 20, Ordering::SeqCst);
    let image = place.image(&server, &request(), AT_ONCE);
    until("the server to go down", || image.status().waiting.is_some());
    let (id, fetched) = (image.id().to_owned(), image.status().present);
    assert!(fetched >= 5 << 20, "{fetched}");
    drop(image);
    let lazy = place.dir.path().join("store/lazy").join(&id);
    // A bit flips in the third chunk meanwhile, and a half-written one lies behind what was noted.
    let source = fs::File::options().read(true).write(true).open(lazy.join("source")).unwrap();
    let mut byte = [0];
    source.read_exact_at(&mut byte, 2 * CHUNK + 99).unwrap();
    source.write_all_at(&[byte[0] ^ 4], 2 * CHUNK + 99).unwrap();
    source.write_all_at(&[0xee; 4096], size - 4096).unwrap();

    let image = resume(&place, &server, NEVER, &id);
    server.served.store(0, Ordering::SeqCst);
    // Without a server, what is here is read.
    assert!(read(&image, 0, 4096) == bytes[..4096]);
    assert!(image.status().present >= fetched - CHUNK);
    server.budget.store(u64::MAX, Ordering::SeqCst);
    server.up(true);
    assert!(read(&image, 0, bytes.len()) == bytes, "damage has reached the guest");
    let again = server.served();
    assert!(
        again <= size - fetched + CHUNK,
        "{again} bytes were fetched again of {size}, {fetched} were there"
    );
    drop(image);

    // A journal that is none costs the time, not the data.
    fs::write(lazy.join("journal"), b"wvlazy1\n").unwrap();
    let image = resume(&place, &server, NEVER, &id);
    assert!(read(&image, 0, bytes.len()) == bytes);
}
