//! Fragments of domains, converted.
#![allow(dead_code)]

use domain_libvirt::{Conversion, Settings, convert};
use witvirt_sdk::core::domain::Severity;

/// A sound domain of the given board around `devices`.
pub fn with_devices(machine: &str, devices: &str) -> String {
    format!(
        "<domain type='kvm'><name>a</name><memory unit='MiB'>64</memory><os><type machine='{machine}'>hvm</type></os>\
         <features><acpi/></features><devices><memballoon model='none'/>{devices}</devices></domain>"
    )
}

/// A sound q35 domain with more elements on its own level.
pub fn with_elements(elements: &str) -> String {
    let end = "</domain>";
    with_devices("q35", "").replace(end, &format!("{elements}{end}"))
}

/// Converts with the default settings.
pub fn run(xml: &str) -> Conversion {
    run_with(xml, "{}")
}

/// Converts with settings.
pub fn run_with(xml: &str, settings: &str) -> Conversion {
    convert(xml, None, &Settings::parse(settings).unwrap()).unwrap_or_else(|error| panic!("{error}: {xml}"))
}

/// Codes of the diagnostics of a severity, in document order.
pub fn codes(conversion: &Conversion, severity: Severity) -> Vec<&str> {
    let of_severity = conversion.diagnostics.iter().filter(|d| d.severity == severity);
    of_severity.map(|d| d.code.as_str()).collect()
}

/// Codes of errors.
pub fn errors(conversion: &Conversion) -> Vec<&str> {
    codes(conversion, Severity::Error)
}

/// Codes of warnings.
pub fn warnings(conversion: &Conversion) -> Vec<&str> {
    codes(conversion, Severity::Warning)
}

/// Fails unless nothing worse than an info was said.
pub fn assert_quiet(conversion: &Conversion, xml: &str) {
    let worse: Vec<_> = conversion.diagnostics.iter().filter(|d| d.severity != Severity::Info).collect();
    assert!(worse.is_empty(), "{xml}: {worse:?}");
}
