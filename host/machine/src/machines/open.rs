//! A daemon's start: what earlier ones left.

use std::convert::Infallible;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use witvirt_core::Name;

use super::slots::{Live, Slot};
use super::{Machines, Slots};
use crate::blocking;
use crate::console::{ConsoleLog, Sessions, Watcher};
use crate::driver::{Driver, Parts, Shared};
use crate::error::Error;
use crate::options::MachinesOptions;
use crate::storage::{MachineDir, SpecFile, StateFile, Storage};

/// Events that a slow listener may fall behind.
const EVENT_BUFFER: usize = 1024;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A driver that is not running yet, and how it is reached.
pub(super) struct Prepared {
    pub driver: Driver,
    pub live: Live,
}

impl Machines {
    /// Takes the state directory's lock, reads all machines, finds again those that run, and obeys the restart policies of
    /// those that have ended meanwhile. Returns when all that is known. Needs a tokio runtime with IO and time.
    ///
    /// A machine whose files cannot be read is listed as broken; it keeps the others from nothing.
    ///
    /// # Errors
    /// `Locked` when another daemon holds the directory; `Io`.
    pub async fn open(options: MachinesOptions) -> Result<Self, Error> {
        let watcher = Watcher::new(options.clock.clone())?;
        let shared = blocking::run(move || share(options, watcher)).await??;
        let shared = Arc::new(shared);
        let slots = Arc::new(Slots::default());
        let (alive, left) = mpsc::channel(1);
        let names = shared.storage.list()?;
        let mut adopting = JoinSet::new();
        for name in names {
            match load(&shared, &slots, &alive, &name).await {
                Ok(prepared) => {
                    slots.insert(name, Slot::Live(prepared.live));
                    let mut driver = prepared.driver;
                    adopting.spawn(async move {
                        driver.adopt().await;
                        driver
                    });
                }
                Err(error) => {
                    tracing::error!(machine = %name, error = error.chain(), "broken");
                    let since = shared.options.clock.now();
                    slots.insert(name, Slot::Broken { reason: error.chain().into(), since });
                }
            }
        }
        while let Some(adopted) = adopting.join_next().await {
            match adopted {
                Ok(driver) => drop(tokio::spawn(driver.run())),
                Err(error) => tracing::error!(%error, "a machine was not adopted"),
            }
        }
        sweep_run_dir(&shared, &slots);
        Ok(Self { shared, slots, alive, left })
    }
}

fn share(options: MachinesOptions, watcher: Watcher) -> Result<Shared, Error> {
    let storage = Storage::open(&options.state_dir)?;
    let failed =
        |error| Error::io(format!("cannot open the run directory {}", options.run_dir.display()), error);
    let mut private = DirBuilder::new();
    private.mode(0o700);
    Dir::create_ambient_dir_all(&options.run_dir, ambient_authority()).map_err(failed)?;
    let run_dir = Dir::open_ambient_dir(&options.run_dir, ambient_authority()).map_err(failed)?;
    let boot_id = std::fs::read_to_string(BOOT_ID)
        .map_err(|error| Error::io(format!("cannot read {BOOT_ID}"), error))?
        .trim()
        .to_owned();
    let events = broadcast::Sender::new(EVENT_BUFFER);
    Ok(Shared { storage, options, run_dir, watcher, events, boot_id })
}

async fn load(
    shared: &Arc<Shared>,
    slots: &Arc<Slots>,
    alive: &mpsc::Sender<Infallible>,
    name: &Name,
) -> Result<Prepared, Error> {
    let (storage, name) = (Arc::clone(shared), name.clone());
    let (dir, spec, state) = blocking::run(move || {
        let dir = storage.storage.machine(&name)?;
        let (spec, state) = (dir.spec()?, dir.state()?);
        Ok::<_, Error>((dir, spec, state))
    })
    .await??;
    driver(shared, slots, alive.clone(), dir, spec, state).await
}

pub(super) async fn driver(
    shared: &Arc<Shared>,
    slots: &Arc<Slots>,
    alive: mpsc::Sender<Infallible>,
    dir: MachineDir,
    spec: SpecFile,
    state: StateFile,
) -> Result<Prepared, Error> {
    let (log_dir, limit) = (Arc::clone(dir.dir()), shared.options.console_limit.get());
    let log = Arc::new(blocking::run(move || ConsoleLog::open(log_dir, limit)).await??);
    let spec = Arc::new(spec);
    let parts = Parts {
        shared: Arc::clone(shared),
        slots: Arc::downgrade(slots),
        dir,
        spec: Arc::clone(&spec),
        state,
        log: Arc::clone(&log),
        alive,
    };
    let (driver, contact) = Driver::new(parts);
    Ok(Prepared { driver, live: Live { spec, contact, log, sessions: Arc::new(Sessions::default()) } })
}

/// Deletes the socket directories of machines that are gone.
fn sweep_run_dir(shared: &Shared, slots: &Slots) {
    let entries = match shared.run_dir.entries() {
        Ok(entries) => entries,
        Err(error) => return tracing::warn!(%error, "the run directory was not swept"),
    };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let Some(Ok(name)) = file_name.to_str().map(Name::new) else { continue };
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_dir || slots.contains(&name) {
            continue;
        }
        if let Err(error) = shared.run_dir.remove_dir_all(&file_name) {
            tracing::warn!(directory = ?file_name, %error, "not deleted");
        }
    }
}
