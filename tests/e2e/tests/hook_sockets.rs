//! Somebody else's hook sidecar as a converter of ours.
#![allow(missing_docs)]

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;
use witvirt_harness::host::Host;
use witvirt_harness::kubevirt::Peers;

const DOMAIN: &str = "<domain type='kvm'><name>vm</name><memory unit='MiB'>64</memory>\
    <os><type arch='x86_64' machine='q35'>hvm</type></os><devices>\
    <interface type='user'><model type='e1000'/></interface></devices></domain>";

/// A host whose pipeline asks the socket "old.sock" first.
fn host(hooks: &str) -> Result<Host> {
    let host = Host::new(&format!(
        "[hooks]\n{hooks}\n[pipeline.libvirt]\n\
         converters = [{{ socket = \"old.sock\", timeout = \"60s\" }}, \"domain-libvirt\"]\n"
    ))?;
    fs::write(host.path("domain.xml"), DOMAIN)?;
    Ok(host)
}

/// Converts the domain with a sidecar that runs this script.
fn convert(peers: &Peers, version: &str, script: &str) -> Result<(bool, String)> {
    let sockets = peers.path("hooks");
    fs::create_dir(&sockets)?;
    let programs = peers.scripts("programs", &[("onDefineDomain", script)])?;
    let _sidecar = peers.sidecar(&sockets.join("old.sock"), version, &programs)?;
    let host = host(&format!("sockets = true\ndirectory = {sockets:?}"))?;
    let output = host.try_run(&["domain", "convert", &host.path("domain.xml").to_string_lossy()])?;
    let text = if output.status.success() { output.stdout } else { output.stderr };
    Ok((output.status.success(), String::from_utf8(text)?))
}

#[test]
fn a_script_behind_an_old_sidecar_edits_our_domain() -> Result<()> {
    let Some(peers) = Peers::find() else { return Ok(()) };
    let (good, text) = convert(&peers, "v1alpha1", r#"printf %s "$4" | sed "s/e1000/vmxnet3/""#)?;
    assert!(good, "{text}");
    let machine: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    assert!(machine.to_string().contains("\"vmxnet3\""), "{machine}");
    Ok(())
}

#[test]
fn what_it_answers_is_judged_like_any_document() -> Result<()> {
    let Some(peers) = Peers::find() else { return Ok(()) };
    let (good, text) = convert(&peers, "v1alpha2", "echo '<domain><name>'")?;
    assert!(!good && text.contains("plugin domain-libvirt"), "{text}");
    Ok(())
}

#[test]
fn its_failure_is_told_with_its_socket() -> Result<()> {
    let Some(peers) = Peers::find() else { return Ok(()) };
    let (good, text) = convert(&peers, "v1alpha3", "exit 3")?;
    assert!(!good, "{text}");
    let socket = peers.path("hooks/old.sock");
    for part in [&*socket.to_string_lossy(), "v1alpha3", "OnDefineDomain", "onDefineDomain ended with 3"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    Ok(())
}

#[test]
fn sockets_are_off_unless_the_config_allows_them() -> Result<()> {
    let host = host("")?;
    let output = host.try_run(&["domain", "convert", &host.path("domain.xml").to_string_lossy()])?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("sockets = true"), "{text}");
    Ok(())
}
