//! The component, in the engine and under its limits, answers as the native code does.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use domain_libvirt::{Settings, convert};
use serde_json::json;
use witvirt_engine::{CompileCommand, Engine, EngineOptions, Plugin};
use witvirt_sdk::core::Name;
use witvirt_sdk::core::domain::{Converter, DOMAIN_XML, Document, MACHINE_JSON};
use witvirt_sdk::core::plugin::{Limits, Mode, OnFailure, PluginEntry, PluginKind};

const COMPILE: &str = "compile-plugin";

/// Without the test harness: the program is also the child that compiles, so that both have the same runtime.
fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(COMPILE) {
        return witvirt_engine::compile_child_main();
    }
    the_component_answers_as_the_native_code();
    ExitCode::SUCCESS
}

fn the_component_answers_as_the_native_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let file = root.join("target/plugins/domain-libvirt.wasm");
    if !file.is_file() {
        println!("skipped: {} is missing, run: cargo xtask plugins", file.display());
        return;
    }
    let cache = tempfile::TempDir::new().unwrap();
    let program = std::env::current_exe().unwrap();
    let compiler = CompileCommand { program, arguments: vec![COMPILE.into()] };
    let engine = Engine::new(EngineOptions::new(cache.path().join("cache"), compiler)).unwrap();
    let entry = PluginEntry {
        name: Name::new("libvirt").unwrap(),
        kind: PluginKind::DomainConverter,
        file,
        sha256: None,
        settings: json!({ "image-pool": "images" }),
        limits: Limits::default(),
        on_failure: OnFailure::Deny,
        mode: Mode::Enforce,
    };
    let Plugin::Converter(converter) = engine.load(&entry).unwrap().plugin else { panic!("no converter") };
    assert!(converter.conversions().contains(&(DOMAIN_XML.to_owned(), MACHINE_JSON.to_owned())));
    let mut documents = 0;
    for entry in fs::read_dir(root.join("plugins/domain-libvirt/tests/golden")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "xml") {
            compare(&*converter, &fs::read_to_string(&path).unwrap());
            documents += 1;
        }
    }
    assert!(documents >= 9, "only {documents} documents");
    refuses(&*converter);
}

fn compare(converter: &dyn Converter, xml: &str) {
    let native = convert(xml, Some(Name::new("wanted").unwrap()), &Settings::default()).unwrap();
    let input = Document { media_type: DOMAIN_XML.to_owned(), body: xml.to_owned() };
    let mut best = std::time::Duration::MAX;
    for _ in 0..50 {
        let start = std::time::Instant::now();
        let outcome = converter.convert(&input, MACHINE_JSON, &json!({ "name": "wanted" })).unwrap();
        best = best.min(start.elapsed());
        let stale = "is target/plugins older than the sources? run cargo xtask plugins";
        assert_eq!(outcome.document.media_type, MACHINE_JSON);
        assert_eq!(outcome.document.body, serde_json::to_string(&native.machine).unwrap(), "{stale}");
        assert_eq!(outcome.diagnostics, native.diagnostics, "{stale}");
    }
    println!("{} bytes, {} diagnostics: {best:?}", xml.len(), native.diagnostics.len());
}

/// Documents that would exhaust a careless parser, inside the component's small stack.
fn refuses(converter: &dyn Converter) {
    for (xml, part) in [
        ("<domain>".repeat(500_000), "64 levels"),
        ("<!DOCTYPE domain><domain/>".to_owned(), "document type declarations"),
        ("<network/>".to_owned(), "<network>"),
    ] {
        let input = Document { media_type: DOMAIN_XML.to_owned(), body: xml };
        let error = converter.convert(&input, MACHINE_JSON, &json!({})).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.to_string().starts_with("plugin libvirt 0.1.0: "), "{error}");
    }
    let input = Document { media_type: DOMAIN_XML.to_owned(), body: "<domain/>".to_owned() };
    let error = converter.convert(&input, "text/plain", &json!({})).unwrap_err();
    assert!(error.to_string().contains("unsupported"), "{error}");
    let error = converter.convert(&input, MACHINE_JSON, &json!({ "name": "No Name" })).unwrap_err();
    assert!(error.to_string().contains("is not a name"), "{error}");
}
