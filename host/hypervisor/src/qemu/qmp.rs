//! The monitor protocol (QMP), over the `qapi` crate.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use qapi::futures::{QapiEvents, QapiService, QmpStreamTokio};
use qapi::qmp::QmpCommand;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::run_dir::{MONITOR, RunDir};
use crate::{Error, ErrorKind};

/// How long QEMU may take to answer a command. It answers within milliseconds, but its main loop may wait for a disk.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest message. A hypervisor that a guest has taken over must not fill the daemon's memory.
const LONGEST_MESSAGE: usize = 4 << 20;

type Service = QapiService<QmpStreamTokio<OwnedWriteHalf>>;
/// What QEMU reports; has to be polled for commands to be answered.
pub(super) type Events = QapiEvents<QmpStreamTokio<Bounded<OwnedReadHalf>>>;

/// The way to send commands. A lost connection is replaced by [`Monitor::connect`].
#[derive(Default)]
pub(super) struct Monitor {
    service: Mutex<Option<Arc<Service>>>,
}

impl Monitor {
    /// Connects to the socket in the run directory and negotiates.
    pub async fn connect(&self, run_dir: &RunDir) -> io::Result<Events> {
        self.disconnect();
        let stream = UnixStream::connect(run_dir.socket_path(MONITOR)).await?;
        let (read, write) = stream.into_split();
        let negotiation = QmpStreamTokio::open_split(Bounded::new(read), write).await?;
        let (service, events) = negotiation.negotiate().await?.into_parts();
        *self.lock() = Some(Arc::new(service));
        Ok(events)
    }

    /// Fails the commands that wait, and those to come.
    pub fn disconnect(&self) {
        self.lock().take();
    }

    /// Sends a command and waits for its answer.
    pub async fn execute<C>(&self, command: C) -> Result<C::Ok, Error>
    where
        C: QmpCommand,
    {
        self.execute_within(ANSWER, command).await
    }

    /// The same, with another patience.
    pub async fn execute_within<C>(&self, patience: Duration, command: C) -> Result<C::Ok, Error>
    where
        C: QmpCommand,
    {
        let silent = |why: &str| {
            let message = format!("QEMU does not answer \"{}\": {why}", C::NAME);
            Error::new(ErrorKind::Unresponsive, message)
        };
        let service = self.lock().clone().ok_or_else(|| silent("the monitor is not connected"))?;
        match tokio::time::timeout(patience, service.execute(command)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(qapi::ExecuteError::Qapi(error))) => {
                let message = format!("QEMU refuses \"{}\": {}", C::NAME, error.desc);
                Err(Error::new(ErrorKind::Command, message))
            }
            Ok(Err(qapi::ExecuteError::Io(error))) => {
                let message = format!("QEMU does not answer \"{}\"", C::NAME);
                Err(Error::caused(ErrorKind::Unresponsive, message, error))
            }
            Err(_) => Err(silent(&format!("nothing came for {patience:?}"))),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Service>>> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fails once a line is too long, instead of letting the reader keep all of it.
pub(super) struct Bounded<R> {
    inner: R,
    line: usize,
}

impl<R> Bounded<R> {
    fn new(inner: R) -> Self {
        Self { inner, line: 0 }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Bounded<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.line = match read.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => read.len() - newline - 1,
            None => self.line + read.len(),
        };
        if self.line > LONGEST_MESSAGE {
            let message = format!("a monitor message is longer than {LONGEST_MESSAGE} bytes");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, message)));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::{Bounded, LONGEST_MESSAGE};

    #[tokio::test]
    async fn endless_lines_are_refused_and_many_lines_are_not() {
        let lines = "x\n".repeat(LONGEST_MESSAGE);
        let mut sink = Vec::new();
        assert!(Bounded::new(lines.as_bytes()).read_to_end(&mut sink).await.is_ok());
        let line = vec![b'x'; LONGEST_MESSAGE + 1];
        let error = Bounded::new(line.as_slice()).read_to_end(&mut sink).await.unwrap_err();
        assert_eq!(error.to_string(), format!("a monitor message is longer than {LONGEST_MESSAGE} bytes"));
    }
}
