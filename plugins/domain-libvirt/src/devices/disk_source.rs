//! What a disk holds.

use witvirt_sdk::core::Name;
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::DiskSource;

use crate::document::{Element, RUNTIME, Value, Waiver};
use crate::draft::Draft;
use crate::sources;

const STARTUP: Waiver = Waiver::warning("libvirt.disk.source", "a source that is missing is always an error");
const HOST_MODE: Waiver = Waiver::warning("libvirt.disk.source", "the volume is used as a disk of its own");
const UNREACHABLE: Waiver = Waiver::error(
    "libvirt.disk.source",
    "disks come from files, block devices, images and volumes: witvirt cannot reach this kind of source",
);
const ENCRYPTED: Waiver = Waiver::error("libvirt.disk.encryption", "the guest would see encrypted data");
const SLICE: Waiver = Waiver::error("libvirt.disk.slices", "the guest would see the whole file");
const RESERVATIONS: Waiver =
    Waiver::warning("libvirt.disk.reservations", "persistent reservations are not passed on");

/// The source; `None` for an empty drive.
///
/// # Errors
/// Why the whole disk is refused.
pub(super) fn read(disk: Element<'_>, draft: &mut Draft<'_>) -> Result<Option<DiskSource>, Waiver> {
    let kinds = ["file", "block", "volume", "network", "dir", "nvme", "vhostuser", "vhostvdpa"]
        .map(|kind| (kind, kind));
    let kind = disk.attribute("type").map_or(Some("file"), |kind| kind.choose(&kinds));
    disk.waive_parts(&["encryption"], &ENCRYPTED);
    disk.waive_parts(&["auth"], &UNREACHABLE);
    let format = disk.peek("driver").and_then(|driver| driver.open().attribute("type"));
    let Some(source) = disk.child("source") else { return Ok(None) };
    source.waive_parts(&["@startupPolicy"], &STARTUP);
    source.waive_parts(&["@index", "seclabel", "privateData"], &RUNTIME);
    source.waive_parts(&["encryption"], &ENCRYPTED);
    source.waive_parts(&["slices"], &SLICE);
    source.waive_parts(&["reservations"], &RESERVATIONS);
    match kind {
        Some("file") => Ok(file(source.attribute("file"), format)),
        Some("block") => Ok(file(source.attribute("dev"), format)),
        Some("volume") => Ok(volume(source, format, draft)),
        Some(_) => Err(UNREACHABLE),
        None => Ok(None),
    }
}

fn file(path: Option<Value<'_>>, format: Option<Value<'_>>) -> Option<DiskSource> {
    let path = path.filter(|path| !path.text.is_empty())?;
    if format.is_none() {
        path.report(Severity::Info, "libvirt.default.disk-format", || {
            "no <driver type>: \"raw\", as under libvirt".to_owned()
        });
    }
    let format = format.map_or("raw", |format| format.text).to_owned();
    Some(DiskSource::File { path: path.text.to_owned(), format: Some(format) })
}

fn volume(source: Element<'_>, format: Option<Value<'_>>, draft: &mut Draft<'_>) -> Option<DiskSource> {
    let pool = source.required("pool");
    let volume = source.required("volume");
    source.expect("mode", &["host"], &HOST_MODE);
    let (pool, volume) = (pool?, volume?);
    if pool.text == sources::POOL {
        return draft.sources.used_by(volume);
    }
    let settings = draft.settings;
    if pool.text == settings.image_pool {
        return Some(DiskSource::Image(volume.text.to_owned()));
    }
    if let Some(format) = format.filter(|format| format.text != "raw") {
        format.report(Severity::Warning, "libvirt.disk.format", || {
            "not honoured: volumes of the daemon are raw".to_owned()
        });
    }
    match Name::new(volume.text) {
        Ok(name) => {
            pool.report(Severity::Info, "libvirt.disk.pool", || {
                format!("the daemon's volume {name}; only pool \"{}\" means images", settings.image_pool)
            });
            Some(DiskSource::Volume { name, size: None })
        }
        Err(_) => {
            volume.refuse("a volume name of 1 to 63 of a-z, 0-9, '-', '.' and '_'");
            None
        }
    }
}
