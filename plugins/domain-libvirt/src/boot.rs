//! `<os>`: board, firmware, kernel and boot order.

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{BootDevice, Chipset, Firmware};

use crate::document::{DETAIL, Element, RUNTIME, Value, Waiver};
use crate::draft::Draft;

const MENU: Waiver = Waiver::warning("libvirt.boot.menu", "the menu waits as long as the firmware likes");
const ACPI_TABLE: Waiver =
    Waiver::error("libvirt.boot.acpi", "witvirt gives guests no ACPI tables from files");
const NO_X86: Waiver = Waiver::error("libvirt.boot", "not for x86 guests");
const CONTAINER: Waiver = Waiver::error("libvirt.boot", "only for containers");
const OWN_STORE: Waiver = Waiver::info(
    "libvirt.boot.nvram",
    "the machine gets a variable store of its own, made from the template",
);
const RAW_ONLY: Waiver = Waiver::error("libvirt.boot.firmware", "firmware files have to be raw");
const KEYS: Waiver =
    Waiver::info("libvirt.boot.firmware", "the keys are those of the configured variable template");

pub(crate) fn read(draft: &mut Draft<'_>) {
    let domain = draft.domain;
    let Some(os) = domain.child("os") else {
        domain.report(Severity::Error, "libvirt.value.missing", || "the domain has no <os>".to_owned());
        return;
    };
    read_type(os, draft);
    read_firmware(os, draft);
    read_kernel(os, draft);
    for boot in os.children("boot") {
        let classes = [
            ("hd", BootDevice::Disk),
            ("cdrom", BootDevice::Cdrom),
            ("network", BootDevice::Network),
            ("fd", BootDevice::Floppy),
        ];
        let class = boot.required("dev").and_then(|dev| dev.choose(&classes));
        draft.spec.boot.order.extend(class);
    }
    if let Some(menu) = os.child("bootmenu") {
        draft.spec.boot.menu = menu.attribute("enable").and_then(Value::yes).unwrap_or(false);
        menu.waive_parts(&["@timeout"], &MENU);
    }
    if let Some(bios) = os.child("bios") {
        bios.expect("useserial", &["no"], &DETAIL);
        bios.expect("rebootTimeout", &["-1"], &DETAIL);
    }
    os.waive_parts(&["acpi"], &ACPI_TABLE);
    os.waive_parts(&["dtb", "shim"], &NO_X86);
    os.waive_parts(&["init", "initarg", "initenv", "initdir", "inituser", "initgroup", "idmap"], &CONTAINER);
}

fn read_type(os: Element<'_>, draft: &mut Draft<'_>) {
    let Some(kind) = os.child("type") else {
        os.report(Severity::Error, "libvirt.value.missing", || "<os> has no <type>".to_owned());
        return;
    };
    kind.text().choose(&[("hvm", ())]);
    if let Some(arch) = kind.attribute("arch") {
        match arch.text {
            "x86_64" => {}
            "i686" => arch.waive(&Waiver::warning("libvirt.boot.arch", "the machine has 64-bit CPUs")),
            _ => arch.waive(&Waiver::error("libvirt.boot.arch", "witvirt runs x86_64 guests only")),
        }
    }
    let Some(machine) = kind.attribute("machine") else {
        draft.spec.chipset = Chipset::Pc;
        let message = || "no machine type: \"pc\", as under libvirt".to_owned();
        return kind.report(Severity::Info, "libvirt.default.machine", message);
    };
    match board(machine.text) {
        Some((chipset, versioned)) => {
            draft.spec.chipset = chipset;
            if versioned {
                machine.report(Severity::Info, "libvirt.boot.machine", || {
                    "the version of the board is not kept: the guest sees the hypervisor's newest".to_owned()
                });
            }
        }
        None => machine.refuse("pc, q35, pc-i440fx-VERSION or pc-q35-VERSION"),
    }
}

/// The chipset of a QEMU machine type, and whether the type names a version.
fn board(machine: &str) -> Option<(Chipset, bool)> {
    let version = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    match machine {
        "q35" => Some((Chipset::Q35, false)),
        "pc" => Some((Chipset::Pc, false)),
        _ => {
            // Versions, or the releases that Ubuntu and Red Hat name their boards after.
            let rest = machine.strip_prefix("pc-")?;
            let some = |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric());
            match (rest.strip_prefix("q35-"), rest.strip_prefix("i440fx-")) {
                (Some(release), _) => some(release).then_some((Chipset::Q35, true)),
                (_, Some(release)) => some(release).then_some((Chipset::Pc, true)),
                _ => version(rest).then_some((Chipset::Pc, true)),
            }
        }
    }
}

