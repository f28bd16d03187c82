//! What the compiling child has given up by the time it reads the component.
#![allow(missing_docs)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn the_child_has_no_rights_when_it_reads() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_witvirt-compile-plugin"))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let path = format!("/proc/{}/status", child.id());
    let field = |status: &str, name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    // It waits for its input behind the filter; ten seconds are for a machine that is very busy.
    let status = (0..1000)
        .find_map(|_| {
            let status = std::fs::read_to_string(&path).unwrap();
            let filtered = field(&status, "Seccomp:") == "2";
            if !filtered {
                std::thread::sleep(Duration::from_millis(10));
            }
            filtered.then_some(status)
        })
        .expect("the system call filter is never set");
    assert_eq!(field(&status, "NoNewPrivs:"), "1");
    assert_eq!(field(&status, "CapEff:"), "0000000000000000");
    if rustix::process::geteuid().is_root() {
        assert_eq!(field(&status, "Uid:"), "65534\t65534\t65534\t65534");
        assert_eq!(field(&status, "Gid:"), "65534\t65534\t65534\t65534");
        assert_eq!(field(&status, "Groups:"), "");
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    for name in ["Max open files", "Max processes", "Max core file size"] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(line.split_whitespace().rev().nth(1).map(|_| line.contains(" 0 ")), Some(true), "{line}");
    }

    child.stdin.take().unwrap().write_all(b"no component").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.starts_with("it does not compile: "), "{words}");
}
