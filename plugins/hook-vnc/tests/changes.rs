//! What the hook makes of documents.
#![allow(missing_docs)]

use std::path::Path;

use hook_vnc::Vnc;
use proptest::prelude::*;
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::domain::configure;
use witvirt_testkit::domain::{Call, KUBEVIRT, domains};

const PORT: &str = "vnc.droidvirt.io/port";
const WEBSOCKET: &str = "websocket.vnc.droidvirt.io/port";
const NONE: &str = "<domain><devices/></domain>";

fn edits(settings: &str, annotations: &[(&str, &str)]) -> String {
    Call { settings, annotations }.edits::<Vnc>(NONE).replace('"', "'")
}

#[test]
fn changes_a_domain_of_kubevirt_as_expected() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let port = Call { settings: "{}", annotations: &[(PORT, "5900")] };
    port.expects::<Vnc>(KUBEVIRT, &golden.join("port.diff"));
    let websocket = Call { annotations: &[(PORT, "5901"), (WEBSOCKET, "6080")], ..port };
    websocket.expects::<Vnc>(KUBEVIRT, &golden.join("websocket.diff"));
    let argument = Call { settings: "{\"websocket\": \"argument\", \"address\": \"0.0.0.0\"}", ..websocket };
    argument.expects::<Vnc>(KUBEVIRT, &golden.join("argument.diff"));
}

#[test]
fn without_a_port_the_displays_stay() {
    let made = edits("{}", &[]);
    assert!(made.contains("type='qxl'") && !made.contains("graphics"), "{made}");
    assert_eq!(edits("{\"video\": \"keep\"}", &[]), NONE);
    assert!(!edits("{\"video\": \"keep\"}", &[(PORT, "5900")]).contains("qxl"));
}

#[test]
fn listens_where_the_setting_says() {
    for (settings, address) in
        [("{}", "127.0.0.1"), ("{\"address\": \"::1\"}", "::1"), ("{\"address\": \"0.0.0.0\"}", "0.0.0.0")]
    {
        let made = edits(settings, &[(PORT, "5900")]);
        assert!(made.contains(&format!("<listen type='address' address='{address}'/>")), "{made}");
    }
    let made =
        edits("{\"address\": \"::1\", \"websocket\": \"argument\"}", &[(PORT, "5902"), (WEBSOCKET, "5903")]);
    assert!(made.contains("'[::1]:2,websocket=5903'"), "{made}");
    let error = configure::<Vnc>("{\"address\": \"everywhere\"}").err().unwrap();
    assert!(error.message.starts_with("setting address: "), "{}", error.message);
}

#[test]
fn ports_that_cannot_be_are_warnings() {
    for (port, websocket, warnings, server) in [
        ("5900", None, 0, Some("port='5900'><listen")),
        (" 65535 ", None, 0, Some("port='65535'>")),
        ("5899", None, 1, None),
        ("65536", None, 1, None),
        ("", None, 1, None),
        ("-1", None, 1, None),
        ("x", Some("6080"), 1, None),
        ("5900", Some("6080"), 0, Some("port='5900' websocket='6080'>")),
        ("5900", Some("5900"), 1, Some("port='5900'><listen")),
        ("5900", Some("80"), 1, Some("port='5900'><listen")),
    ] {
        let mut annotations = vec![(PORT, port)];
        annotations.extend(websocket.map(|port| (WEBSOCKET, port)));
        let call = Call { settings: "{}", annotations: &annotations };
        let said = call.says::<Vnc>(NONE);
        assert_eq!(said, vec![(Severity::Warning, "vnc.port".to_owned()); warnings], "{annotations:?}");
        let made = call.edits::<Vnc>(NONE).replace('"', "'");
        let flat: String = made.lines().map(str::trim).collect();
        assert_eq!(flat.contains("graphics"), server.is_some(), "{flat}");
        assert!(flat.contains(server.unwrap_or("qxl")), "{flat}");
    }
}

proptest! {
    #[test]
    fn twice_is_once(domain in domains(), argument: bool, websocket: bool) {
        let settings = if argument { "{\"websocket\": \"argument\"}" } else { "{}" };
        let annotations = [(PORT, "5900"), (WEBSOCKET, "6080")];
        Call { settings, annotations: &annotations[..1 + usize::from(websocket)] }.edits::<Vnc>(&domain);
    }
}
