//! Devices that take a few lines each.

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{
    BalloonOptions, Chipset, Codec, Input, InputBus, InputKind, PanicDevice, Rng, Sound, Tpm, TpmModel,
    Virtio, Watchdog, WatchdogAction, WatchdogModel,
};

use super::{ABSENT, common, driver, revision};
use crate::document::{DETAIL, Element, RUNTIME, TUNING, Value, Waiver};
use crate::draft::Draft;

const ONE: Waiver =
    Waiver::warning("libvirt.device.repeated", "a machine has one of these: this one is left out");
const VIRTIO_MODEL: Waiver = Waiver::warning("libvirt.device.model", "the device is an ordinary virtio one");
const HOST_ENTROPY: Waiver = Waiver::warning("libvirt.rng.backend", "the entropy is the host's own");
const EMULATED: Waiver = Waiver::error("libvirt.tpm.backend", "only emulated TPMs are available");
const DUMP: Waiver = Waiver::warning("libvirt.watchdog.action", "nothing is dumped");

pub(crate) fn read_input<'a>(input: Element<'a>, draft: &mut Draft<'a>) {
    let kinds = [
        ("mouse", Some(InputKind::Mouse)),
        ("keyboard", Some(InputKind::Keyboard)),
        ("tablet", Some(InputKind::Tablet)),
        ("passthrough", None),
        ("evdev", None),
    ];
    let Some(kind) = input.required("type").and_then(|kind| kind.choose(&kinds)) else { return };
    let Some(kind) = kind else { return input.waive(&ABSENT) };
    let buses = [("ps2", InputBus::Ps2), ("usb", InputBus::Usb), ("virtio", InputBus::Virtio)];
    let bus = match input.attribute("bus") {
        Some(bus) => bus.choose(&buses),
        None if kind == InputKind::Tablet => Some(InputBus::Usb),
        None => Some(InputBus::Ps2),
    };
    input.expect("model", &["virtio"], &VIRTIO_MODEL);
    let virtio = driver(input);
    common(input);
    let Some(bus) = bus else { return };
    if kind == InputKind::Tablet && bus == InputBus::Ps2 {
        return input.report(Severity::Error, "libvirt.input.bus", || "there are no PS/2 tablets".to_owned());
    }
    draft.made_from("inputs", draft.spec.inputs.len(), input);
    draft.spec.inputs.push(Input { kind, bus, virtio });
}

pub(crate) fn read_rng(rng: Element<'_>, draft: &mut Draft<'_>) {
    if draft.spec.rng.is_some() {
        return rng.waive(&ONE);
    }
    let model = rng.attribute("model");
    if let Some(model) = model {
        model.choose(&[("virtio", ()), ("virtio-transitional", ()), ("virtio-non-transitional", ())]);
    }
    let mut made = Rng::default();
    if let Some(rate) = rng.child("rate") {
        made.max_bytes = rate.required("bytes").and_then(Value::number);
        // In milliseconds; libvirt's default is a second.
        made.period_ms = rate.attribute("period").map_or(Some(1000), Value::number);
    }
    if let Some(backend) = rng.child("backend") {
        let models = ["random", "builtin", "egd"].map(|model| (model, model));
        match backend.required("model").and_then(|model| model.choose(&models)) {
            Some("egd") => backend.waive(&HOST_ENTROPY),
            Some("random") if !matches!(backend.text().text, "" | "/dev/random" | "/dev/urandom") => {
                backend.waive(&HOST_ENTROPY);
            }
            _ => {}
        }
    }
    made.virtio = Virtio { revision: revision(model), ..driver(rng) };
    common(rng);
    draft.spec.rng = Some(made);
}

pub(crate) fn read_watchdog(watchdog: Element<'_>, draft: &mut Draft<'_>) {
    if draft.spec.watchdog.is_some() {
        return watchdog.waive(&ONE);
    }
    let models = [
        ("i6300esb", WatchdogModel::I6300esb),
        ("ib700", WatchdogModel::Ib700),
        ("itco", WatchdogModel::Itco),
    ];
    let actions = [
        ("reset", WatchdogAction::Reset),
        ("shutdown", WatchdogAction::Shutdown),
        ("poweroff", WatchdogAction::Poweroff),
        ("pause", WatchdogAction::Pause),
        ("none", WatchdogAction::None),
        ("dump", WatchdogAction::None),
        ("inject-nmi", WatchdogAction::InjectNmi),
    ];
    let action = watchdog.attribute("action");
    if let Some(action) = action.filter(|action| action.text == "dump") {
        action.waive(&DUMP);
    }
    let action = action.map_or(Some(WatchdogAction::Reset), |action| action.choose(&actions));
    let model = watchdog.required("model").and_then(|model| model.choose(&models));
    if model == Some(WatchdogModel::Itco) && draft.spec.chipset == Chipset::Pc {
        watchdog.report(Severity::Error, "libvirt.watchdog.model", || "only q35 has an itco".to_owned());
    }
    common(watchdog);
    if let (Some(model), Some(action)) = (model, action) {
        draft.spec.watchdog = Some(Watchdog { model, action });
    }
}

