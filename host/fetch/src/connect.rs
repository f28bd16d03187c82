//! Connections, through a proxy where the config has one.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::config::{HttpConfig, Proxy};
use crate::reach::{Reach, Resolver};

type Stream = TokioIo<TcpStream>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes TCP connections, by a proxy where one is to be used.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    /// To where the operator said.
    tcp: HttpConnector,
    /// To where users said.
    guarded: HttpConnector<Resolver>,
    reach: Reach,
    proxies: Arc<Matcher>,
}

/// A connection to a server or a proxy.
pub(crate) struct Wire {
    stream: Stream,
    /// Requests are written with their whole URL.
    proxied: bool,
}

/// Which proxy each URL is reached by.
pub(crate) fn proxies(config: &HttpConfig) -> Matcher {
    match &config.proxy {
        Proxy::None => Matcher::builder().build(),
        Proxy::Environment => Matcher::from_env(),
        Proxy::Url(url) => Matcher::builder().all(url.as_str()).no(config.no_proxy.join(",")).build(),
    }
}

impl Connector {
    pub(crate) fn new(config: &HttpConfig, proxies: Arc<Matcher>, reach: &Reach) -> Self {
        let tcp = configured(HttpConnector::new(), config);
        let guarded = configured(HttpConnector::new_with_resolver(Resolver::new(reach)), config);
        Self { tcp, guarded, reach: reach.clone(), proxies }
    }
}

fn configured<R>(mut tcp: HttpConnector<R>, config: &HttpConfig) -> HttpConnector<R> {
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(config.connect_timeout.0));
    tcp.set_keepalive(Some(config.idle_timeout.0));
    tcp
}

impl Service<Uri> for Connector {
    type Response = Wire;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let (mut tcp, mut guarded) = (self.tcp.clone(), self.guarded.clone());
        let named = self.reach.is_named(&destination);
        let judged = if named { Ok(()) } else { self.reach.judge_literal(&destination) };
        let proxy = self.proxies.intercept(&destination);
        Box::pin(async move {
            judged?;
            let Some(proxy) = proxy else {
                let stream = match named {
                    true => tcp.call(destination).await?,
                    false => guarded.call(destination).await?,
                };
                return Ok(Wire { stream, proxied: false });
            };
            if proxy.uri().scheme_str() != Some("http") {
                return Err("proxies are spoken to by plain HTTP only".into());
            }
            if destination.scheme_str() == Some("http") {
                return Ok(Wire { stream: tcp.call(proxy.uri().clone()).await?, proxied: true });
            }
            let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
            if let Some(authorization) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(authorization.clone());
            }
            Ok(Wire { stream: tunnel.call(destination).await?, proxied: false })
        })
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.proxied)
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }
}
