//! Watches a machine until its process has ended.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use qapi::qmp::{self, Event};
use tokio::sync::mpsc;

use super::arguments::disk_of_node;
use super::cgroup;
use super::instance::Shared;
use super::process::Ending;
use super::qmp::Events;
use crate::{Exit, InstanceEvent};

/// How often the size of the standard error file is looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(30);
/// Between attempts to connect a lost monitor again.
const RECONNECT: Duration = Duration::from_secs(1);
/// How long the last events of an ended process may take to be read.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// Polls the events while a command waits for its answer; returns both.
pub(super) async fn drive<T>(events: &mut Events, command: impl Future<Output = T>) -> (T, Vec<Event>) {
    let mut command = pin!(command);
    let mut early = Vec::new();
    loop {
        tokio::select! {
            biased;
            answer = &mut command => return (answer, early),
            event = events.next() => match event {
                Some(Ok(event)) => early.push(event),
                Some(Err(error)) => tracing::debug!(%error, "monitor message not understood"),
                // The command fails or times out by itself.
                None => return (command.await, early),
            },
        }
    }
}

/// Reports what happens, the exit last, and clears up behind the machine.
pub(super) async fn watch(
    shared: Arc<Shared>,
    mut events: Events,
    early: Vec<Event>,
    sender: mpsc::Sender<InstanceEvent>,
) {
    let mut history = History::default();
    for event in early {
        history.report(event, &sender).await;
    }
    let ending = follow(&shared, &mut events, &mut history, &sender).await;
    // What it said last is still in the socket.
    let rest = async {
        while let Some(Ok(event)) = events.next().await {
            history.report(event, &sender).await;
        }
    };
    let _silent = tokio::time::timeout(LAST_EVENTS, rest).await;
    shared.monitor.disconnect();
    cgroup::remove(shared.record.cgroup.as_deref());
    let exit = Exit {
        orderly: history.orderly && ending.signal.is_none() && ending.code.unwrap_or(0) == 0,
        code: ending.code,
        signal: ending.signal,
        stderr: shared.run_dir.stderr_tail(),
    };
    shared.run_dir.forget();
    // Nobody may be listening any more.
    let _reader_left = sender.send(InstanceEvent::Exited(exit)).await;
}

/// Until the process has ended.
async fn follow(
    shared: &Shared,
    events: &mut Events,
    history: &mut History,
    sender: &mpsc::Sender<InstanceEvent>,
) -> Ending {
    let mut ended = pin!(shared.process.ended());
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            ending = &mut ended => return ending,
            event = events.next() => match event {
                Some(Ok(event)) => history.report(event, sender).await,
                Some(Err(error)) => tracing::debug!(%error, "monitor message not understood"),
                None => {
                    tokio::select! {
                        ending = &mut ended => return ending,
                        again = reconnect(shared) => *events = again,
                    }
                }
            },
            _ = housekeeping.tick() => {
                if let Err(error) = shared.run_dir.cut_stderr() {
                    tracing::debug!(%error, "standard error not cut");
                }
            }
        }
    }
}

/// A message that the client does not know ends its connection; QEMU takes the next one.
async fn reconnect(shared: &Shared) -> Events {
    loop {
        tokio::time::sleep(RECONNECT).await;
        match shared.monitor.connect(&shared.run_dir).await {
            Ok(events) => return events,
            Err(error) => tracing::warn!(pid = shared.process.identity.pid, %error, "monitor not connected"),
        }
    }
}

/// What earlier events say about later ones.
#[derive(Default)]
pub(super) struct History {
    /// Why the next stop happens.
    reason: Option<String>,
    /// Guest or host asked for the end.
    orderly: bool,
}

impl History {
    async fn report(&mut self, event: Event, sender: &mpsc::Sender<InstanceEvent>) {
        if let Some(event) = self.translate(event) {
            let _reader_left = sender.send(event).await;
        }
    }

