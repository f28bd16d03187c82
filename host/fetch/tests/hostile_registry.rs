//! Registries that lie, and token flows, against a server that does what a test says.

mod support;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};
use support::{Request, Server, answer, content, good, hasty, head, read_all};
use witvirt_core::Digest;
use witvirt_disk::ErrorKind;
use witvirt_fetch::registry::{Descriptor, Platform};
use witvirt_fetch::{
    DockerConfig, Fetch, FetchConfig, Helpers, Login, Reference, Registry, RegistryAccess, RegistryConfig,
    Secret,
};

fn config(hosts: &[&Server]) -> FetchConfig {
    let plain = || RegistryConfig { plain_http: true, ..RegistryConfig::default() };
    let registry = hosts.iter().map(|server| (host(server), plain())).collect();
    FetchConfig { registry, ..hasty() }
}

fn host(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port)
}

fn reference(server: &Server) -> Reference {
    format!("{}/team/image:v1", host(server)).parse().unwrap()
}

fn client(server: &Server, access: RegistryAccess) -> Registry {
    Fetch::new(&config(&[server])).unwrap().registry(access)
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor { media_type: "m".into(), digest: digest_of(bytes), size: bytes.len() as u64 }
}

const MANIFEST: &str = r#"{"config": {"mediaType": "m", "digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000", "size": 2}, "layers": []}"#;

