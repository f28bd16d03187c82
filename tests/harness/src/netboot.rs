//! Debian's installer for the network: kernel, initial RAM disk, and a small CD made of them, as Debian's own mini.iso is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::tools;

/// How the package is called, whichever release it installs.
const PACKAGE: &str = "^debian-installer-[0-9]+-netboot-amd64$";
/// The smallest config of ISOLINUX.
const ISOLINUX: &str = "default linux\nlabel linux\n kernel linux\n append initrd=initrd.gz\n";

/// Files of an installer.
#[derive(Debug, Clone)]
pub struct Installer {
    /// Debian's kernel image.
    pub kernel: PathBuf,
    /// The initial RAM disk with the installer that needs no graphics.
    pub initrd: PathBuf,
    /// A bootable CD with both.
    pub iso: PathBuf,
}

/// Makes the installer in target/netboot, or finds it there.
pub fn build() -> Result<Installer> {
    let directory = crate::root().join("target/netboot");
    let installer = Installer {
        kernel: directory.join("linux"),
        initrd: directory.join("initrd.gz"),
        iso: directory.join("mini.iso"),
    };
    if !installer.iso.is_file() {
        make(&directory, &installer).context("cannot make the installer")?;
    }
    Ok(installer)
}

fn make(directory: &Path, installer: &Installer) -> Result<()> {
    let unpacked = directory.join("unpacked");
    let _ = fs::remove_dir_all(&unpacked);
    fs::create_dir_all(&unpacked)?;
    let package = match package() {
        Ok(package) => package,
        Err(_) => {
            tools::update_lists()?;
            package()?
        }
    };
    if tools::download(&unpacked, &package).is_err() {
        tools::update_lists()?;
        tools::download(&unpacked, &package)?;
    }
    let archive = tools::only_file(&unpacked, "deb")?;
    unpack(&archive, &unpacked)?;
    let images = unpacked.join("usr/lib/debian-installer/images");
    let [release] = tools::entries(&images)?.try_into().ok().context("not one release in the package")?;
    let files = release.join("amd64/text/debian-installer/amd64");
    for (name, target) in [("linux", &installer.kernel), ("initrd.gz", &installer.initrd)] {
        fs::rename(files.join(name), target)?;
    }
    let tree = directory.join("iso");
    let _ = fs::remove_dir_all(&tree);
    fs::create_dir_all(&tree)?;
    fs::hard_link(&installer.kernel, tree.join("linux"))?;
    fs::hard_link(&installer.initrd, tree.join("initrd.gz"))?;
    fs::copy(files.join("boot-screens/ldlinux.c32"), tree.join("ldlinux.c32"))?;
    fs::copy("/usr/lib/ISOLINUX/isolinux.bin", tree.join("isolinux.bin")).context("no isolinux.bin")?;
    fs::write(tree.join("isolinux.cfg"), ISOLINUX)?;
    let partial = directory.join("mini.partial");
    let mut xorriso = Command::new("xorriso");
    xorriso.args(["-as", "mkisofs", "-quiet", "-r", "-V", "CDROM", "-o"]).arg(&partial);
    xorriso.args(["-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4"]);
    tools::run(xorriso.arg("-boot-info-table").arg(&tree))?;
    fs::rename(partial, &installer.iso)?;
    fs::remove_dir_all(tree)?;
    fs::remove_dir_all(unpacked)?;
    Ok(())
}

fn package() -> Result<String> {
    let found = tools::run(Command::new("apt-cache").args(["search", "--names-only", PACKAGE]))?;
    let newest = found.lines().filter_map(|line| line.split_whitespace().next()).max();
    newest.map(str::to_owned).context("apt knows no debian-installer-*-netboot-amd64; try: apt-get update")
}

/// The part without graphics, a third of the package.
fn unpack(archive: &Path, directory: &Path) -> Result<()> {
    let mut packed =
        Command::new("dpkg-deb").arg("--fsys-tarfile").arg(archive).stdout(Stdio::piped()).spawn()?;
    let stream = packed.stdout.take().context("no output of dpkg-deb")?;
    let status = Command::new("tar")
        .args(["-x", "--wildcards", "--no-same-owner"])
        .arg("*/text/debian-installer/amd64/linux")
        .arg("*/text/debian-installer/amd64/initrd.gz")
        .arg("*/text/debian-installer/amd64/boot-screens/ldlinux.c32")
        .current_dir(directory)
        .stdin(stream)
        .status()
        .context("cannot run tar")?;
    let packed = packed.wait()?;
    ensure!(status.success() && packed.success(), "tar: {status}, dpkg-deb: {packed}");
    Ok(())
}
