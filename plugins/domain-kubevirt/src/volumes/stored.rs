//! Volumes with images: in registries, on the host, and the daemon's own.

use witvirt_sdk::xml::Element;

use super::Content;
use crate::draft::{Draft, writable};
use crate::tree::{Field, Waiver, quote};

const PULL: Waiver =
    Waiver::info("kubevirt.image.pull", "the image is fetched when the store does not have it");
const PULL_SECRET: Waiver = Waiver::warning(
    "kubevirt.image.credentials",
    "registries are asked without credentials: import an image that needs some with `witvirt image import`",
);
const HOTPLUG: Waiver = Waiver::info("kubevirt.hotplug", "disks are not added to running machines");
const OVERLAID: Waiver = Waiver::info(
    "kubevirt.volume.ephemeral",
    "the volume is never written; the guest writes to what lies over it",
);
const STORAGE: Waiver =
    Waiver::info("kubevirt.storage", "volumes are files of the daemon: nothing to choose");
const IMPORTER: Waiver =
    Waiver::info("kubevirt.storage", "how a cluster's importer works; the daemon fetches by itself");
const ACCESS: Waiver = Waiver::warning(
    "kubevirt.image.credentials",
    "servers are asked without credentials and extra headers: import what needs some with `witvirt image import`",
);

fn push<'a>(draft: &mut Draft<'a>, name: &str, inner: Element) -> Content {
    draft.sources.push(Element::new("w:source").attribute("name", name).child(inner));
    Content::source(name)
}

/// A reference or URL as it may be written.
fn plain(field: Field<'_>, text: &str) -> bool {
    let odd = text.chars().any(|c| c.is_whitespace() || c.is_control());
    if odd {
        field.error("kubevirt.value.invalid", || format!("{} has spaces in it", quote(text)));
    }
    !odd
}

pub(super) fn container_disk<'a>(disk: Field<'a>, name: &str, draft: &mut Draft<'a>) -> Content {
    disk.waive_fields(&["imagePullPolicy"], &PULL);
    disk.waive_fields(&["imagePullSecret"], &PULL_SECRET);
    if let Some(path) = disk.get("path")
        && let Some(text) = path.string()
    {
        if text.strip_prefix("/disk/").is_some_and(|file| !file.contains('/')) {
            path.info("kubevirt.image.path", || "the image's only file below /disk is used".to_owned());
        } else if !text.is_empty() {
            path.error("kubevirt.image.path", || {
                format!("{} is not directly below /disk, where disks of images are looked for", quote(text))
            });
        }
    }
    let Some(image) = disk.required("image").filter(|image| plain(disk, image)) else {
        return Content::refused();
    };
    push(draft, name, Element::new("w:remote").attribute("url", format!("docker://{image}")))
}

/// A named volume of the daemon.
fn volume<'a>(draft: &mut Draft<'a>, name: &str, volume: &str, size: Option<u64>) -> Content {
    let inner = Element::new("w:volume").attribute("name", volume).optional_attribute("size", size);
    push(draft, name, inner)
}

/// How much a claim or a claim's template asks for.
fn requested(claim: Option<Field<'_>>) -> Option<u64> {
    disk_size(claim?.path(&["resources", "requests", "storage"])?)
}

/// A size in whole sectors.
fn disk_size(field: Field<'_>) -> Option<u64> {
    const SECTOR: u64 = 512;
    let bytes = field.quantity()?;
    let size = bytes.checked_next_multiple_of(SECTOR).filter(|size| *size > 0);
    match size {
        None => field.refuse("a size of a disk, like 10Gi"),
        Some(size) if size != bytes => {
            field.info("kubevirt.volume.size", || format!("rounded up to {size} bytes, in whole sectors"));
        }
        Some(_) => {}
    }
    size
}

pub(super) fn claim<'a>(source: Field<'a>, name: &str, draft: &mut Draft<'a>) -> Content {
    source.waive_fields(&["hotpluggable"], &HOTPLUG);
    let read_only = source.flag("readOnly").unwrap_or(false);
    let Some(claim) = source.required("claimName") else { return Content::refused() };
    // A claim of a DataVolume has its name.
    let content = match data_volume_called(claim, draft) {
        Some(template) => filled(source, template, claim, name, draft),
        None => {
            let object = draft.object("PersistentVolumeClaim", claim);
            let spec = object.and_then(|object| object.get("spec"));
            let size = requested(spec);
            if size.is_none() {
                must_exist(source, claim);
            }
            if let Some(spec) =
                spec.filter(|spec| spec.get("dataSource").or(spec.get("dataSourceRef")).is_some())
            {
                spec.warn("kubevirt.volume.clone", || {
                    format!("volume {claim} is not cloned: it starts empty")
                });
            }
            volume(draft, name, claim, size)
        }
    };
    Content { read_only, ..content }
}

