//! One case after the other, each in a process of its own.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::case::{Case, Place, What};
use crate::child::{Order, Outcome};

/// How long an import may take before its process is killed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What stands in the canary. Nothing that an import writes may contain it.
pub const CANARY: &str = "CANARY-5b1e: this text lies outside of every allowed directory";

/// Where cases are run.
pub struct Bench {
    directory: tempfile::TempDir,
    program: PathBuf,
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
    /// `program` is this crate's own.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(program: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("hostile").tempdir()?;
        fs::create_dir(directory.path().join("files"))?;
        let bench = Self { directory, program: program.into() };
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
        let root = self.directory.path();
        let store = root.join("store");
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
            cache: root.join("cache"),
            how: how.to_owned(),
            name: case.what.name().to_owned(),
            format: case.format.clone(),
            meddling: case.meddling.clone(),
        };
        let (output, log) = self.start(&order)?;
        Ok(Run { outcome: serde_json::from_str(&output).ok(), log, store })
    }

    fn start(&self, order: &Order) -> Result<(String, String)> {
        let log = self.directory.path().join("log");
        let written = self.directory.path().join("order.json");
        fs::write(&written, serde_json::to_vec(order)?)?;
        let mut child = Command::new(&self.program)
            .arg("import")
            .arg(&written)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("cannot start the importing process")?;
        let start = Instant::now();
        // The first one compiles the plugins.
        let patience = if order.cache.exists() { PATIENCE } else { PATIENCE * 15 };
        while child.try_wait()?.is_none() && start.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(2));
        }
        if child.try_wait()?.is_none() {
            child.kill()?;
        }
        let status = child.wait()?;
        let mut output = String::new();
        child.stdout.take().context("no output")?.read_to_string(&mut output)?;
        let log = fs::read_to_string(log)?;
        if status.code() == Some(1) {
            bail!("the importing process does not work:\n{log}");
        }
        Ok((output, log))
    }
}
