//! Artifacts made of files, and a registry that has them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use witvirt_harness::host::wait_for;
use witvirt_harness::tools;

/// Debian's docker-registry behind a slow line, whose port stays the same when it is cut.
pub struct Registry {
    _directory: tempfile::TempDir,
    /// Of the registry itself.
    behind: SocketAddr,
    /// Of the line to it.
    address: SocketAddr,
    process: Child,
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

/// Bytes a second over each connection: slower than a guest reads.
const RATE: u64 = 4 << 20;

impl Registry {
    /// `None`, with the reason printed, where a program is missing.
    pub fn start() -> Result<Option<Self>> {
        for program in ["docker-registry", "skopeo"] {
            if tools::find(program).is_none() {
                println!("skipped: {program} is not installed");
                return Ok(None);
            }
        }
        let directory = tempfile::tempdir()?;
        let behind = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {behind}\n",
            directory.path().join("data").display()
        );
        fs::write(directory.path().join("config.yml"), config)?;
        let program = tools::find("docker-registry").context("no docker-registry")?;
        let mut command = Command::new(program);
        command.arg("serve").arg(directory.path().join("config.yml"));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let line = TcpListener::bind("127.0.0.1:0")?;
        let address = line.local_addr()?;
        let open = Arc::new(Mutex::new(Some(Vec::new())));
        let registry = Self { _directory: directory, behind, address, process, open: Arc::clone(&open) };
        wait_for("the registry to listen", || Ok(TcpStream::connect(behind).ok()))?;
        std::thread::spawn(move || {
            for client in line.incoming().map_while(std::result::Result::ok) {
                // Cut, it takes connections and closes them.
                let Some(open) = &mut *open.lock().unwrap_or_else(PoisonError::into_inner) else { continue };
                let Ok(server) = TcpStream::connect(behind) else { continue };
                for (from, to, rate) in [(&client, &server, 0), (&server, &client, RATE)] {
                    if let (Ok(from), Ok(to), Ok(kept)) = (from.try_clone(), to.try_clone(), from.try_clone())
                    {
                        open.push(kept);
                        std::thread::spawn(move || pass_on(from, to, rate));
                    }
                }
            }
        });
        Ok(Some(registry))
    }

    /// What a daemon's config needs to read from it.
    pub fn config(&self) -> String {
        let plugin = |name: &str| {
            let file = witvirt_harness::plugins().join(format!("{name}.wasm"));
            format!("[[plugin]]\nname = \"{name}\"\nkind = \"artifact-layout\"\nfile = {file:?}\n")
        };
        let plugins = ["artifact-containerdisk", "artifact-tart"].map(plugin).concat();
        format!("[registry.\"{}\"]\nplain-http = true\n{plugins}", self.address)
    }

    pub fn url(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.address)
    }

    /// Mends the line.
    pub fn up(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get_or_insert_default();
    }

    /// Cuts the line.
    pub fn stop(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        for stream in open.into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Puts an artifact there by skopeo, its layers as they are, or as skopeo packs them.
    pub fn push(&self, artifact: &Artifact, name: &str, packed: bool) -> Result<()> {
        let layout = artifact.finish()?;
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--dest-tls-verify=false"]);
        if !packed {
            command.arg("--preserve-digests");
        }
        command.arg(format!("oci:{}:image", layout.display()));
        tools::run(command.arg(format!("docker://{}/{name}", self.behind)))?;
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Copies until one end is gone, at most `rate` bytes a second (0: as fast as it goes).
fn pass_on(mut from: TcpStream, mut to: TcpStream, rate: u64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        if rate > 0 {
            std::thread::sleep(Duration::from_secs_f64(count as f64 / rate as f64));
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// An artifact in the making, as a directory in the OCI layout.
pub struct Artifact {
    directory: tempfile::TempDir,
    config: Value,
    layers: Vec<Value>,
}

impl Artifact {
    /// With a config of these bytes.
    pub fn new(config: &Value) -> Result<Self> {
        let mut artifact = Self { directory: tempfile::tempdir()?, config: Value::Null, layers: Vec::new() };
        fs::create_dir_all(artifact.directory.path().join("blobs/sha256"))?;
        let media_type = "application/vnd.oci.image.config.v1+json";
        artifact.config = artifact.blob(media_type, config.to_string().as_bytes())?;
        Ok(artifact)
    }

    /// A layer of these bytes, with annotations.
    pub fn layer(&mut self, media_type: &str, bytes: &[u8], annotations: Value) -> Result<()> {
        let mut layer = self.blob(media_type, bytes)?;
        if !annotations.is_null() {
            layer["annotations"] = annotations;
        }
        self.layers.push(layer);
        Ok(())
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = sha256(bytes)?;
        fs::write(self.directory.path().join("blobs/sha256").join(&digest), bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() }))
    }

    fn finish(&self) -> Result<PathBuf> {
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type, "config": self.config, "layers": self.layers,
        });
        let mut described = self.blob(media_type, manifest.to_string().as_bytes())?;
        described["annotations"] = json!({ "org.opencontainers.image.ref.name": "image" });
        let directory = self.directory.path();
        fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let index = json!({ "schemaVersion": 2, "manifests": [described] });
        fs::write(directory.join("index.json"), index.to_string())?;
        Ok(directory.to_owned())
    }
}

