//! Entropy, watchdog, TPM, sound and balloon.

use serde_json::{Map, Value, json};
use witvirt_core::spec::{Chipset, Rng, TpmModel, Watchdog, WatchdogAction, WatchdogModel};

use super::board::Board;
use super::{Machine, unsupported};
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
        card(index, &sound.model, board)?;
    }
    if spec.balloon {
        board.pci_device(json!({ "driver": "virtio-balloon-pci", "id": "balloon" }))?;
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

fn card(index: usize, model: &str, board: &mut Board<'_>) -> Result<(), Error> {
    let id = format!("sound{index}");
    let pci = match model {
        "ac97" => "AC97",
        "es1370" => "ES1370",
        "virtio" => "virtio-sound-pci",
        "ich6" | "ich9" => {
            let driver = if model == "ich6" { "intel-hda" } else { "ich9-intel-hda" };
            board.pci_device(json!({ "driver": driver, "id": id }))?;
            let codec = format!("{id}-codec");
            let bus = format!("{id}.0");
            board.device(&json!({ "driver": "hda-duplex", "id": codec, "bus": bus, "audiodev": "audio" }));
            return Ok(());
        }
        "sb16" => {
            board.device(&json!({ "driver": "sb16", "id": id, "audiodev": "audio" }));
            return Ok(());
        }
        "usb" => {
            board.device(&json!({ "driver": "usb-audio", "id": id, "bus": "usb0.0", "audiodev": "audio" }));
            return Ok(());
        }
        other => {
            let known = "ich6, ich9, ac97, es1370, sb16, usb, virtio";
            return Err(unsupported(
                format!("sounds[{index}].model"),
                format!("no card \"{other}\"; use {known}"),
            ));
        }
    };
    board.pci_device(json!({ "driver": pci, "id": id, "audiodev": "audio" }))
}
