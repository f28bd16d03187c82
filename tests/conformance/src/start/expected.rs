//! The devices that a spec asks for: by the id that the driver gives them, and QEMU's types of which one has to be there.
//!
//! Written from the spec alone, beside the code that makes the command line, so that a device which that code forgets is
//! missed here.

use std::collections::BTreeMap;

use witvirt_core::spec::{
    Chipset, ControllerKind, DiskBus, DiskDevice, GenerationId, InputBus, InputKind, MachineSpec, NicModel,
    PanicDevice, TpmModel, VideoModel, WatchdogModel,
};

type Types = &'static [&'static str];

pub(super) fn expected(spec: &MachineSpec) -> BTreeMap<String, Types> {
    let mut devices = BTreeMap::new();
    let mut add = |id: String, types: Types| {
        devices.insert(id, types);
    };
    for (index, disk) in spec.disks.iter().enumerate() {
        add(format!("drive{index}"), drive(disk.bus, disk.device));
    }
    for (index, interface) in spec.interfaces.iter().enumerate() {
        if let Some(types) = card(interface.model) {
            add(format!("nic{index}"), types);
        }
    }
    for (index, video) in spec.videos.iter().enumerate() {
        add(format!("video{index}"), adapter(video.model, index == 0));
    }
    for (index, input) in spec.inputs.iter().enumerate() {
        if let Some(types) = pointer(input.bus, input.kind) {
            add(format!("input{index}"), types);
        }
    }
    for (index, sound) in spec.sounds.iter().enumerate() {
        add(format!("sound{index}"), sound_card(&sound.model));
        for codec in 0..sound.codecs.len() {
            add(format!("sound{index}-codec{codec}"), &["hda-duplex", "hda-micro", "hda-output"]);
        }
    }
    for index in 0..spec.serials.len() {
        add(format!("serial{index}"), &["isa-serial"]);
    }
    for index in 0..spec.consoles.len() {
        add(format!("virtconsole{index}"), &["virtconsole"]);
    }
    for index in 0..spec.channels.len() {
        add(format!("virtport{index}"), &["virtserialport"]);
    }
    controllers(spec, &mut add);
    board(spec, &mut add);
    devices
}

fn drive(bus: DiskBus, device: DiskDevice) -> Types {
    match (bus, device) {
        (DiskBus::Virtio, _) => {
            &["virtio-blk-pci", "virtio-blk-pci-transitional", "virtio-blk-pci-non-transitional"]
        }
        (DiskBus::Nvme, _) => &["nvme"],
        (DiskBus::Fdc, _) => &["floppy"],
        (DiskBus::Scsi | DiskBus::Usb, DiskDevice::Cdrom) => &["scsi-cd"],
        (DiskBus::Scsi, _) => &["scsi-hd"],
        (DiskBus::Usb, _) => &["usb-storage"],
        (DiskBus::Ide | DiskBus::Sata, DiskDevice::Cdrom) => &["ide-cd"],
        (DiskBus::Ide | DiskBus::Sata, _) => &["ide-hd"],
    }
}

fn card(model: NicModel) -> Option<Types> {
    Some(match model {
        NicModel::Virtio => &["virtio-net-pci"],
        NicModel::VirtioTransitional => &["virtio-net-pci-transitional"],
        NicModel::VirtioNonTransitional => &["virtio-net-pci-non-transitional"],
        NicModel::E1000 => &["e1000"],
        NicModel::E1000e => &["e1000e"],
        NicModel::Rtl8139 => &["rtl8139"],
        NicModel::Ne2kPci => &["ne2k_pci"],
        NicModel::Pcnet => &["pcnet"],
        NicModel::Vmxnet3 => &["vmxnet3"],
        NicModel::UsbNet => &["usb-net"],
        // Cards of which the names are the types; hypervisor/tests/devices.rs starts each.
        _ => return None,
    })
}

fn adapter(model: VideoModel, first: bool) -> Types {
    match (model, first) {
        (VideoModel::Vga, true) => &["VGA"],
        (VideoModel::Vga, false) => &["secondary-vga"],
        (VideoModel::Cirrus, _) => &["cirrus-vga"],
        (VideoModel::Vmvga, _) => &["vmware-svga"],
        (VideoModel::Qxl, true) => &["qxl-vga"],
        (VideoModel::Qxl, false) => &["qxl"],
        (VideoModel::Virtio, true) => &["virtio-vga"],
        (VideoModel::Virtio, false) => &["virtio-gpu-pci"],
        (VideoModel::Bochs, _) => &["bochs-display"],
        (VideoModel::Ramfb, _) => &["ramfb"],
    }
}

