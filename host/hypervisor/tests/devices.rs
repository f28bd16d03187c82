//! Devices that a real QEMU has to accept, and the process it runs in.

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::{Place, blank, one_disk, qemu_is_installed, read_write, rest, until};
use witvirt_core::spec::NicModel;
use witvirt_hypervisor::{Block, ErrorKind, Hypervisor, Qemu, User};

/// One monitor command, once the driver no longer holds the monitor.
fn ask(run_dir: &Path, command: &str) -> Value {
    let stream = UnixStream::connect(run_dir.join("monitor.sock")).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let mut answer = Value::Null;
    for command in ["qmp_capabilities", command] {
        writeln!(&stream, "{}", json!({ "execute": command })).unwrap();
        answer = loop {
            let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if let Some(answer) = line.get("return") {
                break answer.clone();
            }
        };
    }
    answer
}

/// Starts a machine from a runtime that ends, so that the monitor is free.
fn start_and_leave(driver: Qemu, launch: witvirt_hypervisor::Launch) {
    let daemon = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(driver.start(launch)).unwrap();
        runtime.shutdown_background();
    });
    daemon.join().unwrap();
}

fn raw(file: File) -> Option<Block> {
    Some(Block::Raw { file, read_only: false })
}

#[test]
fn a_disk_on_every_bus() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    for (chipset, buses) in [
        ("q35", &["virtio", "sata", "scsi", "usb", "nvme", "fdc"][..]),
        ("pc", &["virtio", "sata", "scsi", "usb", "nvme", "fdc", "ide"][..]),
    ] {
        let mut disks = Vec::new();
        let mut blocks = Vec::new();
        for bus in buses {
            let device = if *bus == "fdc" { "floppy" } else { "disk" };
            let source = json!({ "volume": { "name": bus } });
            disks.push(json!({ "name": bus, "bus": bus, "device": device, "source": source }));
            let size = if *bus == "fdc" { 1_474_560 } else { 1 << 20 };
            blocks.push(raw(blank(&place.path(&format!("{chipset}-{bus}.raw")), size)));
        }
        for bus in ["sata", "scsi", "usb"] {
            disks.push(json!({ "name": format!("cd-{bus}"), "bus": bus, "device": "cdrom" }));
            blocks.push(None);
        }
        let fields = json!({ "chipset": chipset, "disks": disks });
        start_and_leave(place.driver(), place.launch(chipset, fields, blocks));
        let answer = ask(&place.path(&format!("{chipset}/run")), "query-block");
        let seen = answer.as_array().unwrap();
        assert_eq!(seen.len(), disks.len(), "{answer:#}");
        for (index, bus) in buses.iter().enumerate() {
            let node = format!("disk{index}-{bus}");
            let inserted = seen.iter().any(|drive| drive["inserted"]["node-name"] == json!(node));
            assert!(inserted, "{node} in {answer:#}");
        }
    }
}

#[test]
fn an_overlay_reads_through_and_ignores_the_name_in_its_header() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    let overlay = place.path("overlay.qcow2");
    // The header names a file that is not the backing file given to QEMU.
    let decoy = place.path("decoy.raw");
    blank(&decoy, 1 << 20);
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .args([&decoy, &overlay])
        .status();
    if made.is_err() {
        println!("skipped: qemu-img is not installed");
        return;
    }
    let backing = Block::Raw { file: File::open(place.boot_disk()).unwrap(), read_only: true };
    let block = Block::Overlay { file: read_write(&overlay), backing: Box::new(backing) };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let started = place.driver().start(place.launch("a", one_disk(), vec![Some(block)])).await.unwrap();
        until("the boot sector of the backing file prints", || place.log("a").ends_with('R')).await;
        started.instance.kill().await.unwrap();
    });
}

