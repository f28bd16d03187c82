//! Programs of the host that are needed, and how to get them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A program, or a file by its path, and the Debian package that has it.
const NEEDED: [(&str, &str); 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("cpio", "cpio"),
    ("mke2fs", "e2fsprogs"),
];

/// Finds a program in PATH or in the directories of system programs, or a file by its absolute path.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// UEFI firmware: its code, and the template of its variables.
pub const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE.fd";
/// See [`OVMF_CODE`].
pub const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS.fd";

/// Programs and files that only tests need: oracles, and a second opinion on the host.
const TESTED_WITH: [(&str, &str); 19] = [
    ("qemu-img", "qemu-utils"),
    ("virt-host-validate", "libvirt-clients"),
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("htpasswd", "apache2-utils"),
    ("nbdcopy", "libnbd-bin"),
    ("mkfs.xfs", "xfsprogs"),
    ("swtpm", "swtpm"),
    ("bzip2", "bzip2"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("mmdebstrap", "mmdebstrap"),
    ("xorriso", "xorriso"),
    ("bsdtar", "libarchive-tools"),
    ("ssh", "openssh-client"),
    (OVMF_CODE, "ovmf"),
    ("mcopy", "mtools"),
    ("xmllint", "libxml2-utils"),
    ("/usr/lib/ISOLINUX/isolinux.bin", "isolinux"),
];

/// Installs what the demo needs and is missing, by apt; does nothing when everything is there.
pub fn install() -> Result<()> {
    install_missing(&NEEDED)
}

/// Installs what tests need besides.
pub fn install_for_tests() -> Result<()> {
    install_missing(&TESTED_WITH)
}

fn install_missing(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> =
        programs.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if find("apt-get").is_none() {
        bail!("missing programs, and there is no apt-get here; install what Debian calls: {list}");
    }
    eprintln!("installing {list}");
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(&missing);
    apt(&["update"])
        .and_then(|()| apt(&arguments))
        .with_context(|| format!("as root, run: apt-get install {list}"))
}

/// Runs apt-get, by sudo when not root.
fn apt(arguments: &[&str]) -> Result<()> {
    let root = run(Command::new("id").arg("-u"))?.trim() == "0";
    let mut command = if root {
        Command::new("apt-get")
    } else if find("sudo").is_some() {
        let mut sudo = Command::new("sudo");
        sudo.arg("apt-get");
        sudo
    } else {
        bail!("apt-get needs root, and there is no sudo here");
    };
    command.args(arguments).args(["-q", "-o", "Dpkg::Use-Pty=0"]).env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut command).map(drop)
}

/// Downloads a package, without installing it.
pub fn download(directory: &Path, package: &str) -> Result<()> {
    // As root, apt drops to a user that may not write here, and then warns; the option keeps it quiet.
    let mut apt = Command::new("apt-get");
    apt.current_dir(directory).args(["-q", "-o", "APT::Sandbox::User=root", "download", package]);
    run(&mut apt).map(drop)
}

/// The only file with an extension in a directory.
pub fn only_file(directory: &Path, extension: &str) -> Result<PathBuf> {
    let wanted = |path: &PathBuf| path.extension().is_some_and(|found| found == extension);
    let found = entries(directory)?.into_iter().find(wanted);
    found.with_context(|| format!("no .{extension} file in {}", directory.display()))
}

/// What a directory holds.
pub fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
}

/// Refreshes the package lists.
pub fn update_lists() -> Result<()> {
    apt(&["update"])
}

/// Runs a program without input, and returns its standard output; an error has what it wrote to standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    bail!(
        "{name} {}: {}\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end()
    )
}
