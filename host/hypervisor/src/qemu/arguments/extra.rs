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
        let value = match FLAGS.contains(&name) {
            true => None,
            false => words.next().map(|(_, value)| value.as_str()),
        };
        if !allows(allowed, name, value) {
            // The rest of the value may be a secret.
            let name = name.escape_debug();
            let kind = value.and_then(|value| value.split(',').next()).unwrap_or_default().escape_debug();
            return denied(format!(
                "\"-{name} {kind}\" is not allowed; add \"-{name}\" or \"-{name} {kind}\" to allow-arguments in [hypervisor]"
            ));
        }
        board.flag(&format!("-{name}"));
        match value {
            None if FLAGS.contains(&name) => {}
            Some(value) if !value.starts_with('-') => board.flag(value),
            _ => return denied(format!("\"-{name}\" lacks its value")),
        }
    }
    Ok(())
}

/// Whether an operator's entries let an option through. An entry is an option ("fw_cfg"), with whatever value, or an option and
/// what its value begins with ("device isa-applesmc"): further properties may follow then, but none that names a file.
pub fn allows(entries: &[String], option: &str, value: Option<&str>) -> bool {
    entries.iter().any(|entry| {
        let entry = entry.trim_start_matches('-');
        let Some((name, beginning)) = entry.split_once(' ') else { return entry == option };
        let rest = value.and_then(|value| value.strip_prefix(beginning));
        name == option
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(',') && names_no_file(rest))
    })
}

fn names_no_file(properties: &str) -> bool {
    let key = |property: &str| property.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
    let keys = ["file", "path", "filename", "romfile", "bios", "host", "chardev", "drive", "netdev"];
    !properties.split(',').any(|property| keys.contains(&key(property).as_str()))
}

#[cfg(test)]
mod tests {
    use super::allows;

    #[test]
    fn an_entry_with_a_value_allows_that_device_alone_and_no_files() {
        let entries = ["device isa-applesmc", "-smbios type=2", "fw_cfg"].map(str::to_owned);
        for (option, value, expected) in [
            ("device", Some("isa-applesmc"), true),
            ("device", Some("isa-applesmc,osk=x"), true),
            ("device", Some("isa-applesmc2"), false),
            ("device", Some("isa-applesmc,romfile=/etc/passwd"), false),
            ("device", Some("loader,file=/etc/passwd"), false),
            ("device", None, false),
            ("smbios", Some("type=2"), true),
            ("smbios", Some("type=2,file=/etc/passwd"), false),
            ("smbios", Some("file=/etc/passwd"), false),
            ("fw_cfg", Some("name=opt/x,string=y"), true),
            ("cpu", Some("Penryn"), false),
        ] {
            assert_eq!(allows(&entries, option, value), expected, "{option} {value:?}");
        }
    }
}
