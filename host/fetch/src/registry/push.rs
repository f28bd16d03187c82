//! Putting blobs and manifests into a registry.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE,
};
use hyper::{HeaderMap, Method, Response, StatusCode};
use url::Url;
use witvirt_core::Digest;
use witvirt_disk::{Error, ErrorKind, Result};

use super::body::{counted, streamed};
use super::document::MANIFEST_LIMIT;
use super::endpoint::Endpoint;
use super::reference::Reference;
use super::session::{Actions, Session};
use super::{Registry, at, digest_of, promised_digest, refusal};
use crate::client::{Plain, authority};
use crate::failure::{Attempt, Failure, Patience};

/// Bytes in one request of an upload, where the config does not say.
const USUAL_CHUNK: usize = 16 << 20;

/// Time for a file's reader to notice that nobody listens any more.
const READER_ENDS: Duration = Duration::from_secs(5);

/// Longest answer of a registry that is looked at.
const ANSWER_LIMIT: u64 = 64 << 10;

/// A blob on its way to a registry, whose length and digest need not be known yet. It is sent in parts, each of which is
/// repeated when it fails. Dropped without [`Upload::finish`], it leaves nothing that a registry would serve.
#[derive(Debug)]
pub struct Upload {
    registry: Registry,
    session: Arc<Session>,
    location: Url,
    /// Bytes that the registry has.
    sent: u64,
    /// Bytes to come, of which at most a part is kept.
    waiting: BytesMut,
    chunk: usize,
}

impl Registry {
    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// `Denied`, `Unavailable` and the rest of what a registry answers.
    pub fn has_blob(&self, reference: &Reference, digest: Digest) -> Result<bool> {
        let endpoint = Endpoint::origin(&self.fetch.inner.config, reference)?;
        let url = endpoint.url(&["blobs", &digest.to_string()]);
        let resource = self.resource(&endpoint, url, Actions::PullAndPush)?;
        self.fetch.inner.runtime.block_on(async {
            let mut patience = Patience::new(resource.client.limits(), resource.client.limits().attempts);
            loop {
                let failure = match resource.ask(Method::HEAD, &HeaderMap::new()).await {
                    Ok(response) if response.status() == StatusCode::OK => return Ok(true),
                    Ok(response) if response.status() == StatusCode::NOT_FOUND => return Ok(false),
                    Ok(response) => Failure::status(response.status(), response.headers()),
                    Err(failure) => failure,
                };
                patience.wait(failure).await.map_err(at(&resource.url))?;
            }
        })
    }

    /// Puts a blob of `size` bytes into the repository, in one request, unless it is there. `open` gives its bytes from the
    /// start, as often as the upload has to begin anew. Returns whether anything was sent.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are not what `digest` says; what `open` and reading report; what a registry answers.
    pub fn push_blob(
        &self,
        reference: &Reference,
        digest: Digest,
        size: u64,
        open: &mut dyn FnMut() -> io::Result<Box<dyn Read + Send>>,
    ) -> Result<bool> {
        if self.has_blob(reference, digest)? {
            return Ok(false);
        }
        let endpoint = Endpoint::origin(&self.fetch.inner.config, reference)?;
        let session = self.session(&endpoint, Actions::PullAndPush)?;
        let during = |error: Error| error.during(format!("{digest} to {}", reference.repository_name()));
        let mut patience = Patience::new(session.client.limits(), session.client.limits().attempts);
        loop {
            let source = open().map_err(|error| during(Error::io("open what is to be uploaded", error)))?;
            let runtime = &self.fetch.inner.runtime;
            let sent = runtime.block_on(async {
                let location = begin(&session, &endpoint).await?;
                send_whole(&session, location, digest, size, source).await
            });
            match sent {
                Ok(()) => return Ok(true),
                Err(failure) => runtime.block_on(patience.wait(failure)).map_err(during)?,
            }
        }
    }

