use std::path::Path;
use std::process::Command;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::program::version;
use super::{Check, CheckOptions, Status, run};

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn look(root: &Path) -> Vec<Check> {
    let root = Dir::open_ambient_dir(root, ambient_authority()).unwrap();
    let (qemu, swtpm) = ("/usr/bin/qemu-system-x86_64".into(), "/usr/bin/swtpm".into());
    run(&CheckOptions { root, qemu, swtpm, image_dir: None, live: false })
}

fn status(checks: &[Check], name: &str) -> Status {
    checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check {name}")).status
}

#[test]
fn an_empty_host_gets_advice() {
    let root = tempfile::tempdir().unwrap();
    let checks = look(root.path());
    for name in ["qemu", "firmware-bios"] {
        assert_eq!(status(&checks, name), Status::Fail, "{name}");
    }
    let warned =
        ["cpu-virtualization", "kvm-device", "vhost-net", "tun", "vsock", "iommu-firmware", "cgroup-memory"];
    for name in warned.into_iter().chain(["cgroup-delegation", "swtpm", "firmware-uefi", "user-namespaces"]) {
        assert_eq!(status(&checks, name), Status::Warn, "{name}");
    }
    for check in &checks {
        let silent = matches!(check.status, Status::Pass | Status::Info);
        assert_eq!(check.remedy.is_none(), silent, "{}", check.name);
    }
}

#[test]
fn a_good_host_passes() {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vmx sse\n"),
        ("dev/kvm", ""),
        ("dev/vhost-net", ""),
        ("dev/net/tun", ""),
        ("dev/vhost-vsock", ""),
        ("dev/userfaultfd", ""),
        ("sys/firmware/acpi/tables/DMAR", ""),
        ("sys/kernel/iommu_groups/0/type", ""),
        ("sys/module/kvm_intel/parameters/nested", "Y\n"),
        ("proc/self/cgroup", "0::/system.slice/witvirt.service\n"),
        ("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
        ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n"),
        ("sys/fs/cgroup/system.slice/witvirt.service/cgroup.procs", ""),
        ("proc/self/limits", "Max locked memory         unlimited            unlimited            bytes\n"),
        ("proc/sys/user/max_user_namespaces", "100000\n"),
        ("usr/bin/qemu-system-x86_64", ""),
        ("usr/bin/swtpm", ""),
        ("usr/libexec/virtiofsd", ""),
        ("usr/share/seabios/bios-256k.bin", ""),
        ("usr/share/OVMF/OVMF_CODE_4M.fd", ""),
    ] {
        write(root.path(), path, text);
    }
    let checks = look(root.path());
    let wrong: Vec<_> = checks.iter().filter(|c| matches!(c.status, Status::Warn | Status::Fail)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(checks.iter().filter(|check| check.status == Status::Pass).count(), 24);
}

#[test]
fn settings_that_are_wrong_are_found() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "proc/sys/kernel/io_uring_disabled", "2\n");
    write(root.path(), "proc/sys/user/max_user_namespaces", "0\n");
    write(
        root.path(),
        "proc/self/limits",
        "Max locked memory         65536                65536                bytes\n",
    );
    write(root.path(), "sys/firmware/acpi/tables/IVRS", "");
    let checks = look(root.path());
    for name in ["io-uring", "user-namespaces", "memlock", "iommu-kernel"] {
        assert_eq!(status(&checks, name), Status::Warn, "{name}");
    }
}

#[test]
fn reads_versions() {
    assert_eq!(
        version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright"),
        Some((7, 2))
    );
    assert_eq!(version("QEMU emulator version 10.0.2"), Some((10, 0)));
    assert_eq!(version("QEMU emulator version 9.1-rc0"), Some((9, 1)));
    assert_eq!(version("hello"), None);
    assert_eq!(version(""), None);
}

/// What libvirt's own tool finds on this host has to be found here too.
#[test]
fn agrees_with_virt_host_validate() {
    let output = match Command::new("virt-host-validate").arg("qemu").env("LC_ALL", "C").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => {
            println!("skipped: virt-host-validate: {error}");
            return;
        }
    };
    let checks = run(&CheckOptions::host().unwrap());
    let mut compared = 0;
    for (line, name) in [
        ("Checking for hardware virtualization", "cpu-virtualization"),
        ("Checking if device /dev/kvm exists", "kvm-device"),
        ("Checking if device /dev/kvm is accessible", "kvm-access"),
        ("Checking if device /dev/vhost-net exists", "vhost-net"),
        ("Checking if device /dev/net/tun exists", "tun"),
        ("Checking for cgroup 'memory' controller support", "cgroup-memory"),
        ("Checking for cgroup 'cpu' controller support", "cgroup-cpu"),
        ("Checking for cgroup 'cpuacct' controller support", "cgroup-cpuacct"),
        ("Checking for cgroup 'cpuset' controller support", "cgroup-cpuset"),
        ("Checking for cgroup 'devices' controller support", "cgroup-devices"),
        ("Checking for cgroup 'blkio' controller support", "cgroup-blkio"),
        ("Checking for device assignment IOMMU support", "iommu-firmware"),
        ("Checking if IOMMU is enabled by kernel", "iommu-kernel"),
    ] {
        let Some(theirs) = output.lines().find(|text| text.contains(line)) else { continue };
        let passed = theirs.trim_end().ends_with("PASS");
        assert_eq!(status(&checks, name) == Status::Pass, passed, "{name}: they say {theirs}");
        compared += 1;
    }
    assert!(compared >= 10, "only {compared} lines of virt-host-validate are known:\n{output}");
    println!("{compared} checks agree");
}
