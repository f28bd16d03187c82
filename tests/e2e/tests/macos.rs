//! The macOS machine: a VirtualMachine of KubeVirt's with droidvirt's annotations, through all converters, under QEMU with
//! UEFI firmware. What boots is a program of the tests: macOS is not ours to give away.
#![allow(missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use witvirt_harness::host::{Host, files_below, own_network};
use witvirt_harness::tools::{OVMF_CODE, OVMF_VARS};
use witvirt_harness::{efi, macos};

const MARK: &str = "the EFI program of the first disk runs";

#[test]
fn the_seeds_machine_runs_unchanged() -> Result<()> {
    let Some(machine) = macos::seed()? else {
        println!("skipped: there is no ../shared/seeds");
        return Ok(());
    };
    runs("osx-1", &machine)
}

#[test]
fn the_examples_machine_runs() -> Result<()> {
    runs("osx", &macos::example()?)
}

fn runs(name: &str, document: &str) -> Result<()> {
    // The document names the port of its VNC server.
    own_network();
    let host = Host::new("")?;
    host.write_config(&macos::config(&fs::read_to_string(host.config())?)?)?;
    let file = host.path("files/machine.yaml");
    fs::write(&file, document)?;
    let daemon = host.daemon()?;
    for (path, image) in [(OVMF_CODE, "ovmf-code"), (OVMF_VARS, "ovmf-vars")] {
        host.run(&["image", "import", path, "--name", image, "--format", "raw"])?;
    }
    let volumes = host.path("state/images/volumes");
    let first = volumes.join("osx-clover-autoboot.raw");
    efi::write_disk(&first, MARK)?;
    let before = fs::read(&first)?;
    fs::File::create(volumes.join("osx-disk-1.raw"))?.set_len(16 << 30)?;

    host.run(&["create", "--start", &file.to_string_lossy()])?;
    host.wait_state(name, "running")?;
    host.wait_console(name, MARK)?;
    let status = host.status(name)?;
    ensure!(status["vnc"] == "127.0.0.1:5900", "{status}");
    ensure!(fs::read(&first)? == before, "an ephemeral disk wrote to its volume");

    // Its monitor takes one client, and machines live on without the daemon.
    daemon.kill()?;
    let [pid] = host.hypervisors()[..] else { bail!("not one hypervisor: {:?}", host.hypervisors()) };
    has_arguments(pid)?;
    let mut monitor = Monitor::connect(&monitor_of(&host)?)?;
    has_devices(&mut monitor)?;
    has_disks_in_order(&mut monitor)?;
    shows_something(&host, &mut monitor)
}

fn monitor_of(host: &Host) -> Result<PathBuf> {
    let mut files = files_below(&host.path("run")).into_iter();
    files.find(|path| path.ends_with("monitor.sock")).context("the machine has no monitor")
}

/// What the hook "board" adds, behind everything else.
fn has_arguments(pid: u32) -> Result<()> {
    let line = fs::read(format!("/proc/{pid}/cmdline"))?;
    let line = String::from_utf8(line)?;
    let words: Vec<&str> = line.split('\0').collect();
    let controller = format!("isa-applesmc,osk={}", macos::OSK);
    for pair in [["-device", controller.as_str()], ["-smbios", "type=2"]] {
        ensure!(words.windows(2).any(|two| two == pair), "no {pair:?} in {words:?}");
    }
    let cpu = words.iter().rposition(|word| *word == "-cpu").and_then(|at| words.get(at + 1));
    ensure!(cpu.is_some_and(|cpu| cpu.starts_with("Penryn,kvm=on,vendor=GenuineIntel,+invtsc")), "{cpu:?}");
    Ok(())
}

