//! The console as a person at a terminal meets it.
#![allow(missing_docs)]

use anyhow::{Result, ensure};
use witvirt_harness::guest::GREETING;
use witvirt_harness::host::Host;
use witvirt_harness::terminal::Terminal;

/// Ctrl-].
const ESCAPE: &[u8] = &[0x1d];

#[test]
fn run_attaches_a_shell_with_and_without_a_daemon() -> Result<()> {
    let host = Host::new("")?;
    let file = host.machine("shell", "", "")?;
    let mut daemon = Some(host.daemon()?);
    host.import_guest()?;
    for alone in [false, true] {
        if alone && let Some(daemon) = daemon.take() {
            daemon.terminate()?;
        }
        let mut terminal = Terminal::start(&mut host.command(&["run", "--rm", &file.to_string_lossy()]))?;
        terminal.expect(GREETING)?;
        terminal.expect("Ctrl-]")?;
        terminal.write(b"echo sum $((20 + 3))\r")?;
        terminal.expect("sum 23")?;
        ensure!(!terminal.echoes()?, "the terminal echoes by itself while the guest has it");
        terminal.write(ESCAPE)?;
        let (status, shown) = terminal.wait()?;
        ensure!(status.success(), "{status}\n{shown}");
    }
    Ok(())
}

#[test]
fn the_newer_console_wins_and_the_older_is_told() -> Result<()> {
    let host = Host::new("")?;
    let _daemon = host.daemon()?;
    host.import_guest()?;
    let file = host.machine("desk", "", "")?;
    host.run(&["create", "--start", &file.to_string_lossy()])?;
    host.wait_console("desk", GREETING)?;
    let mut first = Terminal::start(&mut host.command(&["console", "desk"]))?;
    first.expect("Ctrl-]")?;
    first.write(b"echo first $((1 + 1))\r")?;
    first.expect("first 2")?;
    let mut second = Terminal::start(&mut host.command(&["console", "desk"]))?;
    second.expect("Ctrl-]")?;
    let (status, shown) = first.wait()?;
    ensure!(shown.contains("another"), "the older one is not told why:\n{shown}");
    ensure!(!status.success(), "a console that was taken away ends with success");
    second.write(b"echo second $((2 + 1))\r")?;
    second.expect("second 3")?;
    second.write(ESCAPE)?;
    ensure!(second.wait()?.0.success(), "leaving is no failure");

    // The history has both sessions, and the machine runs on.
    let log = host.wait_console("desk", "second 3")?;
    ensure!(log.contains("first 2"), "{log}");
    ensure!(host.status("desk")?["state"] == "running", "leaving a console ended the machine");
    Ok(())
}

#[test]
fn logs_are_cut_by_tail_and_since() -> Result<()> {
    let host = Host::new("")?;
    let _daemon = host.daemon()?;
    host.import_guest()?;
    let file = host.machine("clock", "witvirt.tick", "")?;
    host.run(&["create", "--start", &file.to_string_lossy()])?;
    host.wait_console("clock", "tick 20")?;
    let tail = host.run(&["logs", "--tail", "3", "clock"])?;
    ensure!(tail.lines().count() <= 4 && tail.contains("tick"), "{tail}");
    let recent = host.run(&["logs", "--since", "1s", "clock"])?;
    let ticks = recent.lines().filter(|line| line.starts_with("tick")).count();
    ensure!((1..=15).contains(&ticks), "{ticks} ticks of 0.2 s in the last second:\n{recent}");
    ensure!(!recent.contains(GREETING), "{recent}");
    host.run(&["stop", "clock"])?;
    let log = host.run(&["logs", "clock"])?;
    ensure!(log.contains("power button pressed"), "the guest was not asked to shut down:\n{log}");
    Ok(())
}
