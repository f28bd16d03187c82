//! Whether machines can run on this host, and how well.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::api::host::{Check, CheckStatus};
use crate::config::{Config, Driver};

/// Looks at everything. Blocks.
pub fn host(config: &Config) -> Vec<Check> {
    let mut checks = vec![processor(), kvm(config)];
    if config.hypervisor.driver == Driver::Qemu {
        checks.push(qemu(&config.hypervisor.binary));
        checks.push(user(&config.hypervisor.user));
    } else {
        checks.push(warn("hypervisor", "the null driver runs nothing", "set [hypervisor] driver = \"qemu\" for real machines"));
    }
    checks.extend([control_groups(), iommu(), seccomp()]);
    checks.push(directory("state directory", &config.state_directory));
    checks.push(directory("store", &config.store_directory));
    checks.push(directory("plugin cache", &config.cache_directory));
    checks
}

fn check(name: &str, status: CheckStatus, found: impl Into<String>, remedy: Option<&str>) -> Check {
    Check { name: name.to_owned(), status, found: found.into(), remedy: remedy.map(str::to_owned) }
}

fn pass(name: &str, found: impl Into<String>) -> Check {
    check(name, CheckStatus::Pass, found, None)
}

fn warn(name: &str, found: impl Into<String>, remedy: &str) -> Check {
    check(name, CheckStatus::Warn, found, Some(remedy))
}

fn fail(name: &str, found: impl Into<String>, remedy: &str) -> Check {
    check(name, CheckStatus::Fail, found, Some(remedy))
}

/// The flags of /proc/cpuinfo (proc_cpuinfo(5)): vmx is Intel's, svm AMD's hardware virtualisation.
fn processor() -> Check {
    let name = "processor";
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = text.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    match flags.split_whitespace().find(|flag| ["vmx", "svm"].contains(flag)) {
        Some(flag) => pass(name, format!("hardware virtualisation ({flag})")),
        None => warn(name, "no hardware virtualisation is visible", "enable VT-x or AMD-V in the firmware; in a virtual machine, nested virtualisation"),
    }
}

fn kvm(config: &Config) -> Check {
    let name = "KVM";
    let path = Path::new("/dev/kvm");
    if !path.exists() {
        return warn(name, "/dev/kvm is missing: machines are emulated", "load the module: modprobe kvm_intel or kvm_amd");
    }
    match std::fs::File::options().read(true).write(true).open(path) {
        Ok(_) => measured(config),
        Err(error) => warn(name, format!("/dev/kvm cannot be opened: {error}"), "add the user to the group that owns /dev/kvm (usually kvm)"),
    }
}

/// /dev/kvm may open and still be of no use: the driver times a virtual CPU once after each boot.
fn measured(config: &Config) -> Check {
    let name = "KVM";
    match witvirt_hypervisor::Verdict::of_this_boot(&config.state_directory) {
        Ok(verdict) if verdict.usable => pass(name, verdict.reason),
        Ok(verdict) => warn(name, format!("{}: machines are emulated", verdict.reason), "run on hardware, or ask for nested virtualisation"),
        Err(error) => warn(name, format!("/dev/kvm opens, but was not measured: {error}"), "run the check as the daemon's user"),
    }
}

fn qemu(binary: &Path) -> Check {
    let name = "QEMU";
    let Some(path) = find(binary) else {
        return fail(name, format!("{} is not there", binary.display()), "install it (Debian: apt install qemu-system-x86), or set [hypervisor] binary");
    };
    let output = std::process::Command::new(&path).arg("--version").stdin(std::process::Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            pass(name, format!("{}: {}", path.display(), text.lines().next().unwrap_or_default()))
        }
        Ok(output) => fail(name, format!("{} --version failed: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim()), "reinstall QEMU"),
        Err(error) => fail(name, format!("{} cannot be run: {error}", path.display()), "correct [hypervisor] binary"),
    }
}

/// The program itself, or where `$PATH` has it.
fn find(binary: &Path) -> Option<PathBuf> {
    if binary.is_absolute() {
        return binary.exists().then(|| binary.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(binary)).find(|candidate| candidate.is_file())
}

fn user(user: &str) -> Check {
    let name = "QEMU's user";
    if !rustix::process::geteuid().is_root() {
        return pass(name, "the daemon is not root: QEMU runs as the same user");
    }
    match crate::accounts::user(user).is_ok() {
        true => pass(name, format!("{user} exists")),
        false => fail(name, format!("there is no user {user}"), "make it (useradd --system), or set [hypervisor] user"),
    }
}

fn control_groups() -> Check {
    let name = "control groups";
    match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => pass(name, "version 2"),
        false => warn(name, "version 2 is not mounted at /sys/fs/cgroup", "boot with systemd.unified_cgroup_hierarchy=1"),
    }
}

fn iommu() -> Check {
    let name = "IOMMU";
    let groups = std::fs::read_dir("/sys/kernel/iommu_groups").map_or(0, Iterator::count);
    match groups {
        0 => warn(name, "off: host devices cannot be given to machines", "boot with intel_iommu=on or amd_iommu=on; nothing else needs it"),
        groups => pass(name, format!("{groups} groups")),
    }
}

fn seccomp() -> Check {
    let name = "seccomp";
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    match text.lines().any(|line| line.starts_with("Seccomp:")) {
        true => pass(name, "QEMU and the plugin compiler are confined"),
        false => fail(name, "the kernel has none", "use a kernel with CONFIG_SECCOMP_FILTER"),
    }
}

/// The directory, or the nearest one above it that exists: whether this user can write there, and how much room it has.
fn directory(name: &str, path: &Path) -> Check {
    let Some(existing) = path.ancestors().find(|ancestor| ancestor.is_dir()) else {
        return fail(name, format!("{} cannot be made", path.display()), "correct the path in the config");
    };
    if rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_err() {
        let owner = existing.metadata().map_or(0, |metadata| metadata.uid());
        return warn(name, format!("{} cannot be written by this user", existing.display()), &format!("run as user {owner}, or set another directory in the config"));
    }
    let free = rustix::fs::statvfs(existing).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    let found = format!("{}: {} free", path.display(), witvirt_core::ByteSize(free));
    match free >> 30 {
        0 => warn(name, found, "less than 1 GiB is left: make room, or set another directory in the config"),
        _ => pass(name, found),
    }
}
