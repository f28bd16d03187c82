//! A Debian guest that nobody has prepared finds its configuration on a disk that the host has built, and one can log in.
#![allow(missing_docs)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use witvirt_harness::debian;
use witvirt_harness::guest::Guest;
use witvirt_harness::host::{Host, wait_longer};
use witvirt_harness::tools;

/// An emulated Debian with cloud-init takes two minutes on two busy cores.
const BOOT: Duration = Duration::from_secs(900);

/// A host that may use the guest's files, with its root disk as image "debian".
struct Lab {
    host: Host,
    guest: Guest,
    key: PathBuf,
    port: u16,
}

impl Lab {
    fn new() -> Result<Self> {
        Self::with(debian::build()?, Host::new("")?)
    }

    fn with(guest: Guest, host: Host) -> Result<Self> {
        let key = host.path("key");
        let mut keygen = Command::new("ssh-keygen");
        tools::run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(&key))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self { host, guest, key, port })
    }

    fn import(&self) -> Result<()> {
        let root = self.guest.root.to_string_lossy();
        self.host.run(&["image", "import", &root, "--name", "debian", "--format", "raw"]).map(drop)
    }

    fn public_key(&self) -> Result<String> {
        Ok(fs::read_to_string(self.key.with_extension("pub"))?.trim().to_owned())
    }

    /// A machine as TOML: the guest, and a data disk.
    fn machine(&self, name: &str, disk: &str, label: &str, files: &[(&str, String)]) -> Result<PathBuf> {
        let mut text = format!(
            "name = \"{name}\"\nos = \"linux\"\nmemory = \"512MiB\"\n\
             [boot]\nkernel = {:?}\ninitrd = {:?}\ncmdline = {:?}\n\
             [[interfaces]]\nforwards = [{{ host-port = {}, guest-port = 22 }}]\n\
             [[disks]]\nname = \"root\"\nsource = {{ image = \"debian\" }}\n",
            self.guest.kernel,
            self.guest.initrd,
            debian::CMDLINE,
            self.port,
        );
        text += &format!("[[disks]]\nname = \"{disk}\"\n[disks.source.data]\nlabel = \"{label}\"\n");
        for (path, content) in files {
            // A JSON string is a TOML string.
            text += &format!("[[disks.source.data.files]]\npath = \"{path}\"\ntext = {}\n", json!(content));
        }
        let file = self.host.path("files").join(format!("{name}.toml"));
        fs::write(&file, text)?;
        Ok(file)
    }

    /// Logs in at the forwarded port and runs a script once cloud-init is through; what it prints.
    fn log_in(&self, user: &str, script: &str) -> Result<String> {
        self.log_in_at(self.port, user, script)
    }

    fn log_in_at(&self, port: u16, user: &str, script: &str) -> Result<String> {
        let script =
            format!("until [ -e /var/lib/cloud/instance/boot-finished ]; do sleep 1; done; {script}");
        wait_longer(BOOT, &format!("{user} to be let in"), || {
            let mut ssh = Command::new("ssh");
            ssh.arg("-i").arg(&self.key).args(["-p", &port.to_string()]);
            for option in [
                "BatchMode=yes",
                "ConnectTimeout=60",
                "ServerAliveInterval=60",
                "StrictHostKeyChecking=no",
                "UserKnownHostsFile=/dev/null",
            ] {
                ssh.args(["-o", option]);
            }
            ssh.arg(format!("{user}@127.0.0.1")).arg(&script);
            Ok(tools::run(&mut ssh).ok())
        })
    }
}

/// Contents are shown to nobody, and are no log lines.
fn ensure_secret(host: &Host, name: &str, secret: &str) -> Result<()> {
    for arguments in
        [&["inspect", name][..], &["ps", "--all", "--output", "json"], &["inspect", name, "--output", "json"]]
    {
        let shown = host.run(arguments)?;
        ensure!(!shown.contains(secret), "{arguments:?} shows it: {shown}");
    }
    ensure!(host.run(&["inspect", name])?.contains("withheld"), "the files are not even mentioned");
    ensure!(!host.log().contains(secret), "the daemon's log has it");
    Ok(())
}

#[test]
fn config_drive_does_so_too() -> Result<()> {
    let lab = Lab::new()?;
    let _daemon = lab.host.daemon()?;
    lab.import()?;
    let meta_data = json!({
        "uuid": "83679162-1378-4288-a2d4-70e13ec132aa",
        "hostname": "driven",
        "public_keys": { "ada": lab.public_key()? },
    });
    let user_data = "#cloud-config\nsystem_info:\n  default_user:\n    name: grace\n".to_owned();
    let drive = [
        ("openstack/latest/meta_data.json", meta_data.to_string()),
        ("openstack/latest/user_data", user_data),
    ];
    let file = lab.machine("driven", "drive", "config-2", &drive)?;
    let begun = Instant::now();
    lab.host.run(&["create", "--start", &file.to_string_lossy()])?;
    let told = lab.log_in("grace", "hostname; id -un")?;
    eprintln!("ConfigDrive: logged in after {:.0?}", begun.elapsed());
    ensure!(told == "driven\ngrace\n", "{told:?}");
    Ok(())
}

