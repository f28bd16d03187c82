//! Debian's docker-registry on loopback, with skopeo as the other client, and a proxy before it that counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::oci::Layout;
use crate::tools::{find, run};

/// A registry process of a test's own. Dropped, it ends.
pub struct Registry {
    process: Child,
    host: String,
    directory: tempfile::TempDir,
}

/// What a test wants of its registry.
#[derive(Default)]
pub struct Wanted<'a> {
    /// The user that may come in, and the password.
    pub login: Option<(&'a str, &'a str)>,
    /// PEM of the certificate and of its key: https then.
    pub tls: Option<(&'a str, &'a str)>,
    /// Where tokens come from, and a certificate (PEM) that none of them is signed with: what counts is how they are asked
    /// for.
    pub tokens: Option<(String, &'a str)>,
}

impl Registry {
    /// `None`, with the reason printed, where the programs are not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(wanted: &Wanted<'_>) -> Result<Option<Self>> {
        for program in ["docker-registry", "skopeo", "htpasswd"] {
            if find(program).is_none() {
                eprintln!("skipped: {program} is not installed");
                return Ok(None);
            }
        }
        let directory = tempfile::tempdir()?;
        // The port may be somebody else's by the time the registry wants it.
        for _ in 0..5 {
            let port = free_port()?;
            let file = directory.path().join("config.yml");
            fs::write(&file, config(directory.path(), port, wanted)?)?;
            let mut process = Command::new(find("docker-registry").context("docker-registry is gone")?)
                .arg("serve")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            let host = format!("127.0.0.1:{port}");
            if listens(&mut process, &host)? {
                return Ok(Some(Self { process, host, directory }));
            }
        }
        bail!("the registry does not start")
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A directory of the test's own, gone with the registry.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Puts what `build` makes there as "name:tag", by skopeo with `options`.
    ///
    /// # Errors
    /// When skopeo fails.
    pub fn push(
        &self,
        name: &str,
        options: &[&str],
        build: impl FnOnce(&Layout) -> Result<Value>,
    ) -> Result<()> {
        let directory = tempfile::tempdir_in(self.directory())?;
        let layout = Layout::new(directory.path())?;
        layout.finish(&build(&layout)?)?;
        let mut command = Command::new("skopeo");
        // Without the digests preserved, it would compress layers.
        command
            .args(["--insecure-policy", "copy", "--all", "--preserve-digests", "--dest-tls-verify=false"])
            .args(options)
            .arg(layout.source())
            .arg(format!("docker://{}/{name}", self.host));
        run(&mut command).map(drop)
    }

    /// Fetches "name:tag" by skopeo: the manifest, and the directory with the blobs by the digits of their digests.
    ///
    /// # Errors
    /// When skopeo fails.
    pub fn pull(&self, name: &str, options: &[&str]) -> Result<(Value, PathBuf)> {
        let target = tempfile::tempdir_in(self.directory())?.keep();
        let mut command = Command::new("skopeo");
        command
            .args(["--insecure-policy", "copy", "--preserve-digests", "--src-tls-verify=false"])
            .args(options)
            .arg(format!("docker://{}/{name}", self.host))
            .arg(format!("dir:{}", target.display()));
        run(&mut command)?;
        Ok((serde_json::from_slice(&fs::read(target.join("manifest.json"))?)?, target))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port on loopback that was free a moment ago.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn config(directory: &Path, port: u16, wanted: &Wanted<'_>) -> Result<String> {
    let write = |name: &str, text: &str| -> Result<String> {
        let path = directory.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let mut config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}/data}}\nhttp:\n  addr: 127.0.0.1:{port}\n",
        directory.display()
    );
    if let Some((certificate, key)) = wanted.tls {
        let (certificate, key) = (write("cert.pem", certificate)?, write("key.pem", key)?);
        config += &format!("  tls: {{certificate: {certificate}, key: {key}}}\n");
    }
    if let Some((user, password)) = wanted.login {
        // The registry takes bcrypt alone.
        let file = write("htpasswd", &run(Command::new("htpasswd").args(["-Bbn", user, password]))?)?;
        config += &format!("auth:\n  htpasswd: {{realm: test, path: {file}}}\n");
    }
    if let Some((realm, certificate)) = &wanted.tokens {
        let bundle = write("bundle.pem", certificate)?;
        config += &format!(
            "auth:\n  token: {{realm: \"{realm}\", service: test, issuer: test, rootcertbundle: {bundle}}}\n"
        );
    }
    Ok(config)
}

/// Waits until it listens; false when it ended instead.
fn listens(process: &mut Child, host: &str) -> Result<bool> {
    let start = Instant::now();
    while std::net::TcpStream::connect(host).is_err() {
        if process.try_wait()?.is_some() {
            return Ok(false);
        }
        ensure!(start.elapsed() < crate::host::PATIENCE, "the registry does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}
