//! Our launcher and our sidecar.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{PATIENCE, Site, gone};
use witvirt_core::ErrorKind;
use witvirt_core::hook::DomainHooks;
use witvirt_hooks::client::{Failure, Sidecar, Sidecars, mutate_domain};
use witvirt_hooks::protocol::{HookPoint, LARGEST_DOCUMENT, Version};
use witvirt_hooks::server::{Face, Limits};

#[test]
fn each_version_has_its_calls() {
    for (version, points) in [
        (Version::V1Alpha1, &HookPoint::ALL[..1]),
        (Version::V1Alpha2, &HookPoint::ALL[..2]),
        (Version::V1Alpha3, &HookPoint::ALL[..]),
    ] {
        let mut site = Site::new(true, Limits::default());
        let socket = site.sidecar("a.sock", &[version]);
        site.runtime.block_on(async {
            let sidecar = Sidecar::discover(&socket).await.unwrap();
            assert_eq!((sidecar.offer().version, sidecar.offer().points.as_slice()), (version, points));
            assert_eq!(sidecar.offer().name, "notes");
            let domain = sidecar.on_define_domain("<domain></domain>", "{}", PATIENCE).await.unwrap();
            assert_eq!(domain, "<domain><!-- vmi 2 bytes, invocation none --></domain>");
            sidecar.shutdown(PATIENCE).await.unwrap();
        });
        if version == Version::V1Alpha3 {
            site.wait();
            assert!(gone(&socket));
        }
    }
}

#[test]
fn the_newest_version_is_chosen() {
    let mut site = Site::new(false, Limits::default());
    let socket = site.sidecar("a.sock", &[Version::V1Alpha1, Version::V1Alpha2]);
    let offer = site.runtime.block_on(async { Sidecar::discover(&socket).await.unwrap().offer().clone() });
    assert_eq!(offer.version, Version::V1Alpha2);
    assert_eq!(
        offer.points,
        [HookPoint::OnDefineDomain],
        "who does not edit cloud-init must not stand in the way"
    );
}

#[test]
fn hooks_of_the_pipeline_reach_it() {
    let mut site = Site::new(true, Limits::default());
    let socket = site.sidecar("a.sock", &Version::ALL);
    let hook = Sidecars.hook(&socket);
    assert_eq!(hook.name(), socket.to_str().unwrap());
    let vmi = json!({ "metadata": { "name": "a" } });
    let domain = hook.define_domain("<domain></domain>", &vmi, PATIENCE).unwrap();
    assert!(domain.contains("vmi 25 bytes"), "{domain}");
    let data = json!({ "DataSource": "noCloud", "NoCloudMetaData": { "instance-id": "a" }, "UserData": "#cloud-config\n" });
    let edited = hook.cloud_init(&data, &vmi, PATIENCE).unwrap();
    assert_eq!(edited["UserData"], "#cloud-config\nhostname: edited\n");
    assert_eq!(edited["NoCloudMetaData"]["instance-id"], "a");
}

#[test]
fn refusals_name_the_plugin_and_the_socket() {
    let mut site = Site::new(false, Limits::default());
    let socket = site.sidecar("a.sock", &Version::ALL);
    let hook = Sidecars.hook(&socket);
    let refused = hook.define_domain("<domain refuse=''/>", &json!({}), PATIENCE).unwrap_err();
    assert_eq!((refused.plugin.as_str(), refused.version.as_str()), (socket.to_str().unwrap(), "v1alpha3"));
    assert_eq!(
        refused.message,
        "OnDefineDomain: InvalidArgument: plugin hook-x 1.2.3: the word \"refuse\" in line 1 – ü"
    );
    let broken = hook.define_domain("<domain panic=''/>", &json!({}), PATIENCE).unwrap_err();
    assert!(broken.message.contains("the hook broke"), "{broken}");
    // And the next call is served.
    hook.define_domain("<domain></domain>", &json!({}), PATIENCE).unwrap();
}

#[test]
fn calls_have_their_time() {
    let mut site = Site::new(false, Limits { call: Duration::from_millis(50), ..Limits::default() });
    let socket = site.sidecar("a.sock", &Version::ALL);
    let refused =
        Sidecars.hook(&socket).define_domain("<domain sleep=''/>", &json!({}), PATIENCE).unwrap_err();
    assert!(refused.message.contains("DeadlineExceeded"), "{refused}");
}

#[test]
fn large_domains_pass_and_larger_ones_do_not() {
    let mut site = Site::new(false, Limits::default());
    let socket = site.sidecar("a.sock", &Version::ALL);
    let hook = Sidecars.hook(&socket);
    let padding = |size: usize| format!("<domain>{}</domain>", " ".repeat(size));
    let domain = hook.define_domain(&padding(LARGEST_DOCUMENT - 200), &json!({}), PATIENCE).unwrap();
    assert!(domain.len() > LARGEST_DOCUMENT - 200);
    let refused = hook.define_domain(&padding(LARGEST_DOCUMENT), &json!({}), PATIENCE).unwrap_err();
    assert!(refused.message.contains("ResourceExhausted"), "{refused}");
    let larger = hook.define_domain(&padding(LARGEST_DOCUMENT - 20), &json!({}), PATIENCE).unwrap_err();
    assert_eq!(larger.kind, ErrorKind::Limit, "{larger}");
    assert!(hook.define_domain(&padding(3 * LARGEST_DOCUMENT), &json!({}), PATIENCE).is_err());
}

#[test]
fn structured_plugins_have_a_socket_of_their_own() {
    let mut site = Site::new(false, Limits::default());
    let sidecar = site.sidecar("a.sock", &Version::ALL);
    let structured = site.serve("b.sock", Face::Structured);
    let domain = "<domain></domain>";
    site.runtime.block_on(async {
        let mutated = mutate_domain(&structured, domain, "{}", PATIENCE).await.unwrap();
        assert_eq!(mutated, "<domain><!-- vmi 2 bytes, invocation Boot --></domain>");
        let wrong = mutate_domain(&sidecar, domain, "{}", PATIENCE).await.unwrap_err();
        assert!(wrong.to_string().contains("Unimplemented"), "{wrong}");
        let wrong = Sidecar::discover(&structured).await.map(drop).unwrap_err();
        assert!(matches!(wrong.failure, Failure::Status { .. }), "{wrong}");
    });
}

#[test]
fn many_callers_are_served() {
    let mut site = Site::new(false, Limits { connections: 4, running: 2, ..Limits::default() });
    let socket = site.sidecar("a.sock", &Version::ALL);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                // More than may connect at once: each waits for its turn, discovery included.
                let start = std::time::Instant::now();
                while Sidecars.hook(&socket).define_domain("<domain></domain>", &json!({}), PATIENCE).is_err()
                {
                    assert!(start.elapsed() < PATIENCE);
                }
            });
        }
    });
}

#[test]
fn the_end_waits_for_calls() {
    let mut site = Site::new(false, Limits::default());
    let socket = site.sidecar("a.sock", &Version::ALL);
    let domain = site.runtime.block_on(async {
        let sidecar = Sidecar::discover(&socket).await.unwrap();
        let calling = sidecar.on_define_domain("<domain sleep=''></domain>", "{}", PATIENCE);
        let ending = async {
            // The hook sleeps for half a second; the end comes while it does, or before the call arrived.
            tokio::time::sleep(Duration::from_millis(100)).await;
            site.server.end();
        };
        tokio::join!(calling, ending).0
    });
    assert!(domain.unwrap().contains("invocation none"));
    site.wait();
}
