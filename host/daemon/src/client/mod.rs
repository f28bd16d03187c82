//! A client of the API over the daemon's socket. One connection for each request.

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UnixStream;

use crate::api::{Error, ErrorKind, Progress};

/// One JSON value.
const JSON: &str = "application/json";
/// JSON values, one in each line.
const LINES: &str = "application/x-ndjson";

/// The longest line of a stream of JSON lines.
const LONGEST_LINE: usize = 16 << 20;

/// Bytes that are read at once of what is uploaded.
const PIECE: usize = 256 << 10;

/// Name of the protocol that a console's connection is switched to.
pub const CONSOLE_PROTOCOL: &str = "witvirt-console";

/// A daemon that may or may not be there.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// A connection that carries bytes both ways.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

impl Client {
    /// For the daemon that listens on `socket`.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether a daemon accepts connections.
    pub async fn reachable(&self) -> bool {
        UnixStream::connect(&self.socket).await.is_ok()
    }

    /// Asks.
    ///
    /// # Errors
    /// The daemon's, or that it cannot be reached.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.call(Method::GET, path, &()).await
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// The daemon's, or that it cannot be reached.
    pub async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Error> {
        self.call(Method::POST, path, body).await
    }

    /// Asks for something to be removed.
    ///
    /// # Errors
    /// The daemon's, or that it cannot be reached.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.call(Method::DELETE, path, &()).await
    }

    async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<T, Error> {
        let bytes = whole(self.request(method, path, body, JSON).await?).await?;
        serde_json::from_slice(&bytes).map_err(|error| unexpected(&error))
    }

    /// Follows a stream of JSON lines.
    ///
    /// # Errors
    /// The daemon's, or that it cannot be reached.
    pub async fn lines<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<Lines<T>, Error> {
        let response = self.request(method, path, body, LINES).await?;
        Ok(Lines { body: response.into_body(), buffer: Vec::new(), item: PhantomData })
    }

    /// Follows a stream of progress to its end.
    ///
    /// # Errors
    /// The daemon's, that it cannot be reached, or that the stream ended early.
    pub async fn progress<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        mut seen: impl FnMut(&Progress<T>),
    ) -> Result<T, Error> {
        let lines = self.lines::<B, Progress<T>>(Method::POST, path, body).await?;
        to_the_end(lines, &mut seen).await
    }

    /// Sends bytes, and follows the progress of what becomes of them to its end. `length`: how many there are.
    ///
    /// # Errors
    /// The daemon's, that it cannot be reached, that `content` cannot be read, or that the stream ended early.
    pub async fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        length: Option<u64>,
        content: impl AsyncRead + Send + Unpin + 'static,
        mut seen: impl FnMut(&Progress<T>),
    ) -> Result<T, Error> {
        let mut request =
            Request::put(path).header(HOST, "witvirt").header(CONTENT_TYPE, "application/octet-stream");
        if let Some(length) = length {
            request = request.header(CONTENT_LENGTH, length);
        }
        let body = StreamBody::new(pieces(content));
        let request = request.body(body).map_err(|error| unexpected(&error))?;
        let response = self.send(request).await?;
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        let lines = Lines { body: response.into_body(), buffer: Vec::new(), item: PhantomData };
        to_the_end(lines, &mut seen).await
    }

    /// Follows a stream of bytes.
    ///
    /// # Errors
    /// The daemon's, or that it cannot be reached.
    pub async fn bytes(&self, path: &str) -> Result<ByteStream, Error> {
        let response = self.request(Method::GET, path, &(), "*/*").await?;
        Ok(ByteStream(response.into_body()))
    }

    /// Turns a connection into a stream of bytes both ways.
    ///
    /// # Errors
    /// The daemon's, or that it cannot be reached.
    pub async fn upgrade(&self, path: &str) -> Result<Upgraded, Error> {
        let request = Request::get(path)
            .header(HOST, "witvirt")
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, CONSOLE_PROTOCOL)
            .body(Full::new(Bytes::new()))
            .map_err(|error| unexpected(&error))?;
        let response = self.send(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let failure = refused(response).await;
            return Err(failure);
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| unexpected(&error))?;
        Ok(TokioIo::new(upgraded))
    }

    async fn request<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: &B,
        accept: &'static str,
    ) -> Result<Response<Incoming>, Error> {
        let has_body = method == Method::POST;
        let body =
            if has_body { serde_json::to_vec(body).map_err(|error| unexpected(&error))? } else { Vec::new() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "witvirt")
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, accept)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| unexpected(&error))?;
        let response = self.send(request).await?;
        if response.status().is_success() { Ok(response) } else { Err(refused(response).await) }
    }

    async fn send<B>(&self, request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| lost(&error))?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(|error| lost(&error))
    }

    fn unreachable(&self, error: &io::Error) -> Error {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                Error::new(ErrorKind::Denied, format!("no permission to connect to the daemon at {socket}"))
                    .hint("run as root, or let the operator set [api] socket-group to a group that you are in")
            }
            _ => Error::new(ErrorKind::Unavailable, format!("no daemon answers at {socket}: {error}"))
                .hint("start one with `witvirt daemon --config FILE`, or name its socket with --socket or $WITVIRT_SOCKET"),
        }
    }
}

