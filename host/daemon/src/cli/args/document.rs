//! Arguments of the commands that take a document.

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use witvirt_core::Name;
use witvirt_core::domain::{DOMAIN_XML, KUBEVIRT, MACHINE_JSON, XHYVE};

/// What is read, and how.
#[derive(Debug, Args)]
pub struct DocumentArgs {
    /// A machine (.toml, .json), libvirt domain XML (.xml), KubeVirt manifests (.yaml, .yml, .json) or a script that runs
    /// xhyve, hyperkit or bhyve (.sh); "-" reads standard input
    #[arg(value_hint = ValueHint::FilePath, required_unless_present = "command_line")]
    pub file: Option<String>,
    /// What it is [default: by the file's name, else by its first bytes]
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub kind: Option<DocumentType>,
    /// What it is, as a media type, where plugins know more than the types above
    #[arg(long, conflicts_with = "kind", value_name = "MEDIA-TYPE")]
    pub media_type: Option<String>,
    /// Pipeline [default: the one that takes such documents]
    #[arg(long)]
    pub pipeline: Option<String>,
    /// The machine's name
    #[arg(long)]
    pub name: Option<Name>,
    /// Which machine of a document with several, as NAME or NAMESPACE/NAME
    #[arg(long, value_name = "NAME")]
    pub select: Option<String>,
    /// A command line of xhyve, hyperkit or bhyve, in place of a file
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "file")]
    pub command_line: Vec<String>,
}

impl DocumentArgs {
    /// The file, or what stands for it in messages.
    pub fn file(&self) -> &str {
        self.file.as_deref().unwrap_or("the command line")
    }

    /// The media type that was named; a command line can only be one.
    pub fn named_type(&self) -> Option<&str> {
        let implied = (!self.command_line.is_empty()).then_some(XHYVE);
        self.kind.map(DocumentType::media_type).or(self.media_type.as_deref()).or(implied)
    }
}

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DocumentType {
    /// libvirt domain XML
    Libvirt,
    /// A machine of witvirt, as TOML or JSON
    Machine,
    /// KubeVirt manifests, as YAML or JSON
    Kubevirt,
    /// A command line of xhyve, hyperkit or bhyve, or a script with one
    Xhyve,
}

impl DocumentType {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Libvirt => DOMAIN_XML,
            Self::Machine => MACHINE_JSON,
            Self::Kubevirt => KUBEVIRT,
            Self::Xhyve => XHYVE,
        }
    }
}

/// What hooks and conditions are told, instead of what the document says of itself.
#[derive(Debug, Args)]
pub struct ContextArgs {
    /// An annotation for conditions and hooks, in place of the document's; may be repeated
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = pair)]
    pub annotations: Vec<(String, String)>,
    /// A label for conditions and hooks, in place of the document's; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// The guest's system for conditions and hooks, in place of the document's
    #[arg(long, value_name = "OS")]
    pub os: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let split = text.split_once('=').filter(|(key, _)| !key.is_empty());
    split.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "write KEY=VALUE".to_owned())
}

const CONVERT_HELP: &str = "\
Every machine of a document is converted, unless one is selected.

Examples:
  witvirt domain convert domain.xml
  witvirt domain convert vm.yaml --to libvirt
  witvirt domain convert vms.yaml --select web-2 --to qemu-args
  witvirt domain convert run.sh --to libvirt
  witvirt domain convert -- xhyve -m 1G -s 2:0,virtio-net -f kexec,vmlinuz,initrd.gz,\"console=ttyS0\"
  kubectl get vmi web -o yaml | witvirt domain convert - --type kubevirt";

const EXPLAIN_HELP: &str = "\
Examples:
  witvirt domain explain domain.xml
  witvirt domain explain macos.yaml --select osx
  witvirt domain explain domain.xml --annotation converter.droidvirt.io/type=board,vnc";

/// Domain documents.
#[derive(Debug, Subcommand)]
pub enum DomainCommand {
    /// Convert a document and print the result; works without a daemon
    #[command(after_help = CONVERT_HELP)]
    Convert {
        /// The document and its pipeline
        #[command(flatten)]
        document: DocumentArgs,
        /// What hooks are told
        #[command(flatten)]
        context: ContextArgs,
        /// How far
        #[arg(long, value_enum, default_value_t = Target::Machine)]
        to: Target,
    },
    /// Show each stage of a conversion: which plugin changed which line, and where two changed the same; works without a
    /// daemon
    #[command(after_help = EXPLAIN_HELP)]
    Explain {
        /// The document and its pipeline
        #[command(flatten)]
        document: DocumentArgs,
        /// What hooks are told
        #[command(flatten)]
        context: ContextArgs,
    },
}

/// How far a document is converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// libvirt domain XML, as the last converter gets it
    Libvirt,
    /// A machine as JSON
    Machine,
    /// The command line of QEMU
    QemuArgs,
    /// What conditions and hooks are told of the document
    Context,
}
