use std::path::Path;

use serde_json::{Value, json};
use witvirt_core::spec::MachineSpec;

use super::{BlockDescriptor, Descriptors, Machine, Permissions, build, disk_of_node};
use crate::accelerator::Accelerator;
use crate::{Error, ErrorKind};

fn spec(fields: Value) -> MachineSpec {
    let mut spec = json!({ "name": "m", "memory": "64MiB", "uuid": "6c1f4f3e-8f0a-5a3b-9d0c-1b8a0d5a7e11" });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

/// Descriptors as a launch would number them: every disk with a source is a raw file, the first an overlay.
fn descriptors(spec: &MachineSpec) -> Descriptors {
    let disks = spec.disks.iter().enumerate().map(|(index, disk)| {
        disk.source.as_ref()?;
        let fd = 20 + 2 * index as i32;
        let raw = |fd, read_only| BlockDescriptor::Raw { fd, read_only, block_device: index == 1 };
        if index == 0 && !disk.read_only {
            return Some(BlockDescriptor::Overlay {
                fd,
                read_only: false,
                backing: Box::new(raw(fd + 1, true)),
            });
        }
        Some(raw(fd, disk.read_only))
    });
    Descriptors {
        qmp: 10,
        console: 11,
        console_log: 12,
        disks: disks.collect(),
        kernel: spec.boot.kernel.is_some().then_some(13),
        initrd: spec.boot.initrd.is_some().then_some(14),
        firmware_code: matches!(spec.boot.firmware, witvirt_core::spec::Firmware::Uefi { .. }).then_some(15),
        firmware_vars: matches!(spec.boot.firmware, witvirt_core::spec::Firmware::Uefi { .. }).then_some(16),
        tpm: spec.tpm.is_some().then_some(17),
        paths: Default::default(),
    }
}

fn arguments(fields: Value, accelerator: Accelerator, allowed: &[&str]) -> Result<Vec<String>, Error> {
    let spec = spec(fields);
    let permissions = Permissions {
        arguments: allowed.iter().map(|&name| name.to_owned()).collect(),
        vnc_addresses: vec!["192.0.2.1".parse().unwrap()],
    };
    let descriptors = descriptors(&spec);
    build(&Machine { spec: &spec, accelerator, descriptors: &descriptors, permissions: &permissions })
}

/// Compares with a file of one argument per line; WITVIRT_WRITE_GOLDEN=1 writes it anew.
fn golden(name: &str, fields: Value, accelerator: Accelerator) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.args"));
    let text = arguments(fields, accelerator, &[]).unwrap().join("\n") + "\n";
    if std::env::var_os("WITVIRT_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{}", path.display());
}

/// QEMU looks into the header of an overlay for the name of what is below wherever that is given without a file of its own.
#[test]
fn a_served_base_is_a_node_that_the_overlay_names() {
    let spec = spec(json!({ "disks": [{ "name": "root", "source": { "image": "a" } }] }));
    let served = BlockDescriptor::Served { directory: 30, socket: "disk0.sock".to_owned() };
    let overlay = BlockDescriptor::Overlay { fd: 20, read_only: false, backing: Box::new(served) };
    let descriptors = Descriptors { disks: vec![Some(overlay)], ..descriptors(&spec) };
    let permissions = Permissions::default();
    let machine = Machine {
        spec: &spec,
        accelerator: Accelerator::Tcg,
        descriptors: &descriptors,
        permissions: &permissions,
    };
    let arguments = build(&machine).unwrap();
    let nodes: Vec<Value> = arguments
        .iter()
        .zip(&arguments[1..])
        .filter(|(option, _)| *option == "-blockdev")
        .map(|(_, node)| serde_json::from_str(node).unwrap())
        .collect();
    assert_eq!((&nodes[0]["node-name"], &nodes[1]["backing"]), (&json!("base0"), &json!("base0")));
    assert_eq!(nodes[0]["file"]["server"]["path"], "/proc/self/fd/30/disk0.sock");
    assert_eq!(nodes[0]["read-only"], true);
    assert!(nodes[0]["file"]["reconnect-delay"].as_u64().unwrap() > 86_400 * 365);
}

#[test]
fn smallest() {
    golden("smallest", json!({}), Accelerator::Tcg);
}

