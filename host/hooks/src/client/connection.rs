//! A connection to a sidecar.

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use http_body_util::{LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::error::{Failure, clean};
use crate::protocol::Call;

/// Bytes of all header fields of an answer, trailers included.
const LARGEST_HEADERS: u32 = 16 << 10;
/// Bytes of frames around a message.
const FRAMING: usize = 1 << 10;

/// Ends with its value.
pub(super) struct Connection {
    sender: SendRequest<Body>,
    driver: JoinHandle<()>,
}

impl Connection {
    pub(super) async fn open(socket: &Path) -> Result<Self, Failure> {
        let stream = UnixStream::connect(socket).await.map_err(Failure::Unreachable)?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_header_list_size(LARGEST_HEADERS);
        let handshake = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| no_grpc(&error))?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer on it is told.
            let _ = connection.await;
        });
        Ok(Self { sender, driver })
    }

    /// One call. The answer has at most `limit` bytes; `time` is told to the sidecar, and kept by the caller of this.
    pub(super) async fn call<P, R>(
        &self,
        call: Call,
        params: P,
        limit: usize,
        time: Duration,
    ) -> Result<R, Failure>
    where
        P: Message + Send + Sync + 'static,
        R: Message + Default + Send + Sync + 'static,
    {
        let path = PathAndQuery::try_from(call.path()).map_err(|error| Failure::NoGrpc(error.to_string()))?;
        let transport = Transport { sender: self.sender.clone(), limit: limit + FRAMING };
        let mut grpc = tonic::client::Grpc::with_origin(transport, Uri::from_static("http://localhost"))
            .max_decoding_message_size(limit);
        let mut request = tonic::Request::new(params);
        request.set_timeout(time);
        let answered = grpc.unary(request, path, ProstCodec::<P, R>::default()).await;
        answered.map(tonic::Response::into_inner).map_err(|status| failure(&status, limit))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn no_grpc(error: &(dyn Error + 'static)) -> Failure {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Failure::NoGrpc(clean(&text))
}

/// Tells what a sidecar reports from what is found wrong with its answer here.
fn failure(status: &Status, limit: usize) -> Failure {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Failure::TooLarge(limit);
        }
        if error.is::<hyper::Error>() {
            return no_grpc(error);
        }
        cause = error.source();
    }
    // The codec's own refusal of a length, which comes before the bytes do.
    if status.code() == Code::OutOfRange
        && status.message().starts_with("Error, decoded message length too large")
    {
        return Failure::TooLarge(limit);
    }
    Failure::Status { code: status.code(), message: clean(status.message()) }
}

/// The connection as tonic wants it: answers are cut at `limit`, whatever lengths they announce.
struct Transport {
    sender: SendRequest<Body>,
    limit: usize,
}

impl Service<http::Request<Body>> for Transport {
    type Response = http::Response<Limited<Incoming>>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (sending, limit) = (self.sender.send_request(request), self.limit);
        Box::pin(async move { Ok(sending.await?.map(|body| Limited::new(body, limit))) })
    }
}
