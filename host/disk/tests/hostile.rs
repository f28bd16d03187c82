//! Plugins that lie and files that change: each ends in an error that says who and where, and leaves nothing behind.
#![allow(missing_docs)]

mod formats;

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use formats::{Bench, Installed, Scripted, Told};
use proptest::prelude::*;
use witvirt_core::extent::{Encoded, Extent, ExtentKind, Page, Reference};
use witvirt_core::format::Format;
use witvirt_disk::{Error, ErrorKind, ImportRequest, Progress, SourceFile, Unpack};

const MIB: u64 = 1 << 20;

fn extent(start: u64, length: u64, kind: ExtentKind) -> Extent {
    Extent { start, length, kind }
}

fn whole(kind: ExtentKind) -> impl Fn(u64, u64, u32) -> Page + Clone {
    move |start, length, _| Page { extents: vec![extent(start, length, kind.clone())], next: None }
}

fn encoded(codec: &str, length: u64, decoded_length: u32) -> Encoded {
    Encoded { codec: codec.into(), source: 0, offset: 0, length, decoded_length, skip: 0 }
}

/// Imports a file of `bytes` with an image that `plugin` tells.
fn import(plugin: Arc<dyn Format>, bytes: &[u8]) -> (Bench, Result<Vec<u8>, Error>) {
    let name = plugin.formats()[0].clone();
    let bench = Bench::with(Installed(vec![plugin]));
    fs::write(bench.path("file"), bytes).unwrap();
    let request = ImportRequest::new(SourceFile::new(bench.path("file")).with_format(name));
    let imported = bench.store.import(bench.access(), &request, &Progress::new());
    assert_eq!(bench.unfinished().len(), 0);
    let bytes = imported.map(|imported| {
        let digest = imported.record.digest.hex();
        fs::read(bench.dir.path().join("store/images").join(digest).join("disk.raw")).unwrap()
    });
    (bench, bytes)
}

fn told(size: u64, page: impl Fn(u64, u64, u32) -> Page + Clone + Send + Sync + 'static) -> Arc<Scripted> {
    Scripted::new("lying", move |_| Told {
        virtual_size: size,
        page: Box::new(page.clone()),
        ..Told::default()
    })
}

#[test]
fn lies_are_refused_with_the_name_of_the_liar() {
    let data = |offset| ExtentKind::Data { source: 0, offset };
    for (plugin, word) in [
        (told(MIB, |_, _, _| Page::default()), "the page is empty"),
        (told(MIB, whole(data(1))), "ends at 1048576"),
        (told(MIB, whole(data(u64::MAX))), "18446744073709551615"),
        (told(MIB, whole(ExtentKind::Data { source: 7, offset: 0 })), "source 7"),
        (told(MIB, whole(ExtentKind::Parent)), "there is none"),
        (
            told(MIB, |_, _, _| Page { extents: vec![extent(0, 512, ExtentKind::Zero)], next: Some(512) }),
            "starts at 0",
        ),
        (told(MIB, whole(ExtentKind::Encoded(encoded("zlib", u64::MAX, 1 << 20)))), "are possible"),
        (told(MIB, whole(ExtentKind::Literal(vec![1; 512]))), "512 literal bytes"),
        (told(u64::MAX, whole(ExtentKind::Zero)), "at most 70368744177664"),
        (told(64 << 40, whole(data(0))), "ends at 1048576"),
    ] {
        let (_, result) = import(plugin, &vec![5; MIB as usize]);
        let error = result.unwrap_err();
        assert!(error.to_string().contains(word), "{word}: {error}");
        if error.kind() == ErrorKind::Plugin {
            assert!(error.to_string().contains("lying 6.6.6"), "{error}");
        }
    }
}

#[test]
fn damaged_streams_say_where() {
    for codec in ["deflate-raw", "zlib", "zstd"] {
        let kind = ExtentKind::Encoded(encoded(codec, 4096, 1 << 20));
        let (_, result) = import(told(MIB, whole(kind)), &[0xa5; 8192]);
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{codec}: {error}");
        assert!(error.to_string().contains("byte 0 (guest byte 0)"), "{error}");
    }
}

