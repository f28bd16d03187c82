//! Debian 12 as it comes, with cloud-init and an SSH server: a guest that finds its configuration on a disk.
//!
//! Made by mmdebstrap below target/guest/debian and kept until the recipe changes. Nothing in it is preset: cloud-init's own
//! ds-identify has to find the disk. What is cut away (documentation, timers) only saves time: everything is emulated.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::guest::{self, Guest};
use crate::tools;

const PACKAGES: &str = "cloud-init,iproute2,linux-image-cloud-amd64,openssh-server,systemd-sysv,udev";

/// What no file of these packages is unpacked below.
const LEFT_OUT: [&str; 4] = ["doc", "info", "locale", "man"];

/// Units that have nothing to do in a guest that lives for minutes.
const MASKED: [&str; 9] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty-static.service",
    "systemd-pstore.service",
    "systemd-timesyncd.service",
];

/// The kernel's command line that boots it from its first virtio disk.
pub const CMDLINE: &str = "console=ttyS0 root=/dev/vda quiet panic=-1 mitigations=off net.ifnames=0";

/// Makes the guest, or finds it there.
pub fn build() -> Result<Guest> {
    let directory = crate::root().join("target/guest/debian");
    fs::create_dir_all(&directory)?;
    // Tests run side by side, in several processes.
    let lock = File::create(directory.join("lock"))?;
    lock.lock()?;
    let guest = Guest {
        kernel: directory.join("vmlinuz"),
        initrd: directory.join("initrd.img"),
        root: directory.join("root.raw"),
    };
    let (recipe, stamp) = (include_str!("debian.rs"), directory.join("recipe"));
    if fs::read_to_string(&stamp).is_ok_and(|made| made == recipe) {
        return Ok(guest);
    }
    let tree = directory.join("tree");
    let made = make(&directory, &tree, &guest);
    let _ = fs::remove_dir_all(&tree);
    made?;
    fs::write(&stamp, recipe)?;
    Ok(guest)
}

fn make(directory: &Path, tree: &Path, guest: &Guest) -> Result<()> {
    eprintln!("making a Debian guest in {}: this takes minutes, once", directory.display());
    let _ = fs::remove_dir_all(tree);
    bootstrap(tree).context("cannot bootstrap Debian")?;
    furnish(tree).context("cannot arrange the guest")?;
    let modules = tree.join("lib/modules");
    let release = fs::read_dir(&modules)?.next().context("no kernel modules")??.file_name();
    let kernel = tree.join("boot").join(format!("vmlinuz-{}", release.to_string_lossy()));
    fs::copy(&kernel, &guest.kernel).with_context(|| format!("no {}", kernel.display()))?;
    guest::initrd_for(directory, &modules.join(&release).join("kernel"), &guest.initrd)?;
    let partial = guest.root.with_extension("partial");
    let _ = fs::remove_file(&partial);
    let mut make = Command::new(tools::find("mke2fs").context("no mke2fs")?);
    make.args(["-q", "-t", "ext4", "-L", "root", "-d"]).arg(tree).arg(&partial).arg("1200M");
    tools::run(&mut make)?;
    Ok(fs::rename(partial, &guest.root)?)
}

fn bootstrap(tree: &Path) -> Result<()> {
    let mut command = Command::new(tools::find("mmdebstrap").context("no mmdebstrap")?);
    command.args(["--mode=root", "--variant=minbase", "--format=directory"]);
    command.arg("--aptopt=Apt::Install-Recommends \"false\"");
    command.args(LEFT_OUT.map(|name| format!("--dpkgopt=path-exclude=/usr/share/{name}/*")));
    command.arg(format!("--include={PACKAGES}")).arg("bookworm").arg(tree);
    // The host's own mirrors, where it is a Debian.
    let sources = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"].map(Path::new);
    command.args(sources.into_iter().find(|file| file.is_file()));
    let id = tools::run(Command::new("id").arg("-u"))?;
    ensure!(id.trim() == "0", "only root may make the file system of another system");
    tools::run(&mut command).map(drop)
}

fn furnish(tree: &Path) -> Result<()> {
    let units = tree.join("etc/systemd/system");
    for unit in MASKED {
        let link = units.join(unit);
        let _ = fs::remove_file(&link);
        symlink("/dev/null", link)?;
    }
    let wants = units.join("multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    let network = wants.join("systemd-networkd.service");
    let _ = fs::remove_file(&network);
    symlink("/lib/systemd/system/systemd-networkd.service", network)?;
    fs::write(tree.join("etc/fstab"), "/dev/vda / ext4 defaults 0 1\n")?;
    // Each machine gets its own.
    fs::write(tree.join("etc/machine-id"), "")?;
    remove(&tree.join("etc/ssh"), |name| name.starts_with("ssh_host_"))?;
    // The kernel is booted directly, with a small initial RAM disk.
    remove(&tree.join("boot"), |name| name.starts_with("initrd"))?;
    remove(&tree.join("var/lib/apt/lists"), |_| true)?;
    remove(&tree.join("var/cache/apt"), |_| true)
}

/// Removes files of a directory by their names.
fn remove(directory: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if wanted(&entry.file_name().to_string_lossy()) {
            let path: PathBuf = entry.path();
            if entry.file_type()?.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
    }
    Ok(())
}
