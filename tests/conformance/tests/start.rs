//! Every machine that the corpora describe starts under a real QEMU and shows its devices, or the reason is listed here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use witvirt_conformance::start::{Failure, start};
use witvirt_conformance::{Case, corpus, data};
use witvirt_core::domain::{Diagnostic, Severity};
use witvirt_core::spec::MachineSpec;
use witvirt_sdk::domain::Options;

/// Words of QEMU's that say why a machine cannot start here, and what that means.
const REASONS: &[(&str, &str)] = &[
    ("is not a valid device model name", "this QEMU has no such device"),
    ("doesn't allow setting HyperV", "Hyper-V's features need KVM"),
    ("cannot enable blob resources without udmabuf", "shared surfaces need /dev/udmabuf"),
];

/// Machines that are started at a time.
const AT_A_TIME: usize = 2;

fn qemu_is_installed() -> bool {
    let there = Command::new("qemu-system-x86_64").arg("--version").output().is_ok();
    if !there {
        println!("skipped: qemu-system-x86_64 is not installed");
    }
    there
}

/// Starts all and returns those that fail with no reason in [`REASONS`].
fn start_all(corpus: &str, machines: &[(String, MachineSpec)]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let devices = AtomicUsize::new(0);
    let (excused, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let work = || {
        while let Some((name, spec)) = machines.get(next.fetch_add(1, Ordering::Relaxed)) {
            let directory = tempfile::tempdir().unwrap();
            let failure = match start(spec, directory.path()) {
                Ok(found) => {
                    devices.fetch_add(found, Ordering::Relaxed);
                    continue;
                }
                Err(failure) => failure,
            };
            let words = failure.to_string();
            let reason = REASONS.iter().find(|(part, _)| words.contains(part));
            match (reason, failure) {
                (Some((_, reason)), Failure::Ended(_) | Failure::Refused(_)) => {
                    excused.lock().unwrap().push(format!("{name}: {reason} ({words})"));
                }
                _ => failed.lock().unwrap().push(format!("{name}: {words}")),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(work);
        }
    });
    let (excused, failed) = (excused.into_inner().unwrap(), failed.into_inner().unwrap());
    println!(
        "{corpus}: {} machines, {} started with {} devices, {} cannot here, {} failed",
        machines.len(),
        machines.len() - excused.len() - failed.len(),
        devices.into_inner(),
        excused.len(),
        failed.len()
    );
    excused.iter().for_each(|line| println!("  cannot here: {line}"));
    failed
}

#[test]
fn machines_of_libvirt_show_their_devices() {
    let Some(directory) = data("libvirt") else {
        println!("skipped: libvirt's test documents are not at ../shared/data/libvirt");
        return;
    };
    if !qemu_is_installed() {
        return;
    }
    let mut machines = Vec::new();
    for case in Case::all(&directory).unwrap() {
        let Some(document) = case.document().filter(|_| matches!(case.tier.as_str(), "core" | "extended"))
        else {
            continue;
        };
        // Those that the driver refuses are in the table of grades, with the reason.
        if corpus::our_line(&document, case.is_kvm()).is_ok() {
            machines.extend(corpus::machine(&document).ok().map(|machine| (case.name.clone(), machine)));
        }
    }
    assert!(machines.len() > 250, "{} machines", machines.len());
    assert_eq!(start_all("libvirt", &machines), Vec::<String>::new());
}

/// What a source converter makes of a document, as a machine. `None`: it refuses the document itself, which its own table of
/// the corpus lists.
fn through_xml(name: &str, xml: &str, diagnostics: &[Diagnostic], list: &mut List) {
    if diagnostics.iter().any(|found| found.severity == Severity::Error) {
        list.refused += 1;
        return;
    }
    match corpus::machine(xml) {
        Ok(machine) => list.machines.push((name.to_owned(), machine)),
        Err(reason) => list.stuck.push(format!("{name}: {reason}")),
    }
}

/// The machines of a corpus.
#[derive(Default)]
struct List {
    machines: Vec<(String, MachineSpec)>,
    /// Documents that their own converter refuses.
    refused: usize,
    /// Documents that their own converter accepts, and domain-libvirt does not.
    stuck: Vec<String>,
}

impl List {
    fn start(self, corpus: &str, stuck: &[&str]) {
        println!(
            "{corpus}: {} refused by its converter, {} by domain-libvirt",
            self.refused,
            self.stuck.len()
        );
        let unexpected: Vec<_> =
            self.stuck.iter().filter(|line| !stuck.iter().any(|known| line.contains(known))).collect();
        assert!(unexpected.is_empty(), "{unexpected:#?}");
        assert_eq!(start_all(corpus, &self.machines), Vec::<String>::new());
    }
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

#[test]
fn machines_of_kubevirt_show_their_devices() {
    let Some(directory) = data("kubevirt") else {
        println!("skipped: KubeVirt's examples are not at ../shared/data/kubevirt");
        return;
    };
    if !qemu_is_installed() {
        return;
    }
    // Networks and kernels of a cluster are replaced below the seam.
    let settings = domain_kubevirt::Settings {
        kernel_directory: Some("/srv/kernels".to_owned()),
        other_networks: domain_kubevirt::OtherNetworks::User,
        ..Default::default()
    };
    let (mut list, mut files) = (List::default(), Vec::new());
    files_below(&directory, &mut files);
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "yaml" || end == "yml"))
    {
        let text = fs::read_to_string(file).unwrap();
        let Ok(machines) = domain_kubevirt::machines(&text) else { continue };
        let machines: serde_json::Value = serde_json::from_str(&machines).unwrap();
        for machine in machines["machines"].as_array().unwrap() {
            let machine = machine["name"].as_str().unwrap_or_default();
            let options = Options { select: Some(machine.to_owned()), ..Options::default() };
            let name = format!("{} {machine}", file.file_name().unwrap().to_string_lossy());
            let Ok(made) = domain_kubevirt::convert(&text, &options, &settings) else {
                list.refused += 1;
                continue;
            };
            through_xml(&name, &made.xml, &made.diagnostics, &mut list);
        }
    }
    assert!(list.machines.len() + list.stuck.len() >= 20, "{} machines", list.machines.len());
    list.start("kubevirt", &[]);
}

