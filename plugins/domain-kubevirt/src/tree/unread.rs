//! What nobody asked for.

use witvirt_sdk::core::domain::Severity;

use super::findings::quote;
use super::{Id, Kind, Tree};

impl Tree {
    /// Reports every value in an object that no reader marked, at the outermost place.
    pub(crate) fn report_unread(&self, root: Id) {
        let mut rest = vec![root];
        while let Some(id) = rest.pop() {
            match self.kind(id) {
                Kind::List(items) => rest.extend(items.iter().filter(|id| self.passed(id))),
                Kind::Map(entries) => {
                    for (name, child) in entries {
                        if self.passed(child) {
                            rest.push(*child);
                        } else {
                            self.report_unknown(id, name, *child);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether a value was read; reports an element of a list that was not.
    fn passed(&self, id: &Id) -> bool {
        let node = self.node(*id);
        if node.read.get() {
            return true;
        }
        if matches!(self.kind(node.parent), Kind::List(_)) {
            self.report(*id, Severity::Warning, "kubevirt.ignored", || "is not honoured".to_owned());
        }
        false
    }

    fn report_unknown(&self, map: Id, name: &str, child: Id) {
        let asked = self.asked.borrow();
        let known = asked.get(&map).map(Vec::as_slice).unwrap_or_default();
        if known.contains(&name) {
            return self
                .report(child, Severity::Warning, "kubevirt.ignored", || "is not honoured".to_owned());
        }
        let near = nearest(name, known);
        self.report(child, Severity::Warning, "kubevirt.unknown", || {
            let hint = near.map(|near| format!(": did you mean \"{near}\"?")).unwrap_or_default();
            format!("{} is no field of KubeVirt's here{hint}", quote(name))
        });
    }
}

/// The known name that a wrong one was probably meant for.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let distance = |known: &&str| strsim::damerau_levenshtein(&lower, &known.to_ascii_lowercase());
    let near = known.iter().map(|known| (distance(known), *known)).min()?;
    (near.0 <= 1 + name.len() / 4).then_some(near.1)
}
