//! The task that owns a machine.
//!
//! It alone changes the machine: requests come by its mailbox, facts from the hypervisor, its launch and its timer. Each
//! goes through [`Machine::next`]; what comes out is written to disk, published, and only then done. When its mailbox
//! closes it leaves, and the hypervisor goes on without it.

mod adopt;
mod launch;
mod perform;
mod waiting;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use witvirt_hypervisor::{Hypervisor, InstanceEvent, InstanceRecord, Started};

use crate::blocking;
use crate::console::{ConsoleLog, Watch, Watcher};
use crate::error::{Error, ErrorKind};
use crate::machines::Slots;
use crate::options::MachinesOptions;
use crate::resources::Resources;
use crate::state::{Context, Desired, Effect, Event, Fact, Machine, Request, State};
use crate::status::{EventKind, MachineEvent};
use crate::storage::{MachineDir, SpecFile, StateFile, Storage};
use waiting::Waiting;

pub(crate) use launch::remove_run_dir;
pub(crate) use perform::Published;

/// Requests that wait for the driver.
const MAILBOX: usize = 32;

/// What all machines share.
pub(crate) struct Shared {
    pub storage: Storage,
    pub options: MachinesOptions,
    pub run_dir: cap_std::fs::Dir,
    pub watcher: Watcher,
    pub events: broadcast::Sender<MachineEvent>,
    pub boot_id: String,
}

impl Shared {
    fn hypervisor(&self) -> &Arc<dyn Hypervisor> {
        &self.options.hypervisor
    }

    /// The record of an instance of which nothing is known but where it is to be found.
    pub(crate) fn unknown_instance(&self, name: &witvirt_core::Name) -> InstanceRecord {
        InstanceRecord {
            driver: self.hypervisor().name().to_owned(),
            pid: None,
            start_time: None,
            boot_id: self.boot_id.clone(),
            run_dir: self.options.run_dir.join(name.as_str()),
            accelerator: String::new(),
            accelerator_reason: String::new(),
            vnc: None,
            cgroup: None,
        }
    }

    /// The whole record of an instance of which only [`Shared::unknown_instance`] is known.
    pub(crate) async fn find_instance(
        &self,
        record: &InstanceRecord,
    ) -> Result<Option<InstanceRecord>, witvirt_hypervisor::Error> {
        let launched = record.boot_id == self.boot_id && record.run_dir.is_dir();
        if launched { self.hypervisor().find(&record.run_dir).await } else { Ok(None) }
    }

    fn resources(&self) -> Arc<dyn Resources> {
        Arc::clone(&self.options.resources)
    }
}

/// A request with its answer: when what was asked for has come true, or cannot any more.
pub(crate) struct Command {
    pub request: Request,
    pub reply: oneshot::Sender<Result<(), Error>>,
}

/// What a driver begins with.
pub(crate) struct Parts {
    pub shared: Arc<Shared>,
    pub slots: Weak<Slots>,
    pub dir: MachineDir,
    pub spec: Arc<SpecFile>,
    pub state: StateFile,
    pub log: Arc<ConsoleLog>,
    /// Dropped when the driver has left.
    pub alive: mpsc::Sender<Infallible>,
}

/// How others reach a driver.
#[derive(Clone)]
pub(crate) struct Contact {
    pub mailbox: mpsc::Sender<Command>,
    pub published: watch::Receiver<Published>,
}

/// One machine.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    slots: Weak<Slots>,
    dir: MachineDir,
    spec: Arc<SpecFile>,
    log: Arc<ConsoleLog>,
    machine: Machine,
    /// Where the console log was when the last launch began.
    console_start: u64,
    record: Option<InstanceRecord>,
    running: Option<Running>,
    launch: Option<JoinHandle<Result<Started, launch::Failure>>>,
    /// Why the instance of an earlier daemon does not answer, and when it is asked again.
    unreachable: Option<Unreachable>,
    /// When the state wants a tick, on tokio's clock; set once for each deadline, whatever the wall clock does then.
    timer: Option<(crate::Timestamp, Instant)>,
    mailbox: mpsc::Receiver<Command>,
    published: watch::Sender<Published>,
    waiting: Waiting,
    removed: bool,
    _alive: mpsc::Sender<Infallible>,
}

/// An instance that this daemon holds.
struct Running {
    started: Started,
    /// Events that came while the instance was being asked for something.
    pending: VecDeque<InstanceEvent>,
    _watch: Option<Watch>,
}

