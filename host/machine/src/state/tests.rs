use std::time::Duration;

use proptest::prelude::*;
use witvirt_core::spec::{RestartPolicy, RunStrategy};
use witvirt_hypervisor::{Exit, InstanceEvent};

use super::{Backoff, Context, Desired, Effect, Event, Fact, Machine, Refusal, Request, State};
use crate::time::Timestamp;

const SECOND: Duration = Duration::from_secs(1);
const STOP: Request = Request::Stop { timeout: Duration::from_secs(30) };

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn context(policy: RestartPolicy, now: Timestamp) -> Context {
    Context { now, policy, backoff: Backoff::default(), jitter: 0.0 }
}

fn exit(orderly: bool) -> Fact {
    Fact::Instance(InstanceEvent::Exited(Exit { orderly, code: None, signal: None, stderr: String::new() }))
}

/// A machine with its policy, led through facts and requests.
struct Story {
    machine: Machine,
    policy: RestartPolicy,
    now: Timestamp,
}

impl Story {
    fn new(policy: RestartPolicy) -> Self {
        Self { machine: Machine::new(at(0), RunStrategy::Manual), policy, now: at(0) }
    }

    /// With a strategy, as it is right after its creation, started where that is meant.
    fn with(run: RunStrategy) -> Self {
        let mut story = Self { machine: Machine::new(at(0), run), policy: RestartPolicy::Never, now: at(0) };
        if run.starts_at_creation() {
            assert_eq!(story.ask(Request::Start), Ok(vec![Effect::Launch]));
            assert_eq!(story.fact(Fact::Started), []);
        }
        story
    }

    fn running(policy: RestartPolicy) -> Self {
        let mut story = Self::new(policy);
        assert_eq!(story.ask(Request::Start), Ok(vec![Effect::Launch]));
        assert_eq!(story.fact(Fact::Started), []);
        assert_eq!(story.machine.state, State::Running);
        story
    }

    fn ask(&mut self, request: Request) -> Result<Vec<Effect>, Refusal> {
        let (machine, effects) =
            self.machine.next(&Event::Request(request), &context(self.policy, self.now))?;
        self.machine = machine;
        Ok(effects)
    }

    fn fact(&mut self, fact: Fact) -> Vec<Effect> {
        let (machine, effects) =
            self.machine.next(&Event::Fact(fact), &context(self.policy, self.now)).unwrap();
        self.machine = machine;
        effects
    }

    fn tick_after(&mut self, pause: Duration) -> Vec<Effect> {
        self.now = self.now.after(pause);
        self.fact(Fact::Tick)
    }
}

#[test]
fn button_is_pressed_again_and_then_the_plug_is_pulled() {
    let mut story = Story::running(RestartPolicy::Always);
    assert_eq!(story.ask(STOP), Ok(vec![Effect::Powerdown]));
    assert_eq!(story.tick_after(SECOND), []);
    for _ in 0..5 {
        assert_eq!(story.tick_after(5 * SECOND), [Effect::Powerdown]);
    }
    assert_eq!(story.tick_after(5 * SECOND), [Effect::Kill]);
    assert_eq!(story.tick_after(5 * SECOND), [Effect::Kill], "a kill without effect is repeated");
    assert_eq!(story.fact(exit(false)), []);
    assert_eq!(story.machine.state, State::Stopped, "what was asked for is no crash");
    assert_eq!(story.machine.deadline(), None);
}

#[test]
fn paused_machine_is_run_to_be_stopped() {
    let mut story = Story::running(RestartPolicy::Never);
    assert_eq!(story.ask(Request::Pause), Ok(vec![Effect::Pause]));
    assert_eq!(story.machine.state, State::Running, "the fact makes it so");
    story.fact(Fact::Instance(InstanceEvent::Paused { reason: None }));
    assert_eq!(story.machine.state, State::Paused);
    assert_eq!(story.ask(Request::Start), Err(Refusal::Paused));
    assert_eq!(story.ask(STOP), Ok(vec![Effect::Resume, Effect::Powerdown]));
}

