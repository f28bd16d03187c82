//! When a registry is asked, and as whom.

use std::process::Stdio;

use serde_json::Value;
use witvirt_harness::front::Front;
use witvirt_harness::oci::tar;
use witvirt_harness::registry::{Registry, Wanted};

use crate::pulling::{content, disk, open_registry, plain, site, unfinished};
use crate::support::Site;

const MIB: usize = 1 << 20;

fn push_disk(registry: &Registry, name: &str, options: &[&str], bytes: &[u8]) {
    let build = |layout: &witvirt_harness::oci::Layout| {
        layout.container("amd64", &[tar(&[("disk/disk.img", bytes)])])
    };
    registry.push(name, options, build).unwrap();
}

fn arguments<'a>(source: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed = ["image", "import", source, "--name", "disk", "--format", "raw", "--platform", "linux/amd64"];
    [&fixed[..], more].concat()
}

fn import(site: &Site, source: &str, more: &[&str]) -> Value {
    site.json(&arguments(source, more))
}

/// Everything that was asked is a question for a manifest's digest.
fn only_digests(requests: &[String]) -> bool {
    let digest = |request: &String| request.starts_with("HEAD ") && request.contains("/manifests/");
    !requests.is_empty() && requests.iter().all(digest)
}

#[test]
fn pull_policies() {
    let (Some(registry), Some(site)) = (open_registry(), site("")) else { return };
    let front = Front::before(registry.host()).unwrap();
    site.append_config(&plain(front.host()));
    let _daemon = site.daemon();
    let (first, second) = (content(21, MIB), content(22, MIB));
    let source = format!("docker://{}/disks/moving:1", front.host());
    let policy = |policy| import(&site, &source, &["--pull-policy", policy]);

    let (code, message) = site.fail(&arguments(&source, &["--pull-policy", "never"]));
    assert_eq!(code, 3, "{message}");
    assert!(front.requests().is_empty(), "{:?}", front.requests());

    push_disk(&registry, "disks/moving:1", &[], &first);
    assert_eq!(policy("if-not-present")["existed"], false);
    assert!(disk(&site, "disk") == first && front.blob_bytes() > 0);
    for quiet in ["if-not-present", "never"] {
        front.forget();
        assert_eq!(policy(quiet)["existed"], true, "{quiet}");
        assert!(front.requests().is_empty(), "{quiet}: {:?}", front.requests());
    }
    front.forget();
    assert_eq!(policy("always")["existed"], true);
    assert!(only_digests(&front.requests()), "{:?}", front.requests());
    assert_eq!(front.blob_bytes(), 0);

    // The tag moves.
    push_disk(&registry, "disks/moving:1", &[], &second);
    front.forget();
    policy("if-not-present");
    assert!(disk(&site, "disk") == first && front.requests().is_empty());
    let (code, message) = site.fail(&arguments(&source, &[]));
    assert_eq!(code, 4, "the name belongs to what it was before: {message}");
    front.forget();
    assert_eq!(import(&site, &source, &["--replace"])["existed"], true, "it is only not called so");
    assert_eq!(front.blob_bytes(), 0);
    assert!(disk(&site, "disk") == second);
    // And back: the store has had that all the time, and knows that it came from there.
    push_disk(&registry, "disks/moving:1", &[], &first);
    front.forget();
    assert_eq!(import(&site, &source, &["--replace"])["existed"], true);
    assert!(disk(&site, "disk") == first);
    assert!(only_digests(&front.requests()), "{:?}", front.requests());
}

#[test]
fn every_place_that_an_image_came_from_counts() {
    let (Some(registry), Some(site)) = (open_registry(), site("")) else { return };
    let front = Front::before(registry.host()).unwrap();
    site.append_config(&plain(front.host()));
    let _daemon = site.daemon();
    let bytes = content(23, MIB);
    let file = site.path("disk.raw");
    std::fs::write(&file, &bytes).unwrap();
    site.run(&arguments(&file.to_string_lossy(), &[])[..7]);
    let sources: Vec<String> =
        ["a", "b"].iter().map(|name| format!("docker://{}/disks/{name}:1", front.host())).collect();
    for (name, source) in ["a", "b"].iter().zip(&sources) {
        push_disk(&registry, &format!("disks/{name}:1"), &[], &bytes);
        assert_eq!(import(&site, source, &[])["existed"], true);
    }
    let image = site.json(&["image", "inspect", "disk"]);
    let paths: Vec<&str> = image["origins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|origin| origin["sources"][0]["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths.len(), 3, "{paths:?}");
    for part in [file.to_str().unwrap(), "/disks/a:1@sha256:", "/disks/b:1@sha256:"] {
        assert!(paths.iter().any(|path| path.contains(part)), "{part} in {paths:?}");
    }
    for source in &sources {
        front.forget();
        import(&site, source, &["--pull-policy", "never"]);
        assert!(front.requests().is_empty());
        import(&site, source, &[]);
        assert!(only_digests(&front.requests()), "{:?}", front.requests());
    }
    // The same again is no further place.
    assert_eq!(site.json(&["image", "inspect", "disk"])["origins"].as_array().unwrap().len(), 3);
}

