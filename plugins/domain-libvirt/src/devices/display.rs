//! Graphics and video.

use std::net::IpAddr;

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{Resolution, Video, VideoModel, Virtio, Vnc};

use super::{common, driver};
use crate::document::{DETAIL, Element, RUNTIME, Value, Waiver};
use crate::draft::Draft;

const NO_DISPLAY: Waiver =
    Waiver::warning("libvirt.graphics.unsupported", "not available: <graphics type='vnc'/> gives a display");
const ONE: Waiver =
    Waiver::warning("libvirt.graphics.repeated", "a machine has one VNC server: this one is left out");
const PASSWORD: Waiver = Waiver::error(
    "libvirt.graphics.password",
    "VNC passwords are not available, and the display would be open without: take it out to accept that",
);
const SOCKET: Waiver = Waiver::warning("libvirt.graphics.listen", "the server listens on loopback instead");
const AUTO_WEBSOCKET: Waiver =
    Waiver::warning("libvirt.graphics.websocket", "a WebSocket server needs a port of its own choice");

pub(crate) fn read_graphics<'a>(graphics: Element<'a>, draft: &mut Draft<'a>) {
    let kinds = ["vnc", "spice", "sdl", "rdp", "desktop", "egl-headless", "dbus"].map(|kind| (kind, kind));
    match graphics.required("type").and_then(|kind| kind.choose(&kinds)) {
        Some("vnc") if draft.spec.vnc.is_some() => graphics.waive(&ONE),
        Some("vnc") => {
            draft.made_from("vnc", 0, graphics);
            draft.spec.vnc = Some(vnc(graphics));
        }
        Some(_) => graphics.waive(&NO_DISPLAY),
        None => {}
    }
}

fn vnc(graphics: Element<'_>) -> Vnc {
    let auto = graphics.attribute("autoport").and_then(Value::yes).unwrap_or(false);
    let port = graphics.attribute("port").filter(|port| port.text != "-1");
    let port = port.and_then(Value::number::<u16>).filter(|port| !auto && *port != 0);
    let websocket = graphics.attribute("websocket");
    if let Some(websocket) = websocket.filter(|websocket| websocket.text == "-1") {
        websocket.waive(&AUTO_WEBSOCKET);
    }
    if let Some(password) = graphics.attribute("passwd") {
        // Not `waive`: it would repeat the password.
        password.report(PASSWORD.severity, PASSWORD.code, || PASSWORD.reason.to_owned());
    }
    graphics.waive_parts(&["@passwdValidTo"], &PASSWORD);
    graphics.waive_parts(&["@connected", "@websocketGenerated"], &RUNTIME);
    graphics.waive_parts(&["@sharePolicy", "@powerControl"], &DETAIL);
    graphics.waive_parts(&["audio"], &RUNTIME);
    Vnc {
        address: address(graphics).unwrap_or(IpAddr::from([127, 0, 0, 1])),
        port,
        websocket: websocket.filter(|websocket| websocket.text != "-1").and_then(Value::number::<u16>),
        keymap: graphics.attribute("keymap").map(|keymap| keymap.text.to_owned()),
    }
}

/// The address of `<listen>`, else of the older attribute.
fn address(graphics: Element<'_>) -> Option<IpAddr> {
    graphics.waive_parts(&["@socket"], &SOCKET);
    let attribute = graphics.attribute("listen");
    let mut address = attribute;
    if let Some(listen) = graphics.child("listen") {
        let kinds = ["address", "network", "socket", "none"].map(|kind| (kind, kind));
        match listen.required("type").and_then(|kind| kind.choose(&kinds)) {
            Some("address") => address = listen.attribute("address").or(attribute),
            Some(_) => listen.waive(&SOCKET),
            None => {}
        }
    }
    let address = address.filter(|address| !address.text.is_empty())?;
    if address.text == "localhost" {
        return None;
    }
    let parsed = address.text.parse().ok();
    if parsed.is_none() {
        address.refuse("an IP address");
    }
    parsed
}

const MODELS: &[(&str, Option<VideoModel>)] = &[
    ("vga", Some(VideoModel::Vga)),
    ("cirrus", Some(VideoModel::Cirrus)),
    ("vmvga", Some(VideoModel::Vmvga)),
    ("qxl", Some(VideoModel::Qxl)),
    ("virtio", Some(VideoModel::Virtio)),
    ("bochs", Some(VideoModel::Bochs)),
    ("ramfb", Some(VideoModel::Ramfb)),
    ("none", None),
];

pub(crate) fn read_video<'a>(video: Element<'a>, draft: &mut Draft<'a>) {
    let virtio = driver(video);
    common(video);
    let Some(model) = video.child("model") else { return add_default_video(video, draft) };
    let Some(kind) = model.required("type").and_then(|kind| kind.choose(MODELS)) else { return };
    model.waive_parts(&["@primary"], &RUNTIME);
    model.waive_parts(&["acceleration"], &DETAIL);
    let on = |name| model.attribute(name).and_then(Value::on);
    let size = |name: &str| model.attribute(name).and_then(Value::number::<u32>);
    let has_vram = !matches!(kind, Some(VideoModel::Cirrus | VideoModel::Virtio | VideoModel::Ramfb));
    let vram_kib = if has_vram { size("vram") } else { None };
    model.waive_parts(&["@vram"], &FIXED_VRAM);
    let qxl = kind == Some(VideoModel::Qxl);
    let of_qxl = |name: &str| size(name).filter(|_| qxl);
    let (ram_kib, vgamem_kib, vram64_kib) = (of_qxl("ram"), of_qxl("vgamem"), of_qxl("vram64"));
    let (blob, edid) = (on("blob"), on("edid"));
    let resolution = model.child("resolution").and_then(|size| {
        let pixels = |name| size.required(name).and_then(Value::number::<u32>);
        let (width, height) = (pixels("x"), pixels("y"));
        Some(Resolution { width: width?, height: height? })
    });
    let heads = model.attribute("heads").and_then(Value::number::<u32>);
    if let Some(model) = kind {
        draft.made_from("videos", draft.spec.videos.len(), video);
        draft.spec.videos.push(Video {
            model,
            vram_kib,
            heads,
            ram_kib,
            vgamem_kib,
            vram64_kib,
            blob,
            edid,
            resolution,
            virtio,
        });
    }
}

const FIXED_VRAM: Waiver = Waiver::info("libvirt.video.vram", "this adapter takes no size, as under libvirt");

/// libvirt's choice where a display has no adapter, or an adapter no model.
pub(crate) fn add_default_video<'a>(place: Element<'a>, draft: &mut Draft<'a>) {
    place.report(Severity::Info, "libvirt.default.video", || {
        "no model of display adapter: \"cirrus\", as under libvirt".to_owned()
    });
    draft.made_from("videos", draft.spec.videos.len(), place);
    draft.spec.videos.push(Video {
        model: VideoModel::Cirrus,
        vram_kib: None,
        heads: None,
        ram_kib: None,
        vgamem_kib: None,
        vram64_kib: None,
        blob: None,
        edid: None,
        resolution: None,
        virtio: Virtio::default(),
    });
}
