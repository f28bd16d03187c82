//! A console attached to the user's terminal.

use std::io::IsTerminal;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

/// Ctrl-].
const LEAVE: u8 = 0x1d;

/// Why a console was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The user pressed Ctrl-].
    ByUser,
    /// The other side closed the stream: the machine ended, or another client took over.
    Closed,
    /// A signal told this process to end.
    Signal,
}

/// The terminal in raw mode; as it was before once this is dropped.
struct RawMode {
    before: Termios,
}

impl RawMode {
    /// `None` where standard input is no terminal.
    fn enter() -> std::io::Result<Option<Self>> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Connects the user's terminal to `stream` until one of them ends. Says on standard error how to leave, where there is
/// somebody to read it.
///
/// # Errors
/// When the terminal cannot be used or the stream breaks.
pub async fn attach(stream: impl AsyncRead + AsyncWrite + Unpin, machine: &str) -> anyhow::Result<Left> {
    let raw = RawMode::enter()?;
    if raw.is_some() {
        eprint!("Console of {machine}: press Enter for a prompt, Ctrl-] to leave.\r\n");
    }
    let left = copy(stream, raw.is_some()).await;
    let interactive = raw.is_some();
    drop(raw);
    if interactive {
        eprintln!();
    }
    Ok(left?)
}

async fn copy(stream: impl AsyncRead + AsyncWrite + Unpin, interactive: bool) -> std::io::Result<Left> {
    let (mut from_guest, mut to_guest) = tokio::io::split(stream);
    let (mut stdin, mut stdout) = (tokio::io::stdin(), tokio::io::stdout());
    let (mut typed, mut printed) = (vec![0; 1024], vec![0; 16 << 10]);
    let mut typing = true;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            count = from_guest.read(&mut printed) => match count {
                Ok(0) | Err(_) => return Ok(Left::Closed),
                Ok(count) => {
                    stdout.write_all(&printed[..count]).await?;
                    stdout.flush().await?;
                }
            },
            count = stdin.read(&mut typed), if typing => {
                let bytes = &typed[..count?];
                typing = !bytes.is_empty();
                let end = if interactive { bytes.iter().position(|byte| *byte == LEAVE) } else { None };
                let sent = to_guest.write_all(&bytes[..end.unwrap_or(bytes.len())]).await;
                if end.is_some() {
                    return Ok(Left::ByUser);
                }
                if sent.is_err() {
                    return Ok(Left::Closed);
                }
                to_guest.flush().await?;
            },
            _ = terminate.recv() => return Ok(Left::Signal),
            _ = hangup.recv() => return Ok(Left::Signal),
            _ = interrupt.recv() => return Ok(Left::Signal),
        }
    }
}