#[test]
fn machines_of_xhyve_show_their_devices() {
    let Some(directory) = data("xhyve") else {
        println!("skipped: the command lines are not at ../shared/data/xhyve");
        return;
    };
    if !qemu_is_installed() {
        return;
    }
    let mut list = List::default();
    let options = Options { directory: Some("/vm".to_owned()), ..Options::default() };
    let settings = domain_xhyve::Settings { tap: domain_xhyve::Tap::User, ..Default::default() };
    let mut read = |name: &str, document: &str| match domain_xhyve::convert(document, &options, &settings) {
        Ok(made) => through_xml(name, &made.xml, &made.diagnostics, &mut list),
        Err(_) => list.refused += 1,
    };
    for line in fs::read_to_string(directory.join("commandlines.jsonl")).unwrap().lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        read(&format!("xhyve {}", case["id"]), &case["argv"].to_string());
    }
    let mut scripts = Vec::new();
    files_below(&directory.join("scripts"), &mut scripts);
    for script in scripts.iter().filter(|script| script.extension().is_none_or(|end| end == "sh")) {
        read(&script.display().to_string(), &fs::read_to_string(script).unwrap());
    }
    assert!(list.machines.len() + list.stuck.len() >= 10, "{} machines", list.machines.len());
    list.start("xhyve", &[]);
}

/// A machine that lacks a device is noticed: QEMU's word is compared with the spec, not the spec with itself.
#[test]
fn what_cannot_start_is_told() {
    if !qemu_is_installed() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let spec = serde_json::from_str(
        r#"{"name": "a", "memory": "64MiB", "cpu": {"model": {"named": "no-such-cpu"}}}"#,
    );
    let failure = start(&spec.unwrap(), Path::new(directory.path())).unwrap_err();
    assert!(matches!(&failure, Failure::Ended(words) if words.contains("no-such-cpu")), "{failure}");
}