/// What `<loader>`, `<nvram>` and `firmware=` ask for.
fn read_firmware(os: Element<'_>, draft: &mut Draft<'_>) {
    let wanted =
        os.attribute("firmware").and_then(|firmware| firmware.choose(&[("efi", true), ("bios", false)]));
    let secure_boot = read_firmware_features(os);
    let loader = os.child("loader");
    let nvram = os.child("nvram");
    let code = loader.map(Element::text).filter(|path| !path.text.is_empty());
    if let Some(loader) = loader {
        loader.expect("format", &["raw"], &RAW_ONLY);
    }
    if let Some(nvram) = nvram {
        nvram.expect("format", &["raw"], &RAW_ONLY);
        nvram.expect("templateFormat", &["raw"], &RAW_ONLY);
    }
    let secure = loader.and_then(|loader| loader.attribute("secure")).and_then(Value::yes);
    let secure = secure.or(secure_boot).unwrap_or(false);
    let stateless =
        loader.and_then(|loader| loader.attribute("stateless")).and_then(Value::yes).unwrap_or(false);
    match (code, wanted) {
        (Some(code), _) => explicit_firmware(code, nvram, secure, stateless, draft),
        (None, Some(true)) => {
            read_loader_kind(loader);
            configured_firmware(os, nvram, secure, draft);
        }
        (None, _) => {
            read_loader_kind(loader);
            if let Some(loader) = loader.filter(|_| wanted.is_none()) {
                loader
                    .report(Severity::Error, "libvirt.boot.firmware", || "<loader> names no file".to_owned());
            }
            if let Some(nvram) = nvram {
                nvram.waive(&Waiver::error("libvirt.boot.nvram", "only UEFI firmware has a variable store"));
            }
        }
    }
    if let Some(nvram) = nvram.filter(|_| stateless) {
        nvram.waive(&Waiver::error("libvirt.boot.nvram", "a stateless firmware has no variable store"));
    }
    if stateless && let Firmware::Uefi { vars_template, .. } = &mut draft.spec.boot.firmware {
        *vars_template = None;
    }
}

fn read_firmware_features(os: Element<'_>) -> Option<bool> {
    let mut secure_boot = None;
    for feature in os.child("firmware")?.children("feature") {
        let enabled = feature.required("enabled").and_then(Value::yes);
        match feature
            .required("name")
            .and_then(|name| name.choose(&[("secure-boot", true), ("enrolled-keys", false)]))
        {
            Some(true) => secure_boot = enabled,
            Some(false) => feature.report(KEYS.severity, KEYS.code, || KEYS.reason.to_owned()),
            None => {}
        }
    }
    secure_boot
}

/// Reads `type` and `readonly` of a loader; whether it is flash, where that is said.
fn read_loader_kind(loader: Option<Element<'_>>) -> Option<bool> {
    let loader = loader?;
    let read_only = loader.attribute("readonly").and_then(Value::yes);
    let flash = loader.attribute("type").and_then(|kind| kind.choose(&[("pflash", true), ("rom", false)]));
    if read_only == Some(false) && flash != Some(false) {
        loader.report(Severity::Error, "libvirt.boot.firmware", || {
            "firmware whose code is writable is not available: use readonly='yes' and <nvram>".to_owned()
        });
    }
    flash.or((read_only == Some(true)).then_some(true))
}

fn explicit_firmware(
    code: Value<'_>,
    nvram: Option<Element<'_>>,
    secure: bool,
    stateless: bool,
    draft: &mut Draft<'_>,
) {
    let flash = read_loader_kind(Some(code.element)).or((nvram.is_some() || secure).then_some(true));
    if flash != Some(true) {
        code.waive(&Waiver::error(
            "libvirt.boot.firmware",
            "only flash firmware can be named (type='pflash'); leave <loader> away for the BIOS",
        ));
        if let Some(nvram) = nvram {
            nvram.waive(&OWN_STORE);
        }
        return;
    }
    let vars_template = if stateless { None } else { explicit_template(code, nvram, draft) };
    draft.spec.boot.firmware = Firmware::Uefi { code: code.text.to_owned(), vars_template, secure };
}

