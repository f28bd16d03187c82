//! What the types of a spec cannot express.

use std::collections::HashSet;
use std::fmt;

use super::{
    ClockBase, Disk, DiskBus, DiskDevice, DiskSource, Firmware, FirmwareFile, InterfaceSource, MachineSpec,
    data,
};
use crate::bytes::ByteSize;

/// Something wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where (`disks[1].serial`).
    pub path: String,
    /// What, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// The most of anything that is listed: more than PCI has room for.
const MAX_DEVICES: usize = 256;

pub(super) struct Findings(Vec<Problem>);

impl Findings {
    pub(super) fn refuse(&mut self, wrong: bool, path: impl Into<String>, message: impl Into<String>) {
        if wrong {
            self.0.push(Problem { path: path.into(), message: message.into() });
        }
    }
}

impl MachineSpec {
    /// Everything that is wrong with the spec, in the order of its fields; empty when it can be run.
    pub fn validate(&self) -> Vec<Problem> {
        let mut found = Findings(Vec::new());
        self.check_size(&mut found);
        self.check_boot(&mut found);
        self.check_disks(&mut found);
        self.check_interfaces(&mut found);
        self.check_devices(&mut found);
        self.check_details(&mut found);
        self.check_run(&mut found);
        found.0
    }

    fn check_size(&self, found: &mut Findings) {
        let memory = self.memory;
        found.refuse(
            memory < ByteSize::mib(1) || memory > ByteSize::gib(16 << 10),
            "memory",
            format!("{memory} is outside 1 MiB to 16 TiB"),
        );
        let count = self.cpu.count;
        found.refuse(!(1..=512).contains(&count), "cpu.count", format!("{count} is outside 1 to 512"));
        if let Some(t) = self.cpu.topology {
            let product =
                [t.sockets, t.dies, t.cores, t.threads].iter().try_fold(1u32, |a, b| a.checked_mul(*b));
            found.refuse(
                product != Some(count),
                "cpu.topology",
                format!("sockets x dies x cores x threads has to be cpu.count, {count}"),
            );
        }
        if let super::CpuModel::Named(model) = &self.cpu.model {
            found.refuse(!is_word(model), "cpu.model.named", "not a CPU model name");
        }
        for (index, feature) in self.cpu.features.iter().enumerate() {
            let path = format!("cpu.features[{index}].name");
            found.refuse(!is_word(&feature.name), path, "not a CPU feature name");
        }
        let labels = self.labels.iter().chain(&self.annotations);
        found.refuse(
            labels.map(|(key, value)| key.len() + value.len()).sum::<usize>() > 256 << 10,
            "annotations",
            "labels and annotations together exceed 256 KiB",
        );
    }

    fn check_boot(&self, found: &mut Findings) {
        let boot = &self.boot;
        found.refuse(
            boot.kernel.is_none() && (boot.initrd.is_some() || boot.cmdline.is_some()),
            "boot",
            "initrd and cmdline need a kernel",
        );
        for (path, text) in [("boot.kernel", &boot.kernel), ("boot.initrd", &boot.initrd)] {
            found.refuse(text.as_deref().is_some_and(|p| !is_absolute(p)), path, "not an absolute path");
        }
        found.refuse(
            boot.cmdline.as_deref().is_some_and(|text| text.len() > 4096 || text.contains(['\0', '\n'])),
            "boot.cmdline",
            "longer than 4096 bytes, or more than one line",
        );
        if let Firmware::Uefi { code, vars_template, .. } = &boot.firmware {
            for (path, file) in [("code", Some(code)), ("vars-template", vars_template.as_ref())] {
                let path = format!("boot.firmware.uefi.{path}");
                match file {
                    Some(FirmwareFile::Path(file)) => {
                        found.refuse(!is_absolute(file), path, "not an absolute path");
                    }
                    Some(FirmwareFile::Image { image }) => {
                        found.refuse(!is_image(image), path, "not an image name or digest");
                    }
                    None => {}
                }
            }
        }
        if let ClockBase::Absolute(seconds) = self.clock.base {
            found.refuse(seconds < 0, "clock.base.absolute", "before 1970");
        }
        for (index, table) in self.smbios.tables.iter().enumerate() {
            for (key, value) in &table.fields {
                let path = format!("smbios.tables[{index}].{key}");
                found.refuse(!is_word(key), &path, "not a field name");
                found.refuse(!is_printable(value, 1024), &path, "not a printable text of at most 1024 bytes");
            }
        }
    }