fn must_exist(field: Field<'_>, volume: &str) {
    field.info("kubevirt.volume.size", || {
        format!("the daemon's volume {volume} has to be there: how large it would be is not in the text")
    });
}

pub(super) fn ephemeral<'a>(source: Field<'a>, name: &str, draft: &mut Draft<'a>) -> Content {
    let Some(claim) = source.get("persistentVolumeClaim") else {
        source.required("persistentVolumeClaim");
        return Content::refused();
    };
    claim.waive_fields(&["readOnly"], &OVERLAID);
    let place = claim;
    let Some(claim) = claim.required("claimName") else { return Content::refused() };
    // Its size is the volume's own affair: nobody makes it for a disk that only lies over it.
    if let Some(spec) = draft.object("PersistentVolumeClaim", claim).and_then(|object| object.get("spec")) {
        requested(Some(spec));
    }
    place.info("kubevirt.volume.size", || format!("the daemon's volume {claim} has to be there"));
    push(draft, name, Element::new("w:overlay").attribute("volume", claim))
}

pub(super) fn empty_disk<'a>(source: Field<'a>, name: &str, draft: &mut Draft<'a>) -> Content {
    let Some(capacity) = source.get("capacity") else {
        source.required("capacity");
        return Content::refused();
    };
    let Some(size) = disk_size(capacity) else { return Content::refused() };
    push(draft, name, Element::new("w:blank").attribute("size", size))
}

pub(super) fn host_disk<'a>(disk: Field<'a>, _: &str, _: &mut Draft<'a>) -> Content {
    let kind = disk.get("type").and_then(|kind| kind.choose(&[("Disk", false), ("DiskOrCreate", true)]));
    let capacity = disk.get("capacity").and_then(Field::quantity);
    if kind == Some(true) || capacity.is_some() {
        disk.warn("kubevirt.volume.host", || "the file has to be there: it is not created".to_owned());
    }
    if disk.get("type").is_none() {
        disk.required("type");
    }
    let shareable = disk.flag("shared").unwrap_or(false);
    let Some(path) = disk.required("path") else { return Content::refused() };
    if !path.starts_with('/') || !writable(disk, path) {
        disk.error("kubevirt.value.invalid", || format!("{} is not an absolute path", quote(path)));
        return Content::refused();
    }
    let source = Element::new("source").attribute("file", path);
    Content { source: Some(source), format: Some("raw"), shareable, ..Content::empty() }
}

pub(super) fn data_volume<'a>(source: Field<'a>, name: &str, draft: &mut Draft<'a>) -> Content {
    source.waive_fields(&["hotpluggable"], &HOTPLUG);
    let Some(wanted) = source.required("name") else { return Content::refused() };
    match data_volume_called(wanted, draft) {
        Some(template) => filled(source, template, wanted, name, draft),
        None => {
            let claim = draft.object("PersistentVolumeClaim", wanted).and_then(|object| object.get("spec"));
            let size = requested(claim);
            if size.is_none() {
                must_exist(source, wanted);
            }
            volume(draft, name, wanted, size)
        }
    }
}

/// Spec of a DataVolume, from the machine's templates or as an object.
fn data_volume_called<'a>(wanted: &str, draft: &mut Draft<'a>) -> Option<Field<'a>> {
    let vm = draft.manifest.tree.field(draft.machine.object.id);
    if draft.machine.is_vm()
        && let Some(spec) = vm.get("spec")
    {
        let called = |template: &Field<'_>| {
            template.get("metadata").and_then(|metadata| metadata.text("name")) == Some(wanted)
        };
        if let Some(template) = spec.list("dataVolumeTemplates").into_iter().find(called) {
            return template.get("spec");
        }
    }
    draft.object("DataVolume", wanted)?.get("spec")
}

