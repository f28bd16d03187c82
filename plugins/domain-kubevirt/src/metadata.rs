//! Names, labels, annotations, and what becomes of the machine: everything around the hardware.

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::xml::Element;

use crate::draft::{Draft, writable};
use crate::tree::{Field, Waiver, quote};

/// The namespace of elements that libvirt has no words for.
const NAMESPACE: &str = "urn:witvirt:domain:1";
/// Most labels or annotations.
const MOST_TAGS: usize = 256;
/// Fields of metadata that clusters write.
const WRITTEN: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
/// Beginnings of annotations that hooks read from the instance.
const HOOKS: &[&str] =
    &["hooks.kubevirt.io/", "converter.droidvirt.io/", "vnc.droidvirt.io/", "websocket.vnc.droidvirt.io/"];
const HOOK_PARTS: &[&str] = &[".osx-kvm.io/", ".vm.kubevirt.io/", ".droidvirt.io/"];
const UPDATE: Waiver = Waiver::info("kubevirt.migration", "machines are not migrated");
const IGNITION: Waiver = Waiver::error(
    "kubevirt.ignition",
    "witvirt hands guests no firmware configuration entries, where Ignition would look for its data",
);
const SIDECARS: Waiver = Waiver::info(
    "kubevirt.hooks",
    "no containers are run: which hooks of witvirt run instead is the pipeline's configuration",
);
/// Annotations of KubeVirt's that change a pod or a libvirt that are not there.
const NO_EFFECT: &[&str] = &[
    "kubevirt.io/placePCIDevicesOnRootComplex",
    "kubevirt.io/keep-launcher-alive-after-failure",
    "kubevirt.io/memfd",
    "kubevirt.io/libvirt-log-filters",
    "kubevirt.io/free-page-reporting-disabled",
    "kubevirt.io/allow-pod-bridge-network-live-migration",
    "kubevirt.io/immediate-data-volume-creation",
    "kubevirt.io/pause-guest-agent-probes",
    "alpha.kubevirt.io/EmulatorThreadCompleteToEvenParity",
];
const POD: Waiver = Waiver::info("kubevirt.pod", "has no effect here");

/// Fields of metadata that mean nothing outside of a cluster, and names that others have read.
pub(crate) fn cover_object(metadata: Field<'_>) {
    for name in WRITTEN {
        if let Some(field) = metadata.get(name) {
            field.cover();
        }
    }
    for name in ["name", "namespace", "generateName", "labels", "annotations"] {
        if let Some(field) = metadata.get(name) {
            field.cover();
        }
    }
}

/// The namespace; "default" where none is given.
pub(crate) fn namespace<'d>(draft: &'d Draft<'_>) -> &'d str {
    draft.machine.object.namespace.as_deref().unwrap_or("default")
}

/// The name of the domain: the machine's own, with its namespace where another machine in the text has the same.
pub(crate) fn domain_name(draft: &Draft<'_>) -> String {
    let object = &draft.machine.object;
    let root = draft.manifest.tree.field(object.id);
    if draft.machine.name != object.name {
        return draft.machine.name.clone();
    }
    let same = |other: &&crate::manifest::Object| other.id != object.id && other.name == object.name;
    match &object.namespace {
        Some(namespace) if draft.manifest.machines().any(|other| same(&other)) => {
            let name = format!("{namespace}_{}", object.name);
            root.info("kubevirt.name", || {
                format!("called {name}: another machine in the text has the same name")
            });
            name
        }
        _ => object.name.clone(),
    }
}

/// What the guest calls itself.
pub(crate) fn hostname(draft: &Draft<'_>) -> String {
    let given = draft.spec.text("hostname");
    let own = || draft.machine.name.split('.').next().unwrap_or_default();
    let name = given.unwrap_or_else(own);
    name[..name.floor_char_boundary(63)].to_owned()
}

/// The instancetype's name, where one was used.
pub(crate) fn instance_type<'a>(draft: &Draft<'a>) -> Option<&'a str> {
    let annotations = draft.metadata.get("annotations")?;
    let cluster = annotations.text("kubevirt.io/cluster-instancetype-name");
    cluster.or_else(|| annotations.text("kubevirt.io/instancetype-name"))
}

