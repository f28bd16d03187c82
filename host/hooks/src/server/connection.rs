//! Connections of a listener.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::answer::answer;
use super::{Bound, Face, Server};

/// Bytes of all header fields of a request.
const LARGEST_HEADERS: u32 = 16 << 10;
/// Calls at once on a connection.
const STREAMS: u32 = 8;
/// Pause after a failed accept (out of descriptors): nobody says when that is over.
const BREATH: Duration = Duration::from_millis(100);

/// Serves until the end of `server`, and then lets what runs come to its end. The socket is gone when this returns.
pub async fn serve(socket: Bound, face: Face, server: Arc<Server>) {
    let face = Arc::new(face);
    let mut connections = JoinSet::new();
    let mut ended = pin!(server.ended());
    loop {
        let full = connections.len() >= server.limits.connections;
        tokio::select! {
            () = &mut ended => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = socket.listener().accept(), if !full => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, Arc::clone(&face), Arc::clone(&server)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(BREATH).await;
                }
            },
        }
    }
    drop(socket);
    let last = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(server.limits.farewell, last).await.is_err() {
        tracing::warn!("calls were cut off");
    }
}

async fn converse(stream: UnixStream, face: Arc<Face>, server: Arc<Server>) {
    let ended = Arc::clone(&server);
    let service = service_fn(move |request| answer(Arc::clone(&server), Arc::clone(&face), request));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(STREAMS).max_header_list_size(LARGEST_HEADERS);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = &mut connection => result,
        () = ended.ended() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        // Launchers hang up whenever they like; that is no failure of the sidecar.
        tracing::debug!(%error, "a connection broke");
    }
}
