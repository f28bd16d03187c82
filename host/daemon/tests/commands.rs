//! The command line against a daemon with the null driver.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use serde_json::Value;

mod support;

use support::{Site, error, wait_for};

#[test]
fn a_machine_lives_and_every_list_is_json() {
    let site = Site::new("");
    let _daemon = site.daemon();
    let file = site.machine("web", "");
    assert!(site.run(&["create", "--dry-run", &file]).contains("would be created"));
    assert_eq!(site.json(&["ps"]), Value::Array(Vec::new()));
    assert_eq!(site.json(&["create", &file])["status"]["state"], "defined");
    assert_eq!(site.run(&["start", "web"]), "web  running\n");
    let status = &site.json(&["ps"])[0];
    assert_eq!(
        (&status["state"], &status["driver"], &status["memory"]),
        (&"running".into(), &"null".into(), &(64 << 20).into())
    );
    assert!(site.run(&["ps"]).contains("web   running"));
    assert_eq!(site.run(&["ps", "--quiet"]), "web\n");
    assert_eq!(site.json(&["pause", "web"])["state"], "paused");
    assert_eq!(site.json(&["resume", "web"])["state"], "running");
    assert_eq!(site.json(&["inspect", "web"])["spec"]["name"], "web");
    assert_eq!(site.json(&["restart", "web", "--timeout", "1"])["state"], "running");
    assert_eq!(site.json(&["wait", "web", "--for", "running"])["state"], "running");
    assert_eq!(site.fail(&["wait", "web", "--timeout", "1"]).0, 124);
    assert_eq!(site.json(&["stop", "web"])["state"], "stopped");
    assert_eq!(site.run(&["ps", "--running", "--quiet"]), "");
    assert_eq!(site.json(&["start", "web"])["state"], "running");
    assert_eq!(site.json(&["kill", "web"])["state"], "stopped");
    site.run(&["rm", "web"]);
    for list in [&["ps"][..], &["image", "ls"], &["plugin", "ls"]] {
        assert_eq!(site.json(list), Value::Array(Vec::new()), "{list:?}");
    }
    assert_eq!(site.json(&["host", "info"])["driver"], "null");
    let checks = site.try_run(&["host", "check", "--output", "json"]);
    let checks: Value = serde_json::from_slice(&checks.stdout).unwrap();
    assert!(
        checks.as_array().unwrap().iter().any(|check| check["name"] == "driver" && check["status"] == "warn"),
        "{checks}"
    );
    assert!(site.json(&["config", "check"])["plugins"].is_array());
}

#[test]
fn exit_codes_are_what_help_says() {
    let site = Site::new("");
    assert_eq!(site.fail(&["ps"]).0, 6);
    let _daemon = site.daemon();
    assert_eq!(site.fail(&["frobnicate"]).0, 2);
    assert_eq!(site.fail(&["start"]).0, 2);
    for absent in [
        &["start", "x"][..],
        &["stop", "x"],
        &["rm", "x"],
        &["logs", "x"],
        &["inspect", "x"],
        &["console", "x"],
        &["image", "rm", "x"],
        &["run", "x"],
    ] {
        let (code, message) = site.fail(absent);
        assert_eq!(code, 3, "{absent:?}: {message}");
    }
    let file = site.machine("a", "");
    site.run(&["create", &file, "--start"]);
    let (code, message) = site.fail(&["create", &file]);
    assert_eq!(code, 4, "{message}");
    assert_eq!(message.matches("exists").count(), 1, "told once: {message}");
    assert!(message.contains("hint: "), "{message}");
    assert_eq!(site.fail(&["rm", "a"]).0, 4);
    assert_eq!(site.fail(&["start", "a"]).0, 4);
    let (code, message) = site.fail(&["create", &site.machine("b", "qemu-arguments = [\"-device\", \"x\"]")]);
    assert_eq!(code, 4, "{message}");
    assert!(
        message.contains("-device")
            && message.contains("is not allowed")
            && message.contains("allow-arguments"),
        "{message}"
    );
    let open = "interfaces = [{ forwards = [{ address = \"0.0.0.0\", host-port = 8080, guest-port = 80 }] }]";
    let (code, message) = site.fail(&["create", &site.machine("c", open)]);
    assert_eq!(code, 4, "{message}");
    assert!(message.contains("public-forwards"), "{message}");
    let help = site.run(&["--help"]);
    for code in ["0  done", "3  something named", "6  no daemon", "124  it took"] {
        assert!(help.contains(code), "{help}");
    }
}

