//! The project's own commands: `cargo xtask plugins|demo|test|bench`.

use anyhow::Result;
use clap::{Parser, Subcommand};

mod plugins;

#[derive(Parser)]
#[command(about = "Builds, shows and tests witvirt")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the plugins and makes components of them, in target/plugins
    Plugins,
    /// Makes the small Linux guest of the demo and the tests, in target/guest
    Guest,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Plugins => plugins::build(),
        Command::Guest => {
            witvirt_harness::tools::install()?;
            witvirt_harness::guest::build().map(drop)
        }
    }
}
