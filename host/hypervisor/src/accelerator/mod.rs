//! Which accelerator runs the CPUs: KVM where it works for real, else TCG.
//!
//! That /dev/kvm opens says little: under some nested setups vCPUs run in an instruction emulator, a thousand times slower
//! than the processor and than TCG, and stock kernels never come up. So a small loop is timed, once per boot.

mod probe;
#[cfg(test)]
mod tests;
mod verdict;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

pub use verdict::Verdict;

/// What runs a machine's CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    /// As in `-accel` and in records.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Acceleration {
    /// KVM where it works, else TCG.
    #[default]
    Auto,
    /// KVM or nothing.
    Kvm,
    /// Always TCG.
    Tcg,
}

/// The user and group that QEMU runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Chooses, with the reason. Blocks while KVM is measured, for less than a second, the first time after a boot.
pub(crate) fn choose(
    wanted: Acceleration,
    state_dir: &Path,
    user: Option<User>,
) -> Result<(Accelerator, String), Error> {
    if wanted == Acceleration::Tcg {
        return Ok((Accelerator::Tcg, "configured".to_owned()));
    }
    let verdict = Verdict::of_this_boot(state_dir)?;
    let refusal = if verdict.usable { user.and_then(locked_out) } else { Some(verdict.reason.clone()) };
    match (refusal, wanted) {
        (None, _) => Ok((Accelerator::Kvm, verdict.reason)),
        (Some(reason), Acceleration::Kvm) => {
            let message = format!("accel = \"kvm\", but {reason}; use \"auto\" or \"tcg\"");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        (Some(reason), _) => Ok((Accelerator::Tcg, reason)),
    }
}

/// Why this user cannot open /dev/kvm, if so.
fn locked_out(user: User) -> Option<String> {
    let metadata = std::fs::metadata(probe::DEVICE).ok()?;
    if user.uid == 0 || may(&metadata, user, 0o6) {
        return None;
    }
    let (uid, gid) = (user.uid, metadata.gid());
    Some(format!("user {uid}, which QEMU runs as, may not open {}; give it group {gid}", probe::DEVICE))
}

/// Whether permission bits (4 read, 2 write) let a user in.
pub(crate) fn may(metadata: &std::fs::Metadata, user: User, bits: u32) -> bool {
    let shift = match () {
        () if metadata.uid() == user.uid => 6,
        () if metadata.gid() == user.gid => 3,
        () => 0,
    };
    metadata.mode() >> shift & bits == bits
}
