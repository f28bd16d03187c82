//! Bodies of requests as sources.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use witvirt_disk::{ImportSource, Upload};

use super::{As, Import};
use crate::api::Progress;
use crate::api::image::{ImportReply, ImportRequest, UploadParams};
use crate::service::Service;
use crate::service::watch::with_progress;

/// Pieces of a body that wait to be read: each is what one read of the socket gave.
const WAITING: usize = 16;

/// How long a sender may be silent.
const SILENCE: Duration = Duration::from_secs(60);

impl Service {
    /// Imports what arrives. `length`: how many bytes the sender promised.
    pub fn upload(
        self: &Arc<Self>,
        params: UploadParams,
        length: Option<u64>,
        body: Body,
    ) -> mpsc::Receiver<Progress<ImportReply>> {
        let service = Arc::clone(self);
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(forward(body, sender));
        with_progress("upload", move |watch| {
            let request = ImportRequest {
                name: Some(params.name.clone()),
                format: params.format,
                unpack: params.unpack,
                member: params.member,
                checksums: params.checksum.into_iter().collect(),
                replace: params.replace,
                ..ImportRequest::default()
            };
            let label = format!("upload of {}", params.name);
            let upload = Upload::new(&label, length, Incoming { receiver, current: Bytes::new() });
            let name = Some(params.name);
            let job = Import { service: &service, request: &request, name, watch, who: As::Requester };
            let wanted = job.wanted(ImportSource::Upload(upload))?;
            job.store(&wanted, None, Vec::new())
        })
    }
}

/// Hands a body on as long as somebody reads.
async fn forward(body: Body, sender: mpsc::Sender<io::Result<Bytes>>) {
    let mut stream = body.into_data_stream();
    loop {
        let next = tokio::select! {
            () = sender.closed() => return,
            next = tokio::time::timeout(SILENCE, stream.next()) => next,
        };
        let piece = match next {
            Ok(None) => return,
            Ok(Some(piece)) => piece.map_err(io::Error::other),
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing arrived for {SILENCE:?}")))
            }
        };
        let ends = piece.is_err();
        if sender.send(piece).await.is_err() || ends {
            return;
        }
    }
}

/// A body for those who block.
struct Incoming {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}
