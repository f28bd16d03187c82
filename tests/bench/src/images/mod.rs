//! Conversions against `qemu-img convert`, of a 2 GiB ext4 file system with real files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use witvirt_harness::host::Host;
use witvirt_harness::{plugins, root, tools};

use crate::measure::{Usage, timed, usage};
use crate::reflink::Xfs;

/// Bytes of real files on the disk.
const CONTENT: u64 = 1400 << 20;

/// Runs of each side; of those in which qemu-img needs half a minute, one.
const RUNS: usize = 3;

/// An image format, as both programs are told to write it.
struct Format {
    name: &'static str,
    /// Its registry name, and QEMU's.
    format: &'static str,
    /// `image convert --option`.
    ours: &'static [&'static str],
    /// `qemu-img convert`.
    theirs: &'static [&'static str],
    /// How many times as fast reading has to be, and writing.
    aims: (Option<f64>, Option<f64>),
    /// Runs of each side when it is written.
    runs: usize,
}

const fn format(name: &'static str, format: &'static str) -> Format {
    Format { name, format, ours: &[], theirs: &[], aims: (Some(1.0), None), runs: RUNS }
}

const FORMATS: [Format; 9] = [
    Format { aims: (Some(1.0), Some(1.0)), ..format("qcow2", "qcow2") },
    Format {
        ours: &["compression=zlib"],
        theirs: &["-c"],
        aims: (Some(3.5), Some(4.0)),
        runs: 1,
        ..format("qcow2 zlib", "qcow2")
    },
    Format {
        ours: &["compression=zstd"],
        theirs: &["-c", "-o", "compression_type=zstd"],
        aims: (Some(3.0), Some(3.0)),
        ..format("qcow2 zstd", "qcow2")
    },
    Format {
        ours: &["subformat=streamOptimized"],
        theirs: &["-o", "subformat=streamOptimized"],
        aims: (Some(4.5), Some(5.0)),
        runs: 1,
        ..format("vmdk streamOptimized", "vmdk")
    },
    Format { aims: (Some(1.7), None), ..format("vmdk monolithicSparse", "vmdk") },
    format("vdi", "vdi"),
    Format { theirs: &["-o", "force_size=on"], ..format("vpc dynamic", "vpc") },
    format("vhdx", "vhdx"),
    Format { theirs: &[], aims: (None, None), ..format("qed", "qed") },
];

/// Prints ratios; above 1 ours is faster.
pub fn run() -> Result<()> {
    let directory = root().join("target/bench");
    fs::create_dir_all(&directory)?;
    let raw = source(&directory)?;
    let host = Host::new(&plugins_of_formats())?;
    allow(&host, &directory)?;
    let bench = Bench { host, directory };
    println!(
        "  {:<34} {:>7} {:>7} {:>12} {:>14} {:>16}",
        "", "ratio", "aim", "of CPU time", "peak MiB", "size MiB"
    );
    for format in FORMATS.iter().filter(|format| format.aims.0.is_some()) {
        let image = bench.image(format, &raw)?;
        let what = format!("{} -> raw", format.name);
        bench.compare(&what, format.aims.0, RUNS, &Conversion::to_raw(&image, format.format, &[]), &raw)?;
        if format.theirs.contains(&"-c") {
            let parallel = Conversion::to_raw(&image, format.format, &["-W", "-m", "16"]);
            bench.compare(&format!("{what}, qemu-img -W -m 16"), Some(1.0), RUNS, &parallel, &raw)?;
        }
    }
    bench.compare("raw -> raw", Some(1.0), RUNS, &Conversion::to_raw(&raw, "raw", &[]), &raw)?;
    for format in &FORMATS {
        let what = format!("raw -> {}", format.name);
        bench.compare(&what, format.aims.1, format.runs, &Conversion::from_raw(&raw, format), &raw)?;
    }
    bench.import(&FORMATS[1], &raw)?;
    bench.reflink(&FORMATS[0], &raw)
}

