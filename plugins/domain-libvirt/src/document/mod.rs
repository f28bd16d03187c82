//! The XML document as the converter reads it: bounded, and with a record of what has been read.

mod findings;
mod sheet;
mod value;

pub(crate) use findings::quote;
pub(crate) use sheet::{Element, Sheet};
pub(crate) use value::Value;

use witvirt_sdk::core::domain::Severity;

/// Why something that is understood is not carried over: severity and stable code of the diagnostic, and the reason.
pub(crate) struct Waiver {
    pub(crate) severity: Severity,
    pub(crate) code: &'static str,
    pub(crate) reason: &'static str,
}

impl Waiver {
    pub(crate) const fn error(code: &'static str, reason: &'static str) -> Self {
        Self { severity: Severity::Error, code, reason }
    }

    pub(crate) const fn warning(code: &'static str, reason: &'static str) -> Self {
        Self { severity: Severity::Warning, code, reason }
    }

    pub(crate) const fn info(code: &'static str, reason: &'static str) -> Self {
        Self { severity: Severity::Info, code, reason }
    }
}

/// Where a device sits on its bus.
pub(crate) const PLACEMENT: Waiver = Waiver::info("libvirt.placement", "witvirt places devices itself");
/// State of a domain that runs under libvirt, and names that only libvirt's own tools use.
pub(crate) const RUNTIME: Waiver = Waiver::info("libvirt.runtime", "only has a meaning inside libvirt");
/// How the host does its work.
pub(crate) const TUNING: Waiver = Waiver::warning(
    "libvirt.tuning",
    "not honoured: witvirt has no setting for this part of the host's work",
);
/// What the guest sees of a device, in details that the machine spec does not have.
pub(crate) const DETAIL: Waiver =
    Waiver::warning("libvirt.detail", "not honoured: the machine works, but without this property");
