//! Consoles: attached both ways, and what was printed.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use witvirt_core::Name;
use witvirt_machine::{ConsoleFrom, ConsoleInput, ConsoleOutput, ConsoleSession, LogQuery, SessionEvent};

use super::reply::{Failure, Params, Segment, bytes};
use crate::api::machine::{ConsoleParams, LogParams, Since};
use crate::api::{Error, ErrorKind};
use crate::client::CONSOLE_PROTOCOL;
use crate::service::Service;

/// Pieces of a log that wait for a slow reader.
const LOG_BUFFER: usize = 4;

/// What the older of two clients reads last.
const TAKEN_OVER: &[u8] = b"\r\n[witvirt: another client has taken this console over]\r\n";

/// Switches the connection to a stream of bytes.
pub(super) async fn attach(
    State(service): State<Arc<Service>>,
    Segment(name): Segment<Name>,
    Params(params): Params<ConsoleParams>,
    mut request: Request,
) -> Result<Response, Failure> {
    let asked = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    if !asked.is_some_and(|protocol| protocol.eq_ignore_ascii_case(CONSOLE_PROTOCOL)) {
        let message =
            format!("a console takes the headers Connection: upgrade and Upgrade: {CONSOLE_PROTOCOL}");
        return Err(Error::new(ErrorKind::Invalid, message).into());
    }
    let from = match params.from {
        Since::Now => ConsoleFrom::Now,
        Since::Boot => ConsoleFrom::Boot,
    };
    let session = service.machines().console(&name, from).await?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(stream) => carry(session, TokioIo::new(stream)).await,
            Err(error) => {
                tracing::debug!(machine = %name, %error, "the console's connection was not upgraded")
            }
        }
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, CONSOLE_PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response())
}

/// Carries a session until the machine ends, a newer client comes or this one goes. A client that has closed its own
/// direction (the end of a pipe) still reads to the end.
async fn carry(session: ConsoleSession, stream: impl AsyncRead + AsyncWrite) {
    let (mut from_client, mut to_client) = tokio::io::split(stream);
    let ConsoleSession { mut output, input } = session;
    let print = print(&mut output, &mut to_client);
    let type_in = async {
        type_in(&input, &mut from_client).await;
        // The session lasts as long as its input half.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = print => {}
        () = type_in => {}
    }
    let _ = to_client.shutdown().await;
}

async fn print(output: &mut ConsoleOutput, client: &mut (impl AsyncWrite + Unpin)) {
    loop {
        let text = match output.next().await {
            Ok(Some(SessionEvent::Output(chunk))) => chunk.bytes,
            Ok(Some(SessionEvent::TakenOver)) => TAKEN_OVER.to_vec(),
            Ok(Some(SessionEvent::Ended) | None) => return,
            Err(error) => {
                tracing::warn!(%error, "a console broke");
                return;
            }
        };
        if client.write_all(&text).await.is_err() || client.flush().await.is_err() {
            return;
        }
    }
}

async fn type_in(input: &ConsoleInput, client: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = vec![0; 4096];
    loop {
        match client.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if input.send(buffer[..count].to_vec()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What a machine printed, as it printed it.
pub(super) async fn logs(
    State(service): State<Arc<Service>>,
    Segment(name): Segment<Name>,
    Params(params): Params<LogParams>,
) -> Result<Response, Failure> {
    let since = params.since.map(|text| text.parse()).transpose();
    let since = since.map_err(|error| Error::new(ErrorKind::Invalid, format!("since: {error}")))?;
    let query = LogQuery { tail: params.tail, since, follow: params.follow };
    let mut reader = service.machines().logs(&name, query).await?;
    let (sender, receiver) = mpsc::channel(LOG_BUFFER);
    tokio::spawn(async move {
        loop {
            let chunk = tokio::select! {
                chunk = reader.next() => chunk,
                () = sender.closed() => return,
            };
            match chunk {
                Ok(Some(chunk)) => {
                    if sender.send(chunk.bytes).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(machine = %name, %error, "a console log broke");
                    return;
                }
            }
        }
    });
    Ok(bytes(receiver))
}
