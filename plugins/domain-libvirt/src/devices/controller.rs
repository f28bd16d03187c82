//! Controllers.

use witvirt_sdk::core::ByteSize;
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{Chipset, Controller, ControllerKind, DiskBus, Virtio, VirtioRevision};

use super::{common, revision, virtio};
use crate::document::{DETAIL, Element, PLACEMENT, TUNING, Value, Waiver};
use crate::draft::Draft;
use crate::memory::size;

const COMPANION: Waiver =
    Waiver::info("libvirt.controller.companion", "comes with ich9-ehci1 of the same index");
const NO_USB: Waiver =
    Waiver::info("libvirt.controller.usb", "there is a USB controller only where a device needs one");
const BRIDGE: Waiver = Waiver::info("libvirt.controller.pci", "witvirt arranges PCI buses itself");
const MODEL: Waiver =
    Waiver::warning("libvirt.controller.model", "not available: the usual controller of its kind");
const UNSUPPORTED: Waiver =
    Waiver::warning("libvirt.controller.unsupported", "witvirt has no such controller");

pub(crate) fn read<'a>(controller: Element<'a>, draft: &mut Draft<'a>) {
    let Some(kind) = controller.required("type") else { return };
    let index = controller.attribute("index").and_then(Value::number::<u32>).unwrap_or(0);
    let model = controller.attribute("model");
    let made = match kind.text {
        "usb" => {
            draft.usb = true;
            usb(controller, model)
        }
        "scsi" => Some((ControllerKind::Scsi, scsi_model(controller, model))),
        "sata" => {
            expect_model(model, "ahci");
            let built_in = index == 0 && draft.spec.chipset == Chipset::Q35;
            (!built_in).then_some((ControllerKind::Sata, None))
        }
        "ide" => ide(controller, model, index, draft.spec.chipset),
        "virtio-serial" => Some((ControllerKind::VirtioSerial, None)),
        "pci" => pci(controller, model, draft),
        "fdc" | "isa" => None,
        "ccid" | "xenbus" | "nvme" => return controller.waive(&UNSUPPORTED),
        _ => {
            kind.choose(&[
                ("usb", ()),
                ("scsi", ()),
                ("sata", ()),
                ("ide", ()),
                ("virtio-serial", ()),
                ("pci", ()),
                ("fdc", ()),
            ]);
            None
        }
    };
    let revision = revision(model).filter(|_| matches!(kind.text, "virtio-serial" | "scsi"));
    if matches!(kind.text, "virtio-serial") && revision.is_none() {
        expect_model(model, "virtio");
    }
    if let Some((kind, model)) = made {
        let rest = details(controller, kind, revision);
        draft.made_from("controllers", draft.spec.controllers.len(), controller);
        draft.spec.controllers.push(Controller { kind, index, model, ..rest });
    }
    read_rest(controller);
}

/// What only some kinds of controllers have.
fn details(controller: Element<'_>, kind: ControllerKind, revision: Option<VirtioRevision>) -> Controller {
    let driver = controller.child("driver");
    let of_driver = |name: &str| driver.and_then(|driver| driver.attribute(name));
    let mut made = Controller { virtio: Virtio { revision, ..Virtio::default() }, ..usual(kind, 0, None) };
    if matches!(kind, ControllerKind::Usb | ControllerKind::VirtioSerial) {
        made.ports = controller.attribute("ports").and_then(Value::number);
    }
    if kind == ControllerKind::VirtioSerial {
        made.vectors = controller.attribute("vectors").and_then(Value::number);
    }
    if kind == ControllerKind::Scsi {
        made.queues = of_driver("queues").and_then(Value::number);
        made.commands_per_lun = of_driver("cmd_per_lun").and_then(Value::number);
        made.max_sectors = of_driver("max_sectors").and_then(Value::number);
    }
    if let Some(driver) =
        driver.filter(|_| matches!(kind, ControllerKind::Scsi | ControllerKind::VirtioSerial))
    {
        made.virtio = Virtio { revision, ..virtio(driver) };
    }
    made
}

fn usual(kind: ControllerKind, index: u32, model: Option<&str>) -> Controller {
    Controller {
        kind,
        index,
        model: model.map(str::to_owned),
        ports: None,
        vectors: None,
        queues: None,
        commands_per_lun: None,
        max_sectors: None,
        virtio: Virtio::default(),
    }
}

fn read_rest(controller: Element<'_>) {
    controller.waive_parts(&["@ports", "@vectors"], &DETAIL);
    controller.waive_parts(&["target", "model", "master"], &PLACEMENT);
    if let Some(driver) = controller.child("driver") {
        driver.waive_parts(&["@ioeventfd", "@iothread", "@event_idx", "iothreads"], &TUNING);
    }
    common(controller);
}

fn expect_model(model: Option<Value<'_>>, usual: &str) {
    if let Some(model) = model.filter(|model| model.text != usual) {
        model.waive(&MODEL);
    }
}

