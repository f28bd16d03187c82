//! Firmware of the store, disks over volumes, and run strategies, with a real hypervisor.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use witvirt_harness::guest::{self, GREETING};
use witvirt_harness::host::{Host, files_below, kill, wait_for};

fn firmware(host: &Host, name: &str, file: &str) -> Result<()> {
    let copy = host.path("files").join(format!("{name}.fd"));
    fs::copy(Path::new("/usr/share/OVMF").join(file), &copy)?;
    host.run(&["image", "import", &copy.to_string_lossy(), "--name", name, "--format", "raw"]).map(drop)
}

#[test]
fn ovmf_of_the_store_starts_machines_with_variables_of_their_own() -> Result<()> {
    let host = Host::new("")?;
    let _daemon = host.daemon()?;
    for (size, code, vars) in
        [("4m", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), ("2m", "OVMF_CODE.fd", "OVMF_VARS.fd")]
    {
        firmware(&host, &format!("code-{size}"), code)?;
        firmware(&host, &format!("vars-{size}"), vars)?;
        for number in 1..=2 {
            let text = format!(
                "name = \"uefi-{size}-{number}\"\nmemory = \"128MiB\"\n[boot.firmware.uefi]\n\
                 code = {{ image = \"code-{size}\" }}\nvars-template = {{ image = \"vars-{size}\" }}\n"
            );
            let file = host.path("files").join("uefi.toml");
            fs::write(&file, text)?;
            host.run(&["create", "--start", &file.to_string_lossy()])?;
        }
        // OVMF writes its variables and then looks for something to boot.
        for number in 1..=2 {
            host.wait_console(&format!("uefi-{size}-{number}"), "BdsDxe")?;
        }
        let template = fs::read(Path::new("/usr/share/OVMF").join(vars))?;
        let stores: Vec<_> =
            files_below(&host.path("state")).into_iter().filter(|file| file.ends_with("vars.fd")).collect();
        let own = stores.iter().filter(|file| file.to_string_lossy().contains(&format!("uefi-{size}")));
        let own: Vec<_> = own.map(fs::read).collect::<Result<_, _>>()?;
        ensure!(own.len() == 2, "{stores:?}");
        ensure!(own.iter().all(|vars| vars.len() == template.len() && *vars != template), "nothing written");
    }
    // A machine keeps its code, whoever collects; the template is used up.
    host.run(&["stop", "--timeout", "0", "uefi-4m-1"])?;
    host.run(&["image", "rm", "vars-4m", "--force"])?;
    let refused = host.try_run(&["image", "rm", "code-4m"])?;
    ensure!(!refused.status.success(), "an image in use was removed");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(why.contains("use"), "{why}");
    host.run(&["start", "uefi-4m-1"])?;
    host.wait_state("uefi-4m-1", "running")?;
    Ok(())
}

#[test]
fn what_a_guest_writes_over_a_volume_is_forgotten() -> Result<()> {
    guest::build()?;
    let host = Host::new("")?;
    let _daemon = host.daemon()?;
    host.import_guest()?;
    let disk = |name: &str, source: &str| {
        let more = format!("[[disks]]\nname = \"extra\"\nsource = {{ {source} }}\n");
        let file = host.machine(name, "", "")?;
        fs::write(&file, fs::read_to_string(&file)? + &more)?;
        anyhow::Ok(file)
    };
    let maker = disk("maker", "volume = { name = \"shared\", size = \"16MiB\" }")?;
    host.run(&["create", "--start", &maker.to_string_lossy()])?;
    host.wait_console("maker", GREETING)?;
    let over = disk("over", "overlay = { volume = \"shared\" }")?;
    host.run(&["create", &over.to_string_lossy()])?;
    let busy = host.try_run(&["start", "over"])?;
    let why = String::from_utf8_lossy(&busy.stderr).into_owned();
    ensure!(!busy.status.success() && why.contains("shared is in use"), "{why}");
    host.run(&["kill", "maker"])?;
    host.wait_state("maker", "stopped")?;

    let second = disk("second", "overlay = { volume = \"shared\" }")?;
    host.run(&["start", "over"])?;
    host.run(&["create", "--start", &second.to_string_lossy()])?;
    for name in ["over", "second"] {
        host.wait_console(name, GREETING)?;
    }
    let busy = host.try_run(&["start", "maker"])?;
    ensure!(!busy.status.success(), "a volume below overlays is written");
    for name in ["over", "second"] {
        host.run(&["kill", name])?;
        host.wait_state(name, "stopped")?;
    }
    host.run(&["start", "maker"])?;
    let left = files_below(&host.path("state"));
    ensure!(!left.iter().any(|file| file.ends_with("extra.qcow2")), "{left:?}");
    Ok(())
}

fn with_strategy(host: &Host, name: &str, run: &str) -> Result<std::path::PathBuf> {
    host.machine(name, "", &format!("run = \"{run}\""))
}

#[test]
fn strategies_start_and_start_again() -> Result<()> {
    guest::build()?;
    let host = Host::new("")?;
    let daemon = host.daemon()?;
    host.import_guest()?;
    for (name, run) in
        [("always", "always"), ("rerun", "rerun-on-failure"), ("once", "once"), ("halted", "halted")]
    {
        host.run(&["create", &with_strategy(&host, name, run)?.to_string_lossy()])?;
    }
    ensure!(host.status("halted")?["state"] == "defined", "{}", host.status("halted")?);
    for name in ["always", "rerun", "once"] {
        let status = host.wait_state(name, "running")?;
        kill(u32::try_from(status["pid"].as_u64().unwrap_or_default())?, "KILL");
    }
    for name in ["always", "rerun"] {
        wait_for("the next run", || {
            let status = host.status(name)?;
            Ok((status["state"] == "running" && status["restarts"] == 1).then_some(()))
        })?;
    }
    host.wait_state("once", "crashed")?;
    ensure!(!host.try_run(&["start", "once"])?.status.success(), "once ran twice");
    ensure!(!host.try_run(&["restart", "halted"])?.status.success(), "halted was restarted");

    // What start and stop decide outlives a daemon that is killed, and what should run is started by the next.
    host.run(&["start", "halted"])?;
    host.run(&["kill", "always"])?;
    daemon.kill()?;
    for pid in host.hypervisors() {
        kill(pid, "KILL");
    }
    wait_for("the machines to end", || Ok(host.hypervisors().is_empty().then_some(())))?;
    let _daemon = host.daemon()?;
    host.wait_state("halted", "running")?;
    ensure!(host.status("halted")?["run"] == "always", "{}", host.status("halted")?);
    host.wait_state("rerun", "running")?;
    let status = host.status("always")?;
    ensure!(status["state"] == "stopped" && status["run"] == "halted", "{status}");
    Ok(())
}