/// Labels or annotations of the instance.
pub(crate) fn tags<'a>(metadata: Field<'a>, name: &'static str) -> Vec<(&'a str, &'a str)> {
    let entries = metadata.get(name).map(Field::entries).unwrap_or_default();
    let tags = entries.into_iter().filter_map(|(key, value)| {
        let text = value.string()?;
        writable(value, text).then_some((key, text))
    });
    tags.collect()
}

/// The family of operating systems: from what a preference says of it, or hooks for macOS.
pub(crate) fn os(metadata: Field<'_>) -> Option<&'static str> {
    const FAMILIES: &[(&str, &str)] = &[
        ("win", "windows"),
        ("mac", "macos"),
        ("osx", "macos"),
        ("freebsd", "freebsd"),
        ("openbsd", "openbsd"),
        ("netbsd", "netbsd"),
        ("linux", "linux"),
        ("fedora", "linux"),
        ("rhel", "linux"),
        ("centos", "linux"),
        ("ubuntu", "linux"),
        ("debian", "linux"),
        ("alpine", "linux"),
        ("sles", "linux"),
        ("opensuse", "linux"),
        ("ol", "linux"),
        ("cirros", "linux"),
    ];
    let annotations = metadata.get("annotations").map(Field::entries).unwrap_or_default();
    let value = |name: &str| {
        let found = annotations.iter().find(|(key, _)| *key == name)?;
        found.1.tree.text(found.1.id).map(str::to_ascii_lowercase)
    };
    if let Some(os) = value("vm.kubevirt.io/os").or_else(|| value("kubevirt.io/os")) {
        return FAMILIES.iter().find(|(start, _)| os.starts_with(start)).map(|(_, family)| *family);
    }
    let apple = |key: &str| key.ends_with(".osx-kvm.io/path") || key.starts_with("converter.droidvirt.io/");
    annotations.iter().any(|(key, _)| apple(key)).then_some("macos")
}

/// `<metadata>`; call it last, when all sources and forwards are known.
pub(crate) fn read(draft: &mut Draft<'_>) -> Element {
    let labels = tags(draft.metadata, "labels");
    let annotations = tags(draft.metadata, "annotations");
    read_objects(draft);
    read_annotations(draft);
    for (kind, list) in [("labels", &labels), ("annotations", &annotations)] {
        if list.len() > MOST_TAGS
            && let Some(field) = draft.metadata.get(kind)
        {
            field.error("kubevirt.metadata", || format!("there are more than {MOST_TAGS}"));
        }
    }
    let tag = |name: &'static str, (key, value): (&str, &str)| {
        Element::new(name).attribute("name", key).text(value)
    };
    let mut machine = Element::new("w:machine")
        .attribute("xmlns:w", NAMESPACE)
        .children(labels.into_iter().map(|label| tag("w:label", label)))
        .children(annotations.into_iter().map(|annotation| tag("w:annotation", annotation)));
    if let Some(os) = os(draft.metadata) {
        machine = machine.child(Element::new("w:os").text(os));
    }
    if let Some(strategy) = strategy(draft) {
        machine = machine.child(Element::new("w:run").attribute("strategy", strategy));
    }
    if let Some(timeout) = stop_timeout(draft) {
        machine = machine.child(Element::new("w:stop").attribute("timeout", timeout));
    }
    let sources = std::mem::take(&mut draft.sources);
    let forwards = std::mem::take(&mut draft.forwards);
    Element::new("metadata").child(machine.children(sources).children(forwards))
}

/// The objects themselves: names, and fields of the VirtualMachine beside its template.
fn read_objects(draft: &Draft<'_>) {
    let root = draft.manifest.tree.field(draft.machine.object.id);
    for name in ["apiVersion", "kind", "status"] {
        if let Some(field) = root.get(name) {
            field.cover();
        }
    }
    cover_object(draft.metadata);
    if let Some(metadata) = root.get("metadata") {
        if metadata.text("name").is_none() {
            let name = draft.machine.object.name.clone();
            metadata.report(
                if name.is_empty() { Severity::Error } else { Severity::Warning },
                "kubevirt.name",
                || format!("has no name of its own: the machine is called {}", quote(&name)),
            );
        }
        hook_annotations(draft, metadata);
        cover_object(metadata);
    } else {
        root.error("kubevirt.value.missing", || "\"metadata\" is missing".to_owned());
    }
    if let Some(spec) = root.get("spec").filter(|_| draft.machine.is_vm()) {
        spec.waive_fields(&["updateVolumesStrategy"], &UPDATE);
        for name in ["instancetype", "preference"] {
            spec.get(name);
        }
        if let Some(template) = spec.get("template") {
            template.get("metadata");
            template.get("spec");
        }
    }
    if draft.spec.get("hostname").is_some_and(|hostname| hostname.string().is_some())
        && !draft.spec.list("volumes").iter().any(|volume| {
            volume.get("cloudInitNoCloud").or_else(|| volume.get("cloudInitConfigDrive")).is_some()
        })
        && let Some(hostname) = draft.spec.get("hostname")
    {
        hostname.info("kubevirt.hostname", || {
            "reaches the guest by cloud-init only, and there is none".to_owned()
        });
    }
}

