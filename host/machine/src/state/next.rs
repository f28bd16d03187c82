//! The transitions.

use std::time::Duration;

use witvirt_core::spec::{RestartPolicy, RunStrategy};
use witvirt_hypervisor::InstanceEvent;

use super::{Context, Desired, Effect, Event, Fact, Machine, Refusal, Request, State};
use crate::status::ExitInfo;
use crate::time::Timestamp;

/// How often a power button is pressed again: a guest that boots does not listen yet.
const PRESS_INTERVAL: Duration = Duration::from_secs(5);

/// How often a kill is repeated that had no effect.
const KILL_INTERVAL: Duration = Duration::from_secs(5);

type Effects = Vec<Effect>;

impl Machine {
    /// What follows from `event`: the machine afterwards, and what is to be done, in order.
    ///
    /// # Errors
    /// [`Refusal`] for a request that the state does not allow; facts are never refused.
    pub fn next(&self, event: &Event, context: &Context) -> Result<(Machine, Vec<Effect>), Refusal> {
        let mut machine = self.clone();
        let effects = match event {
            Event::Request(request) => machine.request(*request, context.now)?,
            Event::Fact(fact) => machine.fact(fact, context),
        };
        Ok((machine, effects))
    }

    fn request(&mut self, request: Request, now: Timestamp) -> Result<Effects, Refusal> {
        if self.state == State::Broken {
            return Err(Refusal::Broken);
        }
        if self.removing && !matches!(request, Request::Remove { .. } | Request::Kill) {
            return Err(Refusal::Leaving);
        }
        match request {
            Request::Start => self.start(now),
            Request::Stop { timeout } => Ok(self.stop(timeout, Desired::Stopped, now)),
            Request::Kill => Ok(self.stop(Duration::ZERO, Desired::Stopped, now)),
            Request::Restart { timeout } => self.restart(timeout, now),
            Request::Pause => self.pause(),
            Request::Resume => self.resume(),
            Request::Remove { force } => self.remove(force, now),
        }
    }

    fn start(&mut self, now: Timestamp) -> Result<Effects, Refusal> {
        match self.state {
            State::Defined | State::Stopped | State::Crashed if self.run == RunStrategy::Once && self.ran => {
                Err(Refusal::Once)
            }
            State::Defined | State::Stopped | State::Crashed => {
                if self.run == RunStrategy::Halted {
                    self.run = RunStrategy::Always;
                }
                Ok(self.launch_anew(now))
            }
            State::Paused => Err(Refusal::Paused),
            State::Stopping => Err(Refusal::Busy(self.state)),
            State::Starting | State::Running | State::Broken => Err(Refusal::Already(self.state)),
        }
    }

    fn restart(&mut self, timeout: Duration, now: Timestamp) -> Result<Effects, Refusal> {
        match self.state {
            State::Running | State::Paused => Ok(self.stop(timeout, Desired::Running, now)),
            State::Starting | State::Stopping => Err(Refusal::Busy(self.state)),
            _ if self.run == RunStrategy::Halted => Err(Refusal::Halted),
            _ => self.start(now),
        }
    }

