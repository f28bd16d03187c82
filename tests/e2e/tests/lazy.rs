//! Machines that are started before their images are here: over a server that leaves and comes back, a daemon that is killed,
//! and servers and digests that do not keep what they promise.
#![allow(missing_docs)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use witvirt_harness::host::{Host, wait_for};
use witvirt_harness::tools;
use witvirt_harness::web::Web;

const UP: &str = "lazy-guest: userspace";
const DONE: &str = "lazy-guest: done";

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
fn image(files: usize) -> Result<(PathBuf, Vec<String>)> {
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
fn machine(host: &Host, name: &str, words: &str, url: &str, more: &str) -> Result<PathBuf> {
    let guest = witvirt_harness::root().join("target/guest");
    let text = format!(
        "name = \"{name}\"\nos = \"linux\"\nmemory = \"128MiB\"\n\
         [boot]\nkernel = {:?}\ninitrd = {:?}\ncmdline = \"console=ttyS0 quiet panic=-1 {words}\"\n\
         [[disks]]\nname = \"root\"\nsource = {{ remote = {{ url = \"{url}\", format = \"qcow2\" {more} }} }}\n",
        guest.join("vmlinuz"),
        guest.join("initrd.img"),
    );
    let file = host.path("files").join(format!("{name}.toml"));
    fs::write(&file, text)?;
    Ok(file)
}

fn start(host: &Host, file: &Path) -> Result<String> {
    let output = host.try_run(&["create", "--start", "--lazy", &file.to_string_lossy()])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}\n{}", host.log());
    Ok(said)
}

/// What `ps` knows of the machine's first arriving disk.
fn arriving(host: &Host, name: &str) -> Result<Value> {
    Ok(host.status(name)?["arriving"][0].clone())
}

fn sums(log: &str) -> Vec<&str> {
    let sum = |line: &'_ str| -> Option<usize> { line.find("lazy-guest: sum ") };
    log.lines().filter_map(|line| line.get(sum(line)? + 16..)?.split_whitespace().next()).collect()
}

#[test]
fn userspace_is_reached_before_a_tenth_of_two_gibibytes_has_arrived() -> Result<()> {
    let (file, _) = image(120)?;
    let size = fs::metadata(&file)?.len();
    ensure!(size > 19 << 26, "the image has only {size} bytes");
    let host = Host::new("")?;
    let _daemon = host.daemon()?;
    let web = Web::serve(&file, true)?;
    // A gigabit.
    web.set_rate(125 << 20);
    let spec = machine(&host, "early", "", &web.url(), "")?;
    let began = Instant::now();
    start(&host, &spec)?;
    host.wait_console("early", UP)?;
    let sent = web.sent();
    let permille = sent * 1000 / size;
    println!(
        "userspace after {} ms and {sent} of {size} bytes ({permille} permille)",
        began.elapsed().as_millis()
    );
    ensure!(permille < 100, "{sent} of {size} bytes were fetched before userspace was reached");
    ensure!(arriving(&host, "early")?["state"] == "arriving", "{}", host.status("early")?);

    // What nobody waits for any more is not kept.
    host.run(&["rm", "--force", "early"])?;
    let left: Vec<_> = fs::read_dir(host.path("state/images/lazy"))?.collect();
    ensure!(left.is_empty(), "half an image is left: {left:?}");
    Ok(())
}