#[test]
fn linux_on_kvm() {
    let fields = json!({
        "boot": { "kernel": "/k", "initrd": "/i", "cmdline": "console=ttyS0 a,b" },
        "cpu": { "count": 2, "features": [{ "name": "vmx", "policy": "disable" }] },
        "disks": [
            { "name": "root", "source": { "image": "debian" }, "serial": "a,b=c", "cache": "none", "io": "native" },
            { "name": "data", "source": { "volume": { "name": "data" } }, "bus": "scsi", "boot-index": 3 },
        ],
        "interfaces": [{ "forwards": [{ "host-port": 2222, "guest-port": 22 }] }],
        "consoles": [{ "target": "virtio" }], "rng": {}, "balloon": true,
    });
    golden("linux-on-kvm", fields, Accelerator::Kvm);
}

#[test]
fn windows_with_secure_boot() {
    let fields = json!({
        "boot": { "firmware": { "uefi": { "code": "/c", "vars-template": "/v", "secure": true } }, "order": ["cdrom", "disk"] },
        "clock": { "base": "localtime", "timers": [
            { "name": "rtc", "tick": "catchup" }, { "name": "pit", "tick": "delay" }, { "name": "hpet", "present": false },
            { "name": "hypervclock" }] },
        "disks": [
            { "name": "c", "source": { "image": "win" }, "bus": "sata", "error-policy": "stop" },
            { "name": "setup", "device": "cdrom", "bus": "sata", "source": { "image": "iso" }, "read-only": true },
            { "name": "drivers", "device": "floppy", "bus": "fdc" }],
        "interfaces": [{ "model": "e1000e", "mac": "52:54:00:12:34:56" }],
        "vnc": { "address": "192.0.2.1", "port": 5901, "websocket": 5701 },
        "videos": [{ "model": "qxl", "vram-kib": 65536 }], "inputs": [{ "kind": "tablet", "bus": "usb" }],
        "tpm": { "model": "crb" }, "sounds": [{ "model": "ich9" }],
        "watchdog": { "model": "i6300esb", "action": "reset" },
        "smbios": { "tables": [{ "type": 11, "fields": [["value", "a,path=/etc/shadow"]] }] },
    });
    golden("windows-with-secure-boot", fields, Accelerator::Tcg);
}

#[test]
fn old_pc() {
    let fields = json!({
        "chipset": "pc",
        "disks": [
            { "name": "a", "source": { "image": "a" }, "bus": "ide" },
            { "name": "b", "source": { "image": "b" }, "bus": "ide", "cache": "unsafe" },
            { "name": "cd", "device": "cdrom", "bus": "ide", "boot-index": 1 },
            { "name": "fd", "device": "floppy", "bus": "fdc", "source": { "image": "fd" }, "boot-index": 2 }],
        "interfaces": [{ "model": "ne2k-isa" }, { "model": "rtl8139", "source": "none" }],
        "controllers": [{ "kind": "usb", "model": "piix3-uhci" }],
        "inputs": [{ "kind": "mouse", "bus": "usb" }], "serials": [{ "port": 1 }, {}],
    });
    golden("old-pc", fields, Accelerator::Tcg);
}