    /// Ends what runs and forgets a restart that is due. A machine that does not run is as it should be.
    fn stop(&mut self, timeout: Duration, desired: Desired, now: Timestamp) -> Effects {
        self.desired = desired;
        if desired == Desired::Stopped && self.run == RunStrategy::Always {
            self.run = RunStrategy::Halted;
        }
        self.next_restart = None;
        if self.state.is_ended() {
            return Vec::new();
        }
        let was = self.state;
        self.enter(State::Stopping, now);
        if self.launching {
            return Vec::new();
        }
        let kill_at = now.after(timeout);
        self.kill_at = Some(self.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
        if timeout.is_zero() {
            return self.kill(now);
        }
        match was {
            State::Stopping => Vec::new(),
            // A guest whose CPUs stand still does not see its power button.
            State::Paused => [vec![Effect::Resume], self.press(now)].concat(),
            _ => self.press(now),
        }
    }

    fn pause(&mut self) -> Result<Effects, Refusal> {
        match self.state {
            State::Running => Ok(vec![Effect::Pause]),
            State::Paused => Err(Refusal::Already(self.state)),
            State::Starting | State::Stopping => Err(Refusal::Busy(self.state)),
            _ => Err(Refusal::NotRunning(self.state)),
        }
    }

    fn resume(&mut self) -> Result<Effects, Refusal> {
        match self.state {
            State::Paused => Ok(vec![Effect::Resume]),
            State::Running => Err(Refusal::Already(self.state)),
            State::Starting | State::Stopping => Err(Refusal::Busy(self.state)),
            _ => Err(Refusal::NotRunning(self.state)),
        }
    }

    fn remove(&mut self, force: bool, now: Timestamp) -> Result<Effects, Refusal> {
        if !self.state.is_ended() && !force {
            return Err(Refusal::StillRuns(self.state));
        }
        if self.state.is_ended() && self.removing {
            return Err(Refusal::Leaving);
        }
        self.removing = true;
        let effects = self.stop(Duration::ZERO, Desired::Stopped, now);
        Ok(if self.state.is_ended() { vec![Effect::Remove] } else { effects })
    }

    fn fact(&mut self, fact: &Fact, context: &Context) -> Effects {
        let now = context.now;
        match fact {
            Fact::Started => self.started(now),
            Fact::StartFailed { message, permanent } => self.start_failed(message, *permanent, context),
            Fact::Instance(event) => self.instance(event, context),
            Fact::Adopted { running } => self.adopted(*running, now),
            Fact::Lost { rebooted } => self.lost(*rebooted, context),
            Fact::Loaded if self.removing => vec![Effect::Remove],
            Fact::Loaded if self.is_due() => self.launch_anew(now),
            Fact::Loaded => Vec::new(),
            Fact::RemoveFailed => {
                self.removing = false;
                Vec::new()
            }
            Fact::Tick => self.tick(now),
        }
    }

    /// Whether an ended machine should run although no restart is planned: one that always runs, and one whose maker was
    /// killed before it started it.
    fn is_due(&self) -> bool {
        let wanted = self.run == RunStrategy::Always || self.desired == Desired::Running;
        wanted && self.state.is_ended() && self.next_restart.is_none()
    }

    fn started(&mut self, now: Timestamp) -> Effects {
        self.launching = false;
        self.ran = true;
        self.started = Some(now);
        if self.state == State::Starting {
            self.enter(State::Running, now);
            return Vec::new();
        }
        // It was stopped while it came up: nothing of the guest has run that would need to be shut down.
        self.enter(State::Stopping, now);
        self.kill(now)
    }

    fn start_failed(&mut self, message: &str, permanent: bool, context: &Context) -> Effects {
        if !self.launching {
            return Vec::new();
        }
        let exit = ExitInfo::noted(context.now, false, message);
        if permanent && self.state == State::Starting {
            self.desired = Desired::Stopped;
            let effects = self.ended(exit, context);
            self.state = State::Crashed;
            return effects;
        }
        self.ended(exit, context)
    }

    fn instance(&mut self, event: &InstanceEvent, context: &Context) -> Effects {
        match event {
            InstanceEvent::Paused { reason } if self.state == State::Running => {
                self.enter(State::Paused, context.now);
                self.reason.clone_from(reason);
            }
            InstanceEvent::Resumed if self.state == State::Paused => self.enter(State::Running, context.now),
            InstanceEvent::Panicked => self.panicked = true,
            InstanceEvent::Exited(exit) if !self.state.is_ended() && !self.launching => {
                return self.ended(ExitInfo::new(context.now, exit), context);
            }
            _ => {}
        }
        Vec::new()
    }

    fn adopted(&mut self, running: bool, now: Timestamp) -> Effects {
        let launching = std::mem::take(&mut self.launching);
        self.ran = true;
        self.started.get_or_insert(now);
        if self.state == State::Stopping {
            // Its deadline still holds; a launch that was stopped had none.
            return if launching || self.kill_at.is_none() { self.kill(now) } else { Vec::new() };
        }
        if launching && !running {
            // The earlier daemon died before it let the guest run: what comes up may be half set up.
            self.enter(State::Stopping, now);
            return self.kill(now);
        }
        let state = if running { State::Running } else { State::Paused };
        if self.state != state {
            self.enter(state, now);
        }
        Vec::new()
    }

    fn lost(&mut self, rebooted: bool, context: &Context) -> Effects {
        let now = context.now;
        if !rebooted {
            let orderly = self.state == State::Stopping;
            let message = match self.launching {
                true => "its start was interrupted by the daemon's end",
                false => "it ended while no daemon watched",
            };
            let exit = ExitInfo::noted(now, orderly, message);
            return self.ended(exit, context);
        }
        let survives = self.run.policy(context.policy) == RestartPolicy::Always
            || self.run == RunStrategy::RerunOnFailure
            || self.state == State::Stopping;
        let restart = self.desired == Desired::Running && survives;
        self.desired = Desired::Stopped;
        let effects = self.ended(ExitInfo::noted(now, true, "the host was rebooted"), context);
        if restart { self.launch_anew(now) } else { effects }
    }

    fn tick(&mut self, now: Timestamp) -> Effects {
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if due(self.next_restart) {
            self.restarts = self.restarts.saturating_add(1);
            return self.launch(now);
        }
        if self.state != State::Stopping || self.launching {
            return Vec::new();
        }
        if due(self.kill_at) {
            return self.kill(now);
        }
        if due(self.press_at) { self.press(now) } else { Vec::new() }
    }

    /// Nothing of the machine runs any more.
    fn ended(&mut self, exit: ExitInfo, context: &Context) -> Effects {
        let now = context.now;
        let restart_wanted = self.state == State::Stopping && self.desired == Desired::Running;
        let failed = !exit.orderly || self.panicked;
        if self.started.take().is_some_and(|at| now.since(at) >= context.backoff.stable) {
            self.failures = 0;
        }
        self.exit = Some(exit);
        self.launching = false;
        self.panicked = false;
        self.kill_at = None;
        self.press_at = None;
        if restart_wanted {
            return self.launch_anew(now);
        }
        if self.desired == Desired::Stopped {
            self.enter(State::Stopped, now);
            return if self.removing { vec![Effect::Remove] } else { Vec::new() };
        }
        self.enter(if failed { State::Crashed } else { State::Stopped }, now);
        let policy = self.run.policy(context.policy);
        if policy == RestartPolicy::Always || failed && policy == RestartPolicy::OnFailure {
            self.failures = self.failures.saturating_add(1);
            self.next_restart = Some(now.after(context.backoff.pause(self.failures, context.jitter)));
        } else {
            self.desired = Desired::Stopped;
        }
        Vec::new()
    }

    /// As a person wants it: the past is forgotten.
    fn launch_anew(&mut self, now: Timestamp) -> Effects {
        self.restarts = 0;
        self.failures = 0;
        self.launch(now)
    }

    fn launch(&mut self, now: Timestamp) -> Effects {
        self.desired = Desired::Running;
        self.next_restart = None;
        self.launching = true;
        self.incarnation = self.incarnation.saturating_add(1);
        self.enter(State::Starting, now);
        vec![Effect::Launch]
    }

    fn kill(&mut self, now: Timestamp) -> Effects {
        self.kill_at = Some(now.after(KILL_INTERVAL));
        self.press_at = None;
        vec![Effect::Kill]
    }

    fn press(&mut self, now: Timestamp) -> Effects {
        self.press_at = Some(now.after(PRESS_INTERVAL));
        vec![Effect::Powerdown]
    }

    fn enter(&mut self, state: State, now: Timestamp) {
        if self.state != state {
            self.since = now;
        }
        self.state = state;
        self.reason = None;
    }
}
