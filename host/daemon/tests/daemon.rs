//! The daemon as a process: its socket, its config, its plugins, who may call it.

use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};

use serde_json::Value;

mod support;

use support::{Site, can_be_somebody_else, error, plugin, set_mode, wait_for};

#[test]
fn a_typo_starts_nothing_and_is_told_with_its_line() {
    let site = Site::new("[api]\nfull-uid = [1]\n[console]\nlog-size = \"many\"");
    let (code, message) = site.fail(&["daemon"]);
    assert_eq!(code, 1);
    assert!(message.contains("witvirt.toml:7:1"), "{message}");
    assert!(message.contains("did you mean \"full-uids\"?"), "{message}");
    assert!(!site.path("state").exists() && !site.path("run").exists(), "something was started");
    let (code, message) = site.fail(&["config", "check"]);
    assert_eq!(code, 1);
    assert!(message.contains("nothing was started"), "{message}");
}

#[test]
fn the_second_daemon_is_refused_by_socket_and_by_state() {
    let site = Site::new("");
    let _daemon = site.daemon();
    let (code, message) = site.fail(&["daemon"]);
    assert_eq!(code, 1);
    assert!(message.contains("another witvirt daemon serves"), "{message}");
    let other = site.path("other.sock");
    let (code, message) = site.fail(&["daemon", "--socket", other.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(message.contains("in use by the daemon with process id"), "{message}");
    assert_eq!(site.json(&["ps"]), Value::Array(Vec::new()));
}

#[test]
fn a_dead_daemons_socket_is_replaced_and_a_live_one_takes_its_away() {
    let site = Site::new("");
    drop(site.daemon());
    assert!(site.socket().exists(), "a killed daemon cannot clean up");
    let daemon = site.daemon();
    site.run(&["create", &site.machine("kept", "")]);
    assert!(daemon.terminate().success());
    assert!(!site.socket().exists());
    assert_eq!(site.fail(&["ps"]).0, 6);
    let _daemon = site.daemon();
    assert_eq!(site.json(&["ps"])[0]["name"], "kept");
    // What is no socket is not touched.
    let file = site.path("precious");
    std::fs::write(&file, "x").unwrap();
    let state = site.path("state2");
    let arguments =
        ["daemon", "--socket", file.to_str().unwrap(), "--state-directory", state.to_str().unwrap()];
    assert!(site.fail(&arguments).1.contains("is no socket"));
    assert_eq!(std::fs::read(file).unwrap(), b"x");
}

#[test]
fn readiness_and_the_end_are_told_to_the_service_manager() {
    let site = Site::new("");
    let address = site.path("notify");
    let socket = UnixDatagram::bind(&address).unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let daemon = site.daemon_with(|command| {
        command.env("NOTIFY_SOCKET", &address);
    });
    let mut message = [0; 64];
    let count = socket.recv(&mut message).unwrap();
    assert_eq!(&message[..count], b"READY=1");
    assert!(daemon.terminate().success());
    let count = socket.recv(&mut message).unwrap();
    assert_eq!(&message[..count], b"STOPPING=1");
}

/// Runs `witvirt` as another user.
fn as_nobody(site: &Site, arguments: &[&str]) -> std::process::Output {
    Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(site.path("witvirt"))
        .args(["--socket", site.socket().to_str().unwrap()])
        .args(arguments)
        .env("WITVIRT_CONFIG", site.config())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn site_for_others(api: &str) -> Site {
    let site = Site::new(&format!("[api]\nsocket-mode = \"0666\"\n{api}"));
    // The build directory may be closed to others.
    std::fs::copy(env!("CARGO_BIN_EXE_witvirt"), site.path("witvirt")).unwrap();
    set_mode(&site.path("witvirt"), 0o755);
    set_mode(&site.config(), 0o644);
    site
}

#[test]
fn the_kernel_says_who_calls_and_the_config_what_they_may() {
    if !can_be_somebody_else() {
        return;
    }
    let site = site_for_others("");
    let daemon = site.daemon();
    site.run(&["create", &site.machine("a", "")]);
    let output = as_nobody(&site, &["ps"]);
    assert_eq!(output.status.code(), Some(5), "{}", error(&output));
    assert!(error(&output).contains("user 65534 may not look"), "{}", error(&output));
    assert!(site.log().contains("denied uid=65534"), "{}", site.log());
    drop(daemon);

    let site = site_for_others("read-uids = [65534]");
    let _daemon = site.daemon();
    site.run(&["create", &site.machine("a", "")]);
    let output = as_nobody(&site, &["ps"]);
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("defined"),
        "{}",
        error(&output)
    );
    for refused in [&["start", "a"][..], &["rm", "a"], &["console", "a"], &["plugin", "reload"]] {
        let output = as_nobody(&site, refused);
        assert_eq!(output.status.code(), Some(5), "{refused:?}: {}", error(&output));
    }
}

#[test]
fn socket_permissions_hold_from_the_first_moment() {
    if !can_be_somebody_else() {
        return;
    }
    let site = site_for_others("");
    site.write_config("[api]\nsocket-mode = \"0600\"\nothers = \"full\"");
    let _daemon = site.daemon();
    let mode = std::os::unix::fs::PermissionsExt::mode(&site.socket().metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let output = as_nobody(&site, &["ps"]);
    assert_eq!(output.status.code(), Some(5), "{}", error(&output));
    assert!(error(&output).contains("no permission to connect"), "{}", error(&output));
}

fn policy_entry(site: &Site, more: &str) -> String {
    format!(
        "[[plugin]]\nname = \"capacity\"\nkind = \"device-policy\"\nfile = {:?}\n{more}",
        site.path("capacity.wasm")
    )
}

#[test]
fn a_failed_reload_leaves_the_old_revision_serving_and_says_so() {
    let Some(file) = plugin("policy-capacity") else { return };
    let site = Site::new("");
    std::fs::copy(&file, site.path("capacity.wasm")).unwrap();
    site.write_config(&policy_entry(&site, "settings = { machines = 1 }"));
    let daemon = site.daemon();
    let before = site.json(&["plugin", "inspect", "capacity"]);
    assert!(before.get("reload-error").is_none(), "{before}");

    std::fs::write(site.path("capacity.wasm"), "no component").unwrap();
    daemon.signal("HUP");
    let after = wait_for("the reload to fail", || {
        let after = site.json(&["plugin", "inspect", "capacity"]);
        after.get("reload-error").is_some().then_some(after)
    });
    assert_eq!(after["sha256"], before["sha256"]);
    assert!(after["reload-error"].as_str().unwrap().contains("capacity.wasm"), "{after}");
    assert!(site.run(&["plugin", "ls"]).contains("old revision serves"));
    let (code, message) = site.fail(&["plugin", "reload"]);
    assert_eq!((code, message.as_str()), (1, ""), "the failure is the result, on standard output");
    // It still judges.
    site.run(&["create", "--start", &site.machine("one", "")]);
    site.run(&["create", &site.machine("two", "")]);
    let (code, message) = site.fail(&["start", "two"]);
    assert_eq!(code, 4, "{message}");
    assert!(message.contains("policy capacity 0.1.0 refuses machine two"), "{message}");
    assert!(site.log().contains("verdict=\"deny\""), "{}", site.log());

    std::fs::copy(&file, site.path("capacity.wasm")).unwrap();
    site.write_config(&policy_entry(&site, "settings = { machines = 2 }"));
    daemon.signal("HUP");
    wait_for("the reload", || site.try_run(&["start", "two"]).status.success().then_some(()));
    assert!(site.json(&["plugin", "inspect", "capacity"]).get("reload-error").is_none());

    site.write_config("nonsense");
    let socket = site.socket();
    let reload = ["--socket", socket.to_str().unwrap(), "plugin", "reload"];
    let (code, message) = site.fail(&reload);
    assert_eq!(code, 1);
    assert!(message.contains("the old plugins go on serving"), "{message}");
    let listed = site.json(&["--socket", socket.to_str().unwrap(), "plugin", "ls"]);
    assert_eq!(listed[0]["name"], "capacity");
    assert!(listed[0]["reload-error"].as_str().unwrap().contains("witvirt.toml:6:9"), "{listed}");
}

#[test]
fn a_policy_in_monitor_mode_only_writes_to_the_log() {
    let Some(file) = plugin("policy-capacity") else { return };
    let site = Site::new("");
    std::fs::copy(file, site.path("capacity.wasm")).unwrap();
    site.write_config(&policy_entry(&site, "mode = \"monitor\"\nsettings = { machines = 0 }"));
    let _daemon = site.daemon();
    site.run(&["create", &site.machine("one", "")]);
    assert!(site.log().contains("verdict=\"deny\" binding=false"), "{}", site.log());
}

#[test]
fn a_plugin_changed_under_its_digest_is_refused() {
    let Some(file) = plugin("policy-capacity") else { return };
    let site = Site::new("");
    let mut bytes = std::fs::read(file).unwrap();
    std::fs::write(site.path("capacity.wasm"), &bytes).unwrap();
    let sum = Command::new("sha256sum").arg(site.path("capacity.wasm")).output().unwrap();
    let digest = String::from_utf8(sum.stdout).unwrap()[..64].to_owned();
    site.write_config(&policy_entry(&site, &format!("sha256 = \"{digest}\"")));
    site.run(&["config", "check"]);
    // One more custom section: the same behaviour, another file.
    bytes.extend_from_slice(&[0, 2, 1, b'x']);
    std::fs::write(site.path("capacity.wasm"), bytes).unwrap();
    for command in [&["config", "check"][..], &["daemon"]] {
        let (code, message) = site.fail(command);
        assert_eq!(code, 1);
        assert!(message.contains("plugin capacity:") && message.contains(&digest), "{message}");
    }
}

/// Status line and body of a request as it stands.
fn raw(site: &Site, request: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(site.socket()).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn wrong_requests_are_answered_with_json_and_the_right_status() {
    let site = Site::new("");
    let _daemon = site.daemon();
    for (method, path, body, status, kind) in [
        ("GET", "/v1/nothing", "", 404, "not-found"),
        ("GET", "/v2/machines", "", 404, "not-found"),
        ("PUT", "/v1/machines", "", 400, "invalid"),
        ("POST", "/v1/machines", "{", 400, "invalid"),
        ("POST", "/v1/machines", "{\"definition\": {\"spec\": {\"name\": \"../x\"}}}", 400, "invalid"),
        (
            "POST",
            "/v1/machines",
            "{\"definition\": {\"spec\": {\"name\": \"x\", \"memory\": 1}}}",
            400,
            "invalid",
        ),
        ("GET", "/v1/machines/a/wait?condition=happy", "", 400, "invalid"),
        ("GET", "/v1/machines/a/logs?since=yesterday", "", 400, "invalid"),
        ("GET", "/v1/machines/..%2Fx", "", 400, "invalid"),
        ("DELETE", "/v1/machines/a", "", 404, "not-found"),
        ("GET", "/v1/machines/a/console", "", 400, "invalid"),
        ("GET", "/v1/images/none", "", 404, "not-found"),
        ("GET", "/v1/plugins/none", "", 404, "not-found"),
        ("POST", "/v1/domain/convert", "{\"media-type\": \"text/x\", \"body\": \"\"}", 422, "refused"),
    ] {
        let (found, answer) = raw(&site, &request(method, path, body));
        assert_eq!(found, status, "{method} {path}: {answer}");
        let answer: Value =
            serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{method} {path}: {answer}"));
        assert_eq!(answer["kind"], kind, "{method} {path}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.len() > 5), "{answer}");
    }
    // Too long to be read at all: refused by its announced length or while it is read, and the daemon serves on.
    let long = format!("{{\"media-type\": \"x\", \"body\": \"{}\"}}", "x".repeat(5 << 20));
    assert_eq!(raw(&site, &request("POST", "/v1/domain/convert", &long)).0, 413);
    assert_eq!(raw(&site, "garbage\r\n\r\n").0, 400);
    assert_eq!(raw(&site, &request("GET", "/v1/machines", "")), (200, "[]".to_owned()));
}

#[test]
fn the_served_openapi_document_is_the_one_that_is_checked_in() {
    let site = Site::new("");
    let _daemon = site.daemon();
    let (status, body) = raw(&site, &request("GET", "/v1/openapi.json", ""));
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), witvirt::server::openapi());
}
