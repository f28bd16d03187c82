//! A machine spec as a QEMU command line. Pure: no file is opened here, so that every line can be tested.
//!
//! Written for QEMU 7.2 and later. `-blockdev`, `-device`, `-netdev` and `-object` are given as JSON, so that no text of
//! the spec can end an option early; where QEMU only reads `key=value`, commas are doubled. A field that cannot be honoured
//! is refused with [`ErrorKind::Unsupported`](crate::ErrorKind) and its path, never dropped.

mod board;
mod boot;
mod console;
mod controller;
mod device;
mod disk;
mod display;
mod extra;
mod machine;
mod network;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::RawFd;

use serde_json::{Map, Value, json};
use witvirt_core::spec::{MachineSpec, Virtio, VirtioRevision};

use crate::accelerator::Accelerator;
use crate::{Error, ErrorKind};

use board::Board;
pub(crate) use console::has_console;
pub(crate) use disk::disk_of_node;
pub use extra::allows;
pub(crate) use network::nic_id;

/// What a command line is made from.
pub(crate) struct Machine<'a> {
    pub spec: &'a MachineSpec,
    pub accelerator: Accelerator,
    pub descriptors: &'a Descriptors,
    pub permissions: &'a Permissions,
}

/// Numbers that the open files of a machine will have in QEMU.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    /// Listening socket of the monitor.
    pub qmp: RawFd,
    /// Listening socket of the console.
    pub console: RawFd,
    /// Opened for appending.
    pub console_log: RawFd,
    pub disks: Vec<Option<BlockDescriptor>>,
    pub kernel: Option<RawFd>,
    pub initrd: Option<RawFd>,
    pub firmware_code: Option<RawFd>,
    pub firmware_vars: Option<RawFd>,
    /// Connected to swtpm's control channel.
    pub tpm: Option<RawFd>,
    /// Of a line that is only read: the paths to show instead of some of these numbers.
    pub paths: BTreeMap<RawFd, String>,
}

/// The files of one disk.
#[derive(Debug, Clone)]
pub(crate) enum BlockDescriptor {
    Raw {
        fd: RawFd,
        read_only: bool,
        block_device: bool,
    },
    Overlay {
        fd: RawFd,
        read_only: bool,
        backing: Box<BlockDescriptor>,
    },
    /// A socket in an open directory.
    Served {
        directory: RawFd,
        socket: String,
    },
}

impl BlockDescriptor {
    pub fn is_read_only(&self) -> bool {
        match self {
            Self::Raw { read_only, .. } | Self::Overlay { read_only, .. } => *read_only,
            Self::Served { .. } => true,
        }
    }
}

/// What the operator lets a spec do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Permissions {
    /// Names of options without their dash.
    pub arguments: Vec<String>,
    /// Addresses besides loopback that VNC servers may listen on.
    pub vnc_addresses: Vec<IpAddr>,
}

/// The arguments of QEMU, without the program's name.
///
/// The machine starts with its CPUs stopped; the monitor sets what no argument can (link state) and lets it run.
pub(crate) fn build(machine: &Machine<'_>) -> Result<Vec<String>, Error> {
    let mut board = Board::new(machine.spec.chipset, &machine.descriptors.paths);
    let order = boot::order(machine.spec);
    machine::base(machine, &mut board)?;
    boot::boot(machine, &order, &mut board)?;
    let ports = controller::plug(machine.spec, &mut board)?;
    console::plug(machine, &mut board)?;
    disk::plug(machine, &order, &ports, &mut board)?;
    network::plug(machine.spec, &order, &mut board)?;
    display::plug(machine, &mut board)?;
    device::plug(machine, &mut board)?;
    extra::append(machine, &mut board)?;
    Ok(board.into_arguments())
}

/// An error for a field that QEMU or this driver cannot honour.
fn unsupported(path: impl std::fmt::Display, message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{path}: {message}"))
}

/// Sets what virtio devices have in common, on a device whose driver exists in both revisions.
fn virtio(
    virtio: &Virtio,
    device: &mut Map<String, Value>,
    path: impl std::fmt::Display,
) -> Result<(), Error> {
    let driver = device.get("driver").and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_virtio = driver.starts_with("virtio-");
    if !is_virtio {
        return if virtio.is_default() {
            Ok(())
        } else {
            Err(unsupported(format!("{path}.virtio"), format!("{driver} is no virtio device")))
        };
    }
    if let Some(revision) = virtio.revision {
        // Those whose transitional kind QEMU has; the others are of revision 1.0 by nature.
        let both = [
            "virtio-blk-pci",
            "virtio-scsi-pci",
            "virtio-serial-pci",
            "virtio-rng-pci",
            "virtio-balloon-pci",
        ];
        let name = match revision {
            VirtioRevision::Transitional => "transitional",
            VirtioRevision::NonTransitional => "non-transitional",
        };
        if !both.contains(&driver.as_str()) {
            let message = format!("{driver} has no {name} kind");
            return Err(unsupported(format!("{path}.virtio.revision"), message));
        }
        device.insert("driver".to_owned(), json!(format!("{driver}-{name}")));
    }
    for (property, set) in [
        ("iommu_platform", virtio.iommu),
        ("ats", virtio.ats),
        ("packed", virtio.packed),
        ("page-per-vq", virtio.page_per_vq),
    ] {
        if let Some(on) = set {
            device.insert(property.to_owned(), json!(on));
        }
    }
    if virtio.iommu == Some(true) {
        if virtio.revision == Some(VirtioRevision::Transitional) {
            return Err(unsupported(format!("{path}.virtio.iommu"), "only for devices of virtio 1.0"));
        }
        // On the root bus QEMU would offer 0.9 too, and then refuses.
        if virtio.revision.is_none() {
            device.insert("disable-legacy".to_owned(), json!("on"));
        }
    }
    Ok(())
}

/// A text as the value of a `key=value` option.
fn escape(text: &str) -> String {
    text.replace(',', ",,")
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
