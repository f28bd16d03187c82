//! The machine that a command line describes, before it becomes XML.

use crate::commandline::block::Backing;
use crate::commandline::display::Display;
use crate::commandline::network::Card;
use crate::commandline::slot::Address;
use crate::findings::Place;

#[derive(Debug, Default)]
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) uuid: Option<uuid::Uuid>,
    pub(crate) cpus: u32,
    pub(crate) topology: Option<Topology>,
    /// Bytes.
    pub(crate) memory: u64,
    pub(crate) acpi: bool,
    pub(crate) utc: bool,
    pub(crate) x2apic: bool,
    pub(crate) ignore_msrs: bool,
    /// Memory that is never paged out.
    pub(crate) wired: bool,
    pub(crate) core_dumps: bool,
    pub(crate) boot: Boot,
    /// In the order of their slots, as a guest finds them.
    pub(crate) disks: Vec<Disk>,
    pub(crate) nics: Vec<Nic>,
    /// Those that lead somewhere first: the first is the machine's console.
    pub(crate) serials: Vec<Serial>,
    pub(crate) rng: Option<Address>,
    pub(crate) display: Option<(Display, Address)>,
    pub(crate) tablet: bool,
    pub(crate) sound: bool,
    pub(crate) tpm: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Topology {
    pub(crate) sockets: u32,
    pub(crate) cores: u32,
    pub(crate) threads: u32,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Boot {
    /// Whatever the firmware finds.
    #[default]
    Devices,
    Kernel {
        kernel: String,
        initrd: Option<String>,
        cmdline: String,
    },
    Rom {
        code: String,
        vars: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskBus {
    Virtio,
    Sata,
    Nvme,
}

#[derive(Debug)]
pub(crate) struct Disk {
    /// With an absolute path, as far as one is known.
    pub(crate) backing: Backing,
    /// The path as it was given.
    pub(crate) given: String,
    pub(crate) bus: DiskBus,
    pub(crate) cdrom: bool,
    pub(crate) address: Address,
    pub(crate) boot_index: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Nic {
    pub(crate) card: Card,
    /// libvirt's name.
    pub(crate) model: &'static str,
    pub(crate) address: Address,
    pub(crate) place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Serial {
    /// A port of the board.
    Com { port: usize, connected: bool, log: Option<String> },
    /// A card.
    Pci { address: Address },
}