    /// QEMU's events (qapi/run-state.json, qapi/block-core.json) as ours.
    pub(super) fn translate(&mut self, event: Event) -> Option<InstanceEvent> {
        match event {
            Event::SHUTDOWN { data, .. } => {
                let fault =
                    matches!(data.reason, qmp::ShutdownCause::guest_panic | qmp::ShutdownCause::host_error);
                self.orderly = !fault;
                Some(InstanceEvent::Shutdown { by_guest: data.guest })
            }
            Event::RESET { data, .. } => Some(InstanceEvent::Reset { by_guest: data.guest }),
            Event::STOP { .. } => Some(InstanceEvent::Paused { reason: self.reason.take() }),
            Event::RESUME { .. } => {
                self.reason = None;
                Some(InstanceEvent::Resumed)
            }
            Event::BLOCK_IO_ERROR { data, .. } => {
                if data.action == qmp::BlockErrorAction::stop {
                    let node = data.node_name.as_deref().unwrap_or(&data.device);
                    let disk = disk_of_node(node).unwrap_or(node);
                    let operation = match data.operation {
                        qmp::IoOperationType::read => "reading",
                        qmp::IoOperationType::write => "writing",
                    };
                    self.reason = Some(format!("disk {disk}: {operation} failed: {}", data.reason));
                }
                None
            }
            Event::GUEST_PANICKED { data, .. } => {
                if data.action == qmp::GuestPanicAction::pause {
                    self.reason = Some("the guest panicked".to_owned());
                }
                Some(InstanceEvent::Panicked)
            }
            Event::WATCHDOG { data, .. } => {
                let action = qapi::Enum::name(&data.action).to_owned();
                if data.action == qmp::WatchdogAction::pause {
                    self.reason = Some("the watchdog fired".to_owned());
                }
                Some(InstanceEvent::Watchdog { action })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::History;
    use crate::InstanceEvent;

    fn translate(history: &mut History, event: &str, data: serde_json::Value) -> Option<InstanceEvent> {
        let timestamp = serde_json::json!({ "seconds": 1, "microseconds": 2 });
        let message = serde_json::json!({ "event": event, "data": data, "timestamp": timestamp });
        history.translate(serde_json::from_value(message).unwrap())
    }

    #[test]
    fn a_full_disk_explains_the_stop_that_follows() {
        let mut history = History::default();
        let error = serde_json::json!({
            "device": "", "node-name": "disk0-root", "operation": "write", "action": "stop", "nospace": true,
            "reason": "No space left on device",
        });
        assert_eq!(translate(&mut history, "BLOCK_IO_ERROR", error), None);
        let reason = Some("disk root: writing failed: No space left on device".to_owned());
        let stop = translate(&mut history, "STOP", serde_json::json!({}));
        assert_eq!(stop, Some(InstanceEvent::Paused { reason }));
        let stop = translate(&mut history, "STOP", serde_json::json!({}));
        assert_eq!(stop, Some(InstanceEvent::Paused { reason: None }), "a reason holds once");
    }

    #[test]
    fn a_panic_is_no_orderly_end() {
        let mut history = History::default();
        let panicked = translate(&mut history, "GUEST_PANICKED", serde_json::json!({ "action": "poweroff" }));
        assert_eq!(panicked, Some(InstanceEvent::Panicked));
        let data = serde_json::json!({ "guest": true, "reason": "guest-panic" });
        let shutdown = translate(&mut history, "SHUTDOWN", data);
        assert_eq!(shutdown, Some(InstanceEvent::Shutdown { by_guest: true }));
        assert!(!history.orderly);
        let data = serde_json::json!({ "guest": false, "reason": "host-qmp-quit" });
        translate(&mut history, "SHUTDOWN", data);
        assert!(history.orderly);
    }

    #[test]
    fn a_watchdog_names_its_action() {
        let fired =
            translate(&mut History::default(), "WATCHDOG", serde_json::json!({ "action": "inject-nmi" }));
        assert_eq!(fired, Some(InstanceEvent::Watchdog { action: "inject-nmi".to_owned() }));
    }
}
