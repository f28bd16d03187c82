//! Control groups, limits and settings of the kernel.

use super::tree::Tree;
use super::{Check, CheckOptions};
use crate::qemu::{group_path, mount_point};

/// Below this a guest's memory cannot be locked, nor io_uring used much by old kernels: 64 MiB.
const MEMLOCK: u64 = 64 << 20;

pub(super) fn checks(tree: &Tree<'_>, options: &CheckOptions) -> Vec<Check> {
    let mut checks = controllers(tree);
    checks.push(delegation(tree));
    checks.push(huge_pages(tree));
    checks.push(locked_memory(tree));
    checks.push(io_uring(tree));
    checks.push(user_namespaces(tree));
    if let Some(dir) = options.image_dir.as_deref().filter(|_| options.live) {
        checks.push(reflinks(dir));
    }
    checks
}

/// The six that libvirt looks for, in either hierarchy (cgroups(7)).
fn controllers(tree: &Tree<'_>) -> Vec<Check> {
    let own = tree.read("/proc/self/cgroup").unwrap_or_default();
    let first: Vec<&str> =
        own.lines().filter_map(|line| line.split(':').nth(1)).flat_map(|v| v.split(',')).collect();
    let mount = tree.read("/proc/self/mountinfo").and_then(|text| mount_point(&text));
    let second = mount.and_then(|mount| tree.read(&mount.join("cgroup.controllers").to_string_lossy()));
    let second: Vec<&str> = second.as_deref().unwrap_or_default().split_ascii_whitespace().collect();
    let in_second = |name: &str| match name {
        "cpuacct" => second.contains(&"cpu"),
        "blkio" => second.contains(&"io"),
        // A program attached to the group, not a controller: there when controllers are.
        "devices" => !second.is_empty(),
        name => second.contains(&name),
    };
    let check = |name: &str| {
        let title = format!("cgroup-{name}");
        if first.contains(&name) {
            return Check::pass(&title, format!("controller {name} (v1)"));
        }
        if in_second(name) {
            return Check::pass(&title, format!("controller {name} (v2)"));
        }
        Check::warn(&title, format!("no controller {name}"), "boot a kernel with it, or mount its hierarchy")
    };
    ["memory", "cpu", "cpuacct", "cpuset", "devices", "blkio"].map(check).into()
}

fn delegation(tree: &Tree<'_>) -> Check {
    const NAME: &str = "cgroup-delegation";
    let remedy = "run the daemon as a systemd service with Delegate=yes, on a host with cgroup v2";
    let missing =
        |why: &str| Check::warn(NAME, format!("machines share the daemon's control group: {why}"), remedy);
    let Some(mount) = tree.read("/proc/self/mountinfo").and_then(|text| mount_point(&text)) else {
        return missing("cgroup v2 is not mounted");
    };
    let own = tree.read("/proc/self/cgroup").unwrap_or_default();
    let Some(group) = group_path(&own) else {
        return missing("this process is in no v2 group");
    };
    let group = mount.join(group.trim_start_matches('/'));
    match tree.open_writable(&group.join("cgroup.procs").to_string_lossy()) {
        Ok(()) => Check::pass(NAME, format!("{} takes groups of its own", group.display())),
        Err(error) => missing(&format!("{}: {error}", group.display())),
    }
}

fn huge_pages(tree: &Tree<'_>) -> Check {
    let memory = tree.read("/proc/meminfo").unwrap_or_default();
    let value = |key: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim_start_matches(':').split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    let (total, free, size) = (value("HugePages_Total"), value("HugePages_Free"), value("Hugepagesize"));
    let transparent =
        tree.word("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_else(|| "absent".to_owned());
    let reserved = match (total, free, size) {
        (Some(total), Some(free), Some(size)) if total > 0 => {
            format!("{total} of {size} KiB reserved, {free} free")
        }
        _ => "none reserved".to_owned(),
    };
    Check::info("hugepages", format!("{reserved}; transparent: {transparent}"))
}

fn locked_memory(tree: &Tree<'_>) -> Check {
    const NAME: &str = "memlock";
    let limits = tree.read("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let Some(limit) = line.and_then(|line| line.split_ascii_whitespace().next()) else {
        return Check::info(NAME, "no limit is shown");
    };
    match limit.parse::<u64>() {
        Ok(bytes) if bytes < MEMLOCK => {
            let detail = format!("at most {bytes} bytes of memory can be locked");
            Check::warn(
                NAME,
                detail,
                "set LimitMEMLOCK=infinity in the unit, if devices are to be passed through",
            )
        }
        _ => Check::pass(NAME, format!("limit {limit}")),
    }
}

fn io_uring(tree: &Tree<'_>) -> Check {
    const NAME: &str = "io-uring";
    match tree.word("/proc/sys/kernel/io_uring_disabled").as_deref() {
        None | Some("0") => Check::pass(NAME, "allowed"),
        Some(value) => Check::warn(
            NAME,
            format!("kernel.io_uring_disabled is {value}; disks with io = \"io-uring\" do not work"),
            "set kernel.io_uring_disabled to 0, or leave io at \"threads\"",
        ),
    }
}

fn user_namespaces(tree: &Tree<'_>) -> Check {
    const NAME: &str = "user-namespaces";
    let value = |path: &str| tree.word(path).and_then(|value| value.parse::<u64>().ok());
    for (path, wrong) in [
        ("/proc/sys/user/max_user_namespaces", 0),
        ("/proc/sys/kernel/unprivileged_userns_clone", 0),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 1),
    ] {
        if value(path) == Some(wrong) {
            let detail =
                format!("{path} is {wrong}: a daemon without root cannot confine its helpers in namespaces");
            return Check::warn(NAME, detail, "change it with sysctl, or run the daemon as root");
        }
    }
    if value("/proc/sys/user/max_user_namespaces").is_none() {
        return Check::warn(NAME, "the kernel has none", "use a kernel with CONFIG_USER_NS");
    }
    Check::pass(NAME, "allowed for everybody")
}

/// Shares the blocks of one file with another, to see whether the file system can.
fn reflinks(dir: &std::path::Path) -> Check {
    const NAME: &str = "reflink";
    let attempt = || -> std::io::Result<()> {
        use std::io::Write;

        let source = dir.join(format!(".reflink-{}-a", std::process::id()));
        let target = dir.join(format!(".reflink-{}-b", std::process::id()));
        let open = |path| std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let (first, second) = (open(&source), open(&target));
        let _removed = (std::fs::remove_file(&source), std::fs::remove_file(&target));
        let (mut first, second) = (first?, second?);
        first.write_all(&[1; 4096])?;
        Ok(rustix::fs::ioctl_ficlone(&second, &first)?)
    };
    let dir = dir.display();
    match attempt() {
        Ok(()) => Check::pass(NAME, format!("{dir}: files share blocks; overlays are instant copies")),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Check::info(
            NAME,
            format!("{dir}: files cannot share blocks; overlays are qcow2. XFS and Btrfs can"),
        ),
        Err(error) => Check::warn(NAME, format!("{dir}: {error}"), "let the daemon write there"),
    }
}
