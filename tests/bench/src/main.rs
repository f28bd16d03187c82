//! Benchmarks against peers in the same run, as ratios: times alone say little on a busy machine.
//!
//! Run by `cargo xtask bench [plugins|sidecar|daemon|images|boot]`; the README has a table of what it printed.

use std::process::ExitCode;

use anyhow::{Result, bail};

mod boot;
mod chain;
mod daemon;
mod images;
mod installed;
mod measure;
mod plugins;
mod sidecar;

fn main() -> ExitCode {
    // The engine compiles plugins in a child process: this program again.
    if std::env::args().nth(1).as_deref() == Some(plugins::COMPILE) {
        return witvirt_engine::compile_child_main();
    }
    let arguments: Vec<String> = std::env::args().collect();
    let program = arguments.first().map(std::path::Path::new).and_then(std::path::Path::file_name);
    let called = program.is_some_and(|name| name == sidecar::HOOK);
    let result = match arguments.get(1).map(String::as_str) {
        _ if called => sidecar::compiled(&arguments[1..]),
        Some(sidecar::SHIM) => sidecar::shim(&arguments[2..]),
        _ => run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let all = ["plugins", "sidecar", "daemon", "images", "boot"];
    if let Some(odd) = chosen.iter().find(|name| !all.contains(&name.as_str())) {
        bail!("no benchmark named {odd}; there are: {}", all.join(", "));
    }
    for name in all.into_iter().filter(|name| chosen.is_empty() || chosen.iter().any(|one| one == name)) {
        println!("\n{name}");
        match name {
            "plugins" => plugins::run()?,
            "sidecar" => sidecar::run()?,
            "daemon" => daemon::run()?,
            "images" => images::run()?,
            _ => boot::run()?,
        }
    }
    Ok(())
}
