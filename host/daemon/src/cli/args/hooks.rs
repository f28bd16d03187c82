//! Arguments of the hook sidecar.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use witvirt_core::Name;
use witvirt_hooks::protocol::Version;

/// What is served to a launcher of KubeVirt, and where.
#[derive(Debug, Args)]
pub struct HookSidecarArgs {
    /// The pipeline of the config that edits domains; it leads from domain XML to domain XML
    #[arg(long)]
    pub pipeline: Name,
    /// Where the socket is made, as KubeVirt's hook protocol wants it
    /// [default: /var/run/kubevirt-hooks, or none with --mutate-domain-socket]
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub socket_directory: Option<PathBuf>,
    /// The hook's name, and the beginning of its socket's; the rest is $CONTAINER_NAME, or random
    #[arg(long, default_value = "witvirt")]
    pub name: Name,
    /// Versions of the protocol that are offered
    #[arg(long, value_delimiter = ',', default_value = "v1alpha3,v1alpha2,v1alpha1")]
    pub versions: Vec<Version>,
    /// Told to launchers, which order by it only what one sidecar subscribes to
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub priority: i32,
    /// A socket for KubeVirt's structured plugins (service DomainHookService)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub mutate_domain_socket: Option<PathBuf>,
    /// Permissions of the sockets, octal: a launcher may be another user, and only its pod sees them
    #[arg(long, value_name = "MODE", default_value = "0666")]
    pub socket_mode: String,
}