enum Input {
    Event(Option<InstanceEvent>),
    Launched(Result<Started, launch::Failure>),
    Due,
    AskAgain,
    Command(Option<Command>),
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> (Self, Contact) {
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let Parts { shared, slots, dir, spec, state, log, alive } = parts;
        let published = Published::new(&shared, &spec, &state);
        let (published, receiver) = watch::channel(published);
        let driver = Self {
            shared,
            slots,
            dir,
            spec,
            log,
            machine: state.machine,
            console_start: state.console_start,
            record: state.instance,
            running: None,
            launch: None,
            unreachable: None,
            timer: None,
            mailbox,
            published,
            waiting: Waiting::default(),
            removed: false,
            _alive: alive,
        };
        (driver, Contact { mailbox: sender, published: receiver })
    }

    /// Owns the machine until it is removed or the mailbox closes.
    pub(crate) async fn run(mut self) {
        while !self.removed {
            self.set_timer();
            match self.input().await {
                Input::Event(Some(event)) => self.instance_event(event).await,
                Input::Event(None) => self.vanished().await,
                Input::Launched(result) => self.launched(result).await,
                Input::Due => self.tick().await,
                Input::AskAgain => self.adopt().await,
                Input::Command(Some(command)) => {
                    self.earlier_events().await;
                    self.command(command).await;
                }
                Input::Command(None) => break,
            }
        }
        self.leave().await;
    }

    async fn input(&mut self) -> Input {
        let ask_again = self.unreachable.as_ref().map(|silent| silent.again);
        let due = self.timer.map(|(_, at)| at);
        tokio::select! {
            event = next_event(&mut self.running) => Input::Event(event),
            result = launched(&mut self.launch) => Input::Launched(result),
            () = until(due) => Input::Due,
            () = until(ask_again) => Input::AskAgain,
            command = self.mailbox.recv() => Input::Command(command),
        }
    }

    /// What the guest did before a request was read counts first.
    async fn earlier_events(&mut self) {
        // A guest that makes events without end must not keep requests waiting.
        for _ in 0..MAX_EARLIER_EVENTS {
            let Some(running) = &mut self.running else { return };
            let event = running.pending.pop_front().or_else(|| running.started.events.try_recv().ok());
            let Some(event) = event else { return };
            self.instance_event(event).await;
        }
    }

