//! A server that does what a test tells it to, byte by byte.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use witvirt_core::{ByteSize, Span};
use witvirt_fetch::{Fetch, FetchConfig, HttpConfig};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// A header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// First and last byte asked for.
    pub fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    }

    /// The same request for other bytes.
    pub fn with_range(mut self, first: usize, last: usize) -> Self {
        self.headers.retain(|(key, _)| key != "range");
        self.headers.push(("range".to_owned(), format!("bytes={first}-{last}")));
        self
    }
}

/// Where an answer is written to.
pub trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// What a test does with the n-th request (from 0). The connection ends when it returns false.
pub type Behaviour = dyn Fn(usize, &Request, &mut dyn Write) -> bool + Send + Sync;

pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn new(behaviour: impl Fn(usize, &Request, &mut dyn Write) -> bool + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(behaviour))
    }

    /// By https.
    pub fn secure(
        config: rustls::ServerConfig,
        behaviour: impl Fn(usize, &Request, &mut dyn Write) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(Arc::new(config)), Arc::new(behaviour))
    }

    fn start(tls: Option<Arc<rustls::ServerConfig>>, behaviour: Arc<Behaviour>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, count) = (requests.clone(), Arc::new(AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (behaviour, kept, count, tls) =
                    (behaviour.clone(), kept.clone(), count.clone(), tls.clone());
                std::thread::spawn(move || {
                    let wire: Box<dyn Wire> = match tls {
                        None => Box::new(stream),
                        Some(config) => {
                            let session = rustls::ServerConnection::new(config).unwrap();
                            Box::new(rustls::StreamOwned::new(session, stream))
                        }
                    };
                    serve(wire, &*behaviour, &kept, &count);
                });
            }
        });
        Self { port, requests }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(wire: Box<dyn Wire>, behaviour: &Behaviour, kept: &Mutex<Vec<Request>>, count: &AtomicUsize) {
    let mut wire = BufReader::new(wire);
    while let Some(request) = read_request(&mut wire) {
        kept.lock().unwrap().push(request.clone());
        let number = count.fetch_add(1, Ordering::SeqCst);
        if !behaviour(number, &request, wire.get_mut()) || wire.get_mut().flush().is_err() {
            return;
        }
    }
}

fn read_request(wire: &mut BufReader<Box<dyn Wire>>) -> Option<Request> {
    let mut line = String::new();
    wire.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        wire.read_line(&mut line).ok()?;
        let Some((key, value)) = line.trim_end().split_once(':') else { break };
        headers.push((key.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(key, _)| key == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
    wire.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body })
}

/// Writes a whole answer; the connection lives on.
pub fn answer(wire: &mut dyn Write, status: &str, headers: &[&str], body: &[u8]) -> bool {
    head(wire, status, headers, body.len()) && wire.write_all(body).is_ok()
}

/// Writes the head of an answer.
pub fn head(wire: &mut dyn Write, status: &str, headers: &[&str], length: usize) -> bool {
    let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n");
    for header in headers {
        text += header;
        text += "\r\n";
    }
    text += "\r\n";
    wire.write_all(text.as_bytes()).is_ok()
}

/// Answers as a good server does.
pub fn good(request: &Request, wire: &mut dyn Write, content: &[u8], headers: &[&str]) -> bool {
    let Some((first, last)) = request.range() else { return answer(wire, "200 OK", headers, content) };
    if first >= content.len() {
        let range = format!("Content-Range: bytes */{}", content.len());
        return answer(wire, "416 Range Not Satisfiable", &[&range], b"");
    }
    let last = last.min(content.len() - 1);
    let range = format!("Content-Range: bytes {first}-{last}/{}", content.len());
    let headers = [&[&*range], headers].concat();
    answer(wire, "206 Partial Content", &headers, &content[first..=last])
}

/// Bytes that differ everywhere.
pub fn content(size: usize) -> Vec<u8> {
    (0..size as u32).flat_map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()).take(size).collect()
}

/// A config that gives up soon.
pub fn hasty() -> FetchConfig {
    let http = HttpConfig {
        connect_timeout: Span(Duration::from_secs(5)),
        idle_timeout: Span(Duration::from_millis(500)),
        slowest_rate: ByteSize(0),
        attempts: 3,
        longest_pause: Span(Duration::from_millis(1000)),
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..HttpConfig::default()
    };
    FetchConfig { http, ..FetchConfig::default() }
}

pub fn fetch() -> Fetch {
    Fetch::new(&hasty()).unwrap()
}

/// A private authority, and the certificate and key that it gave a server on loopback.
pub struct Certificates {
    pub authority: String,
    pub certificate: String,
    pub key: String,
}

impl Certificates {
    pub fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let authority = params.self_signed(&authority_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, authority_key);
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        Self { authority, certificate: certificate.pem(), key: key.serialize_pem() }
    }

    pub fn server_config(&self) -> rustls::ServerConfig {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap()
    }
}

/// Reads to the end.
pub fn read_all(blob: &dyn witvirt_disk::Blob, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    blob.stream(offset)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The kind of a failure that came through `Read`.
pub fn kind(error: std::io::Error) -> witvirt_disk::ErrorKind {
    witvirt_disk::Error::io("read", error).kind()
}

/// A connection to nobody: a port that was just closed.
pub fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
