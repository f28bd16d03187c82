//! Requests are not led where the operator did not say: neither by what a user names, nor by redirects, nor by names.

mod support;

use std::net::Ipv4Addr;

use support::{Certificates, Server, answer, content, good, hasty, read_all};
use witvirt_disk::ErrorKind;
use witvirt_fetch::registry::Platform;
use witvirt_fetch::{
    Authorities, Fetch, FetchConfig, HttpAccess, HttpConfig, RegistryAccess, RegistryConfig,
};

/// A config that allows these networks besides what is allowed anyway.
fn config(networks: &[&str]) -> FetchConfig {
    let allow_networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    FetchConfig { http: HttpConfig { allow_networks, ..hasty().http }, ..hasty() }
}

fn refused(fetch: &Fetch, url: &str) {
    let error = fetch.http(url, &HttpAccess::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{url}: {error}");
    assert!(error.to_string().contains("allow-networks"), "{url}: {error}");
}

#[test]
fn the_daemons_own_host_and_metadata_are_out_of_reach() {
    let server = Server::new(|_, request, wire| good(request, wire, b"secret", &[]));
    let fetch = Fetch::new(&config(&[])).unwrap();
    let port = server.port;
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "0x7f000001",
        "2130706433",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "169.254.169.254",
        "[fe80::1]",
        "224.0.0.1",
    ] {
        refused(&fetch, &format!("http://{host}:{port}/file"));
    }
    let registry = fetch.registry(RegistryAccess::anonymous());
    let reference = format!("docker://localhost:{port}/a/b:1").parse().unwrap();
    assert_eq!(registry.resolve(&reference).unwrap_err().kind(), ErrorKind::Denied);
    assert!(server.requests().is_empty(), "nobody was asked: {:?}", server.requests());
}

#[test]
fn redirects_are_judged_too() {
    let inside = Server::new(|_, request, wire| good(request, wire, b"secret", &[]));
    let to = inside.port;
    let outside = Server::new(move |_, request, wire| {
        let host = if request.path == "/name" { "localhost" } else { "127.0.0.2" };
        answer(wire, "302 Found", &[&format!("Location: http://{host}:{to}/file")], b"")
    });
    // The second is what "localhost" is not.
    let fetch = Fetch::new(&config(&["127.0.0.1"])).unwrap();
    refused(&fetch, &outside.url("/address"));
    assert_eq!(outside.requests().len(), 1, "refused for good: not tried again");
    // By a name it is another matter: localhost is the address that is allowed, where it is no IPv6 address alone.
    let named = fetch.http(&outside.url("/name"), &HttpAccess::default()).unwrap();
    assert_eq!(read_all(&*named, 0).unwrap(), b"secret");
    let nowhere = Fetch::new(&config(&[&Ipv4Addr::new(127, 0, 0, 3).to_string()])).unwrap();
    refused(&nowhere, &outside.url("/name"));
}

#[test]
fn what_the_operator_denies_and_registries_that_the_operator_names() {
    let server = Server::new(|_, request, wire| good(request, wire, b"file", &[]));
    let mut denied = config(&["127.0.0.0/8"]);
    denied.http.deny_networks = vec!["127.0.0.1".parse().unwrap()];
    refused(&Fetch::new(&denied).unwrap(), &server.url("/file"));
    // A registry that has a table is the operator's choice, wherever it is.
    let plain = RegistryConfig { plain_http: true, ..RegistryConfig::default() };
    let host = format!("127.0.0.1:{}", server.port);
    let named = FetchConfig { registry: [(host.clone(), plain)].into(), ..denied };
    let registry = Fetch::new(&named).unwrap().registry(RegistryAccess::anonymous());
    let error = registry.resolve(&format!("docker://{host}/a/b:1").parse().unwrap()).unwrap_err();
    assert_ne!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(!server.requests().is_empty());
}

#[test]
fn a_callers_own_authority_counts_for_registries_and_for_nobody_else() {
    let certificates = Certificates::new();
    let blob = format!(r#"{{"digest":"sha256:{}","size":2,"mediaType":"x/y"}}"#, "0a".repeat(32));
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{blob},"layers":[{blob}]}}"#);
    let server = Server::secure(certificates.server_config(), move |_, _, wire| {
        answer(
            wire,
            "200 OK",
            &["Content-Type: application/vnd.oci.image.manifest.v1+json"],
            manifest.as_bytes(),
        )
    });
    let fetch = Fetch::new(&hasty()).unwrap();
    let reference = format!("docker://127.0.0.1:{}/a/b:1", server.port).parse().unwrap();
    let own = Authorities::from_pem(certificates.authority.as_bytes()).unwrap();
    let trusting = fetch.registry(RegistryAccess::anonymous().with_authorities(own));
    trusting.select(&reference, &Platform::new("linux", "amd64")).unwrap();
    let error = fetch.registry(RegistryAccess::anonymous()).resolve(&reference).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

#[test]
fn the_operators_credentials_go_to_their_hosts_alone() {
    let body = content(10_000);
    let served = body.clone();
    let private = Server::new(move |_, request, wire| match request.header("authorization") {
        Some("Basic am9lOmh1bnRlcjI=") => good(request, wire, &served, &["ETag: \"1\""]),
        _ => answer(wire, "401 Unauthorized", &["WWW-Authenticate: Basic realm=\"x\""], b""),
    });
    let other = Server::new(|_, request, wire| good(request, wire, b"other", &[]));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth.json");
    let host = format!("127.0.0.1:{}", private.port);
    std::fs::write(&file, format!(r#"{{"auths": {{"{host}": {{"auth": "am9lOmh1bnRlcjI="}}}}}}"#)).unwrap();
    let mut config = hasty();
    config.http.auth_file = Some(file);
    // Not by plain HTTP, unless the config says so of that host.
    let fetch = Fetch::new(&config).unwrap();
    assert_eq!(fetch.http_as_operator(&private.url("/disk")).unwrap_err().kind(), ErrorKind::Denied);
    config.registry.insert(host, RegistryConfig { plain_http: true, ..RegistryConfig::default() });
    let fetch = Fetch::new(&config).unwrap();
    let blob = fetch.http_as_operator(&private.url("/disk")).unwrap();
    assert!(read_all(&*blob, 0).unwrap() == body);
    fetch.http_as_operator(&other.url("/disk")).unwrap();
    assert!(other.requests().iter().all(|request| request.header("authorization").is_none()));
    // What users ask for has nothing of it.
    assert_eq!(
        fetch.http(&private.url("/disk"), &HttpAccess::default()).unwrap_err().kind(),
        ErrorKind::Denied
    );
}
