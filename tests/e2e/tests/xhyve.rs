//! Scripts around xhyve, in the two shapes of the documents that the project was asked for with, run for real.
#![allow(missing_docs)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use witvirt_harness::guest::GREETING;
use witvirt_harness::host::Host;
use witvirt_harness::{netboot, plugins, root};

const XHYVE: &str = "application/vnd.xhyve.commandline";
/// How long an emulated CPU on a busy host may take to the installer's first screen.
const INSTALLER_PATIENCE: Duration = Duration::from_secs(600);

fn host() -> Result<Host> {
    let plugin = plugins().join("domain-xhyve.wasm");
    Host::new(&format!(
        "[[plugin]]\nname = \"domain-xhyve\"\nkind = \"domain-converter\"\nfile = {plugin:?}\n\
         [pipeline.libvirt]\nsource = \"application/vnd.libvirt.domain+xml\"\nconverters = [\"domain-libvirt\"]\n\
         [pipeline.xhyve]\nsource = {XHYVE:?}\nconverters = [\"domain-xhyve\", \"domain-libvirt\"]\n"
    ))
}

/// Converts a script and starts what it describes under a name.
fn start(host: &Host, name: &str, script: &str) -> Result<()> {
    let file = host.path("files").join(format!("{name}.sh"));
    fs::write(&file, script)?;
    let named = ["--media-type", XHYVE, "--name", name];
    let machine = host.run(&[&["domain", "convert"], &named[..], &[&file.to_string_lossy()]].concat())?;
    let spec = host.path("files").join(format!("{name}.json"));
    fs::write(&spec, machine)?;
    host.run(&["create", "--start", &spec.to_string_lossy()]).map(drop)
}

fn files(host: &Host) -> PathBuf {
    host.path("files")
}

#[test]
fn the_installer_reaches_its_first_screen_on_com1() -> Result<()> {
    let host = host()?;
    let _daemon = host.daemon()?;
    let installer = netboot::build()?;
    let directory = files(&host);
    fs::create_dir(directory.join("install"))?;
    fs::copy(&installer.kernel, directory.join("install/linux"))?;
    fs::copy(&installer.initrd, directory.join("install/initrd.gz"))?;
    fs::copy(&installer.iso, directory.join("mini.iso"))?;
    File::create(directory.join("debian.img"))?.set_len(16 << 30)?;
    let script = format!(
        r#"#!/bin/bash
cd {}
KERNEL="install/linux"
INITRD="install/initrd.gz"
CMDLINE="earlyprintk=serial console=ttyS0"

# Guest Config
CPU="-c 2"
MEM="-m 1G"
PCI_DEV="-s 0:0,hostbridge -s 31,lpc"
NET="-s 2:0,virtio-net,en0"
IMG_CD="-s 3:0,ahci-cd,mini.iso"
IMG_HDD="-s 4:0,virtio-blk,debian.img"
LPC_DEV="-l com1,stdio"
ACPI="-A"

# and now run
sudo /Users/user/xhyve/build/xhyve $ACPI $CPU $MEM $PCI_DEV $LPC_DEV $NET $IMG_CD $IMG_HDD -f kexec,$KERNEL,$INITRD,"$CMDLINE"
"#,
        directory.display()
    );
    let started = Instant::now();
    start(&host, "install", &script)?;
    let status = host.wait_state("install", "running")?;
    ensure!(status["vcpus"] == 2, "{status}");
    wait_for_screen(&host, "install", "Select a language")?;
    println!("the installer's first screen after {} s", started.elapsed().as_secs());
    let log = host.run(&["logs", "install"])?;
    for part in ["virtio_blk", "sr 0:0:0:0", "QEMU DVD-ROM"] {
        println!("{part}: {}", log.contains(part));
    }
    host.run(&["kill", "install"]).map(drop)
}