    /// Begins to put a blob into the repository, whose digest may be found out on the way.
    ///
    /// # Errors
    /// What a registry answers.
    pub fn start_upload(&self, reference: &Reference) -> Result<Upload> {
        let endpoint = Endpoint::origin(&self.fetch.inner.config, reference)?;
        let session = self.session(&endpoint, Actions::PullAndPush)?;
        let config = self.fetch.inner.config.registry.get(reference.registry());
        let chunk = config.and_then(|own| own.upload_chunk);
        let chunk =
            chunk.map_or(USUAL_CHUNK, |size| usize::try_from(size.get()).unwrap_or(USUAL_CHUNK).max(4096));
        let during = |error: Error| error.during(reference);
        let location = self.fetch.inner.runtime.block_on(async {
            let mut patience = Patience::new(session.client.limits(), session.client.limits().attempts);
            loop {
                match begin(&session, &endpoint).await {
                    Ok(location) => return Ok::<_, Error>(location),
                    Err(failure) => patience.wait(failure).await.map_err(during)?,
                }
            }
        })?;
        Ok(Upload { registry: self.clone(), session, location, sent: 0, waiting: BytesMut::new(), chunk })
    }

    /// Puts a manifest or an index into the repository, under the reference's tag or digest. The blobs that it names have to
    /// be there. Returns its digest.
    ///
    /// # Errors
    /// `Limit` over [`MANIFEST_LIMIT`]; `Corrupt` when the registry has made something else of it; what a registry answers.
    pub fn push_manifest(&self, reference: &Reference, media_type: &str, manifest: &[u8]) -> Result<Digest> {
        let during = |error: Error| error.during(reference);
        let digest = digest_of(manifest);
        if manifest.len() as u64 > MANIFEST_LIMIT {
            return Err(during(Error::new(ErrorKind::Limit, "the manifest is longer than 4 MiB")));
        }
        if reference.digest().is_some_and(|wanted| wanted != digest) {
            let message = format!("the manifest is {digest}");
            return Err(during(Error::new(ErrorKind::InvalidInput, message)));
        }
        let media_type = HeaderValue::from_str(media_type)
            .map_err(|_| during(Error::new(ErrorKind::InvalidInput, "the media type is none")))?;
        let endpoint = Endpoint::origin(&self.fetch.inner.config, reference)?;
        let session = self.session(&endpoint, Actions::PullAndPush)?;
        let url = endpoint.url(&["manifests", &reference.target()]);
        let body = Bytes::copy_from_slice(manifest);
        self.fetch.inner.runtime.block_on(async {
            let mut patience = Patience::new(session.client.limits(), session.client.limits().attempts);
            loop {
                let mut headers = HeaderMap::new();
                headers.insert(CONTENT_TYPE, media_type.clone());
                let sent = exchange(&session, Method::PUT, &url, headers, &body).await;
                let failure = match sent {
                    Ok(response) if response.status() == StatusCode::CREATED => {
                        return match promised_digest(response.headers()) {
                            Some(other) if other != digest => {
                                let message = format!("the registry stored {other} where {digest} was sent");
                                Err(during(Error::new(ErrorKind::Corrupt, message)))
                            }
                            _ => Ok(digest),
                        };
                    }
                    Ok(response) => answered(&session, response).await,
                    Err(failure) => failure,
                };
                patience.wait(failure).await.map_err(during)?;
            }
        })
    }
}

impl Upload {
    /// Ends the blob. `digest` is that of all bytes written.
    ///
    /// # Errors
    /// `Corrupt` when the registry has other bytes; what a registry answers.
    pub fn finish(mut self, digest: Digest) -> Result<()> {
        self.flush_waiting()?;
        let runtime = self.registry.fetch.inner.runtime.clone();
        let url = with_digest(&self.location, digest);
        runtime.block_on(async {
            let response = exchange(&self.session, Method::PUT, &url, HeaderMap::new(), &Bytes::new())
                .await
                .map_err(|failure| at(&url)(failure.error))?;
            match response.status() {
                StatusCode::CREATED => Ok(()),
                StatusCode::BAD_REQUEST => Err(at(&url)(not_the_digest(&self.session, response).await.error)),
                _ => Err(at(&url)(answered(&self.session, response).await.error)),
            }
        })
    }

