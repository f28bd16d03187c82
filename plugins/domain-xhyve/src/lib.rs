//! Command lines of xhyve, hyperkit and bhyve to libvirt domain XML.
//!
//! A document is a JSON array of arguments, one command line, or a shell script around such a command line, which is read
//! without running anything (module `shell`). What cannot be honoured is a diagnostic with the argument's index among the
//! command's words ("`argv[7]`"; word 0 is the program or what launches it) and, in scripts, its line:
//! - **error**: the program itself would refuse this, or the guest would miss a device, or it could not start.
//! - **warning**: the machine runs, but this part is not honoured.
//! - **info**: a default was filled in, or the part means nothing outside that program.
//!
//! Devices appear in the order of their PCI slots, as they did: `/dev/vda` stays `/dev/vda`. The MAC address of a card is
//! made from the machine's UUID (`-U`), the same on each start; it is not the one that macOS had made.
//!
//! Facts of the format are those of machyve/xhyve (`src/xhyve.c` and what it calls), moby/hyperkit and bhyve(8); sizes,
//! loaders and tests for bhyve are those of libvirt's bhyve driver.

mod boot;
mod commandline;
mod converter;
mod devices;
mod findings;
mod flags;
mod guest;
mod input;
mod paths;
mod program;
mod settings;
mod shell;
mod xml;

use commandline::getopt;
use commandline::network::{Link, mac_of};
use findings::{Findings, Place, quote};
use guest::Guest;
use input::Input;
use witvirt_sdk::core::domain::Diagnostic;
use witvirt_sdk::domain::Options;

pub use converter::Xhyve;
pub use input::InputError;
pub use settings::{Dialect, FreeBsdLoader, MissingDevices, Settings, Tap};
pub use shell::ShellError;

/// Result of a conversion.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversion {
    /// libvirt domain XML: of use unless a diagnostic is an error, a best guess for reading otherwise.
    pub xml: String,
    /// What the user should know, in the order of the command line.
    pub diagnostics: Vec<Diagnostic>,
}

/// Converts a document.
///
/// # Errors
/// [`InputError`] where there is no command line to speak of; everything else becomes a diagnostic.
pub fn convert(document: &str, options: &Options, settings: &Settings) -> Result<Conversion, InputError> {
    let mut findings = Findings::default();
    let (select, base) = (options.select.as_deref(), options.directory.as_deref());
    let input = input::read(document, select, base, settings, &mut findings)?;
    let guest = read(&input, options, settings, &mut findings);
    Ok(Conversion { xml: xml::write(&guest, settings.tap), diagnostics: findings.into_diagnostics() })
}

fn read(input: &Input, options: &Options, settings: &Settings, findings: &mut Findings) -> Guest {
    let mut guest = Guest::default();
    let texts = input.machine.texts();
    let arguments = getopt::parse(&texts, input.dialect.grammar(), findings);
    let parts = flags::read(&arguments, input.dialect, &mut guest, findings);
    let mut reader = devices::Reader { dialect: input.dialect, settings, findings };
    let rom = reader.read(&parts, &mut guest);
    // Loaders name the machine as bhyve does.
    if let (Dialect::Bhyve, Some(operand)) = (input.dialect, arguments.operands.first()) {
        guest.name = operand.text.to_owned();
    }
    let files = boot::Files { line: &input.machine, base: options.directory.as_deref() };
    boot::read(parts.firmware, rom, input, &files, settings, &mut guest, findings);
    locate_disks(&mut guest, &parts.slots, &files, findings);
    address_cards(&mut guest, settings, findings);
    name(&mut guest, input, options, findings);
    guest
}

/// Makes the disks' paths absolute.
fn locate_disks(
    guest: &mut Guest,
    slots: &[commandline::Text<'_>],
    files: &boot::Files<'_>,
    findings: &mut Findings,
) {
    for disk in &mut guest.disks {
        let mentions = |slot: &&commandline::Text<'_>| slot.text.contains(disk.given.as_str());
        let place = slots.iter().find(mentions).map_or(Place::default(), |slot| slot.place);
        disk.backing.path = files.absolute(&disk.backing.path, place, findings);
        let path = &disk.backing.path;
        let of_macos = path.strip_prefix("/dev/disk").or(path.strip_prefix("/dev/rdisk"));
        if of_macos.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            let message = format!("{}: a name of macOS; other hosts call their disks otherwise", quote(path));
            findings.warning(place, "xhyve.disk.device", message);
        }
    }
}

/// Gives cards their MAC addresses.
fn address_cards(guest: &mut Guest, settings: &Settings, findings: &mut Findings) {
    for (index, nic) in guest.nics.iter_mut().enumerate() {
        if let Link::Tap(device) = &nic.card.link {
            let instead = match settings.tap {
                Tap::Ethernet => None,
                Tap::User => Some("a user network instead"),
                Tap::Unplugged => Some("a card without a cable instead"),
            };
            match instead {
                Some(instead) => {
                    let message = format!("{}: {instead}", quote(device));
                    findings.warning(nic.place, "xhyve.network.tap", message);
                }
                None => {
                    let message = format!(
                        "{}: stays a tap device of the host; the plugin's setting tap makes it a user network",
                        quote(device)
                    );
                    findings.info(nic.place, "xhyve.network.tap", message);
                }
            }
        }
        if nic.card.mac.is_some() {
            continue;
        }
        match nic.card.uuid.or(guest.uuid) {
            Some(uuid) => {
                let mac = mac_of(uuid, index);
                let message = format!(
                    "the MAC address is {mac}, made from the UUID, and not the one that the card had"
                );
                findings.info(nic.place, "xhyve.network.mac", message);
                nic.card.mac = Some(mac);
            }
            None => {
                let message = "without -U the program makes a new MAC address for each run; here it is made once for \
                               the machine, and stays";
                findings.info(nic.place, "xhyve.network.mac", message);
            }
        }
    }
}

/// The machine's name: the wanted one, else bhyve's operand, else one made from the UUID, a disk or the program.
fn name(guest: &mut Guest, input: &Input, options: &Options, findings: &mut Findings) {
    if let Some(name) = &options.name {
        guest.name = name.to_string();
        return;
    }
    if !guest.name.is_empty() {
        return;
    }
    let program = input.dialect.name();
    let disk = guest.disks.iter().find(|disk| !disk.cdrom).and_then(|disk| {
        let file = disk.given.rsplit('/').next()?;
        let stem = file.split('.').next()?.trim();
        Some(stem.to_owned()).filter(|stem| stem.contains(|c: char| c.is_ascii_alphanumeric()))
    });
    let (name, from) = match (guest.uuid, disk) {
        (Some(uuid), _) => {
            let uuid = uuid.to_string();
            (format!("{program}-{}", uuid.get(..8).unwrap_or_default()), "the UUID")
        }
        (None, Some(disk)) => (disk, "the first disk's file"),
        (None, None) => (program.to_owned(), "the program"),
    };
    let message =
        format!("the machine is called {}, after {from}: command lines have no names", quote(&name));
    findings.info(flags::whole(input.machine.place.line), "xhyve.name", message);
    guest.name = name;
}