fn pointer(bus: InputBus, kind: InputKind) -> Option<Types> {
    Some(match (bus, kind) {
        (InputBus::Ps2, _) => return None,
        (InputBus::Usb, InputKind::Keyboard) => &["usb-kbd"],
        (InputBus::Usb, InputKind::Mouse) => &["usb-mouse"],
        (InputBus::Usb, InputKind::Tablet) => &["usb-tablet"],
        (InputBus::Virtio, InputKind::Keyboard) => &["virtio-keyboard-pci"],
        (InputBus::Virtio, InputKind::Mouse) => &["virtio-mouse-pci"],
        (InputBus::Virtio, InputKind::Tablet) => &["virtio-tablet-pci"],
    })
}

fn sound_card(model: &str) -> Types {
    match model {
        "ich6" => &["intel-hda"],
        "ich9" => &["ich9-intel-hda"],
        "ac97" => &["AC97"],
        "es1370" => &["ES1370"],
        "sb16" => &["sb16"],
        "usb" => &["usb-audio"],
        _ => &["virtio-sound-pci"],
    }
}

fn controllers(spec: &MachineSpec, add: &mut impl FnMut(String, Types)) {
    for controller in &spec.controllers {
        let index = controller.index;
        let model = controller.model.as_deref();
        match controller.kind {
            ControllerKind::Usb => {
                let types: Types = match model {
                    None | Some("qemu-xhci") => &["qemu-xhci"],
                    Some("nec-xhci") => &["nec-usb-xhci"],
                    Some("piix3-uhci") => &["piix3-usb-uhci"],
                    Some("piix4-uhci") => &["piix4-usb-uhci"],
                    Some("pci-ohci") => &["pci-ohci"],
                    Some("ehci") => &["usb-ehci"],
                    Some("ich9-ehci1") => &["ich9-usb-ehci1"],
                    Some(_) => continue,
                };
                add(format!("usb{index}"), types);
            }
            ControllerKind::Scsi => {
                let types: Types = match model {
                    None | Some("virtio-scsi") => &[
                        "virtio-scsi-pci",
                        "virtio-scsi-pci-transitional",
                        "virtio-scsi-pci-non-transitional",
                    ],
                    Some("lsilogic") => &["lsi53c895a"],
                    Some("lsisas1068") => &["mptsas1068"],
                    Some("vmpvscsi") => &["pvscsi"],
                    Some("megasas") => &["megasas"],
                    Some(_) => continue,
                };
                add(format!("scsi{index}"), types);
            }
            ControllerKind::Sata if spec.chipset == Chipset::Pc || index > 0 => {
                add(format!("sata{index}"), &["ich9-ahci"]);
            }
            ControllerKind::VirtioSerial => add(
                format!("serials{index}"),
                &[
                    "virtio-serial-pci",
                    "virtio-serial-pci-transitional",
                    "virtio-serial-pci-non-transitional",
                ],
            ),
            ControllerKind::PcieRootPort => add(format!("port{index}"), &["pcie-root-port"]),
            ControllerKind::PciBridge => add(format!("bridge{index}"), &["pci-bridge"]),
            ControllerKind::Sata | ControllerKind::Ide => {}
        }
    }
}

fn board(spec: &MachineSpec, add: &mut impl FnMut(String, Types)) {
    if spec.rng.is_some() {
        add(
            "rng".to_owned(),
            &["virtio-rng-pci", "virtio-rng-pci-transitional", "virtio-rng-pci-non-transitional"],
        );
    }
    if spec.balloon {
        add(
            "balloon".to_owned(),
            &["virtio-balloon-pci", "virtio-balloon-pci-transitional", "virtio-balloon-pci-non-transitional"],
        );
    }
    match spec.watchdog.as_ref().map(|watchdog| watchdog.model) {
        Some(WatchdogModel::I6300esb) => add("watchdog".to_owned(), &["i6300esb"]),
        Some(WatchdogModel::Ib700) => add("watchdog".to_owned(), &["ib700"]),
        Some(WatchdogModel::Itco) | None => {}
    }
    match spec.tpm.as_ref().map(|tpm| tpm.model) {
        Some(TpmModel::Tis) => add("tpm-device".to_owned(), &["tpm-tis"]),
        Some(TpmModel::Crb) => add("tpm-device".to_owned(), &["tpm-crb"]),
        None => {}
    }
    if spec.board.vmcoreinfo {
        add("vmcoreinfo".to_owned(), &["vmcoreinfo"]);
    }
    if let Some(GenerationId::Auto | GenerationId::Fixed(_)) = spec.board.generation_id {
        add("generation-id".to_owned(), &["vmgenid"]);
    }
    for panic in &spec.board.panic {
        match panic {
            PanicDevice::Isa => add("panic-isa".to_owned(), &["pvpanic"]),
            PanicDevice::Pci => add("panic-pci".to_owned(), &["pvpanic-pci"]),
            PanicDevice::Hyperv => {}
        }
    }
}
