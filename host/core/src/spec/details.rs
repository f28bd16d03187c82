//! Ranges of what devices say of themselves. Whether a device has the property at all is the hypervisor driver's to say.

use std::collections::HashSet;

use super::validate::{Findings, is_printable, is_word};
use super::{CpuSetting, Disk, InputBus, Interface, MachineSpec};

impl MachineSpec {
    pub(super) fn check_details(&self, found: &mut Findings) {
        for (index, setting) in self.cpu.settings.iter().enumerate() {
            check_setting(setting, &format!("cpu.settings[{index}]"), found);
        }
        self.check_numa(found);
        let mut panics = HashSet::new();
        let repeated = self.board.panic.iter().any(|device| !panics.insert(device));
        found.refuse(repeated, "board.panic", "a device stands here twice");
        for (index, input) in self.inputs.iter().enumerate() {
            let wrong = input.bus == InputBus::Ps2 && !self.board.ps2;
            found.refuse(wrong, format!("inputs[{index}].bus"), "the board has no PS/2 controller");
        }
        for (index, disk) in self.disks.iter().enumerate() {
            check_disk(disk, &format!("disks[{index}]"), found);
        }
        for (index, interface) in self.interfaces.iter().enumerate() {
            check_interface(interface, &format!("interfaces[{index}]"), found);
        }
        for (index, channel) in self.channels.iter().enumerate() {
            let path = format!("channels[{index}].name");
            let Some(name) = &channel.name else { continue };
            let wrong = name.is_empty() || !is_printable(name, 64);
            found.refuse(wrong, &path, "not 1 to 64 printable ASCII characters");
            found.refuse(
                self.channels[..index].iter().any(|other| other.name.as_ref() == Some(name)),
                &path,
                "used twice",
            );
        }
        for (index, controller) in self.controllers.iter().enumerate() {
            let path = format!("controllers[{index}]");
            found.refuse(controller.queues == Some(0), format!("{path}.queues"), "at least 1");
            let ports = controller.ports;
            found.refuse(
                ports.is_some_and(|ports| !(1..=511).contains(&ports)),
                format!("{path}.ports"),
                "outside 1 to 511",
            );
        }
        for (index, video) in self.videos.iter().enumerate() {
            let wrong = video.resolution.is_some_and(|size| {
                [size.width, size.height].iter().any(|pixels| !(1..=16_384).contains(pixels))
            });
            found.refuse(wrong, format!("videos[{index}].resolution"), "outside 1 to 16384");
        }
        for (index, sound) in self.sounds.iter().enumerate() {
            let most = sound.codecs.len() > 15;
            found.refuse(most, format!("sounds[{index}].codecs"), "more than 15");
        }
    }
}

impl MachineSpec {
    fn check_numa(&self, found: &mut Findings) {
        let nodes = &self.cpu.numa;
        if nodes.is_empty() {
            return;
        }
        found.refuse(nodes.len() > 128, "cpu.numa", "more than 128 nodes");
        let memory = nodes.iter().try_fold(0u64, |sum, node| sum.checked_add(node.memory.get()));
        let whole = memory == Some(self.memory.get());
        found.refuse(!whole, "cpu.numa", "the nodes' memory has to be the machine's, together");
        let mut taken = HashSet::new();
        for (index, node) in nodes.iter().enumerate() {
            let path = format!("cpu.numa[{index}]");
            let empty = node.memory.get() == 0 || node.memory.get() % 4096 != 0;
            found.refuse(empty, format!("{path}.memory"), "not a multiple of 4 KiB above 0");
            let wrong = node.cpus.iter().any(|cpu| *cpu >= self.cpu.count || !taken.insert(*cpu));
            found.refuse(wrong, format!("{path}.cpus"), "a CPU that is not there, or stands here twice");
            let distances = &node.distances;
            let fits = distances.len() == nodes.len()
                && distances
                    .iter()
                    .enumerate()
                    .all(|(to, far)| if to == index { *far == 10 } else { *far > 10 });
            found.refuse(
                !distances.is_empty() && !fits,
                format!("{path}.distances"),
                "one for each node: 10 to itself, more to the others",
            );
        }
        let given = nodes.iter().filter(|node| !node.distances.is_empty()).count();
        found.refuse(given != 0 && given != nodes.len(), "cpu.numa", "distances of all nodes, or of none");
    }
}

fn check_setting(setting: &CpuSetting, path: &str, found: &mut Findings) {
    let value = setting.value.as_str();
    let number = |range: std::ops::RangeInclusive<u32>| {
        value.parse::<u32>().ok().filter(|number| range.contains(number)).is_none()
    };
    let (wrong, right) = match setting.name.as_str() {
        "phys-bits" => (number(32..=52), "a number from 32 to 52"),
        "hv-spinlocks" => (number(0..=u32::MAX), "a number of retries below 2^32"),
        "vendor" => (value.len() != 12 || !is_word(value), "12 letters and digits"),
        "hv-vendor-id" => {
            (value.is_empty() || !is_printable(value, 12), "1 to 12 printable ASCII characters")
        }
        _ => {
            let known = "use phys-bits, hv-spinlocks, hv-vendor-id or vendor";
            return found.refuse(true, format!("{path}.name"), known);
        }
    };
    found.refuse(wrong, format!("{path}.value"), right);
}

fn check_disk(disk: &Disk, path: &str, found: &mut Findings) {
    let block = |size: u32| size.is_power_of_two() && (512..=2 << 20).contains(&size);
    let logical = disk.logical_block_size.unwrap_or(512);
    found.refuse(
        disk.physical_block_size.is_some_and(|size| !block(size) || size < logical),
        format!("{path}.physical-block-size"),
        "not a power of two from the sector size to 2 MiB",
    );
    let digits = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    found.refuse(
        disk.wwn.as_deref().is_some_and(|wwn| !digits(wwn)),
        format!("{path}.wwn"),
        "not 16 hexadecimal digits",
    );
    for (name, text, most) in [("vendor", &disk.vendor, 8), ("product", &disk.product, 40)] {
        let wrong = text.as_deref().is_some_and(|text| text.is_empty() || !is_printable(text, most));
        found.refuse(wrong, format!("{path}.{name}"), format!("not 1 to {most} printable ASCII characters"));
    }
    found.refuse(
        disk.queues.is_some_and(|queues| !(1..=1024).contains(&queues)),
        format!("{path}.queues"),
        "outside 1 to 1024",
    );
    let queue = |size: u16| size.is_power_of_two() && (4..=1024).contains(&size);
    found.refuse(
        disk.queue_size.is_some_and(|size| !queue(size)),
        format!("{path}.queue-size"),
        "not a power of two from 4 to 1024",
    );
    let drive = |heads: u32, sectors: u32| (1..=255).contains(&heads) && (1..=255).contains(&sectors);
    found.refuse(
        disk.geometry.is_some_and(|g| !drive(g.heads, g.sectors) || !(1..=16_777_215).contains(&g.cylinders)),
        format!("{path}.geometry"),
        "heads and sectors are 1 to 255, cylinders 1 to 16777215",
    );
}

fn check_interface(interface: &Interface, path: &str, found: &mut Findings) {
    let queue = |size: u16| size.is_power_of_two() && (256..=1024).contains(&size);
    for (name, size) in
        [("rx-queue-size", interface.rx_queue_size), ("tx-queue-size", interface.tx_queue_size)]
    {
        let wrong = size.is_some_and(|size| !queue(size));
        found.refuse(wrong, format!("{path}.{name}"), "not 256, 512 or 1024");
    }
}
