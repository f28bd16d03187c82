//! Against Debian's docker-registry, with what skopeo puts there, and skopeo reading what was pushed.

mod support;

use std::io::Write as _;

use sha2::{Digest as _, Sha256};
use support::{Certificates, closed_port, content, hasty, read_all};
use witvirt_core::{ByteSize, Digest};
use witvirt_disk::ErrorKind;
use witvirt_fetch::registry::{Descriptor, Platform};
use witvirt_fetch::{
    DockerConfig, Fetch, FetchConfig, Helpers, Login, Reference, RegistryAccess, RegistryConfig, Secret,
};
use witvirt_harness::oci::Layout;
use witvirt_harness::registry::{self, Wanted};

/// A registry of its own for a test, and what the tests here ask of it.
struct Registry(registry::Registry);

impl Registry {
    /// `None`, with the reason printed, where the programs are not installed.
    fn start(wanted: &Wanted<'_>) -> Option<Self> {
        registry::Registry::start(wanted).unwrap().map(Self)
    }

    fn host(&self) -> String {
        self.0.host().to_owned()
    }

    fn reference(&self, rest: &str) -> Reference {
        format!("docker://{}/{rest}", self.0.host()).parse().unwrap()
    }

    /// A config that knows this registry.
    fn config(&self, own: RegistryConfig) -> FetchConfig {
        FetchConfig { registry: [(self.host(), own)].into(), ..hasty() }
    }

    fn plain(&self) -> FetchConfig {
        self.config(RegistryConfig { plain_http: true, ..RegistryConfig::default() })
    }

    /// Puts an image of one layer there by skopeo, and gives the layer's bytes.
    fn push_by_skopeo(&self, name: &str, options: &[&str]) -> Vec<u8> {
        let layer = content(3 << 20);
        let build = |layout: &Layout| {
            layout.blob("", &layer)?;
            layout.blob("", &config_of(&layer))?;
            let manifest = manifest_of(&config_of(&layer), &layer);
            layout.blob("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes())
        };
        self.0.push(name, options, build).unwrap();
        layer
    }

    /// What skopeo reads of an image: its only layer.
    fn pull_by_skopeo(&self, name: &str, options: &[&str]) -> Vec<u8> {
        let (manifest, blobs) = self.0.pull(name, options).unwrap();
        let digest = manifest["layers"][0]["digest"].as_str().unwrap();
        std::fs::read(blobs.join(digest.strip_prefix("sha256:").unwrap())).unwrap()
    }
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

fn manifest_of(config: &[u8], layer: &[u8]) -> String {
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest_of(config), "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": digest_of(layer), "size": layer.len(),
        }],
    })
    .to_string()
}

fn config_of(layer: &[u8]) -> Vec<u8> {
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [digest_of(layer)] },
    });
    config.to_string().into_bytes()
}

fn amd64() -> Platform {
    Platform::new("linux", "amd64")
}

