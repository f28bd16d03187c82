//! All machines of a daemon.

mod broken;
mod open;
mod slots;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use witvirt_core::Name;
use witvirt_core::spec::MachineSpec;

pub(crate) use slots::Slots;
use slots::{Live, Slot, not_found};

use crate::blocking;
use crate::console::{ConsoleFrom, ConsoleSession, LogQuery, LogReader};
use crate::driver::{Command, Shared};
use crate::error::{Error, ErrorKind};
use crate::state::{Machine, Request, State};
use crate::status::{Condition, EventKind, MachineDetail, MachineEvent, MachineStatus};
use crate::storage::{SCHEMA, SpecFile, StateFile};

/// All machines of a daemon. Its methods can be called at once from any number of tasks; requests to one machine take
/// effect one after another. Dropping it ends no machine.
pub struct Machines {
    shared: Arc<Shared>,
    slots: Arc<Slots>,
    alive: mpsc::Sender<Infallible>,
    left: mpsc::Receiver<Infallible>,
}

impl Machines {
    /// Makes a machine that does not run yet; it is there whole or not at all, whatever happens. `created_by` is kept for
    /// people.
    ///
    /// # Errors
    /// `Invalid` with every problem of the spec; `Exists`; `Io`.
    pub async fn create(&self, spec: MachineSpec, created_by: &str) -> Result<MachineStatus, Error> {
        let problems = spec.validate();
        if !problems.is_empty() {
            let list: Vec<_> = problems.iter().map(ToString::to_string).collect();
            let message = format!("machine {} cannot be created: {}", spec.name, list.join("; "));
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let name = spec.name.clone();
        self.slots.reserve(&name)?;
        let (shared, slots, alive) = (Arc::clone(&self.shared), Arc::clone(&self.slots), self.alive.clone());
        let created_by = created_by.to_owned();
        // A task of its own: when the caller leaves, the machine is created or the name is free again all the same.
        let task = tokio::spawn(async move {
            let created = create(&shared, &slots, alive, spec, created_by).await;
            if created.is_err() {
                slots.remove(&name);
            }
            created
        });
        task.await.map_err(|error| Error::caused(ErrorKind::Closed, "the machine was not created", error))?
    }

    /// Starts a machine; returns when it runs.
    ///
    /// # Errors
    /// `NotFound`; `Refused` when it runs already; `Resource` and `Hypervisor` failures as `Hypervisor`, with the reason.
    pub async fn start(&self, name: &Name) -> Result<(), Error> {
        self.request(name, Request::Start).await
    }

    /// Presses a machine's power button and, after `timeout` (the spec's, by default), kills it; returns when it has
    /// ended. A restart that was due is cancelled. A machine that does not run is left as it is.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn stop(&self, name: &Name, timeout: Option<Duration>) -> Result<(), Error> {
        let timeout = self.stop_timeout(name, timeout)?;
        self.request(name, Request::Stop { timeout }).await
    }

