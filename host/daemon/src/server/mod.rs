//! HTTP on the daemon's socket.

mod console;
mod host;
mod images;
mod machines;
pub(crate) mod notify;
mod openapi;
mod peer;
mod reply;
mod route;
mod routes;
mod socket;
mod volumes;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower_service::Service as _;

pub use peer::Peer;
pub use socket::Socket;

use crate::api::{Error, ErrorKind};
use crate::service::Service;

/// Connections at once; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 512;
/// Connections at once of all users but root and the daemon's own, who can always look after it.
const MOST_OF_OTHERS: usize = MOST_CONNECTIONS - 64;
/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long running requests may take once the daemon ends.
const GRACE: Duration = Duration::from_secs(5);

/// The OpenAPI document of the API.
pub fn openapi() -> serde_json::Value {
    openapi::document(&routes::all())
}

/// Every method and path of the API.
pub fn endpoints() -> Vec<(String, &'static str)> {
    routes::all().iter().map(|route| (route.method.to_string(), route.path)).collect()
}

/// Serves until `ended` resolves; then lets requests that are being answered come to their end.
pub async fn serve(socket: Socket, service: Arc<Service>, ended: impl Future<Output = ()>) {
    let router = router(Arc::clone(&service));
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let others = Arc::new(Semaphore::new(MOST_OF_OTHERS));
    let own_uid = rustix::process::geteuid().as_raw();
    let mut connections = JoinSet::new();
    tokio::pin!(ended);
    loop {
        while connections.try_join_next().is_some() {}
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            socket.listener.accept().await.map(|(stream, _)| (stream, slot))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = &mut ended => break,
        };
        let (stream, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: waiting is all that helps.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let credentials = match stream.peer_cred() {
            Ok(credentials) => credentials,
            Err(error) => {
                tracing::warn!(%error, "a connection without credentials was closed");
                continue;
            }
        };
        let Ok(among_others) = (![0, own_uid].contains(&credentials.uid()))
            .then(|| Arc::clone(&others).try_acquire_owned())
            .transpose()
        else {
            tracing::warn!(uid = credentials.uid(), "too many connections: this one was closed");
            continue;
        };
        let peer = Peer::new(credentials.uid(), credentials.gid(), own_uid, &service.config().api);
        let router = router.clone();
        connections.spawn(async move {
            connection(stream, peer, router).await;
            drop((slot, among_others));
        });
    }
    // The name goes first, so that the next daemon can have it; what is connected has some time to end.
    drop(socket);
    let _ = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

async fn connection(stream: UnixStream, peer: Peer, router: Router) {
    let answer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let mut router = router.clone();
        async move {
            Ok::<_, Infallible>(
                router.call(request.map(Body::new)).await.unwrap_or_else(|never| match never {}),
            )
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(uid = peer.uid, %error, "connection ended");
    }
}

fn router(service: Arc<Service>) -> Router {
    let mut router = Router::new();
    for route in routes::all() {
        router = router.route(route.path, route.guarded());
    }
    router
        .fallback(async |request: Request<Body>| {
            reply::Failure(Error::new(
                ErrorKind::NotFound,
                format!("there is nothing at {}", request.uri().path()),
            ))
        })
        .method_not_allowed_fallback(async |request: Request<Body>| {
            let message = format!("{} has no method {}", request.uri().path(), request.method());
            reply::Failure(Error::new(ErrorKind::Invalid, message))
        })
        .with_state(service)
}
