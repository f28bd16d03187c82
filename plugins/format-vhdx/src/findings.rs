//! A bounded list of findings.

use witvirt_sdk::core::extent::Finding;

pub(crate) const ERROR: u8 = 1;
pub(crate) const WARNING: u8 = 2;
const INFORMATION: u8 = 3;

/// The contract's bound, less the one that says how many there were.
const MAX: usize = 999;

/// Keeps the first [`MAX`] of each severity and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    more: u64,
}

impl Findings {
    pub fn add(&mut self, severity: u8, code: &str, message: String, offset: Option<u64>) {
        let list = if severity == ERROR { &mut self.errors } else { &mut self.warnings };
        if list.len() < MAX {
            list.push(Finding { severity, code: code.to_owned(), message, offset });
        } else {
            self.more += 1;
        }
    }

    /// Worst first.
    pub fn into_sorted(self) -> Vec<Finding> {
        let mut all = self.errors;
        all.extend(self.warnings);
        let more = self.more + all.len().saturating_sub(MAX) as u64;
        all.truncate(MAX);
        if more > 0 {
            all.push(Finding {
                severity: INFORMATION,
                code: "more".to_owned(),
                message: format!("{more} more findings are not listed"),
                offset: None,
            });
        }
        all
    }
}
