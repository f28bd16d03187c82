//! Reads at any place, by many at once, of maps of any size.

use std::fs;

use witvirt_core::extent::{Encoded, Extent, ExtentKind, Page};
use witvirt_disk::nbd::Export;
use witvirt_disk::{ErrorKind, LazyPhase, LazyRequest};

use crate::formats::{Installed, Scripted, Told, qemu_img};
use crate::support::{AT_ONCE, NEVER, Place, Server, URL, content, numbers, read, request, until};

#[test]
fn any_read_at_any_place_is_right_and_fetches_nothing_twice() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(1, (20 << 20) + 512);
    for options in [
        &["-c"][..],
        &["-c", "-o", "compression_type=zstd,cluster_size=2M"],
        &["-o", "cluster_size=512"],
        &["-o", "extended_l2=on,cluster_size=128k"],
    ] {
        let server = Server::new(place.qcow2(&bytes, options));
        let size = server.bytes.lock().unwrap().len() as u64;
        let request = LazyRequest { url: format!("{URL}?{}", options.join("")), ..request() };
        let image = place.image(&server, &request, NEVER);
        assert_eq!(image.virtual_size(), bytes.len() as u64);
        let mut next = numbers(7);
        for _ in 0..200 {
            let length = 1 + next() as usize % 300_000;
            let at = next() as usize % (bytes.len() - length);
            assert!(
                read(&image, at as u64, length) == bytes[at..at + length],
                "{options:?}: {length} at {at}"
            );
        }
        assert!(read(&image, 0, bytes.len()) == bytes, "{options:?}");
        // What was looked at beforehand is.
        assert!(
            server.served() <= size + 512,
            "{options:?}: {} of {size} bytes were fetched",
            server.served()
        );
        // What the client is told of holes is true.
        let mut at = 0;
        while at < bytes.len() as u64 {
            for (length, zero) in image.runs(at, 3 << 20, 100, &|| false).unwrap() {
                let part = &bytes[at as usize..(at + length) as usize];
                assert!(!zero || part.iter().all(|byte| *byte == 0), "{options:?}: no hole at {at}");
                at += length;
            }
        }
    }
}

#[test]
fn many_readers_at_once_see_the_same() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(2, 16 << 20);
    let server = Server::new(place.qcow2(&bytes, &["-c"]));
    let size = server.bytes.lock().unwrap().len() as u64;
    let image = place.image(&server, &request(), AT_ONCE);
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let (image, bytes) = (&image, &bytes);
            scope.spawn(move || {
                let mut next = numbers(seed);
                for _ in 0..100 {
                    let length = 1 + next() as usize % 70_000;
                    let at = next() as usize % (bytes.len() - length);
                    assert!(read(image, at as u64, length) == bytes[at..at + length]);
                }
            });
        }
    });
    until("the image to arrive", || matches!(image.status().phase, LazyPhase::Arrived(_)));
    // 512 bytes were looked at beforehand.
    assert!(server.served() <= size + 512, "{} of {size}", server.served());
    assert!(read(&image, 0, bytes.len()) == bytes);
}

/// A plugin with a map of 2 TiB in pieces of 64 KiB, each of them somewhere else in the file.
fn scattered(size: u64) -> Installed {
    let place = move |start: u64| (start / 65536).wrapping_mul(0x9e37_79b9) % (size / 65536 - 1) * 65536;
    Installed(vec![Scripted::new("scattered", move |_| Told {
        virtual_size: 2 << 40,
        page: Box::new(move |start, length, max| {
            let end = start + length;
            let mut extents = Vec::new();
            let mut at = start;
            while at < end && extents.len() < max as usize {
                let length = (65536 - at % 65536).min(end - at);
                let kind = ExtentKind::Data { source: 0, offset: place(at) + at % 65536 };
                extents.push(Extent { start: at, length, kind });
                at += length;
            }
            Page { extents, next: (at < end).then_some(at) }
        }),
        ..Told::default()
    })])
}

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_map_of_two_tebibytes_needs_no_memory_of_that_size() {
    let size = 4 << 20;
    let place = Place::with(scattered(size));
    let bytes: Vec<u8> = (0..size).map(|n| (n / 65536) as u8).collect();
    let server = Server::new(bytes);
    let request = LazyRequest { format: Some("scattered".into()), ..request() };
    let image = place.image(&server, &request, NEVER);
    read(&image, 0, 65536);
    let before = resident();
    let mut next = numbers(1);
    for _ in 0..400 {
        let at = next() % (32 << 20) * 65536;
        let expected = ((at / 65536).wrapping_mul(0x9e37_79b9) % (size / 65536 - 1)) as u8;
        assert!(read(&image, at, 4096).iter().all(|byte| *byte == expected), "{at}");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes more for a map of 32 million pieces");
}

#[test]
fn maps_that_decode_without_end_are_refused_and_plugins_that_break_are_replaced() {
    let formats = Installed(vec![
        Scripted::new("bomb", |_| Told {
            virtual_size: 1 << 40,
            page: Box::new(|start, _, max| {
                let run = |offset| Encoded {
                    codec: "zlib".into(),
                    source: 0,
                    offset,
                    length: 100,
                    decoded_length: 64 << 20,
                    skip: 0,
                };
                let extent = |n: u64| Extent {
                    start: start + n * 512,
                    length: 512,
                    kind: ExtentKind::Encoded(run(n)),
                };
                let extents: Vec<_> = (0..u64::from(max)).map(extent).collect();
                Page { next: Some(start + u64::from(max) * 512), extents }
            }),
            ..Told::default()
        }),
        // Answers twice, then never again.
        Scripted::new("tired", |_| {
            let mut left = 2;
            Told {
                virtual_size: 64 << 30,
                page: Box::new(move |start, length, _| {
                    left -= 1;
                    if left < 0 {
                        return Page::default();
                    }
                    let length = length.min(1 << 20);
                    let extents =
                        vec![Extent { start, length, kind: ExtentKind::Data { source: 0, offset: 0 } }];
                    Page { extents, next: Some(start + length) }
                }),
                ..Told::default()
            }
        }),
    ]);
    let place = Place::with(formats);
    let server = Server::new(vec![9; 2 << 20]);
    let request = |format: &str| LazyRequest { format: Some(format.into()), ..request() };
    let image = place.image(&server, &request("bomb"), NEVER);
    let error = image.read(&mut [0; 512], 0, &|| false).unwrap_err();
    assert!(error.kind() == ErrorKind::Plugin && error.to_string().contains("to decode"), "{error}");
    let image = place.image(&server, &request("tired"), NEVER);
    let error = image.read(&mut [0; 512], 0, &|| false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Plugin, "a window takes more answers than it has: {error}");
}
