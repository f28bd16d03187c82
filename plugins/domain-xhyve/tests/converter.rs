//! The converter as the host calls it.

use domain_xhyve::{Dialect, MissingDevices, Settings, Xhyve};
use witvirt_sdk::ErrorKind;
use witvirt_sdk::core::domain::{DOMAIN_XML, Document, MACHINE_JSON, XHYVE};
use witvirt_sdk::domain::{configure, convert};

fn document(body: &str) -> Document {
    Document { media_type: XHYVE.to_owned(), body: body.to_owned() }
}

#[test]
fn settings_are_checked() {
    assert_eq!(configure::<Xhyve>("{}").unwrap(), Settings::default());
    let settings = configure::<Xhyve>(r#"{"dialect": "bhyve", "missing-devices": "leave-out"}"#).unwrap();
    assert_eq!(
        (settings.dialect, settings.missing_devices),
        (Some(Dialect::Bhyve), MissingDevices::LeaveOut)
    );
    for (json, part) in [
        (r#"{"dialct": "xhyve"}"#, "unknown field `dialct`"),
        (r#"{"tap": "bridge"}"#, "setting tap: unknown variant `bridge`"),
    ] {
        let error = configure::<Xhyve>(json).unwrap_err();
        assert!(error.kind == ErrorKind::InvalidInput && error.message.contains(part), "{}", error.message);
    }
}

#[test]
fn the_schema_has_every_key() {
    let schema: serde_json::Value = serde_json::from_str(Settings::SCHEMA).unwrap();
    let unknown = configure::<Xhyve>("{\"x\": 1}").unwrap_err().message;
    let keys: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
    assert!(keys.iter().all(|key| unknown.contains(&format!("`{key}`"))), "{unknown}");
    assert_eq!(unknown.matches('`').count() / 2, keys.len() + 1, "{unknown}");
}

#[test]
fn options_reach_the_machine() {
    let settings = Settings::default();
    let call = document("xhyve -s 4,virtio-blk,disk.img -f kexec,k,,c");
    let options = r#"{"name": "web", "directory": "/srv", "context": {}}"#;
    let made = convert::<Xhyve>(&settings, &call, DOMAIN_XML, options).unwrap();
    assert_eq!(made.document.media_type, DOMAIN_XML);
    for part in ["<name>web</name>", "<source file='/srv/disk.img'/>", "<kernel>/srv/k</kernel>"] {
        assert!(made.document.body.contains(part), "{}", made.document.body);
    }
    let error = convert::<Xhyve>(&settings, &call, MACHINE_JSON, "{}").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    let error = convert::<Xhyve>(&settings, &document("if"), DOMAIN_XML, "{}").unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidInput);
    assert!(error.message.contains("JSON array instead: line 1: \"then\" of \"if\""), "{}", error.message);
    let error = convert::<Xhyve>(&settings, &document(&"#".repeat(300_000)), DOMAIN_XML, "{}").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit);
}