fn has_devices(monitor: &mut Monitor) -> Result<()> {
    let mut types = Vec::new();
    for place in ["/machine/peripheral", "/machine/peripheral-anon"] {
        types.extend(monitor.children(place)?.into_iter().map(|(_, kind)| kind));
    }
    types.sort();
    for device in ["isa-applesmc", "vmxnet3", "qxl-vga", "piix3-usb-uhci", "usb-tablet", "usb-kbd"] {
        let count = types.iter().filter(|kind| *kind == device).count();
        ensure!(count == 1, "{count} times {device} among {types:?}");
    }
    let others =
        types.iter().filter(|kind| ["VGA", "e1000", "virtio-net-pci", "usb-mouse"].contains(&kind.as_str()));
    ensure!(others.count() == 0, "devices that a hook replaces are there: {types:?}");
    let processors = monitor.execute("query-cpus-fast", json!({}))?;
    let processors = processors.as_array().context("no processors")?;
    ensure!(processors.len() == 4, "{processors:?}");
    let path = processors[0]["qom-path"].as_str().context("no path")?;
    let kind = monitor.execute("qom-get", json!({ "path": path, "property": "type" }))?;
    ensure!(kind == "Penryn-x86_64-cpu", "{kind}");
    let vnc = monitor.execute("query-vnc", json!({}))?;
    ensure!(vnc["host"] == "127.0.0.1" && vnc["service"] == "5900", "{vnc}");
    // The card, the display and the USB controller, as the guest's buses tell them.
    let pci = monitor.execute("query-pci", json!({}))?.to_string();
    for (vendor, device) in [(0x15ad, 0x07b0), (0x1b36, 0x0100), (0x8086, 0x7020), (0x8086, 0x2922)] {
        let id = format!("\"device\":{device},\"vendor\":{vendor}");
        let other = format!("\"vendor\":{vendor},\"device\":{device}");
        ensure!(pci.contains(&id) || pci.contains(&other), "no PCI device {vendor:x}:{device:x}: {pci}");
    }
    Ok(())
}

/// Clover on the first port, booted first; the system on the second.
fn has_disks_in_order(monitor: &mut Monitor) -> Result<()> {
    let mut disks = Vec::new();
    for (name, kind) in monitor.children("/machine/peripheral")? {
        if kind != "ide-hd" {
            continue;
        }
        let path = format!("/machine/peripheral/{name}");
        let mut get =
            |property: &str| monitor.execute("qom-get", json!({ "path": path, "property": property }));
        let bus = get("parent_bus")?.as_str().context("no bus")?.to_owned();
        disks.push((get("bootindex")?.as_i64().context("no index")?, bus));
    }
    disks.sort();
    let ports: Vec<_> = disks.iter().map(|(index, bus)| (*index, bus.rsplit('/').next())).collect();
    ensure!(ports == [(1, Some("ide.0")), (2, Some("ide.1"))], "{disks:?}");
    Ok(())
}

/// The firmware's screen is not all of one colour.
fn shows_something(host: &Host, monitor: &mut Monitor) -> Result<()> {
    let directory = host.path("screens");
    fs::create_dir(&directory)?;
    // The hypervisor's user writes it.
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777))?;
    let file = directory.join("screen.ppm");
    monitor.execute("screendump", json!({ "filename": file }))?;
    let image = fs::read(&file)?;
    ensure!(image.starts_with(b"P6\n"), "no picture: {:?}", image.get(..16));
    let mut header = image.splitn(4, |byte| *byte == b'\n');
    let size = String::from_utf8(header.nth(1).context("no size")?.to_vec())?;
    let pixels = header.nth(1).context("no pixels")?;
    let colours: std::collections::BTreeSet<&[u8]> = pixels.chunks_exact(3).collect();
    ensure!(colours.len() > 1, "a screen of {size} is all {colours:?}");
    Ok(())
}

/// A connection to QEMU's monitor (QMP).
struct Monitor {
    reader: BufReader<UnixStream>,
}

impl Monitor {
    fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| format!("{}", socket.display()))?;
        stream.set_read_timeout(Some(witvirt_harness::host::PATIENCE))?;
        let mut monitor = Self { reader: BufReader::new(stream) };
        let greeting = monitor.read()?;
        ensure!(greeting.get("QMP").is_some(), "{greeting}");
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.reader.read_line(&mut line)? > 0, "the monitor was closed");
        Ok(serde_json::from_str(&line)?)
    }

    fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.reader.get_mut().write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                bail!("{request}: {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    /// Names and types of the objects below one.
    fn children(&mut self, path: &str) -> Result<Vec<(String, String)>> {
        let all = self.execute("qom-list", json!({ "path": path }))?;
        let all = all.as_array().context("no list")?.iter();
        let child = |entry: &Value| {
            let kind = entry["type"].as_str()?.strip_prefix("child<")?.strip_suffix('>')?;
            Some((entry["name"].as_str()?.to_owned(), kind.to_owned()))
        };
        Ok(all.filter_map(child).collect())
    }
}
