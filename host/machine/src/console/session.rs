//! Interactive consoles: one at a time, the newer wins.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use witvirt_core::Name;
use witvirt_hypervisor::{ConsoleStream, Instance};

use super::log::ConsoleLog;
use super::reader::{LogChunk, LogReader};
use crate::error::{Error, ErrorKind};

/// Pieces of input that wait for the guest.
const INPUT_BUFFER: usize = 64;

/// Where the output of a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleFrom {
    /// With what is printed from now on.
    Now,
    /// With the first byte since the machine was started, as far as it is kept.
    Boot,
}

/// What comes out of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// The guest printed something.
    Output(LogChunk),
    /// A newer session has taken the console: the last event.
    TakenOver,
    /// The machine has ended, and all of its output was delivered: the last event.
    Ended,
}

/// An open console. Output comes from the log, so that none is missing and a slow reader does not hold up the guest;
/// input goes to the guest.
pub struct ConsoleSession {
    /// What the guest prints.
    pub output: ConsoleOutput,
    /// What it is told.
    pub input: ConsoleInput,
}

/// The half of a session that is read.
pub struct ConsoleOutput {
    reader: LogReader,
    end: oneshot::Receiver<SessionEvent>,
    phase: Phase,
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The machine has ended; the rest of its output is still to be delivered.
    Draining,
    Over,
}

/// The half of a session that is written. The session lasts as long as this half does.
#[derive(Clone)]
pub struct ConsoleInput {
    name: Name,
    sender: mpsc::Sender<Vec<u8>>,
}

impl ConsoleOutput {
    /// The next event; `None` after the last. Cancel safe.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<SessionEvent>, Error> {
        if self.phase == Phase::Open {
            tokio::select! {
                end = &mut self.end => {
                    if end == Ok(SessionEvent::TakenOver) {
                        self.phase = Phase::Over;
                        return Ok(Some(SessionEvent::TakenOver));
                    }
                    self.phase = Phase::Draining;
                }
                chunk = self.reader.next() => match chunk? {
                    Some(chunk) => return Ok(Some(SessionEvent::Output(chunk))),
                    None => self.phase = Phase::Draining,
                },
            }
        }
        if self.phase == Phase::Over {
            return Ok(None);
        }
        if let Some(chunk) = self.reader.available().await? {
            return Ok(Some(SessionEvent::Output(chunk)));
        }
        self.phase = Phase::Over;
        Ok(Some(SessionEvent::Ended))
    }
}

impl ConsoleInput {
    /// Types something; waits while the guest does not take it.
    ///
    /// # Errors
    /// `Closed` when the session is over.
    pub async fn send(&self, bytes: Vec<u8>) -> Result<(), Error> {
        let over = |_| Error::new(ErrorKind::Closed, format!("the console session of {} is over", self.name));
        self.sender.send(bytes).await.map_err(over)
    }
}

/// The console of one machine.
#[derive(Default)]
pub(crate) struct Sessions {
    current: Mutex<Option<Current>>,
}

struct Current {
    take: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Sessions {
    /// Opens a session; the one before is told and ends.
    pub(crate) async fn open(
        &self,
        name: &Name,
        instance: Arc<dyn Instance>,
        log: Arc<ConsoleLog>,
        position: u64,
    ) -> Result<ConsoleSession, Error> {
        let mut current = self.current.lock().await;
        if let Some(older) = current.take() {
            // It may have ended by itself.
            let _ = older.take.send(());
            let _ = older.task.await;
        }
        let stream = instance.console().await.map_err(|error| {
            Error::caused(ErrorKind::Hypervisor, format!("cannot connect to the console of {name}"), error)
        })?;
        let (sender, input) = mpsc::channel(INPUT_BUFFER);
        let (tell, end) = oneshot::channel();
        let (take, taken) = oneshot::channel();
        let task = tokio::spawn(async move {
            let event = tokio::select! {
                biased;
                _ = taken => SessionEvent::TakenOver,
                () = carry(stream, input) => SessionEvent::Ended,
            };
            // The client may have left.
            let _ = tell.send(event);
        });
        *current = Some(Current { take, task });
        Ok(ConsoleSession {
            output: ConsoleOutput { reader: LogReader::follow_from(log, position), end, phase: Phase::Open },
            input: ConsoleInput { name: name.clone(), sender },
        })
    }
}

/// Carries input to the guest until the machine or the client is gone. What the guest prints here is in the log as well;
/// it is taken so that the hypervisor does not wait.
async fn carry(stream: Box<dyn ConsoleStream>, mut input: mpsc::Receiver<Vec<u8>>) {
    let (mut from_guest, mut to_guest) = tokio::io::split(stream);
    let drain = async {
        let mut buffer = vec![0; 16 << 10];
        while from_guest.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
    };
    let feed = async {
        while let Some(bytes) = input.recv().await {
            if to_guest.write_all(&bytes).await.is_err() || to_guest.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = drain => {}
        () = feed => {}
    }
}
