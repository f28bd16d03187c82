//! A machine under a real QEMU, stopped before its first instruction, and what QEMU says is in it.
//!
//! What the machine would hold is replaced below the seam that the daemon fills: disks become empty sparse files, firmware
//! and kernels files that QEMU accepts and nobody runs, ports of the host are left to the system.

mod expected;
mod monitor;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use witvirt_core::ByteSize;
use witvirt_core::spec::{CpuModel, DiskDevice, Firmware, MachineSpec};
use witvirt_hypervisor::{BlockPaths, FilePaths, QemuOptions, command_line};

use expected::expected;
use monitor::Monitor;

/// Most memory of a machine: the devices are looked at, not the RAM.
const MEMORY: ByteSize = ByteSize::mib(512);

/// Memory of a NUMA node, likewise.
const NODE: ByteSize = ByteSize::mib(32);

/// Why a machine does not start, or is not what it should be.
#[derive(Debug)]
pub enum Failure {
    /// The hypervisor's driver refuses it.
    Refused(String),
    /// QEMU ends; its words.
    Ended(String),
    /// It runs, but something is missing: what.
    Missing(String),
    /// The test itself fails.
    Io(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(words) => write!(f, "refused: {words}"),
            Self::Ended(words) => write!(f, "QEMU: {words}"),
            Self::Missing(what) => write!(f, "missing: {what}"),
            Self::Io(error) => write!(f, "test: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Starts a machine with its files below `directory`, and compares what QEMU shows with the spec. Returns the number of
/// devices that were found.
///
/// # Errors
/// [`Failure`].
pub fn start(spec: &MachineSpec, directory: &Path) -> Result<usize, Failure> {
    let spec = on_this_host(spec);
    let paths = files(&spec, directory)?;
    let mut tpm = emulator(&paths, directory)?;
    let mut options = QemuOptions::new(directory);
    options.vnc_addresses = spec.vnc.iter().map(|vnc| vnc.address).collect();
    let line =
        command_line(&spec, &paths, false, &options).map_err(|error| Failure::Refused(error.message))?;
    let stderr = directory.join("stderr");
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(line)
        .args(["-chardev", "stdio,id=test", "-mon", "chardev=test,mode=control"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(&stderr)?)
        .spawn()?;
    let outcome = look(&mut qemu, &spec, &paths);
    // Nothing may outlive the test, whatever happened.
    let _ended = qemu.kill();
    qemu.wait()?;
    if let Some(tpm) = &mut tpm {
        let _ended = tpm.kill();
        tpm.wait()?;
    }
    outcome.map_err(|failure| match failure {
        // The monitor's end of file: QEMU has said why on its way out.
        Failure::Io(_) => Failure::Ended(last_words(&stderr)),
        failure => failure,
    })
}

fn last_words(stderr: &Path) -> String {
    let text = fs::read_to_string(stderr).unwrap_or_default();
    let mut lines = text.lines().filter(|line| !line.contains("warning:"));
    // Without the time and the program's name.
    let line = lines.next_back().unwrap_or_default();
    line.split_once("qemu-system-x86_64: ").map_or(line, |(_, words)| words).to_owned()
}

/// Without what only another host has.
fn on_this_host(spec: &MachineSpec) -> MachineSpec {
    let mut spec = spec.clone();
    spec.memory = spec.memory.min(MEMORY);
    let nodes = spec.cpu.numa.len() as u64;
    spec.cpu.numa.iter_mut().for_each(|node| node.memory = NODE);
    if nodes > 0 {
        spec.memory = ByteSize(nodes.saturating_mul(NODE.get()));
    }
    if spec.cpu.model == CpuModel::Host {
        spec.cpu.model = CpuModel::Max;
    }
    // Not QEMU's, and several machines start at a time.
    spec.qemu_arguments.clear();
    for forward in spec.interfaces.iter_mut().flat_map(|interface| &mut interface.forwards) {
        forward.host_port = 0;
    }
    if let Some(vnc) = &mut spec.vnc {
        vnc.address = [127, 0, 0, 1].into();
        (vnc.port, vnc.websocket) = (None, None);
    }
    spec
}

/// Empty files in the place of everything.
fn files(spec: &MachineSpec, directory: &Path) -> io::Result<FilePaths> {
    let at = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let sparse = |name: &str, size: u64| -> io::Result<String> {
        File::create(directory.join(name))?.set_len(size)?;
        Ok(at(name))
    };
    let mut paths = FilePaths::of(spec, &directory.to_string_lossy());
    for (index, (disk, block)) in spec.disks.iter().zip(&mut paths.disks).enumerate() {
        let size = if disk.device == DiskDevice::Floppy { 1_474_560 } else { 16 << 20 };
        let read_only = disk.read_only || disk.device == DiskDevice::Cdrom;
        if block.is_some() {
            *block = Some(BlockPaths::Raw { path: sparse(&format!("disk{index}"), size)?, read_only });
        }
    }
    if let Firmware::Uefi { .. } = spec.boot.firmware {
        paths.firmware_code = Some(sparse("code.fd", 2 << 20)?);
        if paths.firmware_vars.is_some() {
            paths.firmware_vars = Some(sparse("vars.fd", 256 << 10)?);
        }
    }
    if paths.kernel.is_some() {
        File::create(directory.join("kernel"))?.write_all(&kernel())?;
        paths.kernel = Some(at("kernel"));
    }
    if paths.initrd.is_some() {
        paths.initrd = Some(sparse("initrd", 4096)?);
    }
    Ok(paths)
}

/// As much of a bzImage as QEMU looks at: the header of boot protocol 2.12 (Documentation/arch/x86/boot.rst of Linux).
fn kernel() -> Vec<u8> {
    let mut image = vec![0; 8192];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1fe, &0xaa55u16.to_le_bytes());
    put(0x202, b"HdrS");
    put(0x206, &0x020cu16.to_le_bytes());
    put(0x211, &[1]);
    put(0x22c, &0x37ff_ffffu32.to_le_bytes());
    put(0x238, &2048u32.to_le_bytes());
    image
}

/// swtpm, listening, for a machine with a TPM.
fn emulator(paths: &FilePaths, directory: &Path) -> io::Result<Option<Child>> {
    let Some(socket) = &paths.tpm else { return Ok(None) };
    let state = directory.join("tpm");
    fs::create_dir(&state)?;
    let mut child = Command::new("swtpm")
        .args(["socket", "--tpm2", "--ctrl", &format!("type=unixio,path={socket}"), "--tpmstate"])
        .arg(format!("dir={}", state.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // It listens when the socket is there; a program that ends instead is no reason to wait.
    while !Path::new(socket).exists() {
        if child.try_wait()?.is_some() {
            return Err(io::Error::other("swtpm ended"));
        }
        std::thread::yield_now();
    }
    Ok(Some(child))
}

fn look(qemu: &mut Child, spec: &MachineSpec, paths: &FilePaths) -> Result<usize, Failure> {
    let mut monitor = Monitor::greet(qemu)?;
    let listed = monitor.ask("qom-list", &[("path", "/machine/peripheral")])?;
    let there: BTreeMap<String, String> = listed.as_array().into_iter().flatten().filter_map(child).collect();
    let expected = expected(spec);
    for (id, types) in &expected {
        let found = there.get(id).map(String::as_str);
        if !found.is_some_and(|found| types.contains(&found)) {
            return Err(Failure::Missing(format!("{id}: {} wanted, {found:?} found", types.join(" or "))));
        }
    }
    drives(&monitor.ask("query-block", &[])?, spec, paths)?;
    pci(&monitor.ask("query-pci", &[])?, &expected)?;
    let cpus = monitor.ask("query-cpus-fast", &[])?.as_array().map_or(0, Vec::len);
    if cpus != spec.cpu.count as usize {
        return Err(Failure::Missing(format!("{} CPUs wanted, {cpus} found", spec.cpu.count)));
    }
    let serials = monitor.ask("query-chardev", &[])?.as_array().map_or(0, Vec::len);
    if serials < spec.serials.len() + spec.consoles.len() + spec.channels.len() {
        return Err(Failure::Missing(format!("{serials} character devices")));
    }
    Ok(expected.len())
}

/// Name and type of an entry `{"name": "nic0", "type": "child<e1000>"}`.
fn child(entry: &Value) -> Option<(String, String)> {
    let kind = entry["type"].as_str()?.strip_prefix("child<")?.strip_suffix('>')?;
    Some((entry["name"].as_str()?.to_owned(), kind.to_owned()))
}

/// Every drive is there, with its file or empty.
fn drives(answer: &Value, spec: &MachineSpec, paths: &FilePaths) -> Result<(), Failure> {
    let seen = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, (disk, block)) in spec.disks.iter().zip(&paths.disks).enumerate() {
        let id = format!("drive{index}");
        let drive = seen.iter().find(|drive| {
            let path = drive["qdev"].as_str().unwrap_or_default();
            path == id || path.split('/').any(|part| part == id)
        });
        let Some(drive) = drive else {
            return Err(Failure::Missing(format!("drive {id} ({}) in query-block", disk.name)));
        };
        let file = drive["inserted"]["file"].as_str();
        let wanted = match block {
            Some(BlockPaths::Raw { path, .. } | BlockPaths::Overlay { path, .. }) => Some(path.as_str()),
            None => None,
        };
        if file != wanted {
            return Err(Failure::Missing(format!("{id}: {wanted:?} wanted, {file:?} found")));
        }
    }
    Ok(())
}

/// Devices that are on PCI are seen there.
fn pci(answer: &Value, expected: &BTreeMap<String, &'static [&'static str]>) -> Result<(), Failure> {
    let mut seen = Vec::new();
    let mut bridges = false;
    for bus in answer.as_array().into_iter().flatten() {
        for device in bus["devices"].as_array().into_iter().flatten() {
            seen.extend(device["qdev_id"].as_str());
            // What is behind a bridge is seen when the firmware has given it a number, which it has not.
            bridges |= device.get("pci_bridge").is_some();
        }
    }
    for (id, types) in expected {
        let on_pci = types.iter().all(|kind| kind.ends_with("-pci") || kind.contains("-pci-"));
        if on_pci && !bridges && !seen.contains(&id.as_str()) {
            return Err(Failure::Missing(format!("{id} in query-pci")));
        }
    }
    Ok(())
}
