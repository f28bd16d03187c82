//! Everything else that is plugged in.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A serial port (16550A).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Serial {
    /// Port number, 0 to 3 (COM1 to COM4); the next free one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u8>,
}

/// A console other than a serial port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Console {
    /// What carries it.
    pub target: ConsoleTarget,
}

/// What carries a console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleTarget {
    /// virtio-serial (hvc0).
    Virtio,
}

/// A VNC server of the hypervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Vnc {
    /// Address; loopback when absent. Others need `[hypervisor] vnc-addresses` to name them.
    #[serde(default = "loopback")]
    pub address: IpAddr,
    /// TCP port, from 5900; the first free one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Port of a WebSocket server beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<u16>,
    /// Keyboard layout ("en-us").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keymap: Option<String>,
}

fn loopback() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}

/// A display adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Video {
    /// The adapter.
    pub model: VideoModel,
    /// Video memory in KiB, for adapters that have a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vram_kib: Option<u32>,
    /// Number of outputs, for adapters that have a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<u32>,
}

/// QEMU's display adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VideoModel {
    /// Standard VGA.
    Vga,
    /// Cirrus Logic GD5446.
    Cirrus,
    /// VMware SVGA-II.
    Vmvga,
    /// QXL.
    Qxl,
    /// virtio-gpu (with VGA compatibility as the first adapter).
    Virtio,
    /// The EFI framebuffer.
    Bochs,
    /// The firmware's RAM framebuffer.
    Ramfb,
}

/// An input device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Input {
    /// What it is.
    pub kind: InputKind,
    /// Where it is plugged in.
    pub bus: InputBus,
}

/// A kind of input device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InputKind {
    /// A keyboard.
    Keyboard,
    /// A relative pointer.
    Mouse,
    /// An absolute pointer.
    Tablet,
}

/// An input device's bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InputBus {
    /// Built into the board.
    Ps2,
    /// USB.
    Usb,
    /// virtio-input.
    Virtio,
}

/// virtio-rng on the host's entropy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rng {
    /// Most bytes per period; unbounded when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Period in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_ms: Option<u32>,
}

/// A watchdog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Watchdog {
    /// The device.
    pub model: WatchdogModel,
    /// What happens when it fires.
    pub action: WatchdogAction,
}

/// A watchdog device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WatchdogModel {
    /// Intel 6300ESB on PCI.
    I6300esb,
    /// iBASE 700 on ISA.
    Ib700,
    /// The one in the ICH9 of q35.
    Itco,
}

/// What a watchdog does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WatchdogAction {
    /// Resets the machine.
    Reset,
    /// Asks the guest to shut down.
    Shutdown,
    /// Ends the machine.
    Poweroff,
    /// Pauses it.
    Pause,
    /// Nothing.
    None,
    /// Injects a non-maskable interrupt.
    InjectNmi,
}

/// A TPM, emulated by swtpm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tpm {
    /// The interface.
    pub model: TpmModel,
}

/// A TPM interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TpmModel {
    /// TIS on ISA.
    Tis,
    /// Command-response buffer.
    Crb,
}

/// A sound card, without a host backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sound {
    /// "ich6", "ich9", "ac97", "es1370", "sb16", "usb", "virtio".
    pub model: String,
}

/// A bus that is wanted explicitly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Controller {
    /// What it carries.
    pub kind: ControllerKind,
    /// Number among those of its kind.
    #[serde(default)]
    pub index: u32,
    /// The device: usb "piix3-uhci", "piix4-uhci", "ich9-ehci1", "nec-xhci", "qemu-xhci", "pci-ohci"; scsi "virtio-scsi",
    /// "lsilogic", "lsisas1068", "vmpvscsi", "megasas"; the usual one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// What a controller carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ControllerKind {
    /// USB devices.
    Usb,
    /// SCSI disks.
    Scsi,
    /// SATA disks, beyond the six ports of q35.
    Sata,
    /// IDE disks; built into pc.
    Ide,
    /// virtio-serial ports.
    VirtioSerial,
    /// A PCI Express root port.
    PcieRootPort,
    /// A PCI bridge.
    PciBridge,
}
