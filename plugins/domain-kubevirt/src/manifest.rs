//! Which objects a text holds, and which of them is the machine.

use witvirt_sdk::core::domain::Severity;

use crate::tree::{Id, Kind, ParseError, Tree, quote};

/// Most levels of lists in lists.
const MAX_LISTS: usize = 4;
/// Most names in a message.
const MAX_NAMES: usize = 20;

/// Why a text has no machine to convert.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not readable at all.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A document that is no Kubernetes object.
    #[error("the document at line {line} is no Kubernetes object: it needs apiVersion and kind")]
    NotObject {
        /// Where it starts.
        line: u32,
    },
    /// Nothing to run.
    #[error(
        "there is no VirtualMachine or VirtualMachineInstance of kubevirt.io/v1 or v1alpha3 in the text, only {found}"
    )]
    NoMachine {
        /// What there is.
        found: String,
    },
    /// Objects that make many machines.
    #[error("{object} makes machines from a template: write each machine as a VirtualMachine")]
    Replicated {
        /// Kind and name.
        object: String,
    },
    /// Nobody said which.
    #[error("the text holds {count} machines: choose one of {names}")]
    Several {
        /// How many.
        count: usize,
        /// Their names.
        names: String,
    },
    /// No machine of that name, or several.
    #[error("the text holds {matches} machines that are called {wanted}: choose one of {names}")]
    NotFound {
        /// What was wanted, quoted.
        wanted: String,
        /// How many are called so.
        matches: usize,
        /// The names of all.
        names: String,
    },
}

/// A Kubernetes object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) id: Id,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
}

impl Object {
    fn is_machine(&self) -> bool {
        self.group == "kubevirt.io"
            && matches!(&*self.version, "v1" | "v1alpha3")
            && matches!(&*self.kind, "VirtualMachine" | "VirtualMachineInstance")
    }

    fn is_replicated(&self) -> bool {
        matches!(&*self.kind, "VirtualMachineInstanceReplicaSet" | "VirtualMachinePool")
    }

    /// "NAMESPACE/NAME", or the name alone.
    pub(crate) fn full_name(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// All objects of a text.
pub(crate) struct Manifest {
    pub(crate) tree: Tree,
    pub(crate) objects: Vec<Object>,
}

impl Manifest {
    pub(crate) fn parse(text: &str) -> Result<Self, ReadError> {
        let mut tree = Tree::parse(text)?;
        let mut objects = Vec::new();
        for id in tree.documents().to_vec() {
            if *tree.kind(id) != Kind::Null {
                collect(&tree, id, 0, &mut objects)?;
            }
        }
        for object in &objects {
            tree.name_object(object.id, format!("{}/{}:", object.kind, object.name));
        }
        Ok(Self { tree, objects })
    }

    pub(crate) fn machines(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(|object| object.is_machine())
    }

    /// The machine that is meant: the only one, or the one that is called "NAME" or "NAMESPACE/NAME".
    pub(crate) fn select(&self, wanted: Option<&str>) -> Result<Object, ReadError> {
        let machines: Vec<_> = self.machines().collect();
        if machines.is_empty() {
            return Err(self.without_machine());
        }
        let names = || list(machines.iter().map(|machine| machine.full_name()));
        let Some(wanted) = wanted else {
            return match machines[..] {
                [machine] => Ok(machine.clone()),
                _ => Err(ReadError::Several { count: machines.len(), names: names() }),
            };
        };
        let called = |machine: &&&Object| machine.name == wanted || machine.full_name() == wanted;
        let found: Vec<_> = machines.iter().filter(called).collect();
        match found[..] {
            [machine] => Ok((**machine).clone()),
            _ => Err(ReadError::NotFound { wanted: quote(wanted), matches: found.len(), names: names() }),
        }
    }

    fn without_machine(&self) -> ReadError {
        if let Some(object) = self.objects.iter().find(|object| object.is_replicated()) {
            return ReadError::Replicated { object: format!("{} {}", object.kind, object.name) };
        }
        let kinds = self.objects.iter().map(|object| format!("{} {}", object.kind, object.name));
        let found = if self.objects.is_empty() { "nothing".to_owned() } else { list(kinds) };
        ReadError::NoMachine { found }
    }

    /// An object by kind and name. A namespace that is not given is any.
    pub(crate) fn find(&self, kind: &str, name: &str, namespace: Option<&str>) -> Option<&Object> {
        let named = || self.objects.iter().filter(|object| object.kind == kind && object.name == name);
        let same = |object: &&Object| object.namespace.as_deref() == namespace;
        let any = |object: &&Object| object.namespace.is_none() || namespace.is_none();
        named().find(same).or_else(|| named().find(any))
    }

    /// Says of every object that has no part in a machine that it was not looked at.
    pub(crate) fn report_others(&self, machine: &Object, used: &[Id]) {
        for object in &self.objects {
            if object.id == machine.id || used.contains(&object.id) {
                continue;
            }
            let (severity, reason) = if object.is_machine() {
                (Severity::Info, "another machine")
            } else if object.is_replicated() {
                (Severity::Warning, "its machines are not run: write each as a VirtualMachine")
            } else if object.kind == "VirtualMachineInstancePreset" {
                (Severity::Warning, "presets are not applied: use an instancetype or a preference")
            } else if matches!(&*object.kind, "VirtualMachine" | "VirtualMachineInstance") {
                (Severity::Warning, "not read: only kubevirt.io/v1 and v1alpha3 are")
            } else {
                (Severity::Info, "the machine does not name it")
            };
            self.tree.report(object.id, severity, "kubevirt.object.ignored", || {
                format!("{} {}: {reason}", object.kind, object.name)
            });
        }
    }
}

fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.collect();
    let over = names.len().saturating_sub(MAX_NAMES);
    let mut text = names[..names.len() - over].join(", ");
    if over > 0 {
        text.push_str(&format!(" and {over} more"));
    }
    text.truncate(text.floor_char_boundary(2000));
    text
}

fn collect(tree: &Tree, id: Id, depth: usize, objects: &mut Vec<Object>) -> Result<(), ReadError> {
    let text = |path: &[&str]| tree.find(id, path).and_then(|found| tree.text(found)).map(str::to_owned);
    let (Some(api), Some(kind)) = (text(&["apiVersion"]), text(&["kind"])) else {
        return Err(ReadError::NotObject { line: tree.line(id) });
    };
    let items = tree.child(id, "items").filter(|_| kind.ends_with("List") && depth < MAX_LISTS);
    if let Some(items) = items {
        for item in tree.items(items) {
            collect(tree, item, depth + 1, objects)?;
        }
        return Ok(());
    }
    let (group, version) = api.split_once('/').unwrap_or(("", &api));
    let name = text(&["metadata", "name"]);
    // The generated part of such a name is the cluster's to choose.
    let prefix = || text(&["metadata", "generateName"]).map(|prefix| prefix.trim_end_matches('-').to_owned());
    objects.push(Object {
        id,
        group: group.to_owned(),
        version: version.to_owned(),
        name: name.or_else(prefix).unwrap_or_default(),
        namespace: text(&["metadata", "namespace"]).filter(|namespace| !namespace.is_empty()),
        kind,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Manifest;

    const TWO: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: a, namespace: x}}
- {apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: a, namespace: y}}
---
apiVersion: kubevirt.io/v1alpha3
kind: VirtualMachineInstance
metadata: {name: b}
";

