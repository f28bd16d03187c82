//! Arguments of `witvirt volume`.

use clap::Subcommand;
use witvirt_core::{ByteSize, Name};

/// What to do with volumes.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Make a volume, empty or with the content of an image
    #[command(
        after_help = "Examples:\n  witvirt volume create data --size 20GiB\n  witvirt volume create osx-disk-1 --image osx-base\n  witvirt volume create root --image debian-12 --size 40GiB"
    )]
    Create {
        /// What to call it
        name: Name,
        /// Its size [default: the image's]
        #[arg(long, required_unless_present = "image")]
        size: Option<ByteSize>,
        /// An image of the store, by name or digest, whose content it begins with
        #[arg(long)]
        image: Option<String>,
    },
    /// List volumes
    #[command(
        after_help = "Examples:\n  witvirt volume ls\n  witvirt volume ls --output json | jq '.[].name'"
    )]
    Ls,
    /// Show a volume, and which machines name it
    #[command(after_help = "Examples:\n  witvirt volume inspect data")]
    Inspect {
        /// Which
        name: Name,
    },
    /// Remove volumes with their content
    #[command(after_help = "Examples:\n  witvirt volume rm data")]
    Rm {
        /// Which
        #[arg(required = true)]
        names: Vec<Name>,
        /// Also those that machines name which do not run
        #[arg(long)]
        force: bool,
    },
}
