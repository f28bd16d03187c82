//! Entropy, watchdog, TPM, sound and balloon.

use serde_json::{Map, Value, json};
use witvirt_core::spec::{
    BalloonOptions, Chipset, Codec, GenerationId, PanicDevice, Rng, Sound, TpmModel, Watchdog,
    WatchdogAction, WatchdogModel,
};

use super::board::Board;
use super::{Machine, unsupported, virtio};
use crate::Error;

/// Period of the entropy limit when the spec sets only the bytes, in milliseconds.
const RNG_PERIOD: u32 = 1000;

pub(super) fn plug(machine: &Machine<'_>, board: &mut Board<'_>) -> Result<(), Error> {
    let spec = machine.spec;
    if let Some(rng) = &spec.rng {
        entropy(rng, board)?;
    }
    if let Some(watchdog) = &spec.watchdog {
        guard(watchdog, board)?;
    }
    if let Some(tpm) = &spec.tpm {
        let fd = machine.descriptors.tpm.ok_or_else(|| unsupported("tpm", "no TPM emulator runs"))?;
        let socket = board.socket(fd);
        board.option("-chardev", format!("socket,id=tpm,{socket}"));
        board.option("-tpmdev", "emulator,id=tpm0,chardev=tpm");
        let driver = match tpm.model {
            TpmModel::Tis => "tpm-tis",
            TpmModel::Crb => "tpm-crb",
        };
        board.device(&json!({ "driver": driver, "id": "tpm-device", "tpmdev": "tpm0" }));
    }
    if !spec.sounds.is_empty() {
        board.json("-audiodev", &json!({ "driver": "none", "id": "audio" }));
    }
    for (index, sound) in spec.sounds.iter().enumerate() {
        card(index, sound, board)?;
    }
    if spec.balloon {
        balloon(&spec.balloon_options, board)?;
    }
    board_devices(machine, board)
}

fn balloon(options: &BalloonOptions, board: &mut Board<'_>) -> Result<(), Error> {
    let mut device = Map::new();
    device.insert("driver".to_owned(), json!("virtio-balloon-pci"));
    device.insert("id".to_owned(), json!("balloon"));
    for (property, on) in
        [("deflate-on-oom", options.deflate_on_oom), ("free-page-reporting", options.free_page_reporting)]
    {
        if on {
            device.insert(property.to_owned(), json!(true));
        }
    }
    virtio(&options.virtio, &mut device, "balloon-options")?;
    board.pci_device(Value::Object(device))
}

/// What has no bus of its own.
fn board_devices(machine: &Machine<'_>, board: &mut Board<'_>) -> Result<(), Error> {
    let parts = &machine.spec.board;
    if parts.vmcoreinfo {
        board.device(&json!({ "driver": "vmcoreinfo", "id": "vmcoreinfo" }));
    }
    if let Some(id) = parts.generation_id {
        let guid = match id {
            GenerationId::Auto => "auto".to_owned(),
            GenerationId::Fixed(id) => id.to_string(),
        };
        board.device(&json!({ "driver": "vmgenid", "id": "generation-id", "guid": guid }));
    }
    for panic in &parts.panic {
        match panic {
            PanicDevice::Isa => board.device(&json!({ "driver": "pvpanic", "id": "panic-isa" })),
            PanicDevice::Pci => board.pci_device(json!({ "driver": "pvpanic-pci", "id": "panic-pci" }))?,
            // A flag of the CPU.
            PanicDevice::Hyperv => {}
        }
    }
    Ok(())
}

fn entropy(rng: &Rng, board: &mut Board<'_>) -> Result<(), Error> {
    board.json("-object", &json!({ "qom-type": "rng-builtin", "id": "entropy" }));
    let mut device = Map::new();
    device.insert("driver".to_owned(), json!("virtio-rng-pci"));
    device.insert("id".to_owned(), json!("rng"));
    device.insert("rng".to_owned(), json!("entropy"));
    if let Some(bytes) = rng.max_bytes {
        device.insert("max-bytes".to_owned(), json!(bytes));
        device.insert("period".to_owned(), json!(rng.period_ms.unwrap_or(RNG_PERIOD)));
    } else if rng.period_ms.is_some() {
        return Err(unsupported("rng.period-ms", "means nothing without max-bytes"));
    }
    virtio(&rng.virtio, &mut device, "rng")?;
    board.pci_device(Value::Object(device))
}

