//! Registries of the OCI distribution protocol: manifests, blobs, and putting both there.

mod body;
mod document;
mod endpoint;
mod push;
mod reference;
mod session;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};
use sha2::{Digest as _, Sha256};
use witvirt_core::Digest;
use witvirt_disk::{Blob, Error, ErrorKind, Result};

pub use document::{Descriptor, Document, MANIFEST_LIMIT, Platform};
pub use push::Upload;
pub use reference::Reference;
pub(crate) use session::Session;

use crate::access::RegistryAccess;
use crate::client::Client;
use crate::failure::{Attempt, Failure, Patience};
use crate::http::{Remote, RemoteBlob};
use crate::label;
use crate::resource::{Auth, Resource};
use crate::{Authorities, Fetch};
use endpoint::Endpoint;
use session::Actions;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Registries, as one caller sees them. Tokens that it gets are its own; clones share them. Calls block.
#[derive(Clone, Debug)]
pub struct Registry {
    fetch: Fetch,
    access: RegistryAccess,
    sessions: Arc<Mutex<Sessions>>,
    /// Connections of this caller alone, by host: where it trusts authorities of its own.
    clients: Arc<Mutex<HashMap<String, Client>>>,
}

/// By host, repository and what is to be done there.
type Sessions = HashMap<(String, String, Actions), Arc<Session>>;

