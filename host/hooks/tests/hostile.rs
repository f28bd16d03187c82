//! Sidecars that are none, or mean ill.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::json;
use witvirt_core::hook::DomainHooks;
use witvirt_core::{ErrorKind, PluginError};
use witvirt_hooks::client::Sidecars;

/// Time that these calls have: far more than an answer takes, far less than those without one would.
const TIME: Duration = Duration::from_secs(3);

struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        Self { directory: tempfile::Builder::new().prefix("wvx").tempdir_in("/tmp").unwrap() }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("x.sock")
    }

    fn call(&self) -> PluginError {
        let hook = Sidecars.hook(&self.socket());
        let error = hook.define_domain("<domain/>", &json!({}), TIME).unwrap_err();
        assert_eq!(error.plugin, self.socket().to_str().unwrap());
        error
    }

    /// Answers each connection with bytes.
    fn raw(&self, answer: impl Fn(std::os::unix::net::UnixStream) + Send + 'static) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    }

    /// Answers with HTTP/2: `Info` as it should be, other calls with what `body` makes.
    fn grpc(&self, info: Vec<u8>, body: impl Fn() -> Reply + Send + Sync + 'static) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (info, body) = (Arc::new(info), Arc::new(body));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let (info, body) = (Arc::clone(&info), Arc::clone(&body));
                    tokio::spawn(async move {
                        let service = service_fn(move |request: http::Request<_>| {
                            let asks_info = request.uri().path().ends_with("/Info");
                            drop::<hyper::body::Incoming>(request.into_body());
                            let reply = if asks_info { framed(&info) } else { body() };
                            async { Ok::<_, std::convert::Infallible>(reply) }
                        });
                        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            });
        });
    }
}

type Reply = http::Response<http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>>;

fn reply(bytes: Vec<u8>) -> Reply {
    use http_body_util::BodyExt;
    http::Response::builder()
        .header("content-type", "application/grpc")
        .body(Full::new(Bytes::from(bytes)).boxed_unsync())
        .unwrap()
}

/// A message with gRPC's prefix, and the trailers that end a good answer.
fn framed(message: &[u8]) -> Reply {
    use http_body_util::BodyExt;
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message);
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let body = Full::new(Bytes::from(bytes)).with_trailers(async { Some(Ok(trailers)) }).boxed_unsync();
    http::Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

#[derive(Clone, PartialEq, Message)]
struct Info {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "3")]
    points: Vec<Point>,
    #[prost(string, repeated, tag = "4")]
    versions: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Point {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Domain {
    #[prost(bytes = "vec", tag = "1")]
    xml: Vec<u8>,
}

fn info(versions: &[&str]) -> Vec<u8> {
    let points = vec![Point { name: "OnDefineDomain".to_owned() }, Point { name: "Odd\u{1b}".to_owned() }];
    let versions = versions.iter().map(|&word| word.to_owned()).collect();
    Info { name: "bad\u{1b}[2J".to_owned(), points, versions }.encode_to_vec()
}

#[test]
fn nobody_is_there() {
    let site = Site::new();
    assert_eq!(site.call().kind, ErrorKind::Io);
    std::fs::write(site.socket(), "no socket").unwrap();
    let error = site.call();
    assert_eq!(error.kind, ErrorKind::Io);
    assert!(error.message.contains("cannot be reached"), "{error}");
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    let site = Site::new();
    // The connection stays open and silent; the thread that reads it ends when the client hangs up.
    site.raw(|mut stream| drop(std::io::copy(&mut stream, &mut std::io::sink())));
    let error = site.call();
    assert_eq!(error.kind, ErrorKind::Limit, "{error}");
    assert!(error.message.contains("has not answered within 1s"), "{error}");
}

#[test]
fn who_speaks_something_else_is_told() {
    let site = Site::new();
    site.raw(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = stream.read(&mut [0; 64]);
    });
    let error = site.call();
    assert_eq!(error.kind, ErrorKind::Io, "{error}");
    assert!(error.message.contains("does not speak gRPC"), "{error}");
}

#[test]
fn who_hangs_up_is_told() {
    let site = Site::new();
    site.raw(drop);
    let error = site.call();
    assert_eq!(error.kind, ErrorKind::Io, "{error}");
}

#[test]
fn endless_noise_has_an_end() {
    let site = Site::new();
    // Empty DATA frames and pings that nobody asked for, for as long as they are taken.
    site.raw(|mut stream| {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let mut alive = stream.write_all(&settings).is_ok();
        let mut reading = stream.try_clone().unwrap();
        std::thread::spawn(move || drop(std::io::copy(&mut reading, &mut std::io::sink())));
        while alive {
            alive = stream.write_all(&ping).is_ok();
        }
    });
    let error = site.call();
    assert!(matches!(error.kind, ErrorKind::Limit | ErrorKind::Io), "{error}");
}

#[test]
fn no_version_in_common() {
    let site = Site::new();
    site.grpc(info(&["v1alpha9", "x\u{1b}"]), || framed(b""));
    let error = site.call();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains(r#"it speaks "v1alpha9", "x\u{1b}""#), "{error}");
}

#[test]
fn wrong_types_are_refused() {
    let site = Site::new();
    site.grpc(b"\xff\xff\xff".to_vec(), || framed(b""));
    let error = site.call();
    assert!(error.message.starts_with("Info: "), "{error}");
}

#[test]
fn answers_are_text() {
    for (xml, expected) in [(&b""[..], "its answer is empty"), (b"<domain>\xff", "no UTF-8 from byte 8 on")] {
        let site = Site::new();
        let message = Domain { xml: xml.to_vec() }.encode_to_vec();
        site.grpc(info(&["v1alpha1"]), move || framed(&message));
        let error = site.call();
        assert_eq!((error.kind, error.version.as_str()), (ErrorKind::Plugin, "v1alpha1"), "{error}");
        assert!(error.message.contains(expected), "{error}");
    }
}

#[test]
fn announced_sizes_are_not_believed() {
    let site = Site::new();
    // 4 GiB are announced and none come.
    site.grpc(info(&["v1alpha2"]), || reply(b"\x00\xff\xff\xff\xff".to_vec()));
    let error = site.call();
    assert_eq!(error.kind, ErrorKind::Limit, "{error}");
    assert!(error.message.contains("has more than"), "{error}");
}

#[test]
fn endless_answers_are_cut() {
    let site = Site::new();
    site.grpc(info(&["v1alpha2"]), || {
        use http_body_util::BodyExt;
        // One empty message after the other.
        let chunk = Bytes::from(vec![0; 5 << 12]);
        let endless = std::iter::repeat_with(move || Ok(Frame::data(chunk.clone())));
        let body = StreamBody::new(futures_util::stream::iter(endless)).boxed_unsync();
        http::Response::builder().header("content-type", "application/grpc").body(body).unwrap()
    });
    let error = site.call();
    assert_eq!(error.kind, ErrorKind::Limit, "{error}");
}

#[test]
fn its_words_are_cleaned_and_cut() {
    let site = Site::new();
    site.grpc(info(&["v1alpha3"]), || {
        let mut reply = reply(Vec::new());
        reply.headers_mut().insert("grpc-status", "13".parse().unwrap());
        let words = format!("%1B[2J{}", "x".repeat(5000));
        reply.headers_mut().insert("grpc-message", words.parse().unwrap());
        reply
    });
    let error = site.call();
    assert!(error.message.contains("Internal:  [2Jxxx"), "{error}");
    assert!(!error.message.contains('\u{1b}') && error.message.len() < 1200, "{}", error.message.len());
}
