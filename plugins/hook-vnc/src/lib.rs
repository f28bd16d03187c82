//! A VNC server on the port that an annotation names, and the display adapter that macOS draws on. The converter "vnc" of
//! droidvirt's `osx-hook-sidecar`; with the setting `video = "keep"`, the one of its `define-domain-sidecar`.
//!
//! | annotation | value |
//! | --- | --- |
//! | `vnc.droidvirt.io/port` | 5900 to 65535; absent: the displays stay as they are |
//! | `websocket.vnc.droidvirt.io/port` | another one, for viewers in a browser |
//!
//! The server listens on loopback, where droidvirt's listened on all addresses: VNC has no password here. The setting
//! `address` says otherwise, and `[hypervisor] vnc-addresses` of the host has to agree.

use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;
use witvirt_sdk::core::domain::{Diagnostic, Severity};
use witvirt_sdk::domain::{Context, Hook, qemu, replace_devices};
use witvirt_sdk::xml::{Document, Element};

const PORT: &str = "vnc.droidvirt.io/port";
const WEBSOCKET: &str = "websocket.vnc.droidvirt.io/port";
/// The port of display 0.
const FIRST: u16 = 5900;

/// The plugin.
pub struct Vnc;

/// Its settings.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Where the server listens.
    pub address: IpAddr,
    /// The display adapter.
    pub video: Video,
    /// How the WebSocket's port is said.
    pub websocket: Websocket,
}

/// What becomes of the display adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Video {
    /// They are replaced by one QXL adapter of 64 MiB.
    Qxl,
    /// They stay.
    Keep,
}

/// How the WebSocket's port is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Websocket {
    /// By libvirt's attribute.
    Attribute,
    /// By an argument for QEMU instead of `<graphics>`, as droidvirt's: KubeVirt's own launcher forgets the attribute.
    Argument,
}

impl Default for Settings {
    fn default() -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::LOCALHOST), video: Video::Qxl, websocket: Websocket::Attribute }
    }
}

impl Hook for Vnc {
    const NAME: &str = env!("CARGO_PKG_NAME");
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &str = "VNC server and display adapter by annotation";
    const SETTINGS_SCHEMA: Option<&str> = Some(include_str!("../settings.schema.json"));
    type Settings = Settings;

    fn edit(settings: &Settings, domain: &mut Document, context: &Context) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        if settings.video == Video::Qxl {
            replace_devices(domain, "video", vec![qxl()]);
        }
        let Some(port) = port(context, PORT, &mut found) else { return found };
        let mut websocket = port_of_websocket(context, port, &mut found);
        let address = settings.address;
        if settings.websocket == Websocket::Argument
            && let Some(websocket) = websocket.take()
        {
            replace_devices(domain, "graphics", Vec::new());
            let host = match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            };
            let value = format!("{host}:{},websocket={websocket}", port - FIRST);
            qemu::set_option(domain, "vnc", |_| true, &value);
            return found;
        }
        replace_devices(domain, "graphics", vec![graphics(address, port, websocket)]);
        found
    }
}

fn qxl() -> Element {
    let model = [("type", "qxl"), ("ram", "65536"), ("vram", "65536"), ("vgamem", "16384"), ("heads", "1")];
    let model = model
        .into_iter()
        .fold(Element::new("model"), |element, (name, value)| element.attribute(name, value));
    Element::new("video").child(model)
}

fn graphics(address: IpAddr, port: u16, websocket: Option<u16>) -> Element {
    let mut graphics = Element::new("graphics").attribute("type", "vnc").attribute("port", port.to_string());
    if let Some(websocket) = websocket {
        graphics = graphics.attribute("websocket", websocket.to_string());
    }
    let listen =
        Element::new("listen").attribute("type", "address").attribute("address", address.to_string());
    graphics.child(listen)
}

/// The port that an annotation names; one that cannot be is reported.
fn port(context: &Context, annotation: &str, found: &mut Vec<Diagnostic>) -> Option<u16> {
    let text = context.annotations.get(annotation)?;
    let port = text.trim().parse().ok().filter(|port| *port >= FIRST);
    if port.is_none() {
        found.push(ignored(annotation, text, "a port from 5900 to 65535 is expected"));
    }
    port
}

fn port_of_websocket(context: &Context, vnc: u16, found: &mut Vec<Diagnostic>) -> Option<u16> {
    let port = port(context, WEBSOCKET, found)?;
    if port == vnc {
        found.push(ignored(WEBSOCKET, &port.to_string(), "it is the port of the VNC server itself"));
        return None;
    }
    Some(port)
}

fn ignored(annotation: &str, text: &str, why: &str) -> Diagnostic {
    let text: String = text.chars().take(64).collect();
    let message = format!("the annotation {annotation} is ignored: \"{}\": {why}", text.escape_debug());
    Diagnostic::new(Severity::Warning, "vnc.port", message)
}

witvirt_sdk::domain_converter!(Vnc);