#[test]
fn stop_during_a_start_ends_what_comes_of_it() {
    let mut story = Story::new(RestartPolicy::Always);
    story.ask(Request::Start).unwrap();
    assert_eq!(story.ask(STOP), Ok(vec![]));
    assert_eq!(story.machine.deadline(), None, "there is nothing to kill yet");
    assert_eq!(story.fact(Fact::Started), [Effect::Kill]);
    assert_eq!(story.fact(exit(true)), []);
    assert_eq!((story.machine.state, story.machine.desired), (State::Stopped, Desired::Stopped));
}

#[test]
fn stop_during_the_pause_before_a_restart_cancels_it() {
    let mut story = Story::running(RestartPolicy::OnFailure);
    story.fact(exit(false));
    assert_eq!(story.machine.state, State::Crashed);
    assert_eq!(story.machine.next_restart, Some(at(1000)));
    assert_eq!(story.ask(STOP), Ok(vec![]));
    assert_eq!(story.tick_after(1000 * SECOND), []);
    assert_eq!(story.machine.state, State::Crashed);
}

#[test]
fn pauses_double_up_to_the_cap_and_begin_anew_after_a_stable_run() {
    let mut story = Story::running(RestartPolicy::OnFailure);
    for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        story.fact(exit(false));
        let pause = story.machine.next_restart.unwrap().since(story.now);
        assert_eq!(pause.as_secs(), seconds);
        assert_eq!(story.tick_after(pause), [Effect::Launch]);
        story.fact(Fact::Started);
    }
    assert_eq!(story.machine.restarts, 11);
    story.now = story.now.after(Backoff::default().stable);
    story.fact(exit(false));
    assert_eq!(story.machine.next_restart.unwrap().since(story.now), SECOND);
}

#[test]
fn policies_decide_who_is_started_again() {
    use RestartPolicy::{Always, Never, OnFailure};
    for (policy, orderly, panicked, again, state) in [
        (Never, false, false, false, State::Crashed),
        (Never, true, false, false, State::Stopped),
        (OnFailure, false, false, true, State::Crashed),
        (OnFailure, true, false, false, State::Stopped),
        (OnFailure, true, true, true, State::Crashed),
        (Always, true, false, true, State::Stopped),
        (Always, false, false, true, State::Crashed),
    ] {
        let mut story = Story::running(policy);
        if panicked {
            story.fact(Fact::Instance(InstanceEvent::Panicked));
        }
        story.fact(exit(orderly));
        assert_eq!(story.machine.state, state, "{policy:?} {orderly} {panicked}");
        assert_eq!(story.machine.next_restart.is_some(), again, "{policy:?} {orderly} {panicked}");
        assert_eq!(story.machine.desired == Desired::Running, again);
    }
}

#[test]
fn start_that_cannot_succeed_is_not_repeated() {
    for (permanent, again) in [(true, false), (false, true)] {
        let mut story = Story::new(RestartPolicy::Always);
        story.ask(Request::Start).unwrap();
        story.fact(Fact::StartFailed { message: "no such CPU".to_owned(), permanent });
        assert_eq!(story.machine.state, State::Crashed);
        assert_eq!(story.machine.exit.as_ref().unwrap().message, "no such CPU");
        assert_eq!(story.machine.next_restart.is_some(), again);
    }
}

#[test]
fn restart_is_a_stop_and_a_start() {
    let mut story = Story::running(RestartPolicy::Never);
    assert_eq!(story.ask(Request::Restart { timeout: SECOND }), Ok(vec![Effect::Powerdown]));
    assert_eq!(story.ask(Request::Start), Err(Refusal::Busy(State::Stopping)));
    assert_eq!(story.fact(exit(true)), [Effect::Launch]);
    assert_eq!((story.machine.state, story.machine.incarnation), (State::Starting, 2));
}

