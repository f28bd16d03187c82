//! Machines outlive the daemon, whatever happens to it; what happens to them is told truly.
#![allow(missing_docs)]

use std::collections::HashMap;

use anyhow::{Result, ensure};
use witvirt_harness::guest::GREETING;
use witvirt_harness::host::{Host, kill, wait_for};

/// The highest n of the whole lines that end in "tick n", after checking that none is missing before it. The shell's prompt
/// may stand before the first.
fn ticks(log: &str) -> Result<u32> {
    let mut expected = 1;
    for line in log.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let number = line.trim().rsplit_once("tick ").map(|(_, number)| number.parse::<u32>());
        let Some(Ok(number)) = number else { continue };
        ensure!(number == expected, "tick {number} follows {}", expected - 1);
        expected += 1;
    }
    Ok(expected - 1)
}

#[test]
fn five_machines_outlive_a_killed_daemon() -> Result<()> {
    let host = Host::new("")?;
    let daemon = host.daemon()?;
    host.import_guest()?;
    let names = ["one", "two", "three", "four", "five"];
    for name in names {
        let file = host.machine(name, "witvirt.tick", "")?;
        host.run(&["create", "--start", &file.to_string_lossy()])?;
    }
    let mut pids = HashMap::new();
    for name in names {
        host.wait_console(name, "tick 3")?;
        pids.insert(name, host.wait_state(name, "running")?["pid"].clone());
    }
    daemon.kill()?;
    ensure!(host.hypervisors().len() == 5, "not all machines live: {:?}", host.hypervisors());

    // What the guests print while no daemon lives must be in the history, too.
    let before = std::fs::metadata("/proc/self")?.modified()?;
    while before.elapsed()?.as_secs() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let daemon = host.daemon()?;
    for name in names {
        let status = host.status(name)?;
        ensure!(status["state"] == "running" && status["pid"] == pids[name], "{status}");
        let log = host.run(&["logs", name])?;
        ensure!(log.contains(GREETING), "the history of {name} lacks its beginning:\n{log}");
        let seen = ticks(&log)?;
        host.wait_console(name, &format!("tick {}", seen + 2))?;
        ticks(&host.run(&["logs", name])?)?;
    }

    // The adopted machines obey.
    host.run(&["pause", "one"])?;
    host.wait_state("one", "paused")?;
    host.run(&["resume", "one"])?;
    host.wait_state("one", "running")?;
    host.run(&["stop", "two"])?;
    let status = host.wait_state("two", "stopped")?;
    ensure!(status["exit"]["orderly"] == true, "{status}");
    daemon.terminate()?;
    ensure!(host.hypervisors().len() == 4, "a daemon that ends must leave machines alone");
    Ok(())
}

#[test]
fn a_killed_hypervisor_is_a_crash_and_the_restart_policy_decides() -> Result<()> {
    let host = Host::new("")?;
    let _daemon = host.daemon()?;
    host.import_guest()?;
    for (name, policy) in [("never", "never"), ("again", "on-failure")] {
        let file = host.machine(name, "", &format!("restart = \"{policy}\""))?;
        host.run(&["create", "--start", &file.to_string_lossy()])?;
    }
    for name in ["never", "again"] {
        let status = host.wait_state(name, "running")?;
        kill(u32::try_from(status["pid"].as_u64().unwrap_or_default())?, "KILL");
    }
    let status = host.wait_state("never", "crashed")?;
    ensure!(status["exit"]["signal"] == 9 && status["exit"]["orderly"] == false, "{status}");
    let status = wait_for("the restart", || {
        let status = host.status("again")?;
        Ok((status["state"] == "running" && status["restarts"] == 1).then_some(status))
    })?;
    ensure!(status["exit"]["signal"] == 9, "{status}");
    host.wait_console("again", GREETING)?;

    // A stop ends it for good, restart policy or not.
    host.run(&["kill", "again"])?;
    let status = host.wait_state("again", "stopped")?;
    ensure!(status["next-restart"].is_null(), "{status}");
    Ok(())
}