/// A containerDisk of one layer: a tar with the disk, after something else.
pub fn container_disk(disk: &Path) -> Result<Artifact> {
    let directory = tempfile::tempdir()?;
    fs::create_dir(directory.path().join("disk"))?;
    fs::write(directory.path().join("motd"), "something else first\n")?;
    fs::hard_link(disk, directory.path().join("disk/vm.qcow2"))
        .or_else(|_| fs::copy(disk, directory.path().join("disk/vm.qcow2")).map(drop))?;
    let tar = directory.path().join("layer.tar");
    tools::run(
        Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(directory.path()).args(["motd", "disk"]),
    )?;
    let layer = fs::read(&tar)?;
    let ids = json!([format!("sha256:{}", sha256(&layer)?)]);
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let mut artifact = Artifact::new(&config)?;
    artifact.layer("application/vnd.oci.image.layer.v1.tar", &layer, Value::Null)?;
    Ok(artifact)
}

/// A machine as tart pushes it, its raw disk in chunks of `chunk` bytes. The blocks of its framing are stored ones.
pub fn tart(raw: &Path, chunk: u64) -> Result<Artifact> {
    let mut artifact = Artifact::new(&json!({ "architecture": "amd64", "os": "linux", "config": {} }))?;
    let machine = json!({ "version": 1, "os": "linux", "arch": "amd64", "cpuCount": 1, "diskFormat": "raw" });
    let type_of = |what: &str| format!("application/vnd.cirruslabs.tart.{what}");
    artifact.layer(&type_of("config.v1"), machine.to_string().as_bytes(), Value::Null)?;
    let mut file = File::open(raw)?;
    loop {
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(chunk).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            break;
        }
        let mut framed = Vec::with_capacity(bytes.len() + (bytes.len() >> 10));
        for block in bytes.chunks(64 << 10) {
            framed.write_all(b"bv4-")?;
            framed.write_all(&(block.len() as u32).to_le_bytes())?;
            framed.write_all(block)?;
        }
        framed.write_all(b"bv4$")?;
        let annotations = json!({
            "org.cirruslabs.tart.uncompressed-size": bytes.len().to_string(),
            "org.cirruslabs.tart.uncompressed-content-digest": format!("sha256:{}", sha256(&bytes)?),
        });
        artifact.layer(&type_of("disk.v2"), &framed, annotations)?;
    }
    artifact.layer(&type_of("nvram.v1"), b"nothing", Value::Null)?;
    Ok(artifact)
}

fn sha256(bytes: &[u8]) -> Result<String> {
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("no input")?.write_all(bytes)?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    match text.split(' ').next() {
        Some(sum) if sum.len() == 64 => Ok(sum.to_owned()),
        _ => bail!("sha256sum said {text}"),
    }
}
