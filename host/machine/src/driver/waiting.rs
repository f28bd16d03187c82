//! Those who wait for what they asked for.

use tokio::sync::oneshot;
use witvirt_core::Name;

use crate::error::{Error, ErrorKind};
use crate::state::{Desired, Machine, Request, State};

type Reply = oneshot::Sender<Result<(), Error>>;

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Running,
    Paused,
    Ended,
    Removed,
}

#[derive(Default)]
pub(super) struct Waiting(Vec<(Goal, Reply)>);

impl Waiting {
    pub(super) fn add(&mut self, request: Request, reply: Reply) {
        let goal = match request {
            Request::Start | Request::Restart { .. } | Request::Resume => Goal::Running,
            Request::Pause => Goal::Paused,
            Request::Stop { .. } | Request::Kill => Goal::Ended,
            Request::Remove { .. } => Goal::Removed,
        };
        self.0.push((goal, reply));
    }

    /// Answers those whose wait is over.
    pub(super) fn answer(&mut self, name: Name, machine: &Machine) {
        for (goal, reply) in std::mem::take(&mut self.0) {
            match reached(goal, &name, machine) {
                // The caller may have left.
                Some(answer) => drop(reply.send(answer)),
                None => self.0.push((goal, reply)),
            }
        }
    }

    /// The machine is gone.
    pub(super) fn gone(&mut self, name: &Name) {
        for (goal, reply) in self.0.drain(..) {
            let removed = || Error::new(ErrorKind::NotFound, format!("machine {name} was removed"));
            let _ =
                reply.send(if matches!(goal, Goal::Removed | Goal::Ended) { Ok(()) } else { Err(removed()) });
        }
    }

    /// The machine could not be removed.
    pub(super) fn kept(&mut self, name: &Name, reason: &str) {
        for (goal, reply) in std::mem::take(&mut self.0) {
            if goal != Goal::Removed {
                self.0.push((goal, reply));
                continue;
            }
            let message = format!("machine {name} could not be removed: {reason}");
            let _ = reply.send(Err(Error::new(ErrorKind::Io, message)));
        }
    }
}

fn reached(goal: Goal, name: &Name, machine: &Machine) -> Option<Result<(), Error>> {
    let ended = machine.state.is_ended();
    match goal {
        Goal::Running if machine.state == State::Running => Some(Ok(())),
        Goal::Running if ended || machine.desired == Desired::Stopped => Some(Err(failure(name, machine))),
        // It runs, and something else has paused it since.
        Goal::Running if machine.state == State::Paused && machine.reason.is_some() => Some(Ok(())),
        Goal::Paused if machine.state == State::Paused => Some(Ok(())),
        Goal::Paused if machine.state != State::Running => Some(Err(failure(name, machine))),
        Goal::Ended if ended => Some(Ok(())),
        _ => None,
    }
}

fn failure(name: &Name, machine: &Machine) -> Error {
    let why = machine.exit.as_ref().filter(|_| machine.state.is_ended()).map(|exit| exit.message.as_str());
    let why = why.filter(|text| !text.is_empty()).map_or_else(String::new, |text| format!(": {text}"));
    let again = machine.next_restart.map_or_else(String::new, |at| format!("; it is started again at {at}"));
    Error::new(ErrorKind::Hypervisor, format!("machine {name} is {}{why}{again}", machine.state))
}