const MANIFEST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  app.conf: |
    colour=teal-4711
---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  name: manifest
spec:
  runStrategy: Always
  template:
    spec:
      domain:
        firmware:
          kernelBoot:
            kernelArgs: CMDLINE
            container:
              image: registry.example/debian-kernel:12
              kernelPath: /vmlinuz
              initrdPath: /initrd.img
        memory:
          guest: 512Mi
        devices:
          autoattachGraphicsDevice: false
          disks:
            - { name: root, disk: { bus: virtio } }
            - { name: seed, disk: { bus: virtio } }
            - { name: settings, disk: { bus: virtio } }
          interfaces:
            - { name: default, masquerade: {}, ports: [{ port: 22 }] }
      networks:
        - { name: default, pod: {} }
      volumes:
        - name: root
          hostDisk: { path: ROOT, type: Disk }
        - name: seed
          cloudInitNoCloud:
            userData: |
              #cloud-config
              hostname: manifest
              users:
                - name: ada
                  shell: /bin/bash
                  ssh_authorized_keys: ["KEY"]
              runcmd:
                - mkdir -p /settings
                - mount -o ro LABEL=cfgdata /settings
        - name: settings
          configMap: { name: settings, volumeLabel: cfgdata }
"#;

#[test]
fn a_manifest_of_kubevirt_is_enough() -> Result<()> {
    let guest = debian::build()?;
    let host = Host::new("")?;
    let (kernels, root) = (host.path("files/kernels"), host.path("files/root.raw"));
    let config = fs::read_to_string(host.config())?;
    let plugin = witvirt_harness::plugins().join("domain-kubevirt.wasm");
    let more = format!(
        "[[plugin]]\nname = \"domain-kubevirt\"\nkind = \"domain-converter\"\nfile = {plugin:?}\n\
         settings = {{ kernel-directory = {kernels:?} }}\n\
         [pipeline.kubevirt]\nsource = \"application/vnd.kubevirt+yaml\"\n\
         converters = [\"domain-kubevirt\", \"domain-libvirt\"]\n"
    );
    host.write_config(&(config + &more))?;
    let container = kernels.join("registry.example/debian-kernel:12");
    fs::create_dir_all(&container)?;
    fs::copy(&guest.kernel, container.join("vmlinuz"))?;
    fs::copy(&guest.initrd, container.join("initrd.img"))?;
    tools::run(Command::new("cp").arg("--sparse=always").arg(&guest.root).arg(&root))?;
    let lab = Lab::with(guest, host)?;
    let _daemon = lab.host.daemon()?;
    let manifest = MANIFEST
        .replace("CMDLINE", debian::CMDLINE)
        .replace("ROOT", &root.to_string_lossy())
        .replace("KEY", &lab.public_key()?);
    let file = lab.host.path("files/manifest.yaml");
    fs::write(&file, manifest)?;

    // Nobody says --start: the run strategy does.
    let begun = Instant::now();
    lab.host.run(&["create", &file.to_string_lossy()])?;
    let status = lab.host.wait_state("manifest", "running")?;
    ensure!(status["run"] == "always", "{status}");
    ensure_secret(&lab.host, "manifest", "teal-4711")?;
    let port = status["forwards"][0]["host-port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let port = port.filter(|port| *port != 0).with_context(|| format!("no port in {status}"))?;
    let told = lab.log_in_at(port, "ada", "hostname; id -un; cat /settings/app.conf")?;
    eprintln!("KubeVirt manifest: logged in after {:.0?}", begun.elapsed());
    ensure!(
        told == "manifest\nada\ncolour=teal-4711\n",
        "{told:?}\n{}",
        lab.host.run(&["logs", "manifest"])?
    );

    private(&lab.host.path("state"), "vdb.iso")?;
    lab.host.run(&["rm", "--force", "manifest"])?;
    let left = witvirt_harness::host::files_below(&lab.host.path("state"));
    ensure!(
        !left.iter().any(|file| file.extension().is_some_and(|extension| extension == "iso")),
        "{left:?}"
    );
    Ok(())
}

/// Only its owner may read what the host has built.
fn private(state: &Path, name: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let files = witvirt_harness::host::files_below(state);
    for wanted in [name, "machine.json"] {
        let file = files.iter().find(|file| file.ends_with(wanted));
        let file = file.with_context(|| format!("no {wanted} in {files:?}"))?;
        let mode = fs::metadata(file)?.permissions().mode();
        ensure!(mode & 0o077 == 0, "{} has mode {mode:o}", file.display());
    }
    Ok(())
}
