//! What starts the guest: firmware, a kernel, or a loader that ran before.

use crate::commandline::Text;
use crate::commandline::firmware::{self, Firmware};
use crate::commandline::getopt;
use crate::commandline::number::memory_size;
use crate::devices::Rom;
use crate::findings::{Findings, Place, quote};
use crate::guest::{Boot, Disk, Guest};
use crate::input::{Input, Line};
use crate::paths::absolute;
use crate::program::Program;
use crate::settings::{Dialect, FreeBsdLoader, Settings};

/// Where files are looked for.
pub(crate) struct Files<'a> {
    pub(crate) line: &'a Line,
    /// The option "directory".
    pub(crate) base: Option<&'a str>,
}

impl Files<'_> {
    pub(crate) fn absolute(&self, path: &str, place: Place, findings: &mut Findings) -> String {
        absolute(path, &self.line.directory, self.base, place, findings)
    }
}

/// Reads `-f` and the boot ROM of xhyve and hyperkit.
pub(crate) fn read(
    text: Option<Text<'_>>,
    rom: Option<Rom<'_>>,
    input: &Input,
    files: &Files<'_>,
    settings: &Settings,
    guest: &mut Guest,
    findings: &mut Findings,
) {
    let firmware = text.map(|text| (text, firmware::parse(text, input.dialect, findings)));
    match (firmware, rom) {
        (Some((text, firmware)), rom) => {
            if let Some((rom, _, _)) = rom {
                let message = "not used: -f says what starts the guest";
                findings.warning(rom.place, "xhyve.firmware.bootrom", message);
            }
            match firmware {
                Some(Firmware::Kexec { kernel, initrd, cmdline }) => {
                    guest.boot = Boot::Kernel {
                        kernel: files.absolute(kernel, text.place, findings),
                        initrd: initrd.map(|path| files.absolute(path, text.place, findings)),
                        cmdline: cmdline.to_owned(),
                    };
                }
                Some(Firmware::FreeBsd { volume }) => freebsd(volume, text, settings, guest, findings),
                Some(Firmware::Bootrom { file }) => boot_rom(text, file, None, files, guest, findings),
                None => {}
            }
        }
        (None, Some((text, code, vars))) => boot_rom(text, code, vars, files, guest, findings),
        (None, None) if input.dialect == Dialect::Bhyve => loader(input, guest, findings),
        (None, None) => {
            let message = "nothing starts the guest: the program needs -f, or -l bootrom, else it prints its usage and ends";
            findings.error(input.machine.place, "xhyve.firmware.missing", message);
        }
    }
}

fn boot_rom(
    text: Text<'_>,
    code: &str,
    vars: Option<&str>,
    files: &Files<'_>,
    guest: &mut Guest,
    findings: &mut Findings,
) {
    let name = code.rsplit('/').next().unwrap_or(code);
    if name.starts_with("BHYVE_") {
        let message = format!(
            "{}: made for bhyve's board; map the path to a UEFI for this one by domain-libvirt's setting \
             firmware-images, or put such a file there",
            quote(name)
        );
        findings.warning(text.place, "xhyve.firmware.bhyve", message);
    }
    let vars = vars.filter(|path| !path.is_empty());
    guest.boot = Boot::Rom {
        code: files.absolute(code, text.place, findings),
        vars: vars.map(|path| files.absolute(path, text.place, findings)),
    };
}

fn freebsd(volume: &str, text: Text<'_>, settings: &Settings, guest: &mut Guest, findings: &mut Findings) {
    if settings.fbsd == FreeBsdLoader::Refuse {
        let message = "fbsd: userboot.so is a program of the host that loads the kernel from the volume, and there is \
                       none here; where the volume has boot code of its own, the plugin's setting fbsd = \"disk\" \
                       starts by that";
        return findings.error(text.place, "xhyve.firmware.fbsd", message);
    }
    let message = "the boot code on the volume itself instead of userboot.so, which needs some there";
    findings.warning(text.place, "xhyve.firmware.fbsd", message);
    boot_from(volume, text.place, guest, findings);
}

