//! Disk formats that misbehave. After each of them the same engine serves the next call of a healthy plugin.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use support::{Bench, Memory, entry};
use witvirt_core::extent::{ExtentKind, Page};
use witvirt_core::format::{Chunk, CreateRequest, Format, Image};
use witvirt_core::plugin::{Limits, PluginEntry};
use witvirt_core::source::ByteSource;
use witvirt_core::{ByteSize, ErrorKind, PluginError};

fn hostile(behaviour: &str) -> PluginEntry {
    let limits = Limits { deadline: Duration::from_millis(500), ..Limits::default() };
    PluginEntry { settings: json!({ "behaviour": behaviour }), limits, ..entry("hostile-format") }
}

fn open(bench: &Bench, entry: &PluginEntry) -> Box<dyn Image> {
    bench.format(entry).open(Arc::new(Memory(vec![0; 4096])), "hostile").unwrap()
}

/// Asks for a map, expects a failure, and checks that the image is gone and the engine is not.
fn break_map(entry: &PluginEntry) -> PluginError {
    let bench = Bench::new();
    let mut image = open(&bench, entry);
    let error = image.extents(0, 4096, 16).unwrap_err();
    assert!(error.to_string().starts_with("plugin hostile-format 6.6.6: "), "{error}");

    let later = image.geometry().unwrap_err();
    assert_eq!(later.kind, ErrorKind::Plugin);
    assert_eq!(
        later.message,
        format!("broke in an earlier call on this image ({}); open the image again", error.message)
    );
    drop(image);
    bench.assert_healthy();
    assert!(open(&bench, &hostile("")).extents(0, 4096, 16).is_ok(), "the same plugin serves another image");
    error
}

#[test]
fn endless_loop() {
    let error = break_map(&hostile("loop"));
    assert_eq!(error.kind, ErrorKind::Limit);
    assert_eq!(error.message, "did not answer within 500 ms; a higher limits.deadline gives it more time");
}

#[test]
fn endless_loop_while_loading() {
    let bench = Bench::new();
    let error = bench.load(&hostile("loop-in-configure")).err().unwrap();
    assert!(error.to_string().contains("did not answer within 500 ms"), "{error}");
    bench.assert_healthy();
}

/// Bytes from a slow server.
struct Slow(Memory, Duration);

impl ByteSource for Slow {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        std::thread::sleep(self.1);
        self.0.read_at(buffer, offset)
    }
}

/// An image that arrives while it is read makes its plugin wait; a plugin that computes all that time is another thing.
#[test]
fn waiting_for_bytes_does_not_count_into_the_deadline() {
    let bench = Bench::new();
    let limits = Limits { deadline: Duration::from_millis(200), ..Limits::default() };
    let format = bench.format(&PluginEntry { limits, ..entry("format-qcow2") });
    let options = json!({});
    let create = CreateRequest { format: "qcow2".into(), virtual_size: 1 << 20, options, backing: None };
    let mut writer = format.create(&create).unwrap();
    let ending = writer.finish().unwrap();
    let mut file = vec![0; ending.size as usize];
    for write in ending.writes {
        file[write.offset as usize..][..write.bytes.len()].copy_from_slice(&write.bytes);
    }
    let source = Arc::new(Slow(Memory(file), Duration::from_millis(700)));
    let mut image = format.open(source, "qcow2").unwrap();
    assert_eq!(image.geometry().unwrap().virtual_size, 1 << 20);
    assert!(!image.extents(0, 1 << 20, 16).unwrap().extents.is_empty());
}

#[test]
fn stack_overflow() {
    let error = break_map(&hostile("stack-overflow"));
    assert_eq!(error.kind, ErrorKind::Limit);
    assert!(error.message.starts_with("used up its call stack of 512 KiB"), "{error}");
}

#[test]
fn allocation_over_the_limit() {
    let error = break_map(&hostile("allocate"));
    assert_eq!(error.kind, ErrorKind::Limit);
    assert!(error.message.starts_with("needs more than 64.0 MiB of memory (asked for 401 MiB)"), "{error}");
}

#[test]
fn list_of_200_mib() {
    let mut entry = hostile("huge-list");
    entry.limits.memory = ByteSize::mib(512);
    entry.limits.deadline = Duration::from_secs(30);
    let error = break_map(&entry);
    assert_eq!(error.kind, ErrorKind::Limit);
    assert_eq!(
        error.message,
        "handed over more than 8.00 MiB in one call; a higher limits.call-data takes more"
    );
}