#[test]
fn a_lost_server_and_a_killed_daemon_make_the_guest_wait_and_nothing_is_lost() -> Result<()> {
    let (file, expected) = image(6)?;
    let size = fs::metadata(&file)?.len();
    let host = Host::new("")?;
    let daemon = host.daemon()?;
    let mut web = Web::serve(&file, true)?;
    web.set_rate(24 << 20);
    start(&host, &machine(&host, "m", "lazy.read", &web.url(), "")?)?;
    let pid = host.wait_state("m", "running")?["pid"].clone();
    wait_for("the first file to be read", || {
        Ok((!sums(&host.run(&["logs", "m"])?).is_empty()).then_some(()))
    })?;

    web.stop();
    let waiting = wait_for("the machine to say that it waits", || {
        Ok(Some(arriving(&host, "m")?)
            .filter(|disk| disk["waiting"].as_u64().is_some_and(|seconds| seconds >= 1)))
    })?;
    ensure!(waiting["from"] == web.url().as_str() && waiting["reason"].is_string(), "{waiting}");
    let table = host.run(&["ps"])?;
    ensure!(table.contains("waiting for 127.0.0.1"), "{table}");
    ensure!(host.run(&["inspect", "m"])?.contains(&web.url()), "inspect names no server");
    let output = host.try_run(&["pause", "m"])?;
    ensure!(!output.status.success(), "a machine whose reads wait was paused, which hangs QEMU");
    let seen = sums(&host.run(&["logs", "m"])?).len();
    ensure!(seen < expected.len(), "everything was read without a server");

    // The daemon dies meanwhile, and the next one finds all of it again, still without the server.
    daemon.kill()?;
    std::thread::sleep(Duration::from_secs(1));
    let _daemon = host.daemon()?;
    let status = host.wait_state("m", "running")?;
    ensure!(status["pid"] == pid, "it is another process: {status}");
    wait_for("the next daemon to say that it waits", || {
        Ok(arriving(&host, "m")?["waiting"].is_u64().then_some(()))
    })?;
    let again = web.sent();
    web.start()?;
    let log = host.wait_console("m", DONE)?;
    ensure!(sums(&log) == expected, "the guest has read something else:\n{log}");
    ensure!(again + size > web.sent(), "everything was fetched again: {again}, then {}", web.sent());

    // In the end it is an image as any other, and the machine starts from it without the server.
    wait_for("the image to arrive", || Ok(host.status("m")?["arriving"].is_null().then_some(())))?;
    web.stop();
    let images = host.json(&["image", "ls"])?;
    ensure!(images[0]["names"][0] == "lazy-6" && images[0]["state"] == "ready", "{images}");
    host.run(&["image", "check", "lazy-6"])?;
    host.run(&["kill", "m"])?;
    host.wait_state("m", "stopped")?;
    let before = host.run(&["logs", "m"])?.matches(UP).count();
    host.run(&["start", "m"])?;
    wait_for("the guest to boot again", || {
        Ok((host.run(&["logs", "m"])?.matches(UP).count() > before).then_some(()))
    })?;
    let refused = host.try_run(&["image", "rm", "lazy-6"])?;
    ensure!(!refused.status.success(), "an image that a machine runs from was removed");
    Ok(())
}

#[test]
fn a_digest_that_does_not_fit_pauses_the_machine_for_good() -> Result<()> {
    let (file, _) = image(1)?;
    let host = Host::new("")?;
    let _daemon = host.daemon()?;
    let web = Web::serve(&file, true)?;
    let wrong = "17".repeat(32);
    let spec = machine(&host, "m", "", &web.url(), &format!(", sha256 = \"{wrong}\""))?;
    let said = start(&host, &spec)?;
    ensure!(
        said.contains("compared once all of it is here"),
        "nobody was told when the digest counts: {said}"
    );
    host.wait_console("m", UP)?;
    host.wait_state("m", "paused")?;
    let disk = arriving(&host, "m")?;
    ensure!(disk["state"] == "failed", "{disk}");
    ensure!(disk["reason"].as_str().is_some_and(|reason| reason.contains(&wrong)), "{disk}");
    let resumed = host.try_run(&["resume", "m"])?;
    ensure!(!resumed.status.success(), "a machine over a wrong image was resumed");
    ensure!(
        host.json(&["image", "ls"])?.as_array().is_some_and(Vec::is_empty),
        "the wrong image was published"
    );
    host.run(&["kill", "m"])?;
    host.wait_state("m", "stopped")?;
    let started = host.try_run(&["start", "--lazy", "m"])?;
    ensure!(!started.status.success(), "a machine over a wrong image was started again");
    Ok(())
}

#[test]
fn a_server_without_ranges_is_told_and_the_image_imported_first() -> Result<()> {
    let (file, expected) = image(1)?;
    let host = Host::new("")?;
    let _daemon = host.daemon()?;
    let web = Web::serve(&file, false)?;
    let said = start(&host, &machine(&host, "m", "lazy.read", &web.url(), "")?)?;
    ensure!(
        said.contains("byte ranges") && said.contains("imported first"),
        "nobody was told why it took long: {said}"
    );
    let log = host.wait_console("m", DONE)?;
    ensure!(sums(&log) == expected, "the guest has read something else:\n{log}");
    ensure!(host.json(&["image", "ls"])?[0]["names"][0] == "lazy-1", "the image is not in the store");
    Ok(())
}
