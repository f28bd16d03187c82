//! Imports of cases, in a process that carries out one after the other; several of these side by side.

use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::case::{Case, Place, What};
use crate::child::{Order, Outcome, READY};
use crate::plugins;

/// How long an import may take before its process is killed: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long the plugins may take to be loaded: whoever is first compiles them.
const LOADING: Duration = Duration::from_secs(300);

/// What a process may keep resident of the imports that it made, in bytes, before another one takes its place.
const KEPT: u64 = 16 << 20;

/// What stands in the canary. Nothing that an import writes may contain it.
pub const CANARY: &str = "CANARY-5b1e: this text lies outside of every allowed directory";

/// Where cases are run, one at a time.
pub struct Bench {
    directory: tempfile::TempDir,
    program: PathBuf,
    worker: Mutex<Option<Worker>>,
}

/// The end of an import.
pub struct Run {
    /// What the process said; absent: it was killed, or died.
    pub outcome: Option<Outcome>,
    /// What it logged.
    pub log: String,
    /// The store that it had.
    pub store: PathBuf,
}

impl Bench {
    /// `program` is this crate's own. The plugins are loaded when it returns.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(program: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("hostile").tempdir()?;
        fs::create_dir(directory.path().join("files"))?;
        let worker = Mutex::new(Some(Worker::start(program.as_ref(), directory.path())?));
        let bench = Self { directory, program: program.into(), worker };
        fs::write(bench.place().canary, format!("{CANARY}\n").repeat(40))?;
        Ok(bench)
    }

    /// Where the files of cases are put.
    pub fn place(&self) -> Place {
        let root = self.directory.path();
        Place { directory: root.join("files"), canary: root.join("canary.txt") }
    }

    /// Runs one case in an empty directory with an empty store.
    ///
    /// # Errors
    /// When the test itself is broken.
    pub fn run(&self, case: &Case) -> Result<Run> {
        let files = self.place().directory;
        fs::remove_dir_all(&files)?;
        fs::create_dir(&files)?;
        case.write(&files)?;
        self.import(case, &files)
    }

    /// Imports a case whose files are there.
    ///
    /// # Errors
    /// When the test itself is broken.
    pub fn import(&self, case: &Case, directory: &Path) -> Result<Run> {
        let store = self.directory.path().join("store");
        let _ = fs::remove_dir_all(&store);
        let how = match case.what {
            What::File(_) => "file",
            What::Directory(_) => "directory",
            What::Upload(_) => "upload",
            What::Manifest(_) => "manifest",
        };
        let order = Order {
            directory: directory.to_owned(),
            store: store.clone(),
            how: how.to_owned(),
            name: case.what.name().to_owned(),
            format: case.format.clone(),
            meddling: case.meddling.clone(),
            before: case.before.clone(),
        };
        let mut slot = self.worker.lock().expect("no test goes on after a panic");
        let mut worker = match slot.take() {
            Some(worker) => worker,
            None => Worker::start(&self.program, self.directory.path())?,
        };
        let (outcome, log) = worker.carry_out(&order)?;
        // One that was killed, died or has grown makes room for a fresh one.
        let fits = |outcome: &Outcome| outcome.left.saturating_sub(outcome.idle) <= KEPT;
        if outcome.as_ref().is_some_and(fits) {
            *slot = Some(worker);
        }
        Ok(Run { outcome, log, store })
    }
}

/// A process that imports.
struct Worker {
    child: Child,
    orders: ChildStdin,
    answers: Receiver<String>,
    log: PathBuf,
    /// How much of the log was read.
    logged: u64,
}

impl Worker {
    fn start(program: &Path, directory: &Path) -> Result<Self> {
        let log = directory.join("log");
        let mut child = Command::new(program)
            .arg("import")
            .arg(plugins::root().join("target/cwasm"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("cannot start the importing process")?;
        let orders = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(std::result::Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let worker = Self { child, orders, answers, log, logged: 0 };
        match worker.answers.recv_timeout(LOADING) {
            Ok(line) if line == READY => Ok(worker),
            other => {
                bail!("the importing process does not work: {other:?}\n{}", fs::read_to_string(&worker.log)?)
            }
        }
    }

    /// What came of it, and what was logged meanwhile. Without an outcome the process is no more.
    fn carry_out(&mut self, order: &Order) -> Result<(Option<Outcome>, String)> {
        let line = serde_json::to_string(order)? + "\n";
        // One that died before is told by what it does not answer.
        let _ = self.orders.write_all(line.as_bytes());
        let outcome = match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => Some(serde_json::from_str(&line).with_context(|| format!("it said {line}"))?),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        };
        let mut status = None;
        if outcome.is_none() {
            let _ = self.child.kill();
            status = Some(self.child.wait()?);
        }
        let log = self.news()?;
        if status.is_some_and(|status| status.code() == Some(1)) {
            bail!("the importing process does not work:\n{log}");
        }
        Ok((outcome, log))
    }

    fn news(&mut self) -> Result<String> {
        let mut file = fs::File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.logged))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        self.logged += bytes.len() as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
