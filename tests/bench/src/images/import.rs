//! What an import takes besides a conversion: hashing what a guest sees.

use std::fs;

use anyhow::Result;

use super::RUNS;
use super::convert::{Bench, Conversion, fresh};
use super::format::Format;
use super::source::LARGE;
use crate::measure::{Usage, median, timed, usage};

/// Importing into the store over a conversion that flushes too.
pub fn over_convert(bench: &Bench, format: &Format) -> Result<()> {
    let (raw, image) = (LARGE.raw(&bench.directory)?, format.image(&LARGE, &bench.directory)?);
    let target = bench.directory.join("ours");
    let conversion = Conversion::to_raw(format, &image, &raw);
    let _daemon = bench.host.daemon()?;
    let (mut imports, mut converts) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        fresh(&target)?;
        converts.push(usage(&mut bench.ours(&conversion, &target, &[]))?);
        fresh(&target)?;
        let path = image.to_string_lossy();
        let import = ["image", "import", &path, "--name", "bench", "--format", format.format];
        imports.push(timed(|| bench.host.run(&import))?.0);
        bench.host.run(&["image", "rm", "bench", "--force"])?;
    }
    let (import, convert) = (median(imports), Usage::median(&converts).wall);
    println!(
        "  {:<31} {:>6.2}x ({convert:.2?} over {import:.2?}; the import hashes, both flush)",
        format!("{}: convert over import", format.name),
        convert.as_secs_f64() / import.as_secs_f64()
    );
    let _ = fs::remove_file(target);
    Ok(())
}
