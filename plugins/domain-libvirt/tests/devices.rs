//! Everything in `<devices>` but disks.

mod support;

use std::net::IpAddr;

use support::{assert_quiet, errors, run, run_with, warnings, with_devices};
use witvirt_sdk::core::spec::{
    ControllerKind, InputBus, InputKind, InterfaceSource, NicModel, Protocol, TpmModel, VideoModel,
    WatchdogAction, WatchdogModel,
};

fn q35(devices: &str) -> String {
    with_devices("q35", devices)
}

/// Every network card that libvirt passes on to QEMU on x86, and QEMU's device.
#[test]
fn every_card_has_its_device() {
    for (model, device) in [
        ("virtio", "virtio-net-pci"),
        ("virtio-transitional", "virtio-net-pci-transitional"),
        ("virtio-non-transitional", "virtio-net-pci-non-transitional"),
        ("e1000", "e1000"),
        ("e1000-82544gc", "e1000-82544gc"),
        ("e1000-82545em", "e1000-82545em"),
        ("e1000e", "e1000e"),
        ("igb", "igb"),
        ("rtl8139", "rtl8139"),
        ("ne2k_pci", "ne2k_pci"),
        ("ne2k_isa", "ne2k_isa"),
        ("pcnet", "pcnet"),
        ("tulip", "tulip"),
        ("vmxnet3", "vmxnet3"),
        ("usb-net", "usb-net"),
        ("i82550", "i82550"),
        ("i82551", "i82551"),
        ("i82557a", "i82557a"),
        ("i82557b", "i82557b"),
        ("i82557c", "i82557c"),
        ("i82558a", "i82558a"),
        ("i82558b", "i82558b"),
        ("i82559a", "i82559a"),
        ("i82559b", "i82559b"),
        ("i82559c", "i82559c"),
        ("i82559er", "i82559er"),
        ("i82562", "i82562"),
        ("i82801", "i82801"),
    ] {
        let xml = q35(&format!("<interface type='user'><model type='{model}'/></interface>"));
        let conversion = run(&xml);
        assert_quiet(&conversion, &xml);
        assert_eq!(conversion.machine.interfaces[0].model.device(), device);
    }
    let none = run(&q35("<interface type='user'/>"));
    assert_eq!(none.machine.interfaces[0].model, NicModel::Rtl8139);
    let unknown = run(&q35("<interface type='user'><model type='lan9118'/></interface>"));
    assert_eq!(errors(&unknown), ["libvirt.value.invalid"]);
}

