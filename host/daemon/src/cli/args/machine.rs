//! Arguments of the commands that are about machines.

use clap::{Args, ValueEnum};
use witvirt_core::{ByteSize, Digest};

use super::DocumentArgs;
use crate::config::{InvalidSpan, Span};

/// What is run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What it is and what it is made from
    #[command(flatten)]
    pub document: DocumentArgs,
    /// Guest memory, when an image is run [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// Virtual CPUs, when an image is run [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub cpus: Option<u32>,
    /// Format of the image file, where it is not to be probed
    #[arg(long)]
    pub format: Option<String>,
    /// Start before a remote image is here: fetch what the guest reads, and the rest meanwhile
    #[arg(long)]
    pub lazy: bool,
    /// SHA-256 of a remote image; with --lazy it is compared once all of it is here
    #[arg(long, value_name = "DIGEST")]
    pub sha256: Option<Digest>,
    /// Return as soon as the machine runs (needs a daemon)
    #[arg(long, short)]
    pub detach: bool,
    /// Remove the machine once it has ended
    #[arg(long, conflicts_with = "detach")]
    pub rm: bool,
    /// Host the machine here even where a daemon answers
    #[arg(long, conflicts_with = "detach")]
    pub no_daemon: bool,
}

/// What is created.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What it is made from
    #[command(flatten)]
    pub document: DocumentArgs,
    /// Start it
    #[arg(long)]
    pub start: bool,
    /// Do not wait until remote images are here: fetch what the guest reads, and the rest meanwhile
    #[arg(long, requires = "start")]
    pub lazy: bool,
    /// Check everything, create nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Machines.
#[derive(Debug, Args)]
pub struct Names {
    /// Their names
    #[arg(required = true)]
    pub names: Vec<String>,
}

/// Machines to start.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// Their names
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Do not wait until remote images are here: fetch what the guest reads, and the rest meanwhile
    #[arg(long)]
    pub lazy: bool,
}

/// Machines to stop.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Their names
    #[arg(required = true)]
    pub names: Vec<String>,
    /// How long the guest may take, in seconds or as in "1min" [default: the machine's stop-timeout]
    #[arg(long, value_name = "DURATION", value_parser = seconds_or_span)]
    pub timeout: Option<Span>,
}

/// Machines to remove.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Their names
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Kill those that run
    #[arg(long, short)]
    pub force: bool,
}

/// A bare number is in seconds.
fn seconds_or_span(text: &str) -> Result<Span, InvalidSpan> {
    match text.parse() {
        Ok(seconds) => Ok(Span(std::time::Duration::from_secs(seconds))),
        Err(_) => text.parse(),
    }
}

/// Which machines.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// Only those that have not ended
    #[arg(long, short)]
    pub running: bool,
    /// All, which is what is listed anyway
    #[arg(long, short, hide = true, conflicts_with = "running")]
    pub all: bool,
    /// Only names
    #[arg(long, short)]
    pub quiet: bool,
}

/// Which part of a console log.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// The machine
    pub name: String,
    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Only so many of the last lines
    #[arg(long, short = 'n', value_name = "LINES")]
    pub tail: Option<usize>,
    /// Only what is newer: a time ("2026-11-21T07:00:00Z") or how long ago ("5min")
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// As the guest wrote it, escape sequences included
    #[arg(long)]
    pub raw: bool,
}

/// Which events.
#[derive(Debug, Args)]
pub struct EventArgs {
    /// Only of this machine
    #[arg(long, short)]
    pub machine: Option<String>,
}

/// What is waited for.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The machine
    pub name: String,
    /// Until when
    #[arg(long = "for", value_enum, default_value_t = Until::Ended)]
    pub until: Until,
    /// At most so long, in seconds or as in "1min"; exit code 124 then
    #[arg(long, value_name = "DURATION", value_parser = seconds_or_span)]
    pub timeout: Option<Span>,
}

/// A condition of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// It runs
    Running,
    /// It is paused
    Paused,
    /// It has ended and will not be restarted
    Ended,
    /// It is gone
    Removed,
}
