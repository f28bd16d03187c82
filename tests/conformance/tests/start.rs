//! Every machine that the corpora describe starts under a real QEMU and shows its devices, or the reason is listed here.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use witvirt_conformance::start::{Failure, start};
use witvirt_conformance::{Case, corpus, data};
use witvirt_core::spec::MachineSpec;

/// Words of QEMU's that say why a machine cannot start here, and what that means.
const REASONS: &[(&str, &str)] = &[("is not a valid device model name", "this QEMU has no such device")];

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
                (Some((_, reason)), Failure::Ended(_)) => {
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
