//! Reading bytes of an object, over as many connections as it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body as _;
use hyper::header::{HeaderValue, IF_RANGE, RANGE};
use hyper::{HeaderMap, Method, StatusCode};
use tokio::time::timeout;
use witvirt_core::Digest;
use witvirt_disk::{Error, ErrorKind, Result};

use super::facts::{Facts, changed_failure};
use crate::client::{Limits, WatchedBody};
use crate::failure::{Attempt, Failure, Patience};
use crate::resource::Resource;

/// So much has to arrive before earlier failures are forgiven.
const PROGRESS: u64 = 1 << 20;

/// Time to wait for the end of a body whose bytes are all there.
const MOMENT: Duration = Duration::from_millis(100);

/// An object and the places where it can be read.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) label: String,
    /// Never empty. More than one only where a digest makes them equal.
    pub(crate) places: Vec<Resource>,
    /// Index of the place to read from; those before it have failed.
    pub(crate) current: AtomicUsize,
    pub(crate) facts: Facts,
    pub(crate) digest: Option<Digest>,
}

/// Reads on from a position.
#[derive(Debug)]
pub(crate) struct Reader {
    remote: Arc<Remote>,
    position: u64,
    /// Where to stop, at most the size; `None`: where the server stops, for its size is not known.
    end: Option<u64>,
    open: Option<OpenBody>,
    /// The server ended an object of unknown size.
    over: bool,
    patience: Patience,
    forgiven_at: u64,
}

#[derive(Debug)]
struct OpenBody {
    body: WatchedBody,
    /// Bytes to come; `None` when the server did not say.
    left: Option<u64>,
}

impl Remote {
    /// Asks what the object is, at the first place that has it. Several places are for an object with a digest.
    pub(crate) async fn open(label: String, places: Vec<Resource>, digest: Option<Digest>) -> Result<Self> {
        let mut first_error = None;
        for (index, place) in places.iter().enumerate() {
            let limits = place.client.limits();
            // A mirror that is down must not hold up everything for long.
            let attempts = if index + 1 == places.len() { limits.attempts } else { limits.attempts.min(2) };
            match probe(place, attempts).await {
                Ok(facts) => {
                    let current = AtomicUsize::new(index);
                    return Ok(Self { label, places, current, facts, digest });
                }
                Err(error) => {
                    tracing::debug!(%error, url = crate::label::of(&place.url), "not here");
                    // The last place is the origin; what it says counts.
                    first_error = Some(error);
                }
            }
        }
        let error = first_error.unwrap_or_else(|| Error::new(ErrorKind::NotFound, "nowhere to look"));
        Err(error.during(label))
    }

    fn place(&self) -> (usize, &Resource) {
        let index = self.current.load(Ordering::Relaxed).min(self.places.len() - 1);
        (index, &self.places[index])
    }

    fn limits(&self) -> &Limits {
        self.places[0].client.limits()
    }

