//! Disks that are served to a real QEMU, by servers that leave and come back.

mod support;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{Place, one_disk, qemu_is_installed, read_write, until};
use witvirt_disk::nbd::{EXPORT, Export, NbdServer};
use witvirt_hypervisor::{Block, BlockServer, Hypervisor, SERVED_EXPORT, served_socket};

/// A file whose bytes come late.
struct Late {
    file: File,
    here: AtomicBool,
    wanted: AtomicBool,
}

impl Export for Late {
    fn size(&self) -> u64 {
        1 << 20
    }

    fn read(&self, buffer: &mut [u8], offset: u64, gone: &dyn Fn() -> bool) -> witvirt_disk::Result<()> {
        self.wanted.store(true, Ordering::SeqCst);
        while !self.here.load(Ordering::SeqCst) {
            if gone() {
                return Err(witvirt_disk::Error::new(witvirt_disk::ErrorKind::Cancelled, "gone"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.file.read_exact_at(buffer, offset).map_err(|error| witvirt_disk::Error::io("read", error))
    }

    fn runs(
        &self,
        _: u64,
        length: u64,
        _: usize,
        _: &dyn Fn() -> bool,
    ) -> witvirt_disk::Result<Vec<(u64, bool)>> {
        Ok(vec![(length, false)])
    }
}

/// The one server of a disk.
struct Server {
    export: Arc<Late>,
    running: Mutex<Option<NbdServer>>,
}

impl BlockServer for Server {
    fn serve(&self, listener: UnixListener) -> io::Result<()> {
        let server = NbdServer::start(listener, Arc::clone(&self.export) as Arc<dyn Export>)?;
        *self.running.lock().unwrap() = Some(server);
        Ok(())
    }
}

#[test]
fn both_crates_mean_the_same_export() {
    assert_eq!(SERVED_EXPORT, EXPORT);
}

#[test]
fn a_guest_waits_for_its_server_and_goes_on_with_the_next() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    let overlay = place.path("overlay.qcow2");
    let decoy = place.path("decoy.raw");
    support::blank(&decoy, 1 << 20);
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .args([&decoy, &overlay])
        .status();
    if made.is_err() {
        println!("skipped: qemu-img is not installed");
        return;
    }
    let file = File::open(place.boot_disk()).unwrap();
    let late = Late { file, here: AtomicBool::new(false), wanted: AtomicBool::new(false) };
    let server = Arc::new(Server { export: Arc::new(late), running: Mutex::default() });
    let block = Block::Overlay {
        file: read_write(&overlay),
        backing: Box::new(Block::Served(Arc::clone(&server) as Arc<dyn BlockServer>)),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // QEMU looks at the first bytes of every disk, which no guest waits for.
        server.export.here.store(true, Ordering::SeqCst);
        let started = place.driver().start(place.launch("a", one_disk(), vec![Some(block)])).await.unwrap();
        server.export.here.store(false, Ordering::SeqCst);
        server.export.wanted.store(false, Ordering::SeqCst);
        until("the firmware reads the boot sector", || {
            server.export.wanted.load(Ordering::SeqCst) || place.log("a").ends_with('R')
        })
        .await;
        drop(server.running.lock().unwrap().take());
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(started.instance.running().await.unwrap(), "the monitor answers while the guest waits");
        server.serve(served_socket(&place.path("a/run"), 0).unwrap()).unwrap();
        server.export.here.store(true, Ordering::SeqCst);
        until("the boot sector prints", || place.log("a").ends_with('R')).await;
        started.instance.kill().await.unwrap();
    });
}
