//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use witvirt_core::{ByteSize, Digest, Name};
use witvirt_disk::Checksum;

use crate::config::Span;

const AFTER_HELP: &str = "\
Exit codes:
    0  done
    1  failed
    2  the command line is wrong
    3  something named does not exist
    4  refused: by a policy, by the state of the machine, or because the name is taken
    5  denied: you may not
    6  no daemon answers
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
        after_help = "Examples:\n  witvirt create machine.toml\n  witvirt create domain.xml --name web-2 --start\n  witvirt create machine.toml --dry-run --output json"
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
FILE is a machine (.toml, .json), a domain document (.xml), the name of an image in the store, or an image file or the URL of
one, which is imported first; with --lazy, a machine runs from a URL while it arrives.

Ctrl-] leaves the console. With a daemon the machine goes on running. Without one, `witvirt run` hosts the machine itself:
leaving then asks the guest to power off and waits for it as `stop` does. --rm removes the machine once it has ended.

Examples:
  witvirt run machine.toml
  witvirt run domain.xml --name test --rm
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

/// What is run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A machine, a domain document, an image file, an image's name or URL
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: String,
    /// The machine's name
    #[arg(long)]
    pub name: Option<Name>,
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
    /// Pipeline for a document
    #[arg(long)]
    pub pipeline: Option<String>,
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
    /// A machine (.toml, .json) or a domain document (.xml); "-" reads standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: String,
    /// The machine's name
    #[arg(long)]
    pub name: Option<Name>,
    /// Pipeline for a document
    #[arg(long)]
    pub pipeline: Option<String>,
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

/// A machine or another thing.
#[derive(Debug, Args)]
pub struct One {
    /// Its name
    pub name: String,
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
fn seconds_or_span(text: &str) -> Result<Span, crate::config::InvalidSpan> {
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

const IMPORT_HELP: &str = "\
SOURCE is a file or a directory of parts on the daemon's host, http://..., https://..., docker://HOST/NAME:TAG (the same: \
oci://) for an artifact in a registry, or \"-\" for standard input, which is uploaded.

The format is probed by plugins; a raw image has to be named as such. Compression and archives are unpacked on the way. In \
registries, KubeVirt containerDisks, macOS-vz and tart machines and plain ORAS artifacts are read, each by a plugin. A \
download that was cut goes on where it ended when it is started again.

Examples:
  witvirt image import debian-12.qcow2 --name debian-12
  witvirt image import disk.img --format raw
  witvirt image import https://example.org/noble.img --checksum sha256:5e1f...
  witvirt image import docker://registry.example/containerdisks/fedora:40
  witvirt image import oci://registry.example/vm:1 --platform linux/arm64 --auth-file ~/.docker/config.json
  witvirt image import appliance.ova --member disk1.vmdk
  zstd -dc disk.raw.zst | witvirt image import - --name disk --format raw";

const PUSH_HELP: &str = "\
Examples:
  witvirt image push debian-12 docker://registry.example/disks/debian:12 --layout containerdisk
  witvirt image push debian-12 oci://localhost:5000/debian:12 --layout containerdisk --format raw --option compression=zstd
  witvirt image push macos oci://registry.example/macos:15 --layout macosvz --platform darwin/arm64 --file aux-image=aux.img \
--option hardware-model=BASE64 --option machine-id=BASE64";

/// What is imported.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A file, a directory of parts, a URL, docker://HOST/NAME:TAG, or "-"
    #[arg(value_name = "SOURCE", value_hint = ValueHint::FilePath)]
    pub source: String,
    /// What to call it [default: the last part of the source]
    #[arg(long)]
    pub name: Option<Name>,
    /// Its format
    #[arg(long)]
    pub format: Option<String>,
    /// What it is unpacked from first: auto, none, or names like gzip and tar+gzip [default: auto]
    #[arg(long, value_name = "HOW")]
    pub unpack: Option<String>,
    /// Which file of an archive or an artifact it is
    #[arg(long, value_name = "PATH")]
    pub member: Option<String>,
    /// What its bytes hash to as they are served: ALGORITHM:HEX with sha256, sha512, sha1 or md5; may be repeated
    #[arg(long = "checksum", value_name = "ALGORITHM:HEX")]
    pub checksums: Vec<Checksum>,
    /// Short for --checksum sha256:HEX
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<Digest>,
    /// Take the name from another image that has it
    #[arg(long)]
    pub replace: bool,
    /// When a server or registry is asked
    #[arg(long, value_enum, default_value_t = Pull::Always, value_name = "POLICY")]
    pub pull_policy: Pull,
    /// How an artifact is laid out [default: found out by the plugins]
    #[arg(long)]
    pub layout: Option<String>,
    /// Which image of several, as OS/ARCHITECTURE [default: this host's]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// A header for a server, as "NAME: VALUE"; may be repeated
    #[arg(long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// What is presented to servers and registries
    #[command(flatten)]
    pub access: AccessArgs,
    /// Certificates to trust for a server besides the system's, PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca_file: Option<PathBuf>,
}

/// Credentials. They are read here and handed to the daemon for the one request.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// Credentials for registries, as docker and podman keep them (config.json, auth.json)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub auth_file: Option<PathBuf>,
    /// A file with one line, USER:PASSWORD, for a server or registry
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub login_file: Option<PathBuf>,
}

