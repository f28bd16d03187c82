//! Documents made to exhaust or to confuse.

use domain_libvirt::{Conversion, ConvertError, Settings, convert};
use witvirt_sdk::core::domain::Severity;

fn run(xml: &str) -> Result<Conversion, ConvertError> {
    convert(xml, None, &Settings::default())
}

fn refusal(xml: &str) -> String {
    let error = run(xml).expect_err("converted");
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn within(inside: &str) -> String {
    format!("<domain type='kvm'><name>a</name><devices>{inside}</devices></domain>")
}

#[test]
fn entities_and_document_types_are_refused() {
    let laughs =
        "<!DOCTYPE lolz [<!ENTITY a 'lol'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>]><domain>&b;</domain>";
    let external = "<!DOCTYPE domain SYSTEM 'file:///etc/passwd'><domain/>";
    for xml in [laughs, external, "<!DOCTYPE domain><domain/>"] {
        assert!(refusal(xml).contains("document type declarations"), "{}", refusal(xml));
    }
    assert!(refusal("<domain>&unknown;</domain>").starts_with("not a domain XML document"));
}

#[test]
fn depth_and_size_are_bounded() {
    let deep = "<domain>".repeat(500_000);
    assert_eq!(
        refusal(&deep),
        "not a domain XML document: the document has more than 64 levels of elements (line 1, column 513)"
    );
    let closed = format!("{}{}", "<domain>".repeat(100_000), "</domain>".repeat(100_000));
    assert!(refusal(&closed).contains("64 levels"));
    assert!(refusal(&" ".repeat((4 << 20) + 1)).contains("4194304 bytes"));
    let wide: String = (0..200_000).map(|n| format!(" a{n}=''")).collect();
    assert!(refusal(&format!("<domain{wide}/>")).contains("64 attributes on one element"));
    let spaces: String = (0..60).map(|n| format!(" xmlns:n{n}='x{n}'")).collect();
    assert!(refusal(&within(&format!("<a{spaces}>").repeat(20))).contains("namespace declarations"));
    assert!(
        refusal(&within(&"<a/>".repeat(100_000))).contains("65536 nodes"),
        "{}",
        refusal(&within(&"<a/>".repeat(100_000)))
    );
}

#[test]
fn what_is_no_domain_is_refused() {
    for (xml, part) in [
        ("", "not a domain XML document"),
        ("plain text", "not a domain XML document"),
        ("<domain>", "not a domain XML document"),
        ("<domain></network>", "not a domain XML document"),
        ("<domain/><domain/>", "not a domain XML document"),
        ("<network/>", "the root element is <network>"),
        ("<domain xmlns='http://example.org/'/>", "the root element is <domain>"),
        ("{\"name\": \"json\"}", "not a domain XML document"),
    ] {
        assert!(refusal(xml).contains(part), "{xml}: {}", refusal(xml));
    }
}

#[test]
fn floods_of_findings_are_cut_and_counted() {
    let conversion = run(&within(&"<odd a='1'/>".repeat(60_000))).unwrap();
    let warnings = conversion.diagnostics.iter().filter(|d| d.severity == Severity::Warning).count();
    assert_eq!(warnings, 201);
    let last = conversion.diagnostics.iter().rfind(|d| d.severity == Severity::Warning).unwrap();
    assert_eq!(last.message, "59800 more of this severity are not listed");
    // An error is listed however many warnings there are.
    assert!(conversion.diagnostics.iter().any(|d| d.message.contains("no <memory>")));
}

#[test]
fn many_devices_are_an_error_and_no_feast() {
    let disk = "<disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/></disk>";
    let conversion = run(&within(&disk.repeat(15_000))).unwrap();
    assert!(conversion.diagnostics.iter().any(|d| d.message.contains("more than 256")));
    let forward = "<portForward proto='tcp'><range start='1' end='65535'/></portForward>";
    let card = format!("<interface type='user'>{}</interface>", forward.repeat(5_000));
    let conversion = run(&within(&card)).unwrap();
    assert!(conversion.machine.interfaces[0].forwards.len() <= 256);
    assert!(conversion.diagnostics.iter().any(|d| d.message.contains("more than 256 ports")));
}

#[test]
fn texts_in_diagnostics_are_short() {
    let long = "x".repeat(1 << 18);
    let name = "x".repeat(1000);
    let xml = within(&format!(
        "<disk type='{long}' {name}='{long}'><target dev='{long}' bus='{long}'/><serial>{long}</serial></disk><{name}/>"
    ));
    let conversion = run(&xml).unwrap();
    assert!(conversion.diagnostics.len() > 4);
    for diagnostic in conversion.diagnostics {
        assert!(diagnostic.message.len() < 1100, "{} bytes", diagnostic.message.len());
        assert!(diagnostic.path.is_none_or(|path| path.len() < 400));
    }
}

#[test]
fn odd_characters_are_escaped_or_refused() {
    let xml = within("<disk type='&#27;[31m&#8238;'><target dev='vda'/></disk>");
    let Ok(conversion) = run(&xml) else { return };
    for diagnostic in conversion.diagnostics {
        assert!(!diagnostic.message.contains(['\u{1b}', '\u{202e}']), "{}", diagnostic.message);
    }
}