#[tokio::test]
async fn every_network_card_that_this_qemu_has() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    let help = Command::new("qemu-system-x86_64").args(["-device", "help"]).output().unwrap().stdout;
    let help = String::from_utf8_lossy(&help).into_owned();
    let schema = witvirt_core::spec::MachineSpec::json_schema().to_string();
    let mut started = 0;
    for model in models(&schema) {
        let name = serde_json::to_value(model).unwrap();
        let launch = place.launch("nic", json!({ "interfaces": [{ "model": name }] }), vec![]);
        let outcome = place.driver().start(launch).await;
        if !help.contains(&format!("name \"{}\"", model.device())) {
            println!("skipped: this QEMU has no {}", model.device());
            assert_eq!(outcome.err().unwrap().kind, ErrorKind::Unsupported);
            continue;
        }
        let mut machine = outcome.unwrap_or_else(|error| panic!("{}: {error}", model.device()));
        machine.instance.kill().await.unwrap();
        rest(&mut machine.events).await;
        started += 1;
    }
    println!("{started} network cards started");
    assert!(started >= 20);
}

/// All models that the spec knows, from its schema.
fn models(schema: &str) -> Vec<NicModel> {
    let schema: Value = serde_json::from_str(schema).unwrap();
    let variants = schema.pointer("/$defs/NicModel/oneOf").unwrap().as_array().unwrap();
    variants.iter().map(|variant| serde_json::from_value(variant["const"].clone()).unwrap()).collect()
}

#[tokio::test]
async fn every_other_device() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    let fields = json!({
        "boot": { "menu": true, "order": ["cdrom", "network"] },
        "cpu": { "count": 2, "topology": { "sockets": 1, "cores": 2, "threads": 1 },
                 "features": [{ "name": "aes", "policy": "disable" }] },
        "clock": { "base": { "absolute": 1_767_225_600 }, "timers": [
            { "name": "rtc", "tick": "catchup" }, { "name": "pit", "tick": "delay" }, { "name": "hpet", "present": false },
            { "name": "kvmclock", "present": false }, { "name": "tsc", "frequency": 1_000_000_000 }] },
        "smbios": { "tables": [
            { "type": 1, "fields": [["manufacturer", "A, B"], ["serial", "1"]] },
            { "type": 11, "fields": [["value", "x,path=/etc/shadow"]] }] },
        "controllers": [
            { "kind": "usb", "model": "ich9-ehci1" }, { "kind": "usb", "model": "ich9-uhci1" },
            { "kind": "usb", "index": 1, "model": "nec-xhci" }, { "kind": "scsi", "model": "lsilogic" },
            { "kind": "sata", "index": 1 }, { "kind": "pcie-root-port", "index": 3 }, { "kind": "pci-bridge" }],
        "disks": [{ "name": "cd", "device": "cdrom", "bus": "sata", "controller": 1 }],
        "interfaces": [{ "forwards": [{ "host-port": 40_321, "guest-port": 22 }], "mtu": 1400 }],
        "serials": [{}, { "port": 0 }], "consoles": [{ "target": "virtio" }, { "target": "virtio" }],
        "vnc": { "keymap": "en-us" },
        "videos": [{ "model": "vga", "vram-kib": 16384 }, { "model": "virtio", "heads": 2 }, { "model": "bochs" }],
        "inputs": [{ "kind": "keyboard", "bus": "ps2" }, { "kind": "tablet", "bus": "usb" },
                   { "kind": "mouse", "bus": "virtio" }],
        "rng": { "max-bytes": 1024 }, "watchdog": { "model": "itco", "action": "pause" },
        "sounds": [{ "model": "ich9" }, { "model": "ac97" }, { "model": "usb" }], "balloon": true,
    });
    let mut started = place.driver().start(place.launch("a", fields, vec![None])).await.unwrap();
    let vnc = started.instance.record().vnc.unwrap();
    assert!(vnc.starts_with("127.0.0.1:59"), "{vnc}");
    started.instance.kill().await.unwrap();
    rest(&mut started.events).await;
}