#[test]
fn a_map_that_grows_between_two_readings_is_refused() {
    let readings = Arc::new(AtomicU32::new(0));
    let page = move |start, length, _| {
        let kind = match readings.fetch_add(1, Ordering::Relaxed) {
            0 => ExtentKind::Zero,
            _ => ExtentKind::Data { source: 0, offset: 0 },
        };
        Page { extents: vec![extent(start, length, kind)], next: None }
    };
    let (_, result) = import(told(MIB, page), &vec![5; MIB as usize]);
    let error = result.unwrap_err();
    assert!(error.to_string().contains("more data than when it was read before"), "{error}");
}

#[test]
fn tables_that_name_one_cluster_a_million_times_are_stopped_before_the_first_byte() {
    // 60 TiB of "data" out of a file of 1 MiB.
    let page = |start: u64, _: u64, max: u32| {
        let extents = (0..u64::from(max))
            .map(|n| extent(start + n * MIB, MIB, ExtentKind::Data { source: 0, offset: 0 }));
        Page { extents: extents.collect(), next: Some(start + u64::from(max) * MIB) }
    };
    let (_, result) = import(told(60 << 40, page), &vec![5; MIB as usize]);
    let error = result.unwrap_err();
    assert!(error.to_string().contains("bytes of data"), "{error}");
    // 1 TiB passes that bound, but not the free space.
    let page = |start: u64, length: u64, max: u32| {
        let end = start + length;
        let count = u64::from(max).min(length / MIB);
        let extents =
            (0..count).map(|n| extent(start + n * MIB, MIB, ExtentKind::Data { source: 0, offset: 0 }));
        let next = start + count * MIB;
        Page { extents: extents.collect(), next: (next < end).then_some(next) }
    };
    let (_, result) = import(told(1 << 40, page), &vec![5; MIB as usize]);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::NoSpace);
}

#[test]
fn codecs_of_the_plugin_are_decoded_by_the_plugin() {
    let plugin = Scripted::new("rot", |_| Told {
        virtual_size: 5 * MIB,
        page: Box::new(|start, length, _| {
            let run = Encoded { skip: start as u32, ..encoded("xor", 64, 5 << 20) };
            Page { extents: vec![extent(start, length, ExtentKind::Encoded(run))], next: None }
        }),
        decode: Box::new(|codec, data, length| {
            assert_eq!(codec, "xor");
            (0..length as usize).map(|at| data[at % data.len()] ^ (at >> 13) as u8).collect()
        }),
        ..Told::default()
    });
    let bytes: Vec<u8> = (1..=64).collect();
    let (_, result) = import(plugin, &bytes);
    let expected: Vec<u8> = (0..5usize << 20).map(|at| bytes[at % 64] ^ (at >> 13) as u8).collect();
    assert!(result.unwrap() == expected);

    let short = Scripted::new("lying", |_| Told {
        virtual_size: MIB,
        page: Box::new(whole(ExtentKind::Encoded(encoded("xor", 64, 1 << 20)))),
        decode: Box::new(|_, _, _| vec![1; 5]),
        ..Told::default()
    });
    let (_, result) = import(short, &bytes);
    assert!(result.unwrap_err().to_string().contains("decoded 5 bytes instead of 1048576"));
}

#[test]
fn a_source_that_changes_or_shrinks_while_it_is_read_is_no_image() {
    for shrink in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let victim = path.clone();
        let touched = move |start, length, _: u32| {
            // The plugin stands for the other process: it runs between opening and copying.
            let file = fs::OpenOptions::new().write(true).open(&victim).unwrap();
            if shrink { file.set_len(MIB) } else { file.write_all_at(b"new", 9) }.unwrap();
            Page {
                extents: vec![extent(start, length, ExtentKind::Data { source: 0, offset: start })],
                next: None,
            }
        };
        let plugin = Scripted::new("lying", move |_| Told {
            virtual_size: 8 * MIB,
            page: Box::new(touched.clone()),
            ..Told::default()
        });
        let mut bench = Bench::with(Installed(vec![plugin]));
        bench.allowed = witvirt_disk::AllowedDirs::new([dir.path()]).unwrap();
        fs::write(&path, vec![7; 8 << 20]).unwrap();
        let request = ImportRequest::new(SourceFile::new(&path).with_format("lying"));
        let error = bench.store.import(bench.access(), &request, &Progress::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
        assert!(bench.store.list().unwrap().is_empty());
        assert_eq!(bench.unfinished().len(), 0);
    }
}