fn boot_from(volume: &str, place: Place, guest: &mut Guest, findings: &mut Findings) {
    let is_it = |disk: &&mut Disk| disk.given == volume;
    match guest.disks.iter_mut().find(is_it) {
        Some(disk) => disk.boot_index = Some(1),
        None => {
            let message =
                format!("{}: the volume to start from is none of the machine's disks", quote(volume));
            findings.error(place, "xhyve.firmware.volume", message);
        }
    }
}

/// The loader that a script starts before bhyve, for the same machine.
fn loader(input: &Input, guest: &mut Guest, findings: &mut Findings) {
    let [loader] = input.loaders.as_slice() else {
        let place = input.machine.place;
        let message = match input.loaders.len() {
            0 => "no loader and no -l bootrom: the machine starts by the boot code on its disks",
            _ => {
                "several loaders: which of them is this machine's is not worked out, and it starts by the boot code \
                  on its disks"
            }
        };
        return findings.warning(place, "xhyve.loader.missing", message);
    };
    let grammar = match loader.program {
        Program::GrubBhyve => "SevEr:d:m:M:c:n:g:",
        _ => "CSc:d:e:h:l:m:",
    };
    let texts = loader.texts();
    let arguments = getopt::parse(&texts, grammar, findings);
    let value = |letter| arguments.flags.iter().rfind(|flag| flag.letter == letter).map(|flag| flag.argument);
    let memory = value(if loader.program == Program::GrubBhyve { 'M' } else { 'm' });
    if let Some(memory) = memory {
        check_memory(memory, guest, findings);
    }
    check_name(loader, arguments.operands.first(), guest, findings);
    let message = "the boot code on the disk itself instead of the loader, which needs some there";
    findings.warning(loader.place, "xhyve.loader.replaced", message);
    match (loader.program, value('d'), value('r')) {
        (Program::GrubBhyve, _, Some(root)) => grub_root(root, guest, findings),
        (Program::GrubBhyve, _, None) | (_, None, _) => {}
        (_, Some(disk), _) => boot_from(disk.text, disk.place, guest, findings),
    }
}

fn check_memory(memory: Text<'_>, guest: &Guest, findings: &mut Findings) {
    match memory_size(memory.text) {
        None => {
            let message = format!("{}: not a size of memory", quote(memory.text));
            findings.error(memory.place, "xhyve.memory.size", message);
        }
        Some(size) if size != guest.memory => {
            let message = "the loader and bhyve are given different sizes of memory";
            findings.error(memory.place, "xhyve.loader.memory", message);
        }
        Some(_) => {}
    }
}

fn check_name(loader: &Line, name: Option<&Text<'_>>, guest: &Guest, findings: &mut Findings) {
    let place = name.map_or(loader.place, |name| name.place);
    if name.is_none_or(|name| name.text != guest.name) {
        let message = format!("the loader is for another machine than {}", quote(&guest.name));
        findings.error(place, "xhyve.loader.name", message);
    }
}

/// `hd0,msdos1` and `cd0`: the first hard disk or CD-ROM of the device map, which is taken to have the order of the slots.
fn grub_root(root: Text<'_>, guest: &mut Guest, findings: &mut Findings) {
    let name = root.text.split(',').next().unwrap_or_default();
    let (cdrom, number) = match (name.strip_prefix("hd"), name.strip_prefix("cd")) {
        (Some(number), _) => (false, number),
        (_, Some(number)) => (true, number),
        _ => (false, ""),
    };
    let drive = number.parse::<usize>().ok();
    let mut drives = guest.disks.iter_mut().filter(|disk| disk.cdrom == cdrom);
    match drive.and_then(|number| drives.nth(number)) {
        Some(disk) => disk.boot_index = Some(1),
        None => {
            let message = format!("{}: no such drive", quote(root.text));
            findings.error(root.place, "xhyve.loader.root", message);
        }
    }
}
