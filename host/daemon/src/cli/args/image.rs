//! Arguments of `witvirt image`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use witvirt_core::{ByteSize, Digest, Name};
use witvirt_disk::Checksum;

use crate::cli::convert;
use crate::config::Span;

const IMPORT_HELP: &str = "\
SOURCE is a file or a directory of parts on the daemon's host, http://..., https://..., docker://HOST/NAME:TAG (the same: \
oci://) for an artifact in a registry, or \"-\" for standard input, which is uploaded.

The format is probed by plugins; a raw image has to be named as such. Compression and archives are unpacked on the way. In \
registries, KubeVirt containerDisks, macOS-vz and tart machines and plain ORAS artifacts are read, each by a plugin. A \
download that was cut goes on where it ended when it is started again within a week, also one that was stopped with Ctrl-C or \
by the end of the daemon; `witvirt image gc --keep-free` gives its space back before that.

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
    /// Certificates to trust besides the system's and the config's, PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca_file: Option<PathBuf>,
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
    /// A further file of the machine, as ROLE=FILE; what came with the image goes along where the layout has a place for it
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
    #[command(
        after_help = "Examples:\n  witvirt image inspect debian-12\n  witvirt image inspect ./disk.vmdk --output json\n\nOf a file it says what its format's plugin says, without importing it or asking a daemon."
    )]
    Inspect {
        /// Name or digest of an image of the store, or a file
        image: String,
        /// Format of the file [default: probed]
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
    },
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
    Convert(convert::ConvertArgs),
    /// Write an image of the store as a file; works without a daemon
    #[command(
        after_help = "Examples:\n  witvirt image export debian-12 debian.qcow2 --to qcow2 --compression zstd\n  witvirt image export debian-12 debian.vhd --to vpc --option subformat=fixed"
    )]
    Export(convert::ExportArgs),
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
        /// Only as many as it takes to have so much free, least recently used first, after what is left of cut downloads
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