fn wait_for_screen(host: &Host, name: &str, text: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        let log = host.run(&["logs", name])?;
        if log.contains(text) {
            return Ok(());
        }
        if started.elapsed() > INSTALLER_PATIENCE {
            let shown: String = log.chars().rev().take(2000).collect::<Vec<_>>().into_iter().rev().collect();
            bail!("no {text:?} on the console after {} s:\n{shown}", INSTALLER_PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// A disk with one partition, which holds the guest's root file system.
fn partitioned(file: &Path) -> Result<()> {
    const START: u32 = 2048;
    let system =
        fs::read(root().join("target/guest/root.raw")).context("no target/guest; run: cargo xtask test")?;
    let sectors = u32::try_from(system.len() / 512)?;
    let mut record = [0; 512];
    // Type Linux, from START, by linear addresses alone.
    record[446..462].copy_from_slice(&[0, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    record[454..458].copy_from_slice(&START.to_le_bytes());
    record[458..462].copy_from_slice(&sectors.to_le_bytes());
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    let disk = File::create(file)?;
    disk.set_len(u64::from(START + sectors) * 512)?;
    disk.write_all_at(&record, 0)?;
    disk.write_all_at(&system, u64::from(START) * 512)?;
    Ok(())
}

#[test]
fn a_kernel_boots_from_the_first_partition() -> Result<()> {
    let host = host()?;
    let _daemon = host.daemon()?;
    let directory = files(&host);
    let guest = root().join("target/guest");
    fs::create_dir(directory.join("boot"))?;
    fs::copy(guest.join("vmlinuz"), directory.join("boot/vmlinuz"))?;
    fs::copy(guest.join("initrd.img"), directory.join("boot/initrd.img"))?;
    partitioned(&directory.join("debian.img"))?;
    let script = format!(
        r#"#!/bin/bash
cd {}
KERNEL="boot/vmlinuz"
INITRD="boot/initrd.img"
#CMDLINE="earlyprintk=serial console=ttyS0 acpi=off root=/dev/vda1 ro"
CMDLINE="earlyprintk=serial console=ttyS0 root=/dev/vda1 ro"
UUID="-U 8e7af180-c54d-4aa2-9bef-59d94a1ac572" # the same address on each start
# Guest Config
CPU="-c 2"
MEM="-m 256M"
PCI_DEV="-s 0:0,hostbridge -s 31,lpc"
NET="-s 2:0,virtio-net,en0"
IMG_HDD="-s 4:0,virtio-blk,debian.img"
LPC_DEV="-l com1,stdio"
ACPI="-A"

sudo xhyve $UUID $ACPI $CPU $MEM $PCI_DEV $LPC_DEV $NET $IMG_HDD -f kexec,$KERNEL,$INITRD,"$CMDLINE"
"#,
        directory.display()
    );
    start(&host, "run", &script)?;
    let log = host.wait_console("run", GREETING)?;
    ensure!(log.contains("root=/dev/vda1 ro"), "another command line:\n{log}");
    ensure!(log.contains("vda1"), "no partition:\n{log}");
    host.run(&["stop", "run"])?;

    // The machine is the one of the script again: UUID and, made from it, MAC address.
    let shown = fs::read_to_string(directory.join("run.json"))?;
    ensure!(shown.contains("8e7af180-c54d-4aa2-9bef-59d94a1ac572"), "{shown}");
    ensure!(shown.contains("\"mac\""), "{shown}");
    Ok(())
}

#[test]
fn what_a_script_hides_is_refused_with_its_line() -> Result<()> {
    let host = host()?;
    let file = files(&host).join("hidden.sh");
    fs::write(&file, "#!/bin/sh\nUUID=$(uuidgen)\nxhyve -A -U $UUID -s 0,hostbridge -f kexec,k,,c\n")?;
    let refused = host.try_run(&["domain", "convert", "--media-type", XHYVE, &file.to_string_lossy()])?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(!refused.status.success(), "a command's output was made up");
    ensure!(said.contains("line 3") && said.contains("line 2") && said.contains("JSON array"), "{said}");
    Ok(())
}
