//! A host of one's own: a directory with a config, a state and sockets, and `witvirt` processes that use it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long a test waits for what has to happen, on a slow and busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Directories and config of a witvirt installation below a temporary directory. Dropped, it ends every hypervisor process
/// that was started from it and removes the directory.
pub struct Host {
    directory: tempfile::TempDir,
}

impl Host {
    /// With the four plugins, files of target/guest allowed, TCG, and `more` at the end of the config.
    pub fn new(more: &str) -> Result<Self> {
        Self::with_driver("qemu", more)
    }

    /// With the null driver.
    pub fn null() -> Result<Self> {
        Self::with_driver("null", "")
    }

    fn with_driver(driver: &str, more: &str) -> Result<Self> {
        // Short, since it holds sockets and their paths may have 107 bytes.
        let directory = tempfile::Builder::new().prefix("wv").tempdir_in("/tmp")?;
        let host = Self { directory };
        // The hypervisor's user walks through it to its own directory.
        fs::set_permissions(host.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
        fs::create_dir(host.path("files"))?;
        host.write_config(&host.config_text(driver, more))?;
        Ok(host)
    }

    fn config_text(&self, driver: &str, more: &str) -> String {
        let plugins = crate::plugins();
        let mut text = format!(
            "state-directory = \"state\"\nrun-directory = \"run\"\n\
             [engine]\ncache-directory = {:?}\n[trust]\nmode = \"permit\"\n\
             [http]\nallow-networks = [\"127.0.0.0/8\"]\n\
             [store]\nallowed-directories = [{:?}, {:?}]\n\
             [hypervisor]\ndriver = \"{driver}\"\naccel = \"tcg\"\n",
            crate::root().join("target/cwasm"),
            crate::root().join("target/guest"),
            self.path("files"),
        );
        for (name, kind) in [
            ("format-raw", "disk-format"),
            ("format-qcow2", "disk-format"),
            ("domain-libvirt", "domain-converter"),
            ("policy-capacity", "device-policy"),
        ] {
            let file = plugins.join(format!("{name}.wasm"));
            text += &format!("[[plugin]]\nname = \"{name}\"\nkind = \"{kind}\"\nfile = {file:?}\n");
        }
        text + more
    }

    /// A path below the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The config file.
    pub fn config(&self) -> PathBuf {
        self.path("witvirt.toml")
    }

    /// Replaces the config.
    pub fn write_config(&self, text: &str) -> Result<()> {
        fs::write(self.config(), text)?;
        Ok(())
    }

    /// A `witvirt` command that uses this host.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(crate::witvirt());
        command
            .args(arguments)
            .env("WITVIRT_CONFIG", self.config())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs `witvirt`, whatever comes of it.
    pub fn try_run(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments).output().context("cannot run witvirt; build it by: cargo xtask test")
    }

