//! Machines without an operating system for tests of the QEMU driver.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use witvirt_core::Name;
use witvirt_core::spec::MachineSpec;
use witvirt_hypervisor::{Acceleration, Block, InstanceEvent, InstanceRecord, Launch, Qemu, QemuOptions};

/// A boot sector that prints 'R', then echoes each byte of the serial port plus one; 'q' powers off (ACPI, PM1a at 0x604
/// under SeaBIOS), 'r' resets (port 0xcf9).
const ECHO: [u8; 48] = [
    0xba, 0xf8, 0x03, 0xb0, b'R', 0xee, // print 'R'
    0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb, // wait for a byte
    0xba, 0xf8, 0x03, 0xec, // read it
    0x3c, b'q', 0x74, 0x09, 0x3c, b'r', 0x74, 0x0e, // power off or reset?
    0xfe, 0xc0, 0xee, 0xeb, 0xe7, // print it plus one, again
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xeb, 0xfe, // power off
    0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xeb, 0xfe, // reset
];

/// Far longer than anything here takes; only there so that a broken test ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether QEMU is installed; says so when a test is skipped for it.
pub fn qemu_is_installed() -> bool {
    let found = Command::new("qemu-system-x86_64").arg("--version").output().is_ok();
    if !found {
        println!("skipped: qemu-system-x86_64 is not installed");
    }
    found
}

/// The directories of a test.
pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("state")).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn options(&self) -> QemuOptions {
        QemuOptions { acceleration: Acceleration::Tcg, ..QemuOptions::new(self.path("state")) }
    }

    pub fn driver(&self) -> Qemu {
        Qemu::new(self.options())
    }

    /// A disk with the echoing boot sector.
    pub fn boot_disk(&self) -> PathBuf {
        let path = self.path("echo.raw");
        let mut sector = vec![0; 1 << 20];
        sector[..ECHO.len()].copy_from_slice(&ECHO);
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
        std::fs::write(&path, sector).unwrap();
        path
    }

    pub fn log(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path(name).join("console.log")).unwrap()).into_owned()
    }

    /// A launch of the spec with these fields besides a name and memory; disks get the blocks.
    pub fn launch(&self, name: &str, fields: Value, disks: Vec<Option<Block>>) -> Launch {
        let mut spec = json!({ "name": name, "memory": "32MiB" });
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let spec: MachineSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(spec.validate(), []);
        let base = self.path(name);
        let run_dir = base.join("run");
        std::fs::create_dir_all(&run_dir).unwrap();
        Launch {
            name: Name::new(name).unwrap(),
            spec,
            run_dir,
            console_log: OpenOptions::new().append(true).create(true).open(base.join("console.log")).unwrap(),
            disks,
            kernel: None,
            initrd: None,
            firmware_code: None,
            firmware_vars: None,
            tpm_state: None,
        }
    }

    /// A machine that boots the echoing sector.
    pub fn echo(&self, name: &str) -> Launch {
        let file = read_write(&self.boot_disk());
        self.launch(name, one_disk(), vec![Some(Block::Raw { file, read_only: false })])
    }
}

impl Drop for Place {
    /// Machines outlive their drivers, also in a test that fails.
    fn drop(&mut self) {
        for machine in std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            let run = machine.path().join("run");
            let Ok(noted) = std::fs::read_to_string(run.join("process")) else { continue };
            end(&noted);
            let record = std::fs::read(run.join("record.json")).unwrap_or_default();
            let record: Option<InstanceRecord> = serde_json::from_slice(&record).ok();
            if let Some(group) = record.and_then(|record| record.cgroup) {
                let _removed = std::fs::remove_dir(group);
            }
        }
    }
}

/// Kills the process of this line of `/proc/PID/stat` and waits until nothing of it runs.
fn end(noted: &str) -> Option<()> {
    let pid = rustix::process::Pid::from_raw(noted.split(' ').next()?.parse().ok()?)?;
    let fields =
        |stat: &str| Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let start_time = fields(noted)?.get(19)?.clone();
    let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
    for _ in 0..1000 {
        let now = fields(&std::fs::read_to_string(&stat).ok()?)?;
        if now.get(19) != Some(&start_time) || now.first()? == "Z" {
            return None;
        }
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok()?;
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// The fields of a machine with one virtio disk.
pub fn one_disk() -> Value {
    json!({ "disks": [{ "name": "root", "source": { "volume": { "name": "root" } } }] })
}

pub fn read_write(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// An empty file of this size.
pub fn blank(path: &Path, size: u64) -> File {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    file.set_len(size).unwrap();
    file.flush().unwrap();
    file
}

pub async fn next(events: &mut Receiver<InstanceEvent>) -> Option<InstanceEvent> {
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("an event within a minute")
}

/// All events up to the end.
pub async fn rest(events: &mut Receiver<InstanceEvent>) -> Vec<InstanceEvent> {
    let mut all = Vec::new();
    while let Some(event) = next(events).await {
        all.push(event);
    }
    all
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what} within a minute"));
}
