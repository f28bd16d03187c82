//! Other people's ends of KubeVirt's hook protocol: a launcher and a sidecar on grpcio, with messages that protoc generates.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::tools;

const FILES: [(&str, &str); 8] = [
    ("wire.py", include_str!("kubevirt/wire.py")),
    ("launcher.py", include_str!("kubevirt/launcher.py")),
    ("sidecar.py", include_str!("kubevirt/sidecar.py")),
    ("proto/info.proto", include_str!("kubevirt/proto/info.proto")),
    ("proto/v1alpha1.proto", include_str!("kubevirt/proto/v1alpha1.proto")),
    ("proto/v1alpha2.proto", include_str!("kubevirt/proto/v1alpha2.proto")),
    ("proto/v1alpha3.proto", include_str!("kubevirt/proto/v1alpha3.proto")),
    ("proto/plugins.proto", include_str!("kubevirt/proto/plugins.proto")),
];
/// Debian's Python, whose packages apt installs, and whatever else is in PATH.
const PYTHONS: [&str; 2] = ["/usr/bin/python3", "python3"];

/// Programs that play the other end.
pub struct Peers {
    directory: tempfile::TempDir,
    python: &'static str,
}

impl Peers {
    /// `None` where they cannot run here, with the reason printed.
    pub fn find() -> Option<Self> {
        let able = |python: &&str| {
            let mut command = Command::new(python);
            command.args(["-c", "import grpc, google.protobuf"]).stdin(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let Some(python) = PYTHONS.into_iter().find(able) else {
            println!("skipped: no Python with grpcio; apt-get install python3-grpcio python3-protobuf");
            return None;
        };
        if tools::find("protoc").is_none() {
            println!("skipped: no protoc; apt-get install protobuf-compiler");
            return None;
        }
        let directory =
            tempfile::Builder::new().prefix("wvk").tempdir_in("/tmp").expect("a directory in /tmp");
        fs::create_dir(directory.path().join("proto")).expect("a new directory takes files");
        for (name, text) in FILES {
            fs::write(directory.path().join(name), text).expect("a new directory takes files");
        }
        Some(Self { directory, python })
    }

    /// A path below a directory that is removed with this, short enough for sockets.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(self.python);
        command.arg(self.path(script)).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Lets the launcher do a job; see launcher.py.
    pub fn launcher(&self, job: &Value) -> Result<Value> {
        let mut command = self.command("launcher.py");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run Python")?;
        let mut input = child.stdin.take().context("no standard input")?;
        input.write_all(job.to_string().as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "the launcher ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).context("the launcher's report")
    }

    /// Serves a sidecar of one version that runs programs of a directory; see sidecar.py.
    pub fn sidecar(&self, socket: &Path, version: &str, programs: &Path) -> Result<PeerSidecar> {
        let mut command = self.command("sidecar.py");
        command.arg(socket).args(["osx-hook", version]).arg(programs);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot run Python")?;
        let output = child.stdout.take().context("no standard output")?;
        let sidecar = PeerSidecar { child };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "serving\n", "the sidecar said {line:?}");
        Ok(sidecar)
    }

    /// A directory of shell scripts for [`Self::sidecar`]: names and bodies. `$2` is the VMI, `$4` what may be edited.
    pub fn scripts(&self, directory: &str, scripts: &[(&str, &str)]) -> Result<PathBuf> {
        let directory = self.path(directory);
        fs::create_dir(&directory)?;
        for (name, body) in scripts {
            let path = directory.join(name);
            fs::write(&path, format!("#!/bin/sh\n{body}\n"))?;
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
        Ok(directory)
    }
}

/// A sidecar process. Dropped, it is killed.
pub struct PeerSidecar {
    child: Child,
}

impl PeerSidecar {
    /// Waits for its own end.
    pub fn wait(mut self) -> Result<()> {
        let status = self.child.wait()?;
        ensure!(status.success(), "the sidecar ended with {status}");
        Ok(())
    }
}

impl Drop for PeerSidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
