//! Images that other people made, in ../shared beside the repository; tests of them are skipped where it is absent.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::plugins::root;

/// A row of a table with a header line.
pub type Row = HashMap<String, String>;

/// A file or folder of the images in `$WITVIRT_SHARED`, or in ../shared; says so where it is not there.
pub fn data(name: &str) -> Option<PathBuf> {
    let beside = || root().parent().unwrap_or(Path::new("/")).join("shared");
    let shared = std::env::var_os("WITVIRT_SHARED").map_or_else(beside, PathBuf::from);
    let path = shared.join("data/images").join(name);
    if !path.exists() {
        println!("skipped: there is no {}", path.display());
        return None;
    }
    Some(path)
}

/// Whether a program is there; says so where not.
pub fn have(program: &str, package: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        println!("skipped: {program} is missing (Debian: apt-get install {package})");
    }
    found.is_ok()
}

/// The rows of a table of tab-separated values.
///
/// # Errors
/// When it cannot be read.
pub fn table(path: &Path) -> Result<Vec<Row>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut lines = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let names = lines.next().context("the table is empty")?;
    Ok(lines.map(|line| names.iter().cloned().zip(line).collect()).collect())
}

/// Copies a file of the corpus, unpacked where it is packed; returns the name that it has then.
///
/// # Errors
/// When it cannot be read or written.
pub fn unpack(from: &Path, into: &Path) -> Result<String> {
    let name = from.file_name().and_then(|name| name.to_str()).context("no file name")?;
    let file = io::BufReader::new(File::open(from)?);
    let (stem, packing) = name.rsplit_once('.').unwrap_or((name, ""));
    let (name, mut reader): (&str, Box<dyn Read>) = match packing {
        "gz" => (stem, Box::new(flate2::bufread::MultiGzDecoder::new(file))),
        "bz2" => (stem, Box::new(bzip2::bufread::MultiBzDecoder::new(file))),
        "zst" => (stem, Box::new(zstd::Decoder::with_buffer(file)?)),
        _ => (name, Box::new(file)),
    };
    fs::create_dir_all(into)?;
    io::copy(&mut reader, &mut File::create(into.join(name))?)?;
    Ok(name.to_owned())
}

/// Runs a program that has to succeed.
///
/// # Errors
/// When it does not.
pub fn run(program: &str, arguments: &[&str], directory: &Path) -> Result<()> {
    let output = Command::new(program).args(arguments).current_dir(directory).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {said}");
    Ok(())
}