    /// Ends a machine at once; returns when it has ended.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn kill(&self, name: &Name) -> Result<(), Error> {
        self.request(name, Request::Kill).await
    }

    /// Stops a machine as [`Machines::stop`] does and starts it again; returns when it runs.
    ///
    /// # Errors
    /// As for [`Machines::start`].
    pub async fn restart(&self, name: &Name, timeout: Option<Duration>) -> Result<(), Error> {
        let timeout = self.stop_timeout(name, timeout)?;
        self.request(name, Request::Restart { timeout }).await
    }

    /// Stops a machine's CPUs.
    ///
    /// # Errors
    /// `NotFound`; `Refused` when it does not run.
    pub async fn pause(&self, name: &Name) -> Result<(), Error> {
        self.request(name, Request::Pause).await
    }

    /// Runs a machine's CPUs again.
    ///
    /// # Errors
    /// `NotFound`; `Refused` when it is not paused.
    pub async fn resume(&self, name: &Name) -> Result<(), Error> {
        self.request(name, Request::Resume).await
    }

    /// Deletes a machine with its overlays and logs; `force` kills it first when it runs, and is needed for a broken one.
    ///
    /// # Errors
    /// `NotFound`; `Refused` when it runs; `Broken`.
    pub async fn remove(&self, name: &Name, force: bool) -> Result<(), Error> {
        match self.slots.get(name)? {
            Slot::Broken { .. } => broken::remove(&self.shared, &self.slots, name, force).await,
            _ => self.request(name, Request::Remove { force }).await,
        }
    }

    /// All machines, in the order of their names.
    pub fn list(&self) -> Vec<MachineStatus> {
        let slots = self.slots.all();
        slots.iter().filter_map(|(name, slot)| self.status(name, slot)).collect()
    }

    /// One machine.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get(&self, name: &Name) -> Result<MachineStatus, Error> {
        let slot = self.slots.get(name)?;
        self.status(name, &slot).ok_or_else(|| not_found(name))
    }

    /// Everything about one machine.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn inspect(&self, name: &Name) -> Result<MachineDetail, Error> {
        let slot = self.slots.get(name)?;
        let status = self.status(name, &slot).ok_or_else(|| not_found(name))?;
        let Slot::Live(live) = slot else {
            return Ok(MachineDetail { status, spec: None, created: None, created_by: None, instance: None });
        };
        let instance = live.contact.published.borrow().record.clone();
        Ok(MachineDetail {
            status,
            spec: Some(live.spec.spec.clone()),
            created: Some(live.spec.created),
            created_by: Some(live.spec.created_by.clone()),
            instance,
        })
    }

    /// What happens to machines from now on. A receiver that falls 1024 events behind is told how many it missed.
    pub fn events(&self) -> broadcast::Receiver<MachineEvent> {
        self.shared.events.subscribe()
    }

    /// Waits until a condition holds; returns the status then, `None` when the machine is gone.
    ///
    /// # Errors
    /// `NotFound` when it is not there to begin with, or is removed while something else is waited for; `Timeout`.
    pub async fn wait(
        &self,
        name: &Name,
        condition: Condition,
        timeout: Option<Duration>,
    ) -> Result<Option<MachineStatus>, Error> {
        let waiting = self.until(name, condition);
        let Some(timeout) = timeout else { return waiting.await };
        let late =
            |_| Error::new(ErrorKind::Timeout, format!("machine {name} did not get there in {timeout:?}"));
        tokio::time::timeout(timeout, waiting).await.map_err(late)?
    }

    async fn until(&self, name: &Name, condition: Condition) -> Result<Option<MachineStatus>, Error> {
        let mut published = self.live(name)?.contact.published;
        loop {
            let status = published.borrow_and_update().status.clone();
            if condition.holds(&status) {
                return Ok(Some(status));
            }
            if published.changed().await.is_err() {
                return match condition {
                    Condition::Removed => Ok(None),
                    _ => Err(not_found(name)),
                };
            }
        }
    }

    /// Opens a machine's console; an older session is told and closed.
    ///
    /// # Errors
    /// `NotFound`; `Refused` when it does not run; `Hypervisor` when the console cannot be connected.
    pub async fn console(&self, name: &Name, from: ConsoleFrom) -> Result<ConsoleSession, Error> {
        let live = self.live(name)?;
        let published = live.contact.published.borrow().clone();
        let Some(instance) = published.instance else {
            return Err(no_console(name, &published.status));
        };
        let position = match from {
            ConsoleFrom::Boot => published.console_start,
            ConsoleFrom::Now => {
                let (log, now) = (Arc::clone(&live.log), self.shared.options.clock.now());
                blocking::blocking("look at the console log", move || log.notice(now).map(|()| log.end()))
                    .await?
            }
        };
        live.sessions.open(name, instance, live.log, position).await
    }

    /// Reads what a machine's console has printed, in this and earlier runs.
    ///
    /// # Errors
    /// `NotFound`; `Broken`; `Io`.
    pub async fn logs(&self, name: &Name, query: LogQuery) -> Result<LogReader, Error> {
        let live = self.live(name)?;
        let (log, now) = (Arc::clone(&live.log), self.shared.options.clock.now());
        blocking::blocking("look at the console log", move || log.notice(now)).await?;
        LogReader::open(live.log, query).await
    }

    /// Leaves all machines running and gives the state directory free: waits for launches under way, so that what they
    /// yield is on record.
    pub async fn close(self) {
        let Self { shared, slots, alive, mut left } = self;
        drop((slots, alive));
        // Nothing is ever sent; it ends when the last driver has left.
        left.recv().await;
        drop(shared);
    }

    async fn request(&self, name: &Name, request: Request) -> Result<(), Error> {
        let live = self.live(name)?;
        let (reply, answer) = oneshot::channel();
        let gone = |_| not_found(name);
        live.contact.mailbox.send(Command { request, reply }).await.map_err(|_| not_found(name))?;
        // A sender that is kept would keep the driver.
        drop(live);
        answer.await.map_err(gone)?
    }

    fn live(&self, name: &Name) -> Result<Live, Error> {
        match self.slots.get(name)? {
            Slot::Live(live) => Ok(live),
            Slot::Broken { reason, .. } => {
                let message = format!(
                    "machine {name} is broken ({reason}): repair its files and restart the daemon, or remove it with force"
                );
                Err(Error::new(ErrorKind::Broken, message))
            }
            Slot::Reserved => Err(not_found(name)),
        }
    }

    fn stop_timeout(&self, name: &Name, timeout: Option<Duration>) -> Result<Duration, Error> {
        Ok(timeout.unwrap_or(self.live(name)?.spec.spec.stop_timeout))
    }

    fn status(&self, name: &Name, slot: &Slot) -> Option<MachineStatus> {
        match slot {
            Slot::Reserved => None,
            Slot::Broken { reason, since } => Some(broken::status(&self.shared, name, reason, *since)),
            Slot::Live(live) => {
                let mut status = live.contact.published.borrow().status.clone();
                let now = self.shared.options.clock.now();
                status.uptime = status.started.map(|started| now.since(started).as_secs());
                status.arriving = self.shared.options.resources.arriving(name);
                Some(status)
            }
        }
    }
}

