//! Everything else that is plugged in.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Virtio;

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

/// A virtio port. The guest finds it by its name; nothing on the host's side is connected to it yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Channel {
    /// What the guest finds it by ("org.qemu.guest_agent.0"): 1 to 64 printable ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Index of its controller; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<u32>,
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
    /// For qxl: size of the bar for the guest's driver, in KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram_kib: Option<u32>,
    /// For qxl: part of that bar that holds the picture in VGA modes, in KiB; a power of two of at least 1024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vgamem_kib: Option<u32>,
    /// For qxl: video memory beyond 4 GiB, in KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vram64_kib: Option<u32>,
    /// For virtio: whether surfaces are shared memory of guest and host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<bool>,
    /// Whether the guest is told about its monitor (EDID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edid: Option<bool>,
    /// Size of the picture that the monitor prefers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Resolution>,
    /// How it talks to its driver, if it is a virtio device.
    #[serde(default, skip_serializing_if = "Virtio::is_default")]
    pub virtio: Virtio,
}

/// Size of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Resolution {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
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
    /// How it talks to its driver, if it is a virtio device.
    #[serde(default, skip_serializing_if = "Virtio::is_default")]
    pub virtio: Virtio,
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
    /// How it talks to its driver, if it is a virtio device.
    #[serde(default, skip_serializing_if = "Virtio::is_default")]
    pub virtio: Virtio,
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
    /// For "ich6" and "ich9": what is behind it; one duplex codec when empty. At most 15.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codecs: Vec<Codec>,
    /// For "usb": whether it has more than two channels.
    #[serde(default)]
    pub multichannel: bool,
    /// How it talks to its driver, if it is a virtio device.
    #[serde(default, skip_serializing_if = "Virtio::is_default")]
    pub virtio: Virtio,
}

/// What is behind an HDA controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// Line in and out.
    Duplex,
    /// Microphone and speaker.
    Micro,
    /// Line out.
    Output,
}

/// How a memory balloon behaves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BalloonOptions {
    /// Whether it gives memory back to a guest that runs out of it.
    #[serde(default)]
    pub deflate_on_oom: bool,
    /// Whether the guest tells which of its memory is free.
    #[serde(default)]
    pub free_page_reporting: bool,
    /// How it talks to its driver, if it is a virtio device.
    #[serde(default, skip_serializing_if = "Virtio::is_default")]
    pub virtio: Virtio,
}

impl BalloonOptions {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
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
    /// Ports of an xHCI (1 to 15) or virtio-serial (1 to 511) controller; as many as there can be, or are needed, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<u32>,
    /// For virtio-serial: interrupt vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vectors: Option<u32>,
    /// For virtio-scsi: request queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
    /// For virtio-scsi: commands that a drive takes at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commands_per_lun: Option<u16>,
    /// For virtio-scsi: most sectors of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sectors: Option<u32>,
    /// How it talks to its driver, if it is a virtio device.
    #[serde(default, skip_serializing_if = "Virtio::is_default")]
    pub virtio: Virtio,
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