fn write(site: &Site, name: &str, text: &str) -> String {
    let path = site.path(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn everybody_shows_credentials_of_their_own() {
    let login = Some(("joe", "hunter2"));
    let Some(registry) = Registry::start(&Wanted { login, ..Wanted::default() }).unwrap() else { return };
    let Some(site) = site("") else { return };
    let front = Front::before(registry.host()).unwrap();
    site.append_config(&plain(front.host()));
    let _daemon = site.daemon();
    let bytes = content(24, 4 * MIB);
    push_disk(&registry, "private/disk:1", &["--dest-creds=joe:hunter2"], &bytes);
    let source = format!("docker://{}/private/disk:1", front.host());
    let good = write(&site, "good", "joe:hunter2\n");
    let bad = write(&site, "bad", "joe:hunter3\n");
    // base64 of joe:hunter2
    let auth = |host: &str| format!(r#"{{"auths": {{"{host}": {{"auth": "am9lOmh1bnRlcjI="}}}}}}"#);
    let auth_good = write(&site, "auth.json", &auth(front.host()));
    let auth_other = write(&site, "other.json", &auth("registry.example"));
    let refused: [&[&str]; 3] = [&[], &["--login-file", &bad], &["--auth-file", &auth_other]];
    let refuses_the_others = |when: &str| {
        for more in refused {
            let (code, message) = site.fail(&arguments(&source, more));
            assert_eq!(code, 5, "{when} {more:?}: {message}");
            assert!(!message.contains("hunter"), "{message}");
        }
    };
    refuses_the_others("before");

    // One downloads and stands still in the middle; one waits for it; the others are refused all the same.
    front.forget();
    front.set_budget(MIB as u64);
    let start = |more: &[&str]| {
        let mut command = site.command(&arguments(&source, more));
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let downloads = start(&["--login-file", &good]);
    front.wait_until_held().unwrap();
    let waits = start(&["--auth-file", &auth_good]);
    refuses_the_others("meanwhile");
    front.set_budget(u64::MAX);
    for child in [downloads, waits] {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", crate::support::error(&output));
    }
    assert!(disk(&site, "disk") == bytes);
    let most = bytes.len() as u64 * 3 / 2;
    assert!(front.blob_bytes() < most, "fetched once: {}", front.blob_bytes());
    refuses_the_others("afterwards");
    front.forget();
    import(&site, &source, &["--auth-file", &auth_good]);
    assert_eq!(front.blob_bytes(), 0);
    assert!(unfinished(&site).is_empty(), "{:?}", unfinished(&site));
    assert!(!site.log().contains("hunter2") && !site.log().contains("am9l"), "{}", site.log());
}

#[test]
fn an_altered_image_is_fetched_again_from_its_registry_by_the_operator() {
    let login = Some(("joe", "hunter2"));
    let Some(registry) = Registry::start(&Wanted { login, ..Wanted::default() }).unwrap() else { return };
    let Some(site) = site("") else { return };
    let front = Front::before(registry.host()).unwrap();
    let bytes = content(25, MIB);
    push_disk(&registry, "private/disk:1", &["--dest-creds=joe:hunter2"], &bytes);
    let auth = format!(r#"{{"auths": {{"{}": {{"auth": "am9lOmh1bnRlcjI="}}}}}}"#, front.host());
    let auth_file = write(&site, "auth.json", &auth);
    site.append_config(&format!("{}auth-file = \"auth.json\"\n", plain(front.host())));
    let _daemon = site.daemon();
    let source = format!("docker://{}/private/disk:1", front.host());
    // The operator's credentials are no user's.
    assert_eq!(site.fail(&arguments(&source, &[])).0, 5);
    import(&site, &source, &["--auth-file", &auth_file]);
    let digest = site.json(&["image", "inspect", "disk"])["digest"].as_str().unwrap().to_owned();
    let stored = site.path("state/images/images").join(digest.trim_start_matches("sha256:")).join("disk.raw");
    crate::support::set_mode(&stored, 0o600);
    std::fs::write(&stored, vec![1; bytes.len()]).unwrap();
    let (code, message) = site.fail(&["image", "verify", "disk"]);
    assert_ne!(code, 0, "{message}");
    assert_eq!(site.json(&["image", "inspect", "disk"])["state"], "quarantined");

    let machine = site.machine("web", "[[disks]]\nname = \"root\"\nsource = { image = \"disk\" }\n");
    site.run(&["create", &machine, "--start"]);
    assert_eq!(site.json(&["image", "inspect", "disk"])["state"], "ready");
    assert!(disk(&site, "disk") == bytes);
}
