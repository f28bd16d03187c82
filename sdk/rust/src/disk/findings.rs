//! A bounded list of findings.

use witvirt_core::extent::Finding;

/// Severity of what may make data wrong.
pub const ERROR: u8 = 1;
/// Severity of what wastes space, or of a flag that was left behind.
pub const WARNING: u8 = 2;
/// Severity of what is only worth knowing.
pub const INFORMATION: u8 = 3;

/// The contract's bound, less the one that says how many there were.
const MAX: usize = 999;

/// Keeps the first 999 of each severity and counts the others.
#[derive(Debug, Default)]
pub struct Findings {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    others: Vec<Finding>,
    more: u64,
}

impl Findings {
    /// Adds one. `code` is a stable word, `message` a sentence, `offset` a byte of the primary file.
    pub fn add(&mut self, severity: u8, code: &str, message: impl Into<String>, offset: Option<u64>) {
        let list = match severity {
            ERROR => &mut self.errors,
            WARNING => &mut self.warnings,
            _ => &mut self.others,
        };
        if list.len() < MAX {
            list.push(Finding { severity, code: code.to_owned(), message: message.into(), offset });
        } else {
            self.more += 1;
        }
    }

    /// At most 1,000, worst first; the last one says how many there were beyond.
    pub fn into_sorted(self) -> Vec<Finding> {
        let mut all = self.errors;
        all.extend(self.warnings);
        all.extend(self.others);
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

#[cfg(test)]
mod tests {
    use super::{ERROR, Findings, INFORMATION, WARNING};

    #[test]
    fn the_worst_come_first_and_the_rest_is_counted() {
        let mut findings = Findings::default();
        for _ in 0..600 {
            findings.add(INFORMATION, "c", "c", None);
            findings.add(WARNING, "b", "b", None);
            findings.add(ERROR, "a", "a", Some(1));
        }
        let all = findings.into_sorted();
        assert_eq!(all.len(), 1000);
        assert!(all[..999].windows(2).all(|pair| pair[0].severity <= pair[1].severity));
        assert_eq!((all[599].severity, all[600].severity, all[998].severity), (ERROR, WARNING, WARNING));
        assert_eq!(all[999].message, "801 more findings are not listed");
    }

    #[test]
    fn a_few_are_all_there() {
        let mut findings = Findings::default();
        findings.add(WARNING, "b", "b", None);
        findings.add(ERROR, "a", "a", None);
        let codes: Vec<_> = findings.into_sorted().into_iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["a", "b"]);
    }
}
