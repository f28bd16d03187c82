//! The command line under construction, and the room left on the PCI buses.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use serde_json::{Map, Value, json};
use witvirt_core::spec::Chipset;

use super::{escape, unsupported};
use crate::Error;

/// Slots of the root bus for devices; the others are taken by the chipset or kept for bridges.
const ROOT_SLOTS: u32 = 24;
/// Bridges that are added when the root bus is full.
const BRIDGES: u32 = 6;
/// Slots used on each of them.
const BRIDGE_SLOTS: u32 = 30;

pub(super) struct Board<'a> {
    pub chipset: Chipset,
    paths: &'a BTreeMap<RawFd, String>,
    arguments: Vec<String>,
    pci_devices: u32,
}

impl<'a> Board<'a> {
    pub fn new(chipset: Chipset, paths: &'a BTreeMap<RawFd, String>) -> Self {
        Self { chipset, paths, arguments: Vec::new(), pci_devices: 0 }
    }

    pub fn into_arguments(self) -> Vec<String> {
        self.arguments
    }

    pub fn flag(&mut self, flag: &str) {
        self.arguments.push(flag.to_owned());
    }

    pub fn option(&mut self, name: &str, value: impl Into<String>) {
        self.flag(name);
        self.arguments.push(value.into());
    }

    pub fn json(&mut self, name: &str, value: &Value) {
        self.option(name, value.to_string());
    }

    /// A device that is on no PCI bus.
    pub fn device(&mut self, value: &Value) {
        self.json("-device", value);
    }

    /// A device on the next free PCI slot.
    pub fn pci_device(&mut self, mut value: Value) -> Result<(), Error> {
        let bus = self.next_bus()?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("bus".to_owned(), Value::String(bus));
        }
        self.device(&value);
        Ok(())
    }

    fn next_bus(&mut self) -> Result<String, Error> {
        let root = match self.chipset {
            Chipset::Q35 => "pcie.0",
            Chipset::Pc => "pci.0",
        };
        let position = self.pci_devices;
        self.pci_devices += 1;
        let Some(beyond) = position.checked_sub(ROOT_SLOTS) else { return Ok(root.to_owned()) };
        let number = beyond / BRIDGE_SLOTS;
        if number >= BRIDGES {
            let most = ROOT_SLOTS + BRIDGES * BRIDGE_SLOTS;
            let message =
                format!("more than {most} PCI devices; put disks on scsi, which takes one slot for all");
            return Err(unsupported("machine", message));
        }
        if beyond % BRIDGE_SLOTS == 0 {
            let mut bridge = Map::new();
            let driver = if self.chipset == Chipset::Q35 { "pcie-pci-bridge" } else { "pci-bridge" };
            bridge.insert("driver".to_owned(), json!(driver));
            bridge.insert("id".to_owned(), json!(format!("more{number}")));
            if self.chipset == Chipset::Pc {
                bridge.insert("chassis_nr".to_owned(), json!(200 + number));
            }
            bridge.insert("bus".to_owned(), json!(root));
            self.device(&Value::Object(bridge));
        }
        Ok(format!("more{number}"))
    }

    /// Makes an inherited descriptor known to QEMU and returns the name under which it can be opened.
    pub fn file_set(&mut self, fd: RawFd) -> String {
        if let Some(path) = self.paths.get(&fd) {
            return path.clone();
        }
        self.option("-add-fd", format!("fd={fd},set={fd}"));
        format!("/dev/fdset/{fd}")
    }

    /// An inherited descriptor as a file that QEMU opens by name.
    pub fn file(&self, fd: RawFd) -> String {
        self.paths.get(&fd).cloned().unwrap_or_else(|| format!("/dev/fd/{fd}"))
    }

    /// An inherited descriptor as the address of a socket.
    pub fn socket(&self, fd: RawFd) -> String {
        self.paths.get(&fd).map_or_else(|| format!("fd={fd}"), |path| format!("path={}", escape(path)))
    }
}
