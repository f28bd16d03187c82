//! From a registry to a disk that boots, against what people put together for it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use witvirt_harness::host::wait_for;
use witvirt_harness::tools;

use super::RUNS;
use super::convert::{Bench, fresh};
use super::format::Format;
use super::source::LARGE;
use crate::measure::{median, timed};

/// Debian's docker-registry, on loopback.
pub struct Registry {
    process: Child,
    /// Its host and port.
    pub host: String,
    _directory: tempfile::TempDir,
}

/// A containerDisk with the image in a gzipped layer: `image import` over skopeo, tar and qemu-img.
pub fn run(directory: &Path, format: &Format) -> Result<()> {
    let registry = Registry::start(directory)?;
    let layer = push(&registry, directory, format)?;
    let bench = Bench::new(directory, &registry.config())?;
    let _daemon = bench.host.daemon()?;
    let work = tempfile::tempdir_in(directory)?;
    let script = format!(
        "set -e; rm -rf pulled disk disk.raw; \
         skopeo --insecure-policy copy --quiet --src-tls-verify=false docker://{}/disk:1 dir:pulled; \
         tar -xzf pulled/{layer}; qemu-img convert -f qcow2 -O raw disk/disk.qcow2 disk.raw; sync disk.raw",
        registry.host
    );
    let reference = format!("docker://{}/disk:1", registry.host);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        fresh(&work.path().join("disk.raw"))?;
        let import = ["image", "import", &reference, "--name", "pulled"];
        ours.push(timed(|| bench.host.run(&import))?.0);
        bench.host.run(&["image", "rm", "pulled", "--force"])?;
        fresh(&work.path().join("disk.raw"))?;
        let mut shell = Command::new("sh");
        theirs.push(timed(|| tools::run(shell.args(["-c", &script]).current_dir(work.path())))?.0);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "  {:<31} {:>6.2}x (aim 3.0x; {ours:.2?}, skopeo + tar + qemu-img {theirs:.2?}; all flush)",
        format!("registry -> disk, {}", format.name),
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
    Ok(())
}

impl Registry {
    /// With its blobs below `directory`.
    pub fn start(directory: &Path) -> Result<Self> {
        let directory = tempfile::tempdir_in(directory)?;
        // Free at this moment; the registry cannot be asked for its port.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let file = directory.path().join("config.yml");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}/data}}\nhttp:\n  addr: {address}\n",
            directory.path().display()
        );
        fs::write(&file, config)?;
        let program = tools::find("docker-registry").context("no docker-registry")?;
        let mut command = Command::new(program);
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut registry =
            Self { process: command.spawn()?, host: address.to_string(), _directory: directory };
        wait_for("the registry to listen", || {
            ensure!(registry.process.try_wait()?.is_none(), "the registry ended");
            Ok(std::net::TcpStream::connect(address).ok())
        })?;
        Ok(registry)
    }

    /// The end of a host's config that knows it.
    pub fn config(&self) -> String {
        format!("[registry.{:?}]\nplain-http = true\n", self.host)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Pushes `disk:1`; the layer's digest in hexadecimal digits.
fn push(registry: &Registry, directory: &Path, format: &Format) -> Result<String> {
    let layer = LARGE.image(directory, &format!("{}.tar.gz", format.name), |_, target| {
        let image = format.image(&LARGE, directory)?;
        let tree = tempfile::tempdir_in(directory)?;
        fs::create_dir(tree.path().join("disk"))?;
        fs::hard_link(image, tree.path().join("disk/disk.qcow2"))?;
        let script = "tar --owner=107 --group=107 -c disk | gzip -1 -n > \"$0\"";
        let mut shell = Command::new("sh");
        tools::run(shell.args(["-c", script]).arg(target).current_dir(tree.path())).map(drop)
    })?;
    let content = tools::run(Command::new("sh").args(["-c", "zcat \"$0\" | sha256sum"]).arg(&layer))?;
    let content = content.split_whitespace().next().unwrap_or_default();
    let layout = tempfile::tempdir_in(directory)?;
    let blobs = Blobs { directory: layout.path().join("blobs/sha256") };
    fs::create_dir_all(&blobs.directory)?;
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{content}")] },
    });
    let config = blobs.add("application/vnd.oci.image.config.v1+json", |file| {
        fs::write(file, config.to_string()).map_err(Into::into)
    })?;
    let layer = blobs.add("application/vnd.oci.image.layer.v1.tar+gzip", |file| {
        fs::hard_link(&layer, file).map_err(Into::into)
    })?;
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    let mut manifest = blobs.add("application/vnd.oci.image.manifest.v1+json", |file| {
        fs::write(file, manifest.to_string()).map_err(Into::into)
    })?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "image" });
    fs::write(layout.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(layout.path().join("index.json"), index.to_string())?;
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]);
    skopeo.arg(format!("oci:{}:image", layout.path().display()));
    tools::run(skopeo.arg(format!("docker://{}/disk:1", registry.host)))?;
    let digest = layer["digest"].as_str().unwrap_or_default();
    Ok(digest.trim_start_matches("sha256:").to_owned())
}

/// The blobs of an OCI image layout.
struct Blobs {
    directory: PathBuf,
}

impl Blobs {
    /// Adds what `make` writes; its descriptor.
    fn add(&self, media_type: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<serde_json::Value> {
        let file = self.directory.join("new");
        make(&file)?;
        let sum = tools::run(Command::new("sha256sum").arg(&file))?;
        let sum = sum.split_whitespace().next().context("sha256sum says nothing")?;
        fs::rename(&file, self.directory.join(sum))?;
        let size = fs::metadata(self.directory.join(sum))?.len();
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{sum}"), "size": size }))
    }
}
