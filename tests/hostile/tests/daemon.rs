//! One daemon meets every case, several at the same time, and goes on.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use witvirt_hostile::case::{Case, Place, Verdict, What};
use witvirt_hostile::cases;
use witvirt_hostile::plugins::{self, root};
use witvirt_hostile::run::CANARY;

/// What the daemon may have grown by in the end, in bytes: what its allocator keeps and the pages of compiled plugins.
const GROWTH: u64 = 96 << 20;

/// Imports that the daemon has at the same time.
const AT_ONCE: usize = 4;

/// The built `witvirt`: `$WITVIRT_PROGRAM`, or the one of `cargo xtask test`.
fn program() -> PathBuf {
    std::env::var_os("WITVIRT_PROGRAM").map_or_else(|| root().join("target/release/witvirt"), PathBuf::from)
}

/// A daemon with every format of the config, in a directory of its own.
struct Host {
    directory: tempfile::TempDir,
    daemon: Child,
}

impl Host {
    fn new() -> Self {
        // Short: it holds a socket, whose path may have 107 bytes.
        let directory = tempfile::Builder::new().prefix("wvh").tempdir_in("/tmp").unwrap();
        let place = directory.path();
        fs::create_dir(place.join("files")).unwrap();
        let plugins = plugins::entries().unwrap().into_iter().map(|entry| {
            let (file, limits) = (entry.file.display().to_string(), entry.limits);
            format!(
                "[[plugin]]\nname = \"{}\"\nkind = \"{}\"\nfile = {file:?}\nlimits = {{ memory = \"{}MiB\", deadline = \
                 \"{}s\" }}\n",
                entry.name,
                serde_json::to_value(entry.kind).unwrap().as_str().unwrap(),
                limits.memory.0 >> 20,
                limits.deadline.as_secs(),
            )
        });
        let config = format!(
            "state-directory = \"state\"\nrun-directory = \"run\"\n[engine]\ncache-directory = {:?}\n\
             [trust]\nmode = \"permit\"\n[store]\nallowed-directories = [{:?}]\n[hypervisor]\ndriver = \"null\"\n{}",
            root().join("target/cwasm"),
            place.join("files"),
            plugins.collect::<String>()
        );
        fs::write(place.join("witvirt.toml"), config).unwrap();
        let log = fs::File::create(place.join("log")).unwrap();
        let mut command = Command::new(program());
        command.arg("daemon").env("WITVIRT_CONFIG", place.join("witvirt.toml")).env("NO_COLOR", "1");
        let daemon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut host = Self { directory, daemon };
        host.wait();
        host
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while !self.witvirt(&["image", "ls"]).status.success() {
            assert_eq!(self.daemon.try_wait().unwrap(), None, "the daemon ended:\n{}", self.log());
            assert!(start.elapsed() < Duration::from_secs(300), "the daemon does not serve:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn witvirt(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.args(arguments).env("WITVIRT_CONFIG", self.path("witvirt.toml")).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// Resident memory of the daemon in bytes.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Imports a case as `name`; whether it was taken, and what was said.
    fn import(&self, case: &Case, name: &str) -> (bool, String) {
        // Below the allowed directory, which the daemon holds open.
        let files = self.path("files").join(name);
        fs::create_dir(&files).unwrap();
        case.write(&files).unwrap();
        let path = files.join(case.what.name()).display().to_string();
        let mut arguments = vec!["image", "import", &path, "--name", name];
        arguments.extend(case.format.iter().flat_map(|format| ["--format", format]));
        let output = self.witvirt(&arguments);
        fs::remove_dir_all(&files).unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[test]
fn a_daemon_goes_on() {
    if !plugins::built() {
        return;
    }
    if !program().is_file() {
        println!("skipped: {} is missing, run: cargo xtask test", program().display());
        return;
    }
    let mut host = Host::new();
    let place = Place { directory: host.path("files"), canary: host.path("canary.txt") };
    fs::write(&place.canary, format!("{CANARY}\n").repeat(40)).unwrap();
    let all = cases::all(&place);
    // A link that the user names is followed by the user's own `witvirt`: the daemon is asked for the file behind it.
    let followed = ["link.raw", "link-in-path"];
    let by_path = |case: &&Case| {
        case.meddling.is_none()
            && matches!(case.what, What::File(_) | What::Directory(_))
            && !followed.contains(&case.name.as_str())
    };
    let before = host.resident();
    let expected = Mutex::new(Vec::new());
    let wrong = Mutex::new(Vec::new());
    let queue = Mutex::new(all.iter().filter(by_path).enumerate());
    let meet = || {
        loop {
            let Some((index, case)) = queue.lock().unwrap().next() else { return };
            let name = format!("case-{index}");
            let (taken, said) = host.import(case, &name);
            let confined = matches!(case.verdict, Verdict::Confine(_));
            if taken != confined {
                wrong.lock().unwrap().push(format!("{}: imported: {taken}; {said}", case.name));
            }
            if said.contains("CANARY-") || said.chars().any(|letter| letter.is_control() && letter != '\n') {
                wrong.lock().unwrap().push(format!("{}: said {said:?}", case.name));
            }
            if confined {
                expected.lock().unwrap().push(name);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(meet);
        }
    });
    let (expected, wrong) = (expected.into_inner().unwrap(), wrong.into_inner().unwrap());
    assert_eq!(host.daemon.try_wait().unwrap(), None, "the daemon ended:\n{}", host.log());
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(names(&host), sorted(expected));
    let grown = host.resident().saturating_sub(before);
    println!("resident: {} MiB, then {} MiB more", before >> 20, grown >> 20);
    assert!(grown < GROWTH, "the daemon grew by {} MiB", grown >> 20);
    assert!(!host.log().contains("CANARY-"), "the daemon's log has the canary's text");
    assert_eq!(left(&host.path("state")), Vec::<PathBuf>::new());
    let good = Case::of("good.qcow2", cases::sound());
    let (taken, said) = host.import(&good, "good");
    assert!(taken, "{said}");
}

/// The names that the store has.
fn names(host: &Host) -> Vec<String> {
    let output = host.witvirt(&["image", "ls", "--output", "json"]);
    let images: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = images.as_array().unwrap().iter().filter_map(|image| image["names"].as_array()).flatten();
    sorted(names.filter_map(|name| name.as_str().map(str::to_owned)).collect())
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// What is in directories of unfinished work.
fn left(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        match entry.file_name() == "tmp" {
            true => found.extend(fs::read_dir(entry.path()).unwrap().flatten().map(|entry| entry.path())),
            false => found.extend(left(&entry.path())),
        }
    }
    found
}
