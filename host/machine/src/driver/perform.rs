//! Effects, the state file, and what the world is told.

use std::future::Future;
use std::sync::Arc;

use witvirt_hypervisor::{Instance, InstanceEvent, InstanceRecord, Started};

use super::{Driver, Shared, launch, wants_to_run};
use crate::blocking;
use crate::error::{Error, ErrorKind};
use crate::state::{Effect, Event, Fact, Machine, State};
use crate::status::{EventKind, MachineStatus};
use crate::storage::{SpecFile, StateFile};

/// What others see of a machine.
#[derive(Clone)]
pub(crate) struct Published {
    pub status: MachineStatus,
    pub record: Option<InstanceRecord>,
    pub console_start: u64,
    pub instance: Option<Arc<dyn Instance>>,
}

impl Published {
    pub(super) fn new(shared: &Shared, spec: &SpecFile, state: &StateFile) -> Self {
        let record = state.instance.clone().filter(|_| !state.machine.launching);
        Self {
            status: status(shared, spec, &state.machine, record.as_ref()),
            record,
            console_start: state.console_start,
            instance: None,
        }
    }
}

fn status(
    shared: &Shared,
    spec: &SpecFile,
    machine: &Machine,
    record: Option<&InstanceRecord>,
) -> MachineStatus {
    let spec = &spec.spec;
    MachineStatus {
        name: spec.name.clone(),
        state: machine.state,
        desired: machine.desired,
        run: machine.run,
        since: machine.since,
        started: machine.started,
        uptime: None,
        vcpus: spec.cpu.count,
        memory: spec.memory,
        os: spec.os.clone(),
        driver: record.map_or_else(|| shared.hypervisor().name().to_owned(), |record| record.driver.clone()),
        accelerator: record.map(|record| record.accelerator.clone()),
        accelerator_reason: record.map(|record| record.accelerator_reason.clone()),
        pid: record.and_then(|record| record.pid),
        vnc: record.and_then(|record| record.vnc.clone()),
        forwards: spec.interfaces.iter().flat_map(|interface| interface.forwards.iter().cloned()).collect(),
        exit: machine.exit.clone(),
        restarts: machine.restarts,
        next_restart: machine.next_restart,
        reason: machine.reason.clone(),
        arriving: Vec::new(),
    }
}

impl Driver {
    /// Before a launch is written down: where its output will begin, and where its instance is to be found.
    pub(super) async fn begin_launch(&mut self) {
        self.look_at_log().await;
        self.console_start = self.log.end();
        self.record = Some(self.shared.unknown_instance(self.name()));
    }

    pub(super) async fn launched(&mut self, result: Result<Started, launch::Failure>) {
        match result {
            Ok(started) => {
                self.record = Some(started.instance.record());
                self.hold(started);
                self.fact(Fact::Started).await;
            }
            Err(launch::Failure { message, permanent }) => {
                self.fact(Fact::StartFailed { message, permanent }).await;
            }
        }
    }

    pub(super) async fn perform(&mut self, effect: Effect) -> Result<(), Error> {
        let answer = match effect {
            Effect::Launch => {
                self.start_launch();
                return Ok(());
            }
            Effect::Remove => return self.remove().await,
            Effect::Powerdown => self.ask(|instance| async move { instance.powerdown().await }).await,
            Effect::Kill => self.ask(|instance| async move { instance.kill().await }).await,
            Effect::Pause => self.ask(|instance| async move { instance.pause().await }).await,
            Effect::Resume => self.ask(|instance| async move { instance.resume().await }).await,
        };
        let Err(error) = answer else { return Ok(()) };
        let error = Error::caused(ErrorKind::Hypervisor, format!("machine {} refused", self.name()), error);
        // The deadline ends what does not end by itself.
        if matches!(effect, Effect::Powerdown | Effect::Kill) || self.machine.state == State::Stopping {
            tracing::warn!(machine = %self.name(), ?effect, error = error.chain(), "tried again");
            return Ok(());
        }
        Err(error)
    }

