//! Flags, one after another.

use crate::commandline::Text;
use crate::commandline::getopt::{Arguments, Flag};
use crate::commandline::number::{decimal, memory_size};
use crate::findings::{Findings, Place, quote};
use crate::guest::{Guest, Topology};
use crate::settings::Dialect;

/// Most virtual CPUs of the two programs for macOS (`VM_MAXCPU`).
const MAX_CPUS: u32 = 16;
/// Most of today's bhyve.
const MAX_CPUS_BHYVE: u32 = 254;
const DEFAULT_MEMORY: u64 = 256 << 20;

impl Dialect {
    /// The grammar of its flags, as `getopt` takes it.
    pub(crate) fn grammar(self) -> &'static str {
        match self {
            Self::Xhyve | Self::Hyperkit => "behvuwxMACHPWY:f:F:g:c:s:m:l:U:",
            Self::Bhyve => "abehuwxACDHIPSWYf:g:G:k:K:n:o:p:c:s:m:l:U:",
        }
    }
}

/// What flags say of other parts, to be read in their turn.
#[derive(Debug, Default)]
pub(crate) struct Parts<'a> {
    pub(crate) slots: Vec<Text<'a>>,
    pub(crate) lpc: Vec<Text<'a>>,
    pub(crate) firmware: Option<Text<'a>>,
}

/// Reads all flags.
pub(crate) fn read<'a>(
    arguments: &Arguments<'a>,
    dialect: Dialect,
    guest: &mut Guest,
    findings: &mut Findings,
) -> Parts<'a> {
    guest.cpus = 1;
    guest.memory = DEFAULT_MEMORY;
    let mut parts = Parts::default();
    for flag in &arguments.flags {
        match flag.letter {
            's' => parts.slots.push(flag.argument),
            'l' => parts.lpc.push(flag.argument),
            'f' if dialect == Dialect::Bhyve => {
                ignored(flag, "what the firmware would be told by fwcfg is not passed on", findings);
            }
            'f' => parts.firmware = Some(flag.argument),
            'c' => cpus(flag, dialect, guest, findings),
            'm' => memory(flag, guest, findings),
            'U' => uuid(flag, guest, findings),
            'A' => guest.acpi = true,
            'u' => guest.utc = true,
            'x' => guest.x2apic = true,
            'w' => guest.ignore_msrs = true,
            'C' => guest.core_dumps = true,
            'S' => guest.wired = true,
            _ => read_other(flag, dialect, findings),
        }
    }
    read_operands(arguments, dialect, findings);
    parts
}

/// Flags that change nothing here.
fn read_other(flag: &Flag<'_>, dialect: Dialect, findings: &mut Findings) {
    match (flag.letter, dialect) {
        ('Y', Dialect::Xhyve | Dialect::Hyperkit) => {
            let message = format!(
                "-Y takes a word by mistake: {} is lost; an MP table is there all the same",
                quote(flag.argument.text)
            );
            findings.warning(flag.place, "xhyve.option.swallowed", message);
        }
        ('Y', Dialect::Bhyve) => note(flag, "an MP table is there all the same", findings),
        ('H' | 'P', _) => note(flag, "an idle guest leaves the host's CPU alone in any case", findings),
        ('W', _) => {
            note(flag, "virtio devices offer MSI-X: guests that want a single MSI take that", findings)
        }
        ('F', _) => note(flag, "the daemon keeps the process id itself", findings),
        ('e' | 'a' | 'I' | 'D', _) => note(flag, "means nothing to another hypervisor", findings),
        ('p', _) => note(flag, "CPUs are not pinned", findings),
        ('b', _) => ignored(flag, "the debug console at port 0x220 is not there", findings),
        ('g' | 'G', _) => ignored(flag, "no debugger can attach there", findings),
        ('K', _) => ignored(flag, "the keyboard's layout is the viewer's", findings),
        ('n', _) => ignored(flag, "the memory is one NUMA node", findings),
        ('M', _) => ignored(flag, "the program would only print the MAC address and end", findings),
        ('h' | 'v', _) => ignored(flag, "the program would only print its usage and end", findings),
        ('k' | 'o', _) => {
            let message =
                format!("-{}: bhyve's own config is not read: write the devices as -s and -l", flag.letter);
            findings.error(flag.place, "xhyve.option.config", message);
        }
        _ => {}
    }
}

