//! Requests and answers as JSON, errors included.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Receiver;

use crate::api::{Error, ErrorKind, Progress};

/// The largest body of a request: a 4 MiB document as JSON, with room for its escapes.
const LARGEST_BODY: usize = 12 << 20;
/// The media type of JSON values, one in each line.
const LINES: &str = "application/x-ndjson";
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// An error on its way out.
#[derive(Debug)]
pub(super) struct Failure(pub Error);

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(self.0)).into_response()
    }
}

/// What a handler of JSON returns.
pub(super) type Reply<T> = Result<axum::Json<T>, Failure>;

/// A JSON answer.
pub(super) fn json<T: Serialize>(value: T) -> Reply<T> {
    Ok(axum::Json(value))
}

/// A JSON body of bounded size.
pub(super) struct Payload<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Payload<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let reading = axum::body::to_bytes(request.into_body(), LARGEST_BODY);
        let read = tokio::time::timeout(BODY_TIMEOUT, reading).await.map_err(|_| {
            Error::new(
                ErrorKind::Timeout,
                format!("the request's body did not arrive within {BODY_TIMEOUT:?}"),
            )
        })?;
        let bytes = read.map_err(|error| {
            let message =
                format!("the request's body could not be read, or is larger than {LARGEST_BODY} bytes");
            Error::caused(ErrorKind::TooLarge, message, &error)
        })?;
        let text = if bytes.is_empty() { b"{}".as_slice() } else { &bytes };
        let value = serde_json::from_slice(text)
            .map_err(|error| Error::new(ErrorKind::Invalid, format!("the request's body: {error}")))?;
        Ok(Self(value))
    }
}

/// Query parameters.
pub(super) struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(value)| Self(value))
            .map_err(|error| Error::new(ErrorKind::Invalid, error.body_text()).into())
    }
}

/// A part of the path, decoded.
pub(super) struct Segment<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segment<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(value)| Self(value))
            .map_err(|error| Error::new(ErrorKind::Invalid, error.body_text()).into())
    }
}

/// Values as lines of JSON, as they come out of a channel.
pub(super) fn lines<T: Serialize + Send + 'static>(receiver: Receiver<T>) -> Response {
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let value = receiver.recv().await?;
        let line = serde_json::to_vec(&value).map(|mut line| {
            line.push(b'\n');
            line
        });
        Some((line, receiver))
    });
    ([(header::CONTENT_TYPE, LINES)], Body::from_stream(stream)).into_response()
}

/// The end of an operation as JSON; to whoever accepts lines of JSON, also how far it is until then.
pub(super) async fn told<T: Serialize + Send + 'static>(
    headers: &HeaderMap,
    mut receiver: Receiver<Progress<T>>,
) -> Result<Response, Failure> {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accepts.is_some_and(|accepts| accepts.contains(LINES)) {
        return Ok(lines(receiver));
    }
    loop {
        match receiver.recv().await {
            Some(Progress::Done { result }) => return Ok(axum::Json(result).into_response()),
            Some(Progress::Error { error }) => return Err(Failure(error)),
            Some(Progress::Progress { .. } | Progress::Warning { .. }) => {}
            None => return Err(Error::new(ErrorKind::Internal, "the operation ended early").into()),
        }
    }
}

/// Bytes as they come out of a channel.
pub(super) fn bytes(receiver: Receiver<Vec<u8>>) -> Response {
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((Ok::<_, std::convert::Infallible>(receiver.recv().await?), receiver))
    });
    ([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(stream)).into_response()
}
