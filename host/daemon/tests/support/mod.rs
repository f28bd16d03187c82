//! A daemon process with the null driver and directories of its own.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use witvirt::client::Client;

/// How long anything may take on a slow and busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Directories and a config.
pub struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    /// With `more` at the end of the config.
    pub fn new(more: &str) -> Self {
        // Short, for the sockets.
        let directory = tempfile::Builder::new().prefix("wvd").tempdir_in("/tmp").unwrap();
        let site = Self { directory };
        // Another user's client walks through.
        set_mode(&site.path(""), 0o711);
        site.write_config(more);
        site
    }

    pub fn write_config(&self, more: &str) {
        let text = format!(
            "state-directory = \"state\"\nrun-directory = \"run\"\nengine.cache-directory = \"cache\"\n\
             trust.mode = \"permit\"\nhypervisor.driver = \"null\"\n{more}\n"
        );
        std::fs::write(self.config(), text).unwrap();
    }

    /// Adds tables to the config.
    pub fn append_config(&self, more: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), format!("{text}\n{more}")).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("witvirt.toml")
    }

    pub fn socket(&self) -> PathBuf {
        self.path("run/witvirt.sock")
    }

    pub fn client(&self) -> Client {
        Client::new(&self.socket())
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_witvirt"));
        command
            .args(arguments)
            .env("WITVIRT_CONFIG", self.config())
            .env_remove("WITVIRT_SOCKET")
            .stdin(Stdio::null());
        command
    }

    pub fn try_run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(output.status.success(), "witvirt {arguments:?}: {}\n{}", output.status, error(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let all: Vec<&str> = arguments.iter().copied().chain(["--output", "json"]).collect();
        let text = self.run(&all);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Exit code and standard error.
    pub fn fail(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.try_run(arguments);
        (output.status.code().unwrap(), error(&output))
    }

    /// A machine's file.
    pub fn machine(&self, name: &str, more: &str) -> String {
        let file = self.path(&format!("{name}.toml"));
        std::fs::write(&file, format!("name = \"{name}\"\nmemory = \"64MiB\"\n{more}\n")).unwrap();
        file.to_str().unwrap().to_owned()
    }

    pub fn daemon(&self) -> Daemon {
        self.daemon_with(|_| {})
    }

    pub fn daemon_with(&self, change: impl FnOnce(&mut Command)) -> Daemon {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command(&["daemon"]);
        command.stderr(log);
        change(&mut command);
        let mut daemon = Daemon { child: command.spawn().unwrap() };
        wait_for("the daemon", || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            self.try_run(&["ps"]).status.success().then_some(())
        });
        daemon
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// A daemon, killed when it is dropped.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub fn terminate(mut self) -> std::process::ExitStatus {
        self.signal("TERM");
        self.child.wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A built plugin, or `None` with the reason printed.
pub fn plugin(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let file = root.join(format!("target/plugins/{name}.wasm"));
    if !file.exists() {
        println!("skipped: {} is missing; build it: cargo xtask plugins", file.display());
        return None;
    }
    Some(file)
}

/// Whether this is root and there are programs to be somebody else; the reason is printed where not.
pub fn can_be_somebody_else() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let setpriv =
        Command::new("setpriv").arg("--version").output().is_ok_and(|output| output.status.success());
    if !root || !setpriv {
        println!("skipped: it takes root and setpriv to be two users");
    }
    root && setpriv
}
