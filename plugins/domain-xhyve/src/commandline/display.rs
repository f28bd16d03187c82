//! `fbuf`: a frame buffer with a VNC server.

use super::{Text, number};
use crate::findings::{Findings, quote};
use crate::settings::Dialect;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Display {
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) password: Option<String>,
}

/// The largest screen of a frame buffer, and the default where one side is 0.
const MOST: (u32, u32) = (1920, 1200);
const DEFAULT: (u32, u32) = (1024, 768);

pub(crate) fn parse(config: &str, text: Text<'_>, dialect: Dialect, findings: &mut Findings) -> Display {
    let place = text.place;
    let mut display = Display {
        address: "127.0.0.1".to_owned(),
        port: 5900,
        width: DEFAULT.0,
        height: DEFAULT.1,
        password: None,
    };
    for field in config.split(',').filter(|field| !field.is_empty()) {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        let valid = match key {
            "tcp" | "rfb" => listen(value, &mut display),
            "w" => side(value, MOST.0, 1920, &mut display.width),
            "h" => side(value, MOST.1, 1080, &mut display.height),
            "password" => {
                display.password = Some(value.to_owned());
                true
            }
            "vga" if matches!(value, "on" | "io" | "off") => {
                if value == "off" {
                    let message = "vga=off: the adapter answers at the ports of VGA all the same";
                    findings.info(place, "xhyve.display.vga", message);
                }
                true
            }
            "wait" if value.is_empty() => {
                let message = "wait: the machine starts without waiting for a viewer";
                findings.warning(place, "xhyve.display.wait", message);
                true
            }
            "vncserver" if value.is_empty() && dialect == Dialect::Bhyve => true,
            _ => false,
        };
        if !valid {
            // A password may be part of what is wrong.
            let shown = if key == "password" { "\"password=...\"".to_owned() } else { quote(field) };
            let message = format!(
                "{shown} is not valid here: a frame buffer takes tcp=[ADDRESS:]PORT, w= up to {}, h= up to {}, \
                 vga=on|io|off, wait and password=",
                MOST.0, MOST.1
            );
            findings.error(place, "xhyve.display.option", message);
        }
    }
    display
}

/// `[address:]port`; IPv6 in brackets.
fn listen(value: &str, display: &mut Display) -> bool {
    let (address, port) = value.rsplit_once(':').unwrap_or(("", value));
    let Some((port, "")) = number::decimal(port) else { return false };
    let Ok(port) = u16::try_from(port) else { return false };
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if !address.is_empty() {
        if address.parse::<std::net::IpAddr>().is_err() && address != "localhost" {
            return false;
        }
        display.address = if address == "localhost" { "127.0.0.1".to_owned() } else { address.to_owned() };
    }
    display.port = port;
    port > 0
}

fn side(value: &str, most: u32, default: u32, side: &mut u32) -> bool {
    match number::decimal(value) {
        Some((0, "")) => *side = default,
        Some((pixels, "")) if pixels <= most => *side = pixels,
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{Display, Text, parse};
    use crate::findings::{Findings, Place};
    use crate::settings::Dialect;

    fn run(config: &str, dialect: Dialect) -> (Display, Vec<String>) {
        let mut findings = Findings::default();
        let display = parse(config, Text { text: config, place: Place::default() }, dialect, &mut findings);
        (display, findings.into_diagnostics().into_iter().map(|d| d.message).collect())
    }

    #[test]
    fn frame_buffers() {
        let (display, messages) = run("tcp=127.0.0.1:29000,w=1024,h=768,wait", Dialect::Xhyve);
        assert_eq!((display.port, display.width, display.height), (29000, 1024, 768));
        assert_eq!(messages.len(), 1);
        let (display, _) = run("rfb=:5901,w=0,h=0,,vga=io", Dialect::Xhyve);
        assert_eq!((display.address.as_str(), display.port), ("127.0.0.1", 5901));
        assert_eq!((display.width, display.height), (1920, 1080));
        let (display, messages) = run("tcp=0.0.0.0:5900,password=s", Dialect::Xhyve);
        assert_eq!((display.address.as_str(), display.password.as_deref()), ("0.0.0.0", Some("s")));
        assert_eq!(messages, [""; 0]);
    }

    #[test]
    fn what_is_refused() {
        for config in
            ["vncserver,tcp=1:5900", "tcp=5900x", "tcp=0", "w=1921", "h=1201", "vga=yes", "x=1", "tcp=a:1"]
        {
            assert!(run(config, Dialect::Xhyve).1[0].contains("not valid here"), "{config}");
        }
        let (display, messages) = run("vncserver,tcp=192.168.100.111:6032,w=800,h=600,,", Dialect::Bhyve);
        assert_eq!((display.address.as_str(), display.port), ("192.168.100.111", 6032));
        assert_eq!(messages, [""; 0]);
    }
}
