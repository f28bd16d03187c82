//! Arguments of the commands about plugins, the host and the config.

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::{ContextArgs, One};

const TEST_HELP: &str = "\
Of converters, every conversion is tried on documents that are built in, or on the given one: twice, for the same result; \
hooks on their own result, which they have to leave as it is. Everything is tried on what makes no sense, and must refuse it \
without breaking. Exit code 1 when something failed.

Examples:
  witvirt plugin test --all
  witvirt plugin test domain-kubevirt vm.yaml
  witvirt plugin test hook-vnc --annotation vnc.droidvirt.io/port=5901";

/// What is tried out.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// A plugin of the config
    #[arg(required_unless_present = "all")]
    pub name: Option<String>,
    /// A document for a converter, instead of those that are built in
    #[arg(value_hint = ValueHint::FilePath, conflicts_with = "all")]
    pub document: Option<String>,
    /// Every plugin of the config
    #[arg(long, conflicts_with = "name")]
    pub all: bool,
    /// What hooks are told
    #[command(flatten)]
    pub context: ContextArgs,
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
    /// Try plugins out: that they answer the same each time, hooks the same when asked again, and strangers' documents without
    /// breaking; works without a daemon
    #[command(after_help = TEST_HELP)]
    Test(TestArgs),
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
