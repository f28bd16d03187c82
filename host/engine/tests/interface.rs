//! Components that this host cannot serve are refused with what they want, what is offered and what to do.
#![allow(missing_docs)]

mod support;

use support::{Bench, built, chain, entry_of};
use witvirt_core::plugin::PluginKind;
use witvirt_engine::{InspectError, inspect};

/// Loads a component written as text.
fn refusal(name: &str, kind: PluginKind, text: &str) -> String {
    let bench = Bench::new();
    let file = bench.directory.path().join(format!("{name}.wasm"));
    std::fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
    let error = bench.load(&entry_of(file, kind)).err().unwrap();
    bench.assert_healthy();
    chain(&error)
}

/// A component with these imports and the exports of a disk format, all of them empty.
fn component(imports: &[&str]) -> String {
    let imports: String = imports.iter().map(|name| format!("(import \"{name}\" (instance))\n")).collect();
    format!(
        "(component {imports} (instance $empty)
            (export \"witvirt:types/lifecycle@0.1.0\" (instance $empty))
            (export \"witvirt:disk/format@0.1.0\" (instance $empty)))"
    )
}

#[test]
fn wasi_is_not_offered() {
    let text = refusal(
        "wasi",
        PluginKind::DiskFormat,
        &component(&["witvirt:types/log@0.1.0", "wasi:cli/environment@0.2.6"]),
    );
    assert_eq!(
        text,
        "plugin wasi: the component imports wasi:cli/environment@0.2.6, which this host does not offer; a plugin of kind \
         \"disk-format\" may import witvirt:types/log@0.1.0, witvirt:types/errors@0.1.0, witvirt:disk/io@0.1.0; plugins have \
         no WASI (no files, clock, environment or network); build Rust for wasm32-unknown-unknown, Python with \
         componentize-py --stub-wasi, JavaScript with all features disabled"
    );
}

#[test]
fn an_interface_that_nobody_has() {
    let text = refusal("net", PluginKind::DiskFormat, &component(&["witvirt:net/sockets@0.1.0"]));
    assert!(text.contains("imports witvirt:net/sockets@0.1.0, which this host does not offer"), "{text}");
    assert!(text.ends_with("remove the import or use a host that offers it"), "{text}");
}

#[test]
fn an_interface_of_another_version() {
    let text = refusal("later", PluginKind::DiskFormat, &component(&["witvirt:disk/io@0.2.0"]));
    assert!(text.contains("imports witvirt:disk/io@0.2.0"), "{text}");
    assert!(text.ends_with("rebuild the plugin with the SDK of this one"), "{text}");
    let exports = "(component (instance $empty) (export \"witvirt:disk/format@0.2.0\" (instance $empty)))";
    let text = refusal("later", PluginKind::DiskFormat, exports);
    assert!(
        text.contains("exports witvirt:disk/format@0.2.0, this host speaks witvirt:disk/format@0.1.0"),
        "{text}"
    );
}

#[test]
fn an_interface_of_another_kind_of_plugin() {
    let text = "(component (import \"witvirt:disk/io@0.1.0\" (instance)) (instance $empty)
        (export \"witvirt:types/lifecycle@0.1.0\" (instance $empty))
        (export \"witvirt:device/policy@0.1.0\" (instance $empty)))";
    let text = refusal("nosy", PluginKind::DevicePolicy, text);
    assert!(text.contains("imports witvirt:disk/io@0.1.0, which this host does not offer"), "{text}");
    assert!(
        text.contains("\"device-policy\" may import witvirt:types/log@0.1.0, witvirt:types/errors@0.1.0;"),
        "{text}"
    );
}

#[test]
fn the_wrong_kind_in_the_config() {
    let bench = Bench::new();
    let error = bench.load(&entry_of(built("format-raw"), PluginKind::DevicePolicy)).err().unwrap();
    assert_eq!(
        chain(&error),
        "plugin format-raw: the config says kind = \"device-policy\", but the component exports witvirt:disk/format@0.1.0 and \
         is a disk-format; write kind = \"disk-format\" or give another file"
    );
    bench.assert_healthy();
}

#[test]
fn exports_that_are_missing() {
    let text = refusal("empty", PluginKind::DomainConverter, "(component)");
    assert!(text.contains("does not export witvirt:domain/converter@0.1.0"), "{text}");
    assert!(
        text.ends_with(
            "it exports nothing; build it against the world witvirt:domain/domain-converter@0.1.0"
        ),
        "{text}"
    );
    let exports = "(component (instance $empty) (export \"witvirt:disk/format@0.1.0\" (instance $empty)))";
    let text = refusal("headless", PluginKind::DiskFormat, exports);
    assert!(text.contains("does not export witvirt:types/lifecycle@0.1.0"), "{text}");
}

#[test]
fn the_right_names_in_another_shape() {
    let text = refusal("hollow", PluginKind::DiskFormat, &component(&[]));
    assert!(text.contains("not in the shape of this host's contract"), "{text}");
    assert!(text.ends_with("rebuild it with the SDK of this witvirt"), "{text}");
}

#[test]
fn what_is_no_component() {
    assert_eq!(inspect(&wat::parse_str("(module)").unwrap()), Err(InspectError::Module));
    assert_eq!(inspect(b"  (component)"), Err(InspectError::Text));
    assert_eq!(inspect(b"\x7fELF...."), Err(InspectError::Precompiled));
    for bytes in [&b""[..], b"\0", b"\0asm", b"\0asm\x0d\0\x01\0\xff", b"#!/bin/sh"] {
        assert!(matches!(inspect(bytes), Err(InspectError::Malformed(_))), "{bytes:?}");
    }
    let text = refusal("module", PluginKind::DiskFormat, "(module)");
    assert!(text.contains("it is a core WebAssembly module, not a component"), "{text}");
}

#[test]
fn inspection_runs_nothing_and_reports_the_outside() {
    let inspection = inspect(&std::fs::read(built("hostile-format")).unwrap()).unwrap();
    assert_eq!(inspection.kind, Some(PluginKind::DiskFormat));
    assert_eq!(inspection.world.as_deref(), Some("witvirt:disk/disk-format-writer@0.1.0"));
    assert!(inspection.exports.contains(&"witvirt:disk/layout@0.1.0".to_owned()));
    let nested =
        inspect(&wat::parse_str("(component (component (import \"a:b/c\" (instance))))").unwrap()).unwrap();
    assert_eq!((nested.imports.len(), nested.kind), (0, None));
}
