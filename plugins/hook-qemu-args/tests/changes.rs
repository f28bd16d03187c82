//! What the hook makes of documents.
#![allow(missing_docs)]

use std::path::Path;

use hook_qemu_args::QemuArgs;
use proptest::prelude::*;
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::domain::configure;
use witvirt_testkit::domain::{Call, KUBEVIRT, domains};

const ARGS: &str = "qemu.droidvirt.io/args";
const ALLOW: &str = "{\"allow\": [\"device\", \"smbios\", \"usb\"]}";

#[test]
fn changes_a_domain_of_kubevirt_as_expected() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kubevirt.diff");
    let annotations = [(ARGS, "-device;usb-tablet;-smbios;type=11,value=a")];
    Call { settings: ALLOW, annotations: &annotations }.expects::<QemuArgs>(KUBEVIRT, &golden);
}

#[test]
fn options_are_taken_whole_and_once() {
    for (args, words) in [
        ("", &[][..]),
        (" ; ", &[]),
        ("-device;x", &["-device", "x"]),
        (" --device ; x,y=1 ;", &["-device", "x,y=1"]),
        ("-usb;-device;x;-device;y", &["-usb", "-device", "x", "-device", "y"]),
        ("-device;x;-device;x", &["-device", "x", "-device", "x"]),
    ] {
        let made = Call { settings: ALLOW, annotations: &[(ARGS, args)] }.edits::<QemuArgs>("<domain/>");
        let parts = made.split("qemu:arg value=").skip(1);
        let made: Vec<&str> = parts.filter_map(|part| part[1..].split(['"', '\'']).next()).collect();
        assert_eq!(made, words, "{args}");
    }
}

#[test]
fn what_is_not_allowed_refuses_the_document_by_name() {
    let denied = || (Severity::Error, "qemu-args.denied".to_owned());
    let odd = || (Severity::Error, "qemu-args.annotation".to_owned());
    for (settings, args, said) in [
        ("{}", "-device;x", vec![denied()]),
        (ALLOW, "-chardev;file,path=/etc/x;-device;x;-monitor;stdio", vec![denied(), denied()]),
        (ALLOW, "x", vec![odd()]),
        (ALLOW, "-device;x;y", vec![odd()]),
        (ALLOW, "-device;x\u{1}", vec![odd()]),
        (ALLOW, &"-usb;".repeat(257), vec![odd()]),
    ] {
        let annotations = [(ARGS, args)];
        let call = Call { settings, annotations: &annotations };
        assert_eq!(call.says::<QemuArgs>(KUBEVIRT), said, "{args}");
        assert_eq!(call.edits::<QemuArgs>(KUBEVIRT), KUBEVIRT);
    }
    let call = Call { settings: ALLOW, annotations: &[(ARGS, "-drive;file=/x")] };
    let message = call.run::<QemuArgs>(KUBEVIRT).diagnostics.remove(0).message;
    assert!(message.contains("\"-drive\"") && message.contains("setting allow"), "{message}");
}

#[test]
fn allowed_options_are_named_without_a_dash() {
    let error = configure::<QemuArgs>("{\"allow\": [\"-device\"]}").err().unwrap();
    assert!(error.message.starts_with("setting allow: "), "{}", error.message);
}

proptest! {
    #[test]
    fn twice_is_once(domain in domains(), args in "(-usb;|-device;x;|-device;isa-applesmc,osk=x;|-smbios;a;){0,4}") {
        Call { settings: ALLOW, annotations: &[(ARGS, &args)] }.edits::<QemuArgs>(&domain);
    }
}