    /// Sends what waits, in parts.
    fn flush_waiting(&mut self) -> Result<()> {
        while !self.waiting.is_empty() {
            let part = self.waiting.split_to(self.chunk.min(self.waiting.len())).freeze();
            self.send_part(part)?;
        }
        Ok(())
    }

    fn send_part(&mut self, part: Bytes) -> Result<()> {
        let runtime = self.registry.fetch.inner.runtime.clone();
        let (session, start) = (self.session.clone(), self.sent);
        let limits = session.client.limits();
        runtime.block_on(async {
            let mut patience = Patience::new(limits, limits.attempts);
            let mut rest = part.clone();
            while !rest.is_empty() {
                let failure = match self.try_part(&rest).await {
                    Ok(()) => return Ok(()),
                    Err(failure) => failure,
                };
                patience.wait(failure).await.map_err(at(&self.location))?;
                // The registry may have all of it, or some, or nothing.
                if let Ok(has) = self.progress().await {
                    let taken = has.checked_sub(start).filter(|taken| *taken <= part.len() as u64);
                    let Some(taken) = taken else {
                        let message = format!("the registry has {has} bytes of an upload that got {start}");
                        return Err(at(&self.location)(Error::new(ErrorKind::Corrupt, message)));
                    };
                    rest = part.slice(taken as usize..);
                    self.sent = has;
                }
            }
            Ok(())
        })
    }

    async fn try_part(&mut self, part: &Bytes) -> Attempt<()> {
        let end = self.sent + part.len() as u64;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let range = HeaderValue::from_str(&format!("{}-{}", self.sent, end - 1));
        headers.insert(CONTENT_RANGE, range.expect("digits"));
        let response = exchange(&self.session, Method::PATCH, &self.location, headers, part).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(answered(&self.session, response).await);
        }
        self.location = next_location(&self.session, &self.location, response.headers())?;
        self.session.client.drain(response).await;
        self.sent = end;
        Ok(())
    }

    /// How many bytes the registry has.
    async fn progress(&mut self) -> Attempt<u64> {
        let url = self.location.clone();
        let response = exchange(&self.session, Method::GET, &url, HeaderMap::new(), &Bytes::new()).await?;
        if response.status() != StatusCode::NO_CONTENT {
            return Err(Failure::status(response.status(), response.headers()));
        }
        let range = response.headers().get(RANGE).and_then(|value| value.to_str().ok()).unwrap_or("0-0");
        let last =
            range.trim_start_matches("bytes=").strip_prefix("0-").and_then(|last| last.parse::<u64>().ok());
        let last =
            last.ok_or_else(|| Failure::lasting(ErrorKind::Corrupt, "an upload without a usable Range"))?;
        if let Ok(location) = next_location(&self.session, &url, response.headers()) {
            self.location = location;
        }
        // "0-0" is said of nothing and of one byte.
        Ok(if last == 0 { 0 } else { last + 1 })
    }
}

