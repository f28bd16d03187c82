//! Over servers that leave and come back, a daemon that is killed, and servers and digests that do not keep what they promise.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use witvirt_harness::host::{Host, wait_for};
use witvirt_harness::terminal::Terminal;
use witvirt_harness::web::Web;

use crate::guest::{DONE, UP, arriving, image, machine, start, sums};

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

#[test]
fn a_start_that_waits_for_an_image_shows_how_far_it_is_on_a_terminal() -> Result<()> {
    let (file, _) = image(1)?;
    let host = Host::new("")?;
    let _daemon = host.daemon()?;
    let web = Web::serve(&file, true)?;
    web.set_rate(8 << 20);
    let spec = machine(&host, "m", "", &web.url(), "")?;
    host.run(&["create", &spec.to_string_lossy()])?;
    let terminal = Terminal::start(&mut host.command(&["start", "m"]))?;
    wait_for("the terminal to show how far it is", || {
        let shown = terminal.shown();
        let numbers = shown.contains("/s ETA") && shown.contains(" MiB/");
        Ok((numbers && shown.contains("start m: downloading")).then_some(()))
    })?;
    let (status, shown) = terminal.wait()?;
    ensure!(status.success(), "{shown}");
    host.wait_console("m", UP)?;
    // Nothing of it where there is no terminal.
    host.run(&["rm", "--force", "m"])?;
    let output = host.try_run(&["create", "--start", &spec.to_string_lossy()])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && !said.contains("downloading"), "{said}");
    Ok(())
}
