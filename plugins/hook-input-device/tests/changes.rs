//! What the hook makes of documents.
#![allow(missing_docs)]

use std::path::Path;

use hook_input_device::InputDevice;
use proptest::prelude::*;
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::domain::configure;
use witvirt_testkit::domain::{Call, KUBEVIRT, domains};

const INPUTS: &str = "<input type='keyboard' bus='ps2'/><input type='mouse' bus='ps2'/>\
                      <input type='tablet' bus='usb'/><input type='keyboard' bus='usb'/>";
const UHCI: &str = "<controller type='usb' index='0' model='piix3-uhci'/>";

#[test]
fn changes_a_domain_of_kubevirt_as_expected() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kubevirt.diff");
    Call::PLAIN.expects::<InputDevice>(KUBEVIRT, &golden);
}

#[test]
fn controller_0_is_the_one() {
    let xhci = "<controller type='usb' index='0' model='qemu-xhci'/>";
    let ehci = "<controller type='usb' index='0' model='ich9-ehci1'/>";
    let companion = "<controller type='usb' index='0' model='ich9-uhci1'/>";
    let other = "<controller type='usb' index='1' model='qemu-xhci'/>";
    let scsi = "<controller type='scsi' index='0'/>";
    let changed = || vec![(Severity::Info, "input-device.controller".to_owned())];
    for (settings, there, expected, said) in [
        ("{}", String::new(), format!("{INPUTS}{UHCI}"), vec![]),
        (
            "{}",
            "<controller type='usb' index='0' model='none'/>".to_owned(),
            format!("{UHCI}{INPUTS}"),
            vec![],
        ),
        ("{}", "<controller type='usb' model='none'/>".to_owned(), format!("{UHCI}{INPUTS}"), vec![]),
        ("{}", UHCI.to_owned(), format!("{UHCI}{INPUTS}"), vec![]),
        ("{}", format!("{scsi}{xhci}{other}"), format!("{scsi}{UHCI}{other}{INPUTS}"), changed()),
        ("{}", format!("{ehci}{companion}"), format!("{UHCI}{INPUTS}"), changed()),
        ("{}", format!("<input type='tablet' bus='usb'/>{xhci}"), format!("{INPUTS}{UHCI}"), changed()),
        (
            "{\"controller\": \"ich9-ehci1\"}",
            format!("{ehci}{companion}"),
            format!("{ehci}{companion}{INPUTS}"),
            vec![],
        ),
        ("{\"controller\": \"qemu-xhci\"}", xhci.to_owned(), format!("{xhci}{INPUTS}"), vec![]),
    ] {
        let call = Call { settings, annotations: &[] };
        let domain = |devices: &str| format!("<domain><devices>{devices}</devices></domain>");
        let there = domain(&there);
        assert_eq!(call.edits::<InputDevice>(&there).replace('"', "'"), domain(&expected), "{there}");
        assert_eq!(call.says::<InputDevice>(&there), said, "{there}");
    }
}

#[test]
fn models_are_those_that_macos_knows() {
    let error = configure::<InputDevice>("{\"controller\": \"none\"}").err().unwrap();
    assert!(
        error.message.contains("controller") && error.message.contains("piix3-uhci"),
        "{}",
        error.message
    );
}

proptest! {
    #[test]
    fn twice_is_once(domain in domains(), model in 0..4usize) {
        let model = ["piix3-uhci", "ich9-ehci1", "qemu-xhci", "nec-xhci"][model];
        let settings = format!("{{\"controller\": \"{model}\"}}");
        Call { settings: &settings, annotations: &[] }.edits::<InputDevice>(&domain);
    }
}
