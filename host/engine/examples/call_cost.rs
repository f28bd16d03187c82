//! Prints what plugins cost: loading from the cache, a fresh instance for a call, a call on an open image.
//!
//! `cargo run --release -p witvirt-engine --example call_cost`, after `cargo xtask plugins`.
#![allow(missing_docs)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use witvirt_core::Name;
use witvirt_core::domain::Document;
use witvirt_core::plugin::{Limits, Mode, OnFailure, PluginEntry, PluginKind};
use witvirt_core::source::ByteSource;
use witvirt_engine::{CompileCommand, Engine, EngineOptions, Plugin};

struct Zeros;

impl ByteSource for Zeros {
    fn size(&self) -> u64 {
        1 << 30
    }

    fn read_at(&self, buffer: &mut [u8], _: u64) -> std::io::Result<usize> {
        buffer.fill(0);
        Ok(buffer.len())
    }
}

fn main() -> ExitCode {
    // The example is its own compiling child, as the daemon is.
    if std::env::args().nth(1).as_deref() == Some("compile") {
        return witvirt_engine::compile_child_main();
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let compiler = CompileCommand { program: std::env::current_exe()?, arguments: vec!["compile".into()] };
    let engine = Engine::new(EngineOptions::new(directory.path().join("cache"), compiler))?;
    for (name, kind) in [
        ("format-raw", PluginKind::DiskFormat),
        ("format-qcow2", PluginKind::DiskFormat),
        ("hostile-converter", PluginKind::DomainConverter),
        ("domain-libvirt", PluginKind::DomainConverter),
    ] {
        let entry = entry(name, kind)?;
        let first = match engine.load(&entry) {
            Ok(loaded) => loaded,
            Err(error) => {
                println!("{name}: skipped: {error}");
                continue;
            }
        };
        let load = median(200, || engine.load(&entry).map(drop))?;
        println!(
            "{name}: {} KiB, compile {:.0} ms",
            first.report.size >> 10,
            first.report.compile_us as f64 / 1000.0
        );
        println!("{name}: load from cache {load:?}");
        calls(name, &first.plugin)?;
    }
    Ok(())
}

fn calls(name: &str, plugin: &Plugin) -> Result<(), Box<dyn Error>> {
    match plugin {
        Plugin::Format(format) => {
            let probe = median(1000, || format.probe(&[0; 65536], &[0; 4096], 1 << 30).map(drop))?;
            println!("{name}: fresh instance and probe {probe:?}");
            if name == "format-raw" {
                let mut image = format.open(Arc::new(Zeros), "raw")?;
                let call = median(10_000, || image.extents(0, 1 << 30, 16).map(drop))?;
                println!("{name}: extents on an open image {call:?}");
            }
        }
        Plugin::Converter(converter) => {
            let (source, target) = converter.conversions()[0].clone();
            let body =
                "<domain type='kvm'><name>x</name><memory>65536</memory><os><type>hvm</type></os></domain>";
            let document = Document { media_type: source, body: body.to_owned() };
            let options = serde_json::json!({});
            let convert = median(1000, || converter.convert(&document, &target, &options).map(drop))?;
            println!("{name}: fresh instance and conversion {convert:?}");
        }
        Plugin::Policy(_) | Plugin::Artifact(_) => {}
    }
    Ok(())
}

fn median<E>(count: usize, mut call: impl FnMut() -> Result<(), E>) -> Result<Duration, E> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[count / 2])
}

fn entry(name: &str, kind: PluginKind) -> Result<PluginEntry, Box<dyn Error>> {
    let file: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins").join(format!("{name}.wasm"));
    Ok(PluginEntry {
        name: Name::new(name)?,
        kind,
        file,
        sha256: None,
        settings: serde_json::json!({}),
        limits: Limits::default(),
        on_failure: OnFailure::Deny,
        mode: Mode::Enforce,
    })
}