/// What cannot be honoured is refused where it stands, and never dropped.
#[test]
fn refusals_name_the_field() {
    let disk = |fields: Value| {
        let mut disk = json!({ "name": "d", "source": { "image": "d" } });
        disk.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "disks": [disk] })
    };
    let timer = |fields: Value| json!({ "clock": { "timers": [fields] } });
    for (fields, path) in [
        (json!({ "cpu": { "model": "host" } }), "cpu.model: "),
        (disk(json!({ "serial": "123456789012345678901" })), "disks[0].serial: "),
        (disk(json!({ "io": "native" })), "disks[0].io: "),
        (disk(json!({ "bus": "ide" })), "disks[0].bus: "),
        (disk(json!({ "bus": "sata", "read-only": true })), "disks[0].read-only: "),
        (disk(json!({ "bus": "sata", "logical-block-size": 4096 })), "disks[0].logical-block-size: "),
        (disk(json!({ "bus": "nvme", "error-policy": "stop" })), "disks[0].error-policy: "),
        (disk(json!({ "controller": 1 })), "disks[0].controller: "),
        (json!({ "interfaces": [{ "model": "e1000", "mtu": 1400 }] }), "interfaces[0].mtu: "),
        (
            json!({ "interfaces": [{ "forwards": [{ "address": "::1", "host-port": 1, "guest-port": 1 }] }] }),
            "interfaces[0].forwards[0].address: ",
        ),
        (json!({ "inputs": [{ "kind": "tablet", "bus": "ps2" }] }), "inputs[0]: "),
        (json!({ "videos": [{ "model": "vga", "vram-kib": 3 }] }), "videos[0].vram-kib: "),
        (json!({ "videos": [{ "model": "vga", "heads": 2 }] }), "videos[0].heads: "),
        (json!({ "videos": [{ "model": "vga" }, { "model": "cirrus" }] }), "videos[1].model: "),
        (json!({ "sounds": [{ "model": "gus" }] }), "sounds[0].model: "),
        (json!({ "rng": { "period-ms": 5 } }), "rng.period-ms: "),
        (json!({ "chipset": "pc", "watchdog": { "model": "itco", "action": "reset" } }), "watchdog.model: "),
        (json!({ "controllers": [{ "kind": "ide" }] }), "controllers[0]: "),
        (json!({ "controllers": [{ "kind": "usb", "model": "x" }] }), "controllers: usb 0: "),
        (json!({ "controllers": [{ "kind": "scsi" }, { "kind": "scsi" }] }), "controllers[1].index: "),
        (json!({ "chipset": "pc", "controllers": [{ "kind": "pcie-root-port" }] }), "controllers[0]: "),
        (
            json!({ "smbios": { "tables": [{ "type": 11, "fields": [["path", "/etc/shadow"]] }] } }),
            "smbios.tables[0]: ",
        ),
        (json!({ "smbios": { "tables": [{ "type": 4, "fields": [] }] } }), "smbios.tables[0].type: "),
        (timer(json!({ "name": "rtc", "present": false })), "clock.timers[0].present: "),
        (timer(json!({ "name": "pit", "tick": "merge" })), "clock.timers[0].tick: "),
        (timer(json!({ "name": "hpet", "frequency": 1 })), "clock.timers[0].frequency: "),
        (timer(json!({ "name": "sundial" })), "clock.timers[0].name: "),
    ] {
        let error =
            arguments(fields.clone(), Accelerator::Tcg, &[]).err().unwrap_or_else(|| panic!("{fields}"));
        assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
        assert!(error.message.starts_with(path), "{error}");
    }
}

#[test]
fn only_named_arguments_pass_and_none_is_a_disk() {
    let run = |words: &[&str], allowed: &[&str]| {
        arguments(json!({ "qemu-arguments": words }), Accelerator::Tcg, allowed)
    };
    let arguments = run(&["-cpu", "max", "--no-reboot"], &["cpu", "no-reboot"]).unwrap();
    assert_eq!(&arguments[arguments.len() - 3..], ["-cpu", "max", "-no-reboot"]);
    for words in [
        &["-drive", "file=/etc/shadow"][..],
        &["/etc/shadow"],
        &["-no-reboot", "/etc/shadow"],
        &["-cpu", "max", "/etc/shadow"],
        &["-cpu", "-no-reboot", "/etc/shadow"],
        &["-cpu"],
        &["-"],
        &[""],
    ] {
        let error = run(words, &["cpu", "no-reboot"]).err().unwrap_or_else(|| panic!("{words:?}"));
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    }
}

#[test]
fn a_vnc_address_has_to_be_allowed() {
    let run = |address: &str| arguments(json!({ "vnc": { "address": address } }), Accelerator::Tcg, &[]);
    assert!(run("::1").unwrap().contains(&"[::1]:0,to=1000".to_owned()));
    assert!(run("192.0.2.1").is_ok());
    assert_eq!(run("0.0.0.0").unwrap_err().kind, ErrorKind::Denied);
}

#[test]
fn nodes_name_their_disks() {
    assert_eq!(disk_of_node("disk0-root"), Some("root"));
    assert_eq!(disk_of_node("disk12-a-b"), Some("a-b"));
    for other in ["flash0", "disk-root", "diskx-root", "#block123", ""] {
        assert_eq!(disk_of_node(other), None);
    }
    let long = "x".repeat(63);
    let disks = json!([{ "name": long, "source": { "image": "a" } }]);
    let arguments = arguments(json!({ "disks": disks }), Accelerator::Tcg, &[]).unwrap();
    let node = format!("\"node-name\":\"disk0-{}\"", "x".repeat(25));
    assert!(arguments.iter().any(|argument| argument.contains(&node)));
}