    fn check_disks(&self, found: &mut Findings) {
        found.refuse(self.disks.len() > MAX_DEVICES, "disks", format!("more than {MAX_DEVICES}"));
        let mut names = HashSet::new();
        let mut indexes = HashSet::new();
        for (index, disk) in self.disks.iter().enumerate() {
            let path = format!("disks[{index}]");
            found.refuse(!names.insert(&disk.name), format!("{path}.name"), format!("{} twice", disk.name));
            check_disk(disk, &path, found);
            let repeated = disk.boot_index.is_some_and(|n| !indexes.insert(n));
            found.refuse(repeated, format!("{path}.boot-index"), "used twice");
        }
        let data = self.disks.iter().filter_map(|disk| match &disk.source {
            Some(DiskSource::Data { files, .. }) => Some(data::size(files)),
            _ => None,
        });
        found.refuse(
            data.fold(0u64, u64::saturating_add) > data::MAX_ALL_DATA.get(),
            "disks",
            format!("data disks with more than {} together", data::MAX_ALL_DATA),
        );
        for (index, interface) in self.interfaces.iter().enumerate() {
            let repeated = interface.boot_index.is_some_and(|n| !indexes.insert(n));
            found.refuse(repeated, format!("interfaces[{index}].boot-index"), "used twice");
        }
    }

    fn check_interfaces(&self, found: &mut Findings) {
        found.refuse(self.interfaces.len() > 64, "interfaces", "more than 64");
        let mut macs = HashSet::new();
        let mut ports = HashSet::new();
        for (index, interface) in self.interfaces.iter().enumerate() {
            let path = format!("interfaces[{index}]");
            let repeated = interface.mac.is_some_and(|mac| !macs.insert(mac));
            found.refuse(repeated, format!("{path}.mac"), "used twice");
            found.refuse(
                !interface.forwards.is_empty() && interface.source != InterfaceSource::User,
                format!("{path}.forwards"),
                "only a user network forwards ports",
            );
            for (at, forward) in interface.forwards.iter().enumerate() {
                let key = (forward.protocol as u8, forward.address, forward.host_port);
                let path = format!("{path}.forwards[{at}]");
                found.refuse(forward.guest_port == 0, &path, "the guest's port is 0");
                let repeated = forward.host_port != 0 && !ports.insert(key);
                found.refuse(repeated, &path, "host port used twice");
            }
        }
    }

    fn check_run(&self, found: &mut Findings) {
        let (run, restart) = (self.run, self.restart);
        found.refuse(
            !run.agrees_with(restart),
            "restart",
            format!("the strategy run = \"{run}\" says by itself when the machine is started again: leave restart away"),
        );
    }

    fn check_devices(&self, found: &mut Findings) {
        found.refuse(self.serials.len() > 4, "serials", "more than 4");
        let mut ports = HashSet::new();
        for (index, port) in self.serials.iter().enumerate().filter_map(|(i, s)| s.port.map(|p| (i, p))) {
            let path = format!("serials[{index}].port");
            found.refuse(port > 3, &path, "outside 0 to 3");
            found.refuse(!ports.insert(port), &path, "used twice");
        }
        for (path, count, most) in [
            ("consoles", self.consoles.len(), 30),
            ("channels", self.channels.len(), 30),
            ("videos", self.videos.len(), 8),
            ("inputs", self.inputs.len(), 32),
            ("sounds", self.sounds.len(), 8),
            ("controllers", self.controllers.len(), MAX_DEVICES),
            ("clock.timers", self.clock.timers.len(), 16),
            ("qemu-arguments", self.qemu_arguments.len(), MAX_DEVICES),
        ] {
            found.refuse(count > most, path, format!("more than {most}"));
        }
        for (index, sound) in self.sounds.iter().enumerate() {
            found.refuse(!is_word(&sound.model), format!("sounds[{index}].model"), "not a sound card");
        }
        for (index, controller) in self.controllers.iter().enumerate() {
            let model = controller.model.as_deref();
            let path = format!("controllers[{index}].model");
            found.refuse(model.is_some_and(|model| !is_word(model)), path, "not a controller model");
        }
        if let Some(vnc) = &self.vnc {
            found.refuse(vnc.port.is_some_and(|port| port < 5900), "vnc.port", "below 5900");
            let keymap = vnc.keymap.as_deref();
            found.refuse(keymap.is_some_and(|text| !is_word(text)), "vnc.keymap", "not a keyboard layout");
        }
        for (index, argument) in self.qemu_arguments.iter().enumerate() {
            let path = format!("qemu-arguments[{index}]");
            found.refuse(argument.contains('\0') || argument.len() > 4096, path, "NUL, or over 4096 bytes");
        }
    }
}