    /// Runs `witvirt` and returns what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.try_run(arguments)?;
        ensure!(
            output.status.success(),
            "witvirt {}: {}\n{}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs `witvirt ... --output json`.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--output", "json"]).collect();
        let text = self.run(&arguments)?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// Starts a daemon and waits until it serves.
    pub fn daemon(&self) -> Result<Daemon> {
        let log = File::options().create(true).append(true).open(self.path("daemon.log"))?;
        let mut command = self.command(&["daemon"]);
        command.stdout(Stdio::null()).stderr(log);
        let mut daemon = Daemon { child: command.spawn().context("cannot run witvirt")? };
        let ready = wait_for("the daemon to serve", || {
            if let Some(status) = daemon.child.try_wait()? {
                bail!("the daemon ended: {status}");
            }
            Ok(self.try_run(&["ps"])?.status.success().then_some(()))
        });
        ready.with_context(|| format!("the daemon's log:\n{}", self.log()))?;
        Ok(daemon)
    }

    /// What the daemons of this host have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    /// Writes a machine that boots the small guest with `words` on its command line, and returns the file.
    pub fn machine(&self, name: &str, words: &str, more: &str) -> Result<PathBuf> {
        let guest = crate::root().join("target/guest");
        let text = format!(
            "name = \"{name}\"\nos = \"linux\"\nmemory = \"128MiB\"\n{more}\n\
             [boot]\nkernel = {:?}\ninitrd = {:?}\ncmdline = \"console=ttyS0 quiet panic=-1 {words}\"\n\
             [[disks]]\nname = \"root\"\nsource = {{ image = \"guest\" }}\n",
            guest.join("vmlinuz"),
            guest.join("initrd.img"),
        );
        let file = self.path("files").join(format!("{name}.toml"));
        fs::write(&file, text)?;
        Ok(file)
    }

    /// Imports the guest's root disk as image "guest".
    pub fn import_guest(&self) -> Result<()> {
        let root = crate::root().join("target/guest/root.raw");
        self.run(&["image", "import", &root.to_string_lossy(), "--name", "guest", "--format", "raw"])
            .map(drop)
    }

    /// One machine as `ps` tells it.
    pub fn status(&self, name: &str) -> Result<Value> {
        let all = self.json(&["ps"])?;
        let machines = all.as_array().context("ps is no list")?;
        let found = machines.iter().find(|machine| machine["name"] == name);
        found.cloned().with_context(|| format!("no machine {name} in {all}"))
    }

    /// Waits until a machine is in a state.
    pub fn wait_state(&self, name: &str, state: &str) -> Result<Value> {
        let mut last = Value::Null;
        wait_for(&format!("{name} to be {state}"), || {
            last = self.status(name)?;
            Ok((last["state"] == state).then(|| last.clone()))
        })
        .with_context(|| format!("last seen: {last}\n{}", self.log()))
    }

    /// Waits until a machine's console log has a text; returns the log.
    pub fn wait_console(&self, name: &str, text: &str) -> Result<String> {
        let mut last = String::new();
        wait_for(&format!("{name} to print {text:?}"), || {
            last = self.run(&["logs", name])?;
            Ok(last.contains(text).then(|| last.clone()))
        })
        .with_context(|| format!("console of {name}:\n{last}"))
    }

    /// Process ids of hypervisors that hold files of this host.
    pub fn hypervisors(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| is_qemu(*pid) && holds_file_below(*pid, self.directory.path())).collect()
    }
}

fn is_qemu(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).split('\0').next().is_some_and(|program| program.contains("qemu-system"))
}

fn holds_file_below(pid: u32, directory: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|file| file.starts_with(directory))
}

impl Drop for Host {
    fn drop(&mut self) {
        for pid in self.hypervisors() {
            kill(pid, "KILL");
        }
    }
}

/// A daemon process. Dropped, it is killed; its machines live on until the host is dropped.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it at once.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits for it.
    pub fn terminate(mut self) -> Result<()> {
        kill(self.child.id(), "TERM");
        let status = wait_for("the daemon to end", || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib << 10)
    }

    /// Number of open descriptors.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid()))?.count())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by name.
pub fn kill(pid: u32, signal: &str) {
    let _ = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).stderr(Stdio::null()).status();
}

/// Asks again and again until there is an answer, for as long as [`PATIENCE`].
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    wait_longer(PATIENCE, what, ask)
}

/// Asks again and again until there is an answer, for as long as `patience`.
pub fn wait_longer<T>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if start.elapsed() > patience {
            bail!("waited {} s in vain for {what}", patience.as_secs());
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// All files below a directory, for looking for leftovers.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Gives this thread, and what it starts, a network of its own where that is permitted: with loopback alone, and all of its
/// ports free. Elsewhere everything stays as it is.
pub fn own_network() {
    // SAFETY: threads share nothing that depends on the network they are in; descriptors are not touched.
    let moved = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) };
    if moved.is_ok() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.is_ok_and(|status| status.success()), "loopback cannot be set up by: ip link set lo up");
    }
}