#[test]
fn two_formats_in_one_file_and_no_format_at_all_are_refused() {
    let image = |_| Told { virtual_size: MIB, page: Box::new(whole(ExtentKind::Zero)), ..Told::default() };
    let bench = Bench::with(Installed(vec![Scripted::new("left", image), Scripted::new("right", image)]));
    for (bytes, word) in
        [("left and right", "looks like"), ("neither", "no plugin recognises"), ("", "no plugin")]
    {
        fs::write(bench.path("file"), bytes).unwrap();
        let request = ImportRequest::new(SourceFile::new(bench.path("file")));
        let error = bench.store.import(bench.access(), &request, &Progress::new()).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
    let request = ImportRequest::new(SourceFile::new(bench.path("file")).with_format("middle"));
    let error = bench.store.import(bench.access(), &request, &Progress::new()).unwrap_err();
    assert!(error.to_string().contains("there are: left, right"), "{error}");
    fs::write(bench.path("file"), "right only").unwrap();
    let request = ImportRequest::new(SourceFile::new(bench.path("file")));
    bench.store.import(bench.access(), &request, &Progress::new()).unwrap();
}

/// A layer of a random chain: extents by length and kind.
type Plan = Vec<(u64, u8)>;

const DISK: u64 = 3 * MIB;

/// What `plan` says, as a map over `file`, and the bytes a guest sees over `below`.
fn layer(plan: &Plan, file: &[u8], blobs: &[Encoded], below: Option<&[u8]>) -> (Vec<Extent>, Vec<u8>) {
    let mut extents = Vec::new();
    let mut guest = Vec::new();
    let mut at = 0;
    for &(length, choice) in plan.iter().chain([&(DISK, 1)]) {
        let length = length.next_multiple_of(512).min(DISK - at);
        if length == 0 {
            break;
        }
        let range = at as usize..(at + length) as usize;
        let offset = (u64::from(choice) * 7919) % (file.len() as u64 / 2);
        let (kind, bytes) = match choice % 6 {
            0 if offset + length <= file.len() as u64 => {
                let bytes = file[offset as usize..(offset + length) as usize].to_vec();
                (ExtentKind::Data { source: 0, offset }, bytes)
            }
            2 if below.is_some() => {
                let mut bytes = below.unwrap().to_vec();
                bytes.resize(DISK as usize, 0);
                (ExtentKind::Parent, bytes[range].to_vec())
            }
            3 => {
                let length = length.min(1 << 15);
                let blob = &blobs[usize::from(choice) % blobs.len()];
                let skip = u32::from(choice) * 11;
                let run = Encoded { skip, ..blob.clone() };
                let bytes = plain(usize::from(choice) % blobs.len());
                let bytes = bytes[skip as usize..skip as usize + length as usize].to_vec();
                (ExtentKind::Encoded(run), bytes)
            }
            4 => {
                let length = length.min(117 * 512) as usize;
                (ExtentKind::Literal(vec![choice; length]), vec![choice; length])
            }
            5 => (ExtentKind::Zero, vec![0; range.len()]),
            _ => (ExtentKind::Unallocated, vec![0; range.len()]),
        };
        extents.push(extent(at, bytes.len() as u64, kind));
        at += bytes.len() as u64;
        guest.extend(bytes);
    }
    (extents, guest)
}

fn plain(blob: usize) -> Vec<u8> {
    formats::content(blob as u64 + 100, 40_000 + blob * 1000)
}

/// A file with three blobs at its beginning and noise after them.
fn file_with_blobs(seed: u64) -> (Vec<u8>, Vec<Encoded>) {
    let mut file = Vec::new();
    let mut blobs = Vec::new();
    for (index, codec) in ["zstd", "zlib", "zstd"].into_iter().enumerate() {
        let bytes = match codec {
            "zstd" => zstd::bulk::compress(&plain(index), 1).unwrap(),
            _ => libdeflater_zlib(&plain(index)),
        };
        let (offset, length) = (file.len() as u64, bytes.len() as u64 + 20);
        blobs.push(Encoded { offset, ..encoded(codec, length, plain(index).len() as u32) });
        file.extend(bytes);
        file.extend([0xee; 20]);
    }
    file.extend(formats::content(seed, 2 << 20));
    (file, blobs)
}

fn libdeflater_zlib(bytes: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::fastest());
    let mut output = vec![0; compressor.zlib_compress_bound(bytes.len())];
    let length = compressor.zlib_compress(bytes, &mut output).unwrap();
    output.truncate(length);
    output
}

