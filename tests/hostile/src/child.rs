//! The process that imports cases, one after the other: it does what a daemon does, then says what came of it.

use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use witvirt_core::artifact::Manifest;
use witvirt_core::format::Formats;
use witvirt_disk::artifact::{choose, interpret};
use witvirt_disk::{
    Access, AllowedDirs, Error, ErrorKind, ImportRequest, ImportSource, Limits, Progress, SourceFile, Store,
    StoreOptions, Upload,
};

use crate::meddle::{Meddled, Meddling};
use crate::plugins::{self, Installed};

/// What to do, as a line of JSON on standard input.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The allowed directory with the files.
    pub directory: PathBuf,
    /// The store.
    pub store: PathBuf,
    /// "file", "directory", "upload" or "manifest".
    pub how: String,
    /// Name of the file or directory.
    pub name: String,
    /// The stated format.
    pub format: Option<String>,
    /// What happens meanwhile.
    pub meddling: Option<Meddling>,
    /// Files that are imported first, with their formats.
    pub before: Vec<(String, String)>,
}

/// What came of it, as a line of JSON on standard output.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Seconds that the import took.
    pub seconds: f64,
    /// Seconds that the processors were busy with it.
    pub busy: f64,
    /// Resident memory with the plugins loaded, before the first import, in bytes.
    pub idle: u64,
    /// The most that was resident during the import, in bytes: what earlier ones left counts too.
    pub peak: u64,
    /// What was resident after it, in bytes.
    pub left: u64,
    /// The digest in the store, or the failure.
    pub result: std::result::Result<String, Failure>,
}

/// An import that was refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// [`ErrorKind`], as Debug prints it.
    pub kind: String,
    /// The error and its sources.
    pub message: String,
}

/// The line before all outcomes: the plugins are loaded.
pub const READY: &str = "ready";

/// Loads the plugins and carries out orders until there are no more. `cache` is where compiled plugins are kept.
///
/// # Errors
/// When the test itself is broken: plugins that cannot be loaded, a store that cannot be opened.
pub fn main(cache: &str) -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("debug").init();
    let installed = plugins::load(Path::new(cache), &std::env::current_exe()?)?;
    let idle = status("VmRSS:")?;
    println!("{READY}");
    for line in std::io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?)?;
        println!("{}", serde_json::to_string(&carry_out(&order, &installed, idle)?)?);
    }
    Ok(())
}

fn carry_out(order: &Order, installed: &Installed, idle: u64) -> Result<Outcome> {
    let store = Store::open(&order.store, StoreOptions::default())?;
    let allowed = AllowedDirs::new([&order.directory])?;
    for (name, format) in &order.before {
        let file = SourceFile::new(order.directory.join(name)).with_format(format);
        let access = Access { formats: installed, allowed: &allowed, references: &allowed };
        store.import(access, &ImportRequest::new(file), &Progress::new())?;
    }
    // From here on the peak counts anew.
    fs::write("/proc/self/clear_refs", "5").context("cannot reset the peak of resident memory")?;
    let (start, before) = (Instant::now(), busy()?);
    let result = import(order, installed, &store, &allowed);
    let (seconds, busy) = (start.elapsed().as_secs_f64(), busy()? - before);
    let failure = |error: Error| Failure { kind: format!("{:?}", error.kind()), message: full(&error) };
    let (peak, left) = (status("VmHWM:")?, status("VmRSS:")?);
    Ok(Outcome { seconds, busy, idle, peak, left, result: result.map_err(failure) })
}

/// Processor time of this process so far, in seconds; its clock has ticks of a hundredth.
fn busy() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name before them may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/self/stat")?;
    let ticks: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).map_while(|word| word.parse().ok()).collect();
    let [user, system] = ticks[..] else { bail!("no times in /proc/self/stat") };
    Ok((user + system) as f64 / 100.0)
}

fn import(
    order: &Order,
    installed: &Installed,
    store: &Store,
    allowed: &AllowedDirs,
) -> witvirt_disk::Result<String> {
    let path = order.directory.join(&order.name);
    if order.how == "manifest" {
        return read_manifest(installed, &path);
    }
    let meddled;
    let formats: &dyn Formats = match &order.meddling {
        None => installed,
        Some(meddling) => {
            meddled = Meddled::new(installed.all(), meddling.clone(), &order.directory);
            &meddled
        }
    };
    let source = match order.how.as_str() {
        "file" => ImportSource::File(path),
        "directory" => ImportSource::Directory(path),
        _ => {
            let file = fs::File::open(path).map_err(|error| Error::io("open the upload", error))?;
            ImportSource::Upload(Upload::new(&order.name, None, file))
        }
    };
    let mut request = ImportRequest::of(source);
    request.reading.format = order.format.clone();
    let access = Access { formats, allowed, references: allowed };
    let imported = store.import(access, &request, &Progress::new())?;
    Ok(imported.record.digest.hex())
}

/// As far as a manifest gets before anything is fetched; blobs are files beside it, by the hex of their digest.
fn read_manifest(installed: &Installed, path: &Path) -> witvirt_disk::Result<String> {
    let text = fs::read_to_string(path).map_err(|error| Error::io("read the manifest", error))?;
    let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
    let manifest = Manifest { media_type, text };
    let (plugin, layout) = choose(installed, &manifest, None)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut fetch = |blob: &witvirt_core::artifact::Descriptor| {
        fs::read(directory.join(blob.digest.hex())).map_err(|error| Error::io("fetch a blob", error))
    };
    let limits = Limits::default();
    let plan = interpret(plugin.as_ref(), &layout, &manifest, None, &mut fetch, &limits)?;
    let disks: Vec<&str> = plan.disks.iter().map(|disk| disk.name.as_str()).collect();
    Err(Error::new(ErrorKind::Unavailable, format!("the plan has the disks {disks:?}")))
}

/// An error and its sources in one line.
fn full(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// A line of this process' status, in bytes.
fn status(line: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let value = status.lines().find_map(|found| found.strip_prefix(line)).context("no such line")?;
    Ok(value.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}
