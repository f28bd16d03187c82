//! The task that plays the guest.

use std::fs::File;
use std::io::Write;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use witvirt_core::Name;

use super::{CONSOLE_BUFFER, Fault};
use crate::{Exit, InstanceEvent};

/// What the instance asks of its guest; `done` is answered when it has been obeyed.
pub(super) enum Order {
    Pause { done: oneshot::Sender<()> },
    Resume { done: oneshot::Sender<()> },
    Powerdown { done: oneshot::Sender<()> },
    Reset { done: oneshot::Sender<()> },
    Kill { done: oneshot::Sender<()> },
    Running { done: oneshot::Sender<bool> },
    Console { done: oneshot::Sender<DuplexStream> },
    Fault { fault: Fault, done: oneshot::Sender<()> },
}

/// The state of one machine.
pub(super) struct Guest {
    name: Name,
    log: File,
    events: mpsc::Sender<InstanceEvent>,
    console: Option<DuplexStream>,
    running: bool,
    hung: bool,
    /// The power button was pressed while the CPUs stood still, or the machine ends for another reason.
    button: bool,
    exit: Option<Exit>,
}

impl Guest {
    pub(super) fn new(name: Name, log: File, events: mpsc::Sender<InstanceEvent>) -> Self {
        Self { name, log, events, console: None, running: true, hung: false, button: false, exit: None }
    }

    /// Plays until the machine ends, or until nobody holds the instance any more.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut typed = [0; CONSOLE_BUFFER];
        self.print_banner().await;
        while self.exit.is_none() {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return,
                },
                read = read(&mut self.console, &mut typed), if self.running => match read {
                    Some(length) => {
                        let echo = typed.get(..length).unwrap_or_default().to_vec();
                        self.print(&echo).await;
                    }
                    None => self.console = None,
                },
            }
        }
        drop(orders);
        if let Some(exit) = self.exit.take() {
            self.report(InstanceEvent::Exited(exit)).await;
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Pause { done } => self.pause(None, done).await,
            Order::Resume { done } => {
                if !self.running {
                    self.running = true;
                    self.report(InstanceEvent::Resumed).await;
                }
                let _caller_left = done.send(());
                self.answer_button().await;
            }
            Order::Powerdown { done } => {
                self.button = true;
                let _caller_left = done.send(());
                self.answer_button().await;
            }
            Order::Reset { done } => {
                let _caller_left = done.send(());
                self.reset(false).await;
            }
            Order::Kill { done } => {
                let _caller_left = done.send(());
                self.shut_down(false).await;
            }
            Order::Running { done } => {
                let _caller_left = done.send(self.running);
            }
            Order::Console { done } => {
                let (ours, theirs) = tokio::io::duplex(CONSOLE_BUFFER);
                self.console = Some(ours);
                let _caller_left = done.send(theirs);
            }
            Order::Fault { fault, done } => self.suffer(fault, done).await,
        }
    }

    async fn suffer(&mut self, fault: Fault, done: oneshot::Sender<()>) {
        if let Fault::Pause { reason } = fault {
            return self.pause(Some(reason), done).await;
        }
        let _caller_left = done.send(());
        match fault {
            Fault::Crash { signal } => {
                let stderr = format!("simulated crash by signal {signal}");
                self.exit = Some(Exit { orderly: false, code: None, signal: Some(signal), stderr });
            }
            Fault::GuestShutdown => self.shut_down(true).await,
            Fault::GuestReset => self.reset(true).await,
            Fault::GuestPanic => self.report(InstanceEvent::Panicked).await,
            Fault::Hang => self.hung = true,
            Fault::Pause { .. } => {}
        }
    }

    async fn pause(&mut self, reason: Option<String>, done: oneshot::Sender<()>) {
        if self.running {
            self.running = false;
            self.report(InstanceEvent::Paused { reason }).await;
        }
        let _caller_left = done.send(());
    }

    /// A guest sees the power button only while its CPUs run.
    async fn answer_button(&mut self) {
        if self.button && self.running && !self.hung {
            self.shut_down(true).await;
        }
    }

    async fn shut_down(&mut self, by_guest: bool) {
        self.report(InstanceEvent::Shutdown { by_guest }).await;
        self.exit = Some(Exit { orderly: true, code: Some(0), signal: None, stderr: String::new() });
    }

    async fn reset(&mut self, by_guest: bool) {
        self.hung = false;
        self.button = false;
        self.report(InstanceEvent::Reset { by_guest }).await;
        self.print_banner().await;
    }

    async fn print_banner(&mut self) {
        let banner = format!("witvirt null machine {}: nothing runs here, input is echoed\r\n", self.name);
        self.print(banner.as_bytes()).await;
    }

    /// To the log always, to the console when somebody holds it.
    async fn print(&mut self, bytes: &[u8]) {
        if let Err(error) = self.log.write_all(bytes) {
            tracing::warn!(machine = %self.name, %error, "console log not written");
        }
        let Some(console) = &mut self.console else { return };
        // A holder that does not read must not stop the machine: what does not fit is only in the log.
        let sent =
            tokio::time::timeout(std::time::Duration::from_millis(100), console.write_all(bytes)).await;
        if !matches!(sent, Ok(Ok(()))) {
            self.console = None;
        }
    }

    async fn report(&self, event: InstanceEvent) {
        // Without a reader the machine goes on all the same.
        let _reader_left = self.events.send(event).await;
    }
}

/// Reads what was typed; `None` when the holder has left. Waits for ever without a holder.
async fn read(console: &mut Option<DuplexStream>, buffer: &mut [u8]) -> Option<usize> {
    match console {
        Some(console) => console.read(buffer).await.ok().filter(|length| *length > 0),
        None => std::future::pending().await,
    }
}
