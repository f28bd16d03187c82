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
        let guest = debian::build()?;
        let host = Host::new("")?;
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

    /// A machine as TOML: the guest, and data disks.
    fn machine(&self, name: &str, disks: &[(&str, &str, Vec<(&str, String)>)]) -> Result<PathBuf> {
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
        for (disk, label, files) in disks {
            text += &format!("[[disks]]\nname = \"{disk}\"\n[disks.source.data]\nlabel = \"{label}\"\n");
            for (path, content) in files {
                // A JSON string is a TOML string.
                text +=
                    &format!("[[disks.source.data.files]]\npath = \"{path}\"\ntext = {}\n", json!(content));
            }
        }
        let file = self.host.path("files").join(format!("{name}.toml"));
        fs::write(&file, text)?;
        Ok(file)
    }

    /// Logs in and runs a script once cloud-init is through; what it prints.
    fn log_in(&self, user: &str, script: &str) -> Result<String> {
        let script =
            format!("until [ -e /var/lib/cloud/instance/boot-finished ]; do sleep 1; done; {script}");
        wait_longer(BOOT, &format!("{user} to be let in"), || {
            let mut ssh = Command::new("ssh");
            ssh.arg("-i").arg(&self.key).args(["-p", &self.port.to_string()]);
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
fn nocloud_names_the_guest_and_lets_its_user_in() -> Result<()> {
    let lab = Lab::new()?;
    let _daemon = lab.host.daemon()?;
    lab.import()?;
    let user_data = format!(
        "#cloud-config\nusers:\n  - name: ada\n    shell: /bin/bash\n    ssh_authorized_keys: [\"{}\"]\n\
         runcmd:\n  - mkdir -p /settings\n  - mount -o ro LABEL=cfgdata /settings\n",
        lab.public_key()?,
    );
    let meta_data = "instance-id: i-1\nlocal-hostname: talker\n".to_owned();
    let settings = vec![("app.conf", "colour=teal-4711\n".to_owned()), ("nested/level", "7\n".to_owned())];
    let seed = vec![("user-data", user_data), ("meta-data", meta_data)];
    let file = lab.machine("talker", &[("seed", "cidata", seed), ("settings", "cfgdata", settings)])?;
    let begun = Instant::now();
    lab.host.run(&["create", "--start", &file.to_string_lossy()])?;
    ensure_secret(&lab.host, "talker", "teal-4711")?;
    let told = lab.log_in("ada", "hostname; id -un; cat /settings/app.conf /settings/nested/level")?;
    eprintln!("NoCloud: logged in after {:.0?}", begun.elapsed());
    ensure!(told == "talker\nada\ncolour=teal-4711\n7\n", "{told:?}\n{}", lab.host.run(&["logs", "talker"])?);

    private(&lab.host.path("state"), "seed.iso")?;
    lab.host.run(&["rm", "--force", "talker"])?;
    let left = witvirt_harness::host::files_below(&lab.host.path("state"));
    ensure!(!left.iter().any(|file| file.ends_with("seed.iso")), "{left:?}");
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
    let drive = vec![
        ("openstack/latest/meta_data.json", meta_data.to_string()),
        ("openstack/latest/user_data", user_data),
    ];
    let file = lab.machine("driven", &[("drive", "config-2", drive)])?;
    let begun = Instant::now();
    lab.host.run(&["create", "--start", &file.to_string_lossy()])?;
    let told = lab.log_in("grace", "hostname; id -un")?;
    eprintln!("ConfigDrive: logged in after {:.0?}", begun.elapsed());
    ensure!(told == "driven\ngrace\n", "{told:?}");
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
