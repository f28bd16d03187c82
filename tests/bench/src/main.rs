//! Benchmarks against peers in the same run, as ratios: times alone say little on a busy machine.
//!
//! Run by `cargo xtask bench [boot|plugins|daemon|images]`; the README has a table of what it printed.

use std::process::ExitCode;

use anyhow::{Result, bail};

mod boot;
mod chain;
mod daemon;
mod images;
mod installed;
mod measure;
mod plugins;

fn main() -> ExitCode {
    // The engine compiles plugins in a child process: this program again.
    if std::env::args().nth(1).as_deref() == Some(plugins::COMPILE) {
        return witvirt_engine::compile_child_main();
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let all = ["plugins", "daemon", "images", "boot"];
    if let Some(odd) = chosen.iter().find(|name| !all.contains(&name.as_str())) {
        bail!("no benchmark named {odd}; there are: {}", all.join(", "));
    }
    for name in all.into_iter().filter(|name| chosen.is_empty() || chosen.iter().any(|one| one == name)) {
        println!("\n{name}");
        match name {
            "plugins" => plugins::run()?,
            "daemon" => daemon::run()?,
            "images" => images::run()?,
            _ => boot::run()?,
        }
    }
    Ok(())
}
