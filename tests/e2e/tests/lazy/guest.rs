//! A guest that reads its whole disk, and machines that are started before it is here.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use witvirt_harness::host::Host;
use witvirt_harness::tools;

pub const UP: &str = "lazy-guest: userspace";
pub const DONE: &str = "lazy-guest: done";

/// The first program of the root disk: says that it is there, then reads everything.
const INIT: &str = "#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc
echo 'lazy-guest: userspace'
for word in $(busybox cat /proc/cmdline); do
    case \"$word\" in
        lazy.read)
            for file in /data/*; do
                echo \"lazy-guest: sum $(busybox sha256sum $file)\"
            done
            echo 'lazy-guest: done' ;;
    esac
done
while :; do busybox sleep 1; done
";

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A root disk of `files` times 16 MiB of noise, as a qcow2 of that size, and the sums of the files. Made once.
pub fn image(files: usize) -> Result<(PathBuf, Vec<String>)> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = witvirt_harness::root().join("target/guest");
    let (target, sums) =
        (directory.join(format!("lazy-{files}.qcow2")), directory.join(format!("lazy-{files}.sums")));
    let stamp = format!("{INIT}\n{files}\n");
    if let Ok(text) = fs::read_to_string(&sums)
        && let Some(sums) = text.strip_prefix(&stamp)
        && target.is_file()
    {
        return Ok((target, sums.lines().map(str::to_owned).collect()));
    }
    let tree = directory.join(format!("lazy-{files}.tree"));
    let _ = fs::remove_dir_all(&tree);
    for name in ["bin", "dev", "proc", "sbin", "sys", "data"] {
        fs::create_dir_all(tree.join(name))?;
    }
    fs::copy(tools::find("busybox").context("no busybox")?, tree.join("bin/busybox"))?;
    symlink("busybox", tree.join("bin/sh"))?;
    fs::write(tree.join("sbin/init"), INIT)?;
    fs::set_permissions(tree.join("sbin/init"), fs::Permissions::from_mode(0o755))?;
    let mut found = Vec::new();
    for file in 0..files {
        let path = tree.join(format!("data/{file:03}"));
        fs::write(&path, noise(file as u64, 16 << 20))?;
        let sum = tools::run(Command::new("sha256sum").arg(&path))?;
        found.push(sum.split(' ').next().unwrap_or_default().to_owned());
    }
    let raw = directory.join(format!("lazy-{files}.raw"));
    let _ = fs::remove_file(&raw);
    let mke2fs = tools::find("mke2fs").context("no mke2fs")?;
    let mut make = Command::new(mke2fs);
    make.args(["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d"]).arg(&tree).arg(&raw);
    tools::run(make.arg(format!("{}M", files * 16 * 17 / 16 + 64)))?;
    fs::remove_dir_all(&tree)?;
    let partial = directory.join(format!("lazy-{files}.partial"));
    tools::run(
        Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(&partial),
    )?;
    fs::remove_file(&raw)?;
    fs::rename(partial, &target)?;
    fs::write(&sums, format!("{stamp}{}\n", found.join("\n")))?;
    Ok((target, found))
}

/// A machine whose root disk is on a server.
pub fn machine(host: &Host, name: &str, words: &str, url: &str, more: &str) -> Result<PathBuf> {
    let guest = witvirt_harness::root().join("target/guest");
    let format = if url.starts_with("http") { ", format = \"qcow2\"" } else { "" };
    let text = format!(
        "name = \"{name}\"\nos = \"linux\"\nmemory = \"128MiB\"\n\
         [boot]\nkernel = {:?}\ninitrd = {:?}\ncmdline = \"console=ttyS0 quiet panic=-1 {words}\"\n\
         [[disks]]\nname = \"root\"\nsource = {{ remote = {{ url = \"{url}\"{format} {more} }} }}\n",
        guest.join("vmlinuz"),
        guest.join("initrd.img"),
    );
    let file = host.path("files").join(format!("{name}.toml"));
    fs::write(&file, text)?;
    Ok(file)
}

pub fn start(host: &Host, file: &Path) -> Result<String> {
    let output = host.try_run(&["create", "--start", "--lazy", &file.to_string_lossy()])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}\n{}", host.log());
    Ok(said)
}

/// What `ps` knows of the machine's first arriving disk.
pub fn arriving(host: &Host, name: &str) -> Result<Value> {
    Ok(host.status(name)?["arriving"][0].clone())
}

pub fn sums(log: &str) -> Vec<&str> {
    let sum = |line: &'_ str| -> Option<usize> { line.find("lazy-guest: sum ") };
    log.lines().filter_map(|line| line.get(sum(line)? + 16..)?.split_whitespace().next()).collect()
}
