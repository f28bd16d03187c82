//! What the hook makes of documents.
#![allow(missing_docs)]

use std::path::Path;

use hook_disk_driver::DiskDriver;
use proptest::prelude::*;
use witvirt_sdk::core::domain::Severity;
use witvirt_testkit::domain::{Call, KUBEVIRT, domains};

const NAMES: &str = "disk.droidvirt.io/names";
const TYPE: &str = "disk.droidvirt.io/driverType";

fn call<'a>(annotations: &'a [(&'a str, &'a str)]) -> Call<'a> {
    Call { settings: "{}", annotations }
}

#[test]
fn changes_a_domain_of_kubevirt_as_expected() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kubevirt.diff");
    call(&[(NAMES, "containerdisk"), (TYPE, "raw")]).expects::<DiskDriver>(KUBEVIRT, &golden);
}

#[test]
fn disks_are_found_by_alias() {
    let domain = |a: &str, b: &str| {
        let disk = |name, driver| format!("<disk><alias name='{name}'/>{driver}</disk>");
        format!("<domain><devices>{}{}<disk/></devices></domain>", disk("ua-a", a), disk("b", b))
    };
    let old = "<driver name='x' cache='none'><metadata/></driver>";
    let qcow2 = "<driver name='qemu' type='qcow2'/>";
    let raw = "<driver name='qemu' type='raw'/>";
    let there = domain(old, "");
    let absent = || vec![(Severity::Warning, "disk-driver.annotation".to_owned())];
    for (annotations, expected, said) in [
        (&[][..], there.clone(), vec![]),
        (&[(TYPE, "raw")], there.clone(), vec![]),
        (&[(NAMES, "")], there.clone(), vec![]),
        (&[(NAMES, "a,b")], domain(qcow2, qcow2), vec![]),
        (&[(NAMES, " ua-a , ")], domain(qcow2, ""), vec![]),
        (&[(NAMES, "b"), (TYPE, "raw")], domain(old, raw), vec![]),
        (&[(NAMES, "c,b")], domain(old, qcow2), absent()),
        (&[(NAMES, "ua-b")], there.clone(), absent()),
        (&[(NAMES, "a"), (TYPE, "raw'/>")], there.clone(), absent()),
        (&[(NAMES, "a"), (TYPE, "")], there.clone(), absent()),
    ] {
        let call = call(annotations);
        assert_eq!(call.edits::<DiskDriver>(&there).replace('"', "'"), expected, "{annotations:?}");
        assert_eq!(call.says::<DiskDriver>(&there), said, "{annotations:?}");
    }
}

proptest! {
    #[test]
    fn twice_is_once(domain in domains()) {
        call(&[(NAMES, "data,root")]).edits::<DiskDriver>(&domain);
    }
}