/// What a manifest request gave.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Registry {
    pub(crate) fn new(fetch: Fetch, access: RegistryAccess) -> Self {
        Self { fetch, access, sessions: Arc::default(), clients: Arc::default() }
    }

    /// The digest that a reference stands for now: the one it has, or what the registry says of its tag. Nothing is
    /// downloaded where the registry answers HEAD with a digest.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Unavailable` and the rest of what a registry answers.
    pub fn resolve(&self, reference: &Reference) -> Result<Digest> {
        if let Some(digest) = reference.digest() {
            return Ok(digest);
        }
        self.everywhere(reference, async |endpoint| {
            let answer = self.ask_manifest(endpoint, Method::HEAD, reference).await?;
            match promised_digest(&answer.headers) {
                Some(digest) => Ok(digest),
                None => Ok(self.get_manifest(endpoint, reference).await?.digest()),
            }
        })
    }

    /// Asks whether the caller may have what a reference names: a digest needs no resolving, and is no permission.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    pub fn ask(&self, reference: &Reference) -> Result<()> {
        self.everywhere(reference, async |endpoint| {
            self.ask_manifest(endpoint, Method::HEAD, reference).await.map(drop)
        })
    }

    /// The manifest or index behind a reference, verified against its digest.
    ///
    /// # Errors
    /// As [`Registry::resolve`]; `Corrupt` when it is not what its digest says; `Limit` over [`MANIFEST_LIMIT`].
    pub fn manifest(&self, reference: &Reference) -> Result<Document> {
        self.everywhere(reference, async |endpoint| self.get_manifest(endpoint, reference).await)
    }

    /// The manifest for a platform: the one of the index that fits, or the only one there is.
    ///
    /// # Errors
    /// As [`Registry::manifest`]; `NotFound` with the platforms that there are.
    pub fn select(&self, reference: &Reference, platform: &Platform) -> Result<Document> {
        /// An index may name indexes.
        const DEPTH: usize = 3;
        let mut at = reference.clone();
        for _ in 0..DEPTH {
            let document = self.manifest(&at)?;
            if !document.is_index() {
                return Ok(document);
            }
            let chosen = document.choose(platform).map_err(|error| error.during(reference))?;
            at = reference.with_digest(chosen.digest);
        }
        Err(Error::new(ErrorKind::Limit, format!("{reference}: indexes in indexes, {DEPTH} deep")))
    }

    /// A blob of the repository that `reference` names.
    ///
    /// # Errors
    /// As [`Registry::resolve`]; `Corrupt` when the registry has it in another size than the descriptor says.
    pub fn blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Arc<dyn Blob>> {
        let digest = descriptor.digest;
        let label = format!("{} in {}", digest, reference.repository_name());
        let places = self.endpoints(reference)?.into_iter().map(|endpoint| {
            let url = endpoint.url(&["blobs", &digest.to_string()]);
            self.resource(&endpoint, url, Actions::Pull)
        });
        let open = Remote::open(label, places.collect::<Result<_>>()?, Some(digest));
        let mut remote = self.fetch.inner.runtime.block_on(open)?;
        // What a registry sends without saying how much ends here too.
        let size = *remote.facts.size.get_or_insert(descriptor.size);
        if size != descriptor.size {
            let message =
                format!("{}: {size} bytes where the manifest says {}", remote.label, descriptor.size);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(Arc::new(RemoteBlob::new(remote, self.fetch.inner.runtime.clone())))
    }

    /// A small blob (a config, at most `most` bytes), verified.
    ///
    /// # Errors
    /// As [`Registry::blob`]; `Limit` when it is longer; `Corrupt` when it is not what its digest says.
    pub fn small_blob(&self, reference: &Reference, descriptor: &Descriptor, most: u64) -> Result<Vec<u8>> {
        let too_long = |label: &str| {
            let size = witvirt_core::ByteSize(most);
            Error::new(ErrorKind::Limit, format!("{label}: longer than {size}"))
        };
        if descriptor.size > most {
            return Err(too_long(&descriptor.digest.to_string()));
        }
        let blob = self.blob(reference, descriptor)?;
        let mut bytes = Vec::new();
        let mut stream = std::io::Read::take(blob.stream(0)?, most + 1);
        std::io::Read::read_to_end(&mut stream, &mut bytes)
            .map_err(|error| Error::io(format!("read {}", blob.label()), error))?;
        if bytes.len() as u64 > most {
            return Err(too_long(blob.label()));
        }
        if digest_of(&bytes) != descriptor.digest {
            let message = format!("{}: other bytes than its digest says", blob.label());
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(bytes)
    }

    /// Tries the mirrors in their order, then the registry itself, whose error is the one that counts.
    fn everywhere<T>(
        &self,
        reference: &Reference,
        attempt: impl AsyncFn(&Endpoint) -> Result<T>,
    ) -> Result<T> {
        let endpoints = self.endpoints(reference)?;
        self.fetch.inner.runtime.block_on(async {
            let mut last = Error::new(ErrorKind::NotFound, "nowhere to look");
            for endpoint in &endpoints {
                match attempt(endpoint).await {
                    Ok(found) => return Ok(found),
                    Err(error) => {
                        tracing::debug!(%error, host = endpoint.host, "not here");
                        last = error;
                    }
                }
            }
            Err(last.during(reference))
        })
    }

    async fn get_manifest(&self, endpoint: &Endpoint, reference: &Reference) -> Result<Document> {
        let answer = self.ask_manifest(endpoint, Method::GET, reference).await?;
        let actual = digest_of(&answer.body);
        let wanted = reference.digest().or_else(|| promised_digest(&answer.headers));
        if let Some(wanted) = wanted
            && wanted != actual
        {
            let message =
                format!("{}: a manifest that is {actual} where {wanted} was asked for", endpoint.host);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let media_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Document::new(media_type, answer.body, actual)
    }

    async fn ask_manifest(
        &self,
        endpoint: &Endpoint,
        method: Method,
        reference: &Reference,
    ) -> Result<Answer> {
        let resource =
            self.resource(endpoint, endpoint.url(&["manifests", &reference.target()]), Actions::Pull)?;
        let mut headers = HeaderMap::new();
        for media_type in document::ACCEPTED {
            headers.append(ACCEPT, HeaderValue::from_static(media_type));
        }
        let limits = resource.client.limits();
        let attempts = if endpoint.mirror { limits.attempts.min(2) } else { limits.attempts };
        let mut patience = Patience::new(limits, attempts);
        loop {
            let failure = match try_ask(&resource, &method, &headers).await {
                Ok(answer) if answer.status == StatusCode::OK => return Ok(answer),
                Ok(answer) => refusal(answer.status, &answer.headers, &answer.body),
                Err(failure) => failure,
            };
            patience.wait(failure).await.map_err(|error| error.during(&endpoint.host))?;
        }
    }

    fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        Endpoint::all(&self.fetch.inner.config, reference)
    }

    fn resource(&self, endpoint: &Endpoint, url: url::Url, actions: Actions) -> Result<Resource> {
        let session = self.session(endpoint, actions)?;
        let (client, plain) = (session.client.clone(), session.plain.clone());
        Ok(Resource::new(client, url, Auth::Session(session), plain))
    }

    /// The connections to a host: the caller's own where it trusts authorities of its own.
    fn client(&self, host: &str) -> Result<Client> {
        let inner = &self.fetch.inner;
        let Some(own) = self.access.authorities() else {
            return inner.registries.get(host).cloned().map_or_else(|| self.fetch.client(), Ok);
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(host) {
            return Ok(client.clone());
        }
        let file = inner.config.registry.get(host).and_then(|registry| registry.ca_file.as_ref());
        let file = file.map_or_else(|| Ok(Authorities::default()), |file| Authorities::from_file(file))?;
        let client = self.fetch.client_with(own, &file.and(&inner.authorities))?;
        clients.insert(host.to_owned(), client.clone());
        Ok(client)
    }

    /// One session for each repository: blobs that are read at the same time share a token.
    fn session(&self, endpoint: &Endpoint, actions: Actions) -> Result<Arc<Session>> {
        let key = (endpoint.host.clone(), endpoint.repository.clone(), actions);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(&key) {
            return Ok(Arc::clone(session));
        }
        let (client, plain) = (self.client(&endpoint.host)?, self.fetch.inner.plain.clone());
        let session = Arc::new(Session::new(client, endpoint, actions, self.access.clone(), plain));
        sessions.insert(key, Arc::clone(&session));
        Ok(session)
    }
}

async fn try_ask(resource: &Resource, method: &Method, headers: &HeaderMap) -> Attempt<Answer> {
    let response = resource.ask(method.clone(), headers).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = if *method == Method::HEAD {
        Bytes::new()
    } else {
        resource.client.collect(response, MANIFEST_LIMIT).await?
    };
    Ok(Answer { status, headers, body })
}

/// What a registry refuses, with the code that it gives in its body. The words beside the code are left out: they may
/// repeat what was presented.
fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    #[derive(serde::Deserialize)]
    struct Refusal {
        errors: Vec<Code>,
    }
    #[derive(serde::Deserialize)]
    struct Code {
        code: String,
    }
    let failure = Failure::status(status, headers);
    let code =
        serde_json::from_slice::<Refusal>(body).ok().and_then(|refusal| refusal.errors.into_iter().next());
    match code {
        Some(Code { code })
            if code.len() <= 40 && code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') =>
        {
            failure.during(code)
        }
        _ => failure,
    }
}

fn promised_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// A failure on the way to a URL that the registry gave.
fn at(url: &url::Url) -> impl Fn(Error) -> Error {
    let label = label::of(url);
    move |error| error.during(&label)
}
