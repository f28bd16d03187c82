//! Imports that are cut short, and full disks.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use witvirt_harness::host::{Host, files_below};
use witvirt_harness::tools;

/// A raw file of `mib` MiB that does not compress to nothing, and its qcow2 with zlib clusters, by qemu-img.
fn image(host: &Host, mib: usize) -> Result<std::path::PathBuf> {
    let raw = host.path("files/source.raw");
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = vec![0u8; mib << 20];
    for chunk in bytes.chunks_mut(16) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        chunk[..8].copy_from_slice(&state.to_le_bytes());
    }
    fs::write(&raw, bytes)?;
    let target = host.path("files/source.qcow2");
    tools::run(Command::new("qemu-img").args(["convert", "-c", "-O", "qcow2"]).arg(&raw).arg(&target))?;
    Ok(target)
}

#[test]
fn kill_9_during_an_import_leaves_no_half_image() -> Result<()> {
    let host = Host::new("")?;
    let mut daemon = host.daemon()?;
    let source = image(&host, 192)?;
    let mut finished = 0;
    for round in 0..8u64 {
        let name = format!("i{round}");
        let mut import =
            host.command(&["image", "import", &source.to_string_lossy(), "--name", &name]).spawn()?;
        std::thread::sleep(std::time::Duration::from_millis(20 + 45 * round));
        daemon.kill()?;
        import.wait()?;
        daemon = host.daemon()?;
        let images = host.json(&["image", "ls"])?;
        let images = images.as_array().context("image ls is no list")?.clone();
        finished = finished.max(images.len());
        // A name that is there stands for a whole image.
        for found in &images {
            if let Some(name) =
                found["names"].as_array().and_then(|names| names.first()).and_then(|name| name.as_str())
            {
                host.run(&["image", "check", name])?;
            }
        }
    }
    host.run(&["image", "import", &source.to_string_lossy(), "--name", "whole"])?;
    let out = host.path("files/out.raw");
    host.run(&["image", "convert", "whole", &out.to_string_lossy(), "--to", "raw"])?;
    ensure!(fs::read(&out)? == fs::read(host.path("files/source.raw"))?, "the image differs from its source");
    let leftovers: Vec<_> = files_below(&host.path("state"))
        .into_iter()
        .filter(|file| file.is_file() && file.parent().is_some_and(|parent| parent.ends_with("tmp")))
        .collect();
    ensure!(leftovers.is_empty(), "half imports are left: {leftovers:?}");
    Ok(())
}

#[test]
fn a_full_disk_ends_an_import_and_leaves_nothing() -> Result<()> {
    let host = Host::new("")?;
    let store = host.path("small");
    fs::create_dir(&store)?;
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"]).arg(&store).output()?;
    if !mounted.status.success() {
        println!("skipped: cannot mount a small tmpfs: {}", String::from_utf8_lossy(&mounted.stderr).trim());
        return Ok(());
    }
    let _unmount = Unmount(&store);
    let config =
        fs::read_to_string(host.config())?.replace("[store]\n", &format!("[store]\ndirectory = {store:?}\n"));
    host.write_config(&config)?;
    let daemon = host.daemon()?;
    let source = image(&host, 192)?;
    let output = host.try_run(&["image", "import", &source.to_string_lossy(), "--name", "big"])?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "imported 192 MiB into 48");
    ensure!(error.contains("space"), "the error does not speak of space: {error}");
    ensure!(host.json(&["image", "ls"])?.as_array().is_some_and(Vec::is_empty), "half an image is shown");
    let big: Vec<_> = files_below(&store)
        .into_iter()
        .filter(|file| file.metadata().is_ok_and(|data| data.is_file() && data.len() > 1 << 20))
        .collect();
    ensure!(big.is_empty(), "files are left on the full disk: {big:?}");
    // The daemon serves on, and what fits is imported.
    let small = host.path("files/small.raw");
    fs::write(&small, vec![7u8; 1 << 20])?;
    host.run(&["image", "import", &small.to_string_lossy(), "--name", "small", "--format", "raw"])?;
    daemon.terminate()
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy"]).arg(self.0).status();
    }
}