#[test]
fn trap_in_the_middle_of_a_map() {
    let bench = Bench::new();
    let mut image = open(&bench, &hostile("trap-in-map"));
    let Page { extents, next } = image.extents(0, 4096, 16).unwrap();
    assert_eq!((extents.len(), next), (1, Some(512)));
    let error = image.extents(512, 3584, 16).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Plugin);
    assert_eq!(error.message, "trapped: wasm trap: wasm `unreachable` instruction executed");
    assert!(error.context.iter().any(|(key, value)| key == "in" && value.contains("extents")), "{error}");
    assert!(image.extents(0, 4096, 16).is_err());
    bench.assert_healthy();
}

#[test]
fn trap_in_a_destructor() {
    let bench = Bench::new();
    let format = bench.format(&hostile("trap-in-drop"));
    let error = format.open(Arc::new(Memory(vec![0; 512])), "hostile").err().unwrap();
    assert_eq!(error.kind, ErrorKind::Plugin);
    assert!(error.message.starts_with("trapped: "), "{error}");
    bench.assert_healthy();
}

#[test]
fn panic_message_reaches_the_user() {
    let error = break_map(&hostile("panic"));
    assert_eq!(error.kind, ErrorKind::Plugin);
    assert!(error.message.starts_with("panicked at tests/plugins/hostile-format/src/lib.rs:"), "{error}");
    assert!(error.message.ends_with(" the table at 0x30000 makes no sense\\u{1b}[2J"), "{error}");
}

#[test]
fn lying_extents_are_handed_on_unchanged_for_the_validator() {
    let bench = Bench::new();
    let mut image = open(&bench, &hostile("lying-extents"));
    let page = image.extents(0, 4096, 16).unwrap();
    assert_eq!((page.extents[0].start, page.extents[0].length), (1 << 40, 0));
    assert_eq!(page.extents[1].kind, ExtentKind::Data { source: 77, offset: 1 << 50 });
    assert_eq!(page.next, Some(0));
    bench.assert_healthy();
}

#[test]
fn answers_over_the_bounds_of_the_contract() {
    let error = break_map(&hostile("many-extents"));
    assert_eq!(error.message, "answered with 17 extents, at most 16 are taken");
    let error = break_map(&hostile("long-literal"));
    assert_eq!(error.message, "answered with a literal of 65537 bytes, at most 65536 are taken");

    let bench = Bench::new();
    let refused = |behaviour: &str, ask: fn(&mut dyn Image) -> Option<PluginError>| {
        let error = ask(&mut *open(&bench, &hostile(behaviour))).unwrap();
        assert_eq!(error.kind, ErrorKind::Plugin, "{behaviour}");
        assert_eq!(ask(&mut *open(&bench, &hostile(""))), None, "{behaviour}");
        error.message
    };
    assert_eq!(
        refused("many-facts", |image| image.facts().err()),
        "answered with 65 facts, at most 64 are taken"
    );
    assert!(refused("many-references", |image| image.references().err()).contains("4097 references"));
    assert!(refused("long-name", |image| image.references().err()).contains("1048576 bytes of name"));
    assert!(refused("many-findings", |image| image.check().err()).contains("1001 findings"));
    assert!(refused("bad-sector", |image| image.geometry().err()).contains("520 bytes"));
    assert!(refused("short-decode", |image| image.decode("own", &[1], 100).err()).contains("99 bytes"));
}

#[test]
fn a_decoded_block_may_be_larger_than_call_data() {
    let bench = Bench::new();
    let mut entry = hostile("");
    entry.limits.call_data = ByteSize::mib(1);
    entry.limits.deadline = Duration::from_secs(30);
    let mut image = open(&bench, &entry);
    assert_eq!(image.decode("own", &[9], 16 << 20).unwrap(), vec![9; 16 << 20]);
    assert!(image.decode("own", &[9], (64 << 20) + 1).unwrap_err().message.contains("at most 67108864"));
}

#[test]
fn what_is_shown_is_escaped_and_what_is_resolved_is_not() {
    let bench = Bench::new();
    let mut image = open(&bench, &hostile(""));
    assert_eq!(image.facts().unwrap(), [("name\\n".to_owned(), "a\\u{1b}]0;owned\\u{7}b".to_owned())]);
    assert_eq!(image.references().unwrap()[0].name, "../../etc/shadow\n");
    assert_eq!(image.check().unwrap()[0].message, "y\\r");
    let probe = bench.format(&hostile("")).probe(b"x", b"x", 1).unwrap().unwrap();
    assert_eq!(probe.version.as_deref(), Some("v\\u{1b}[2J"));

    let error = open(&bench, &hostile("hostile-error")).extents(0, 512, 16).unwrap_err();
    assert_eq!((error.kind, error.context.len()), (ErrorKind::Corrupt, 16));
    assert!(error.message.starts_with("\\u{1b}[2Jxxx") && error.message.len() <= 4096 + 3);
    assert!(error.context.iter().all(|(key, value)| key.starts_with("key\\n") && value.len() <= 1027));
}

