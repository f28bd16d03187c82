//! `cargo xtask demo`: from a clean checkout to a Linux guest that boots through the plugins.

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use witvirt_harness::guest::{self, GREETING, Guest};
use witvirt_harness::{root, tools, witvirt};

use crate::{cargo, plugins};

/// Builds what is not built yet, then shows it.
pub fn run() -> Result<()> {
    let start = Instant::now();
    say("the programs it takes: qemu, busybox, cpio, mke2fs");
    tools::install()?;
    say("building the host (the first time takes minutes: the WebAssembly compiler is large)");
    cargo(&["build", "--release", "--package", "witvirt-daemon"])?;
    say("building the plugins, as WebAssembly components");
    plugins::build()?;
    say("a small guest: Debian's cloud kernel, busybox, an ext4 root disk");
    let guest = guest::build()?;
    Demo::new()?.show(&guest)?;
    say(&format!("done in {:.1} s", start.elapsed().as_secs_f32()));
    Ok(())
}

fn say(text: &str) {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        println!("\x1b[1;34m==>\x1b[0m \x1b[1m{text}\x1b[0m");
    } else {
        println!("==> {text}");
    }
}

/// The directories of the demo and its daemon.
struct Demo {
    state: PathBuf,
    run: PathBuf,
}

impl Demo {
    fn new() -> Result<Self> {
        let target = root().join("target/demo");
        let _ = fs::remove_dir_all(target.join("state"));
        fs::create_dir_all(&target)?;
        // Outside of the checkout: the hypervisor's user has to reach it, and sockets want short paths.
        let run = std::env::temp_dir().join(format!("witvirt-demo-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o711).create(&run)?;
        Ok(Self { state: target.join("state"), run })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(witvirt());
        command.arg("--config").arg(root().join("config/witvirt.toml"));
        command.arg("--socket").arg(self.run.join("witvirt.sock")).args(arguments);
        command
    }

    fn witvirt(&self, arguments: &[&str]) -> Result<()> {
        println!("$ witvirt {}", arguments.join(" "));
        let status = self.command(arguments).status().context("cannot run witvirt")?;
        ensure!(status.success(), "witvirt {}: {status}", arguments.join(" "));
        Ok(())
    }

    fn show(&self, guest: &Guest) -> Result<()> {
        let image = self.qcow2(guest)?;
        let domain = self.domain(guest)?;
        say("the daemon, with config/witvirt.toml");
        let daemon = self.daemon()?;
        self.witvirt(&["plugin", "ls"])?;
        say("importing the qcow2 image: a plugin reads its tables, the host copies the data");
        self.witvirt(&["image", "import", &image.to_string_lossy(), "--name", "demo"])?;
        say("starting the machine: plugins read the domain XML and admit it");
        self.witvirt(&["create", "--start", &domain.to_string_lossy()])?;
        say("its console, until the root disk speaks");
        self.console()?;
        self.witvirt(&["ps"])?;
        say("stopping it: the ACPI power button");
        self.witvirt(&["stop", "demo"])?;
        self.witvirt(&["ps", "--all"])?;
        self.witvirt(&["rm", "demo"])?;
        daemon.end()
    }

    /// The root disk as a compressed qcow2, as vendors ship them; written by the plugin, too.
    fn qcow2(&self, guest: &Guest) -> Result<PathBuf> {
        let image = root().join("target/demo/demo.qcow2");
        let modified = |path: &Path| fs::metadata(path).ok()?.modified().ok();
        if modified(&image) < modified(&guest.root) {
            say("the root disk as a qcow2 image");
            let _ = fs::remove_file(&image);
            let raw = guest.root.to_string_lossy();
            let target = image.to_string_lossy();
            self.witvirt(&[
                "image",
                "convert",
                &raw,
                &target,
                "--format",
                "raw",
                "--to",
                "qcow2",
                "--compression",
                "zlib",
            ])?;
        }
        Ok(image)
    }

    fn domain(&self, guest: &Guest) -> Result<PathBuf> {
        let directory = guest.kernel.parent().context("the kernel has no directory")?;
        let text = fs::read_to_string(root().join("examples/demo.xml"))?;
        let file = root().join("target/demo/demo.xml");
        fs::write(&file, text.replace("GUEST", &directory.to_string_lossy()))?;
        Ok(file)
    }

    fn daemon(&self) -> Result<Daemon> {
        let log = root().join("target/demo/daemon.log");
        let mut command = self.command(&["daemon"]);
        command.arg("--state-directory").arg(&self.state).arg("--run-directory").arg(&self.run);
        let file = fs::File::create(&log)?;
        let mut child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("the daemon ended with {status}:\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            let asked = self.command(&["ps"]).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            if asked.success() {
                println!("ready after {} ms; its log: {}", start.elapsed().as_millis(), log.display());
                return Ok(Daemon { child });
            }
            ensure!(
                start.elapsed() < Duration::from_secs(60),
                "the daemon does not answer; its log: {}",
                log.display()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn console(&self) -> Result<()> {
        println!("$ witvirt logs --follow demo");
        let mut logs = self.command(&["logs", "--follow", "demo"]).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(logs.stdout.take().context("no output")?);
        let mut greeted = false;
        for line in output.lines() {
            let line = line?;
            println!("  | {line}");
            if line.contains(GREETING) {
                greeted = true;
                break;
            }
        }
        logs.kill()?;
        logs.wait()?;
        ensure!(greeted, "the guest ended without a word from its root disk");
        Ok(())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = fs::set_permissions(&self.run, fs::Permissions::from_mode(0o700));
        let _ = fs::remove_dir_all(&self.run);
    }
}

/// The daemon's process; killed when the demo fails.
struct Daemon {
    child: Child,
}

impl Daemon {
    fn end(mut self) -> Result<()> {
        tools::run(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