fn note(flag: &Flag<'_>, why: &str, findings: &mut Findings) {
    findings.info(flag.place, "xhyve.option.meaningless", format!("-{}: {why}", flag.letter));
}

fn ignored(flag: &Flag<'_>, why: &str, findings: &mut Findings) {
    findings.warning(flag.place, "xhyve.option.ignored", format!("-{}: not honoured: {why}", flag.letter));
}

fn cpus(flag: &Flag<'_>, dialect: Dialect, guest: &mut Guest, findings: &mut Findings) {
    let text = flag.argument.text;
    let most = if dialect == Dialect::Bhyve { MAX_CPUS_BHYVE } else { MAX_CPUS };
    let count = match dialect {
        Dialect::Bhyve => topology(text, guest),
        _ => decimal(text).map(|(count, _)| count),
    };
    match count {
        Some(count) if (1..=most).contains(&count) => guest.cpus = count,
        Some(count) if count > most => {
            let message = format!("{count} vCPUs requested but only {most} available");
            findings.error(flag.place, "xhyve.cpu.count", message);
        }
        _ => {
            let message = format!("{}: not a number of virtual CPUs from 1 to {most}", quote(text));
            findings.error(flag.place, "xhyve.cpu.count", message);
        }
    }
}

/// bhyve's `[[cpus=]n][,sockets=n][,cores=n][,threads=n]`: the number of CPUs.
fn topology(text: &str, guest: &mut Guest) -> Option<u32> {
    let mut cpus = None;
    let mut parts = Topology { sockets: 1, cores: 1, threads: 1 };
    let mut arranged = false;
    for field in text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or(("cpus", field));
        let (number, "") = decimal(value)? else { return None };
        match key {
            "cpus" => cpus = Some(number),
            "sockets" => parts.sockets = number,
            "cores" => parts.cores = number,
            "threads" => parts.threads = number,
            _ => return None,
        }
        arranged |= key != "cpus";
    }
    let product = parts.sockets.checked_mul(parts.cores)?.checked_mul(parts.threads)?;
    guest.topology = arranged.then_some(parts);
    match cpus {
        None => Some(product),
        Some(cpus) if !arranged || cpus == product => Some(cpus),
        Some(_) => None,
    }
}

fn memory(flag: &Flag<'_>, guest: &mut Guest, findings: &mut Findings) {
    let text = flag.argument.text;
    match memory_size(text) {
        Some(size) if size > 0 => guest.memory = size,
        _ => {
            let message = format!(
                "{}: not a size of memory: a number of mebibytes, or one with b, k, m, g, t, p or e behind it",
                quote(text)
            );
            findings.error(flag.place, "xhyve.memory.size", message);
        }
    }
}

fn uuid(flag: &Flag<'_>, guest: &mut Guest, findings: &mut Findings) {
    let text = flag.argument.text;
    // Only the form with hyphens, as `uuid_from_string` takes it.
    guest.uuid = uuid::Uuid::parse_str(text).ok().filter(|_| text.len() == 36);
    if guest.uuid.is_none() {
        let message = format!("{}: not a UUID like 8e7af180-c54d-4aa2-9bef-59d94a1ac572", quote(text));
        findings.error(flag.place, "xhyve.uuid.invalid", message);
    }
}

/// bhyve takes one operand, the machine's name; the others ignore all of them, among them the tail of a kernel command
/// line without quotes.
fn read_operands(arguments: &Arguments<'_>, dialect: Dialect, findings: &mut Findings) {
    let Some(first) = arguments.operands.first() else { return };
    if dialect != Dialect::Bhyve {
        let lost: Vec<&str> = arguments.operands.iter().take(8).map(|operand| operand.text).collect();
        let message = format!(
            "{} and what follows it is ignored: if it belongs to the kernel's command line, put that in quotes",
            quote(&lost.join(" "))
        );
        return findings.warning(first.place, "xhyve.operand.ignored", message);
    }
    if let Some(second) = arguments.operands.get(1) {
        let message = format!("{}: bhyve takes one operand, the machine's name", quote(second.text));
        findings.error(second.place, "xhyve.operand.extra", message);
    }
}

/// Where a command line has no word to point at.
pub(crate) fn whole(line: Option<u32>) -> Place {
    Place { index: None, line }
}
