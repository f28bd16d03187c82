//! A small real guest: Debian's cloud kernel, a busybox initial RAM disk with the few drivers it needs, and a root disk
//! with a first program that speaks for itself.
//!
//! Nothing is installed on the host: the kernel's package is downloaded and unpacked below target/. The parts are kept and
//! made again only when their recipe changes.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::tools;

/// What the first program on the root disk prints, from a file on it.
pub const GREETING: &str = "hello from the root disk";

/// In the order of their dependencies.
const MODULES: [&str; 8] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/block/virtio_blk.ko",
    "drivers/acpi/button.ko",
    "drivers/input/evdev.ko",
];

/// Files of a guest.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Debian's kernel image.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: PathBuf,
    /// An ext4 file system on a raw disk.
    pub root: PathBuf,
}

/// Makes the guest in target/guest, or finds it there.
pub fn build() -> Result<Guest> {
    let directory = crate::root().join("target/guest");
    fs::create_dir_all(&directory)?;
    let kernel = directory.join("vmlinuz");
    let modules = directory.join("modules");
    if !kernel.is_file() || !modules.is_dir() {
        fetch_kernel(&directory, &kernel, &modules)?;
    }
    let guest = Guest { kernel, initrd: directory.join("initrd.img"), root: directory.join("root.raw") };
    let recipe = concat!(
        include_str!("../guest/init"),
        include_str!("../guest/root-init"),
        include_str!("../guest/power-button"),
        include_str!("guest.rs"),
    );
    let stamp = directory.join("recipe");
    let fresh = fs::read_to_string(&stamp).is_ok_and(|made| made == recipe);
    if !fresh || !guest.initrd.is_file() || !guest.root.is_file() {
        make_initrd(&directory, &modules, &guest.initrd).context("cannot make the initial RAM disk")?;
        make_root(&directory, &guest.root).context("cannot make the root disk")?;
        fs::write(&stamp, recipe)?;
    }
    Ok(guest)
}

fn fetch_kernel(directory: &Path, kernel: &Path, modules: &Path) -> Result<()> {
    ensure!(
        tools::find("apt-get").is_some(),
        "there is no apt-get to download a kernel with; put a kernel with virtio and ext4 at {} and its modules {} into {}",
        kernel.display(),
        MODULES.join(", "),
        modules.display(),
    );
    let package = match kernel_package() {
        Ok(package) => package,
        Err(_) => {
            tools::update_lists()?;
            kernel_package()?
        }
    };
    eprintln!("downloading {package}");
    let unpacked = directory.join("unpacked");
    let _ = fs::remove_dir_all(&unpacked);
    fs::create_dir_all(&unpacked)?;
    if tools::download(&unpacked, &package).is_err() {
        tools::update_lists()?;
        tools::download(&unpacked, &package)?;
    }
    let archive = tools::only_file(&unpacked, "deb")?;
    tools::run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&unpacked))?;
    let release = package.trim_start_matches("linux-image-");
    let source = unpacked.join("lib/modules").join(release).join("kernel");
    let partial = directory.join("modules.partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial)?;
    for module in MODULES {
        let from = source.join(module);
        fs::copy(&from, partial.join(base_name(module))).with_context(|| format!("no {}", from.display()))?;
    }
    let _ = fs::remove_dir_all(modules);
    fs::rename(&partial, modules)?;
    fs::rename(unpacked.join("boot").join(format!("vmlinuz-{release}")), kernel)?;
    fs::remove_dir_all(&unpacked)?;
    Ok(())
}