/// Follows progress to its end.
async fn to_the_end<T: DeserializeOwned>(
    mut lines: Lines<Progress<T>>,
    seen: &mut impl FnMut(&Progress<T>),
) -> Result<T, Error> {
    while let Some(line) = lines.next().await? {
        seen(&line);
        match line {
            Progress::Done { result } => return Ok(result),
            Progress::Error { error } => return Err(error),
            Progress::Progress { .. } | Progress::Warning { .. } => {}
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "the daemon went away in the middle of the operation"))
}

/// What a reader gives, in pieces as large as it gives them.
fn pieces(
    content: impl AsyncRead + Send + Unpin + 'static,
) -> impl futures_util::Stream<Item = io::Result<Frame<Bytes>>> + Send {
    futures_util::stream::unfold(content, |mut content| async move {
        let mut buffer = vec![0; PIECE];
        match content.read(&mut buffer).await {
            Ok(0) => None,
            Ok(count) => {
                buffer.truncate(count);
                Some((Ok(Frame::data(Bytes::from(buffer))), content))
            }
            Err(error) => Some((Err(error), content)),
        }
    })
}

fn lost(error: &hyper::Error) -> Error {
    Error::caused(ErrorKind::Unavailable, "the connection to the daemon was lost", error)
}

fn unexpected(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::caused(ErrorKind::Internal, "the daemon's answer was not understood", error)
        .hint("compare `witvirt version` here and in the daemon")
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, Error> {
    let collected = response.into_body().collect().await.map_err(|error| lost(&error))?;
    Ok(collected.to_bytes())
}

/// The error that a refused request carries.
async fn refused(response: Response<Incoming>) -> Error {
    let status = response.status();
    match whole(response).await {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            Error::new(
                ErrorKind::Internal,
                format!("the daemon answered {status}: {}", String::from_utf8_lossy(&bytes)),
            )
        }),
        Err(error) => error,
    }
}

/// A stream of JSON lines.
pub struct Lines<T> {
    body: Incoming,
    buffer: Vec<u8>,
    item: PhantomData<T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// When the connection is lost or a line is no such value.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(|error| unexpected(&error));
            }
            if self.buffer.len() > LONGEST_LINE {
                return Err(Error::new(ErrorKind::Internal, "the daemon sent a line without end"));
            }
            match next_chunk(&mut self.body).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// A stream of bytes.
pub struct ByteStream(Incoming);

impl ByteStream {
    /// The next ones; `None` at the end.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        next_chunk(&mut self.0).await
    }
}

async fn next_chunk(body: &mut Incoming) -> Result<Option<Bytes>, Error> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(lost(&error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A text as one segment of a path or one value of a query.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