#[tokio::test]
async fn more_devices_than_the_root_bus_has_slots() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    for chipset in ["q35", "pc"] {
        let inputs: Vec<Value> = (0..32).map(|_| json!({ "kind": "tablet", "bus": "virtio" })).collect();
        let interfaces: Vec<Value> = (0..30).map(|_| json!({ "source": "none" })).collect();
        let fields = json!({ "chipset": chipset, "inputs": inputs, "interfaces": interfaces });
        let started = place.driver().start(place.launch(chipset, fields, vec![])).await.unwrap();
        started.instance.kill().await.unwrap();
    }
}

#[tokio::test]
async fn runs_unprivileged_with_nothing_but_its_own_descriptors() {
    if !qemu_is_installed() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can change the user");
        return;
    }
    let place = Place::new();
    let mut options = place.options();
    options.user = Some(User { uid: 65_533, gid: 65_532 });
    // Private to root, with a kernel that its user cannot read: both have to be no obstacle.
    std::fs::set_permissions(place.dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let stray = File::open("/proc/self/status").unwrap();
    rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty()).unwrap();

    let launch = place.echo("a");
    std::fs::set_permissions(place.path("a/run"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::set_permissions(place.path("echo.raw"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let driver = Qemu::new(options);
    let started = driver.start(launch).await.unwrap();
    until("the boot sector prints", || place.log("a").ends_with('R')).await;

    let pid = started.instance.record().pid.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), ["65533"; 4]);
    assert_eq!(field("Gid:"), ["65532"; 4]);
    assert!(field("Groups:").is_empty());
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    assert_eq!(field("Seccomp:"), ["2"]);
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    let stray = stray.metadata().unwrap();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        if let Ok(open) = std::fs::metadata(entry.path()) {
            assert_ne!(
                (open.dev(), open.ino()),
                (stray.dev(), stray.ino()),
                "a stray descriptor was inherited"
            );
        }
    }
    let session = rustix::process::getsid(rustix::process::Pid::from_raw(pid as i32)).unwrap();
    assert_eq!(session.as_raw_nonzero().get() as u32, pid);
    started.instance.kill().await.unwrap();

    // A kernel that is only a header (Linux x86 boot protocol 2.12) is loaded; that is all that is wanted of it.
    let mut launch =
        place.launch("b", json!({ "boot": { "kernel": "/k", "initrd": "/i", "cmdline": "a,b c" } }), vec![]);
    let private = |name: &str| {
        let file = blank(&place.path(name), 65_536);
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
        Some(file)
    };
    (launch.kernel, launch.initrd) = (private("kernel"), private("initrd"));
    let kernel = launch.kernel.as_ref().unwrap();
    kernel.write_all_at(&[1], 0x1f1).unwrap();
    kernel.write_all_at(b"HdrS\x0c\x02", 0x202).unwrap();
    kernel.write_all_at(&0x37ff_ffff_u32.to_le_bytes(), 0x22c).unwrap();
    let started = driver.start(launch).await.unwrap();
    started.instance.kill().await.unwrap();
    assert!(!place.path("b/run/kernel").exists());
}

#[tokio::test]
async fn a_tpm_runs_or_says_what_is_missing() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    let mut launch = place.launch("a", json!({ "tpm": { "model": "crb" } }), vec![]);
    let state = place.path("tpm");
    std::fs::create_dir(&state).unwrap();
    launch.tpm_state = Some(state.clone());
    match place.driver().start(launch).await {
        Ok(started) => {
            until("swtpm keeps state", || std::fs::read_dir(&state).unwrap().count() > 0).await;
            started.instance.kill().await.unwrap();
        }
        Err(error) => {
            println!("swtpm is not installed: {error}");
            assert_eq!(error.kind, ErrorKind::Unsupported);
            assert!(error.message.contains("install the package swtpm"), "{error}");
        }
    }
}
