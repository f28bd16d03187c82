//! `<loader>`, `<nvram>` and `<os firmware>`.

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::Firmware;

use crate::document::{Element, RUNTIME, Value, Waiver};
use crate::draft::Draft;

const OWN_STORE: Waiver = Waiver::info(
    "libvirt.boot.nvram",
    "the machine gets a variable store of its own, made from the template",
);
const RAW_ONLY: Waiver = Waiver::error("libvirt.boot.firmware", "firmware files have to be raw");
const KEYS: Waiver =
    Waiver::info("libvirt.boot.firmware", "the keys are those of the configured variable template");

/// What `<loader>`, `<nvram>` and `firmware=` ask for.
pub(crate) fn read(os: Element<'_>, draft: &mut Draft<'_>) {
    let wanted =
        os.attribute("firmware").and_then(|firmware| firmware.choose(&[("efi", true), ("bios", false)]));
    let secure_boot = read_features(os);
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
        (Some(code), _) => explicit(code, nvram, secure, stateless, draft),
        (None, Some(true)) => {
            read_loader(loader);
            configured(os, nvram, secure, draft);
        }
        (None, _) => {
            read_loader(loader);
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

fn read_features(os: Element<'_>) -> Option<bool> {
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
fn read_loader(loader: Option<Element<'_>>) -> Option<bool> {
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

fn explicit(
    code: Value<'_>,
    nvram: Option<Element<'_>>,
    secure: bool,
    stateless: bool,
    draft: &mut Draft<'_>,
) {
    let flash = read_loader(Some(code.element)).or((nvram.is_some() || secure).then_some(true));
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
    let vars_template = if stateless { None } else { template(code, nvram, draft) };
    let vars_template = vars_template.map(|path| draft.settings.firmware_file(&path));
    let code = draft.settings.firmware_file(code.text);
    draft.spec.boot.firmware = Firmware::Uefi { code, vars_template, secure };
}

/// The template that `<nvram>` names, else the configured one, else the domain's own variable store.
fn template(code: Value<'_>, nvram: Option<Element<'_>>, draft: &Draft<'_>) -> Option<String> {
    let known = [&draft.settings.firmware, &draft.settings.secure_firmware]
        .into_iter()
        .flatten()
        .find(|firmware| firmware.code == code.text)
        .and_then(|firmware| firmware.vars_template.clone());
    let named = nvram.and_then(|nvram| nvram.attribute("template")).map(|template| template.text.to_owned());
    let template = named.or(known);
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

fn configured(os: Element<'_>, nvram: Option<Element<'_>>, secure: bool, draft: &mut Draft<'_>) {
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
    draft.spec.boot.firmware = firmware.firmware(secure, settings);
    os.report(Severity::Info, "libvirt.default.firmware", || {
        format!("the firmware is {}, from the setting \"{key}\"", firmware.code)
    });
    let Some(nvram) = nvram else { return };
    if let (Some(template), Firmware::Uefi { vars_template, .. }) =
        (nvram.attribute("template"), &mut draft.spec.boot.firmware)
    {
        *vars_template = Some(settings.firmware_file(template.text));
    }
    if let Some(store) = own_store(nvram) {
        store.report(OWN_STORE.severity, OWN_STORE.code, || OWN_STORE.reason.to_owned());
    }
}
