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

use witvirt_core::spec::MachineSpec;

use crate::accelerator::Accelerator;
use crate::{Error, ErrorKind};

use board::Board;
pub(crate) use console::has_console;
pub(crate) use disk::disk_of_node;
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

/// A text as the value of a `key=value` option.
fn escape(text: &str) -> String {
    text.replace(',', ",,")
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