    #[test]
    fn finds_and_selects_machines() {
        let manifest = Manifest::parse(TWO).unwrap();
        assert_eq!(manifest.machines().count(), 3);
        assert_eq!(manifest.select(Some("b")).unwrap().name, "b");
        assert_eq!(manifest.select(Some("y/a")).unwrap().namespace.as_deref(), Some("y"));
        for (wanted, part) in [
            (None, "holds 3 machines: choose one of x/a, y/a, b"),
            (Some("a"), "holds 2 machines that are called \"a\""),
            (Some("c"), "holds 0 machines that are called \"c\""),
        ] {
            let error = manifest.select(wanted).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn says_what_there_is_instead_of_a_machine() {
        for (text, part) in [
            ("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n", "only Secret s"),
            ("", "only nothing"),
            ("hello", "line 1 is no Kubernetes object"),
            (
                "apiVersion: pool.kubevirt.io/v1beta1\nkind: VirtualMachinePool\nmetadata: {name: p}\n",
                "VirtualMachinePool p makes",
            ),
            (
                "apiVersion: kubevirt.io/v1alpha1\nkind: VirtualMachine\nmetadata: {name: p}\n",
                "only VirtualMachine p",
            ),
            ("apiVersion: other/v1\nkind: VirtualMachine\nmetadata: {name: p}\n", "only VirtualMachine p"),
        ] {
            let error =
                Manifest::parse(text).and_then(|manifest| manifest.select(None)).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_namespace_that_is_not_given_is_any() {
        let text = "{apiVersion: v1, kind: Secret, metadata: {name: s}}\n---\n{apiVersion: v1, kind: Secret, metadata: {name: t, namespace: n}}\n";
        let manifest = Manifest::parse(text).unwrap();
        assert!(manifest.find("Secret", "s", Some("n")).is_some());
        assert!(manifest.find("Secret", "t", None).is_some());
        assert!(manifest.find("Secret", "t", Some("m")).is_none());
        assert!(manifest.find("ConfigMap", "s", None).is_none());
    }
}