fn usb(controller: Element<'_>, model: Option<Value<'_>>) -> Option<(ControllerKind, Option<String>)> {
    let name = match model.map(|model| (model, model.text)) {
        // libvirt's default, whatever the board.
        None | Some((_, "default")) => {
            controller.report(Severity::Info, "libvirt.default.usb", || {
                "no model: \"piix3-uhci\", as under libvirt".to_owned()
            });
            Some("piix3-uhci".to_owned())
        }
        Some((model, "none")) => {
            model.waive(&NO_USB);
            return None;
        }
        Some((model, "ich9-uhci1" | "ich9-uhci2" | "ich9-uhci3")) => {
            model.waive(&COMPANION);
            controller.waive_parts(&["master"], &PLACEMENT);
            return None;
        }
        Some((
            _,
            name @ ("piix3-uhci" | "piix4-uhci" | "ich9-ehci1" | "nec-xhci" | "qemu-xhci" | "pci-ohci"),
        )) => Some(name.to_owned()),
        Some((model, "ehci" | "vt82c686b-uhci")) => {
            model.waive(&MODEL);
            None
        }
        Some((model, _)) => {
            model.refuse("one of piix3-uhci, piix4-uhci, ich9-ehci1, nec-xhci, qemu-xhci, pci-ohci, none");
            None
        }
    };
    Some((ControllerKind::Usb, name))
}

/// QEMU's device behind libvirt's model name; libvirt's default on x86 is the LSI 53C895A.
fn scsi_model(controller: Element<'_>, model: Option<Value<'_>>) -> Option<String> {
    let name = match model.map(|model| (model, model.text)) {
        None | Some((_, "auto")) => {
            controller.report(Severity::Info, "libvirt.default.scsi", || {
                "no model: \"lsilogic\", as under libvirt".to_owned()
            });
            "lsilogic"
        }
        Some((_, name @ ("virtio-scsi" | "lsilogic" | "lsisas1068" | "vmpvscsi"))) => name,
        Some((_, "lsisas1078")) => "megasas",
        Some((_, "virtio-transitional" | "virtio-non-transitional")) => "virtio-scsi",
        Some((model, _)) => {
            model.refuse("one of virtio-scsi, lsilogic, lsisas1068, lsisas1078, vmpvscsi");
            return None;
        }
    };
    Some(name.to_owned())
}

fn ide(
    controller: Element<'_>,
    model: Option<Value<'_>>,
    index: u32,
    chipset: Chipset,
) -> Option<(ControllerKind, Option<String>)> {
    if let Some(model) = model {
        model.choose(&[("piix3", ()), ("piix4", ()), ("ich6", ())]);
    }
    if index > 0 || chipset == Chipset::Q35 {
        controller.report(Severity::Error, "libvirt.controller.ide", || {
            "there is one IDE controller, on the board of \"pc\"".to_owned()
        });
    }
    None
}

fn pci(
    controller: Element<'_>,
    model: Option<Value<'_>>,
    draft: &mut Draft<'_>,
) -> Option<(ControllerKind, Option<String>)> {
    let model = model?;
    match model.text {
        "pci-root" | "pcie-root" => {
            if let Some(hole) = controller.child("pcihole64") {
                draft.spec.board.pci_hole64 = size(hole).map(ByteSize);
            }
            None
        }
        "pcie-root-port" => Some((ControllerKind::PcieRootPort, None)),
        "pci-bridge" => Some((ControllerKind::PciBridge, None)),
        "dmi-to-pci-bridge"
        | "pcie-to-pci-bridge"
        | "pcie-switch-upstream-port"
        | "pcie-switch-downstream-port"
        | "pci-expander-bus"
        | "pcie-expander-bus" => {
            model.waive(&BRIDGE);
            controller.waive_parts(&["target", "model"], &PLACEMENT);
            None
        }
        _ => {
            model.refuse("one of pci-root, pcie-root, pcie-root-port, pci-bridge");
            None
        }
    }
}

/// The controller that libvirt adds where the document does not speak of any.
pub(super) fn add_usb(place: Element<'_>, draft: &mut Draft<'_>) {
    if draft.usb {
        return;
    }
    let model = match draft.spec.chipset {
        Chipset::Pc => "piix3-uhci",
        Chipset::Q35 => "qemu-xhci",
    };
    place.report(Severity::Info, "libvirt.default.usb", || {
        format!("no USB controller: \"{model}\", as under libvirt; model='none' leaves it out")
    });
    draft.spec.controllers.push(usual(ControllerKind::Usb, 0, Some(model)));
}

/// The controller that libvirt adds for SCSI disks without one.
pub(super) fn add_scsi(draft: &mut Draft<'_>) {
    let wanted = draft
        .spec
        .disks
        .iter()
        .filter(|disk| disk.bus == DiskBus::Scsi)
        .map(|disk| disk.controller.unwrap_or(0));
    let wanted: std::collections::BTreeSet<u32> = wanted.collect();
    for index in wanted {
        let has =
            |controller: &Controller| controller.kind == ControllerKind::Scsi && controller.index == index;
        if draft.spec.controllers.iter().any(has) {
            continue;
        }
        draft.domain.report(Severity::Info, "libvirt.default.scsi", || {
            format!("no SCSI controller {index}: an \"lsilogic\", as under libvirt")
        });
        draft.spec.controllers.push(usual(ControllerKind::Scsi, index, Some("lsilogic")));
    }
}
