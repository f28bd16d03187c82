//! What a set of machines is opened with.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use witvirt_core::ByteSize;
use witvirt_hypervisor::Hypervisor;

use crate::resources::Resources;
use crate::state::Backoff;
use crate::time::Clock;

/// What [`crate::Machines::open`] needs.
pub struct MachinesOptions {
    /// Where machines are kept; made when it is missing. One daemon at a time.
    pub state_dir: PathBuf,
    /// Where each running machine gets a directory for sockets; made when it is missing. Emptied by a reboot. Keep it short:
    /// socket paths end at 107 bytes.
    pub run_dir: PathBuf,
    /// What runs machines.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// What machines are made of.
    pub resources: Arc<dyn Resources>,
    /// Bytes of a machine's console log at which it is rotated; as much again is kept of the older part.
    pub console_limit: ByteSize,
    /// Pauses between restarts.
    pub backoff: Backoff,
    /// Chance for those pauses, from 0 to 1.
    pub jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// The time.
    pub clock: Clock,
}

impl MachinesOptions {
    /// With the usual console limit (1 MiB), pauses, chance and clock.
    pub fn new(
        state_dir: impl Into<PathBuf>,
        run_dir: impl Into<PathBuf>,
        hypervisor: Arc<dyn Hypervisor>,
        resources: Arc<dyn Resources>,
    ) -> Self {
        Self {
            state_dir: state_dir.into(),
            run_dir: run_dir.into(),
            hypervisor,
            resources,
            console_limit: ByteSize::mib(1),
            backoff: Backoff::default(),
            jitter: Arc::new(random),
            clock: Clock::system(),
        }
    }
}

/// From 0 to 1; hash keys are the standard library's source of chance.
fn random() -> f64 {
    f64::from((RandomState::new().hash_one(0) >> 32) as u32) / f64::from(u32::MAX)
}
