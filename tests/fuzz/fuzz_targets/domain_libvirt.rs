//! Domain XML: no panic, and a machine that reads back; valid where no diagnostic is an error.
#![no_main]

use domain_libvirt::{Settings, convert};
use libfuzzer_sys::fuzz_target;
use witvirt_core::domain::Severity;
use witvirt_core::spec::MachineSpec;

fuzz_target!(|text: &str| {
    let Ok(conversion) = convert(text, None, &Settings::default()) else { return };
    let json = serde_json::to_string(&conversion.machine).expect("a machine can be written");
    let machine: MachineSpec = serde_json::from_str(&json).expect("a machine that was written can be read");
    assert_eq!(machine, conversion.machine);
    let errors = conversion.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    assert!(errors || machine.validate().is_empty());
    assert!(conversion.diagnostics.iter().all(|diagnostic| diagnostic.message.len() < 1100));
});
