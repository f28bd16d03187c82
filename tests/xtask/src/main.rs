//! The project's own commands: `cargo xtask demo|test|bench|plugins|guest`.

use std::process::{Command as Process, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use witvirt_harness::{guest, root, tools};

mod demo;
mod plugins;

#[derive(Parser)]
#[command(about = "Builds, shows and tests witvirt")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boots a real Linux guest through the plugins; installs and builds what that takes
    Demo,
    /// Runs every test, those with real guests included
    Test {
        /// Given to the tests: names to choose from, --nocapture ...
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measures against peers and prints ratios: all, or those named of plugins, daemon, images, boot
    Bench {
        /// Which
        names: Vec<String>,
    },
    /// Builds the plugins and makes components of them, in target/plugins
    Plugins,
    /// Makes the small Linux guest of the demo and the tests, in target/guest
    Guest,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Demo => demo::run(),
        Command::Test { arguments } => test(&arguments),
        Command::Bench { names } => bench(&names),
        Command::Plugins => plugins::build(),
        Command::Guest => {
            tools::install()?;
            guest::build().map(drop)
        }
    }
}

fn test(arguments: &[String]) -> Result<()> {
    tools::install()?;
    tools::install_for_tests()?;
    guest::build()?;
    plugins::build()?;
    // The end-to-end tests run the program itself.
    cargo(&["build", "--release", "--workspace", "--locked"])?;
    let mut command = vec!["test", "--release", "--workspace", "--locked", "--no-fail-fast"];
    if !arguments.is_empty() {
        command.push("--");
        command.extend(arguments.iter().map(String::as_str));
    }
    cargo(&command)
}

fn bench(names: &[String]) -> Result<()> {
    tools::install()?;
    tools::install_for_tests()?;
    guest::build()?;
    plugins::build()?;
    cargo(&["build", "--release", "--workspace"])?;
    let status = Process::new(root().join("target/release/witvirt-bench")).args(names).status()?;
    ensure!(status.success(), "the benchmarks ended with {status}");
    Ok(())
}

/// Runs cargo at the root of the workspace.
fn cargo(arguments: &[&str]) -> Result<()> {
    let mut cargo = Process::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let status = cargo.current_dir(root()).args(arguments).status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo {}: {status}", arguments.join(" "));
    Ok(())
}
