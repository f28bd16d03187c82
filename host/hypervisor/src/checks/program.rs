//! Programs and firmware.

use std::path::Path;
use std::process::{Command, Stdio};

use super::tree::Tree;
use super::{Check, CheckOptions};

/// Where distributions put OVMF.
const OVMF: [&str; 5] = [
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_CODE.fd",
    "/usr/share/edk2/ovmf/OVMF_CODE.fd",
    "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
    "/usr/share/qemu/ovmf-x86_64-code.bin",
];
/// Where they put SeaBIOS.
const SEABIOS: [&str; 3] = [
    "/usr/share/seabios/bios-256k.bin",
    "/usr/share/qemu/bios-256k.bin",
    "/usr/share/qemu-kvm/bios-256k.bin",
];
/// Where they put virtiofsd, besides PATH.
const VIRTIOFSD: [&str; 3] = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd"];
/// The oldest QEMU that the driver is written for.
const OLDEST: (u32, u32) = (7, 2);

pub(super) fn checks(tree: &Tree<'_>, options: &CheckOptions) -> Vec<Check> {
    let swtpm = match tree.program(&options.swtpm) {
        Some(path) => Check::pass("swtpm", path.display().to_string()),
        None => Check::warn("swtpm", "not found: no machine can have a TPM", "install the package swtpm"),
    };
    let virtiofsd = tree.program(Path::new("virtiofsd")).map(|path| path.display().to_string());
    let virtiofsd = virtiofsd.or_else(|| first(tree, &VIRTIOFSD).map(str::to_owned));
    let virtiofsd = match virtiofsd {
        Some(path) => Check::pass("virtiofsd", path),
        None => Check::info("virtiofsd", "not found; nothing needs it yet"),
    };
    let bios = match first(tree, &SEABIOS) {
        Some(path) => Check::pass("firmware-bios", path),
        None => Check::fail("firmware-bios", "SeaBIOS is not found", "install the package seabios"),
    };
    let uefi = match first(tree, &OVMF) {
        Some(path) => Check::pass("firmware-uefi", path),
        None => {
            Check::warn("firmware-uefi", "OVMF is not found: no UEFI machines", "install the package ovmf")
        }
    };
    vec![qemu(tree, options), bios, uefi, swtpm, virtiofsd]
}

fn first<'a>(tree: &Tree<'_>, paths: &[&'a str]) -> Option<&'a str> {
    paths.iter().copied().find(|path| tree.exists(path))
}

fn qemu(tree: &Tree<'_>, options: &CheckOptions) -> Check {
    const NAME: &str = "qemu";
    let remedy = "install the package qemu-system-x86 (7.2 or newer)";
    let Some(path) = tree.program(&options.qemu) else {
        return Check::fail(NAME, format!("{} is not found", options.qemu.display()), remedy);
    };
    let shown = path.display();
    if !options.live {
        return Check::pass(NAME, shown.to_string());
    }
    let output = match Command::new(&path).arg("--version").stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => {
            return Check::fail(NAME, format!("{shown} --version ends with {}", output.status), remedy);
        }
        Err(error) => return Check::fail(NAME, format!("{shown} cannot be run: {error}"), remedy),
    };
    match version(&output) {
        Some(version) if version >= OLDEST => {
            Check::pass(NAME, format!("{shown}, version {}.{}", version.0, version.1))
        }
        Some((major, minor)) => Check::warn(NAME, format!("{shown} is version {major}.{minor}"), remedy),
        None => Check::warn(NAME, format!("{shown} does not tell its version"), remedy),
    }
}

/// Major and minor of "QEMU emulator version 7.2.22 (Debian ...)".
pub(super) fn version(output: &str) -> Option<(u32, u32)> {
    let (_, text) = output.lines().next()?.split_once("version ")?;
    let mut numbers = text.split(['.', ' ', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