/// The package that the metapackage of the cloud kernel stands for today.
fn kernel_package() -> Result<String> {
    let depends = tools::run(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let Some(name) = names.into_iter().find(|name| name.starts_with("linux-image-")) else {
        bail!("apt knows no linux-image-cloud-amd64; is this Debian with package lists? try: apt-get update");
    };
    Ok(name.to_owned())
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Makes an initial RAM disk that boots a root disk with another kernel of this kind: `source` holds its modules.
pub fn initrd_for(directory: &Path, source: &Path, target: &Path) -> Result<()> {
    let modules = Tree::new(&directory.join("modules.tree"))?;
    for module in MODULES {
        let from = source.join(module);
        fs::copy(&from, modules.path.join(base_name(module)))
            .with_context(|| format!("no {}", from.display()))?;
    }
    make_initrd(directory, &modules.path, target)
}

fn make_initrd(directory: &Path, modules: &Path, target: &Path) -> Result<()> {
    let tree = Tree::new(&directory.join("initrd.tree"))?;
    directories(&tree.path, &["bin", "dev", "modules", "proc", "root"])?;
    busybox(&tree.path)?;
    file(&tree.path, "init", include_str!("../guest/init"), 0o755)?;
    let order: Vec<&str> = MODULES.iter().map(|module| base_name(module)).collect();
    file(&tree.path, "modules/order", &order.join("\n"), 0o644)?;
    for module in &order {
        fs::copy(modules.join(module), tree.path.join("modules").join(module))?;
    }
    let partial = target.with_extension("partial");
    let names = tools::run(Command::new("find").arg(".").current_dir(&tree.path))?;
    let list = directory.join("initrd.names");
    fs::write(&list, names)?;
    let status = Command::new("cpio")
        .args(["--quiet", "--create", "--format=newc", "--owner=0:0"])
        .current_dir(&tree.path)
        .stdin(File::open(&list)?)
        .stdout(File::create(&partial)?)
        .stderr(Stdio::inherit())
        .status()
        .context("cannot run cpio")?;
    ensure!(status.success(), "cpio: {status}");
    fs::remove_file(list)?;
    fs::rename(partial, target)?;
    Ok(())
}

/// Puts what is on the root disk into a directory, which is made where it is missing: for disks with more on them.
pub fn furnish(tree: &Path) -> Result<()> {
    directories(tree, &["bin", "dev", "etc/acpi/PWRF", "proc", "sbin", "sys", "tmp"])?;
    busybox(tree)?;
    file(tree, "sbin/init", include_str!("../guest/root-init"), 0o755)?;
    file(tree, "etc/acpi/PWRF/00000080", include_str!("../guest/power-button"), 0o755)?;
    file(tree, "etc/greeting", &format!("{GREETING}\n"), 0o644)
}

fn make_root(directory: &Path, target: &Path) -> Result<()> {
    let tree = Tree::new(&directory.join("root.tree"))?;
    furnish(&tree.path)?;
    let partial = target.with_extension("partial");
    let _ = fs::remove_file(&partial);
    let mke2fs = tools::find("mke2fs").context("no mke2fs")?;
    let mut make = Command::new(mke2fs);
    make.args(["-q", "-t", "ext4", "-L", "witvirt", "-E", "root_owner=0:0", "-d"])
        .arg(&tree.path)
        .arg(&partial)
        .arg("64M");
    tools::run(&mut make)?;
    fs::rename(partial, target)?;
    Ok(())
}

/// A directory that becomes a file system; removed when dropped.
struct Tree {
    path: PathBuf,
}

impl Tree {
    fn new(path: &Path) -> Result<Self> {
        let _ = fs::remove_dir_all(path);
        fs::create_dir_all(path)?;
        Ok(Self { path: path.to_path_buf() })
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn directories(tree: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        fs::create_dir_all(tree.join(name))?;
    }
    Ok(())
}

fn file(tree: &Path, name: &str, content: &str, mode: u32) -> Result<()> {
    let path = tree.join(name);
    fs::write(&path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn busybox(tree: &Path) -> Result<()> {
    let busybox = tools::find("busybox").context("no busybox")?;
    fs::copy(busybox, tree.join("bin/busybox"))?;
    symlink("busybox", tree.join("bin/sh"))?;
    Ok(())
}
