//! The document's own level.

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{GenerationId, MachineSpec};
use witvirt_sdk::core::{ByteSize, Name};
use witvirt_sdk::domain::Context;

use crate::document::{Element, RUNTIME, TUNING, Waiver};
use crate::draft::Draft;
use crate::settings::Settings;
use crate::{boot, clock, cpu, devices, features, lifecycle, machine, memory, metadata, sysinfo};

const QEMU_NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";
const CONFIDENTIAL: Waiver =
    Waiver::error("libvirt.security", "cannot be given, and the guest would run without this protection");
const QEMU_OVERRIDE: Waiver = Waiver::error(
    "libvirt.qemu.override",
    "cannot change what witvirt gives QEMU; use <qemu:arg> for what config allows",
);

/// Reads the whole domain. Everything that is not a machine spec's business ends as a diagnostic.
pub(crate) fn read(domain: Element<'_>, name: Option<Name>, settings: &Settings) -> MachineSpec {
    read_type(domain);
    let name = read_name(domain, name);
    let mut draft = Draft::new(domain, settings, empty(name));
    draft.spec.uuid = domain.child_text("uuid").and_then(|uuid| {
        let parsed = uuid::Uuid::parse_str(uuid.text).ok();
        if parsed.is_none() {
            uuid.refuse("a UUID like 4dea22b3-1d52-d8f3-2516-782e98ab3fa0");
        }
        parsed
    });
    metadata::read(&mut draft);
    memory::read(&mut draft);
    boot::read(&mut draft);
    cpu::read(&mut draft);
    features::read(&mut draft);
    clock::read(&mut draft);
    lifecycle::read(&mut draft);
    sysinfo::read(&mut draft);
    devices::read(&mut draft);
    machine::read_forwards(&mut draft);
    boot::apply_order(&mut draft);
    read_qemu(&mut draft);
    read_rest(domain);
    read_generation_id(&mut draft);
    draft.sources.report_unused();
    draft.validate();
    draft.spec
}

/// What the document says of the machine besides its hardware.
pub(crate) fn context(domain: Element<'_>, settings: &Settings) -> Context {
    let mut draft = Draft::new(domain, settings, empty(read_name(domain, None)));
    metadata::read(&mut draft);
    let MachineSpec { name, labels, annotations, os, .. } = draft.spec;
    Context { name: name.to_string(), namespace: None, labels, annotations, os }
}

fn empty(name: Name) -> MachineSpec {
    MachineSpec {
        name,
        description: None,
        uuid: None,
        labels: Default::default(),
        annotations: Default::default(),
        os: None,
        chipset: Default::default(),
        board: Default::default(),
        cpu: Default::default(),
        memory: ByteSize(0),
        boot: Default::default(),
        clock: Default::default(),
        smbios: Default::default(),
        disks: Vec::new(),
        interfaces: Vec::new(),
        controllers: Vec::new(),
        serials: Vec::new(),
        consoles: Vec::new(),
        channels: Vec::new(),
        vnc: None,
        videos: Vec::new(),
        inputs: Vec::new(),
        rng: None,
        watchdog: None,
        tpm: None,
        sounds: Vec::new(),
        balloon: false,
        balloon_options: Default::default(),
        run: Default::default(),
        restart: Default::default(),
        stop_timeout: std::time::Duration::from_secs(30),
        qemu_arguments: Vec::new(),
    }
}

fn read_type(domain: Element<'_>) {
    let Some(kind) = domain.required("type") else { return };
    if kind.choose(&[("kvm", ()), ("qemu", ()), ("hvf", ())]).is_some() {
        kind.report(Severity::Info, "libvirt.domain.type", || {
            format!("\"{}\": whether hardware or software runs the CPUs is the daemon's setting", kind.text)
        });
    }
    domain.waive_parts(&["@id"], &RUNTIME);
}

/// The wanted name, else the document's, made to fit.
fn read_name(domain: Element<'_>, wanted: Option<Name>) -> Name {
    let given = domain.child_text("name");
    if let Some(wanted) = wanted {
        return wanted;
    }
    let Some(given) = given.filter(|name| !name.text.is_empty()) else {
        domain.report(Severity::Error, "libvirt.value.missing", || "the domain has no <name>".to_owned());
        return fallback_name();
    };
    if let Ok(name) = Name::new(given.text) {
        return name;
    }
    let Some(name) = fitting_name(given.text) else {
        given.refuse("a name with at least one ASCII letter or digit");
        return fallback_name();
    };
    given.report(Severity::Info, "libvirt.name.changed", || {
        format!("the machine is called {name}: names consist of a-z, 0-9, '-', '.' and '_'")
    });
    name
}

fn fallback_name() -> Name {
    const FALLBACK: &str = "unnamed";
    Name::new(FALLBACK).unwrap_or_else(|_| unreachable!("a constant that is a name"))
}

/// Lower case, with '-' for what a name cannot have.
pub(crate) fn fitting_name(text: &str) -> Option<Name> {
    let fit = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c) => c,
        _ => '-',
    };
    let edge = |c: char| !c.is_ascii_alphanumeric();
    let text: String = text.chars().map(fit).collect();
    let text: String = text.trim_matches(edge).chars().take(63).collect();
    Name::new(text.trim_end_matches(edge)).ok()
}

/// `<genid>`: a number, or a new one at each start.
fn read_generation_id(draft: &mut Draft<'_>) {
    let Some(id) = draft.domain.child_text("genid") else { return };
    if id.text.is_empty() {
        draft.spec.board.generation_id = Some(GenerationId::Auto);
        return;
    }
    match uuid::Uuid::parse_str(id.text) {
        Ok(id) => draft.spec.board.generation_id = Some(GenerationId::Fixed(id)),
        Err(_) => id.refuse("a UUID, or nothing for a new one at each start"),
    }
}

fn read_qemu(draft: &mut Draft<'_>) {
    let domain = draft.domain;
    for child in domain.unread().filter(|child| child.namespace() == Some(QEMU_NAMESPACE)) {
        match child.local_name() {
            "commandline" => read_commandline(child.open(), draft),
            "override" | "capabilities" => child.open().waive(&QEMU_OVERRIDE),
            "deprecation" => child.open().waive(&TUNING),
            _ => {}
        }
    }
}

fn read_commandline(commandline: Element<'_>, draft: &mut Draft<'_>) {
    for child in commandline.unread().filter(|child| child.namespace() == Some(QEMU_NAMESPACE)) {
        match child.local_name() {
            "arg" => {
                if let Some(value) = child.open().required("value") {
                    draft.spec.qemu_arguments.push(value.untrimmed().to_owned());
                }
            }
            "env" => child.open().waive(&Waiver::warning(
                "libvirt.qemu.environment",
                "witvirt does not set environment variables for QEMU",
            )),
            _ => {}
        }
    }
}

fn read_rest(domain: Element<'_>) {
    domain.waive_parts(
        &[
            "blkiotune",
            "resource",
            "iothreads",
            "iothreadids",
            "defaultiothread",
            "throttlegroups",
            "perf",
            "keywrap",
        ],
        &TUNING,
    );
    domain.waive_parts(&["seclabel"], &RUNTIME);
    domain.waive_parts(&["launchSecurity"], &CONFIDENTIAL);
    domain.waive_parts(&["bootloader", "bootloader_args"], &Waiver::error("libvirt.boot", "only for Xen"));
}
