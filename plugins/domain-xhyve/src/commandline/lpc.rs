//! `-l`: what is behind the LPC bridge.

use super::Text;
use crate::findings::{Findings, quote};
use crate::settings::Dialect;

/// Where a serial port leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend<'a> {
    /// The terminal that the program was started at.
    Stdio,
    /// A pseudo terminal.
    Pty,
    /// A device of the host.
    Device(&'a str),
    /// Nowhere.
    None,
}

/// A serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Port<'a> {
    pub(crate) backend: Backend<'a>,
    /// A file that gets a copy of the output.
    pub(crate) log: Option<&'a str>,
    pub(crate) text: Text<'a>,
}

/// What one `-l` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device<'a> {
    /// A serial port, from 0.
    Com(usize, Port<'a>),
    Bootrom {
        code: &'a str,
        vars: Option<&'a str>,
    },
    /// A TPM that a program on the host emulates; bhyve only.
    Tpm,
}

/// Reads the argument of `-l`; `None` where there is nothing, with an error unless that is no mistake.
pub(crate) fn parse<'a>(text: Text<'a>, dialect: Dialect, findings: &mut Findings) -> Option<Device<'a>> {
    let (name, rest) = match text.text.split_once(',') {
        Some((name, rest)) => (name, Some(rest)),
        None => (text.text, None),
    };
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "com1" | "com2" => {
            let port = port(rest.unwrap_or_default(), text, dialect, findings)?;
            Some(Device::Com(usize::from(lower == "com2"), port))
        }
        "bootrom" => {
            let Some(file) = rest.filter(|file| !file.is_empty()) else {
                let message = "bootrom without a file counts as none: -l bootrom,FILE";
                findings.warning(text.place, "xhyve.firmware.bootrom", message);
                return None;
            };
            let (code, vars) = match dialect {
                Dialect::Bhyve => {
                    file.split_once(',').map_or((file, None), |(code, rest)| (code, rest.split(',').next()))
                }
                _ => (file, None),
            };
            Some(Device::Bootrom { code, vars })
        }
        "tpm" if dialect == Dialect::Bhyve => {
            if rest.is_some_and(|rest| rest.starts_with("swtpm,")) {
                return Some(Device::Tpm);
            }
            let message = "the host's own TPM is not handed to guests: use swtpm";
            findings.error(text.place, "xhyve.lpc.tpm", message);
            None
        }
        "pc-testdev" | "fwcfg" if dialect == Dialect::Bhyve => {
            let message = format!("{}: means nothing to another hypervisor", quote(text.text));
            findings.info(text.place, "xhyve.lpc.ignored", message);
            None
        }
        _ => {
            let message = format!("{}: com1, com2 and bootrom are known", quote(text.text));
            findings.error(text.place, "xhyve.lpc.unknown", message);
            None
        }
    }
}

/// The backends of a serial port. hyperkit takes a list of words.
fn port<'a>(config: &'a str, text: Text<'a>, dialect: Dialect, findings: &mut Findings) -> Option<Port<'a>> {
    let mut port = Port { backend: Backend::None, log: None, text };
    if dialect != Dialect::Hyperkit {
        port.backend = match config {
            "" => Backend::None,
            "stdio" => Backend::Stdio,
            "autopty" if dialect == Dialect::Xhyve => Backend::Pty,
            path => Backend::Device(path),
        };
        if let (Backend::Device(path), Dialect::Bhyve) = (port.backend, dialect)
            && !is_null_modem(path)
        {
            let message = format!("{}: neither stdio nor a null modem like /dev/nmdm0A", quote(path));
            findings.error(text.place, "xhyve.serial.backend", message);
            return None;
        }
        return Some(port);
    }
    for word in config.split(',').filter(|word| !word.is_empty()) {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "stdio" => port.backend = Backend::Stdio,
            "autopty" => port.backend = Backend::Pty,
            "null" => port.backend = Backend::None,
            "log" => port.log = Some(value).filter(|path| !path.is_empty()),
            "asl" => {
                findings.info(
                    text.place,
                    "xhyve.serial.log",
                    "asl: the machine's own console log keeps the output",
                );
            }
            _ => port.backend = Backend::Device(word),
        }
    }
    Some(port)
}

/// `/dev/nmdmNAME` and the end A or B.
fn is_null_modem(path: &str) -> bool {
    let name = path.strip_prefix("/dev/nmdm").unwrap_or_default();
    name.len() > 1 && name.ends_with(['A', 'B'])
}

#[cfg(test)]
mod tests {
    use super::{Backend, Device, Text, parse};
    use crate::findings::{Findings, Place};
    use crate::settings::Dialect;

    fn run(text: &'static str, dialect: Dialect) -> (Option<Device<'static>>, Vec<String>) {
        let mut findings = Findings::default();
        let device = parse(Text { text, place: Place::default() }, dialect, &mut findings);
        (device, findings.into_diagnostics().into_iter().map(|d| d.message).collect())
    }

    fn backend(
        text: &'static str,
        dialect: Dialect,
    ) -> Option<(usize, Backend<'static>, Option<&'static str>)> {
        match run(text, dialect).0 {
            Some(Device::Com(number, port)) => Some((number, port.backend, port.log)),
            _ => None,
        }
    }

    #[test]
    fn serial_ports() {
        use Backend::{Device, None as Nowhere, Pty, Stdio};
        use Dialect::{Bhyve, Hyperkit, Xhyve};
        for (text, dialect, expected) in [
            ("com1,stdio", Xhyve, Some((0, Stdio, None))),
            ("COM2,stdio", Xhyve, Some((1, Stdio, None))),
            ("com1", Xhyve, Some((0, Nowhere, None))),
            ("com1,autopty", Xhyve, Some((0, Pty, None))),
            ("com1,/dev/ttys002", Xhyve, Some((0, Device("/dev/ttys002"), None))),
            ("com1,null,asl,log=a/ring", Hyperkit, Some((0, Nowhere, Some("a/ring")))),
            ("com1,autopty=link,asl", Hyperkit, Some((0, Pty, None))),
            ("com1,/dev/nmdm132A", Bhyve, Some((0, Device("/dev/nmdm132A"), None))),
            ("com1,/dev/nmdm0C", Bhyve, None),
            ("com1,/dev/whatever0A", Bhyve, None),
            ("com3,stdio", Xhyve, None),
        ] {
            assert_eq!(backend(text, dialect), expected, "{text}");
        }
    }

    #[test]
    fn boot_roms() {
        let rom = |code, vars| Some(Device::Bootrom { code, vars });
        assert_eq!(run("bootrom,a,b.fd", Dialect::Xhyve).0, rom("a,b.fd", None));
        assert_eq!(run("bootrom,a.fd,b.fd", Dialect::Bhyve).0, rom("a.fd", Some("b.fd")));
        assert!(run("bootrom", Dialect::Xhyve).1[0].contains("counts as none"));
        assert!(run("bootrom,", Dialect::Xhyve).0.is_none());
    }
}