#[test]
fn a_machine_file_with_mistakes_is_told_with_lines() {
    let site = Site::new("");
    let file = site.machine("a", "[cpu]\ncuont = 2\n[[disks]]\nname = \"root\"\nbus = \"virtoi\"");
    let (code, message) = site.fail(&["create", &file]);
    assert_eq!(code, 1);
    assert!(message.contains("a.toml:4:1") && message.contains("did you mean \"count\"?"), "{message}");
    assert!(message.contains("a.toml:7:7") && message.contains("did you mean \"virtio\"?"), "{message}");
}

#[test]
fn the_newer_console_wins_and_the_older_is_told() {
    let site = Site::new("");
    let _daemon = site.daemon();
    site.run(&["create", "--start", &site.machine("a", "")]);
    let open = || {
        let mut command = site.command(&["console", "a"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut older = open();
    older.stdin.as_mut().unwrap().write_all(b"first\n").unwrap();
    let mut output = BufReader::new(older.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(line.contains("first"), "{line}");
    let mut newer = open();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("another client has taken this console over"), "{rest}");
    assert_eq!(older.wait().unwrap().code(), Some(4));
    newer.stdin.as_mut().unwrap().write_all(b"second\n").unwrap();
    let mut output = BufReader::new(newer.stdout.take().unwrap());
    line.clear();
    output.read_line(&mut line).unwrap();
    assert!(line.contains("second"), "{line}");
    site.run(&["kill", "a"]);
    assert!(newer.wait().unwrap().success(), "a console ends with its machine");
}

#[test]
fn logs_are_harmless_unless_raw_and_can_be_followed() {
    let site = Site::new("");
    let _daemon = site.daemon();
    site.run(&["create", "--start", &site.machine("a", "")]);
    let mut follow =
        site.command(&["logs", "--follow", "--tail", "1", "a"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut console =
        site.command(&["console", "a"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    console.stdin.as_mut().unwrap().write_all(b"\x1b]0;owned\x07\x1b[31mred\x1b[0m\nlast\n").unwrap();
    let mut followed = BufReader::new(follow.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("last") {
        line.clear();
        assert!(followed.read_line(&mut line).unwrap() > 0, "the end came before the line");
    }
    let shown = site.run(&["logs", "a"]);
    assert!(
        shown.contains("\x1b[31mred\x1b[0m") && !shown.contains("owned") && !shown.contains('\x07'),
        "{shown:?}"
    );
    assert!(site.run(&["logs", "--raw", "a"]).contains("\x1b]0;owned\x07"));
    assert_eq!(site.run(&["logs", "--tail", "1", "a"]).trim(), "last");
    assert!(site.run(&["logs", "--since", "1h", "a"]).contains("last"));
    assert_eq!(site.run(&["logs", "--since", "2999-01-01T00:00:00Z", "a"]), "");
    assert_eq!(site.fail(&["logs", "--since", "once", "a"]).0, 1);
    console.kill().unwrap();
    console.wait().unwrap();
    site.run(&["rm", "--force", "a"]);
    assert!(follow.wait().unwrap().success(), "a followed log ends with its machine");
}

#[test]
fn events_are_lines_of_json() {
    let site = Site::new("");
    let _daemon = site.daemon();
    let mut events = site
        .command(&["events", "--machine", "b", "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    // Events begin when the daemon has taken the request: makes some until the first is seen.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while let Some(Ok(line)) = lines.next() {
            let _ = sender.send(serde_json::from_str::<Value>(&line).unwrap());
        }
    });
    let (a, b) = (site.machine("a", ""), site.machine("b", ""));
    let first = wait_for("an event", || {
        for file in [&a, &b] {
            site.run(&["create", file]);
        }
        site.run(&["rm", "a", "b"]);
        receiver.try_recv().ok()
    });
    assert_eq!(first["machine"], "b");
    assert!(["created", "removed"].contains(&first["kind"].as_str().unwrap()), "{first}");
    events.kill().unwrap();
    events.wait().unwrap();
}

#[test]
fn run_without_a_daemon_hosts_the_machine_and_ends_with_it() {
    let site = Site::new("");
    let file = site.machine("solo", "");
    let mut run =
        site.command(&["run", "--rm", &file]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("null machine solo"), "the console begins with the machine: {line}");
    let socket = site.path("run/alone/solo/witvirt.sock");
    let stopped = site.try_run(&["--socket", socket.to_str().unwrap(), "stop", "solo"]);
    assert!(stopped.status.success(), "{}", error(&stopped));
    assert!(run.wait().unwrap().success());
    assert!(!site.path("state/alone/solo").exists(), "--rm leaves nothing");
    assert!(!socket.exists());
}

#[test]
fn run_with_a_daemon_leaves_the_machine_to_it() {
    let site = Site::new("");
    let _daemon = site.daemon();
    let file = site.machine("a", "");
    assert_eq!(site.run(&["run", "--detach", &file]), "a\n");
    assert_eq!(site.run(&["run", "--detach", &file]), "a\n", "the same machine is no conflict");
    let other = site.machine("other", "").replace("other.toml", "a.toml");
    std::fs::write(&other, "name = \"a\"\nmemory = \"128MiB\"\n").unwrap();
    let (code, message) = site.fail(&["run", "--detach", &other]);
    assert_eq!(code, 4, "{message}");
    assert!(message.contains("another definition"), "{message}");
    assert_eq!(site.json(&["ps"])[0]["state"], "running");
}

/// With a terminal, by script(1): Ctrl-] leaves, and the terminal is as it was.
#[test]
fn ctrl_bracket_leaves_the_console_and_the_terminal_is_restored() {
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: script (util-linux) is not installed");
        return;
    }
    let site = Site::new("");
    let _daemon = site.daemon();
    site.run(&["create", "--start", &site.machine("a", "")]);
    let (before, after) = (site.path("before"), site.path("after"));
    let inner = format!(
        "stty -a > {}; {} --config {} console a; echo left $?; stty -a > {}",
        before.display(),
        env!("CARGO_BIN_EXE_witvirt"),
        site.config().display(),
        after.display()
    );
    let mut script = Command::new("script")
        .args(["--quiet", "--return", "--command", &inner, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(script.stdout.take().unwrap());
    let mut seen = Vec::new();
    output.read_until(b'.', &mut seen).unwrap();
    assert!(String::from_utf8_lossy(&seen).contains("Ctrl-] to leave"), "{}", String::from_utf8_lossy(&seen));
    let keys = script.stdin.as_mut().unwrap();
    keys.write_all(b"\x03hello\r").unwrap();
    // Ctrl-C goes to the guest, which echoes it.
    output.read_until(b'\x03', &mut seen).unwrap();
    keys.write_all(b"\x1d").unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    script.wait().unwrap();
    assert!(rest.contains("left 0"), "{rest:?}");
    assert_eq!(std::fs::read_to_string(before).unwrap(), std::fs::read_to_string(after).unwrap());
    assert_eq!(site.json(&["ps"])[0]["state"], "running", "leaving does not end a daemon's machine");
}

#[test]
fn completion_scripts_load_in_bash() {
    let site = Site::new("");
    let script = site.path("completion");
    std::fs::write(&script, site.run(&["completion", "bash"])).unwrap();
    let test = format!("source {} && complete -p witvirt", script.display());
    let output = Command::new("bash").args(["--norc", "-c", &test]).output().unwrap();
    assert!(output.status.success(), "{}", error(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("witvirt"));
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(site.run(&["completion", shell]).contains("witvirt"), "{shell}");
    }
}

#[test]
fn every_command_has_examples_in_its_help() {
    let site = Site::new("");
    let mut commands: Vec<Vec<&str>> =
        "daemon run create start stop restart pause resume kill rm ps inspect console logs \
         events wait completion"
            .split_whitespace()
            .map(|name| vec![name])
            .collect();
    for (group, names) in [
        ("image", "import ls inspect rm convert verify gc check"),
        ("domain", "convert explain"),
        ("plugin", "ls inspect reload test"),
        ("host", "info check"),
        ("config", "check schema"),
    ] {
        commands.extend(names.split(' ').map(|name| vec![group, name]));
    }
    for mut command in commands {
        command.push("--help");
        let help = site.run(&command);
        assert!(help.contains("Examples:\n  witvirt "), "{command:?}: {help}");
    }
}