    /// Asks the instance for something; its events are taken meanwhile, since it may be held up by them.
    pub(super) async fn ask<T, F>(
        &mut self,
        question: impl FnOnce(Arc<dyn Instance>) -> F,
    ) -> Result<T, witvirt_hypervisor::Error>
    where
        F: Future<Output = Result<T, witvirt_hypervisor::Error>>,
    {
        let Some(running) = &mut self.running else {
            let kind = witvirt_hypervisor::ErrorKind::Command;
            return Err(witvirt_hypervisor::Error::new(kind, "it does not run"));
        };
        let mut answer = std::pin::pin!(question(Arc::clone(&running.started.instance)));
        let mut open = true;
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                event = running.started.events.recv(), if open => match event {
                    Some(event) => running.pending.push_back(event),
                    None => open = false,
                },
            }
        }
    }

    async fn remove(&mut self) -> Result<(), Error> {
        let (shared, dir) = (Arc::clone(&self.shared), self.dir.clone());
        let name = self.name().clone();
        let removed = blocking::run(move || {
            let release = shared.resources().release(&name, &dir.overlays()?);
            release.map_err(|error| {
                Error::caused(ErrorKind::Resource, format!("cannot let go of the disks of {name}"), error)
            })?;
            launch::remove_run_dir(&shared, name.as_str())
                .map_err(|error| Error::io(format!("cannot remove the sockets of {name}"), error))?;
            shared.storage.remove(&name)
        });
        let removed = removed.await.and_then(|removed| removed);
        let name = self.name().clone();
        if let Err(error) = removed {
            self.waiting.kept(&name, &error.chain());
            return Err(error);
        }
        self.removed = true;
        if let Some(slots) = self.slots.upgrade() {
            slots.remove(&name);
        }
        self.emit(EventKind::Removed, None);
        self.waiting.gone(&name);
        Ok(())
    }

    /// Replaces the state file.
    pub(super) async fn write(&self) -> Result<(), Error> {
        let (dir, state) = (self.dir.clone(), self.state_file());
        blocking::run(move || dir.write_state(&state)).await?
    }

    fn state_file(&self) -> StateFile {
        StateFile {
            schema: crate::storage::SCHEMA,
            machine: self.machine.clone(),
            console_start: self.console_start,
            instance: self.record.clone(),
        }
    }

    pub(super) fn publish(&self) {
        let mut published = Published::new(&self.shared, &self.spec, &self.state_file());
        published.instance = self.running.as_ref().map(|running| Arc::clone(&running.started.instance));
        if let Some(super::Unreachable { reason, .. }) = &self.unreachable {
            published.status.reason = Some(format!("it does not answer: {reason}"));
        }
        self.published.send_replace(published);
    }

    /// Tells listeners what an event came to.
    pub(super) fn tell(&self, event: &Event, before: &Machine) {
        let machine = &self.machine;
        if let Event::Fact(Fact::Instance(event)) = event {
            match event {
                InstanceEvent::Reset { by_guest } => self.emit(EventKind::Reset, Some(by(*by_guest))),
                InstanceEvent::Shutdown { by_guest } => self.emit(EventKind::Shutdown, Some(by(*by_guest))),
                InstanceEvent::Panicked => self.emit(EventKind::Panicked, None),
                InstanceEvent::Watchdog { action } => self.emit(EventKind::Watchdog, Some(action.clone())),
                _ => {}
            }
        }
        let ended = || machine.exit.as_ref().map(|exit| exit.message.clone()).filter(|text| !text.is_empty());
        if let Event::Fact(Fact::StartFailed { message, .. }) = event {
            self.emit(EventKind::StartFailed, Some(message.clone()));
        }
        let relaunched = machine.incarnation != before.incarnation && !before.state.is_ended();
        if relaunched {
            self.emit(EventKind::Stopped, ended());
        }
        if machine.state != before.state {
            match machine.state {
                State::Starting => self.emit(EventKind::Starting, None),
                State::Running if before.state == State::Paused => self.emit(EventKind::Resumed, None),
                State::Running => self.emit(EventKind::Started, None),
                State::Paused => self.emit(EventKind::Paused, machine.reason.clone()),
                State::Stopping => {
                    self.emit(EventKind::Stopping, wants_to_run(machine).then(|| "to restart".to_owned()))
                }
                State::Stopped => self.emit(EventKind::Stopped, ended()),
                State::Crashed => self.emit(EventKind::Crashed, ended()),
                State::Defined | State::Broken => {}
            }
        }
        if let (Some(at), None) = (machine.next_restart, before.next_restart) {
            self.emit(EventKind::RestartScheduled, Some(format!("at {at}")));
        }
        let killed =
            machine.kill_at.is_some() && machine.press_at.is_none() && machine.state == State::Stopping;
        let pressed = before.press_at.is_some() || before.state != State::Stopping;
        if killed && pressed && !machine.launching {
            self.emit(EventKind::Killed, None);
        }
    }
}

fn by(guest: bool) -> String {
    if guest { "by the guest" } else { "by the host" }.to_owned()
}
