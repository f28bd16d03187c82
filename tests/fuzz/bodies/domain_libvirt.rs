//! Any bytes as a domain XML document.

use domain_libvirt::{Settings, convert};
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::MachineSpec;

/// What must hold: nothing panics; the same document gives the same answer; the machine reads back from JSON, and is
/// valid where no diagnostic is an error; texts are bounded, lines exist and ascend.
pub fn run(data: &[u8]) {
    let Ok(xml) = std::str::from_utf8(data) else { return };
    let settings = Settings::default();
    let Ok(conversion) = convert(xml, None, &settings) else { return };
    assert_eq!(convert(xml, None, &settings).expect("converted before"), conversion);
    let json = serde_json::to_string(&conversion.machine).expect("a machine can be written");
    let machine: MachineSpec = serde_json::from_str(&json).expect("a machine that was written can be read");
    assert_eq!(machine, conversion.machine);
    if conversion.diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error) {
        assert_eq!(machine.validate(), []);
    }
    let lines = xml.matches('\n').count() as u32 + 1;
    let mut last = 0;
    for diagnostic in &conversion.diagnostics {
        assert!(diagnostic.message.len() < 1100 && !diagnostic.code.is_empty());
        let Some(line) = diagnostic.line else { continue };
        assert!((1..=lines).contains(&line) && line >= last, "line {line} after {last} of {lines}");
        last = line;
        assert!(diagnostic.path.as_deref().is_some_and(|path| path.starts_with("/domain")));
    }
}
