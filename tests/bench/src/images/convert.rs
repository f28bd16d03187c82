//! `image convert` against `qemu-img convert`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use witvirt_harness::host::Host;
use witvirt_harness::tools;

use super::RUNS;
use super::format::Format;
use crate::measure::Usage;
use crate::measure::usage;

/// What both programs do.
pub struct Conversion<'a> {
    /// In the table.
    pub what: String,
    pub source: &'a Path,
    pub from: &'a str,
    pub to: &'a str,
    pub ours: &'a [&'a str],
    pub theirs: &'a [&'a str],
    /// How many times as fast ours has to be.
    pub aim: Option<f64>,
    /// The disk that has to come out.
    pub raw: &'a Path,
}

impl<'a> Conversion<'a> {
    /// Reading an image of a format.
    pub fn to_raw(format: &'a Format, image: &'a Path, raw: &'a Path) -> Self {
        let (what, aim) = (format!("{} -> raw", format.name), format.read);
        let Format { format: from, .. } = format;
        Self { what, source: image, from, to: "raw", ours: &[], theirs: &[], aim, raw }
    }

    /// Writing one.
    pub fn from_raw(format: &'a Format, raw: &'a Path) -> Self {
        let (what, aim) = (format!("raw -> {}", format.name), format.write);
        let Format { format: to, ours, theirs, .. } = format;
        Self { what, source: raw, from: "raw", to, ours, theirs, aim, raw }
    }
}

/// Where it is measured.
pub struct Bench {
    /// An installation with all plugins.
    pub host: Host,
    /// A directory that it may use.
    pub directory: PathBuf,
}

/// The head of the table that [`Bench::compare`] prints.
pub fn head() {
    println!(
        "  {:<31} {:>7} {:>7} {:>7} {:>7} {:>12} {:>12} {:>11}",
        "QEMU's over ours", "time", "aim", "to -W", "CPU", "RSS MiB", "own MiB", "size MiB"
    );
}

impl Bench {
    /// The command of ours.
    pub fn ours(&self, conversion: &Conversion<'_>, target: &Path, more: &[&str]) -> Command {
        let mut command = self.host.command(&["image", "convert", "--format", conversion.from]);
        command.args(["--to", conversion.to]).args(more);
        command.args(conversion.ours.iter().flat_map(|option| ["--option", option]));
        command.arg(conversion.source).arg(target);
        command
    }

    fn theirs(conversion: &Conversion<'_>, target: &Path, more: &[&str]) -> Command {
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", conversion.from, "-O", conversion.to]).args(conversion.theirs);
        command.args(more).arg(conversion.source).arg(target);
        command
    }

    /// Both by turns, qemu-img also with all the coroutines it takes where raw is written, and a line of the table. What ours
    /// wrote has to be the disk.
    pub fn compare(&self, conversion: &Conversion<'_>) -> Result<()> {
        let (mine, peers) = (self.directory.join("ours"), self.directory.join("theirs"));
        let parallel = conversion.to == "raw";
        let mut runs = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            fresh(&mine)?;
            runs.0.push(usage(&mut self.ours(conversion, &mine, &["--no-sync"]))?);
            if parallel {
                fresh(&peers)?;
                runs.2.push(usage(&mut Self::theirs(conversion, &peers, &["-W", "-m", "16"]))?);
            }
            fresh(&peers)?;
            runs.1.push(usage(&mut Self::theirs(conversion, &peers, &[]))?);
        }
        self.verify(conversion, &mine)?;
        let (ours, theirs) = (Usage::median(&runs.0), Usage::median(&runs.1));
        let ratio = |theirs: &Usage| theirs.wall.as_secs_f64() / ours.wall.as_secs_f64();
        let both = |ours: u64, theirs: u64| format!("{ours}/{theirs}");
        println!(
            "  {:<31} {:>6.2}x {:>7} {:>7} {:>6.2}x {:>12} {:>12} {:>11} ({:.2?}, {:.2?})",
            conversion.what,
            ratio(&theirs),
            conversion.aim.map(|aim| format!("{aim:.1}x")).unwrap_or_default(),
            if parallel { format!("{:.2}x", ratio(&Usage::median(&runs.2))) } else { String::new() },
            theirs.processor.as_secs_f64() / ours.processor.as_secs_f64(),
            both(ours.memory.resident >> 10, theirs.memory.resident >> 10),
            both(ours.memory.own >> 10, theirs.memory.own >> 10),
            both(fs::metadata(&mine)?.len() >> 20, fs::metadata(&peers)?.len() >> 20),
            ours.wall,
            theirs.wall,
        );
        fs::remove_file(mine)?;
        fs::remove_file(peers)?;
        Ok(())
    }

    fn verify(&self, conversion: &Conversion<'_>, target: &Path) -> Result<()> {
        let mut compare = Command::new("qemu-img");
        compare.args(["compare", "-q", "-f", conversion.to, "-F", "raw"]).arg(target).arg(conversion.raw);
        let differs = || format!("{}: our copy differs from the source", conversion.what);
        tools::run(&mut compare).with_context(differs).map(drop)
    }

    /// Ours on one processor and on all of them.
    pub fn scaling(&self, conversion: &Conversion<'_>) -> Result<()> {
        let mine = self.directory.join("ours");
        let (mut one, mut all) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            fresh(&mine)?;
            let ours = self.ours(conversion, &mine, &["--no-sync"]);
            let mut pinned = Command::new("taskset");
            pinned.args(["-c", "0"]).arg(ours.get_program()).args(ours.get_args());
            pinned.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
            one.push(usage(&mut pinned)?);
            fresh(&mine)?;
            all.push(usage(&mut self.ours(conversion, &mine, &["--no-sync"]))?);
        }
        fs::remove_file(mine)?;
        let (one, all) = (Usage::median(&one).wall, Usage::median(&all).wall);
        println!(
            "  {:<31} {:>6.2}x ({one:.2?} on one of {} processors, {all:.2?} on all)",
            conversion.what,
            one.as_secs_f64() / all.as_secs_f64(),
            std::thread::available_parallelism()?
        );
        Ok(())
    }
}

/// Makes room for a target, and waits for what was written before.
pub fn fresh(target: &Path) -> Result<()> {
    let _ = fs::remove_file(target);
    tools::run(&mut Command::new("sync")).map(drop)
}