fn guard(watchdog: &Watchdog, board: &mut Board<'_>) -> Result<(), Error> {
    match watchdog.model {
        WatchdogModel::I6300esb => board.pci_device(json!({ "driver": "i6300esb", "id": "watchdog" }))?,
        WatchdogModel::Ib700 => board.device(&json!({ "driver": "ib700", "id": "watchdog" })),
        WatchdogModel::Itco if board.chipset == Chipset::Q35 => {
            board.option("-global", "ICH9-LPC.noreboot=off")
        }
        WatchdogModel::Itco => return Err(unsupported("watchdog.model", "itco is part of the q35 chipset")),
    }
    let action = match watchdog.action {
        WatchdogAction::Reset => "reset",
        WatchdogAction::Shutdown => "shutdown",
        WatchdogAction::Poweroff => "poweroff",
        WatchdogAction::Pause => "pause",
        WatchdogAction::None => "none",
        WatchdogAction::InjectNmi => "inject-nmi",
    };
    board.option("-action", format!("watchdog={action}"));
    Ok(())
}

fn card(index: usize, sound: &Sound, board: &mut Board<'_>) -> Result<(), Error> {
    let id = format!("sound{index}");
    let model = sound.model.as_str();
    let path = format!("sounds[{index}]");
    if !sound.codecs.is_empty() && !matches!(model, "ich6" | "ich9") {
        return Err(unsupported(format!("{path}.codecs"), "only ich6 and ich9 have codecs"));
    }
    if sound.multichannel && model != "usb" {
        return Err(unsupported(format!("{path}.multichannel"), "only for usb"));
    }
    let pci = match model {
        "ac97" => "AC97",
        "es1370" => "ES1370",
        "virtio" => "virtio-sound-pci",
        "ich6" | "ich9" => {
            let driver = if model == "ich6" { "intel-hda" } else { "ich9-intel-hda" };
            board.pci_device(json!({ "driver": driver, "id": id }))?;
            let bus = format!("{id}.0");
            let codecs = if sound.codecs.is_empty() { &[Codec::Duplex][..] } else { &sound.codecs };
            for (number, codec) in codecs.iter().enumerate() {
                let driver = match codec {
                    Codec::Duplex => "hda-duplex",
                    Codec::Micro => "hda-micro",
                    Codec::Output => "hda-output",
                };
                let codec = format!("{id}-codec{number}");
                board.device(
                    &json!({ "driver": driver, "id": codec, "bus": bus, "cad": number, "audiodev": "audio" }),
                );
            }
            return Ok(());
        }
        "sb16" => {
            board.device(&json!({ "driver": "sb16", "id": id, "audiodev": "audio" }));
            return Ok(());
        }
        "usb" => {
            let mut device = json!({ "driver": "usb-audio", "id": id, "bus": "usb0.0", "audiodev": "audio" });
            if let (Some(fields), true) = (device.as_object_mut(), sound.multichannel) {
                fields.insert("multi".to_owned(), json!(true));
            }
            board.device(&device);
            return Ok(());
        }
        other => {
            let known = "ich6, ich9, ac97, es1370, sb16, usb, virtio";
            return Err(unsupported(format!("{path}.model"), format!("no card \"{other}\"; use {known}")));
        }
    };
    let mut device = Map::new();
    device.insert("driver".to_owned(), json!(pci));
    device.insert("id".to_owned(), json!(id));
    device.insert("audiodev".to_owned(), json!("audio"));
    virtio(&sound.virtio, &mut device, &path)?;
    board.pci_device(Value::Object(device))
}