/// What is pushed.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// An image of the store
    pub image: String,
    /// Where to: docker://HOST/NAME:TAG (the same: oci://)
    pub target: String,
    /// How it is laid out: containerdisk, macosvz, or what other plugins know
    #[arg(long)]
    pub layout: String,
    /// Format of the disk in it [default: the layout's]
    #[arg(long)]
    pub format: Option<String>,
    /// What it is for, as OS/ARCHITECTURE [default: this host's]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// An option of the layout, as NAME=VALUE
    #[arg(long = "option", value_name = "NAME=VALUE")]
    pub options: Vec<String>,
    /// A further file of the machine, as ROLE=FILE
    #[arg(long = "file", value_name = "ROLE=FILE")]
    pub files: Vec<String>,
    /// What is presented to the registry
    #[command(flatten)]
    pub access: AccessArgs,
}

/// When a server or registry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pull {
    /// Always; nothing is downloaded where a registry still has what the store has
    Always,
    /// Where the store has nothing from there
    IfNotPresent,
    /// Never
    Never,
}

/// Disk images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Bring an image into the store: a file, a URL, an artifact in a registry, or standard input
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
    /// Put an image into a registry
    #[command(after_help = PUSH_HELP)]
    Push(PushArgs),
    /// List images
    #[command(after_help = "Examples:\n  witvirt image ls")]
    Ls,
    /// Show all of an image
    #[command(after_help = "Examples:\n  witvirt image inspect debian-12")]
    Inspect(One),
    /// Remove images
    #[command(after_help = "Examples:\n  witvirt image rm debian-12")]
    Rm {
        /// Names or digests
        #[arg(required = true)]
        names: Vec<String>,
        /// Even where machines need it
        #[arg(long, short)]
        force: bool,
    },
    /// Write an image in another format; works without a daemon
    #[command(
        after_help = "Examples:\n  witvirt image convert disk.qcow2 disk.raw\n  witvirt image convert disk.raw disk.qcow2 --format raw --to qcow2 --option cluster-size=65536\n  witvirt image convert disk.qcow2 disk.vmdk --to vmdk --option subformat=streamOptimized\n  witvirt image convert new.qcow2 delta.qcow2 --to qcow2 --backing old.qcow2"
    )]
    Convert(super::convert::ConvertArgs),
    /// Write an image of the store as a file; works without a daemon
    #[command(
        after_help = "Examples:\n  witvirt image export debian-12 debian.qcow2 --to qcow2 --compression zstd\n  witvirt image export debian-12 debian.vhd --to vpc --option subformat=fixed"
    )]
    Export(super::convert::ExportArgs),
    /// Hash images of the store again; one that was altered on disk is put into quarantine
    #[command(after_help = "Examples:\n  witvirt image verify debian-12\n  witvirt image verify --all")]
    Verify {
        /// Names or digests
        #[arg(required_unless_present = "all")]
        images: Vec<String>,
        /// Every image of the store
        #[arg(long, conflicts_with = "images")]
        all: bool,
    },
    /// Remove images that no machine uses; those with a name only with --all
    #[command(
        after_help = "Examples:\n  witvirt image gc --dry-run\n  witvirt image gc --all --unused-for 30d\n  witvirt image gc --all --keep-free 20GiB"
    )]
    Gc {
        /// Only images that were not used for so long
        #[arg(long, value_name = "TIME")]
        unused_for: Option<Span>,
        /// Only as many as it takes to have so much free, least recently used first
        #[arg(long, value_name = "SIZE")]
        keep_free: Option<ByteSize>,
        /// Images that have a name, too
        #[arg(long)]
        all: bool,
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
    },
    /// Look for inconsistencies in an image file, or hash an image of the store again
    #[command(after_help = "Examples:\n  witvirt image check disk.qcow2\n  witvirt image check debian-12")]
    Check {
        /// A file, or an image of the store
        #[arg(value_hint = ValueHint::FilePath)]
        image: String,
        /// Format of the file [default: probed]
        #[arg(long)]
        format: Option<String>,
    },
}

