//! The command line.

mod document;
mod image;
mod machine;
mod system;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

pub use document::{ContextArgs, DocumentArgs, DocumentType, DomainCommand, Target};
pub use image::{AccessArgs, ImageCommand, ImportArgs, Pull, PushArgs};
pub use machine::{
    CreateArgs, EventArgs, LogArgs, Names, PsArgs, RmArgs, RunArgs, StartArgs, StopArgs, Until, WaitArgs,
};
pub use system::{ConfigCommand, HostCommand, PluginCommand, SchemaOf, TestArgs};

const AFTER_HELP: &str = "\
Exit codes:
    0  done
    1  failed
    2  the command line is wrong
    3  something named does not exist
    4  refused: by a policy, by the state of the machine, or because the name is taken
    5  denied: you may not
    6  no daemon answers
    7  a server or registry does not answer, or not as it should
  124  it took too long

Environment:
  WITVIRT_SOCKET  the daemon's socket      WITVIRT_CONFIG  the config
  WITVIRT_LOG     what the daemon logs (\"info\", \"witvirt=debug\", \"off\")
  NO_COLOR        no colours

Examples:
  witvirt daemon --config /etc/witvirt/witvirt.toml
  witvirt image import debian-12.qcow2 --name debian-12
  witvirt run machine.toml
  witvirt run debian-12 --memory 2GiB --cpus 2
  witvirt ps --output json";

/// Runs virtual machines, with WebAssembly plugins for everything that reads foreign formats or decides.
#[derive(Debug, Parser)]
#[command(name = "witvirt", version, after_help = AFTER_HELP, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    /// The daemon's socket [default: the config's, else the system's or the user's]
    #[arg(long, global = true, env = "WITVIRT_SOCKET", value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub socket: Option<PathBuf>,
    /// The config [default: $XDG_CONFIG_HOME/witvirt/witvirt.toml, /etc/witvirt/witvirt.toml]
    #[arg(long, global = true, env = "WITVIRT_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// How results are written
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub output: Format,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve machines until told to end; machines go on running without it
    #[command(
        after_help = "Examples:\n  witvirt daemon --config config/witvirt.toml\n\nSIGHUP reloads the plugins; SIGTERM and SIGINT end the daemon and leave the machines running."
    )]
    Daemon(DaemonArgs),
    /// Run a machine and show its console
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Define a machine
    #[command(
        after_help = "Examples:\n  witvirt create machine.toml\n  witvirt create domain.xml --name web-2 --start\n  witvirt create vms.yaml\n  witvirt create vms.yaml --select web-2\n  witvirt create run.sh --name installer\n  witvirt create --name box -- xhyve -m 1G -f kexec,vmlinuz,initrd.gz,console=ttyS0\n  witvirt create machine.toml --dry-run --output json\n\nEvery machine of a document with several is created, or none where one of them is refused."
    )]
    Create(CreateArgs),
    /// Start machines
    #[command(after_help = "Examples:\n  witvirt start web-1 web-2\n  witvirt start --lazy web-1")]
    Start(StartArgs),
    /// Ask guests to power off; pull the plug when they do not in time
    #[command(after_help = "Examples:\n  witvirt stop web-1\n  witvirt stop web-1 --timeout 5s")]
    Stop(StopArgs),
    /// Stop machines and start them again
    #[command(after_help = "Examples:\n  witvirt restart web-1")]
    Restart(StopArgs),
    /// Stop the virtual CPUs
    #[command(after_help = "Examples:\n  witvirt pause web-1")]
    Pause(Names),
    /// Run the virtual CPUs again
    #[command(after_help = "Examples:\n  witvirt resume web-1")]
    Resume(Names),
    /// Pull the plug
    #[command(after_help = "Examples:\n  witvirt kill web-1")]
    Kill(Names),
    /// Remove machines with their own disks; images and volumes stay
    #[command(after_help = "Examples:\n  witvirt rm web-1\n  witvirt rm --force web-1 web-2")]
    Rm(RmArgs),
    /// List machines
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  witvirt ps\n  witvirt ps --output json | jq '.[].name'"
    )]
    Ps(PsArgs),
    /// Show all of a machine
    #[command(
        after_help = "Examples:\n  witvirt inspect web-1\n  witvirt inspect web-1 --output json | jq .spec"
    )]
    Inspect(One),
    /// Attach to a machine's console; Ctrl-] leaves
    #[command(
        after_help = "Examples:\n  witvirt console web-1\n\nOne client at a time: a newer one takes over, and the older one is told."
    )]
    Console(One),
    /// Show what a machine printed on its console
    #[command(
        after_help = "Examples:\n  witvirt logs web-1 --tail 20\n  witvirt logs web-1 --follow --since 5min\n\nEscape sequences other than colours are left out unless --raw is given."
    )]
    Logs(LogArgs),
    /// Follow what happens to machines
    #[command(after_help = "Examples:\n  witvirt events\n  witvirt events --machine web-1 --output json")]
    Events(EventArgs),
    /// Wait for a machine
    #[command(after_help = "Examples:\n  witvirt wait web-1 --for ended --timeout 1min")]
    Wait(WaitArgs),
    /// Disk images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Domain documents
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// This host
    #[command(subcommand)]
    Host(HostCommand),
    /// The configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write a completion script for a shell
    #[command(
        after_help = "Examples:\n  witvirt completion bash > /etc/bash_completion.d/witvirt\n  source <(witvirt completion zsh)"
    )]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

const RUN_HELP: &str = "\
FILE is a machine (.toml, .json), a document that becomes one (.xml, .yaml, .sh; --type says what other files are), the name of an image in the store, or an image file or the URL of
one, which is imported first; with --lazy, a machine runs from a URL while it arrives.

Ctrl-] leaves the console. With a daemon the machine goes on running. Without one, `witvirt run` hosts the machine itself:
leaving then asks the guest to power off and waits for it as `stop` does. --rm removes the machine once it has ended.

Examples:
  witvirt run machine.toml
  witvirt run domain.xml --name test --rm
  witvirt run vms.yaml --select web-2
  witvirt run run.sh
  witvirt run --name box -- xhyve -m 1G -s 2:0,virtio-net -f kexec,vmlinuz,initrd.gz,console=ttyS0
  witvirt run debian-12.qcow2 --memory 2GiB --cpus 2
  witvirt run --lazy https://images.example/debian-12.qcow2
  witvirt run --lazy docker://registry.example/debian:12
  witvirt run debian-12 --detach";

/// Places of a daemon that differ from its config's.
#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// Where machines and volumes are kept, and images unless the config has a directory for them
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub state_directory: Option<PathBuf>,
    /// Where sockets of running machines are
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub run_directory: Option<PathBuf>,
}

/// A machine or another thing.
#[derive(Debug, Args)]
pub struct One {
    /// Its name
    pub name: String,
}