#[test]
fn networks_out_of_reach_follow_the_rule() {
    let card = |attributes: &str, source: &str| {
        q35(&format!("<interface {attributes}>{source}<model type='virtio'/></interface>"))
    };
    let nat = card("type='network'", "<source network='default'/>");
    let lab = card("type='network'", "<source network='lab'/>");
    let bridge = card("type='bridge'", "<source bridge='br0'/>");
    let source = |xml: &str, settings: &str| {
        let conversion = run_with(xml, settings);
        let refused = !errors(&conversion).is_empty();
        assert!(
            refused || warnings(&conversion) == ["libvirt.interface.network"],
            "{:?}",
            conversion.diagnostics
        );
        (!refused).then(|| conversion.machine.interfaces[0].source.clone())
    };
    assert_eq!(source(&nat, "{}"), Some(InterfaceSource::User));
    assert_eq!(source(&nat, r#"{"nat-networks": []}"#), None);
    assert_eq!(source(&lab, r#"{"nat-networks": ["lab"]}"#), Some(InterfaceSource::User));
    for xml in [&lab, &bridge] {
        assert_eq!(source(xml, "{}"), None);
        assert_eq!(source(xml, r#"{"other-networks": "user"}"#), Some(InterfaceSource::User));
        assert_eq!(source(xml, r#"{"other-networks": "unplugged"}"#), Some(InterfaceSource::None));
    }
    for kind in
        ["direct", "ethernet", "vhostuser", "vdpa", "internal", "udp", "server", "client", "mcast", "hostdev"]
    {
        assert_eq!(source(&card(&format!("type='{kind}'"), "<source/>"), "{}"), None, "{kind}");
    }
    // A device of the host is never replaced by something else.
    assert_eq!(source(&card("type='hostdev'", "<source/>"), r#"{"other-networks": "user"}"#), None);
    let null = card("type='null'", "");
    let conversion = run(&null);
    assert_quiet(&conversion, &null);
    assert_eq!(conversion.machine.interfaces[0].source, InterfaceSource::None);
}

#[test]
fn forwards_expand_ranges() {
    let xml = q35("<interface type='user'><backend type='passt'/><model type='virtio'/>\
         <portForward proto='tcp' address='127.0.0.1'><range start='2022' to='22'/><range start='8080' end='8082'/>\
         <range start='8081' exclude='yes'/></portForward><portForward proto='udp'><range start='53'/></portForward>\
         </interface>");
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    let forwards = &conversion.machine.interfaces[0].forwards;
    let ports: Vec<_> = forwards.iter().map(|f| (f.protocol, f.address, f.host_port, f.guest_port)).collect();
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let anywhere = IpAddr::from([0, 0, 0, 0]);
    assert_eq!(
        ports,
        [
            (Protocol::Tcp, loopback, 2022, 22),
            (Protocol::Tcp, loopback, 8080, 8080),
            (Protocol::Tcp, loopback, 8082, 8082),
            (Protocol::Udp, anywhere, 53, 53),
        ]
    );
    for range in [
        "<range start='9' end='1'/>",
        "<range start='65000' end='65100' to='65500'/>",
        "<range start='70000'/>",
    ] {
        let xml = q35(&format!(
            "<interface type='user'><portForward proto='tcp'>{range}</portForward></interface>"
        ));
        assert!(errors(&run(&xml)).contains(&"libvirt.value.invalid"), "{range}");
    }
}

#[test]
fn interfaces_have_addresses_links_and_sizes() {
    let xml = q35(
        "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='e1000e'/><link state='down'/>\
         <mtu size='9000'/><boot order='1'/></interface>",
    );
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    let card = &conversion.machine.interfaces[0];
    assert_eq!(card.mac.unwrap().to_string(), "52:54:00:00:00:01");
    assert_eq!((card.link, card.mtu, card.boot_index), (false, Some(9000), Some(1)));
    for part in [
        "<mac address='01:00:5e:00:00:01'/>",
        "<mac address='x'/>",
        "<mtu size='70000'/>",
        "<link state='?'/>",
    ] {
        let xml = q35(&format!("<interface type='user'>{part}</interface>"));
        assert_eq!(errors(&run(&xml)), ["libvirt.value.invalid"], "{part}");
    }
}

#[test]
fn the_first_console_is_the_first_serial_port() {
    for (devices, serials, consoles) in [
        ("", 0, 0),
        ("<serial type='pty'/>", 1, 0),
        ("<console type='pty'/>", 1, 0),
        ("<console type='pty'><target type='serial' port='0'/></console><serial type='pty'/>", 1, 0),
        ("<console type='pty'><target type='virtio'/></console>", 0, 1),
        (
            "<serial type='pty'/><console type='pty'/><console type='pty'><target type='virtio'/></console>",
            1,
            1,
        ),
    ] {
        let xml = q35(devices);
        let conversion = run(&xml);
        assert_quiet(&conversion, &xml);
        assert_eq!(
            (conversion.machine.serials.len(), conversion.machine.consoles.len()),
            (serials, consoles),
            "{xml}"
        );
    }
    let ports = run(&q35("<serial type='pty'><target port='1'/></serial>"));
    assert_eq!(ports.machine.serials[0].port, Some(1));
    assert_eq!(
        warnings(&run(&q35("<serial type='file'><source path='/x'/></serial>"))),
        ["libvirt.console.backend"]
    );
    assert_eq!(warnings(&run(&q35(&"<console type='pty'/>".repeat(2)))), ["libvirt.console.repeated"]);
    let usb = "<serial type='pty'><target type='usb-serial'/></serial>";
    assert_eq!(errors(&run(&q35(usb))), ["libvirt.serial.unsupported"]);
    assert_eq!(errors(&run(&q35(&"<serial type='pty'/>".repeat(5)))), ["libvirt.machine.invalid"]);
}

#[test]
fn vnc_is_carried_over() {
    let xml = q35(
        "<graphics type='vnc' port='5901' websocket='5701' listen='0.0.0.0' keymap='en-us'/><video><model type='none'/></video>",
    );
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    let vnc = conversion.machine.vnc.unwrap();
    assert_eq!((vnc.port, vnc.websocket, vnc.keymap.as_deref()), (Some(5901), Some(5701), Some("en-us")));
    assert_eq!(vnc.address, IpAddr::from([0, 0, 0, 0]));
    for auto in ["port='-1'", "port='-1' autoport='yes'", "autoport='yes' port='5907'", ""] {
        let vnc = run(&q35(&format!("<graphics type='vnc' {auto}/>"))).machine.vnc.unwrap();
        assert_eq!((vnc.port, vnc.address), (None, IpAddr::from([127, 0, 0, 1])), "{auto}");
    }
    let listen = "<graphics type='vnc' port='5900'><listen type='address' address='::1'/></graphics>";
    assert_eq!(run(&q35(listen)).machine.vnc.unwrap().address, "::1".parse::<IpAddr>().unwrap());
    let password = run(&q35("<graphics type='vnc' passwd='geheim'/>"));
    assert_eq!(errors(&password), ["libvirt.graphics.password"]);
    assert!(!format!("{password:?}").contains("geheim"));
    assert_eq!(errors(&run(&q35("<graphics type='vnc' port='80'/>"))), ["libvirt.machine.invalid"]);
    assert_eq!(errors(&run(&q35("<graphics type='vnc' listen='somewhere'/>"))), ["libvirt.value.invalid"]);
    let spice = run(&q35("<graphics type='spice'><clipboard copypaste='no'/></graphics>"));
    assert_eq!(warnings(&spice), ["libvirt.graphics.unsupported"]);
    assert!(spice.machine.vnc.is_none());
}

#[test]
fn videos_are_given_or_libvirts_default() {
    for (devices, models) in [
        ("<video><model type='qxl' vram='65536' heads='2'/></video>", vec![VideoModel::Qxl]),
        (
            "<video><model type='vga'/></video><video><model type='virtio'/></video>",
            vec![VideoModel::Vga, VideoModel::Virtio],
        ),
        ("<video/>", vec![VideoModel::Cirrus]),
        ("<graphics type='vnc'/>", vec![VideoModel::Cirrus]),
        ("<graphics type='vnc'/><video><model type='none'/></video>", vec![]),
        ("", vec![]),
    ] {
        let xml = q35(devices);
        let conversion = run(&xml);
        assert_quiet(&conversion, &xml);
        assert_eq!(
            conversion.machine.videos.iter().map(|video| video.model).collect::<Vec<_>>(),
            models,
            "{xml}"
        );
    }
    assert_eq!(errors(&run(&q35("<video><model type='vbox'/></video>"))), ["libvirt.value.invalid"]);
}

#[test]
fn small_devices_are_carried_over() {
    let xml = q35(
        "<input type='tablet' bus='usb'/><input type='keyboard' bus='virtio'/><input type='mouse'/>\
         <rng model='virtio'><rate bytes='1024' period='2000'/><backend model='random'>/dev/urandom</backend></rng>\
         <watchdog model='i6300esb' action='poweroff'/>\
         <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm><sound model='ich9'/><sound model='ac97'/>",
    );
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    let machine = conversion.machine;
    let inputs: Vec<_> = machine.inputs.iter().map(|input| (input.kind, input.bus)).collect();
    assert_eq!(
        inputs,
        [
            (InputKind::Tablet, InputBus::Usb),
            (InputKind::Keyboard, InputBus::Virtio),
            (InputKind::Mouse, InputBus::Ps2)
        ]
    );
    let rng = machine.rng.unwrap();
    assert_eq!((rng.max_bytes, rng.period_ms), (Some(1024), Some(2000)));
    let watchdog = machine.watchdog.unwrap();
    assert_eq!((watchdog.model, watchdog.action), (WatchdogModel::I6300esb, WatchdogAction::Poweroff));
    assert_eq!(machine.tpm.unwrap().model, TpmModel::Crb);
    assert_eq!(machine.sounds.iter().map(|sound| sound.model.as_str()).collect::<Vec<_>>(), ["ich9", "ac97"]);
}

#[test]
fn controllers_are_mapped_or_built_in() {
    use ControllerKind::{PciBridge, PcieRootPort, Sata, Scsi, Usb, VirtioSerial};
    for (attributes, expected) in [
        ("type='usb' model='qemu-xhci'", Some((Usb, Some("qemu-xhci")))),
        ("type='usb'", Some((Usb, Some("piix3-uhci")))),
        ("type='usb' model='none'", None),
        ("type='usb' model='ich9-uhci2'", None),
        ("type='scsi' model='virtio-scsi'", Some((Scsi, Some("virtio-scsi")))),
        ("type='scsi' model='lsisas1078'", Some((Scsi, Some("megasas")))),
        ("type='scsi'", Some((Scsi, Some("lsilogic")))),
        ("type='sata' index='0'", None),
        ("type='sata' index='1'", Some((Sata, None))),
        ("type='virtio-serial'", Some((VirtioSerial, None))),
        ("type='pci' model='pcie-root'", None),
        ("type='pci' index='1' model='pcie-root-port'", Some((PcieRootPort, None))),
        ("type='pci' index='2' model='pci-bridge'", Some((PciBridge, None))),
        ("type='fdc'", None),
    ] {
        let xml = q35(&format!("<controller {attributes}/>"));
        let conversion = run(&xml);
        assert_quiet(&conversion, &xml);
        // Beside the USB controller that libvirt adds.
        let controllers = &conversion.machine.controllers;
        let made = controllers.iter().find(|made| attributes.contains("usb") || made.kind != Usb);
        let made = made.map(|made| (made.kind, made.model.as_deref()));
        assert_eq!(made, expected, "{attributes}");
    }
    for attributes in
        ["type='teapot'", "type='scsi' model='ibmvscsi'", "type='usb' model='x'", "type='pci' model='x'"]
    {
        let conversion = run(&q35(&format!("<controller {attributes}/>")));
        assert_eq!(errors(&conversion), ["libvirt.value.invalid"], "{attributes}");
    }
    assert_eq!(errors(&run(&q35("<controller type='ide'/>"))), ["libvirt.controller.ide"]);
}

#[test]
fn devices_that_witvirt_lacks_are_never_silent() {
    for name in ["hostdev", "filesystem", "vsock", "memory", "shmem", "smartcard", "iommu", "lease", "nvram"]
    {
        assert_eq!(
            errors(&run(&q35(&format!("<{name}><x/></{name}>")))),
            ["libvirt.device.unsupported"],
            "{name}"
        );
    }
    for name in ["channel", "redirdev", "redirfilter", "hub", "crypto", "pstore", "parallel"] {
        assert_eq!(
            warnings(&run(&q35(&format!("<{name}><x/></{name}>")))),
            ["libvirt.device.unsupported"],
            "{name}"
        );
    }
    for device in
        ["<tpm><backend type='passthrough'/></tpm>", "<tpm><backend type='emulator' version='1.2'/></tpm>"]
    {
        assert_eq!(errors(&run(&q35(device))).len(), 1, "{device}");
    }
}
