//! Over a registry: a layer that is read in the middle, a disk in chunks, a layer that has to be here first.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use witvirt_harness::host::{Host, kill, wait_for};
use witvirt_harness::tools;

use crate::guest::{DONE, UP, arriving, image, machine, start, sums};
use crate::oci::{Registry, container_disk, tart};

/// The guest's disk as it is, in a directory that disappears.
fn raw(files: usize) -> Result<(tempfile::TempDir, PathBuf, Vec<String>)> {
    let (file, expected) = image(files)?;
    let directory = tempfile::tempdir()?;
    let raw = directory.path().join("disk.raw");
    tools::run(Command::new("qemu-img").args(["convert", "-f", "qcow2", "-O", "raw"]).arg(file).arg(&raw))?;
    Ok((directory, raw, expected))
}

/// The guest reads everything, while the registry goes away and comes back and daemons are killed; in the end it starts
/// without the registry.
fn survives(host: &Host, registry: &Registry, url: &str, expected: &[String]) -> Result<()> {
    let daemon = host.daemon()?;
    start(host, &machine(host, "m", "lazy.read", url, "")?)?;
    let pid = host.wait_state("m", "running")?["pid"].clone();
    wait_for("the first file to be read", || {
        Ok((!sums(&host.run(&["logs", "m"])?).is_empty()).then_some(()))
    })?;
    registry.stop();
    wait_for("the machine to say that it waits", || {
        Ok(Some(arriving(host, "m")?).filter(|disk| disk["waiting"].is_u64()))
    })?;
    let disk = arriving(host, "m")?;
    ensure!(disk["from"].as_str().is_some_and(|from| from.starts_with(&format!("{url}@sha256:"))), "{disk}");
    ensure!(
        sums(&host.run(&["logs", "m"])?).len() < expected.len(),
        "everything was read without a registry"
    );
    let (present, total) = (disk["present"].as_u64(), disk["total"].as_u64());
    ensure!(present > Some(0) && present < total, "{disk}");

    daemon.kill()?;
    let _daemon = host.daemon()?;
    ensure!(host.wait_state("m", "running")?["pid"] == pid, "it is another process");
    wait_for("the next daemon to say that it waits", || {
        Ok(arriving(host, "m")?["waiting"].is_u64().then_some(()))
    })?;
    // The guest dies too, and is started again over what is here.
    kill(u32::try_from(pid.as_u64().unwrap_or_default())?, "KILL");
    host.wait_state("m", "crashed")?;
    registry.up();
    host.run(&["start", "m"])?;
    let log = host.wait_console("m", DONE)?;
    let (_, last) = log.rsplit_once(UP).unwrap_or_default();
    ensure!(sums(last) == expected, "the guest has read something else:\n{log}");
    wait_for("the image to arrive", || Ok(host.status("m")?["arriving"].is_null().then_some(())))?;
    registry.stop();
    host.run(&["kill", "m"])?;
    host.wait_state("m", "stopped")?;
    let before = host.run(&["logs", "m"])?.matches(UP).count();
    host.run(&["start", "m"])?;
    wait_for("the guest to boot again", || {
        Ok((host.run(&["logs", "m"])?.matches(UP).count() > before).then_some(()))
    })?;
    host.run(&["rm", "--force", "m"])?;
    Ok(())
}

#[test]
fn a_container_disk_is_read_in_the_middle_of_its_layer() -> Result<()> {
    let Some(registry) = Registry::start()? else { return Ok(()) };
    let (file, expected) = image(6)?;
    registry.push(&container_disk(&file)?, "disks/vm:1", false)?;
    let host = Host::new(&registry.config())?;
    let url = registry.url("disks/vm:1");
    survives(&host, &registry, &url, &expected)?;
    let _daemon = host.daemon()?;
    let images = host.json(&["image", "ls"])?;
    ensure!(images[0]["names"][0] == "vm" && images[0]["state"] == "ready", "{images}");

    // A second machine needs nothing of the registry but the digest.
    registry.up();
    start(&host, &machine(&host, "n", "", &url, "")?)?;
    ensure!(arriving(&host, "n")?.is_null(), "it was fetched again");
    host.wait_console("n", UP)?;
    Ok(())
}

#[test]
fn a_disk_in_chunks_boots_from_the_chunks_that_it_reads() -> Result<()> {
    let Some(registry) = Registry::start()? else { return Ok(()) };
    let (_directory, raw, expected) = raw(6)?;
    registry.push(&tart(&raw, 16 << 20)?, "machines/debian:12", false)?;
    let host = Host::new(&registry.config())?;
    let url = registry.url("machines/debian:12");
    survives(&host, &registry, &url, &expected)
}

#[test]
fn a_packed_layer_is_told_and_imported_first_with_progress() -> Result<()> {
    let Some(registry) = Registry::start()? else { return Ok(()) };
    let (file, expected) = image(1)?;
    registry.push(&container_disk(&file)?, "disks/packed", true)?;
    let host = Host::new(&registry.config())?;
    let _daemon = host.daemon()?;
    let spec = machine(&host, "m", "lazy.read", &registry.url("disks/packed"), "")?;
    let said = start(&host, &spec)?;
    ensure!(said.contains("is packed as gzip") && said.contains("sha256:"), "which blob, and how? {said}");
    ensure!(said.matches("imported first").count() == 1, "said once: {said}");
    let log = host.wait_console("m", DONE)?;
    ensure!(sums(&log) == expected, "the guest has read something else:\n{log}");
    Ok(())
}
