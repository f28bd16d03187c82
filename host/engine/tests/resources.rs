//! What calls leave behind: nothing. One test in a process of its own, so that the numbers are its own.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use support::{Bench, Memory, built, entry, entry_of};
use witvirt_core::domain::Document;
use witvirt_core::plugin::PluginKind;
use witvirt_engine::Plugin;

/// KiB of resident memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

fn tickers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .flatten()
        .filter(|task| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "plugin-epochs")
        })
        .count()
}

fn calls(bench: &Bench, count: usize) {
    let raw = bench.format(&entry("format-raw"));
    let mut broken = entry("hostile-format");
    broken.settings = json!({ "behaviour": "panic" });
    let broken = bench.format(&broken);
    let converter = bench.load(&entry_of(built("hostile-converter"), PluginKind::DomainConverter)).unwrap();
    let Plugin::Converter(converter) = converter.plugin else { panic!("no converter") };
    let document = Document { media_type: "text/plain".to_owned(), body: "x".repeat(10_000) };
    for _ in 0..count {
        let mut image = raw.open(Arc::new(Memory(vec![0; 512])), "raw").unwrap();
        assert!(image.extents(0, 512, 16).is_ok());
        let mut image = broken.open(Arc::new(Memory(vec![0; 512])), "hostile").unwrap();
        assert!(image.extents(0, 512, 16).is_err());
        assert!(converter.convert(&document, "text/plain", &json!({})).is_ok());
    }
}

#[test]
fn a_thousand_calls_leave_nothing() {
    let bench = Bench::new();
    calls(&bench, 100);
    let before = (resident(), descriptors(), mappings());
    calls(&bench, 1000);
    let after = (resident(), descriptors(), mappings());
    println!("resident KiB, descriptors, mappings: {before:?} before, {after:?} after");
    assert!(after.0 <= before.0 + 2048, "resident memory grew from {} to {} KiB", before.0, after.0);
    assert_eq!(after.1, before.1);
    assert!(after.2 <= before.2 + 4, "mappings grew from {} to {}", before.2, after.2);

    assert_eq!(tickers(), 1);
    drop(bench);
    // The ticker sees the end of the engine at its next tick; ten seconds are for a machine that is very busy.
    let gone = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        tickers() == 0
    });
    assert!(gone, "the thread of an engine outlives it");
}
