//! Slots and what is behind the LPC bridge.

use std::collections::BTreeSet;

use crate::commandline::lpc::{self, Backend, Port};
use crate::commandline::slot::{self, Slot};
use crate::commandline::{Text, block, display, network};
use crate::findings::{Findings, quote};
use crate::flags::Parts;
use crate::guest::{Disk, DiskBus, Guest, Nic, Serial};
use crate::settings::{Dialect, MissingDevices, Settings};

/// What reading devices needs to know.
pub(crate) struct Reader<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) settings: &'a Settings,
    pub(crate) findings: &'a mut Findings,
}

/// A boot ROM: file, and file of its variables.
pub(crate) type Rom<'a> = (Text<'a>, &'a str, Option<&'a str>);

impl<'a> Reader<'_> {
    /// Reads all slots and serial ports; returns the boot ROM.
    pub(crate) fn read(&mut self, parts: &Parts<'a>, guest: &mut Guest) -> Option<Rom<'a>> {
        let mut slots = Vec::new();
        let mut taken = BTreeSet::new();
        for text in &parts.slots {
            let Some(slot) = slot::parse(*text, self.findings) else { continue };
            if taken.insert(slot.address) {
                slots.push(slot);
                continue;
            }
            let message = format!("pci slot {} already occupied!", slot.address);
            self.findings.error(text.place, "xhyve.slot.occupied", message);
        }
        // As the programs set them up, and guests find them.
        slots.sort_by_key(|slot| slot.address);
        let mut bridges = 0;
        for slot in &slots {
            if slot.emulation == "lpc" {
                self.bridge(slot, &mut bridges);
            } else {
                self.device(slot, guest);
            }
        }
        self.lpc(&parts.lpc, bridges > 0, guest)
    }

    fn bridge(&mut self, slot: &Slot<'_>, bridges: &mut usize) {
        *bridges += 1;
        if slot.address.bus != 0 {
            self.findings.error(slot.text.place, "xhyve.slot.lpc", "lpc: the bridge has to be on bus 0");
        } else if *bridges > 1 {
            self.findings.error(slot.text.place, "xhyve.slot.lpc", "lpc: there is one bridge");
        }
    }

    fn device(&mut self, slot: &Slot<'_>, guest: &mut Guest) {
        use Dialect::{Bhyve, Hyperkit};
        match (slot.emulation, self.dialect) {
            ("hostbridge" | "amd_hostbridge", _) => {}
            ("virtio-net" | "e1000", _)
            | ("virtio-tap", Dialect::Xhyve | Hyperkit)
            | ("virtio-vpnkit", Hyperkit) => {
                let card =
                    network::parse(slot.emulation, slot.config, slot.text, self.dialect, self.findings);
                let model = if slot.emulation == "e1000" { "e1000-82545em" } else { "virtio" };
                let (address, place) = (slot.address, slot.text.place);
                guest.nics.push(Nic { card, model, address, place });
            }
            ("virtio-blk", _) => self.disk(slot, slot.config, DiskBus::Virtio, false, guest),
            ("ahci-hd", _) => self.disk(slot, slot.config, DiskBus::Sata, false, guest),
            ("ahci-cd", _) => self.disk(slot, slot.config, DiskBus::Sata, true, guest),
            ("ahci", Bhyve) => self.ports(slot, guest),
            ("nvme", Bhyve) => self.disk(slot, slot.config, DiskBus::Nvme, false, guest),
            ("virtio-rnd", _) => guest.rng = Some(slot.address),
            ("uart", _) => guest.serials.push(Serial::Pci { address: slot.address }),
            ("fbuf", _) => {
                let display = display::parse(slot.config, slot.text, self.dialect, self.findings);
                guest.display = Some((display, slot.address));
            }
            ("xhci", Bhyve) if slot.config == "tablet" => guest.tablet = true,
            ("hda", Bhyve) => {
                guest.sound = true;
                let message = "hda: the sound card plays into nothing";
                self.findings.warning(slot.text.place, "xhyve.device.sound", message);
            }
            ("virtio-sock" | "virtio-9p", Hyperkit | Bhyve)
            | ("virtio-console" | "virtio-scsi" | "virtio-input" | "xhci", Bhyve)
            | ("passthru" | "dummy", _) => self.missing(slot),
            _ => {
                let (address, name) = (slot.address, quote(slot.emulation));
                let program = self.dialect.name();
                let message = format!("pci slot {address}: unknown device {name} of {program}");
                self.findings.error(slot.text.place, "xhyve.slot.unknown", message);
            }
        }
    }

    fn missing(&mut self, slot: &Slot<'_>) {
        let (place, name) = (slot.text.place, slot.emulation);
        match self.settings.missing_devices {
            MissingDevices::Refuse => {
                let message = format!(
                    "{name}: there is no such device here, and the guest would miss it; the plugin's setting \
                     missing-devices = \"leave-out\" takes that"
                );
                self.findings.error(place, "xhyve.device.missing", message);
            }
            MissingDevices::LeaveOut => {
                let message = format!("{name}: there is no such device here; the guest goes without");
                self.findings.warning(place, "xhyve.device.missing", message);
            }
        }
    }

    /// bhyve's `ahci,hd:PATH,cd:PATH...`: several drives, each with its options.
    fn ports(&mut self, slot: &Slot<'_>, guest: &mut Guest) {
        let mut drives: Vec<(bool, String)> = Vec::new();
        for field in slot.config.split(',') {
            match (field.strip_prefix("hd:"), field.strip_prefix("cd:"), drives.last_mut()) {
                (Some(path), _, _) => drives.push((false, path.to_owned())),
                (_, Some(path), _) => drives.push((true, path.to_owned())),
                (_, _, Some((_, config))) => {
                    config.push(',');
                    config.push_str(field);
                }
                _ => {
                    let message = format!("{}: drives are hd:PATH and cd:PATH", quote(field));
                    return self.findings.error(slot.text.place, "xhyve.disk.port", message);
                }
            }
        }
        for (cdrom, config) in drives {
            self.disk(slot, &config, DiskBus::Sata, cdrom, guest);
        }
    }

    fn disk(&mut self, slot: &Slot<'_>, config: &str, bus: DiskBus, cdrom: bool, guest: &mut Guest) {
        let Some(backing) = block::parse(config, slot.text, self.dialect, self.findings) else { return };
        let given = backing.path.clone();
        let boot_index = backing.boot_index;
        guest.disks.push(Disk { backing, given, bus, cdrom, address: slot.address, boot_index });
    }

    fn lpc(&mut self, texts: &[Text<'a>], bridge: bool, guest: &mut Guest) -> Option<Rom<'a>> {
        let mut ports: [Option<Port<'a>>; 2] = [None; 2];
        let mut rom = None;
        for text in texts {
            let repeated = match lpc::parse(*text, self.dialect, self.findings) {
                Some(lpc::Device::Com(number, port)) => ports[number].replace(port).map(|port| port.text),
                Some(lpc::Device::Bootrom { code, vars }) => {
                    rom.replace((*text, code, vars)).map(|(text, _, _)| text)
                }
                Some(lpc::Device::Tpm) => {
                    guest.tpm = true;
                    None
                }
                None => None,
            };
            if let Some(before) = repeated {
                let message = format!("{}: replaced by {}", quote(before.text), quote(text.text));
                self.findings.warning(before.place, "xhyve.lpc.repeated", message);
            }
        }
        if bridge {
            self.serials(ports, guest);
        } else {
            for port in ports.into_iter().flatten() {
                let message = "without an lpc slot there is no serial port: -s 31,lpc";
                self.findings.warning(port.text.place, "xhyve.serial.bridge", message);
            }
        }
        rom
    }

    fn serials(&mut self, ports: [Option<Port<'a>>; 2], guest: &mut Guest) {
        let mut terminals = 0;
        let mut serials = Vec::new();
        for (port, found) in ports.into_iter().enumerate() {
            let Some(Port { backend, log, text }) = found else { continue };
            match backend {
                Backend::Stdio => {
                    terminals += 1;
                    if terminals > 1 {
                        let message = "stdio is taken by the other serial port";
                        self.findings.error(text.place, "xhyve.serial.stdio", message);
                    }
                }
                Backend::Device(path) => {
                    let message = format!("{}: the machine's own console takes its place", quote(path));
                    self.findings.warning(text.place, "xhyve.serial.backend", message);
                }
                Backend::Pty | Backend::None => {}
            }
            if let Some(log) = log {
                let message = format!("log={}: the machine's own console log keeps the output", quote(log));
                self.findings.info(text.place, "xhyve.serial.log", message);
            }
            // A log alone is a reader too.
            let connected = backend != Backend::None || log.is_some();
            serials.push(Serial::Com { port, connected, log: log.map(str::to_owned) });
        }
        serials.sort_by_key(|serial| !matches!(serial, Serial::Com { connected: true, .. }));
        serials.append(&mut guest.serials);
        guest.serials = serials;
    }
}
