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
    let mut entry = entry("hostile-format");
    entry.settings = serde_json::json!({ "behaviour": "large-reads" });
    let mut image = bench.format(&entry).open(Arc::new(Memory(vec![0; 512])), "hostile").unwrap();
    assert_eq!(
        image.extents(0, 512, 1).unwrap_err().to_string(),
        "plugin hostile-format 6.6.6: invalid input: read-at of 1048577 bytes, at most 1048576 are allowed"
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

fn copy_of_raw(bench: &Bench) -> witvirt_core::plugin::PluginEntry {
    let file = bench.directory.path().join("copy.wasm");
    std::fs::copy(built("format-raw"), &file).unwrap();
    entry_of(file, PluginKind::DiskFormat)
}

fn refusal(bench: &Bench, entry: &witvirt_core::plugin::PluginEntry) -> String {
    let text = chain(&bench.load(entry).err().unwrap());
    bench.assert_healthy();
    text
}

#[test]
fn a_file_that_changed_under_its_digest_is_refused() {
    let bench = Bench::new();
    let mut entry = copy_of_raw(&bench);
    entry.sha256 = Some(bench.load(&entry).unwrap().report.sha256);
    assert!(bench.load(&entry).is_ok());

    std::fs::copy(built("hostile-format"), &entry.file).unwrap();
    let text = refusal(&bench, &entry);
    let expected = entry.sha256.unwrap();
    let found = bench.load(&self::entry("hostile-format")).unwrap().report.sha256;
    assert!(
        text.contains(&format!("has {found}, but the config says {expected}; if the change is yours")),
        "{text}"
    );
}

#[test]
fn only_regular_files_are_read() {
    let bench = Bench::new();
    let directory = bench.directory.path();
    let refused = |file: std::path::PathBuf| refusal(&bench, &entry_of(file, PluginKind::DiskFormat));

    let link = directory.join("link.wasm");
    std::os::unix::fs::symlink(built("format-raw"), &link).unwrap();
    assert!(refused(link).contains("it is a symbolic link"));

    let pipe = directory.join("pipe.wasm");
    let pipe_mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, pipe_mode, 0).unwrap();
    assert!(refused(pipe).contains("it is not a regular file"));
    assert!(refused(directory.to_owned().join("cache")).contains("it is not a regular file"));

    let large = directory.join("large.wasm");
    std::fs::File::create(&large).unwrap().set_len((64 << 20) + 1).unwrap();
    assert!(refused(large).contains("more than the 64.0 MiB"));
}

#[test]
fn every_truncation_is_refused() {
    let bench = Bench::new();
    let bytes = std::fs::read(built("format-raw")).unwrap();
    let entry = copy_of_raw(&bench);
    // The custom sections at the end carry names only, so a cut among them may leave a valid component.
    let cuts = [0, 1, 7, 8, 9, 100, bytes.len() / 3, bytes.len() / 2];
    for cut in cuts {
        std::fs::write(&entry.file, &bytes[..cut]).unwrap();
        let error = bench.load(&entry).err().unwrap_or_else(|| panic!("accepted {cut} bytes"));
        assert!(error.to_string().starts_with("plugin copy: "), "{error}");
    }
    bench.assert_healthy();
}

#[test]
fn bytes_that_inspection_accepts_and_compilation_does_not() {
    let bench = Bench::new();
    let mut bytes = std::fs::read(built("format-raw")).unwrap();
    // An invalid opcode in the middle of the code section: the outer structure stays intact.
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    let entry = copy_of_raw(&bench);
    std::fs::write(&entry.file, &bytes).unwrap();
    let error = bench.load(&entry).err().unwrap();
    assert!(matches!(error, LoadError::Compile { .. } | LoadError::NoComponent { .. }), "{}", chain(&error));
    bench.assert_healthy();
}

#[test]
fn settings_have_to_be_a_table_of_bounded_size() {
    let bench = Bench::new();
    let mut entry = entry("hostile-format");
    entry.settings = serde_json::json!([]);
    assert_eq!(refusal(&bench, &entry), "plugin hostile-format: its settings are not a table");
    entry.settings = serde_json::json!({ "x": "y".repeat(256 << 10) });
    assert!(refusal(&bench, &entry).contains("at most 262144 are allowed"));
}

#[test]
fn the_report_is_json_for_status() {
    let report = Bench::new().load(&entry("hostile-format")).unwrap().report;
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["world"], "witvirt:disk/disk-format-writer@0.1.0");
    assert_eq!(
        (&json["writes"], &json["cache"], &json["kind"]),
        (&true.into(), &"miss".into(), &"disk-format".into())
    );
    assert_eq!(json["settings-schema"]["type"], "object");
    assert!(json["sha256"].as_str().unwrap().starts_with("sha256:"));
}