    /// Opens a body that begins at `position`.
    async fn connect(&self, place: &Resource, position: u64, end: Option<u64>) -> Attempt<OpenBody> {
        let last = end.filter(|_| self.facts.ranges).map(|end| end - 1);
        let part = last.filter(|last| position > 0 || Some(last + 1) != self.facts.size);
        let response = place.ask(Method::GET, &self.range_headers(position, part)).await?;
        let (status, headers) = (response.status(), response.headers());
        let length = response.body().size_hint().exact();
        let left = match (status, part) {
            (StatusCode::OK, None) => {
                self.check_same(headers)?;
                if let (Some(length), Some(size)) = (length, self.facts.size)
                    && length != size
                {
                    return Err(changed_failure().during(format!("{length} bytes instead of {size}")));
                }
                self.facts.size.or(length)
            }
            (StatusCode::PARTIAL_CONTENT, Some(last)) => {
                self.check_same(headers)?;
                Some(self.facts.check_partial(headers, position, last)?)
            }
            (StatusCode::OK, Some(_)) => {
                self.check_same(headers)?;
                // With If-Range that is how a server says that the object has changed.
                let tag = headers.get(hyper::header::ETAG).and_then(|tag| tag.to_str().ok());
                if self.digest.is_none() && self.facts.strong_etag().is_some() && tag.is_none() {
                    return Err(changed_failure());
                }
                return Err(Failure::passing("the server sends everything where a part was asked for"));
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => return Err(changed_failure()),
            (status, _) => return Err(Failure::status(status, headers)),
        };
        Ok(OpenBody { body: WatchedBody::new(response.into_body(), place.client.limits()), left })
    }

    fn range_headers(&self, position: u64, last: Option<u64>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some(last) = last else { return headers };
        let value = HeaderValue::from_str(&format!("bytes={position}-{last}"));
        headers.insert(RANGE, value.expect("digits"));
        // What has a digest may be served by several servers with tags of their own.
        let tag = self.facts.strong_etag().filter(|_| self.digest.is_none());
        if let Some(Ok(tag)) = tag.map(HeaderValue::from_str) {
            headers.insert(IF_RANGE, tag);
        }
        headers
    }

    fn check_same(&self, headers: &HeaderMap) -> Attempt<()> {
        if self.digest.is_some() { Ok(()) } else { self.facts.check_same(headers) }
    }
}

/// What the place knows of the object.
async fn probe(place: &Resource, attempts: u32) -> Result<Facts> {
    let mut patience = Patience::new(place.client.limits(), attempts);
    loop {
        match try_probe(place).await {
            Ok(facts) => return Ok(facts),
            Err(failure) => patience.wait(failure).await?,
        }
    }
}

async fn try_probe(place: &Resource) -> Attempt<Facts> {
    // A GET and no HEAD: signed URLs are for one method, and what a server promises in Accept-Ranges it may not keep.
    let mut headers = HeaderMap::new();
    headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
    let response = place.ask(Method::GET, &headers).await?;
    let length = response.body().size_hint().exact();
    if let Some(facts) = Facts::of_probe(response.status(), response.headers(), length) {
        place.client.drain(response).await;
        return Ok(facts);
    }
    if !matches!(response.status(), StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE) {
        return Err(Failure::status(response.status(), response.headers()));
    }
    drop(response);
    // Its ranges are not to be trusted.
    let response = place.ask(Method::GET, &HeaderMap::new()).await?;
    let length = response.body().size_hint().exact();
    match response.status() {
        StatusCode::OK => Ok(Facts::of_whole(response.headers(), length)),
        status => Err(Failure::status(status, response.headers())),
    }
}

impl Reader {
    /// Reads from `position` to `end`, which is at most the size.
    pub(crate) fn new(remote: Arc<Remote>, position: u64, end: Option<u64>) -> Self {
        let patience = Patience::new(remote.limits(), remote.limits().attempts);
        Self { remote, position, end, open: None, over: false, patience, forgiven_at: position }
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// With the object's label in front.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        self.next().await.map_err(|error| error.during(&self.remote.label))
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.over || self.end.is_some_and(|end| self.position >= end) {
                self.open = None;
                return Ok(None);
            }
            let Some(open) = &mut self.open else {
                self.connect().await?;
                continue;
            };
            match open.body.chunk().await {
                Ok(Some(bytes)) => return self.take(bytes).await.map(Some),
                Ok(None) if open.left.is_none() => self.over = true,
                // The part was served to its end, and there is more to ask for.
                Ok(None) if open.left == Some(0) => self.open = None,
                Ok(None) => self.cut(Failure::passing("the connection was cut")).await?,
                Err(failure) => self.cut(failure).await?,
            }
        }
    }

    async fn connect(&mut self) -> Result<()> {
        let remote = self.remote.clone();
        let (index, place) = remote.place();
        match remote.connect(place, self.position, self.end).await {
            Ok(open) => {
                self.open = Some(open);
                Ok(())
            }
            Err(failure) => self.again(index, failure).await,
        }
    }

    /// Counts what came, and looks for what must not come.
    async fn take(&mut self, bytes: Bytes) -> Result<Bytes> {
        let count = bytes.len() as u64;
        let open = self.open.as_mut().expect("they came from it");
        if let Some(left) = open.left {
            let Some(left) = left.checked_sub(count) else { return Err(too_much()) };
            open.left = Some(left);
            // In chunks, more than what was promised can follow; no more than a moment is spent on seeing the end.
            if left == 0
                && !open.body.is_end()
                && let Ok(Ok(Some(_))) = timeout(MOMENT, open.body.chunk()).await
            {
                return Err(too_much());
            }
        }
        self.position += count;
        if self.position - self.forgiven_at >= PROGRESS {
            self.forgiven_at = self.position;
            self.patience.renew();
        }
        Ok(bytes)
    }

    async fn cut(&mut self, failure: Failure) -> Result<()> {
        self.open = None;
        if self.position > 0 && !self.remote.facts.ranges {
            let message = format!(
                "{} after {} bytes, and the server honours no ranges: begin again",
                failure.error, self.position
            );
            return Err(Error::new(failure.error.kind(), message));
        }
        let (index, _) = self.remote.place();
        self.again(index, failure).await
    }

    /// Waits, or goes on to the next place, or gives up.
    async fn again(&mut self, index: usize, failure: Failure) -> Result<()> {
        self.open = None;
        let Err(error) = self.patience.wait(failure).await else { return Ok(()) };
        if index + 1 >= self.remote.places.len() {
            return Err(error);
        }
        tracing::warn!(%error, label = self.remote.label, "reading on from the next place");
        // Another reader may have moved on already.
        let _ = self.remote.current.compare_exchange(index, index + 1, Ordering::Relaxed, Ordering::Relaxed);
        self.patience.renew();
        Ok(())
    }
}

fn too_much() -> Error {
    Error::new(ErrorKind::Corrupt, "the server sends more bytes than it said")
}