/// Annotations that a hook would look for on the instance, where they are on the VirtualMachine only.
fn hook_annotations(draft: &Draft<'_>, metadata: Field<'_>) {
    if !draft.machine.is_vm() {
        return;
    }
    let tree = &draft.manifest.tree;
    let ours = tree.child(draft.machine.metadata, "annotations");
    for (key, value) in metadata.get("annotations").map(Field::entries).unwrap_or_default() {
        let hook = HOOKS.iter().any(|start| key.starts_with(start))
            || HOOK_PARTS.iter().any(|part| key.contains(part));
        let there = ours.is_some_and(|ours| tree.child(ours, key).is_some());
        if hook && !there {
            value.warn("kubevirt.annotation", || {
                "hooks do not see it: annotations of a VirtualMachine do not reach its instance; put it into spec.template.metadata.annotations"
                    .to_owned()
            });
        }
    }
}

fn read_annotations(draft: &Draft<'_>) {
    let Some(annotations) = draft.metadata.get("annotations") else { return };
    annotations.waive_fields(&["kubevirt.io/ignitiondata"], &IGNITION);
    annotations.waive_fields(&["hooks.kubevirt.io/hookSidecars"], &SIDECARS);
    annotations.waive_fields(NO_EFFECT, &POD);
}

/// When the machine runs. An instance on its own runs once.
fn strategy(draft: &Draft<'_>) -> Option<&'static str> {
    let start = draft.spec.get("startStrategy").filter(|start| start.string() != Some(""));
    if let Some(start) = start
        && start.choose(&[("Paused", ())]).is_some()
    {
        start.warn("kubevirt.run", || {
            "the machine does not start paused: its boot menu is on, or pause it with `witvirt pause`"
                .to_owned()
        });
    }
    if !draft.machine.is_vm() {
        return Some("once");
    }
    let root = draft.manifest.tree.field(draft.machine.object.id);
    let spec = root.get("spec")?;
    let running = spec.flag("running");
    let strategy = spec.get("runStrategy").filter(|strategy| strategy.string() != Some(""));
    match (running, strategy) {
        (Some(_), Some(strategy)) => {
            strategy.cover();
            strategy.error("kubevirt.run", || "running and runStrategy exclude each other".to_owned());
            None
        }
        (Some(true), None) => Some("always"),
        (Some(false), None) => Some("halted"),
        (None, Some(strategy)) => {
            let table = [
                ("Always", Some("always")),
                ("Halted", Some("halted")),
                ("Manual", Some("manual")),
                ("RerunOnFailure", Some("rerun-on-failure")),
                ("Once", Some("once")),
                ("WaitAsReceiver", None),
            ];
            let chosen = strategy.choose(&table)?;
            if chosen.is_none() {
                strategy.error("kubevirt.run", || {
                    "WaitAsReceiver waits for a migration, and machines are not migrated".to_owned()
                });
            }
            chosen
        }
        (None, None) => {
            spec.warn("kubevirt.run", || {
                "neither running nor runStrategy is there, which a cluster refuses: Manual is assumed"
                    .to_owned()
            });
            Some("manual")
        }
    }
}

/// Seconds that a guest gets to power off.
fn stop_timeout(draft: &Draft<'_>) -> Option<i64> {
    const MOST: i64 = 86_400;
    let Some(period) = draft.spec.get("terminationGracePeriodSeconds") else { return Some(30) };
    period.integer(0, i64::MAX).map(|seconds| {
        if seconds > MOST {
            period.warn("kubevirt.run", || format!("{MOST} seconds are the most"));
        }
        seconds.min(MOST)
    })
}