#[test]
fn a_crash_without_a_daemon_is_found_by_the_next_one() -> Result<()> {
    let host = Host::new("")?;
    let daemon = host.daemon()?;
    host.import_guest()?;
    for (name, policy) in [("left", "never"), ("back", "always")] {
        let file = host.machine(name, "", &format!("restart = \"{policy}\""))?;
        host.run(&["create", "--start", &file.to_string_lossy()])?;
        host.wait_state(name, "running")?;
    }
    daemon.kill()?;
    for pid in host.hypervisors() {
        kill(pid, "KILL");
    }
    wait_for("the machines to end", || Ok(host.hypervisors().is_empty().then_some(())))?;
    let _daemon = host.daemon()?;
    host.wait_state("left", "crashed")?;
    host.wait_state("back", "running")?;
    Ok(())
}

#[test]
fn a_state_file_cut_in_half_breaks_only_its_machine() -> Result<()> {
    let host = Host::new("")?;
    let daemon = host.daemon()?;
    host.import_guest()?;
    for name in ["cut", "whole"] {
        let file = host.machine(name, "", "")?;
        host.run(&["create", &file.to_string_lossy()])?;
    }
    daemon.terminate()?;
    let files = witvirt_harness::host::files_below(&host.path("state"));
    let state = files.iter().find(|file| file.ends_with("cut/state.json")).cloned();
    let Some(state) = state else { anyhow::bail!("no state file among {files:?}") };
    let bytes = std::fs::read(&state)?;
    std::fs::write(&state, &bytes[..bytes.len() / 2])?;

    let _daemon = host.daemon()?;
    let status = host.status("cut")?;
    ensure!(status["state"] == "broken", "{status}");
    let reason = status["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("state.json"), "the reason names no file: {status}");
    host.run(&["start", "whole"])?;
    host.wait_console("whole", GREETING)?;
    ensure!(!host.try_run(&["start", "cut"])?.status.success(), "a broken machine was started");
    host.run(&["rm", "--force", "cut"])?;
    ensure!(host.status("cut").is_err(), "the broken machine is still there");
    Ok(())
}

#[test]
fn kill_9_at_any_moment_of_create_and_stop_is_understood() -> Result<()> {
    let host = Host::new("")?;
    let mut daemon = host.daemon()?;
    host.import_guest()?;
    for round in 0..6u64 {
        let name = format!("m{round}");
        let file = host.machine(&name, "", "")?;
        let mut create = host.command(&["create", "--start", &file.to_string_lossy()]).spawn()?;
        std::thread::sleep(std::time::Duration::from_millis(15 * round * round));
        daemon.kill()?;
        create.wait()?;
        daemon = host.daemon()?;
        let machines = host.json(&["ps", "--all"])?;
        for machine in machines.as_array().into_iter().flatten() {
            let state = machine["state"].as_str().unwrap_or_default();
            ensure!(state != "broken", "round {round}: {machine}");
        }
        // Whatever came of it, the name is usable: removed if it is there, created again, started, killed in its stop.
        if host.status(&name).is_ok() {
            host.run(&["rm", "--force", &name])?;
        }
        host.run(&["create", "--start", &file.to_string_lossy()])?;
        host.wait_state(&name, "running")?;
        let mut stop = host.command(&["stop", "--timeout", "1", &name]).spawn()?;
        std::thread::sleep(std::time::Duration::from_millis(300 * round));
        daemon.kill()?;
        stop.wait()?;
        daemon = host.daemon()?;
        // The request may have come too early to be heard; heard once, it is never forgotten.
        if host.status(&name)?["desired"] == "running" {
            host.run(&["stop", "--timeout", "1", &name])?;
        }
        host.wait_state(&name, "stopped")?;
        host.run(&["rm", &name])?;
    }
    ensure!(host.hypervisors().is_empty(), "hypervisors nobody knows of: {:?}", host.hypervisors());
    Ok(())
}
