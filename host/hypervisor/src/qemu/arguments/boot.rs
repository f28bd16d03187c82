//! What is booted: order, kernel and firmware.

use serde_json::json;
use witvirt_core::spec::{BootDevice, DiskDevice, Firmware, MachineSpec};

use super::board::Board;
use super::{Machine, on_off};
use crate::Error;

/// Boot positions of the devices, by their index in the spec.
pub(super) struct Order {
    pub disks: Vec<Option<u32>>,
    pub interfaces: Vec<Option<u32>>,
}

impl Order {
    fn is_given(&self) -> bool {
        self.disks.iter().chain(&self.interfaces).any(Option::is_some)
    }
}

/// Devices with a `boot-index` keep it; those of the classes in `boot.order` come behind them, class by class.
pub(super) fn order(spec: &MachineSpec) -> Order {
    let mut order = Order {
        disks: spec.disks.iter().map(|disk| disk.boot_index).collect(),
        interfaces: spec.interfaces.iter().map(|interface| interface.boot_index).collect(),
    };
    let mut last = order.disks.iter().chain(&order.interfaces).flatten().copied().max().unwrap_or(0);
    let mut next = |index: &mut Option<u32>| {
        if index.is_none() {
            last = last.saturating_add(1);
            *index = Some(last);
        }
    };
    for class in &spec.boot.order {
        let wanted = match class {
            BootDevice::Network => {
                order.interfaces.iter_mut().for_each(&mut next);
                continue;
            }
            BootDevice::Disk => DiskDevice::Disk,
            BootDevice::Cdrom => DiskDevice::Cdrom,
            BootDevice::Floppy => DiskDevice::Floppy,
        };
        for (disk, index) in spec.disks.iter().zip(&mut order.disks) {
            if disk.device == wanted {
                next(index);
            }
        }
    }
    order
}

pub(super) fn boot(machine: &Machine<'_>, order: &Order, board: &mut Board<'_>) -> Result<(), Error> {
    let boot = &machine.spec.boot;
    // Strict: a device that the order leaves out is not booted.
    let strict = on_off(boot.strict.unwrap_or_else(|| order.is_given()));
    let mut options = format!("menu={},strict={strict}", on_off(boot.menu));
    if let Some(timeout) = boot.menu_timeout_ms {
        options.push_str(&format!(",splash-time={timeout}"));
    }
    if let Some(timeout) = boot.reboot_timeout_ms {
        options.push_str(&format!(",reboot-timeout={timeout}"));
    }
    board.option("-boot", options);
    if let Some(fd) = machine.descriptors.kernel {
        board.option("-kernel", board.file(fd));
    }
    if let Some(fd) = machine.descriptors.initrd {
        board.option("-initrd", board.file(fd));
    }
    if let Some(cmdline) = &boot.cmdline {
        board.option("-append", cmdline.as_str());
    }
    let Firmware::Uefi { secure, .. } = &boot.firmware else { return Ok(()) };
    for (number, fd, read_only) in
        [(0, machine.descriptors.firmware_code, true), (1, machine.descriptors.firmware_vars, false)]
    {
        let Some(fd) = fd else { continue };
        let file = json!({ "driver": "file", "filename": board.file_set(fd), "read-only": read_only });
        let name = format!("flash{number}");
        let node = json!({ "driver": "raw", "node-name": name, "read-only": read_only, "file": file });
        board.json("-blockdev", &node);
    }
    if *secure {
        board.option("-global", "driver=cfi.pflash01,property=secure,value=on");
    }
    Ok(())
}
