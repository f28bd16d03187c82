//! Arguments that the spec brings along.

use super::Machine;
use super::board::Board;
use crate::{Error, ErrorKind};

/// QEMU's options without a value; all others take exactly one.
const FLAGS: [&str; 24] = [
    "S",
    "alt-grab",
    "ctrl-grab",
    "curses",
    "daemonize",
    "enable-kvm",
    "full-screen",
    "mem-prealloc",
    "no-acpi",
    "no-fd-bootchk",
    "no-hpet",
    "no-quit",
    "no-reboot",
    "no-shutdown",
    "no-user-config",
    "nodefaults",
    "nographic",
    "only-migratable",
    "portrait",
    "preconfig",
    "singlestep",
    "snapshot",
    "usb",
    "win2k-hack",
];

/// Appends them when the operator allows every option by name.
///
/// QEMU takes a word that belongs to no option for the path of a disk. So each option has to be followed by its value, and
/// nothing else.
pub(super) fn append(machine: &Machine<'_>, board: &mut Board<'_>) -> Result<(), Error> {
    let allowed = &machine.permissions.arguments;
    let mut words = machine.spec.qemu_arguments.iter().enumerate();
    while let Some((index, word)) = words.next() {
        let path = format!("qemu-arguments[{index}]");
        let denied = |message: String| Err(Error::new(ErrorKind::Denied, format!("{path}: {message}")));
        let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            return denied(format!("\"{}\" follows no option that takes a value", word.escape_debug()));
        };
        if !allowed.iter().any(|allowed| allowed == name) {
            let name = name.escape_debug();
            return denied(format!(
                "\"-{name}\" is not allowed; add \"{name}\" to allow-arguments in [hypervisor]"
            ));
        }
        board.flag(&format!("-{name}"));
        if FLAGS.contains(&name) {
            continue;
        }
        match words.next() {
            Some((_, value)) if !value.starts_with('-') => board.flag(value),
            _ => return denied(format!("\"-{name}\" lacks its value")),
        }
    }
    Ok(())
}