/// A registry that wants a token which the token server gives for a login.
fn with_tokens(token: &'static str, life: u64) -> Server {
    let own_port = Arc::new(std::sync::OnceLock::<u16>::new());
    let port = own_port.clone();
    let server = Server::new(move |_, request, wire| {
        if request.path.starts_with("/token") {
            let body = format!(r#"{{"access_token": "{token}", "expires_in": {life}}}"#);
            return answer(wire, "200 OK", &[], body.as_bytes());
        }
        if request.header("authorization") != Some(&format!("Bearer {token}")) {
            let port = port.get().unwrap();
            let challenge =
                format!("WWW-Authenticate: Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"here\"");
            return answer(wire, "401 Unauthorized", &[&challenge], b"{}");
        }
        if request.path.contains("/blobs/") {
            return good(request, wire, &content(1000), &[]);
        }
        answer(wire, "200 OK", &[], MANIFEST.as_bytes())
    });
    own_port.set(server.port).unwrap();
    server
}

fn asked_for_tokens(server: &Server) -> Vec<Request> {
    server.requests().into_iter().filter(|request| request.path.starts_with("/token")).collect()
}

#[test]
fn a_token_serves_many_requests_of_one_caller() {
    let server = with_tokens("abc", 300);
    let login = Login::Basic { user: "joe".into(), password: Secret::new("pw") };
    let fetch = Fetch::new(&config(&[&server])).unwrap();
    let joe = fetch.registry(RegistryAccess::anonymous().with_login(host(&server), login));
    joe.manifest(&reference(&server)).unwrap();
    let blob = joe.blob(&reference(&server), &descriptor(&content(1000))).unwrap();
    assert!(read_all(&*blob, 0).unwrap() == content(1000));
    assert_eq!(asked_for_tokens(&server).len(), 1);
    assert_eq!(asked_for_tokens(&server)[0].header("authorization"), Some("Basic am9lOnB3"));
    // Somebody else gets a token of their own.
    fetch.registry(RegistryAccess::anonymous()).manifest(&reference(&server)).unwrap();
    assert_eq!(asked_for_tokens(&server).len(), 2);
    assert_eq!(asked_for_tokens(&server)[1].header("authorization"), None);
}

#[test]
fn a_refresh_token_is_posted() {
    let server = with_tokens("abc", 300);
    let text = format!(r#"{{"auths": {{"{}": {{"identitytoken": "id&t"}}}}}}"#, host(&server));
    let secret = DockerConfig::parse(text.as_bytes(), Helpers::Refuse).unwrap();
    client(&server, RegistryAccess::anonymous().with_docker_config(secret))
        .manifest(&reference(&server))
        .unwrap();
    let request = &asked_for_tokens(&server)[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/token"));
    let form = String::from_utf8_lossy(&request.body);
    assert!(form.contains("refresh_token=id%26t&") || form.ends_with("refresh_token=id%26t"), "{form}");
}

#[test]
fn tokens_that_no_header_can_have_are_refused() {
    let server = with_tokens("a\\nb", 300);
    let error = client(&server, RegistryAccess::anonymous()).manifest(&reference(&server)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn manifests_are_what_their_digest_says() {
    let server = Server::new(|_, _, wire| answer(wire, "200 OK", &[], MANIFEST.as_bytes()));
    let client = client(&server, RegistryAccess::anonymous());
    let good = reference(&server).with_digest(digest_of(MANIFEST.as_bytes()));
    assert_eq!(client.manifest(&good).unwrap().bytes(), MANIFEST.as_bytes());
    let bad = reference(&server).with_digest(digest_of(b"other"));
    assert_eq!(client.manifest(&bad).unwrap_err().kind(), ErrorKind::Corrupt);
    // Without a digest in the head of the answer, the manifest is fetched for it.
    assert_eq!(client.resolve(&reference(&server)).unwrap(), digest_of(MANIFEST.as_bytes()));

    let lying = Server::new(|_, _, wire| {
        let digest = format!("Docker-Content-Digest: {}", digest_of(b"other"));
        answer(wire, "200 OK", &[&digest], MANIFEST.as_bytes())
    });
    let client = self::client(&lying, RegistryAccess::anonymous());
    assert_eq!(client.manifest(&reference(&lying)).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn long_manifests_are_not_read() {
    for chunked in [false, true] {
        let server = Server::new(move |_, _, wire| {
            if !chunked {
                head(wire, "200 OK", &[], 1 << 40);
            } else {
                let _ = wire.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            }
            let piece = [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat();
            while wire.write_all(&piece).is_ok() {}
            false
        });
        let error = client(&server, RegistryAccess::anonymous()).manifest(&reference(&server)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    }
}

#[test]
fn a_blob_without_a_length_may_not_go_on_after_what_its_descriptor_says() {
    let server = Server::new(move |_, _, wire| {
        let _ = wire.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let piece = [&b"10000\r\n"[..], &[7; 0x10000], b"\r\n"].concat();
        while wire.write_all(&piece).is_ok() {}
        false
    });
    let blob = descriptor(&[7; 100_000]);
    let blob = client(&server, RegistryAccess::anonymous()).blob(&reference(&server), &blob).unwrap();
    assert_eq!(blob.size(), Some(100_000));
    assert_eq!(support::kind(read_all(&*blob, 0).unwrap_err()), ErrorKind::Corrupt);
}

#[test]
fn indexes_in_indexes_are_followed_so_far() {
    let mut documents = vec![MANIFEST.to_owned()];
    for _ in 0..3 {
        let inner = documents.last().unwrap();
        let (digest, size) = (digest_of(inner.as_bytes()), inner.len());
        documents.push(format!(
            r#"{{"manifests": [{{"mediaType": "m", "digest": "{digest}", "size": {size}}}]}}"#
        ));
    }
    let served = documents.clone();
    let server = Server::new(move |_, request, wire| {
        let wanted = |text: &&String| request.path.ends_with(&digest_of(text.as_bytes()).to_string());
        let found = served.iter().find(wanted).unwrap();
        answer(wire, "200 OK", &[], found.as_bytes())
    });
    let client = client(&server, RegistryAccess::anonymous());
    let select = |document: &String| {
        let reference = reference(&server).with_digest(digest_of(document.as_bytes()));
        client.select(&reference, &Platform::new("linux", "amd64"))
    };
    assert_eq!(select(&documents[2]).unwrap().bytes(), MANIFEST.as_bytes());
    assert_eq!(select(&documents[3]).unwrap_err().kind(), ErrorKind::Limit);
}

#[test]
fn codes_are_told_and_words_are_not() {
    let server = Server::new(|_, _, wire| {
        let body = br#"{"errors": [{"code": "NAME_UNKNOWN", "message": "hunter2"}]}"#;
        answer(wire, "404 Not Found", &[], body)
    });
    let error = client(&server, RegistryAccess::anonymous()).manifest(&reference(&server)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("NAME_UNKNOWN") && !error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn a_registry_may_not_redirect_to_plain_http_elsewhere() {
    let elsewhere = Server::new(|_, request, wire| good(request, wire, &content(10), &[]));
    let to = format!("Location: {}", elsewhere.url("/blob"));
    let server = Server::new(move |_, _, wire| answer(wire, "307 Temporary Redirect", &[&to], b""));
    let blob = descriptor(&content(10));
    let error = client(&server, RegistryAccess::anonymous()).blob(&reference(&server), &blob).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let fetch = Fetch::new(&config(&[&server, &elsewhere])).unwrap();
    let login = Login::Bearer(Secret::new("hunter2"));
    let access = RegistryAccess::anonymous().with_login(host(&server), login);
    let blob = fetch.registry(access).blob(&reference(&server), &blob).unwrap();
    assert!(read_all(&*blob, 0).unwrap() == content(10));
    assert!(elsewhere.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn a_mirror_that_dies_in_the_middle_is_left() {
    let alive = Arc::new(AtomicBool::new(true));
    let state = alive.clone();
    let mirror = Server::new(move |_, request, wire| {
        if !state.load(Ordering::SeqCst) {
            return false;
        }
        if request.range() == Some((0, 0)) {
            return good(request, wire, &content(100_000), &["ETag: \"mirror\""]);
        }
        state.store(false, Ordering::SeqCst);
        head(wire, "200 OK", &[], 100_000);
        let _ = wire.write_all(&content(60_000));
        false
    });
    let origin =
        Server::new(|_, request, wire| good(request, wire, &content(100_000), &["ETag: \"origin\""]));
    let mut config = config(&[&mirror, &origin]);
    config.registry.get_mut(&host(&origin)).unwrap().mirrors = vec![host(&mirror)];
    let client = Fetch::new(&config).unwrap().registry(RegistryAccess::anonymous());
    let blob = client.blob(&reference(&origin), &descriptor(&content(100_000))).unwrap();
    assert!(read_all(&*blob, 0).unwrap() == content(100_000));
    assert!(!alive.load(Ordering::SeqCst));
    assert_eq!(origin.requests()[0].range(), Some((60_000, 99_999)));
}

#[test]
fn an_upload_goes_on_after_a_cut() {
    let taken = Arc::new(std::sync::Mutex::new(Vec::<u8>::new()));
    let cut = AtomicBool::new(false);
    let store = taken.clone();
    let server = Server::new(move |_, request, wire| {
        let mut store = store.lock().unwrap();
        let location = "Location: /v2/team/image/blobs/uploads/1?state=x";
        match request.method.as_str() {
            "POST" => answer(wire, "202 Accepted", &[location], b""),
            "PATCH" if store.len() >= 8192 && !cut.swap(true, Ordering::SeqCst) => {
                // It has half of the part, and says nothing.
                store.extend(&request.body[..request.body.len() / 2]);
                false
            }
            "PATCH" => {
                let wanted = format!("{}-{}", store.len(), store.len() + request.body.len() - 1);
                if request.header("content-range") != Some(&wanted) {
                    return answer(wire, "416 Range Not Satisfiable", &[], b"");
                }
                store.extend(&request.body);
                answer(wire, "202 Accepted", &[location], b"")
            }
            "GET" => {
                let range = format!("Range: 0-{}", store.len() - 1);
                answer(wire, "204 No Content", &[location, &range], b"")
            }
            "PUT" => {
                let whole = request.path.contains("state=x&digest=sha256%3A");
                answer(wire, if whole { "201 Created" } else { "400 Bad Request" }, &[], b"")
            }
            _ => false,
        }
    });
    let mut config = config(&[&server]);
    config.registry.get_mut(&host(&server)).unwrap().upload_chunk = Some(witvirt_core::ByteSize::kib(4));
    let client = Fetch::new(&config).unwrap().registry(RegistryAccess::anonymous());
    let mut upload = client.start_upload(&reference(&server)).unwrap();
    upload.write_all(&content(30_000)).unwrap();
    upload.finish(digest_of(&content(30_000))).unwrap();
    assert_eq!(*taken.lock().unwrap(), content(30_000));
}

#[test]
fn uploads_go_where_https_or_the_config_lets_them() {
    let elsewhere = Server::new(|_, _, wire| answer(wire, "201 Created", &[], b""));
    let to = format!("Location: {}", elsewhere.url("/upload"));
    let server = Server::new(move |_, _, wire| answer(wire, "202 Accepted", &[&to], b""));
    let error = client(&server, RegistryAccess::anonymous()).start_upload(&reference(&server)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(elsewhere.requests().is_empty());
}
