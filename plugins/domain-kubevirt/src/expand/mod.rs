//! From what users write to what KubeVirt runs: the machine's template becomes a VirtualMachineInstance with its
//! instancetype, its preference and KubeVirt's defaults written into it.
//!
//! The order is KubeVirt's: what is attached by itself, instancetype, preference, values.

mod defaults;
mod instancetype;
mod preference;
mod topology;

use crate::manifest::{Manifest, Object};
use crate::tree::{Id, Kind, Tree};

/// A machine in the tree.
pub(crate) struct Machine {
    /// The object.
    pub(crate) object: Object,
    /// Metadata of the VirtualMachineInstance.
    pub(crate) metadata: Id,
    /// Spec of the VirtualMachineInstance.
    pub(crate) spec: Id,
    /// Objects that had a part in it.
    pub(crate) used: Vec<Id>,
    /// What the machine is called.
    pub(crate) name: String,
}

impl Machine {
    pub(crate) fn is_vm(&self) -> bool {
        self.object.kind == "VirtualMachine"
    }
}

/// Expands a machine. `None` when there is nothing to expand, which is reported.
pub(crate) fn expand(manifest: &mut Manifest, object: Object, name: Option<&str>) -> Option<Machine> {
    let tree = &mut manifest.tree;
    tree.name_object(object.id, String::new());
    let (metadata, spec) = if object.kind == "VirtualMachine" {
        let Some(spec) = tree.find(object.id, &["spec", "template", "spec"]) else {
            missing(tree, object.id, "spec.template.spec");
            return None;
        };
        let metadata = tree.ensure_map(object.id, &["spec", "template", "metadata"], 0);
        (metadata.unwrap_or(object.id), spec)
    } else {
        let Some(spec) = tree.child(object.id, "spec") else {
            missing(tree, object.id, "spec");
            return None;
        };
        let metadata = tree.ensure_map(object.id, &["metadata"], 0);
        (metadata.unwrap_or(object.id), spec)
    };
    let name = name.map_or_else(|| object.name.clone(), str::to_owned);
    let mut machine = Machine { object, metadata, spec, used: Vec::new(), name };
    if write(manifest, &mut machine).is_none() && matches!(manifest.tree.kind(spec), Kind::Map(_)) {
        manifest.tree.field(spec).error("kubevirt.expand", || {
            "cannot be completed: something here is not what KubeVirt has in its place, or there is too much of it"
                .to_owned()
        });
    }
    Some(machine)
}

fn missing(tree: &Tree, id: Id, what: &str) {
    tree.field(id).error("kubevirt.value.missing", || format!("\"{what}\" is missing"));
}

fn write(manifest: &mut Manifest, machine: &mut Machine) -> Option<()> {
    let instancetype = instancetype::find(manifest, machine);
    let preference = preference::find(manifest, machine);
    machine.used.extend([&instancetype, &preference].into_iter().flatten().map(|object| object.id));
    let tree = &mut manifest.tree;
    let domain = tree.ensure_map(machine.spec, &["domain"], 0)?;
    let devices = tree.ensure_map(domain, &["devices"], 0)?;
    if let Some(preference) = &preference {
        preference::attach(tree, devices, preference)?;
    }
    defaults::attach(tree, machine.spec, domain, devices)?;
    if let Some(instancetype) = &instancetype {
        instancetype::apply(tree, machine, domain, instancetype, preference.as_ref())?;
    }
    if let Some(preference) = &preference {
        preference::apply(tree, machine, domain, devices, preference)?;
    }
    defaults::fill_in(tree, machine, domain, devices)?;
    if let Some(preference) = &preference {
        preference::require(tree, machine, domain, preference, instancetype.as_ref());
    }
    for object in [&instancetype, &preference].into_iter().flatten() {
        tree.report_unread(object.spec);
    }
    Some(())
}

/// An instancetype or preference.
pub(crate) struct Referenced {
    pub(crate) id: Id,
    /// Its spec.
    pub(crate) spec: Id,
    /// "KIND NAME".
    pub(crate) title: String,
    /// Index of the origin of copies.
    pub(crate) origin: u16,
}

/// What differs between the two kinds of references.
struct Reference {
    /// The field of the VirtualMachine.
    field: &'static str,
    cluster: &'static str,
    namespaced: &'static str,
    /// Annotations that KubeVirt leaves on the instance.
    annotations: [&'static str; 2],
}

/// Follows a reference of a VirtualMachine; what cannot be followed is reported.
fn follow(manifest: &mut Manifest, machine: &Machine, reference: &Reference) -> Option<Referenced> {
    if !machine.is_vm() {
        return None;
    }
    let vm = manifest.tree.field(machine.object.id);
    let field = vm.get("spec")?.get(reference.field)?;
    let name = field.text("name");
    for ignored in ["revisionName", "inferFromVolumeFailurePolicy", "referencePolicy"] {
        if let Some(ignored) = field.get(ignored) {
            ignored.cover();
            ignored.info("kubevirt.reference", || "not used: the definition in the text is".to_owned());
        }
    }
    if let Some(volume) = field.get("inferFromVolume") {
        volume.cover();
        volume.error("kubevirt.reference", || "cannot be inferred without a cluster: use name".to_owned());
        return None;
    }
    let kinds = [reference.cluster, reference.namespaced];
    let wanted = field.text("kind");
    let kind = match wanted {
        None => Some(reference.cluster),
        Some(wanted) => {
            let same = |kind: &&&str| {
                let lower = kind.to_ascii_lowercase();
                let wanted = wanted.to_ascii_lowercase();
                wanted == lower || wanted.strip_suffix('s') == Some(&lower)
            };
            kinds.iter().find(same).copied()
        }
    };
    let Some(kind) = kind else {
        field.get("kind")?.refuse(&format!("{} or {}", kinds[0], kinds[1]));
        return None;
    };
    let Some(name) = name else {
        field.error("kubevirt.value.missing", || "\"name\" is missing".to_owned());
        return None;
    };
    let namespace = machine.object.namespace.as_deref().filter(|_| kind == reference.namespaced);
    let Some(object) = manifest.find(kind, name, namespace) else {
        field.error("kubevirt.reference.missing", || {
            format!("{kind} {name} is not in the text: add its definition to it")
        });
        return None;
    };
    let (id, title) = (object.id, format!("{kind} {name}"));
    let name = name.to_owned();
    let annotation = reference.annotations[usize::from(kind == reference.namespaced)];
    let Some(spec) = manifest.tree.child(id, "spec") else {
        manifest.tree.field(id).error("kubevirt.value.missing", || "\"spec\" is missing".to_owned());
        return None;
    };
    let tree = &mut manifest.tree;
    let origin = tree.add_origin(title.clone());
    let annotations = tree.ensure_map(machine.metadata, &["annotations"], origin)?;
    tree.default_text(annotations, annotation, &name, origin)?;
    Some(Referenced { id, spec, title, origin })
}

/// Copies annotations that the instance does not have.
fn annotate(tree: &mut Tree, machine: &Machine, from: &Referenced) -> Option<()> {
    let Some(field) = tree.field(from.spec).get("annotations") else { return Some(()) };
    field.cover();
    let entries: Vec<(String, Id)> =
        field.entries().into_iter().map(|(name, value)| (name.to_owned(), value.id)).collect();
    let annotations = tree.ensure_map(machine.metadata, &["annotations"], from.origin)?;
    for (name, value) in entries {
        tree.default_copy(annotations, &name, value, from.origin)?;
    }
    Some(())
}
