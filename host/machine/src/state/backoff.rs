//! Pauses between restarts.

use std::time::Duration;

/// Exponential pauses between restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub initial: Duration,
    /// The longest.
    pub cap: Duration,
    /// A machine that ran for so long begins with the first pause again.
    pub stable: Duration,
}

impl Default for Backoff {
    /// 1 s, doubling up to 5 minutes, reset after 10 minutes.
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            cap: Duration::from_secs(300),
            stable: Duration::from_secs(600),
        }
    }
}

impl Backoff {
    /// The pause before restart number `failures` (from 1): up to a quarter shorter by `jitter` (0 to 1), so that machines
    /// which fell together do not rise together.
    pub fn pause(&self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.initial.saturating_mul(1 << doublings).min(self.cap);
        full - (full / 4).mul_f64(jitter.clamp(0.0, 1.0))
    }
}
