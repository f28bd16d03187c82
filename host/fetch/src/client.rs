//! One HTTP client: requests with bounds on time, redirects, bodies that are watched.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{ACCEPT_ENCODING, HeaderValue, LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::Url;
use witvirt_disk::{ErrorKind, Result};

use crate::config::HttpConfig;
use crate::connect::{self, Connector};
use crate::failure::{Attempt, Failure};
use crate::label;
use crate::reach::Reach;
use crate::tls::{self, Authorities};

/// What is sent with a request.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// Bounds of every request.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    /// Bytes in each idle timeout.
    pub(crate) least_progress: u64,
    pub(crate) attempts: u32,
    pub(crate) longest_pause: Duration,
    pub(crate) redirects: u32,
    pub(crate) insecure_redirects: bool,
}

/// Connections that trust the same authorities. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    hyper: legacy::Client<HttpsConnector<Connector>, RequestBody>,
    proxies: Arc<Matcher>,
    limits: Limits,
}

/// To which hosts redirects may lead by plain HTTP.
#[derive(Debug, Clone)]
pub(crate) enum Plain {
    /// Wherever the request began by plain HTTP.
    Inherited,
    /// To these, as hosts with their ports.
    Only(Arc<[String]>),
}

impl Limits {
    pub(crate) fn of(config: &HttpConfig) -> Self {
        let idle_timeout = config.idle_timeout.0.max(Duration::from_millis(1));
        let least = u128::from(config.slowest_rate.get()) * idle_timeout.as_millis() / 1000;
        Self {
            connect_timeout: config.connect_timeout.0,
            idle_timeout,
            least_progress: u64::try_from(least).unwrap_or(u64::MAX),
            attempts: config.attempts,
            longest_pause: config.longest_pause.0,
            redirects: config.redirects,
            insecure_redirects: config.insecure_redirects,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(&HttpConfig::default())
    }
}

impl Client {
    pub(crate) fn new(config: &HttpConfig, authorities: &Authorities, reach: &Reach) -> Result<Self> {
        let proxies = Arc::new(connect::proxies(config));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(authorities)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector::new(config, proxies.clone(), reach));
        let hyper = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(16)
            .build(https);
        Ok(Self { inner: Arc::new(Inner { hyper, proxies, limits: Limits::of(config) }) })
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Sends one request and waits for the head of the answer, whatever its status is. With `sent`, a counter of what was
    /// taken of the body, the wait is as long as the body goes on.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: RequestBody,
        sent: Option<&AtomicU64>,
    ) -> Attempt<Response<Incoming>> {
        let unusable = || Failure::lasting(ErrorKind::InvalidInput, "not a URL that HTTP can ask for");
        let uri: Uri = url.as_str().parse().map_err(|_| unusable())?;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        let agent = HeaderValue::from_static(concat!("witvirt/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        // The bytes as they are stored: offsets and digests are of those.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if url.scheme() == "http"
            && let Some(proxy) = self.inner.proxies.intercept(&uri)
            && let Some(authorization) = proxy.basic_auth()
        {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        *request.uri_mut() = uri;
        let limits = &self.inner.limits;
        let mut answer = std::pin::pin!(self.inner.hyper.request(request));
        let mut before = 0;
        let mut wait = limits.connect_timeout + limits.idle_timeout;
        loop {
            match tokio::time::timeout(wait, &mut answer).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => return Err(Failure::connection(&error)),
                Err(_) => {}
            }
            let now = sent.map_or(0, |sent| sent.load(Ordering::Relaxed));
            if now <= before {
                return Err(Failure::passing(format!("no answer within {} s", wait.as_secs_f32())));
            }
            before = now;
            wait = limits.idle_timeout;
        }
    }

    /// Sends a GET or HEAD and follows redirects. `secrets` go to the origin of `url` alone. Gives the URL of the answer too.
    pub(crate) async fn follow(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
        secrets: &HeaderMap,
        plain: &Plain,
    ) -> Attempt<(Response<Incoming>, Url)> {
        let mut at = url.clone();
        for _ in 0..=self.inner.limits.redirects {
            let mut all = headers.clone();
            if at.origin() == url.origin() {
                all.extend(secrets.clone());
            }
            let response = self.send(method.clone(), &at, all, empty(), None).await?;
            if !is_redirect(response.status()) {
                return Ok((response, at));
            }
            at = self.redirected(&at, response.headers(), plain)?;
            self.drain(response).await;
        }
        let message = format!("more than {} redirects", self.inner.limits.redirects);
        Err(Failure::lasting(ErrorKind::Limit, message))
    }

    fn redirected(&self, from: &Url, headers: &HeaderMap, plain: &Plain) -> Attempt<Url> {
        let refused = |kind, message: String| Failure::lasting(kind, message);
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let Some(mut to) = location.and_then(|location| from.join(location).ok()) else {
            return Err(refused(ErrorKind::Corrupt, "a redirect without a usable Location".to_owned()));
        };
        // User and password in it are somebody else's, or a trick.
        let _ = to.set_username("");
        let _ = to.set_password(None);
        let shown = label::of(&to);
        let allowed = match (to.scheme(), plain) {
            ("https", _) => true,
            ("http", Plain::Inherited) => from.scheme() == "http" || self.inner.limits.insecure_redirects,
            ("http", Plain::Only(hosts)) => hosts.iter().any(|host| *host == authority(&to)),
            _ => false,
        };
        if !allowed || !to.has_host() {
            let message = format!("a redirect to {shown} is not followed: it is no https");
            return Err(refused(ErrorKind::Denied, message));
        }
        Ok(to)
    }

    /// Reads what is left of a short answer, so that its connection can be used again.
    pub(crate) async fn drain(&self, response: Response<Incoming>) {
        const LITTLE: u64 = 64 << 10;
        if response.body().size_hint().upper().is_some_and(|size| size <= LITTLE) {
            let _ = tokio::time::timeout(Duration::from_secs(1), self.collect(response, LITTLE)).await;
        }
    }

    /// The whole body of an answer.
    pub(crate) async fn collect(&self, response: Response<Incoming>, most: u64) -> Attempt<Bytes> {
        let too_long = || {
            let size = witvirt_core::ByteSize(most);
            Failure::lasting(ErrorKind::Limit, format!("an answer of more than {size}"))
        };
        if response.body().size_hint().lower() > most {
            return Err(too_long());
        }
        let mut body = WatchedBody::new(response.into_body(), self.limits());
        let mut all = BytesMut::new();
        while let Some(chunk) = body.chunk().await? {
            if (all.len() + chunk.len()) as u64 > most {
                return Err(too_long());
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// A body that must not come to a halt.
#[derive(Debug)]
pub(crate) struct WatchedBody {
    body: Incoming,
    idle_timeout: Duration,
    least_progress: u64,
    /// Time spent waiting for the server, and what came meanwhile, since the rate was last judged.
    waited: Duration,
    received: u64,
}

impl WatchedBody {
    pub(crate) fn new(body: Incoming, limits: &Limits) -> Self {
        Self {
            body,
            idle_timeout: limits.idle_timeout,
            least_progress: limits.least_progress,
            waited: Duration::ZERO,
            received: 0,
        }
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Attempt<Option<Bytes>> {
        loop {
            let start = Instant::now();
            let frame = tokio::time::timeout(self.idle_timeout, self.body.frame()).await;
            self.waited += start.elapsed();
            let frame = match frame {
                Err(_) => return Err(self.halted()),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(Failure::connection(&error)),
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers are of no use here.
            let Ok(bytes) = frame.into_data() else { continue };
            self.received += bytes.len() as u64;
            if self.waited >= self.idle_timeout {
                if self.received < self.least_progress {
                    return Err(self.halted());
                }
                (self.waited, self.received) = (Duration::ZERO, 0);
            }
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// Whether the end is known to be reached.
    pub(crate) fn is_end(&self) -> bool {
        self.body.is_end_stream()
    }

    fn halted(&self) -> Failure {
        let (bytes, time) = (self.received, self.waited.as_secs_f32());
        Failure::passing(format!("the server sent {bytes} bytes in {time:.1} s"))
    }
}

/// No body.
pub(crate) fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is in memory.
pub(crate) fn full(bytes: Bytes) -> RequestBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Host and port as they are written in a URL: without the scheme's own port.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}
