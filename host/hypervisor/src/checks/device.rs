//! Processor, KVM and the other devices of the kernel.

use super::tree::Tree;
use super::{Check, CheckOptions};
use crate::accelerator::Verdict;

pub(super) fn checks(tree: &Tree<'_>, options: &CheckOptions) -> Vec<Check> {
    let mut checks = vec![processor(tree)];
    checks.extend(kvm(tree, options));
    checks.push(nested(tree));
    checks.push(device(tree, "vhost-net", "/dev/vhost-net", "networking in the kernel", "vhost_net"));
    checks.push(device(tree, "tun", "/dev/net/tun", "tap interfaces", "tun"));
    checks.push(device(tree, "vsock", "/dev/vhost-vsock", "sockets between host and guest", "vhost_vsock"));
    checks.push(device(
        tree,
        "userfaultfd",
        "/dev/userfaultfd",
        "memory that is loaded on demand",
        "userfaultfd",
    ));
    checks.extend(iommu(tree));
    checks.push(secure_guests(tree));
    checks
}

fn processor(tree: &Tree<'_>) -> Check {
    const NAME: &str = "cpu-virtualization";
    let flags = tree.read("/proc/cpuinfo").unwrap_or_default();
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    match flags.split_ascii_whitespace().find(|flag| *flag == "vmx" || *flag == "svm") {
        Some(flag) => Check::pass(NAME, format!("the processor has {flag}")),
        None => Check::warn(
            NAME,
            "the processor shows neither vmx nor svm; machines run on TCG, many times slower",
            "switch virtualization on in the firmware, or allow nested virtualization for this host",
        ),
    }
}

fn kvm(tree: &Tree<'_>, options: &CheckOptions) -> Vec<Check> {
    const DEVICE: &str = "/dev/kvm";
    if !tree.exists(DEVICE) {
        let remedy = "load kvm_intel or kvm_amd";
        return vec![Check::warn("kvm-device", format!("{DEVICE} is missing; machines run on TCG"), remedy)];
    }
    let mut checks = vec![Check::pass("kvm-device", format!("{DEVICE} exists"))];
    if let Err(error) = tree.open_writable(DEVICE) {
        let remedy = "make the daemon's user a member of the group that owns it (kvm)";
        checks.push(Check::warn("kvm-access", format!("{DEVICE} cannot be opened: {error}"), remedy));
        return checks;
    }
    checks.push(Check::pass("kvm-access", format!("{DEVICE} opens for reading and writing")));
    if !options.live {
        return checks;
    }
    checks.push(match Verdict::measure() {
        Ok(verdict) if verdict.usable => Check::pass("kvm-runs", verdict.reason),
        Ok(verdict) => {
            let remedy = "run on hardware, or where nested virtualization is done by the processor; until then accel \
                          = \"auto\" takes TCG";
            Check::warn("kvm-runs", verdict.reason, remedy)
        }
        Err(error) => Check::warn("kvm-runs", error.to_string(), "see the message"),
    });
    checks
}

fn nested(tree: &Tree<'_>) -> Check {
    const NAME: &str = "kvm-nested";
    let module = ["kvm_intel", "kvm_amd"].into_iter().find_map(|module| {
        tree.word(&format!("/sys/module/{module}/parameters/nested")).map(|value| (module, value))
    });
    match module {
        Some((module, value)) if value == "Y" || value == "1" => {
            Check::info(NAME, format!("{module}: guests can run guests"))
        }
        Some((module, _)) => Check::info(NAME, format!("{module}: guests cannot run guests")),
        None => Check::info(NAME, "neither kvm_intel nor kvm_amd is loaded"),
    }
}

fn device(tree: &Tree<'_>, name: &str, path: &str, purpose: &str, module: &str) -> Check {
    if tree.exists(path) {
        return Check::pass(name, format!("{path} exists"));
    }
    Check::warn(name, format!("{path} is missing: no {purpose}"), format!("load the module {module}"))
}

fn iommu(tree: &Tree<'_>) -> Vec<Check> {
    let tables = [("DMAR", "Intel"), ("IVRS", "AMD"), ("IORT", "Arm")];
    let table =
        tables.into_iter().find(|(table, _)| tree.exists(format!("/sys/firmware/acpi/tables/{table}")));
    let Some((table, vendor)) = table else {
        let remedy = "switch the IOMMU on in the firmware, if devices are to be passed through";
        return vec![Check::warn("iommu-firmware", "the firmware describes no IOMMU", remedy)];
    };
    let found = Check::pass("iommu-firmware", format!("ACPI table {table} ({vendor})"));
    let groups = tree.entries("/sys/kernel/iommu_groups").len();
    let used = if groups > 0 {
        Check::pass("iommu-kernel", format!("{groups} groups"))
    } else {
        let remedy = "boot with intel_iommu=on, or iommu=pt iommu=1";
        Check::warn("iommu-kernel", "the kernel does not use it", remedy)
    };
    vec![found, used]
}

fn secure_guests(tree: &Tree<'_>) -> Check {
    const NAME: &str = "secure-guests";
    let on = |path: &str| tree.word(path).is_some_and(|value| value == "Y" || value == "1");
    let mut kinds = Vec::new();
    for (kind, path) in [
        ("AMD SEV", "/sys/module/kvm_amd/parameters/sev"),
        ("AMD SEV-ES", "/sys/module/kvm_amd/parameters/sev_es"),
        ("AMD SEV-SNP", "/sys/module/kvm_amd/parameters/sev_snp"),
        ("Intel TDX", "/sys/module/kvm_intel/parameters/tdx"),
    ] {
        if on(path) {
            kinds.push(kind);
        }
    }
    if kinds.is_empty() {
        return Check::info(NAME, "no memory encryption of guests (SEV, TDX) is switched on");
    }
    Check::info(NAME, format!("{} switched on; witvirt does not use it yet", kinds.join(", ")))
}