/// libvirt lets the watchdog of a q35 board reset the machine.
pub(crate) fn add_watchdog(place: Element<'_>, draft: &mut Draft<'_>) {
    if draft.spec.chipset != Chipset::Q35 || draft.spec.watchdog.is_some() {
        return;
    }
    place.report(Severity::Info, "libvirt.default.watchdog", || {
        "no <watchdog>: the board's own resets the machine if the guest arms it, as under libvirt".to_owned()
    });
    draft.spec.watchdog = Some(Watchdog { model: WatchdogModel::Itco, action: WatchdogAction::Reset });
}

pub(crate) fn read_panic(panic: Element<'_>, draft: &mut Draft<'_>) {
    let models = [("isa", PanicDevice::Isa), ("pvpanic", PanicDevice::Pci), ("hyperv", PanicDevice::Hyperv)];
    let model = panic.attribute("model").map_or(Some(PanicDevice::Isa), |model| model.choose(&models));
    common(panic);
    let Some(model) = model else { return };
    if draft.spec.board.panic.contains(&model) {
        return panic.waive(&ONE);
    }
    draft.spec.board.panic.push(model);
}

pub(crate) fn read_tpm(tpm: Element<'_>, draft: &mut Draft<'_>) {
    if draft.spec.tpm.is_some() {
        return tpm.waive(&ONE);
    }
    let models = [("tpm-tis", TpmModel::Tis), ("tpm-crb", TpmModel::Crb)];
    let model = tpm.attribute("model").map_or(Some(TpmModel::Tis), |model| model.choose(&models));
    if let Some(backend) = tpm.child("backend") {
        backend.expect("type", &["emulator"], &EMULATED);
        backend.expect(
            "version",
            &["2.0"],
            &Waiver::error("libvirt.tpm.version", "only version 2.0 is available"),
        );
        backend.waive_parts(&["@persistent_state"], &RUNTIME);
        backend.waive_parts(&["@debug", "active_pcr_banks", "profile"], &DETAIL);
        backend.waive_parts(
            &["encryption"],
            &Waiver::error("libvirt.tpm.encryption", "the TPM's state would be stored in the clear"),
        );
        backend.waive_parts(&["device", "source"], &RUNTIME);
    }
    common(tpm);
    draft.spec.tpm = model.map(|model| Tpm { model });
}

pub(crate) fn read_sound<'a>(sound: Element<'a>, draft: &mut Draft<'a>) {
    let models = ["ich6", "ich9", "ac97", "es1370", "sb16", "usb", "virtio"].map(|model| (model, model));
    let Some(model) = sound.required("model") else { return };
    let kinds = [("duplex", Codec::Duplex), ("micro", Codec::Micro), ("output", Codec::Output)];
    let codecs = sound.children("codec").filter_map(|codec| codec.required("type")?.choose(&kinds)).collect();
    let multichannel = sound.attribute("multichannel").and_then(Value::yes).unwrap_or(false);
    sound.waive_parts(&["@streams"], &DETAIL);
    sound.waive_parts(&["audio"], &RUNTIME);
    let virtio = driver(sound);
    common(sound);
    if let Some(model) = model.choose(&models) {
        draft.made_from("sounds", draft.spec.sounds.len(), sound);
        draft.spec.sounds.push(Sound { model: model.to_owned(), codecs, multichannel, virtio });
    }
}

pub(crate) fn read_balloon(balloon: Element<'_>, draft: &mut Draft<'_>) {
    let models =
        [("virtio", true), ("virtio-transitional", true), ("virtio-non-transitional", true), ("none", false)];
    let Some(model) = balloon.required("model") else { return };
    draft.spec.balloon = model.choose(&models).unwrap_or(false);
    let on = |name| balloon.attribute(name).and_then(Value::on).unwrap_or(false);
    draft.spec.balloon_options = BalloonOptions {
        deflate_on_oom: on("autodeflate"),
        free_page_reporting: on("freePageReporting"),
        virtio: Virtio { revision: revision(Some(model)), ..driver(balloon) },
    };
    balloon.waive_parts(&["stats"], &TUNING);
    common(balloon);
}
