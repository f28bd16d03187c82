//! Arguments of the commands about documents, plugins, the host and the config.

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use witvirt_core::Name;

use super::One;

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