/// What both programs do.
struct Conversion<'a> {
    source: &'a Path,
    from: &'a str,
    to: &'a str,
    ours: &'a [&'a str],
    theirs: &'a [&'a str],
}

impl<'a> Conversion<'a> {
    fn to_raw(source: &'a Path, from: &'a str, theirs: &'a [&'a str]) -> Self {
        Self { source, from, to: "raw", ours: &[], theirs }
    }

    fn from_raw(source: &'a Path, format: &'a Format) -> Self {
        Self { source, from: "raw", to: format.format, ours: format.ours, theirs: format.theirs }
    }
}

struct Bench {
    host: Host,
    directory: PathBuf,
}

impl Bench {
    /// An image that qemu-img made of the disk; kept for the next time.
    fn image(&self, format: &Format, raw: &Path) -> Result<PathBuf> {
        let image = self.directory.join(format!("{}.image", format.name.replace(' ', "-")));
        if !image.is_file() {
            let partial = self.directory.join("partial");
            let mut convert = Command::new("qemu-img");
            convert.args(["convert", "-W", "-m", "16", "-f", "raw", "-O", format.format]);
            tools::run(convert.args(format.theirs).arg(raw).arg(&partial))?;
            fs::rename(partial, &image)?;
        }
        Ok(image)
    }

    fn ours(&self, conversion: &Conversion<'_>, target: &Path, more: &[&str]) -> Command {
        let mut command = self.host.command(&["image", "convert", "--format", conversion.from]);
        command.args(["--to", conversion.to]).args(more);
        command.args(conversion.ours.iter().flat_map(|option| ["--option", option]));
        command.arg(conversion.source).arg(target);
        command
    }

    /// Both by turns, and a line of the table. What ours wrote has to be the disk `raw`.
    fn compare(
        &self,
        what: &str,
        aim: Option<f64>,
        runs: usize,
        conversion: &Conversion<'_>,
        raw: &Path,
    ) -> Result<()> {
        let (mine, peers) = (self.directory.join("ours"), self.directory.join("theirs"));
        let mut times = (Vec::new(), Vec::new());
        for _ in 0..runs {
            fresh(&mine)?;
            times.0.push(usage(&mut self.ours(conversion, &mine, &["--no-sync"]))?);
            fresh(&peers)?;
            let mut convert = Command::new("qemu-img");
            convert.args(["convert", "-f", conversion.from, "-O", conversion.to]).args(conversion.theirs);
            times.1.push(usage(convert.arg(conversion.source).arg(&peers))?);
        }
        let (ours, theirs) = (Usage::median(&times.0), Usage::median(&times.1));
        let mut compare = Command::new("qemu-img");
        compare.args(["compare", "-q", "-f", conversion.to, "-F", "raw"]).arg(&mine).arg(raw);
        tools::run(&mut compare).with_context(|| format!("{what}: our copy differs from the source"))?;
        println!(
            "  {what:<34} {:>6.2}x {:>7} {:>11.2}x {:>6}/{:<6} {:>8}/{:<8} ({:.2?}, qemu-img {:.2?})",
            theirs.wall.as_secs_f64() / ours.wall.as_secs_f64(),
            aim.map(|aim| format!("{aim:.1}x")).unwrap_or_default(),
            theirs.processor.as_secs_f64() / ours.processor.as_secs_f64(),
            ours.memory >> 10,
            theirs.memory >> 10,
            fs::metadata(&mine)?.len() >> 20,
            fs::metadata(&peers)?.len() >> 20,
            ours.wall,
            theirs.wall,
        );
        fs::remove_file(mine)?;
        fs::remove_file(peers)?;
        Ok(())
    }

