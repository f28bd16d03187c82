//! A machine's command line for people and for tests: with paths where a launch hands over open files.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use witvirt_core::spec::{Disk, DiskBus, DiskDevice, DiskSource, Firmware, FirmwareFile, MachineSpec};

use super::QemuOptions;
use super::arguments::{self, BlockDescriptor, Descriptors, Machine, Permissions};
use crate::Error;
use crate::accelerator::Accelerator;

/// Where a machine's files are, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilePaths {
    /// Socket of the monitor (QMP).
    pub monitor: String,
    /// Socket of the console.
    pub console: String,
    /// What the console prints is appended to this file.
    pub console_log: String,
    /// One for each of `spec.disks`; `None` for an empty drive.
    pub disks: Vec<Option<BlockPaths>>,
    /// Kernel to boot directly.
    pub kernel: Option<String>,
    /// Its initial RAM disk.
    pub initrd: Option<String>,
    /// Code of the UEFI firmware.
    pub firmware_code: Option<String>,
    /// The machine's variable store.
    pub firmware_vars: Option<String>,
    /// Control socket of swtpm.
    pub tpm: Option<String>,
}

/// The files of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockPaths {
    /// Raw bytes.
    Raw {
        /// A file or block device.
        path: String,
        /// Whether it must not be written.
        read_only: bool,
    },
    /// A qcow2 overlay.
    Overlay {
        /// The overlay.
        path: String,
        /// The raw file below it.
        backing: String,
    },
}

impl FilePaths {
    /// The paths that the spec names, and names below `directory` for what the daemon makes: sockets, overlays, volumes.
    pub fn of(spec: &MachineSpec, directory: &str) -> Self {
        let below = |name: &str| format!("{directory}/{name}");
        let uefi = matches!(spec.boot.firmware, Firmware::Uefi { .. });
        let (code, vars) = match &spec.boot.firmware {
            Firmware::Uefi { code: FirmwareFile::Path(path), vars_template, .. } => {
                (Some(path.clone()), vars_template.is_some())
            }
            Firmware::Uefi { vars_template, .. } => (Some(below("code.fd")), vars_template.is_some()),
            Firmware::Bios => (None, false),
        };
        Self {
            monitor: below("monitor.sock"),
            console: below("console.sock"),
            console_log: below("console.log"),
            disks: spec.disks.iter().map(|disk| BlockPaths::of(disk, directory)).collect(),
            kernel: spec.boot.kernel.clone(),
            initrd: spec.boot.initrd.clone(),
            firmware_code: code,
            firmware_vars: (uefi && vars).then(|| below("vars.fd")),
            tpm: spec.tpm.as_ref().map(|_| below("tpm.sock")),
        }
    }
}

impl BlockPaths {
    fn of(disk: &Disk, directory: &str) -> Option<Self> {
        let read_only = disk.read_only || disk.device == DiskDevice::Cdrom;
        let own = |extension: &str| format!("{directory}/{}.{extension}", disk.name);
        Some(match disk.source.as_ref()? {
            DiskSource::File { path, format } if format.as_deref() == Some("raw") => {
                Self::Raw { path: path.clone(), read_only }
            }
            DiskSource::File { path, .. } => Self::Overlay { path: own("qcow2"), backing: path.clone() },
            DiskSource::Image(_) | DiskSource::Remote { .. } => {
                Self::Overlay { path: own("qcow2"), backing: own("base") }
            }
            DiskSource::Overlay { volume } => {
                Self::Overlay { path: own("qcow2"), backing: format!("{directory}/{volume}.raw") }
            }
            DiskSource::Data { .. } => {
                let ata = matches!(disk.bus, DiskBus::Ide | DiskBus::Sata);
                Self::Raw { path: own("iso"), read_only: read_only || !ata }
            }
            _ => Self::Raw { path: own("raw"), read_only },
        })
    }
}

