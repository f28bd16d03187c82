//! What the hook makes of documents.
#![allow(missing_docs)]

use std::path::Path;

use hook_board::{Board, Settings};
use proptest::prelude::*;
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::domain::configure;
use witvirt_testkit::domain::{Call, KUBEVIRT, domains};

/// 64 characters, and no Mac's.
const OSK: &str = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl";

fn call(settings: &str) -> Call<'_> {
    Call { settings, annotations: &[] }
}

fn arguments(xml: &str) -> Vec<&str> {
    xml.lines().filter_map(|line| line.trim().strip_prefix("<qemu:arg value=")).collect()
}

#[test]
fn changes_a_domain_of_kubevirt_as_expected() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kubevirt.diff");
    call(&format!("{{\"osk\": \"{OSK}\"}}")).expects::<Board>(KUBEVIRT, &golden);
}

#[test]
fn adds_the_chosen_parts() {
    for (settings, added) in [
        ("{\"parts\": []}", &[][..]),
        ("{\"parts\": [\"smbios\"]}", &["-smbios", "type=2"]),
        ("{\"parts\": [\"cpu\"], \"cpu\": \"Haswell-noTSX,+invtsc\"}", &["-cpu", "Haswell-noTSX,+invtsc"]),
        (
            "{\"parts\": [\"cpu\", \"cpu\", \"smbios\"], \"cpu\": \"max\"}",
            &["-smbios", "type=2", "-cpu", "max"],
        ),
    ] {
        let made = call(settings).edits::<Board>(KUBEVIRT);
        let words: Vec<&str> =
            arguments(&made).iter().map(|word| word.trim_matches(['"', '\'', '/', '>'])).collect();
        assert_eq!(words, added, "{settings}");
    }
}

#[test]
fn without_a_key_there_is_no_controller_and_a_reason() {
    for settings in ["{}", "{\"parts\": [\"smc\"]}"] {
        assert_eq!(call(settings).says::<Board>(KUBEVIRT), [(Severity::Error, "board.osk".to_owned())]);
        assert!(!call(settings).edits::<Board>(KUBEVIRT).contains("isa-applesmc"));
    }
    assert!(call("{\"parts\": [\"smbios\", \"cpu\"]}").says::<Board>(KUBEVIRT).is_empty());
}

#[test]
fn replaces_what_is_there_and_keeps_a_fuller_base_board() {
    let there = "<domain xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:commandline>\
                 <q:arg value='-device'/><q:arg value='isa-applesmc,osk=old'/>\
                 <q:arg value='-device'/><q:arg value='usb-kbd'/>\
                 <q:arg value='-smbios'/><q:arg value='type=2,serial=C02'/>\
                 <q:arg value='-cpu'/><q:arg value='host'/></q:commandline></domain>";
    let made = call(&format!("{{\"osk\": \"{OSK}\", \"cpu\": \"max\"}}")).edits::<Board>(there);
    let expected = there.replace("osk=old", &format!("osk={OSK}")).replace("'host'", "'max'");
    assert_eq!(made.replace('"', "'"), expected);
}

#[test]
fn a_comma_in_a_key_is_not_the_end_of_it() {
    let key = format!("{},", &OSK[..63]);
    let made = call(&format!("{{\"osk\": \"{key}\"}}")).edits::<Board>("<domain/>");
    assert!(made.contains(&format!("osk={key},")), "{made}");
}

#[test]
fn a_key_is_shown_nowhere() {
    for wrong in [&OSK[1..], &format!("{OSK}0"), &OSK.replace('a', " "), ""] {
        let error = configure::<Board>(&format!("{{\"osk\": \"{wrong}\"}}")).unwrap_err();
        assert!(error.message.starts_with("setting osk: has "), "{}", error.message);
        assert!(wrong.is_empty() || !error.message.contains(wrong), "{}", error.message);
    }
    let settings: Settings = configure::<Board>(&format!("{{\"osk\": \"{OSK}\"}}")).unwrap();
    assert!(!format!("{settings:?}").contains(OSK));
}

#[test]
fn processors_have_to_be_words_of_qemu() {
    for cpu in ["", "-cpu", "Penryn, +aes", "a\\nb"] {
        let error = configure::<Board>(&format!("{{\"cpu\": \"{cpu}\"}}")).unwrap_err();
        assert!(error.message.starts_with("setting cpu: "), "{}", error.message);
    }
}

proptest! {
    #[test]
    fn twice_is_once(domain in domains()) {
        call(&format!("{{\"osk\": \"{OSK}\"}}")).edits::<Board>(&domain);
    }
}
