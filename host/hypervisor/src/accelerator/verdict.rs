//! Whether KVM is usable, remembered for as long as the host runs.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::probe::{self, Outcome};
use crate::boot_id::boot_id;
use crate::{Error, ErrorKind};

/// File in the daemon's state directory.
const FILE: &str = "kvm.json";
/// Fewer instructions per second than this are the work of an emulator; processors that KVM runs on do billions.
const FAST: u64 = 100_000_000;
/// A KVM flavour for guests that know it; others run in an emulator.
const PVM: &str = "/sys/module/kvm_pvm";

/// What was found out about KVM on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Verdict {
    /// The boot it holds for.
    pub boot_id: String,
    /// Whether machines run on it.
    pub usable: bool,
    /// Why, or why not, with the numbers.
    pub reason: String,
    /// Measured speed of a loop in a vCPU; absent when none ran.
    pub instructions_per_second: Option<u64>,
}

impl Verdict {
    /// Reads the verdict of this boot, or measures and keeps it. Blocks for less than a second.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn of_this_boot(state_dir: &Path) -> Result<Self, Error> {
        let boot_id = boot_id()?;
        let path = state_dir.join(FILE);
        if let Some(verdict) =
            read(&path).filter(|verdict| verdict.boot_id == boot_id && verdict.still_holds())
        {
            return Ok(verdict);
        }
        let verdict = Self::judge(boot_id, probe::measure(), Path::new(PVM).exists());
        verdict.keep(state_dir, &path).map_err(|source| {
            let path = path.display();
            Error::caused(ErrorKind::Io, format!("cannot keep what was measured of KVM in {path}"), source)
        })?;
        Ok(verdict)
    }

    /// Measures without keeping the result.
    ///
    /// # Errors
    /// When the boot cannot be told.
    pub fn measure() -> Result<Self, Error> {
        Ok(Self::judge(boot_id()?, probe::measure(), Path::new(PVM).exists()))
    }

    /// A device that has come or gone, or whose permissions were changed, asks for a new look.
    fn still_holds(&self) -> bool {
        self.instructions_per_second.is_some()
    }

    pub(super) fn judge(boot_id: String, outcome: Outcome, pvm: bool) -> Self {
        let flavour = if pvm { " (kvm_pvm: only guests made for it run at full speed)" } else { "" };
        let device = probe::DEVICE;
        let (usable, reason, speed) = match outcome {
            Outcome::Unavailable(why) => (false, format!("{device}: {why}"), None),
            Outcome::Failed(why) => (false, format!("{device} opens, but {why}{flavour}"), Some(0)),
            Outcome::Ran { instructions_per_second: speed } => {
                let usable = speed >= FAST;
                let millions = speed as f64 / 1e6;
                let reason = if usable {
                    format!("a vCPU runs {millions:.0} million instructions a second")
                } else {
                    let wanted = FAST / 1_000_000;
                    format!(
                        "{device} opens, but a vCPU runs only {millions:.1} million instructions a second, \
                         {wanted} are wanted{flavour}"
                    )
                };
                (usable, reason, Some(speed))
            }
        };
        Self { boot_id, usable, reason, instructions_per_second: speed }
    }

    fn keep(&self, state_dir: &Path, path: &Path) -> std::io::Result<()> {
        let temporary =
            state_dir.join(format!("{FILE}.{}.{:?}.tmp", std::process::id(), std::thread::current().id()));
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(state_dir)?.sync_all()
    }
}

/// An unreadable or damaged file is measured anew.
fn read(path: &Path) -> Option<Verdict> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
