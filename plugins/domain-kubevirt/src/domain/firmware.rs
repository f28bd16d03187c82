//! Board, firmware and kernel.

use crate::draft::{Draft, text_element, writable};
use crate::tree::{Field, Waiver};
use witvirt_sdk::xml::Element;

const ACPI: Waiver =
    Waiver::error("kubevirt.firmware.acpi", "witvirt gives guests no ACPI tables from files");
const FORGETS: Waiver =
    Waiver::info("kubevirt.firmware.persistent", "the machine's variables are always kept with it");
const PULL: Waiver =
    Waiver::info("kubevirt.image.pull", "the files are taken from the setting kernel-directory");

/// The UUID, in the usual form.
pub(super) fn uuid(draft: &Draft<'_>) -> Option<String> {
    let text = draft.uuid()?;
    let parsed = uuid::Uuid::parse_str(text).ok();
    if parsed.is_none()
        && let Some(field) = draft.domain.path(&["firmware", "uuid"])
    {
        field.refuse("a UUID like 5d307ca9-b3ef-428c-8861-06e72d69f223");
    }
    parsed.map(|uuid| uuid.to_string())
}

/// `<os>`.
pub(super) fn read(draft: &Draft<'_>) -> Element {
    let board = draft.domain.get("machine").and_then(|machine| machine.text("type")).unwrap_or("q35");
    let kind = text_element("type", "hvm").attribute("arch", "x86_64").attribute("machine", board);
    let mut os = Element::new("os");
    let mut parts = vec![kind];
    if let Some(firmware) = draft.domain.get("firmware") {
        let loader = firmware.get("bootloader");
        let efi = loader.and_then(|loader| loader.get("efi"));
        let bios = loader.and_then(|loader| loader.get("bios"));
        if let Some(efi) = efi {
            os = os.attribute("firmware", "efi");
            let secure = secure_boot(efi, draft);
            let feature = |name: &str| {
                Element::new("feature")
                    .attribute("enabled", if secure { "yes" } else { "no" })
                    .attribute("name", name)
            };
            parts.push(Element::new("firmware").child(feature("secure-boot")));
            let loader = Element::new("loader").attribute("readonly", "yes");
            parts.push(
                loader.attribute("secure", if secure { "yes" } else { "no" }).attribute("type", "pflash"),
            );
        }
        if let (Some(_), Some(bios)) = (efi, bios) {
            bios.error("kubevirt.firmware", || "either bios or efi, not both".to_owned());
        }
        parts.extend(kernel(firmware, draft));
        if bios.is_some_and(|bios| bios.flag("useSerial") == Some(true)) {
            parts.push(Element::new("bios").attribute("useserial", "yes"));
        }
        firmware.waive_fields(&["acpi"], &ACPI);
    }
    // KubeVirt gives who starts a machine paused the time to get into its firmware.
    if draft.spec.text("startStrategy") == Some("Paused") {
        parts.push(Element::new("bootmenu").attribute("enable", "yes"));
    }
    parts.push(Element::new("smbios").attribute("mode", "sysinfo"));
    parts.into_iter().fold(os, Element::child)
}

/// Secure boot is on unless it is switched off, and needs the board's system management mode.
fn secure_boot(efi: Field<'_>, draft: &Draft<'_>) -> bool {
    let secure = efi.flag("secureBoot").unwrap_or(true);
    efi.waive_fields(&["persistent"], &FORGETS);
    let smm = draft.domain.path(&["features", "smm"]);
    if secure && !smm.is_some_and(|smm| smm.flag("enabled").unwrap_or(true)) {
        efi.error("kubevirt.firmware.secure-boot", || {
            "secure boot needs features.smm, as under KubeVirt; or switch it off with secureBoot: false"
                .to_owned()
        });
    }
    secure
}

/// Kernel, initial ram disk and their arguments.
fn kernel(firmware: Field<'_>, draft: &Draft<'_>) -> Vec<Element> {
    let Some(boot) = firmware.get("kernelBoot") else { return Vec::new() };
    let mut parts = Vec::new();
    if let Some(container) = boot.get("container") {
        let image = container.required("image");
        container.waive_fields(&["imagePullPolicy", "imagePullSecret"], &PULL);
        let paths = [("kernel", "kernelPath"), ("initrd", "initrdPath")];
        let paths: Vec<_> =
            paths.into_iter().filter_map(|(name, field)| Some((name, container.get(field)?))).collect();
        match (&draft.settings.kernel_directory, image) {
            (Some(directory), Some(image)) => {
                for (name, path) in paths {
                    parts.extend(file(directory, image, path).map(|path| text_element(name, path)));
                }
            }
            (None, Some(_)) => {
                for (_, path) in &paths {
                    path.cover();
                }
                container.error("kubevirt.firmware.kernel", || {
                    "kernels come from files of the host: set kernel-directory of this plugin, and put them at DIRECTORY/IMAGE/PATH"
                        .to_owned()
                });
            }
            (_, None) => {}
        }
    }
    if let Some(arguments) = boot.text("kernelArgs")
        && boot.get("kernelArgs").is_some_and(|field| writable(field, arguments))
    {
        parts.push(text_element("cmdline", arguments));
    }
    parts
}

/// A file of an image below the directory of kernels.
fn file(directory: &str, image: &str, path: Field<'_>) -> Option<String> {
    let inner = path.string()?;
    let climbs = |text: &str| text.split('/').any(|part| part == "..");
    if !inner.starts_with('/') || climbs(inner) || climbs(image) || !writable(path, inner) {
        path.refuse("an absolute path in the image, without \"..\"");
        return None;
    }
    Some(format!("{}/{}{inner}", directory.trim_end_matches('/'), image.trim_matches('/')))
}