#[test]
fn what_happened_while_no_daemon_watched() {
    use RestartPolicy::{Always, Never, OnFailure};
    for (policy, rebooted, state, again) in [
        (Never, false, State::Crashed, false),
        (OnFailure, false, State::Crashed, true),
        (OnFailure, true, State::Stopped, false),
        (Never, true, State::Stopped, false),
    ] {
        let mut story = Story::running(policy);
        assert_eq!(story.fact(Fact::Lost { rebooted }), []);
        assert_eq!(story.machine.state, state, "{policy:?} {rebooted}");
        assert_eq!(story.machine.next_restart.is_some(), again, "{policy:?} {rebooted}");
    }
    let mut story = Story::running(Always);
    assert_eq!(
        story.fact(Fact::Lost { rebooted: true }),
        [Effect::Launch],
        "a booted host starts it at once"
    );
    let mut story = Story::running(Always);
    story.ask(STOP).unwrap();
    assert_eq!(story.fact(Fact::Lost { rebooted: true }), []);
    assert_eq!(story.machine.state, State::Stopped);
}

#[test]
fn adopted_machine_goes_on_where_it_was() {
    let mut story = Story::running(RestartPolicy::Never);
    assert_eq!(story.fact(Fact::Adopted { running: false }), []);
    assert_eq!(story.machine.state, State::Paused);
    let mut story = Story::new(RestartPolicy::Never);
    story.ask(Request::Start).unwrap();
    assert_eq!(story.fact(Fact::Adopted { running: true }), []);
    assert_eq!((story.machine.state, story.machine.launching), (State::Running, false));
    let mut story = Story::new(RestartPolicy::Never);
    story.ask(Request::Start).unwrap();
    assert_eq!(story.fact(Fact::Adopted { running: false }), [Effect::Kill], "half a start is begun anew");
    assert_eq!(story.fact(exit(false)), [Effect::Launch]);
    let mut story = Story::new(RestartPolicy::Never);
    story.ask(Request::Start).unwrap();
    story.ask(STOP).unwrap();
    assert_eq!(story.fact(Fact::Adopted { running: true }), [Effect::Kill]);
}

#[test]
fn removal_waits_until_nothing_runs() {
    let mut story = Story::running(RestartPolicy::Always);
    assert_eq!(story.ask(Request::Remove { force: false }), Err(Refusal::StillRuns(State::Running)));
    assert_eq!(story.ask(Request::Remove { force: true }), Ok(vec![Effect::Kill]));
    assert_eq!(story.ask(Request::Start), Err(Refusal::Leaving));
    assert_eq!(story.fact(exit(false)), [Effect::Remove]);
    assert_eq!(story.fact(Fact::Loaded), [Effect::Remove], "an interrupted removal is taken up again");
    story.fact(Fact::RemoveFailed);
    assert_eq!(story.ask(Request::Start), Ok(vec![Effect::Launch]));
}

