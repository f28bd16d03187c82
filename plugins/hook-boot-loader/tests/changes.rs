//! What the hook makes of documents.
#![allow(missing_docs)]

use std::path::Path;

use hook_boot_loader::BootLoader;
use proptest::prelude::*;
use witvirt_sdk::core::domain::Severity;
use witvirt_testkit::domain::{Call, KUBEVIRT, domains};

const LOADER: (&str, &str) = ("loader.osx-kvm.io/path", "/usr/share/OVMF/OVMF_CODE.fd");
const NVRAM: (&str, &str) = ("nvram.osx-kvm.io/path", "/usr/share/OVMF/OVMF_VARS.fd");

fn call<'a>(annotations: &'a [(&'a str, &'a str)]) -> Call<'a> {
    Call { settings: "{}", annotations }
}

#[test]
fn changes_a_domain_of_kubevirt_as_expected() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kubevirt.diff");
    call(&[LOADER, NVRAM]).expects::<BootLoader>(KUBEVIRT, &golden);
}

#[test]
fn each_annotation_is_for_itself() {
    let efi = "<domain><os firmware='efi'><firmware><feature enabled='no' name='x'/></firmware><loader type='rom'>/b</loader>\
               <nvram template='/t'>/n</nvram></os></domain>";
    assert_eq!(call(&[]).edits::<BootLoader>(efi), efi);
    let loader = "<loader readonly='yes' secure='no' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>";
    for (annotations, expected) in [
        (&[LOADER][..], format!("<domain><os>{loader}<nvram template='/t'>/n</nvram></os></domain>")),
        (&[NVRAM], efi.replace("<nvram template='/t'>/n<", "<nvram>/usr/share/OVMF/OVMF_VARS.fd<")),
        (&[LOADER, NVRAM], format!("<domain><os>{loader}<nvram>{}</nvram></os></domain>", NVRAM.1)),
    ] {
        assert_eq!(call(annotations).edits::<BootLoader>(efi).replace('"', "'"), expected);
    }
}

#[test]
fn paths_are_absolute() {
    for path in ["", "OVMF_CODE.fd", "../x", "/a\nb", &format!("/{}", "x".repeat(4095))] {
        let annotations = [(LOADER.0, path)];
        let call = call(&annotations);
        assert_eq!(
            call.says::<BootLoader>(KUBEVIRT),
            [(Severity::Error, "boot-loader.path".to_owned())],
            "{path}"
        );
        assert_eq!(call.edits::<BootLoader>(KUBEVIRT), KUBEVIRT);
    }
    let made = call(&[(LOADER.0, "/a & <b>")]).edits::<BootLoader>("<domain/>");
    assert!(made.contains(">/a &amp; &lt;b"), "{made}");
}

proptest! {
    #[test]
    fn twice_is_once(domain in domains(), first in 0..3usize) {
        let annotations = [LOADER, NVRAM, LOADER];
        call(&annotations[first..]).edits::<BootLoader>(&domain);
    }
}
