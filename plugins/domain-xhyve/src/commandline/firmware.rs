//! `-f`: what starts the guest.

use super::Text;
use crate::findings::{Findings, quote};
use crate::settings::Dialect;

/// What `-f` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Firmware<'a> {
    Kexec {
        kernel: &'a str,
        initrd: Option<&'a str>,
        cmdline: &'a str,
    },
    /// FreeBSD's loader, a library of the host that reads a volume.
    FreeBsd {
        volume: &'a str,
    },
    Bootrom {
        file: &'a str,
    },
}

/// Reads the argument of `-f`; `None` with an error.
pub(crate) fn parse<'a>(text: Text<'a>, dialect: Dialect, findings: &mut Findings) -> Option<Firmware<'a>> {
    let place = text.place;
    let mut refuse = |message: String| {
        findings.error(place, "xhyve.firmware.invalid", message);
        None
    };
    let (name, rest) = text.text.split_once(',').unwrap_or((text.text, ""));
    // The programs compare the beginnings of names.
    if name.starts_with("kexec") {
        // The command line is the rest, commas and all.
        let mut parts = rest.splitn(3, ',');
        let (kernel, initrd, cmdline) = (parts.next(), parts.next(), parts.next());
        let kernel = kernel.unwrap_or_default();
        let (Some(initrd), Some(cmdline)) = (initrd, cmdline) else {
            return refuse(
                "kexec takes three parts, of which the second may be empty: kexec,KERNEL,INITRD,CMDLINE"
                    .to_owned(),
            );
        };
        if kernel.is_empty() {
            return refuse("kexec without a kernel: kexec,KERNEL,INITRD,CMDLINE".to_owned());
        }
        // What the loader itself puts there for an empty one.
        let cmdline = if cmdline.is_empty() { "auto" } else { cmdline };
        return Some(Firmware::Kexec {
            kernel,
            initrd: Some(initrd).filter(|path| !path.is_empty()),
            cmdline,
        });
    }
    if name.starts_with("fbsd") {
        let mut parts = rest.splitn(3, ',');
        let (_, volume) = (parts.next(), parts.next());
        return match volume.filter(|volume| !volume.is_empty()) {
            Some(volume) => Some(Firmware::FreeBsd { volume }),
            None => refuse("fbsd takes fbsd,USERBOOT,VOLUME,ENVIRONMENT".to_owned()),
        };
    }
    if name.starts_with("multiboot") {
        let message =
            "multiboot kernels cannot be started: boot them from a disk or CD with a boot loader on it";
        return refuse(message.to_owned());
    }
    if name.starts_with("bootrom") {
        let file = rest.split(',').next().unwrap_or_default();
        return match dialect {
            Dialect::Hyperkit if !file.is_empty() => Some(Firmware::Bootrom { file }),
            Dialect::Hyperkit => refuse("bootrom takes bootrom,FILE,,".to_owned()),
            _ => refuse("xhyve takes the boot ROM as -l bootrom,FILE".to_owned()),
        };
    }
    refuse(format!("{}: kexec, fbsd and, with hyperkit, bootrom are known", quote(name)))
}

#[cfg(test)]
mod tests {
    use super::{Firmware, Text, parse};
    use crate::findings::{Findings, Place};
    use crate::settings::Dialect;

    fn run(text: &'static str, dialect: Dialect) -> Result<Firmware<'static>, String> {
        let mut findings = Findings::default();
        let firmware = parse(Text { text, place: Place::default() }, dialect, &mut findings);
        firmware.ok_or_else(|| findings.into_diagnostics().remove(0).message)
    }

    #[test]
    fn kexec_keeps_commas() {
        let kexec = |kernel, initrd, cmdline| Ok(Firmware::Kexec { kernel, initrd, cmdline });
        for (text, expected) in [
            ("kexec,k,i,console=ttyS0,38400n8 x", kexec("k", Some("i"), "console=ttyS0,38400n8 x")),
            ("kexec,k,,a ", kexec("k", None, "a ")),
            ("kexec,k,i,", kexec("k", Some("i"), "auto")),
        ] {
            assert_eq!(run(text, Dialect::Xhyve), expected, "{text}");
        }
        for text in ["kexec", "kexec,k", "kexec,k,i", "kexec,,i,c"] {
            assert!(run(text, Dialect::Xhyve).is_err(), "{text}");
        }
    }

    #[test]
    fn other_firmware() {
        let volume = "disk.raw";
        assert_eq!(run("fbsd,userboot.so,disk.raw,", Dialect::Xhyve), Ok(Firmware::FreeBsd { volume }));
        assert!(run("multiboot,a,b,c", Dialect::Hyperkit).unwrap_err().contains("multiboot"));
        assert_eq!(run("bootrom,a.fd,,", Dialect::Hyperkit), Ok(Firmware::Bootrom { file: "a.fd" }));
        assert!(run("bootrom,a.fd,,", Dialect::Xhyve).unwrap_err().contains("-l bootrom"));
        assert!(run("efi,x", Dialect::Xhyve).is_err());
    }
}