#[test]
fn verbs_change_strategies_as_kubevirt_has_it() {
    use RunStrategy::{Always, Halted, Manual, Once, RerunOnFailure};
    // Created and, where its strategy says so, running: what stop, then start makes of it.
    for (run, stopped, started) in [
        (Always, Halted, Always),
        (Halted, Halted, Always),
        (Manual, Manual, Manual),
        (RerunOnFailure, RerunOnFailure, RerunOnFailure),
    ] {
        let mut story = Story::with(run);
        assert_eq!(story.machine.state == State::Running, run.starts_at_creation(), "{run}");
        story.ask(STOP).unwrap();
        if story.machine.state == State::Stopping {
            story.fact(exit(true));
        }
        assert_eq!(story.machine.run, stopped, "{run}, stopped");
        assert_eq!(story.fact(Fact::Loaded), [], "{run}: a stop outlives the daemon");
        assert_eq!(story.ask(Request::Start), Ok(vec![Effect::Launch]), "{run}");
        assert_eq!(story.machine.run, started, "{run}, started");
        story.fact(Fact::Started);
        story.ask(Request::Restart { timeout: SECOND }).unwrap();
        assert_eq!(story.fact(exit(true)), [Effect::Launch], "{run}");
        assert_eq!(story.machine.run, started, "{run}, restarted");
    }
    let mut story = Story::with(Once);
    story.fact(exit(true));
    assert_eq!(story.ask(Request::Start), Err(Refusal::Once));
    let mut story = Story::with(Always);
    assert_eq!(story.ask(Request::Start), Err(Refusal::Already(State::Running)));
    assert_eq!(story.machine.run, Always);
    let mut story = Story::with(Halted);
    assert_eq!(story.ask(Request::Restart { timeout: SECOND }), Err(Refusal::Halted));
    assert_eq!(story.ask(STOP), Ok(vec![]));
    assert_eq!(story.ask(Request::Kill), Ok(vec![]));
    assert_eq!((story.machine.run, story.machine.state), (Halted, State::Defined));
}

#[test]
fn strategies_decide_what_follows_an_end() {
    use RunStrategy::{Always, Manual, Once, RerunOnFailure};
    for (run, orderly, again) in [
        (Always, true, true),
        (Always, false, true),
        (RerunOnFailure, true, false),
        (RerunOnFailure, false, true),
        (Once, false, false),
        (Once, true, false),
    ] {
        let mut story = Story::with(run);
        story.fact(exit(orderly));
        assert_eq!(story.machine.next_restart.is_some(), again, "{run} {orderly}");
        assert_eq!(story.machine.run, run);
    }
    for (run, again) in [(Always, true), (RerunOnFailure, true), (Once, false)] {
        let mut story = Story::with(run);
        let launched = story.fact(Fact::Lost { rebooted: true }) == [Effect::Launch];
        assert_eq!(launched, again, "{run} after a reboot");
    }
    let mut story = Story::new(RestartPolicy::Never);
    assert_eq!(story.machine.run, Manual);
    assert_eq!(story.fact(Fact::Loaded), []);
}

#[test]
fn machine_whose_maker_was_killed_is_started_by_the_next_daemon() {
    use RunStrategy::{Always, Halted, Manual, Once, RerunOnFailure};
    for run in [Always, Halted, Manual, RerunOnFailure, Once] {
        let mut story = Story::new(RestartPolicy::Never);
        story.machine = Machine::new(at(0), run);
        let launched = story.fact(Fact::Loaded) == [Effect::Launch];
        assert_eq!(launched, run.starts_at_creation(), "{run}");
    }
    // What could not be started at all is tried again by a daemon with another config.
    let mut story = Story::new(RestartPolicy::Never);
    story.machine = Machine::new(at(0), Always);
    story.ask(Request::Start).unwrap();
    story.fact(Fact::StartFailed { message: "denied".to_owned(), permanent: true });
    assert_eq!((story.machine.next_restart, story.machine.run), (None, Always));
    assert_eq!(story.fact(Fact::Loaded), [Effect::Launch]);
}

#[test]
fn refusals_say_what_to_do() {
    let texts = [
        (Refusal::NotRunning(State::Stopped), "is stopped: start it first"),
        (Refusal::Already(State::Running), "is running already"),
        (Refusal::StillRuns(State::Paused), "is paused: stop it first, or remove it with force"),
    ];
    for (refusal, text) in texts {
        assert_eq!(refusal.to_string(), text);
    }
    let mut broken = Story::new(RestartPolicy::Never);
    broken.machine.state = State::Broken;
    assert_eq!(broken.ask(Request::Start), Err(Refusal::Broken));
}

