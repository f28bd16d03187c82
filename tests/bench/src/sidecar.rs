//! One hook as KubeVirt has hooks, and the same hook here.
//!
//! The peer is a process that serves KubeVirt's protocol on a unix socket and runs a program for each call, as its
//! `sidecar-shim` does. What is measured is the callback alone: the connection stands and the sidecar has said what it is
//! (KubeVirt connects anew for each call). The shim is ours and small, so the peer's is Go's runtime at its best.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use witvirt_core::ErrorKind;
use witvirt_core::domain::{Converter, DOMAIN_XML, Document};
use witvirt_core::plugin::PluginKind;
use witvirt_engine::{CompileCommand, Engine, EngineOptions, Plugin};
use witvirt_harness::root;
use witvirt_hooks::client::Sidecar;
use witvirt_hooks::cloud_init::CloudInitData;
use witvirt_hooks::protocol::Version;
use witvirt_hooks::server::{Bound, DomainCall, Face, Hooks, Identity, Limits, Refusal, Server, serve};

use crate::measure::{median, report, timed};
use crate::plugins::{COMPILE, entry};

/// The argument that makes this program the shim.
pub const SHIM: &str = "hook-shim";
/// The name under which this program is a hook.
pub const HOOK: &str = "onDefineDomain";

/// What hooks look like: a compiled one that does nothing but the change, the shell script of KubeVirt's user guide, and one
/// that parses the XML.
const PEERS: [(&str, Option<&str>); 3] = [
    ("a compiled program", None),
    (
        "a shell script",
        Some(
            "#!/bin/sh\nfile=$(mktemp)\necho \"$4\" > $file\n\
             sed -i \"/<interface/,/<\\/interface/s|<model type=\\\"[^\\\"]*\\\"|<model type=\\\"vmxnet3\\\"|\" $file\n\
             cat $file\nrm $file\n",
        ),
    ),
    (
        "a Python script",
        Some(
            "#!/usr/bin/python3\nimport sys\nimport xml.etree.ElementTree as ET\nroot = ET.fromstring(sys.argv[4])\n\
             for model in root.findall('devices/interface/model'):\n    model.set('type', 'vmxnet3')\n\
             sys.stdout.write(ET.tostring(root, encoding='unicode'))\n",
        ),
    ),
];
const CALLS: usize = 60;

/// Prints the medians and their ratios.
pub fn run() -> Result<()> {
    let body = fs::read_to_string(root().join("sdk/testkit/domains/kubevirt.xml"))?;
    let (ours, _cache) = hook()?;
    let input = Document { media_type: DOMAIN_XML.to_owned(), body };
    let convert = || -> Result<Duration> {
        let (time, outcome) = timed(|| Ok(ours.convert(&input, DOMAIN_XML, &json!({}))?))?;
        ensure!(outcome.document.body.contains("vmxnet3"), "the hook did nothing");
        Ok(time)
    };
    for _ in 0..200 {
        convert()?;
    }
    let directory = tempfile::Builder::new().prefix("wvb").tempdir_in("/tmp")?;
    for (index, (what, script)) in PEERS.into_iter().enumerate() {
        let place = directory.path().join(index.to_string());
        let Some(program) = program(&place, script)? else {
            report(&format!("one call of a sidecar that runs {what}"), "cannot be run here");
            continue;
        };
        let shim = Shim::start(&place.join("shim.sock"), &program)?;
        let mut times = (Vec::new(), Vec::new());
        shim.calls(&input.body, |call| {
            // By turns, each of ours beside one of theirs.
            times.0.push(convert()?);
            times.1.push(call);
            Ok(())
        })?;
        let (ours, theirs) = (median(times.0), median(times.1));
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        report(
            &format!("one call of a sidecar that runs {what}"),
            format!("{theirs:.1?}; in process {ours:.0?}: 1/{ratio:.0} (aim 1/100)"),
        );
    }
    Ok(())
}