/// The arguments that QEMU would get for a machine, without the program's name. What a launch hands over as open files
/// appears with its path, so that the line can be read, and run where the paths exist. `kvm`: whether KVM runs the CPUs.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for a field that QEMU or this driver cannot honour,
/// [`Denied`](crate::ErrorKind::Denied) for what `options` do not allow.
pub fn command_line(
    spec: &MachineSpec,
    paths: &FilePaths,
    kvm: bool,
    options: &QemuOptions,
) -> Result<Vec<String>, Error> {
    let mut numbers = Numbers::default();
    let disks = paths.disks.iter().map(|disk| disk.as_ref().map(|disk| numbers.block(disk))).collect();
    let descriptors = Descriptors {
        qmp: numbers.of(&paths.monitor),
        console: numbers.of(&paths.console),
        console_log: numbers.of(&paths.console_log),
        disks,
        kernel: numbers.of_some(&paths.kernel),
        initrd: numbers.of_some(&paths.initrd),
        firmware_code: numbers.of_some(&paths.firmware_code),
        firmware_vars: numbers.of_some(&paths.firmware_vars),
        tpm: numbers.of_some(&paths.tpm),
        paths: numbers.paths,
    };
    let permissions = Permissions {
        arguments: options.allow_arguments.clone(),
        vnc_addresses: options.vnc_addresses.clone(),
    };
    let accelerator = if kvm { Accelerator::Kvm } else { Accelerator::Tcg };
    arguments::build(&Machine { spec, accelerator, descriptors: &descriptors, permissions: &permissions })
}

/// Numbers in place of open files, each with its path.
#[derive(Default)]
struct Numbers {
    paths: BTreeMap<RawFd, String>,
    last: RawFd,
}

impl Numbers {
    fn of(&mut self, path: &str) -> RawFd {
        self.last = self.last.saturating_add(1);
        self.paths.insert(self.last, path.to_owned());
        self.last
    }

    fn of_some(&mut self, path: &Option<String>) -> Option<RawFd> {
        path.as_deref().map(|path| self.of(path))
    }

    fn block(&mut self, block: &BlockPaths) -> BlockDescriptor {
        match block {
            BlockPaths::Raw { path, read_only } => {
                let block_device = path.starts_with("/dev/");
                BlockDescriptor::Raw { fd: self.of(path), read_only: *read_only, block_device }
            }
            BlockPaths::Overlay { path, backing } => {
                let fd = self.of(backing);
                let backing = BlockDescriptor::Raw { fd, read_only: true, block_device: false };
                let fd = self.of(path);
                BlockDescriptor::Overlay { fd, read_only: false, backing: Box::new(backing) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{FilePaths, command_line};
    use crate::QemuOptions;

    #[test]
    fn names_paths_instead_of_descriptors() {
        let spec = serde_json::from_value(json!({
            "name": "m", "memory": "64MiB", "tpm": { "model": "tis" },
            "boot": { "kernel": "/boot/vmlinuz", "firmware": { "uefi": { "code": "/c.fd", "vars-template": "/v.fd" } } },
            "disks": [
                { "name": "a", "source": { "file": { "path": "/srv/a,b.raw", "format": "raw" } } },
                { "name": "b", "source": { "image": "debian" } },
                { "name": "c", "device": "cdrom", "bus": "sata" },
            ],
        }))
        .unwrap();
        let line =
            command_line(&spec, &FilePaths::of(&spec, "/run/m"), false, &QemuOptions::new("/")).unwrap();
        let text = line.join("\n");
        for part in [
            "socket,id=monitor,path=/run/m/monitor.sock,server=on,wait=off",
            "path=/run/m/console.sock,server=on,wait=off,logfile=/run/m/console.log,logappend=on",
            "\n-kernel\n/boot/vmlinuz\n",
            "\"filename\":\"/c.fd\"",
            "\"filename\":\"/run/m/vars.fd\"",
            "\"filename\":\"/srv/a,b.raw\"",
            "\"filename\":\"/run/m/b.qcow2\"",
            "\"filename\":\"/run/m/b.base\"",
            "socket,id=tpm,path=/run/m/tpm.sock",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        for part in ["fdset", "/dev/fd/", "fd=", "-add-fd"] {
            assert!(!text.contains(part), "{part} in {text}");
        }
    }
}