/// Answers page requests out of a fixed map, in pages shorter than asked for.
fn pages(map: Vec<Extent>) -> impl Fn(u64, u64, u32) -> Page + Clone {
    move |start, length, _| {
        let end = start + length;
        let mut extents = Vec::new();
        for known in
            map.iter().filter(|known| known.start + known.length > start && known.start < end).take(3)
        {
            let skipped = start.saturating_sub(known.start);
            let length = (known.start + known.length).min(end) - known.start - skipped;
            let kind = match known.kind.clone() {
                ExtentKind::Data { source, offset } => ExtentKind::Data { source, offset: offset + skipped },
                ExtentKind::Encoded(run) => {
                    ExtentKind::Encoded(Encoded { skip: run.skip + skipped as u32, ..run })
                }
                ExtentKind::Literal(bytes) => {
                    ExtentKind::Literal(bytes[skipped as usize..(skipped + length) as usize].to_vec())
                }
                other => other,
            };
            extents.push(extent(known.start + skipped, length, kind));
        }
        let reached = extents.last().map_or(start, |last| last.start + last.length);
        Page { extents, next: (reached < end).then_some(reached) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Any map over any bytes, alone or over another image, imports as a byte by byte copy would have it.
    #[test]
    fn random_chains_import_as_the_naive_model_reads_them(
        top in proptest::collection::vec((1..400_000u64, any::<u8>()), 1..40),
        base in proptest::collection::vec((1..400_000u64, any::<u8>()), 1..40),
        base_size in MIB..DISK,
        seed in any::<u64>(),
    ) {
        let (file, blobs) = file_with_blobs(seed);
        let (base_map, mut base_guest) = layer(&base, &file, &blobs, None);
        base_guest.truncate(base_size as usize);
        let (top_map, guest) = layer(&top, &file, &blobs, Some(&base_guest));
        let backing = Reference {
            id: 1, role: "backing".into(), name: "base".into(), format_hint: Some("base".into()), required: true,
        };
        let (top_pages, base_pages) = (pages(top_map), pages(base_map));
        let plugins: Vec<Arc<dyn Format>> = vec![
            Scripted::new("top", move |_| Told {
                virtual_size: DISK,
                references: vec![backing.clone()],
                page: Box::new(top_pages.clone()),
                ..Told::default()
            }),
            Scripted::new("base", move |_| Told {
                virtual_size: base_size, page: Box::new(base_pages.clone()), ..Told::default()
            }),
        ];
        let bench = Bench::with(Installed(plugins));
        fs::write(bench.path("top"), &file).unwrap();
        fs::write(bench.path("base"), &file).unwrap();
        let mut request = ImportRequest::new(SourceFile::new(bench.path("top")).with_format("top"));
        // The file begins with a zstd frame, which is what compressed files begin with too.
        request.reading.unpack = Unpack::Stated(Vec::new());
        let record = bench.store.import(bench.access(), &request, &Progress::new()).unwrap().record;
        let stored = fs::read(bench.dir.path().join("store/images").join(record.digest.hex()).join("disk.raw")).unwrap();
        prop_assert!(stored == guest, "the bytes differ");
        prop_assert_eq!(bench.store.verify(&record.digest.hex(), &Progress::new()).unwrap(), record.digest);
    }
}
