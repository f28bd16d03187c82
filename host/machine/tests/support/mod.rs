//! Machines in a directory of the test's.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use serde_json::{Value, json};
use witvirt_core::Name;
use witvirt_core::spec::{Disk, MachineSpec};
use witvirt_hypervisor::{Acceleration, Block, Hypervisor, Null, Qemu, QemuOptions};
use witvirt_machine::{Backoff, Clock, LogQuery, Machines, MachinesOptions, ResourceError, Resources, State};

/// Longer than anything takes that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Disks are files of their own in the machine's directory; everything else is opened as it is.
pub struct Files;

impl Resources for Files {
    fn block(&self, _machine: &Name, overlays: &Dir, disk: &Disk) -> Result<Option<Block>, ResourceError> {
        if disk.source.is_none() {
            return Ok(None);
        }
        let mut options = cap_std::fs::OpenOptions::new();
        options.read(true).write(true).create(true);
        let file = overlays.open_with(format!("{}.raw", disk.name), &options)?.into_std();
        if file.metadata()?.len() == 0 {
            file.write_all_at(&boot_sector(), 0)?;
            file.set_len(1 << 20)?;
        }
        Ok(Some(Block::Raw { file, read_only: disk.read_only }))
    }

    fn file(&self, path: &str) -> Result<File, ResourceError> {
        Ok(File::open(path)?)
    }

    fn firmware(
        &self,
        _machine: &Name,
        _overlays: &Dir,
        _part: &'static str,
        image: &str,
    ) -> Result<File, ResourceError> {
        Ok(File::open(image)?)
    }

    fn release(&self, _machine: &Name, overlays: &Dir) -> Result<(), ResourceError> {
        for entry in overlays.entries()? {
            overlays.remove_file(entry?.file_name())?;
        }
        Ok(())
    }
}

/// A boot sector that prints "R" to the first serial port and then echoes what comes from it.
fn boot_sector() -> [u8; 512] {
    const CODE: [u8; 21] = [
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xb0, b'R', // mov al, 'R'
        0xee, // out dx, al
        0xba, 0xfd, 0x03, // wait: mov dx, 0x3fd
        0xec, // in al, dx
        0xa8, 0x01, // test al, 1
        0x74, 0xf8, // jz wait
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xec, // in al, dx
        0xee, // out dx, al
        0xeb, 0xf1, // jmp wait
    ];
    let mut sector = [0; 512];
    sector[..CODE.len()].copy_from_slice(&CODE);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

pub fn options(root: &Path, hypervisor: Arc<dyn Hypervisor>) -> MachinesOptions {
    MachinesOptions {
        clock: Clock::tokio(),
        jitter: Arc::new(|| 0.0),
        backoff: Backoff::default(),
        ..MachinesOptions::new(root.join("state"), root.join("run"), hypervisor, Arc::new(Files))
    }
}

/// A daemon's worth of machines on the null driver.
pub struct Place {
    pub root: tempfile::TempDir,
    pub null: Arc<Null>,
}

impl Place {
    pub fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), null: Arc::new(Null::new()) }
    }

    pub async fn open(&self) -> Machines {
        Machines::open(options(self.root.path(), Arc::clone(&self.null) as Arc<dyn Hypervisor>))
            .await
            .unwrap()
    }

    pub fn file(&self, machine: &str, file: &str) -> PathBuf {
        self.root.path().join("state/machines").join(machine).join(file)
    }
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn spec(name: &str, more: Value) -> MachineSpec {
    let mut fields = json!({
        "name": name,
        "memory": "16MiB",
        "disks": [{ "name": "root", "source": { "blank": { "size": 1 << 20 } } }],
    });
    let Value::Object(more) = more else { panic!("not an object") };
    fields.as_object_mut().unwrap().extend(more);
    serde_json::from_value(fields).unwrap()
}

pub async fn create(machines: &Machines, machine: &str, more: Value) -> Name {
    machines.create(spec(machine, more), "a test").await.unwrap();
    name(machine)
}

pub fn state(machines: &Machines, name: &Name) -> State {
    machines.get(name).unwrap().state
}

/// Whether QEMU is there; says so when it is not.
pub fn qemu_is_installed() -> bool {
    let found = std::process::Command::new("qemu-system-x86_64").arg("--version").output().is_ok();
    if !found {
        println!("skipped: qemu-system-x86_64 is not installed");
    }
    found
}

/// The driver with emulated CPUs: what is tested here does not depend on them, and they work everywhere.
pub fn qemu(root: &Path) -> Arc<dyn Hypervisor> {
    let mut options = QemuOptions::new(root);
    options.acceleration = Acceleration::Tcg;
    Arc::new(Qemu::new(options))
}

/// Lives a daemon's life; what it leaves running is nobody's afterwards, as when a process ends.
pub fn daemon<T>(life: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(life)
}

/// Process ids of the hypervisors that have a file below this directory open.
pub fn hypervisors(root: &Path) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids: Vec<u32> = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.retain(|pid| {
        let Ok(program) = std::fs::read_link(format!("/proc/{pid}/exe")) else { return false };
        let Ok(links) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        let mut targets = links.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
        program.to_string_lossy().contains("/qemu-system-") && targets.any(|target| target.starts_with(root))
    });
    pids
}

/// Ends what a failed test would leave running.
pub struct Cleanup(pub tempfile::TempDir);

impl Cleanup {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        for pid in hypervisors(self.path()) {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed());
            let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
    }
}

/// All that is kept of a console.
pub async fn log(machines: &Machines, name: &Name) -> String {
    let mut reader = machines.logs(name, LogQuery::default()).await.unwrap();
    let mut text = Vec::new();
    while let Some(chunk) = reader.next().await.unwrap() {
        text.extend(chunk.bytes);
    }
    String::from_utf8_lossy(&text).into_owned()
}
