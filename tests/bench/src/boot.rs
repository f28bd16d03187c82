//! From the command to the first word of the guest's root disk: `witvirt run` over the same machine under bare QEMU.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use witvirt_harness::guest::{self, GREETING};
use witvirt_harness::host::Host;
use witvirt_harness::tools;

use crate::measure::{pairs, report};

/// Prints the ratio of the medians of five pairs; below 1 ours is faster.
pub fn run() -> Result<()> {
    let guest = guest::build()?;
    let host = Host::new("")?;
    let machine = host.machine("boot", "", "")?;
    let daemon = host.daemon()?;
    host.import_guest()?;
    daemon.terminate()?;
    let overlay = host.path("bare.qcow2");
    tools::run(
        Command::new("qemu-img")
            .args(["create", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(&guest.root)
            .arg(&overlay),
    )?;
    let (ours, bare) = pairs(
        5,
        || {
            let mut run = host.command(&["run", "--rm", &machine.to_string_lossy()]);
            until_greeting(&mut run)
        },
        || {
            let mut qemu = Command::new("qemu-system-x86_64");
            qemu.args([
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-machine",
                "q35",
                "-accel",
                "tcg",
            ]);
            qemu.args([
                "-cpu",
                "max",
                "-m",
                "128",
                "-serial",
                "stdio",
                "-append",
                "console=ttyS0 quiet panic=-1 ",
            ]);
            qemu.arg("-kernel").arg(&guest.kernel).arg("-initrd").arg(&guest.initrd);
            qemu.arg("-drive").arg(format!("file={},format=qcow2,if=virtio", overlay.display()));
            until_greeting(&mut qemu)
        },
    )?;
    let ratio = ours.as_secs_f64() / bare.as_secs_f64();
    report(
        "guest userspace, witvirt run over bare QEMU",
        format!("{ratio:.3} ({ours:.2?} over {bare:.2?}, aim <= 1.05)"),
    );
    Ok(())
}

fn until_greeting(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let output = BufReader::new(child.stdout.take().context("no output")?);
    let mut time = None;
    for line in output.split(b'\n') {
        if String::from_utf8_lossy(&line?).contains(GREETING) {
            time = Some(start.elapsed());
            break;
        }
    }
    let Some(time) = time else { bail!("the guest never spoke: {:?}", child.wait()?) };
    witvirt_harness::host::kill(child.id(), "TERM");
    child.wait()?;
    Ok(time)
}