#[test]
fn reads_what_skopeo_pushed() {
    let Some(registry) = Registry::start(&Wanted::default()) else { return };
    let layer = registry.push_by_skopeo("team/image:v1", &[]);
    let fetch = Fetch::new(&registry.plain()).unwrap();
    let client = fetch.registry(RegistryAccess::anonymous());
    let reference = registry.reference("team/image:v1");
    let manifest = client.select(&reference, &amd64()).unwrap();
    assert_eq!(client.resolve(&reference).unwrap(), manifest.digest());
    assert_eq!(client.manifest(&reference.with_digest(manifest.digest())).unwrap(), manifest);
    let [config, stored] = manifest.blobs() else { panic!("{manifest:?}") };
    let config_text = client.small_blob(&reference, config, 1 << 20).unwrap();
    assert_eq!(config_text, config_of(&layer));

    let blob = client.blob(&reference, stored).unwrap();
    assert_eq!((blob.size(), blob.ranges()), (Some(3 << 20), true));
    assert_eq!(blob.digest(), Some(digest_of(&layer)));
    assert_eq!(blob.version(), Some(&*digest_of(&layer).to_string()));
    assert!(read_all(&*blob, 0).unwrap() == layer);
    assert!(read_all(&*blob, 1_000_000).unwrap() == layer[1_000_000..]);
    let mut buffer = [0; 1000];
    assert_eq!(blob.read(2_000_000, &mut buffer).unwrap(), 1000);
    assert_eq!(buffer[..], layer[2_000_000..2_001_000]);

    let wrong_size = Descriptor { size: 7, ..stored.clone() };
    assert_eq!(client.blob(&reference, &wrong_size).unwrap_err().kind(), ErrorKind::Corrupt);
    let absent = Descriptor { digest: digest_of(b"absent"), ..stored.clone() };
    assert_eq!(client.blob(&reference, &absent).unwrap_err().kind(), ErrorKind::NotFound);
    for missing in ["team/image:v2", "team/other:v1"] {
        let error = client.resolve(&registry.reference(missing)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains(missing), "{error}");
        assert_eq!(client.manifest(&registry.reference(missing)).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn skopeo_reads_what_was_pushed() {
    let Some(registry) = Registry::start(&Wanted::default()) else { return };
    let own = RegistryConfig {
        plain_http: true,
        upload_chunk: Some(ByteSize::kib(256)),
        ..RegistryConfig::default()
    };
    let fetch = Fetch::new(&registry.config(own)).unwrap();
    let client = fetch.registry(RegistryAccess::anonymous());
    let reference = registry.reference("pushed/disk:v1");
    let layer = content(1_000_003);
    let config = config_of(&layer);

    let mut upload = client.start_upload(&reference).unwrap();
    upload.write_all(&layer).unwrap();
    upload.finish(digest_of(&layer)).unwrap();
    assert!(client.has_blob(&reference, digest_of(&layer)).unwrap());
    let push = |bytes: &[u8], digest: Digest, size: u64| {
        let bytes = bytes.to_vec();
        client.push_blob(&reference, digest, size, &mut || Ok(Box::new(std::io::Cursor::new(bytes.clone()))))
    };
    assert!(!push(&layer, digest_of(&layer), layer.len() as u64).unwrap());
    assert!(push(&config, digest_of(&config), config.len() as u64).unwrap());
    assert!(push(b"", digest_of(b""), 0).unwrap());
    let large = content(5 << 20);
    assert!(push(&large, digest_of(&large), 5 << 20).unwrap());

    let manifest = manifest_of(&config, &layer);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let digest = client.push_manifest(&reference, media_type, manifest.as_bytes()).unwrap();
    assert_eq!(digest, digest_of(manifest.as_bytes()));
    assert_eq!(client.resolve(&reference).unwrap(), digest);
    assert!(registry.pull_by_skopeo("pushed/disk:v1", &[]) == layer);

    let index = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [{
        "mediaType": media_type, "digest": digest, "size": manifest.len(),
        "platform": {"os": "linux", "architecture": "amd64"},
    }]})
    .to_string();
    let both = registry.reference("pushed/disk:multi");
    client.push_manifest(&both, "application/vnd.oci.image.index.v1+json", index.as_bytes()).unwrap();
    assert!(client.manifest(&both).unwrap().is_index());
    assert_eq!(client.select(&both, &amd64()).unwrap().digest(), digest);
    let error = client.select(&both, &Platform::new("linux", "s390x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("linux/amd64"), "{error}");
    assert!(registry.pull_by_skopeo("pushed/disk:multi", &[]) == layer);
}

#[test]
fn pushes_that_are_wrong_fail() {
    let Some(registry) = Registry::start(&Wanted::default()) else { return };
    let fetch = Fetch::new(&registry.plain()).unwrap();
    let client = fetch.registry(RegistryAccess::anonymous());
    let reference = registry.reference("pushed/wrong:v1");
    let wrong = digest_of(b"something else");
    let push = |bytes: &'static [u8], size: u64| {
        client.push_blob(&reference, wrong, size, &mut || Ok(Box::new(bytes))).unwrap_err().kind()
    };
    assert_eq!(push(b"bytes", 5), ErrorKind::Corrupt);
    assert_eq!(push(b"bytes", 4), ErrorKind::Changed);
    assert_eq!(push(b"bytes", 6), ErrorKind::Io);
    let mut upload = client.start_upload(&reference).unwrap();
    upload.write_all(b"bytes").unwrap();
    assert_eq!(upload.finish(wrong).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(!client.has_blob(&reference, wrong).unwrap());
    let manifest = manifest_of(b"no config", b"no layer");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let error = client.push_manifest(&reference, media_type, manifest.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("BLOB_UNKNOWN"), "{error}");
    let other = client.push_manifest(&reference.with_digest(wrong), media_type, manifest.as_bytes());
    assert_eq!(other.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn plain_http_is_for_registries_that_the_config_names() {
    let Some(registry) = Registry::start(&Wanted::default()) else { return };
    registry.push_by_skopeo("image:v1", &[]);
    let client = Fetch::new(&hasty()).unwrap().registry(RegistryAccess::anonymous());
    assert!(client.resolve(&registry.reference("image:v1")).is_err());
}

#[test]
fn a_login_a_private_authority_and_pull_secrets() {
    let certificates = Certificates::new();
    let login = Some(("joe", "hunter2"));
    let tls = Some((certificates.certificate.as_str(), certificates.key.as_str()));
    let wanted = Wanted { login, tls, ..Wanted::default() };
    let Some(registry) = Registry::start(&wanted) else { return };
    let layer = registry.push_by_skopeo("private/image:v1", &["--dest-creds=joe:hunter2"]);
    let ca_file = registry.0.directory().join("ca.pem");
    std::fs::write(&ca_file, &certificates.authority).unwrap();
    let auth_file = registry.0.directory().join("auth.json");
    let auth =
        format!(r#"{{"auths": {{"https://{}/v2/": {{"auth": "am9lOmh1bnRlcjI="}}}}}}"#, registry.host());
    std::fs::write(&auth_file, &auth).unwrap();
    let own =
        RegistryConfig { ca_file: Some(ca_file), auth_file: Some(auth_file), ..RegistryConfig::default() };
    let fetch = Fetch::new(&registry.config(own)).unwrap();
    let reference = registry.reference("private/image:v1");

    let basic = |password: &str| Login::Basic { user: "joe".into(), password: Secret::new(password) };
    let secret = DockerConfig::parse(auth.as_bytes(), Helpers::Refuse).unwrap();
    for access in [
        RegistryAccess::anonymous().with_login(registry.host(), basic("hunter2")),
        RegistryAccess::anonymous().with_docker_config(secret),
        fetch.operator_access().unwrap(),
    ] {
        let client = fetch.registry(access);
        let manifest = client.select(&reference, &amd64()).unwrap();
        let blob = client.blob(&reference, &manifest.blobs()[1]).unwrap();
        assert!(read_all(&*blob, 0).unwrap() == layer);
        let shown = format!("{client:?} {blob:?} {}", blob.label());
        assert!(!shown.contains("hunter2") && !shown.contains("am9l"), "{shown}");
    }
    // Another caller has nothing of it, whatever was fetched before.
    for access in [
        RegistryAccess::anonymous(),
        RegistryAccess::anonymous().with_login(registry.host(), basic("wrong-hunter2")),
        RegistryAccess::anonymous().with_login("other.example", basic("hunter2")),
    ] {
        let client = fetch.registry(access);
        let error = client.resolve(&reference).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(client.start_upload(&reference).is_err());
    }
    let client = fetch.registry(fetch.operator_access().unwrap());
    let mut upload = client.start_upload(&reference).unwrap();
    upload.write_all(b"pushed with a login").unwrap();
    upload.finish(digest_of(b"pushed with a login")).unwrap();
}

#[test]
fn mirrors_come_first_and_the_origin_helps_out() {
    let Some(mirror) = Registry::start(&Wanted::default()) else { return };
    let Some(origin) = Registry::start(&Wanted::default()) else { return };
    let layer = mirror.push_by_skopeo("hub/team/image:v1", &[]);
    origin.push_by_skopeo("team/only-here:v1", &[]);
    let plain = RegistryConfig { plain_http: true, ..RegistryConfig::default() };
    let dead = format!("127.0.0.1:{}", closed_port());
    let mirrors = vec![dead.clone(), format!("{}/hub", mirror.host())];
    let config = FetchConfig {
        registry: [
            (dead, plain.clone()),
            (mirror.host(), plain.clone()),
            (origin.host(), RegistryConfig { mirrors, ..plain }),
        ]
        .into(),
        ..hasty()
    };
    let client = Fetch::new(&config).unwrap().registry(RegistryAccess::anonymous());
    for name in ["team/image:v1", "team/only-here:v1"] {
        let reference = origin.reference(name);
        let manifest = client.select(&reference, &amd64()).unwrap();
        let blob = client.blob(&reference, &manifest.blobs()[1]).unwrap();
        assert!(read_all(&*blob, 0).unwrap() == layer);
    }
    let error = client.resolve(&origin.reference("team/nowhere:v1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn a_real_registrys_challenge_leads_to_the_token_server() {
    let tokens =
        support::Server::new(|_, _, wire| support::answer(wire, "200 OK", &[], br#"{"token": "hunter2"}"#));
    let authority = Certificates::new().authority;
    let wanted = Wanted { tokens: Some((tokens.url("/token"), &authority)), ..Wanted::default() };
    let Some(registry) = Registry::start(&wanted) else { return };
    let mut config = registry.plain();
    let token_host = format!("127.0.0.1:{}", tokens.port);
    let login = Login::Basic { user: "joe".into(), password: Secret::new("pw") };
    let access = RegistryAccess::anonymous().with_login(registry.host(), login);
    let resolve = |config: &FetchConfig| {
        let client = Fetch::new(config).unwrap().registry(access.clone());
        client.resolve(&registry.reference("team/image:v1")).unwrap_err()
    };
    // Not by plain HTTP unless the config says so of the token server too.
    assert_eq!(resolve(&config).kind(), ErrorKind::Denied);
    assert!(tokens.requests().is_empty());
    config.registry.insert(token_host, RegistryConfig { plain_http: true, ..RegistryConfig::default() });
    let error = resolve(&config);
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let request = &tokens.requests()[0];
    assert_eq!(request.path, "/token?scope=repository%3Ateam%2Fimage%3Apull&service=test");
    assert_eq!(request.header("authorization"), Some("Basic am9lOnB3"));
}
