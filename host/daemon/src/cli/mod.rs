//! The command line: what is asked for, asked of a daemon, and shown.

pub mod args;
mod convert;
mod document;
mod explain;
mod filter;
mod image;
mod input;
mod kept;
mod local;
mod machine;
mod output;
mod progress;
mod qemu;
mod remote;
mod run;
mod serve;
mod system;
mod terminal;
mod trial;
mod upkeep;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::api;
use crate::client::Client;
use crate::config::{self, Config};
use args::{Cli, Command, Format};
use output::Paint;

/// What every command has.
pub struct Context {
    /// How results are written.
    pub format: Format,
    /// The socket that was named.
    pub socket: Option<PathBuf>,
    config: Option<PathBuf>,
}

impl Context {
    /// The config that was named or found; the defaults where there is none.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn config(&self) -> anyhow::Result<Config> {
        match self.config.clone().or_else(config::find_config) {
            Some(path) => Config::load(&path),
            None => Ok(Config::defaults()),
        }
    }

    /// For the daemon whose socket was named, else the config's.
    ///
    /// # Errors
    /// Mistakes in the config, where the socket is not named.
    pub fn client(&self) -> anyhow::Result<Client> {
        match &self.socket {
            Some(socket) => Ok(Client::new(socket)),
            None => Ok(Client::new(&self.config()?.api.socket)),
        }
    }

    /// Whether results are for programs.
    pub fn json(&self) -> bool {
        self.format == Format::Json
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let context = Context { format: cli.output, socket: cli.socket, config: cli.config };
    match run(&context, cli.command) {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}

fn run(context: &Context, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Daemon(args) => return serve::daemon(context, args),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "witvirt", &mut script);
            output::print_bytes(&script)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Config(command) => return system::config(context, command),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(ask(context, command));
    // A read of standard input may be pending for ever; nothing else is worth waiting for.
    runtime.shutdown_background();
    result
}

async fn ask(context: &Context, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => run::run(context, args).await,
        Command::Image(command) => image::image(context, command).await,
        Command::Domain(command) => document::domain(context, command).await,
        Command::Plugin(command) => system::plugin(context, command).await,
        Command::Host(command) => system::host(context, command).await,
        other => machine::machine(context, other).await,
    }
}

/// Tells an error once: its chain, then what to do.
fn report(error: &anyhow::Error) -> ExitCode {
    let paint = Paint::stderr();
    if let Some(problems) = error.downcast_ref::<crate::document::Problems>() {
        eprint!("{problems}");
        let count = problems.list().len();
        eprintln!(
            "\n{} {count} mistake{}, nothing was started",
            paint.red("error:"),
            if count == 1 { "" } else { "s" }
        );
        return ExitCode::FAILURE;
    }
    eprintln!("{} {}", paint.red("error:"), shown(&api::error::chain(error.as_ref())));
    let Some(failure) = error.chain().find_map(|cause| cause.downcast_ref::<api::Error>()) else {
        return ExitCode::FAILURE;
    };
    for hint in &failure.hints {
        eprintln!("{} {}", paint.bold("hint:"), shown(hint));
    }
    ExitCode::from(failure.kind.exit_code())
}

/// Lines stay, other control characters do not.
fn shown(text: &str) -> String {
    text.lines().map(output::clean).collect::<Vec<_>>().join("\n")
}
