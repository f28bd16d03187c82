//! Images against what people use today: conversions, imports and lazy starts.

use std::fs;
use std::path::Path;

use anyhow::Result;
use witvirt_harness::host::Host;
use witvirt_harness::root;

use self::convert::{Bench, Conversion, head};
use self::format::{FORMATS, QCOW2, ZLIB, ZSTD};
use self::source::{LARGE, SMALL};
use crate::installed::others;

mod convert;
mod format;
mod import;
mod lazy;
mod memory;
mod reflink;
mod registry;
mod source;

/// Runs of each side.
const RUNS: usize = 3;

/// Prints ratios; above 1 ours is faster.
pub fn run() -> Result<()> {
    let directory = root().join("target/bench");
    fs::create_dir_all(&directory)?;
    let (large, small) = (LARGE.raw(&directory)?, SMALL.raw(&directory)?);
    let bench = Bench::new(&directory, "")?;
    head();
    for format in &FORMATS {
        let image = format.image(&LARGE, &directory)?;
        bench.compare(&Conversion::to_raw(format, &image, &large))?;
    }
    let what = "raw -> raw".to_owned();
    bench.compare(&Conversion { what, from: "raw", ..Conversion::to_raw(QCOW2, &large, &large) })?;
    for format in &FORMATS {
        let raw = if format.is_deflated() { &small } else { &large };
        bench.compare(&Conversion::from_raw(format, raw))?;
    }
    println!("  one processor over all:");
    for format in [ZLIB, ZSTD] {
        bench.scaling(&Conversion::to_raw(format, &format.image(&LARGE, &directory)?, &large))?;
    }
    println!("  imports:");
    import::over_convert(&bench, ZLIB)?;
    for format in [QCOW2, ZLIB] {
        registry::run(&directory, format)?;
    }
    memory::run(&directory)?;
    lazy::run(&directory)?;
    println!("  where files can share their blocks:");
    reflink::run(&directory)
}

impl Bench {
    /// With `more` at the end of the config.
    fn new(directory: &Path, more: &str) -> Result<Self> {
        let host = Host::new(&(others()? + more))?;
        let config = fs::read_to_string(host.config())?;
        let allowed = format!("allowed-directories = [{directory:?}, ");
        host.write_config(&config.replace("allowed-directories = [", &allowed))?;
        Ok(Self { host, directory: directory.to_owned() })
    }
}