/// A volume that is filled from somewhere.
fn filled<'a>(place: Field<'a>, spec: Field<'a>, called: &str, name: &str, draft: &mut Draft<'a>) -> Content {
    read_storage(spec);
    let size = requested(spec.get("pvc")).or_else(|| requested(spec.get("storage")));
    let source = spec.get("source");
    let kinds = ["blank", "http", "registry", "pvc", "snapshot", "upload", "s3", "gcs", "imageio", "vddk"];
    let found = source.and_then(|source| kinds.iter().find_map(|kind| Some((*kind, source.get(kind)?))));
    if let Some((kind @ ("http" | "registry"), from)) = found {
        if let Some(size) = &size {
            spec.warn("kubevirt.volume.size", || {
                format!("not grown to {size}: the disk is as large as the image that it is filled from")
            });
        }
        return remote(from, kind, called, name, draft).unwrap_or_else(Content::refused);
    }
    if let Some(reference) = spec.get("sourceRef") {
        reference.cover();
        reference.warn("kubevirt.volume.clone", || {
            format!("not followed: the daemon's volume {called} has to be there already")
        });
        return volume(draft, name, called, None);
    }
    match found {
        Some(("blank", blank)) => {
            blank.object();
            if size.is_none() {
                must_exist(place, called);
            }
            volume(draft, name, called, size)
        }
        Some((kind, from)) => {
            from.cover();
            from.warn("kubevirt.volume.import", || {
                format!("{kind}: nothing is copied from there: the daemon's volume {called} has to be there already")
            });
            volume(draft, name, called, None)
        }
        None => {
            spec.error("kubevirt.volume.source", || "says nothing of what it is filled with".to_owned());
            Content::refused()
        }
    }
}

/// An image that CDI would copy into a volume. A spec has no volume that is filled from one.
fn remote<'a>(
    from: Field<'a>,
    kind: &str,
    called: &str,
    name: &str,
    draft: &mut Draft<'a>,
) -> Option<Content> {
    from.waive_fields(&["certConfigMap", "secretRef", "extraHeaders", "secretExtraHeaders"], &ACCESS);
    from.waive_fields(&["pullMethod", "platform"], &IMPORTER);
    if let Some(stream) = from.get("imageStream") {
        stream.cover();
        stream.error("kubevirt.volume.import", || "image streams are a cluster's: use url".to_owned());
        return None;
    }
    let url = from.required("url").filter(|url| plain(from, url))?;
    let schemes: &[&str] = if kind == "http" { &["http://", "https://"] } else { &["docker://"] };
    if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
        if let Some(field) = from.get("url") {
            field.refuse(&format!("a URL that starts with {}", schemes.join(" or ")));
        }
        return None;
    }
    from.warn("kubevirt.volume.import", || {
        format!(
            "no volume {called} is made: the machine's disk is an overlay of its own over the image, and goes with the machine"
        )
    });
    Some(push(draft, name, Element::new("w:remote").attribute("url", url)))
}

/// How a cluster would store a DataVolume.
fn read_storage(spec: Field<'_>) {
    if let Some(kind) = spec.get("contentType")
        && kind.choose(&[("kubevirt", false), ("archive", true), ("", false)]) == Some(true)
    {
        kind.error("kubevirt.volume.import", || "an archive of files is no disk".to_owned());
    }
    spec.waive_fields(&["preallocation", "priorityClassName"], &STORAGE);
    spec.waive_fields(&["checkpoints", "finalCheckpoint"], &IMPORTER);
    for kind in ["pvc", "storage"] {
        let Some(claim) = spec.get(kind) else { continue };
        claim.waive_fields(
            &[
                "accessModes",
                "selector",
                "storageClassName",
                "volumeAttributesClassName",
                "volumeMode",
                "volumeName",
            ],
            &STORAGE,
        );
        for clone in ["dataSource", "dataSourceRef"] {
            if let Some(clone) = claim.get(clone) {
                clone.cover();
                clone.warn("kubevirt.volume.clone", || "not followed".to_owned());
            }
        }
        if let Some(resources) = claim.get("resources") {
            resources.waive_fields(&["limits"], &STORAGE);
            for (name, value) in resources.get("requests").map(Field::entries).unwrap_or_default() {
                value.cover();
                if name != "storage" {
                    value.waive(&STORAGE);
                }
            }
        }
    }
}

/// Templates that no volume names.
pub(super) fn unused_templates(draft: &Draft<'_>, named: &[&str]) {
    let vm = draft.manifest.tree.field(draft.machine.object.id);
    let Some(spec) = vm.get("spec").filter(|_| draft.machine.is_vm()) else { return };
    for template in spec.list("dataVolumeTemplates") {
        for name in ["apiVersion", "kind", "status"] {
            if let Some(field) = template.get(name) {
                field.cover();
            }
        }
        if let Some(metadata) = template.get("metadata") {
            crate::metadata::cover_object(metadata);
        }
        let name = template.get("metadata").and_then(|metadata| metadata.text("name"));
        if name.is_none_or(|name| !named.contains(&name)) {
            template.cover();
            template.info("kubevirt.volume.unused", || {
                "no volume of the machine is this one: it is not made".to_owned()
            });
        }
    }
}
