//! What macOS looks for on a Mac's board: the system management controller with its key, a base board in SMBIOS, and a
//! processor that its kernel knows. The converter "board" of droidvirt's `osx-hook-sidecar`.
//!
//! All three are arguments for QEMU; the host lets them through only where `[hypervisor] allow-arguments` has "device",
//! "smbios" and "cpu". The key (64 characters, "OSK") is Apple's: it comes from the setting `osk`, and appears in no
//! message.

mod osk;

use serde::Deserialize;
use witvirt_sdk::core::domain::{Diagnostic, Severity};
use witvirt_sdk::domain::{Context, Hook, qemu};
use witvirt_sdk::xml::Document;
use witvirt_sdk::{Error, ErrorKind};

pub use osk::Osk;

/// droidvirt's, for macOS 10.14 and 10.15. OSX-KVM takes "Haswell-noTSX,..." for macOS 14.
const CPU: &str = "Penryn,kvm=on,vendor=GenuineIntel,+invtsc,vmware-cpuid-freq=on,+pcid,+ssse3,+sse4.2,+popcnt,+avx,\
                   +aes,+xsave,+xsaveopt,check";
/// Bytes of a processor.
const CPU_MOST: usize = 1024;

/// The plugin.
pub struct Board;

/// Its settings.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// The key of the system management controller.
    pub osk: Option<Osk>,
    /// What is added.
    pub parts: Vec<Part>,
    /// Model and flags of the processor, as QEMU's `-cpu` takes them.
    pub cpu: String,
}

/// One of the things that the board has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// `-device isa-applesmc`.
    Smc,
    /// `-smbios type=2`.
    Smbios,
    /// `-cpu`.
    Cpu,
}

impl Default for Settings {
    fn default() -> Self {
        Self { osk: None, parts: vec![Part::Smc, Part::Smbios, Part::Cpu], cpu: CPU.to_owned() }
    }
}

impl Hook for Board {
    const NAME: &str = env!("CARGO_PKG_NAME");
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &str = "macOS's system management controller, base board and processor";
    const SETTINGS_SCHEMA: Option<&str> = Some(include_str!("../settings.schema.json"));
    type Settings = Settings;

    fn check(settings: &Settings) -> Result<(), Error> {
        if let Some(osk) = &settings.osk {
            osk.check()?;
        }
        let cpu = settings.cpu.as_str();
        let fits = cpu.len() <= CPU_MOST && cpu.bytes().all(|byte| byte.is_ascii_graphic());
        if cpu.is_empty() || cpu.starts_with('-') || !fits {
            let message = format!(
                "setting cpu: has to be a model and its flags as QEMU's -cpu takes them, in up to {CPU_MOST} printable \
                 characters without spaces"
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(())
    }

    fn edit(settings: &Settings, domain: &mut Document, _: &Context) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for part in [Part::Smc, Part::Smbios, Part::Cpu] {
            if !settings.parts.contains(&part) {
                continue;
            }
            match (part, &settings.osk) {
                (Part::Smc, Some(osk)) => qemu::set_option(domain, "device", is_smc, &osk.device()),
                (Part::Smc, None) => found.push(no_key()),
                (Part::Smbios, _) => {
                    if qemu::option(domain, "smbios", is_base_board).is_none() {
                        qemu::set_option(domain, "smbios", is_base_board, "type=2");
                    }
                }
                (Part::Cpu, _) => qemu::set_option(domain, "cpu", |_| true, &settings.cpu),
            }
        }
        found
    }
}

fn is_smc(value: &str) -> bool {
    let name = value.split(',').next().unwrap_or(value);
    name.strip_prefix("driver=").unwrap_or(name) == "isa-applesmc"
}

fn is_base_board(value: &str) -> bool {
    value.split(',').any(|field| field == "type=2")
}

fn no_key() -> Diagnostic {
    let message = "macOS does not start without the key of a Mac's system management controller (\"OSK\"), which witvirt \
                   does not ship: put its 64 characters into the setting osk of this plugin, or leave \"smc\" out of its \
                   setting parts";
    Diagnostic::new(Severity::Error, "board.osk", message)
}

witvirt_sdk::domain_converter!(Board);
