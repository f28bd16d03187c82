//! What uploads are made of: bodies that count how far they have been sent.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use witvirt_disk::{Error, ErrorKind, Result};

use crate::client::{RequestBody, full};

/// Bytes of a file that are read at once for an upload in one request, and how many of these wait to be sent.
const PIECE: usize = 256 << 10;
const PIECES: usize = 4;

/// A body of `size` bytes that are read from `source` while it is sent, the count of what was sent, and what came of reading.
pub(super) fn streamed(
    source: Box<dyn Read + Send>,
    size: u64,
) -> (RequestBody, Arc<AtomicU64>, tokio::task::JoinHandle<Result<()>>) {
    let (pieces, queue) = mpsc::channel(PIECES);
    let reading = tokio::task::spawn_blocking(move || read_pieces(source, size, &pieces));
    let sent = Arc::new(AtomicU64::new(0));
    let body = Streamed { queue, left: size, sent: sent.clone() }.boxed_unsync();
    (body, sent, reading)
}

/// Reads exactly `size` bytes. That nobody listens any more is no error here: the answer says why.
fn read_pieces(mut source: Box<dyn Read + Send>, size: u64, pieces: &mpsc::Sender<Bytes>) -> Result<()> {
    let failed = |error| Error::io("read what is to be uploaded", error);
    let mut left = size;
    loop {
        let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
        source.read_exact(&mut piece).map_err(failed)?;
        left -= piece.len() as u64;
        // Before the last piece is sent: a whole body would be taken for the blob.
        if left == 0 && source.read(&mut [0]).map_err(failed)? > 0 {
            let message = format!("what is to be uploaded is longer than {size} bytes");
            return Err(Error::new(ErrorKind::Changed, message));
        }
        if pieces.blocking_send(piece.into()).is_err() || left == 0 {
            return Ok(());
        }
    }
}

/// A body of pieces, and a count of what was taken of it.
struct Streamed {
    queue: mpsc::Receiver<Bytes>,
    left: u64,
    sent: Arc<AtomicU64>,
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = std::task::ready!(self.queue.poll_recv(context));
        let Some(piece) = piece else {
            let cut = (self.left > 0).then(|| Err(io::ErrorKind::UnexpectedEof.into()));
            return Poll::Ready(cut);
        };
        self.left = self.left.saturating_sub(piece.len() as u64);
        self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A body in memory, in pieces, so that a slow upload is seen to go on.
pub(super) fn counted(bytes: &Bytes) -> (RequestBody, Arc<AtomicU64>) {
    struct Pieces {
        pieces: VecDeque<Bytes>,
        left: u64,
        sent: Arc<AtomicU64>,
    }
    impl Body for Pieces {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            let Some(piece) = self.pieces.pop_front() else { return Poll::Ready(None) };
            self.left -= piece.len() as u64;
            self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            Poll::Ready(Some(Ok(Frame::data(piece))))
        }

        fn is_end_stream(&self) -> bool {
            self.pieces.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.left)
        }
    }
    let sent = Arc::new(AtomicU64::new(0));
    if bytes.is_empty() {
        return (full(Bytes::new()), sent);
    }
    let starts = (0..bytes.len()).step_by(PIECE);
    let pieces = starts.map(|start| bytes.slice(start..bytes.len().min(start + PIECE))).collect();
    (Pieces { pieces, left: bytes.len() as u64, sent: sent.clone() }.boxed_unsync(), sent)
}