/// The template that `<nvram>` names, else the configured one, else the domain's own variable store.
fn explicit_template(code: Value<'_>, nvram: Option<Element<'_>>, draft: &Draft<'_>) -> Option<String> {
    let configured = [&draft.settings.firmware, &draft.settings.secure_firmware]
        .into_iter()
        .flatten()
        .find(|firmware| firmware.code == code.text)
        .and_then(|firmware| firmware.vars_template.clone());
    let named = nvram.and_then(|nvram| nvram.attribute("template")).map(|template| template.text.to_owned());
    let template = named.or(configured);
    let Some(nvram) = nvram else {
        if template.is_none() {
            code.report(Severity::Warning, "libvirt.boot.nvram", || {
                "no <nvram>, and no template is configured for this firmware: it forgets its variables"
                    .to_owned()
            });
        }
        return template;
    };
    let store = own_store(nvram);
    if template.is_some() {
        if let Some(store) = store {
            store.report(OWN_STORE.severity, OWN_STORE.code, || OWN_STORE.reason.to_owned());
        }
        return template;
    }
    let store = store?;
    store.report(Severity::Warning, "libvirt.boot.nvram", || {
        "no template: the machine's variable store starts as a copy of this file, which has to exist"
            .to_owned()
    });
    Some(store.text.to_owned())
}

/// The path of the domain's variable store, in either spelling.
fn own_store(nvram: Element<'_>) -> Option<Value<'_>> {
    let kind = nvram.attribute("type");
    if kind.is_some_and(|kind| kind.text != "file") {
        nvram.waive(&Waiver::error("libvirt.boot.nvram", "the variable store has to be a file"));
        return None;
    }
    if let Some(source) = nvram.child("source") {
        source.waive_parts(&["seclabel", "@startupPolicy", "@index"], &RUNTIME);
        return source.required("file");
    }
    Some(nvram.text()).filter(|path| !path.text.is_empty())
}

fn configured_firmware(os: Element<'_>, nvram: Option<Element<'_>>, secure: bool, draft: &mut Draft<'_>) {
    let settings = draft.settings;
    let (key, firmware) = match secure {
        true => ("secure-firmware", &settings.secure_firmware),
        false => ("firmware", &settings.firmware),
    };
    let Some(firmware) = firmware else {
        os.report(Severity::Error, "libvirt.boot.firmware", || {
            format!("firmware='efi' needs the setting \"{key}\" of this plugin, or a <loader> with a path")
        });
        if let Some(nvram) = nvram {
            nvram.waive(&OWN_STORE);
        }
        return;
    };
    draft.spec.boot.firmware = firmware.firmware(secure);
    os.report(Severity::Info, "libvirt.default.firmware", || {
        format!("the firmware is {}, from the setting \"{key}\"", firmware.code)
    });
    let Some(nvram) = nvram else { return };
    if let (Some(template), Firmware::Uefi { vars_template, .. }) =
        (nvram.attribute("template"), &mut draft.spec.boot.firmware)
    {
        *vars_template = Some(template.text.to_owned());
    }
    if let Some(store) = own_store(nvram) {
        store.report(OWN_STORE.severity, OWN_STORE.code, || OWN_STORE.reason.to_owned());
    }
}

fn read_kernel(os: Element<'_>, draft: &mut Draft<'_>) {
    let path =
        |name| os.child_text(name).filter(|value| !value.text.is_empty()).map(|value| value.text.to_owned());
    let boot = &mut draft.spec.boot;
    boot.kernel = path("kernel");
    boot.initrd = path("initrd");
    boot.cmdline = path("cmdline");
}

/// `<smbios mode>`: whether `<sysinfo>` reaches the guest. libvirt ignores the texts without mode='sysinfo'.
pub(crate) fn uses_sysinfo(os: Option<Element<'_>>) -> bool {
    let Some(mode) = os.and_then(|os| os.child("smbios")).and_then(|smbios| smbios.required("mode")) else {
        return false;
    };
    let modes = [("emulate", false), ("sysinfo", true), ("host", false)];
    let chosen = mode.choose(&modes).unwrap_or(false);
    if mode.text == "host" {
        mode.waive(&Waiver::warning("libvirt.sysinfo", "the guest does not see the host's own texts"));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::board;
    use witvirt_sdk::core::spec::Chipset;

    #[test]
    fn knows_boards() {
        for (machine, expected) in [
            ("pc", Some((Chipset::Pc, false))),
            ("q35", Some((Chipset::Q35, false))),
            ("pc-q35-10.0", Some((Chipset::Q35, true))),
            ("pc-q35-rhel9.4.0", Some((Chipset::Q35, true))),
            ("pc-i440fx-2.12", Some((Chipset::Pc, true))),
            ("pc-i440fx-noble", Some((Chipset::Pc, true))),
            ("pc-1.0", Some((Chipset::Pc, true))),
            ("pc-q35-", None),
            ("pc-", None),
            ("microvm", None),
            ("isapc", None),
            ("xenfv", None),
            ("virt-9.0", None),
            ("", None),
        ] {
            assert_eq!(board(machine), expected, "{machine}");
        }
    }
}