impl io::Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.waiting.len() >= self.chunk {
            self.flush_waiting()?;
        }
        let count = bytes.len().min(self.chunk - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Does nothing: parts are sent when they are full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where to upload to.
async fn begin(session: &Session, endpoint: &Endpoint) -> Attempt<Url> {
    let url = endpoint.url(&["blobs", "uploads", ""]);
    let response = exchange(session, Method::POST, &url, HeaderMap::new(), &Bytes::new()).await?;
    if response.status() != StatusCode::ACCEPTED {
        return Err(answered(session, response).await);
    }
    let location = next_location(session, &url, response.headers());
    session.client.drain(response).await;
    location
}

/// One request with a body that can be repeated; credentials are renewed once.
async fn exchange(
    session: &Session,
    method: Method,
    url: &Url,
    headers: HeaderMap,
    body: &Bytes,
) -> Attempt<Response<Incoming>> {
    let mut renewed = false;
    loop {
        let own = own_server(session, url);
        let secrets = if own { session.headers().await? } else { HeaderMap::new() };
        let mut all = headers.clone();
        all.extend(secrets.clone());
        let (body, sent) = counted(body);
        let response = session.client.send(method.clone(), url, all, body, Some(&sent)).await?;
        if response.status() == StatusCode::UNAUTHORIZED && own && !renewed {
            renewed = true;
            let challenge = response.headers().clone();
            session.client.drain(response).await;
            session.renew(&challenge, secrets.get(AUTHORIZATION)).await?;
            continue;
        }
        return Ok(response);
    }
}

/// All of a blob in one request.
async fn send_whole(
    session: &Session,
    location: Url,
    digest: Digest,
    size: u64,
    source: Box<dyn Read + Send>,
) -> Attempt<()> {
    let url = with_digest(&location, digest);
    let mut headers = if own_server(session, &url) { session.headers().await? } else { HeaderMap::new() };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    let (body, sent, reading) = streamed(source, size);
    let answer = session.client.send(Method::PUT, &url, headers, body, Some(&sent)).await;
    // What was read has been taken, or the body is gone and the reader ends with its next piece. A refusal can come while
    // there is still something to read; then the answer says all there is to say.
    if answer.as_ref().map_or(true, |response| response.status() == StatusCode::CREATED)
        && let Ok(Ok(Err(error))) = tokio::time::timeout(READER_ENDS, reading).await
    {
        return Err(Failure::lasting(error.kind(), error.to_string()));
    }
    let response = answer?;
    match response.status() {
        StatusCode::CREATED => Ok(()),
        StatusCode::BAD_REQUEST => Err(not_the_digest(session, response).await),
        // The token went stale on the way; the next try gets another one.
        StatusCode::UNAUTHORIZED => {
            let challenge = response.headers().clone();
            let used = session.headers().await?;
            session.renew(&challenge, used.get(AUTHORIZATION)).await?;
            Err(Failure::passing("the registry wants newer credentials"))
        }
        _ => Err(answered(session, response).await),
    }
}

/// Where the registry wants the upload to go on. Its own host, or one that it trusts with the bytes; no credentials go there.
fn next_location(session: &Session, from: &Url, headers: &HeaderMap) -> Attempt<Url> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.and_then(|location| from.join(location).ok());
    let location = location
        .ok_or_else(|| Failure::lasting(ErrorKind::Corrupt, "an upload without a usable Location"))?;
    let plain = matches!(&session.plain, Plain::Only(hosts) if hosts.contains(&authority(&location)));
    if location.scheme() == "https" || (location.scheme() == "http" && plain) {
        return Ok(location);
    }
    let shown = crate::label::of(&location);
    Err(Failure::lasting(ErrorKind::Denied, format!("the upload is to go on at {shown}, which is no https")))
}

/// Whether credentials may go there.
fn own_server(session: &Session, url: &Url) -> bool {
    url.origin() == *session.origin()
}

fn with_digest(location: &Url, digest: Digest) -> Url {
    let mut url = location.clone();
    url.query_pairs_mut().append_pair("digest", &digest.to_string());
    url
}

async fn answered(session: &Session, response: Response<Incoming>) -> Failure {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = session.client.collect(response, ANSWER_LIMIT).await.unwrap_or_default();
    refusal(status, &headers, &body)
}

/// Distribution answers 400 with DIGEST_INVALID.
async fn not_the_digest(session: &Session, response: Response<Incoming>) -> Failure {
    let failure = answered(session, response).await;
    if failure.error.to_string().starts_with("DIGEST_INVALID") {
        return Failure::lasting(ErrorKind::Corrupt, "the registry got other bytes than the digest says");
    }
    failure
}