/// Something that may happen next.
#[derive(Debug, Clone)]
enum Step {
    Ask(Request),
    LaunchEnds { fails: bool, permanent: bool },
    GuestEnds { orderly: bool },
    Guest(InstanceEvent),
    Time(u64),
    Daemon { rebooted: bool, survives: bool, running: bool },
    RemoveFails,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let timeout = (0..40_000u64).prop_map(Duration::from_millis);
    let request = prop_oneof![
        3 => Just(Request::Start),
        2 => timeout.clone().prop_map(|timeout| Request::Stop { timeout }),
        1 => Just(Request::Kill),
        1 => timeout.prop_map(|timeout| Request::Restart { timeout }),
        1 => Just(Request::Pause),
        1 => Just(Request::Resume),
        1 => any::<bool>().prop_map(|force| Request::Remove { force }),
    ];
    let guest = prop_oneof![
        Just(InstanceEvent::Paused { reason: Some("disk full".to_owned()) }),
        Just(InstanceEvent::Resumed),
        Just(InstanceEvent::Panicked),
        Just(InstanceEvent::Reset { by_guest: true }),
        Just(InstanceEvent::Shutdown { by_guest: true }),
    ];
    let step = prop_oneof![
        4 => request.prop_map(Step::Ask),
        4 => (any::<bool>(), any::<bool>()).prop_map(|(fails, permanent)| Step::LaunchEnds { fails, permanent }),
        3 => any::<bool>().prop_map(|orderly| Step::GuestEnds { orderly }),
        2 => guest.prop_map(Step::Guest),
        3 => (0..700_000u64).prop_map(Step::Time),
        1 => any::<(bool, bool, bool)>()
            .prop_map(|(rebooted, survives, running)| Step::Daemon { rebooted, survives, running }),
        1 => Just(Step::RemoveFails),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The world around a machine, and what must never happen in it.
struct World {
    story: Story,
    live: bool,
    launching: bool,
    removing: bool,
    /// A person has ended it and not started it again.
    unwanted: bool,
    jitter: f64,
}

impl World {
    fn context(&self) -> Context {
        Context { jitter: self.jitter, ..context(self.story.policy, self.story.now) }
    }

    fn take(&mut self, event: Event) -> bool {
        let before = self.story.machine.clone();
        let Ok((after, effects)) = before.next(&event, &self.context()) else { return false };
        if let Event::Request(request) = event {
            self.unwanted = match request {
                Request::Start | Request::Restart { .. } => false,
                Request::Stop { .. } | Request::Kill | Request::Remove { .. } => true,
                Request::Pause | Request::Resume => self.unwanted,
            };
        }
        if let (Some(restart), true) = (after.next_restart, after.next_restart != before.next_restart) {
            assert!(restart.since(self.story.now) <= Backoff::default().cap, "backoff is bounded");
            assert!(restart > self.story.now, "and never nothing");
        }
        self.story.machine = after;
        let asked = matches!(event, Event::Request(Request::Start | Request::Restart { .. }));
        for effect in effects {
            if effect == Effect::Launch && !asked && before.state.is_ended() {
                let run = self.story.machine.run;
                assert_ne!(run, RunStrategy::Halted, "who is halted is not started by itself");
                assert!(run != RunStrategy::Once || !before.ran, "once is once");
            }
            self.act(effect);
        }
        self.check(&before);
        true
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Launch => {
                assert!(!self.live && !self.launching, "one instance at a time");
                assert!(!self.unwanted, "no restart after an explicit stop");
                self.launching = true;
            }
            Effect::Remove => {
                assert!(!self.live && !self.launching, "only what does not run is removed");
                self.removing = true;
            }
            Effect::Powerdown | Effect::Kill | Effect::Pause | Effect::Resume => {
                assert!(self.live, "{effect:?} needs an instance");
            }
        }
    }

    fn check(&self, before: &Machine) {
        let machine = &self.story.machine;
        assert_eq!(machine.launching, self.launching, "every launch is tracked");
        if machine.state.is_ended() {
            assert!(!self.live && !self.launching, "what has ended does not run");
            let awaits_its_first_start = machine.state == State::Defined && machine.incarnation == 0;
            if !awaits_its_first_start {
                assert_eq!(machine.next_restart.is_some(), machine.desired == Desired::Running);
            }
        }
        if self.live {
            assert!(matches!(machine.state, State::Running | State::Paused | State::Stopping));
        }
        if self.live && machine.state == State::Stopping {
            assert!(machine.kill_at.is_some(), "whatever is being stopped is killed in the end");
        }
        assert!(legal(before.state, machine.state), "{} -> {}", before.state, machine.state);
    }
}

fn legal(from: State, to: State) -> bool {
    use State::{Crashed, Defined, Paused, Running, Starting, Stopped, Stopping};
    from == to
        || match from {
            Defined | Stopped | Crashed => to == Starting,
            Starting => matches!(to, Running | Paused | Stopping | Stopped | Crashed),
            Running | Paused => matches!(to, Running | Paused | Stopping | Stopped | Crashed | Starting),
            Stopping => matches!(to, Stopped | Starting),
            State::Broken => false,
        }
}

fn strategies() -> impl Strategy<Value = RunStrategy> {
    use RunStrategy::{Always, Halted, Manual, Once, RerunOnFailure};
    prop_oneof![3 => Just(Manual), 2 => Just(Always), Just(Halted), Just(RerunOnFailure), Just(Once)]
}

fn policies() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![Just(RestartPolicy::Never), Just(RestartPolicy::OnFailure), Just(RestartPolicy::Always)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_story_leads_astray(
        policy in policies(),
        run in strategies(),
        jitter in 0.0..=1.0,
        steps in steps(),
    ) {
        let policy = if run.agrees_with(policy) { policy } else { RestartPolicy::Never };
        let story = Story { machine: Machine::new(at(0), run), policy, now: at(0) };
        let mut world =
            World { story, live: false, launching: false, removing: false, unwanted: false, jitter };
        for step in steps {
            if world.removing {
                // It ends here, unless the files stay.
                if !matches!(step, Step::RemoveFails) {
                    break;
                }
                world.removing = false;
                world.take(Event::Fact(Fact::RemoveFailed));
                continue;
            }
            match step {
                Step::Ask(request) => {
                    world.take(Event::Request(request));
                }
                Step::LaunchEnds { fails, permanent } if world.launching => {
                    world.launching = false;
                    world.live = !fails;
                    let message = "no".to_owned();
                    let fact = if fails { Fact::StartFailed { message, permanent } } else { Fact::Started };
                    world.take(Event::Fact(fact));
                }
                Step::GuestEnds { orderly } if world.live => {
                    world.live = false;
                    world.take(Event::Fact(exit(orderly)));
                }
                Step::Guest(event) if world.live => {
                    world.take(Event::Fact(Fact::Instance(event)));
                }
                Step::Time(millis) => {
                    world.story.now = world.story.now.after(Duration::from_millis(millis));
                    world.take(Event::Fact(Fact::Tick));
                }
                Step::Daemon { rebooted, survives, running } => {
                    let ran = world.live || world.launching;
                    world.live = ran && survives && !rebooted;
                    world.launching = false;
                    let fact = match (ran, world.live) {
                        (false, _) => Fact::Loaded,
                        (true, true) => Fact::Adopted { running },
                        (true, false) => Fact::Lost { rebooted },
                    };
                    world.take(Event::Fact(fact));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn state_survives_its_file(policy in policies(), steps in steps()) {
        let mut story = Story::new(policy);
        for step in steps {
            if let Step::Ask(request) = step {
                let _ = story.ask(request);
            }
            let text = serde_json::to_string(&story.machine).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Machine>(&text).unwrap(), &story.machine);
        }
    }
}
