//! Many threads on one engine, and deadlines that concern only the call they belong to.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Bench, Memory, built, entry, entry_of};
use witvirt_core::domain::Document;
use witvirt_core::plugin::{Limits, PluginKind};
use witvirt_engine::{CacheUse, Plugin};

#[test]
fn eight_threads_call_and_break_plugins() {
    let bench = Bench::new();
    let raw = bench.format(&entry("format-raw"));
    let mut hostile = entry("hostile-format");
    hostile.settings = json!({ "behaviour": "panic" });
    let broken = bench.format(&hostile);
    let converter = bench.load(&entry_of(built("hostile-converter"), PluginKind::DomainConverter)).unwrap();
    let Plugin::Converter(converter) = converter.plugin else { panic!("no converter") };
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let (raw, broken, converter) = (&raw, &broken, &converter);
            scope.spawn(move || {
                for round in 0..100u64 {
                    let size = 512 * (1 + thread * 100 + round);
                    let mut image = raw.open(Arc::new(Memory(vec![0; size as usize])), "raw").unwrap();
                    assert_eq!(image.geometry().unwrap().virtual_size, size);
                    let mut image = broken.open(Arc::new(Memory(vec![0; 512])), "hostile").unwrap();
                    let error = image.extents(round, 512, 16).unwrap_err();
                    assert!(
                        error.message.contains(&format!("the table at {:#x} ", round + 0x30000)),
                        "{error}"
                    );
                    let body = format!("{thread}.{round}");
                    let document = Document { media_type: "text/plain".to_owned(), body };
                    assert_eq!(
                        converter.convert(&document, "text/plain", &json!({})).unwrap().document,
                        document
                    );
                }
            });
        }
    });
    bench.assert_healthy();
}

#[test]
fn loading_the_same_plugin_at_once() {
    let bench = Bench::new();
    let uses: Vec<CacheUse> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| bench.load(&entry("format-raw")).unwrap().report.cache)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(uses.contains(&CacheUse::Miss), "{uses:?}");
    assert_eq!(bench.load(&entry("format-raw")).unwrap().report.cache, CacheUse::Hit);
}

#[test]
fn a_deadline_belongs_to_one_call() {
    let bench = Bench::new();
    let mut entry = entry("format-raw");
    let deadline = Duration::from_millis(300);
    entry.limits = Limits { deadline, ..Limits::default() };
    let mut image = bench.format(&entry).open(Arc::new(Memory(vec![0; 512])), "raw").unwrap();
    // Idle for longer than a call may take, then busy for longer, call after call.
    std::thread::sleep(2 * deadline);
    let start = Instant::now();
    let mut calls = 0u64;
    while start.elapsed() < 2 * deadline {
        let page = image.extents(0, 512, 1);
        assert!(page.is_ok(), "call {calls}: {page:?}");
        calls += 1;
    }
    println!("{calls} calls in {:?}", start.elapsed());
}