fn no_console(name: &Name, status: &MachineStatus) -> Error {
    let (state, reason) = (status.state, status.reason.as_deref());
    match (state, reason) {
        (State::Running | State::Paused, Some(reason)) => {
            Error::new(ErrorKind::Broken, format!("machine {name} has no console now: {reason}"))
        }
        (State::Starting | State::Stopping, _) => {
            Error::new(ErrorKind::Refused, format!("machine {name} is {state}: wait until that is done"))
        }
        _ => Error::new(ErrorKind::Refused, format!("machine {name} is {state}: start it first")),
    }
}

async fn create(
    shared: &Arc<Shared>,
    slots: &Arc<Slots>,
    alive: mpsc::Sender<Infallible>,
    spec: MachineSpec,
    created_by: String,
) -> Result<MachineStatus, Error> {
    let now = shared.options.clock.now();
    let spec = SpecFile { schema: SCHEMA, created: now, created_by, spec };
    let machine = Machine::new(now, spec.spec.run);
    let state = StateFile { schema: SCHEMA, machine, console_start: 0, instance: None };
    let storage = Arc::clone(shared);
    let (dir, spec, state) = blocking::run(move || {
        let dir = storage.storage.create(&spec, &state)?;
        Ok::<_, Error>((dir, spec, state))
    })
    .await??;
    let name = spec.spec.name.clone();
    let driver = open::driver(shared, slots, alive, dir, spec, state).await?;
    let status = driver.live.contact.published.borrow().status.clone();
    slots.insert(name.clone(), Slot::Live(driver.live));
    tokio::spawn(driver.driver.run());
    let time = now;
    // Without a listener nobody misses it.
    let _ = shared.events.send(MachineEvent { time, machine: name, kind: EventKind::Created, detail: None });
    Ok(status)
}
