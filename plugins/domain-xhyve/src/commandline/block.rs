//! `path[,option...]` of disks.

use super::{Text, number};
use crate::findings::{Findings, quote};
use crate::settings::Dialect;

/// What a disk is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Backing {
    /// As it is given; a URI's path for hyperkit's qcow.
    pub(crate) path: String,
    pub(crate) read_only: bool,
    /// Each write is flushed.
    pub(crate) sync: bool,
    /// Around the host's cache; bhyve only.
    pub(crate) direct: bool,
    pub(crate) qcow2: bool,
    /// Discards are not passed on; bhyve only.
    pub(crate) no_delete: bool,
    /// Bytes of a logical and a physical sector.
    pub(crate) sector: Option<(u32, u32)>,
    pub(crate) serial: Option<String>,
    pub(crate) boot_index: Option<u32>,
}

/// Reads a disk's spec. `None` with an error: there is no disk to speak of.
pub(crate) fn parse(
    config: &str,
    text: Text<'_>,
    dialect: Dialect,
    findings: &mut Findings,
) -> Option<Backing> {
    let place = text.place;
    let mut options = config.split(',');
    let path = options.next().unwrap_or_default();
    if path.is_empty() {
        findings.error(place, "xhyve.disk.path", "a disk needs a path: DEVICE,PATH");
        return None;
    }
    let mut backing = Backing { path: path.to_owned(), ..Backing::default() };
    for option in options {
        if let Err(message) = read_option(option, &mut backing, text, dialect, findings) {
            findings.error(place, "xhyve.disk.option", message);
        }
    }
    if backing.qcow2 {
        read_uri(&mut backing, text, findings);
    }
    if backing.path.starts_with("/dev/rdisk") && dialect == Dialect::Xhyve {
        let message = format!(
            "{}: xhyve has no support for character devices and would end: use /dev/disk...",
            quote(&backing.path)
        );
        findings.error(place, "xhyve.disk.raw-device", message);
    }
    Some(backing)
}