fn check_disk(disk: &Disk, path: &str, found: &mut Findings) {
    found.refuse(
        disk.source.is_none() && disk.device == DiskDevice::Disk,
        format!("{path}.source"),
        "a disk needs one; only CD-ROM and floppy drives may be empty",
    );
    found.refuse(
        (disk.device == DiskDevice::Floppy) != (disk.bus == DiskBus::Fdc),
        format!("{path}.bus"),
        "floppy drives sit on fdc, and nothing else does",
    );
    found.refuse(
        disk.device == DiskDevice::Cdrom && matches!(disk.bus, DiskBus::Virtio | DiskBus::Nvme),
        format!("{path}.bus"),
        "a CD-ROM drive needs sata, scsi, ide or usb",
    );
    found.refuse(disk.boot_index == Some(0), format!("{path}.boot-index"), "starts at 1");
    let serial = disk.serial.as_deref();
    found.refuse(
        serial.is_some_and(|text| text.is_empty() || !is_printable(text, 247)),
        format!("{path}.serial"),
        "not 1 to 247 printable ASCII characters",
    );
    found.refuse(
        disk.logical_block_size.is_some_and(|size| size != 512 && size != 4096),
        format!("{path}.logical-block-size"),
        "512 or 4096",
    );
    let size = match &disk.source {
        Some(DiskSource::File { path: file, .. }) => {
            found.refuse(!is_absolute(file), format!("{path}.source.file.path"), "not an absolute path");
            None
        }
        Some(DiskSource::Image(name)) => {
            found.refuse(!is_image(name), format!("{path}.source.image"), "not an image name or digest");
            None
        }
        Some(DiskSource::Remote { url, sha256, .. }) => {
            let path = format!("{path}.source.remote");
            found.refuse(
                !is_url(url),
                format!("{path}.url"),
                "not a URL like \"https://images.example/debian-12.qcow2\" or \"docker://registry.example/debian:12\"",
            );
            found.refuse(
                sha256.is_some() && is_in_registry(url),
                format!("{path}.sha256"),
                "of a file on a server; an artifact's digest belongs into its reference: docker://NAME@sha256:...",
            );
            None
        }
        Some(DiskSource::Blank { size }) => Some(*size),
        Some(DiskSource::Volume { size, .. }) => *size,
        Some(DiskSource::Data { label, files }) => {
            for (at, message) in data::problems(label, files) {
                found.refuse(true, format!("{path}.source.data.{at}"), message);
            }
            None
        }
        Some(DiskSource::Overlay { .. }) | None => None,
    };
    let wrong = size.is_some_and(|size| size.get() == 0 || size.get() % 512 != 0 || size.get() > 1 << 56);
    found.refuse(wrong, format!("{path}.source.size"), "not a multiple of 512 between 512 and 64 PiB");
}

/// Something with a scheme and a place; whoever opens it knows more. Without credentials, which do not belong into specs.
fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // In a reference it stands before a digest.
    let credentials = host.contains('@') && !is_in_registry(text);
    let word = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'+');
    let printable = rest.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    word && !host.is_empty() && !credentials && printable && text.len() <= 4096
}

fn is_in_registry(url: &str) -> bool {
    url.starts_with("docker://") || url.starts_with("oci://")
}

fn is_image(name: &str) -> bool {
    !name.is_empty() && name.len() <= 256 && !name.contains(char::is_control)
}

/// Something that is safe between the commas of a QEMU option.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._+".contains(&b))
}

pub(super) fn is_printable(text: &str, most: usize) -> bool {
    text.len() <= most && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

fn is_absolute(path: &str) -> bool {
    path.starts_with('/') && path.len() <= 4096 && !path.contains('\0')
}