/// hook-nic-model.
fn hook() -> Result<(Arc<dyn Converter>, tempfile::TempDir)> {
    let cache = tempfile::tempdir()?;
    let command = CompileCommand { program: std::env::current_exe()?, arguments: vec![COMPILE.into()] };
    let engine = Engine::new(EngineOptions::new(cache.path().join("cwasm"), command))?;
    match engine.load(&entry("hook-nic-model", PluginKind::DomainConverter)?)?.plugin {
        Plugin::Converter(converter) => Ok((converter, cache)),
        _ => bail!("hook-nic-model is no converter"),
    }
}

/// A file that can be run; `None` where what it is written in is not here.
fn program(place: &Path, script: Option<&str>) -> Result<Option<PathBuf>> {
    fs::create_dir(place)?;
    let file = place.join(HOOK);
    let Some(script) = script else {
        std::os::unix::fs::symlink(std::env::current_exe()?, &file)?;
        return Ok(Some(file));
    };
    let interpreter =
        script.lines().next().and_then(|line| line.strip_prefix("#!")).context("no first line")?;
    fs::write(&file, script)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(Path::new(interpreter).exists().then_some(file))
}

/// A process that serves a hook.
struct Shim {
    child: Child,
    socket: PathBuf,
}

impl Shim {
    fn start(socket: &Path, program: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SHIM).args([socket, program]).stdin(Stdio::null());
        let shim = Self { child: command.spawn()?, socket: socket.to_owned() };
        let began = Instant::now();
        while !socket.exists() {
            ensure!(began.elapsed() < Duration::from_secs(30), "the shim does not serve");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(shim)
    }

    /// Calls it again and again on one connection, and tells how long each call took.
    fn calls(&self, domain: &str, mut tell: impl FnMut(Duration) -> Result<()>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let sidecar = Sidecar::discover(&self.socket).await?;
            for _ in 0..CALLS {
                let began = Instant::now();
                let edited = sidecar.on_define_domain(domain, "{}", Duration::from_secs(60)).await?;
                let time = began.elapsed();
                ensure!(edited.contains("vmxnet3"), "the sidecar did nothing: {edited}");
                tell(time)?;
            }
            Ok(())
        })
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program for each call.
struct Exec(PathBuf);

impl Hooks for Exec {
    fn define_domain(&self, call: &DomainCall) -> Result<String, Refusal> {
        let failed = |message: String| Refusal { kind: ErrorKind::Other, message };
        let output = Command::new(&self.0)
            .args(["--vmi", &call.vmi, "--domain", &call.domain])
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(output.status.to_string()));
        }
        String::from_utf8(output.stdout).map_err(|error| failed(error.to_string()))
    }

    fn edits_cloud_init(&self) -> bool {
        false
    }

    fn cloud_init(&self, data: CloudInitData, _: &str) -> Result<CloudInitData, Refusal> {
        Ok(data)
    }
}

/// Serves until it is killed: this program as the shim.
pub fn shim(arguments: &[String]) -> Result<()> {
    let [socket, program] = arguments else { bail!("{SHIM} takes a socket and a program") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let bound = Bound::bind(Path::new(socket), 0o600)?;
        let server = Server::new(Arc::new(Exec(program.into())), Limits::default());
        let identity = Identity { name: "shim".to_owned(), versions: vec![Version::V1Alpha2], priority: 0 };
        serve(bound, Face::Sidecar(identity), server).await;
        Ok(())
    })
}

/// The change without a parser: this program as the hook.
pub fn compiled(arguments: &[String]) -> Result<()> {
    let domain = arguments.get(3).context("no domain")?;
    let (before, rest) = domain.split_once("<interface").context("no interface")?;
    let (interface, after) = rest.split_once("</interface>").context("an interface without end")?;
    let (head, tail) = interface.split_once("<model type=\"").context("no model")?;
    let (_, tail) = tail.split_once('"').context("a model without end")?;
    print!("{before}<interface{head}<model type=\"vmxnet3\"{tail}</interface>{after}");
    Ok(())
}