    async fn command(&mut self, command: Command) {
        let Command { request, reply } = command;
        if let Some(Unreachable { reason, .. }) = &self.unreachable {
            let process = self.record.as_ref().and_then(|record| record.pid);
            let process = process.map_or_else(String::new, |pid| format!(", or end its process {pid}"));
            let message = format!(
                "machine {} does not answer ({reason}): wait, it is asked again{process}",
                self.name()
            );
            let _ = reply.send(Err(Error::new(ErrorKind::Broken, message)));
            return;
        }
        match self.apply(Event::Request(request)).await {
            Ok(()) if self.removed => {
                let _ = reply.send(Ok(()));
            }
            Ok(()) => {
                self.waiting.add(request, reply);
                self.answer();
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    /// Lets an event take effect: decides, writes, publishes, acts.
    ///
    /// Fails when a request is refused, or when the instance refuses it.
    async fn apply(&mut self, event: Event) -> Result<(), Error> {
        let mut events = VecDeque::from([event]);
        let mut outcome = Ok(());
        while let Some(event) = events.pop_front() {
            let (machine, effects) = self.machine.next(&event, &self.context()).map_err(|refusal| {
                let kind = if machine_is_broken(&refusal) { ErrorKind::Broken } else { ErrorKind::Refused };
                Error::new(kind, format!("machine {} {refusal}", self.name()))
            })?;
            let before = std::mem::replace(&mut self.machine, machine);
            if effects.contains(&Effect::Launch) {
                self.begin_launch().await;
            }
            if self.machine.state.is_ended() {
                self.running = None;
                self.record = None;
                self.shared.resources().ended(self.name());
            }
            let written = if before == self.machine { Ok(()) } else { self.write().await };
            self.publish();
            self.tell(&event, &before);
            if let Err(error) = &written {
                tracing::error!(machine = %self.name(), error = error.chain(), "state not written");
            }
            for effect in effects {
                match (effect, &written) {
                    // What no file tells of would be lost with this daemon.
                    (Effect::Launch, Err(error)) => {
                        events.push_back(Event::Fact(Fact::StartFailed {
                            message: error.chain(),
                            permanent: false,
                        }));
                    }
                    _ => {
                        let done = self.perform(effect).await;
                        let fact = if effect == Effect::Remove && done.is_err() {
                            Some(Fact::RemoveFailed)
                        } else {
                            None
                        };
                        events.extend(fact.map(Event::Fact));
                        outcome = outcome.and(done);
                    }
                }
            }
        }
        if self.removed { Ok(()) } else { outcome }
    }

    /// Lets a fact take effect, and answers those who waited for it.
    async fn fact(&mut self, fact: Fact) {
        if let Err(error) = self.apply(Event::Fact(fact)).await {
            tracing::warn!(machine = %self.name(), error = error.chain(), "not everything could be done");
        }
        self.answer();
    }

    async fn tick(&mut self) {
        self.fact(Fact::Tick).await;
        self.timer = None;
    }

    async fn instance_event(&mut self, event: InstanceEvent) {
        let exited = matches!(event, InstanceEvent::Exited(_));
        if exited {
            self.running = None;
            self.look_at_log().await;
        }
        self.fact(Fact::Instance(event)).await;
    }

    /// The events ended without the last one: the driver below has lost the machine.
    async fn vanished(&mut self) {
        let stderr = "the hypervisor driver lost it".to_owned();
        let exit = witvirt_hypervisor::Exit { orderly: false, code: None, signal: None, stderr };
        self.instance_event(InstanceEvent::Exited(exit)).await;
    }

    /// What was printed last may not have been noticed yet.
    async fn look_at_log(&self) {
        let (log, now) = (Arc::clone(&self.log), self.shared.options.clock.now());
        if let Err(error) = blocking::blocking("look at the console log", move || log.notice(now)).await {
            tracing::warn!(machine = %self.name(), error = error.chain(), "console log not kept in order");
        }
    }

    /// The machine stays as it is. A launch under way is waited for, so that its instance is known to the next daemon.
    async fn leave(&mut self) {
        if self.launch.is_some() {
            let result = launched(&mut self.launch).await;
            self.launched(result).await;
        }
        self.log.close();
    }

    fn context(&self) -> Context {
        let options = &self.shared.options;
        let wall = options.clock.now();
        let due = self.timer.filter(|(_, at)| *at <= Instant::now()).map(|(deadline, _)| deadline);
        Context {
            // A wall clock that was set back does not make a pause longer.
            now: due.map_or(wall, |due| wall.max(due)),
            policy: self.spec.spec.restart,
            backoff: options.backoff,
            jitter: (options.jitter)(),
        }
    }

    fn set_timer(&mut self) {
        let deadline = self.machine.deadline();
        if self.timer.map(|(at, _)| at) != deadline {
            let now = self.shared.options.clock.now();
            self.timer = deadline.map(|at| (at, Instant::now() + at.since(now)));
        }
    }

    fn name(&self) -> &witvirt_core::Name {
        &self.spec.spec.name
    }

    fn answer(&mut self) {
        self.waiting.answer(self.name().clone(), &self.machine);
    }

    fn emit(&self, kind: EventKind, detail: Option<String>) {
        let time = self.shared.options.clock.now();
        tracing::info!(machine = %self.name(), ?kind, detail = detail.as_deref().unwrap_or_default(), "machine");
        // Without a listener nobody misses it.
        let _ = self.shared.events.send(MachineEvent { time, machine: self.name().clone(), kind, detail });
    }
}

fn machine_is_broken(refusal: &crate::state::Refusal) -> bool {
    matches!(refusal, crate::state::Refusal::Broken)
}

async fn next_event(running: &mut Option<Running>) -> Option<InstanceEvent> {
    match running {
        None => std::future::pending().await,
        Some(running) => match running.pending.pop_front() {
            Some(event) => Some(event),
            None => running.started.events.recv().await,
        },
    }
}

async fn launched(
    launch: &mut Option<JoinHandle<Result<Started, launch::Failure>>>,
) -> Result<Started, launch::Failure> {
    let result = match launch {
        None => std::future::pending().await,
        Some(handle) => handle.await,
    };
    *launch = None;
    result.unwrap_or_else(|error| Err(launch::Failure::lost(&error)))
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The most events that are handled before one request.
const MAX_EARLIER_EVENTS: usize = 256;

/// An instance that does not answer.
struct Unreachable {
    reason: String,
    /// When it is asked again.
    again: Instant,
    /// How long it was left alone before that.
    pause: Duration,
}

/// How long an instance that does not answer is left alone at first: one that is coming up answers soon.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How long at last.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Whether a machine in this state has, or may have, an instance.
fn may_run(state: State) -> bool {
    matches!(state, State::Starting | State::Running | State::Paused | State::Stopping)
}

fn wants_to_run(machine: &Machine) -> bool {
    machine.desired == Desired::Running
}
