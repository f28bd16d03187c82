//! Loading a plugin: what is reported, what is refused and in which words.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;

use support::{Bench, Memory, built, chain, entry, entry_of};
use witvirt_core::plugin::PluginKind;
use witvirt_engine::{CacheUse, LoadError};

#[test]
fn serves_an_image_and_reports_the_plugin() {
    let bench = Bench::new();
    let first = bench.load(&entry("format-raw")).unwrap().report;
    assert_eq!((first.cache, first.kind), (CacheUse::Miss, PluginKind::DiskFormat));
    assert_eq!((first.described_name.as_str(), first.version.as_str()), ("format-raw", "0.1.0"));
    assert_eq!(first.world, "witvirt:disk/disk-format@0.1.0");
    assert_eq!(first.formats, ["raw"]);
    assert_eq!(first.size, std::fs::metadata(built("format-raw")).unwrap().len());
    assert!(first.imports.contains(&"witvirt:disk/io@0.1.0".to_owned()), "{:?}", first.imports);
    assert!(first.compile_us > 0 && !first.writes);

    let second = bench.load(&entry("format-raw")).unwrap().report;
    assert_eq!((second.cache, second.compile_us), (CacheUse::Hit, 0));
    assert_eq!(second.sha256, first.sha256);
    bench.assert_healthy();
}

#[test]
fn passes_on_what_the_plugin_says() {
    let bench = Bench::new();
    let raw = bench.format(&entry("format-raw"));
    let error = raw.open(Arc::new(Memory(vec![0; 100])), "raw").err().unwrap();
    assert_eq!(
        error.to_string(),
        "plugin format-raw 0.1.0: invalid input: the length of a raw image has to be a multiple of 512 bytes (length 100)"
    );
}

#[test]
fn settings_are_refused_in_the_plugins_words() {
    let mut entry = entry("format-raw");
    entry.settings = serde_json::json!({ "clusters": 3 });
    let error = Bench::new().load(&entry).err().unwrap();
    assert_eq!(
        chain(&error),
        "plugin format-raw 0.1.0: invalid input: unknown setting \"clusters\": this plugin has none"
    );
}

#[test]
fn a_file_that_is_missing_is_named() {
    let error =
        Bench::new().load(&entry_of("/nonexistent/x.wasm".into(), PluginKind::DiskFormat)).err().unwrap();
    assert!(matches!(error, LoadError::File { .. }));
    assert!(
        chain(&error).starts_with("plugin x: cannot load /nonexistent/x.wasm: cannot open it: No such file"),
        "{error}"
    );
}
