//! `witvirt domain convert --to qemu-args`: what the QEMU driver would run.

use std::fmt::Write;

use serde_json::{Value, json};
use witvirt_core::spec::MachineSpec;
use witvirt_hypervisor::{FilePaths, QemuOptions, command_line};

use crate::api::{Error, ErrorKind};
use crate::config::{Accel, Config};

/// A command line of QEMU, to be shown.
pub(super) struct Command {
    machine: String,
    directory: String,
    accelerator: &'static str,
    program: String,
    arguments: Vec<String>,
}

/// The command line of a machine under this config.
///
/// # Errors
/// What the driver cannot do, or the config does not allow.
pub(super) fn command(config: &Config, spec: &MachineSpec) -> Result<Command, Error> {
    let directory = config.run_directory.join("machines").join(spec.name.as_str()).display().to_string();
    let kvm = match config.hypervisor.accel {
        Accel::Kvm => true,
        Accel::Tcg => false,
        // The driver measures before it trusts it; here it is enough to be told apart.
        Accel::Auto => std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok(),
    };
    let mut options = QemuOptions::new(&config.host_directory);
    options.allow_arguments = config
        .hypervisor
        .allow_arguments
        .iter()
        .map(|name| name.trim_start_matches('-').to_owned())
        .collect();
    options.vnc_addresses = config.hypervisor.vnc_addresses.clone();
    let paths = FilePaths::of(spec, &directory);
    let arguments = command_line(spec, &paths, kvm, &options)
        .map_err(|error| Error::caused(ErrorKind::Refused, format!("machine {}", spec.name), &error))?;
    Ok(Command {
        machine: spec.name.to_string(),
        directory,
        accelerator: if kvm { "KVM" } else { "emulation" },
        program: config.hypervisor.binary.display().to_string(),
        arguments,
    })
}

impl Command {
    /// For programs.
    pub(super) fn value(&self) -> Value {
        json!({ "machine": self.machine, "program": self.program, "arguments": self.arguments })
    }

    /// For a shell: one option in each line.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "# machine {}, with {}. The driver hands over open files and sockets; they stand here as paths, and what the\n\
             # daemon makes (sockets, overlays, volumes, variable stores) as names below {}.\n{}",
            self.machine,
            self.accelerator,
            self.directory,
            quoted(&self.program)
        );
        for argument in &self.arguments {
            let separator = if argument.starts_with('-') { " \\\n  " } else { " " };
            let _ = write!(text, "{separator}{}", quoted(argument));
        }
        text.push('\n');
        text
    }
}

/// A word of a shell's command line that means this text. Control characters are escaped as bash, zsh and ksh read them,
/// so that no terminal acts on them.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    if !text.contains(char::is_control) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut word = "$'".to_owned();
    for c in text.chars() {
        match c {
            '\'' | '\\' => word.extend(['\\', c]),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(word, "\\x{byte:02x}");
                }
            }
            c => word.push(c),
        }
    }
    word + "'"
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use super::quoted;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for text in
            ["", "a b", "it's", "$HOME `x` \"y\"", "{\"driver\":\"x\",\"n\":1}", "-m", "a\\b", "*", "é"]
        {
            let output =
                Process::new("sh").args(["-c", &format!("printf %s {}", quoted(text))]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
        assert_eq!(quoted("a\x1b'\n\\"), "$'a\\x1b\\'\\x0a\\\\'");
        assert_eq!(quoted("-machine"), "-machine");
    }
}
