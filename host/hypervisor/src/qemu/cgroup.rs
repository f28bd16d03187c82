//! A control group for each machine, where the daemon may make one (cgroup v2, delegated).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use witvirt_core::Name;

/// Makes a group below the daemon's own and moves the process there. Best effort: `None` where that is not allowed.
pub(super) fn place(name: &Name, pid: u32) -> Option<PathBuf> {
    let own = own_group()?;
    let group = own.join(format!("machine-{name}"));
    let placed = match fs::create_dir(&group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::write(group.join("cgroup.procs"), pid.to_string()),
    };
    match placed {
        Ok(()) => Some(group),
        Err(error) => {
            tracing::debug!(group = %group.display(), %error, "machine stays in the daemon's control group");
            remove(Some(&group));
            None
        }
    }
}

/// Removes the group of a machine that has ended. One that is not empty, or not there, is left alone.
pub(super) fn remove(group: Option<&Path>) {
    let Some(group) = group.filter(|group| is_machine(group)) else { return };
    if let Err(error) = fs::remove_dir(group)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(group = %group.display(), %error, "control group not removed");
    }
}

fn is_machine(group: &Path) -> bool {
    group.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("machine-"))
}

/// The daemon's group in the v2 hierarchy. A daemon inside a machine's own group is one that adopts; it takes the parent.
fn own_group() -> Option<PathBuf> {
    let mount = mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = mount.join(group_path(&groups)?.trim_start_matches('/'));
    if is_machine(&own) { own.parent().map(Path::to_owned) } else { Some(own) }
}

/// Where the v2 hierarchy is mounted (proc_pid_mountinfo(5)).
pub(crate) fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let kind = filesystem.split(' ').next()?;
        (kind == "cgroup2").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// The path of the group in the v2 hierarchy (cgroups(7)).
pub(crate) fn group_path(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    #[test]
    fn reads_hybrid_and_unified_hosts() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(super::mount_point(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(super::mount_point("garbage"), None);
        assert_eq!(
            super::group_path("9:cpu:/a\n0::/system.slice/witvirt.service\n"),
            Some("/system.slice/witvirt.service")
        );
        assert_eq!(super::group_path("9:cpu:/a\n"), None);
    }
}