/// Domain documents.
#[derive(Debug, Subcommand)]
pub enum DomainCommand {
    /// Convert a document and print the result; works without a daemon
    #[command(
        after_help = "Examples:\n  witvirt domain convert domain.xml\n  witvirt domain convert vm.xml --to libvirt"
    )]
    Convert {
        /// The document and its pipeline
        #[command(flatten)]
        document: DocumentArgs,
        /// How far
        #[arg(long, value_enum, default_value_t = Target::Machine)]
        to: Target,
    },
    /// Show each stage of a conversion: which plugin changed which line; works without a daemon
    #[command(after_help = "Examples:\n  witvirt domain explain domain.xml")]
    Explain(DocumentArgs),
}

/// A document.
#[derive(Debug, Args)]
pub struct DocumentArgs {
    /// The file; "-" reads standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: String,
    /// What it is [default: by the file's name and first bytes]
    #[arg(long)]
    pub media_type: Option<String>,
    /// Pipeline
    #[arg(long)]
    pub pipeline: Option<String>,
    /// The machine's name
    #[arg(long)]
    pub name: Option<Name>,
}

/// How far a document is converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// libvirt domain XML
    Libvirt,
    /// A machine as JSON
    Machine,
}

/// Plugins.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// List plugins
    #[command(after_help = "Examples:\n  witvirt plugin ls")]
    Ls,
    /// Show all of a plugin, the schema of its settings included
    #[command(after_help = "Examples:\n  witvirt plugin inspect qcow2")]
    Inspect(One),
    /// Load the plugins again, as SIGHUP does
    #[command(after_help = "Examples:\n  witvirt plugin reload")]
    Reload,
}

/// This host.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// What machines have to share
    #[command(after_help = "Examples:\n  witvirt host info --output json")]
    Info,
    /// Whether machines can run here and how well; works without a daemon
    #[command(after_help = "Examples:\n  witvirt host check\n\nExit code 1 when a check failed.")]
    Check,
}

/// The configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Do everything short of serving: read the config, load every plugin, check the pipelines
    #[command(after_help = "Examples:\n  witvirt config check --config /etc/witvirt/witvirt.toml")]
    Check,
    /// Write the JSON schema of the config, or of machines
    #[command(
        after_help = "Examples:\n  witvirt config schema > witvirt.schema.json\n  witvirt config schema machine"
    )]
    Schema {
        /// Of what
        #[arg(value_enum, default_value_t = SchemaOf::Config)]
        of: SchemaOf,
    },
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// witvirt.toml
    Config,
    /// A machine
    Machine,
}
