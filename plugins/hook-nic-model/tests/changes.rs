//! What the hook makes of documents.
#![allow(missing_docs)]

use std::path::Path;

use hook_nic_model::NicModel;
use proptest::prelude::*;
use witvirt_sdk::domain::configure;
use witvirt_testkit::domain::{Call, KUBEVIRT, domains};

#[test]
fn changes_a_domain_of_kubevirt_as_expected() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kubevirt.diff");
    Call::PLAIN.expects::<NicModel>(KUBEVIRT, &golden);
}

#[test]
fn every_card_of_the_machine_has_the_model() {
    let domain = |devices: &str| format!("<domain><devices>{devices}</devices></domain>");
    let there = domain(
        "<interface type='user'><model type='e1000'/></interface><interface type='null'><link state='down'/></interface>\
         <interface/><interface type='hostdev'><model type='virtio'/></interface>",
    );
    for (settings, model) in [("{}", "vmxnet3"), ("{\"model\": \"virtio\"}", "virtio")] {
        let model = format!("<model type='{model}'/>");
        let expected = domain(&format!(
            "<interface type='user'>{model}</interface><interface type='null'><link state='down'/>{model}</interface>\
             <interface>{model}</interface><interface type='hostdev'><model type='virtio'/></interface>"
        ));
        let made = Call { settings, annotations: &[] }.edits::<NicModel>(&there);
        assert_eq!(made.replace('"', "'"), expected);
    }
}

#[test]
fn models_are_words() {
    for model in ["", "a b", "x'/>", &"x".repeat(33)] {
        let error = configure::<NicModel>(&format!("{{\"model\": \"{model}\"}}")).err().unwrap();
        assert!(error.message.starts_with("setting model: "), "{}", error.message);
    }
}

proptest! {
    #[test]
    fn twice_is_once(domain in domains()) {
        Call::PLAIN.edits::<NicModel>(&domain);
    }
}
