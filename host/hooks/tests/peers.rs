//! The wire format, judged by grpcio and protoc in both directions.

mod support;

use std::fs;

use serde_json::json;
use support::{PATIENCE, Site, gone};
use witvirt_core::hook::DomainHooks;
use witvirt_harness::kubevirt::Peers;
use witvirt_hooks::client::{Sidecar, Sidecars};
use witvirt_hooks::protocol::Version;
use witvirt_hooks::server::{Face, Limits};

#[test]
fn their_launcher_calls_our_sidecar() -> anyhow::Result<()> {
    let Some(peers) = Peers::find() else { return Ok(()) };
    let mut site = Site::new(true, Limits::default());
    // As pods have them: a directory for each container.
    fs::create_dir(site.path("hook-sidecar-0"))?;
    let socket = site.sidecar("hook-sidecar-0/notes.sock", &Version::ALL);
    let report = peers.launcher(&json!({
        "directory": site.directory.path(), "count": 1,
        "domain": "<domain></domain>", "vmi": { "metadata": { "name": "vm" } },
        "cloud-init": { "DataSource": "noCloud", "NoCloudMetaData": { "instance-id": "i" }, "UserData": "#cloud-config\n" },
        "no-cloud": { "userData": "#cloud-config\n", "userDataBase64": "" },
        "shutdown": true,
    }))?;
    assert_eq!(report["error"], json!(null), "{report}");
    assert_eq!(
        report["sidecars"],
        json!([{
            "socket": socket, "name": "notes", "version": "v1alpha3",
            "versions": ["v1alpha3", "v1alpha2", "v1alpha1"],
            "points": { "OnDefineDomain": 7, "PreCloudInitIso": 7, "Shutdown": 7 },
        }])
    );
    assert_eq!(report["domain"], "<domain><!-- vmi 28 bytes, invocation none --></domain>");
    let edited = "#cloud-config\nhostname: edited\n";
    assert_eq!(report["cloud-init"]["UserData"], edited);
    assert_eq!(report["cloud-init"]["NoCloudMetaData"], json!({ "instance-id": "i" }));
    assert_eq!(report["no-cloud"], json!({ "userData": edited, "userDataBase64": "" }));
    site.wait();
    assert!(gone(&socket));
    Ok(())
}

#[test]
fn their_launcher_sees_why_we_refuse() -> anyhow::Result<()> {
    let Some(peers) = Peers::find() else { return Ok(()) };
    let mut site = Site::new(false, Limits::default());
    site.sidecar("notes.sock", &[Version::V1Alpha1]);
    let report = peers.launcher(&json!({
        "directory": site.directory.path(), "count": 1, "domain": "<domain refuse=''/>",
    }))?;
    assert_eq!(report["error"]["code"], "INVALID_ARGUMENT");
    assert_eq!(report["error"]["message"], "plugin hook-x 1.2.3: the word \"refuse\"\nin line 1 – ü");
    Ok(())
}

#[test]
fn their_structured_caller_mutates_domains() -> anyhow::Result<()> {
    let Some(peers) = Peers::find() else { return Ok(()) };
    let mut site = Site::new(false, Limits::default());
    let socket = site.serve("hook.sock", Face::Structured);
    let mutate = |kind: &str| {
        let mutate = json!({ "socket": socket, "type": kind, "context": "MigrationTarget" });
        peers.launcher(&json!({ "mutate": mutate, "domain": "<domain></domain>", "vmi": {} }))
    };
    assert_eq!(
        mutate("libvirt")?["mutated"],
        "<domain><!-- vmi 2 bytes, invocation MigrationTarget --></domain>"
    );
    assert_eq!(mutate("xen")?["error"]["code"], "INVALID_ARGUMENT");
    Ok(())
}

#[test]
fn our_launcher_calls_their_sidecars() -> anyhow::Result<()> {
    let Some(peers) = Peers::find() else { return Ok(()) };
    let programs = peers.scripts(
        "programs",
        &[
            (
                "onDefineDomain",
                r#"[ "$1 $3" = "--vmi --domain" ] && printf %s "$4" | sed "s/e1000/vmxnet3/""#,
            ),
            ("preCloudInitIso", r#"[ "$1 $3" = "--vmi --cloud-init" ] && printf %s "$4" | sed "s/old/new/""#),
        ],
    )?;
    for version in ["v1alpha1", "v1alpha2", "v1alpha3"] {
        let socket = peers.path(&format!("{version}.sock"));
        let sidecar = peers.sidecar(&socket, version, &programs)?;
        let hook = Sidecars.hook(&socket);
        let domain = hook.define_domain("<model type='e1000'/>", &json!({}), PATIENCE)?;
        assert_eq!(domain, "<model type='vmxnet3'/>");
        let data =
            json!({ "NoCloudMetaData": { "instance-id": "i" }, "UserData": "old", "DataSource": "noCloud" });
        let edited = hook.cloud_init(&data, &json!({}), PATIENCE)?;
        let expected = if version == "v1alpha1" { "old" } else { "new" };
        assert_eq!(edited["UserData"], expected, "{version}: {edited}");
        if version == "v1alpha3" {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { Sidecar::discover(&socket).await?.shutdown(PATIENCE).await })?;
            sidecar.wait()?;
        }
    }
    Ok(())
}

#[test]
fn their_failures_are_told() -> anyhow::Result<()> {
    let Some(peers) = Peers::find() else { return Ok(()) };
    let socket = peers.path("bad.sock");
    let _sidecar =
        peers.sidecar(&socket, "v1alpha2", &peers.scripts("bad", &[("onDefineDomain", "exit 3")])?)?;
    let error = Sidecars.hook(&socket).define_domain("<domain/>", &json!({}), PATIENCE).unwrap_err();
    assert!(error.message.contains("Internal: onDefineDomain ended with 3"), "{error}");
    let _empty = peers.sidecar(
        &peers.path("e.sock"),
        "v1alpha2",
        &peers.scripts("empty", &[("onDefineDomain", "exit 0")])?,
    )?;
    let error =
        Sidecars.hook(&peers.path("e.sock")).define_domain("<domain/>", &json!({}), PATIENCE).unwrap_err();
    assert!(error.message.contains("its answer is empty"), "{error}");
    Ok(())
}
