//! The differences of two views.

use std::collections::BTreeMap;
use std::fmt;

use crate::options::Properties;
use crate::view::{Part, View};

/// One difference between a machine as libvirt starts it and as witvirt does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The driver of a device, or an option with its dash.
    pub kind: String,
    /// The property; absent where the whole part is missing or too much.
    pub key: Option<String>,
    /// What libvirt says.
    pub theirs: Option<String>,
    /// What witvirt says.
    pub ours: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        match (&self.key, &self.theirs) {
            (Some(key), _) => write!(f, "{} {key}: {} / {}", self.kind, side(&self.theirs), side(&self.ours)),
            (None, Some(_)) => write!(f, "{}: missing", self.kind),
            (None, None) => write!(f, "{}: extra", self.kind),
        }
    }
}

/// What differs, in the order of the parts' names.
pub fn compare(theirs: &View, ours: &View) -> Vec<Difference> {
    let mut kinds: BTreeMap<&str, (Vec<&Part>, Vec<&Part>)> = BTreeMap::new();
    for part in &theirs.parts {
        kinds.entry(&part.kind).or_default().0.push(part);
    }
    for part in &ours.parts {
        kinds.entry(&part.kind).or_default().1.push(part);
    }
    let mut found = Vec::new();
    for (kind, (mut theirs, mut ours)) in kinds {
        // The likest first.
        while let Some((a, b)) = likest(&theirs, &ours) {
            found.extend(between(kind, &theirs.remove(a).properties, &ours.remove(b).properties));
        }
        let whole = |theirs: Option<&str>, ours: Option<&str>| Difference {
            kind: kind.to_owned(),
            key: None,
            theirs: theirs.map(str::to_owned),
            ours: ours.map(str::to_owned),
        };
        found.extend(theirs.iter().map(|_| whole(Some("there"), None)));
        found.extend(ours.iter().map(|_| whole(None, Some("there"))));
    }
    found
}

fn likest(theirs: &[&Part], ours: &[&Part]) -> Option<(usize, usize)> {
    let pairs = (0..theirs.len()).flat_map(|a| (0..ours.len()).map(move |b| (a, b)));
    pairs.min_by_key(|(a, b)| between("", &theirs[*a].properties, &ours[*b].properties).len())
}

fn between(kind: &str, theirs: &Properties, ours: &Properties) -> Vec<Difference> {
    let mut keys: Vec<&String> = theirs.keys().chain(ours.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| theirs.get(*key) != ours.get(*key))
        .map(|key| Difference {
            kind: kind.to_owned(),
            key: Some(key.clone()),
            theirs: theirs.get(key).cloned(),
            ours: ours.get(key).cloned(),
        })
        .collect()
}