#[test]
fn probes_that_make_no_sense() {
    let bench = Bench::new();
    let probe = |behaviour| bench.format(&hostile(behaviour)).probe(b"x", b"x", 1);
    assert!(probe("bad-confidence").unwrap_err().message.contains("confidence 255"));
    assert!(probe("foreign-format").unwrap_err().message.contains("\"qcow2\", which it does not read"));
    assert_eq!(bench.format(&hostile("")).probe(&[], &[], 0).unwrap(), None);
}

#[test]
fn budgets_of_host_calls_and_bytes() {
    let bench = Bench::new();
    let mut calls = hostile("endless-reads");
    calls.limits.host_calls = 1000;
    let mut bytes = hostile("endless-reads");
    bytes.limits.host_bytes = ByteSize::kib(100);
    for (entry, limit) in [(calls, "host-calls"), (bytes, "host-bytes")] {
        let mut image = open(&bench, &entry);
        let error = image.extents(0, 4096, 16).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Limit);
        assert!(error.message.contains(&format!("raise limits.{limit} of this plugin")), "{error}");
        assert!(image.geometry().is_ok(), "an error is no trap");
    }
    let error = open(&bench, &hostile("large-reads")).extents(0, 4096, 16).unwrap_err();
    assert_eq!(error.message, "read-at of 1048577 bytes, at most 1048576 are allowed");
}

#[test]
fn a_flood_of_log_lines_is_bounded() {
    let mut entry = hostile("log-flood");
    entry.limits.deadline = Duration::from_secs(60);
    let error = break_map(&entry);
    assert!(error.message.starts_with("trapped: "), "{error}");
    let (_, log) = error.context.iter().find(|(key, _)| key == "log").unwrap();
    assert!(log.starts_with("line 248\\u{1b}[31m k\\n=vvv") && log.len() <= 4096 + 3, "{}", &log[..64]);
}

#[test]
fn writers_are_held_to_the_contract() {
    let bench = Bench::new();
    let request = CreateRequest {
        format: "hostile".to_owned(),
        virtual_size: 1 << 20,
        options: json!({}),
        backing: None,
    };
    let chunks: Vec<Chunk> = (0..5000)
        .map(|n| Chunk { start: n << 16, length: 1 << 16, stored: 1 << 16, encoded: false })
        .collect();
    let create = |behaviour| bench.format(&hostile(behaviour)).create(&request).unwrap();

    let mut healthy = create("");
    assert_eq!(healthy.plan().unwrap().chunk_size, 65536);
    let offsets = healthy.allocate(&chunks).unwrap();
    assert_eq!(offsets, chunks.iter().map(|chunk| chunk.start).collect::<Vec<_>>());
    let ending = healthy.finish().unwrap();
    assert_eq!((ending.writes[0].bytes.len(), ending.size, ending.next), (512, 1 << 20, false));

    assert!(create("bad-plan").plan().is_err());
    assert!(
        create("few-offsets").allocate(&chunks).unwrap_err().message.contains("4095 offsets for 4096 chunks")
    );
    assert!(
        create("large-finish").finish().unwrap_err().message.contains("4194305 bytes written in one step")
    );
    let error = bench.format(&entry("format-raw")).create(&request).err().unwrap();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Unsupported, "reads raw but does not make new images")
    );
}

#[test]
fn a_source_that_fails_is_an_error_of_the_plugin_call() {
    struct Broken;
    impl witvirt_core::source::ByteSource for Broken {
        fn size(&self) -> u64 {
            1 << 20
        }

        fn read_at(&self, _: &mut [u8], _: u64) -> std::io::Result<usize> {
            Err(std::io::Error::other("the file shrank\x1b[2J"))
        }
    }
    let bench = Bench::new();
    let format: Arc<dyn Format> = bench.format(&hostile("endless-reads"));
    let error = format.open(Arc::new(Broken), "hostile").unwrap().extents(0, 512, 1).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Io);
    assert_eq!(error.message, "cannot read the source: the file shrank\\u{1b}[2J");
}
