//! Credential helpers: programs named docker-credential-NAME that are asked on standard input and answer with JSON
//! (the protocol of docker-credential-helpers).
//!
//! They run without a shell, for a bounded time, in a process group of their own that is ended with them, and as much is read
//! of them as credentials are long. (The crate `docker_credential` waits for them without end.)

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use witvirt_disk::{Error, ErrorKind, Result};

use super::{Credential, Login, Secret};

/// Time for a helper to answer: some ask a server.
const DEADLINE: Duration = Duration::from_secs(30);

/// Longest answer in bytes.
const LONGEST: u64 = 64 << 10;

/// What every helper says, with a status of failure, when it has nothing for a server.
const NOT_FOUND: &str = "credentials not found in native keychain";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks the helper `name` for the credentials of `server`.
pub(super) async fn get(name: &str, server: &str) -> Result<Option<Credential>> {
    get_within(name, server, DEADLINE).await
}

async fn get_within(name: &str, server: &str, deadline: Duration) -> Result<Option<Credential>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(plain) {
        let message = format!("{} is no name of a credential helper", crate::label::quoted(name));
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let program = format!("docker-credential-{name}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Error::io(format!("run {program}"), error))?;
    let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32));
    let result = tokio::time::timeout(deadline, converse(&mut child, server)).await;
    if !matches!(result, Ok(Ok((_, true))))
        && let Some(group) = group
        && child.try_wait().ok().flatten().is_none()
    {
        // Not waited for yet, so the number is still its own.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = child.wait().await;
    }
    let (output, ended) = match result {
        Err(_) => {
            let message = format!("{program} gave no answer within {} s", deadline.as_secs_f32());
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        Ok(Err(error)) => return Err(Error::io(format!("talk to {program}"), error)),
        Ok(Ok(answer)) => answer,
    };
    if !ended {
        return Err(Error::new(ErrorKind::Limit, format!("{program} wrote more than {LONGEST} bytes")));
    }
    let status = child.wait().await.map_err(|error| Error::io(format!("wait for {program}"), error))?;
    if !status.success() {
        // What it wrote is not shown: it may hold what it was asked for.
        return if String::from_utf8_lossy(&output).contains(NOT_FOUND) {
            Ok(None)
        } else {
            Err(Error::new(ErrorKind::Denied, format!("{program} failed: {status}")))
        };
    }
    let answer: Answer = serde_json::from_slice(&output).map_err(|_| {
        Error::new(ErrorKind::Corrupt, format!("{program} answered with something that is no credentials"))
    })?;
    let secret = Secret::new(answer.secret);
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credential::Identity(secret),
        _ => Credential::Login(Login::Basic { user: answer.username, password: secret }),
    }))
}

/// What it wrote, and whether that was all.
async fn converse(child: &mut Child, server: &str) -> std::io::Result<(Vec<u8>, bool)> {
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::Error::other("no pipes"));
    };
    // One that does not read its input may still know the answer.
    let _ = input.write_all(server.as_bytes()).await;
    drop(input);
    let mut bytes = Vec::new();
    output.take(LONGEST + 1).read_to_end(&mut bytes).await?;
    let all = bytes.len() as u64 <= LONGEST;
    if all {
        child.wait().await?;
    }
    Ok((bytes, all))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    use witvirt_disk::ErrorKind;

    use super::{Credential, Login, Secret, get_within};

    /// Helpers are found by PATH, which is the process's: one test has them all.
    #[tokio::test]
    async fn helpers_answer_fail_and_hang() {
        let dir = tempfile::tempdir().unwrap();
        for (name, script) in [
            (
                "good",
                r#"read s; printf '{"ServerURL":"%s","Username":"joe-%s","Secret":"hunter2"}' "$s" "$1""#,
            ),
            ("token", r#"echo '{"ServerURL":"x","Username":"<token>","Secret":"idt"}'"#),
            ("none", "echo credentials not found in native keychain; exit 1"),
            ("fails", "echo hunter2; exit 3"),
            ("babbles", "echo hunter2"),
            ("floods", "while :; do echo hunter2hunter2hunter2hunter2; done"),
            ("hangs", "sleep 600 & sleep 600"),
        ] {
            let file = dir.path().join(format!("docker-credential-{name}"));
            std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let path = std::env::var("PATH").unwrap_or_default();
        // SAFETY: no other test of this program writes the environment, and std's readers of it take the same lock.
        unsafe { std::env::set_var("PATH", format!("{}:{path}", dir.path().display())) };
        let get = |name: &'static str| get_within(name, "registry.example", Duration::from_secs(10));
        let password = Secret::new("hunter2");
        let joe = Credential::Login(Login::Basic { user: "joe-get".into(), password });
        assert_eq!(get("good").await.unwrap(), Some(joe));
        assert_eq!(get("token").await.unwrap(), Some(Credential::Identity(Secret::new("idt"))));
        assert_eq!(get("none").await.unwrap(), None);
        for (name, kind) in [
            ("fails", ErrorKind::Denied),
            ("babbles", ErrorKind::Corrupt),
            ("floods", ErrorKind::Limit),
            ("absent", ErrorKind::NotFound),
            ("../evil", ErrorKind::InvalidInput),
        ] {
            let error = get(name).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{name}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let start = Instant::now();
        let error = get_within("hangs", "registry.example", Duration::from_millis(200)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
