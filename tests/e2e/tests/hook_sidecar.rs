//! `witvirt hook-sidecar` as the sidecar of somebody else's launcher, with the config and the image of
//! examples/kubevirt-sidecar.
#![allow(missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use witvirt_harness::host::{kill, wait_for};
use witvirt_harness::kubevirt::Peers;
use witvirt_harness::macos::{ANNOTATIONS, OSK};
use witvirt_harness::{plugins, root, tools, witvirt};

/// A sidecar process. Dropped, it is killed.
struct Sidecar {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Sidecar {
    /// Starts it and waits until it serves.
    fn start(command: &mut Command) -> Result<Self> {
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot run witvirt")?;
        let log = BufReader::new(child.stderr.take().context("no standard error")?);
        let mut sidecar = Self { child, log };
        sidecar.read_until("ready")?;
        Ok(sidecar)
    }

    /// The next record of its log with this message.
    fn read_until(&mut self, message: &str) -> Result<Value> {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            ensure!(
                self.log.read_line(&mut line)? > 0,
                "the sidecar ended before it said {message:?}:\n{seen}"
            );
            let record: Value = serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))?;
            if record["message"].as_str().is_some_and(|text| text.contains(message)) {
                return Ok(record);
            }
            seen += &line;
        }
    }

    /// Waits for its own end.
    fn wait(mut self) -> Result<()> {
        let status = wait_for("the sidecar to end", || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "the sidecar ended with {status}");
        Ok(())
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example's config with files of this build, and a key where `osk`.
fn config(peers: &Peers, osk: bool) -> Result<PathBuf> {
    let text = fs::read_to_string(root().join("examples/kubevirt-sidecar/witvirt.toml"))?;
    let mut text = text
        .replace("/usr/lib/witvirt", &plugins().to_string_lossy())
        .replace("/var/cache/witvirt", &root().join("target/cwasm").to_string_lossy());
    if osk {
        text = text.replace("# settings = { osk = \"...\" }", &format!("settings = {{ osk = \"{OSK}\" }}"));
    }
    let path = peers.path(if osk { "witvirt.toml" } else { "keyless.toml" });
    fs::write(&path, text)?;
    Ok(path)
}

fn command(config: &Path) -> Command {
    let mut command = Command::new(witvirt());
    command
        .args(["hook-sidecar", "--pipeline", "macos", "--config"])
        .arg(config)
        .env_remove("CONTAINER_NAME");
    command
}

/// A command as KubeVirt starts it: with a directory and a name of the container.
fn contained(peers: &Peers, config: &Path, container: &str) -> Result<Command> {
    let directory = peers.path("sockets").join(container);
    fs::create_dir_all(&directory)?;
    let mut command = command(config);
    command.arg("--socket-directory").arg(directory).env("CONTAINER_NAME", container);
    Ok(command)
}

fn domain() -> Result<String> {
    Ok(fs::read_to_string(root().join("sdk/testkit/domains/kubevirt.xml"))?)
}

fn vmi() -> Value {
    let annotations: Value =
        ANNOTATIONS.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({
        "kind": "VirtualMachineInstance", "apiVersion": "kubevirt.io/v1",
        "metadata": { "name": "osx-1", "namespace": "default", "annotations": annotations, "creationTimestamp": null },
        "spec": { "domain": {} },
    })
}

fn job(peers: &Peers, count: usize) -> Result<Value> {
    Ok(json!({ "directory": peers.path("sockets"), "count": count, "domain": domain()?, "vmi": vmi() }))
}

fn has_the_hooks_edits(domain: &str) {
    for part in [
        "isa-applesmc,osk=",
        "Penryn,kvm=on",
        "OVMF_CODE.fd",
        "OVMF_VARS.fd",
        "vmxnet3",
        "piix3-uhci",
        "5900",
    ] {
        assert!(domain.contains(part), "{part} is missing in {domain}");
    }
    // And what no hook knows is still there.
    for part in ["<entry>io.example:one</entry>", "LD_PRELOAD", "<mtu size=\"1480\"></mtu>"] {
        assert!(domain.contains(part), "{part} is lost in {domain}");
    }
}

#[test]
fn a_launcher_runs_the_macos_hooks() -> Result<()> {
    let Some(peers) = Peers::find() else { return Ok(()) };
    let config = config(&peers, true)?;
    // Two of the same image, as nobody could have before.
    let mut first = Sidecar::start(&mut contained(&peers, &config, "hook-sidecar-0")?)?;
    let second = Sidecar::start(&mut contained(&peers, &config, "hook-sidecar-1")?)?;
    let mut job = job(&peers, 2)?;
    job["shutdown"] = json!(true);
    job["cloud-init"] = json!({ "UserData": "x", "NoCloudMetaData": {} });
    let report = peers.launcher(&job)?;
    assert_eq!(report["error"], Value::Null, "{report}");
    for sidecar in report["sidecars"].as_array().context("no sidecars")? {
        assert_eq!((&sidecar["name"], &sidecar["version"]), (&json!("witvirt"), &json!("v1alpha3")));
        assert_eq!(
            sidecar["points"],
            json!({ "OnDefineDomain": 0, "Shutdown": 0 }),
            "no hook edits cloud-init"
        );
    }
    has_the_hooks_edits(report["domain"].as_str().context("no domain")?);
    assert_eq!(report["cloud-init"]["UserData"], "x");
    assert_eq!(first.read_until("a domain is defined")?["machine"], "osx-1");
    first.read_until("the machine has ended")?;
    first.wait()?;
    second.wait()?;
    for container in ["hook-sidecar-0", "hook-sidecar-1"] {
        assert_eq!(
            fs::read_dir(peers.path("sockets").join(container))?.count(),
            0,
            "the socket of {container} is left"
        );
    }
    Ok(())
}

#[test]
fn the_launcher_is_told_which_plugin_refuses() -> Result<()> {
    let Some(peers) = Peers::find() else { return Ok(()) };
    let _sidecar = Sidecar::start(&mut contained(&peers, &config(&peers, false)?, "hook-sidecar-0")?)?;
    let report = peers.launcher(&job(&peers, 1)?)?;
    let message = report["error"]["message"].as_str().with_context(|| report.to_string())?;
    assert!(message.starts_with("plugin hook-board 0.1.0: "), "{message}");
    assert!(message.contains("osk"), "{message}");
    Ok(())
}

#[test]
fn a_container_that_starts_again_takes_its_old_name() -> Result<()> {
    let Some(peers) = Peers::find() else { return Ok(()) };
    let mut command = contained(&peers, &config(&peers, true)?, "hook-sidecar-0")?;
    let socket = peers.path("sockets/hook-sidecar-0/witvirt-hook-sidecar-0.sock");
    drop(Sidecar::start(&mut command)?);
    assert!(fs::metadata(&socket)?.file_type().is_socket(), "it was killed and could not clean up");
    let sidecar = Sidecar::start(&mut command)?;
    assert_eq!(fs::metadata(&socket)?.permissions().mode() & 0o777, 0o666);
    let report = peers.launcher(&job(&peers, 1)?)?;
    assert_eq!(report["sidecars"][0]["socket"], json!(socket), "{report}");
    kill(sidecar.child.id(), "TERM");
    sidecar.wait()?;
    assert!(!socket.exists());
    Ok(())
}

#[test]
fn versions_are_what_was_asked_for() -> Result<()> {
    let Some(peers) = Peers::find() else { return Ok(()) };
    let mut command = contained(&peers, &config(&peers, true)?, "hook-sidecar-0")?;
    command
        .args(["--versions", "v1alpha1", "--name", "osx-hook", "--priority", "1"])
        .env_remove("CONTAINER_NAME");
    let _sidecar = Sidecar::start(&mut command)?;
    let report = peers.launcher(&job(&peers, 1)?)?;
    let sidecar = &report["sidecars"][0];
    assert_eq!(sidecar["versions"], json!(["v1alpha1"]));
    assert_eq!((&sidecar["name"], &sidecar["points"]), (&json!("osx-hook"), &json!({ "OnDefineDomain": 1 })));
    has_the_hooks_edits(report["domain"].as_str().context("no domain")?);
    Ok(())
}

#[test]
fn structured_plugins_are_the_same_hooks() -> Result<()> {
    let Some(peers) = Peers::find() else { return Ok(()) };
    let socket = peers.path("hook.sock");
    let mut command = command(&config(&peers, true)?);
    let _sidecar = Sidecar::start(command.arg("--mutate-domain-socket").arg(&socket))?;
    let mutate = json!({ "socket": socket, "type": "libvirt", "context": "Boot" });
    let report = peers.launcher(&json!({ "mutate": mutate, "domain": domain()?, "vmi": vmi() }))?;
    has_the_hooks_edits(report["mutated"].as_str().with_context(|| report.to_string())?);
    Ok(())
}

/// The image's file system, read-only, as the image's user, without privileges.
#[test]
fn the_image_needs_nothing_but_its_socket() -> Result<()> {
    let Some(peers) = Peers::find() else { return Ok(()) };
    let is_root = tools::run(Command::new("id").arg("-u"))?.trim() == "0";
    if !is_root || ["unshare", "setpriv", "strip"].iter().any(|program| tools::find(program).is_none()) {
        println!("skipped: it takes root, unshare, setpriv and strip to lay out an image and enter it");
        return Ok(());
    }
    let keyed = fs::read_to_string(config(&peers, true)?)?
        .replace(&*plugins().to_string_lossy(), "/usr/lib/witvirt")
        .replace(&*root().join("target/cwasm").to_string_lossy(), "/var/cache/witvirt");
    fs::write(peers.path("image.toml"), keyed)?;
    let image = peers.path("image");
    fs::set_permissions(peers.path(""), fs::Permissions::from_mode(0o711))?;
    let mut layout = Command::new(root().join("examples/kubevirt-sidecar/image.sh"));
    layout.arg(&image).current_dir(root()).env("WITVIRT_CONFIG", peers.path("image.toml"));
    tools::run(&mut layout)?;
    let sockets = peers.path("sockets/hook-sidecar-0");
    fs::create_dir_all(&sockets)?;
    fs::set_permissions(&sockets, fs::Permissions::from_mode(0o777))?;
    fs::create_dir(image.join("proc"))?;
    let enter = "mount --bind $0 $0 && mount --bind $1 $0/var/run/kubevirt-hooks && mount -t proc proc $0/proc && \
                 mount -o remount,bind,ro $0 && \
                 exec setpriv --no-new-privs --bounding-set -all,+setuid,+setgid,+sys_chroot \
                 chroot --userspec=107:107 --groups= $0 /usr/bin/witvirt hook-sidecar \
                 --config /etc/witvirt/witvirt.toml --pipeline macos";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--net", "sh", "-c", enter])
        .args([&image, &sockets])
        .env("CONTAINER_NAME", "hook-sidecar-0");
    let sidecar = Sidecar::start(&mut command)?;
    let report = peers.launcher(&job(&peers, 1)?)?;
    has_the_hooks_edits(report["domain"].as_str().with_context(|| report.to_string())?);
    drop(sidecar);
    Ok(())
}