    /// Importing into the store, which hashes what a guest sees and flushes it, over a conversion that flushes.
    fn import(&self, format: &Format, raw: &Path) -> Result<()> {
        let image = self.image(format, raw)?;
        let target = self.directory.join("ours");
        let _daemon = self.host.daemon()?;
        let (mut imports, mut converts) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            fresh(&target)?;
            let conversion = Conversion::to_raw(&image, format.format, &[]);
            converts.push(usage(&mut self.ours(&conversion, &target, &[]))?.wall);
            let path = image.to_string_lossy();
            let import = ["image", "import", &path, "--name", "bench", "--format", format.format];
            imports.push(timed(|| self.host.run(&import))?.0);
            self.host.run(&["image", "rm", "bench", "--force"])?;
        }
        fs::remove_file(target)?;
        let (import, convert) = (crate::measure::median(imports), crate::measure::median(converts));
        println!(
            "  {:<34} {:>6.2}x  ({import:.2?}, {convert:.2?}; with its digest, both flushed)",
            format!("import {} over convert", format.name),
            convert.as_secs_f64() / import.as_secs_f64()
        );
        Ok(())
    }

    /// Where files can share their blocks.
    fn reflink(&self, format: &Format, raw: &Path) -> Result<()> {
        let xfs = match Xfs::new(&self.directory, 6 << 30) {
            Ok(xfs) => xfs,
            Err(error) => {
                println!("  skipped: XFS on a loop device: {error:#}");
                return Ok(());
            }
        };
        let image = xfs.path().join("image");
        fs::copy(self.image(format, raw)?, &image)?;
        let there = Bench { host: Host::new(&plugins_of_formats())?, directory: xfs.path().to_owned() };
        allow(&there.host, xfs.path())?;
        let conversion = Conversion::to_raw(&image, format.format, &[]);
        there.compare(&format!("{} -> raw, XFS", format.name), None, RUNS, &conversion, raw)
    }
}

fn fresh(target: &Path) -> Result<()> {
    let _ = fs::remove_file(target);
    tools::run(&mut Command::new("sync")).map(drop)
}

fn allow(host: &Host, directory: &Path) -> Result<()> {
    let config = fs::read_to_string(host.config())?;
    let config =
        config.replace("allowed-directories = [", &format!("allowed-directories = [{directory:?}, "));
    host.write_config(&config)
}

/// The config of the format plugins that a host does not have by itself.
fn plugins_of_formats() -> String {
    let one = |format: &str| {
        let file = plugins().join(format!("format-{format}.wasm"));
        format!("[[plugin]]\nname = \"format-{format}\"\nkind = \"disk-format\"\nfile = {file:?}\n")
    };
    ["vmdk", "vdi", "vpc", "vhdx", "qed"].map(one).concat()
}

/// A 2 GiB ext4 file system with files of this host.
fn source(directory: &Path) -> Result<PathBuf> {
    let raw = directory.join("source.raw");
    if raw.is_file() {
        return Ok(raw);
    }
    let tree = directory.join("tree");
    let _ = fs::remove_dir_all(&tree);
    fs::create_dir_all(&tree)?;
    let mut left = CONTENT;
    for place in ["/usr/bin", "/usr/lib", "/usr/share", "/usr/local"] {
        fill(Path::new(place), &tree, &mut left)?;
    }
    ensure!(left < CONTENT / 2, "this host has too few files below /usr for a benchmark");
    let partial = directory.join("source.partial");
    let mke2fs = tools::find("mke2fs").context("no mke2fs")?;
    tools::run(Command::new(mke2fs).args(["-q", "-t", "ext4", "-d"]).arg(&tree).arg(&partial).arg("2G"))?;
    fs::remove_dir_all(tree)?;
    fs::rename(partial, &raw)?;
    Ok(raw)
}

fn fill(from: &Path, tree: &Path, left: &mut u64) -> Result<()> {
    let mut pending = vec![from.to_owned()];
    while let Some(directory) = pending.pop() {
        let target = tree.join(directory.strip_prefix("/").unwrap_or(&directory));
        fs::create_dir_all(&target)?;
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                pending.push(entry.path());
            }
            let length = entry.metadata().map_or(0, |data| data.len());
            if kind.is_file()
                && length <= *left
                && fs::copy(entry.path(), target.join(entry.file_name())).is_ok()
            {
                *left -= length;
            }
        }
    }
    Ok(())
}