fn read_option(
    option: &str,
    backing: &mut Backing,
    text: Text<'_>,
    dialect: Dialect,
    findings: &mut Findings,
) -> Result<(), String> {
    let (key, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
    match (key, value, dialect) {
        ("nocache", None, Dialect::Bhyve) => backing.direct = true,
        ("nocache", None, _) => {
            return Err("nocache: support is unimplemented, and the device fails: leave it out".to_owned());
        }
        ("sync" | "direct", None, _) => backing.sync = true,
        ("ro", None, _) => backing.read_only = true,
        ("sectorsize", Some(value), _) => backing.sector = Some(sector_size(value)?),
        ("format", Some("qcow"), Dialect::Hyperkit) => backing.qcow2 = true,
        ("format", Some("raw"), Dialect::Hyperkit) => {}
        ("qcow-config" | "qcow-stats-config", Some(_), Dialect::Hyperkit) => {
            let message = format!("{key}: tuning of hyperkit's own qcow library, which does not apply here");
            findings.info(text.place, "xhyve.disk.tuning", message);
        }
        ("nodelete", None, Dialect::Bhyve) => backing.no_delete = true,
        ("ser", Some(serial), Dialect::Bhyve) => backing.serial = Some(serial.to_owned()),
        ("bootindex", Some(index), Dialect::Bhyve) => {
            let index = number::decimal(index).filter(|(_, rest)| rest.is_empty());
            let (index, _) = index.ok_or_else(|| format!("{}: bootindex is a number", quote(option)))?;
            // Theirs counts from 0.
            backing.boot_index = index.checked_add(1);
        }
        ("nmrr" | "rev" | "model", Some(_), Dialect::Bhyve) => {
            let message = format!("{key}: what the drive says of itself is the hypervisor's choice");
            findings.info(text.place, "xhyve.disk.identity", message);
        }
        ("", None, Dialect::Bhyve) => {}
        _ => {
            let known = match dialect {
                Dialect::Xhyve => "sync, direct, ro, sectorsize=",
                Dialect::Hyperkit => {
                    "sync, direct, ro, sectorsize=, format=qcow, qcow-config=, qcow-stats-config="
                }
                Dialect::Bhyve => "nocache, sync, direct, ro, sectorsize=, nodelete, ser=, bootindex=",
            };
            return Err(format!("{}: invalid device option; {known} are known", quote(option)));
        }
    }
    Ok(())
}

/// `logical[/physical]`: powers of two from 512.
fn sector_size(text: &str) -> Result<(u32, u32), String> {
    let refuse = || format!("sectorsize={text}: LOGICAL or LOGICAL/PHYSICAL, powers of two from 512");
    let (logical, rest) = number::decimal(text).ok_or_else(refuse)?;
    let physical = match rest.strip_prefix('/') {
        Some(rest) => number::decimal(rest).filter(|(_, rest)| rest.is_empty()).ok_or_else(refuse)?.0,
        None if rest.is_empty() => logical,
        None => return Err(refuse()),
    };
    let valid =
        logical >= 512 && logical <= physical && logical.is_power_of_two() && physical.is_power_of_two();
    if valid { Ok((logical, physical)) } else { Err(refuse()) }
}

/// hyperkit's qcow paths are URIs: `file:///path?sync=os&buffered=1`.
fn read_uri(backing: &mut Backing, text: Text<'_>, findings: &mut Findings) {
    let Some(uri) = backing.path.strip_prefix("file://") else { return };
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut sync = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair {
            "sync=1" => sync = true,
            "sync=os" | "sync=0" | "sync=none" | "buffered=1" => {}
            "buffered=0" => backing.direct = true,
            _ => {
                let message = format!("{}: not honoured; sync= and buffered= are known", quote(pair));
                findings.warning(text.place, "xhyve.disk.uri", message);
            }
        }
    }
    let Some(path) = percent_decoded(path) else {
        let message = format!("{}: not a URI of a file", quote(&backing.path));
        return findings.error(text.place, "xhyve.disk.uri", message);
    };
    backing.sync |= sync;
    backing.path = path;
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok().filter(|path| !path.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::{Backing, Text, parse};
    use crate::findings::{Findings, Place};
    use crate::settings::Dialect;

    fn run(config: &str, dialect: Dialect) -> (Option<Backing>, Vec<String>) {
        let mut findings = Findings::default();
        let text = Text { text: config, place: Place::default() };
        let backing = parse(config, text, dialect, &mut findings);
        (backing, findings.into_diagnostics().into_iter().map(|d| d.message).collect())
    }

    #[test]
    fn options_of_each_dialect() {
        let (backing, messages) = run("a b.img,ro,direct,sectorsize=512/4096", Dialect::Xhyve);
        let backing = backing.unwrap();
        assert_eq!(messages, [""; 0]);
        assert_eq!((backing.path.as_str(), backing.read_only, backing.sync), ("a b.img", true, true));
        assert_eq!(backing.sector, Some((512, 4096)));
        assert!(!backing.direct);

        for dialect in [Dialect::Xhyve, Dialect::Hyperkit] {
            assert!(run("a,nocache", dialect).1[0].contains("unimplemented"));
        }
        assert!(run("a,nocache", Dialect::Bhyve).0.unwrap().direct);
        assert!(run("a,format=qcow", Dialect::Xhyve).1[0].contains("invalid device option"));
        assert!(run("", Dialect::Xhyve).0.is_none());
        for size in ["0", "513", "4096/512", "512/", "x", "512/4096x"] {
            assert_eq!(run(&format!("a,sectorsize={size}"), Dialect::Xhyve).1.len(), 1, "{size}");
        }
    }

    #[test]
    fn qcow_of_hyperkit_is_a_uri() {
        let config =
            "file:///x/Do%20cker.qcow2?sync=os&buffered=1,format=qcow,qcow-config=discard=true;keep=2";
        let (backing, messages) = run(config, Dialect::Hyperkit);
        let backing = backing.unwrap();
        assert_eq!((backing.path.as_str(), backing.qcow2, backing.sync), ("/x/Do cker.qcow2", true, false));
        assert_eq!(messages.len(), 1);
        assert!(run("file:///x?sync=1,format=qcow", Dialect::Hyperkit).0.unwrap().sync);
        assert!(run("file:///x%0,format=qcow", Dialect::Hyperkit).1[0].contains("not a URI"));
        assert!(run("file:///x%00,format=qcow", Dialect::Hyperkit).1[0].contains("not a URI"));
    }

    #[test]
    fn character_devices() {
        assert!(run("/dev/rdisk2", Dialect::Xhyve).1[0].contains("character devices"));
        assert_eq!(run("/dev/rdisk2", Dialect::Hyperkit).1, [""; 0]);
    }
}
