//! What plugins decide and what the host makes of it.
#![allow(missing_docs)]

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use witvirt_harness::host::Host;
use witvirt_harness::tools;

const DOMAIN: &str = r#"<domain type="qemu">
  <name>guest</name>
  <memory unit="MiB">64</memory>
  <vcpu>2</vcpu>
  <os><type machine="q35">hvm</type></os>
  <devices>
    <disk type="file" device="disk">
      <driver name="qemu" type="qcow2"/>
      <source file="IMAGE"/>
      <target dev="vda" bus="virtio"/>
    </disk>
    <serial type="pty"/>
    <teleporter range="5"/>
  </devices>
</domain>
"#;

fn stderr(host: &Host, arguments: &[&str], code: i32) -> Result<String> {
    let output = host.try_run(arguments)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(code), "{arguments:?}: {}\n{text}", output.status);
    Ok(text)
}

#[test]
fn the_third_macos_guest_is_refused_by_the_policy() -> Result<()> {
    let host = Host::null()?;
    let config = fs::read_to_string(host.config())?;
    let settings = "settings = { os = { macos = { machines = 2 } } }\n";
    host.write_config(&(config + settings))?;
    let _daemon = host.daemon()?;
    for (name, os) in [("mac1", "macos"), ("mac2", "macos"), ("mac3", "macos"), ("linux", "linux")] {
        let file = host.path("files").join(format!("{name}.toml"));
        fs::write(&file, format!("name = \"{name}\"\nos = \"{os}\"\nmemory = \"64MiB\"\n"))?;
        host.run(&["create", &file.to_string_lossy()])?;
    }
    host.run(&["start", "mac1", "mac2", "linux"])?;
    let refused = stderr(&host, &["start", "mac3"], 4)?;
    ensure!(refused.contains("policy-capacity") && refused.contains("macos"), "{refused}");
    host.run(&["stop", "mac1"])?;
    host.run(&["start", "mac3"])?;

    // Created and started in one go is no way around it.
    let file = host.path("files/mac4.toml");
    fs::write(&file, "name = \"mac4\"\nos = \"macos\"\nmemory = \"64MiB\"\n")?;
    stderr(&host, &["create", "--start", &file.to_string_lossy()], 4)?;
    ensure!(host.status("mac4").is_err(), "a refused machine was created");
    Ok(())
}

#[test]
fn a_domain_in_xml_runs_and_what_is_not_understood_is_told_with_its_place() -> Result<()> {
    let host = Host::new("")?;
    let _daemon = host.daemon()?;
    let image = host.path("files/disk.qcow2");
    tools::run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&image).arg("8M"))?;
    let file = host.path("files/guest.xml");
    fs::write(&file, DOMAIN.replace("IMAGE", &image.to_string_lossy()))?;

    let told = stderr(&host, &["create", "--dry-run", &file.to_string_lossy()], 0)?;
    ensure!(told.contains("line 13: /domain/devices/teleporter"), "neither path nor line: {told}");
    let broken = fs::read_to_string(&file)?.replace("machine=\"q35\"", "machine=\"vax\"");
    let other = host.path("files/broken.xml");
    fs::write(&other, broken)?;
    let refused = stderr(&host, &["create", &other.to_string_lossy()], 4)?;
    ensure!(refused.contains("/domain/os/type/@machine") && refused.contains("line 5"), "{refused}");
    ensure!(host.status("guest").is_err(), "a refused document made a machine");

    let explained = host.run(&["domain", "explain", &file.to_string_lossy()])?;
    ensure!(explained.contains("domain-libvirt"), "{explained}");
    host.run(&["create", "--start", &file.to_string_lossy()])?;
    let status = host.wait_state("guest", "running")?;
    ensure!(status["vcpus"] == 2, "{status}");
    // The guest writes to its overlay, never to the image it came from.
    let before = fs::metadata(&image)?.modified()?;
    host.run(&["kill", "guest"])?;
    ensure!(fs::metadata(&image)?.modified()? == before, "the source image was touched");
    Ok(())
}

#[test]
fn backing_files_are_followed_only_inside_allowed_directories() -> Result<()> {
    let host = Host::new("")?;
    let _daemon = host.daemon()?;
    let base = host.path("files/base.raw");
    fs::write(&base, (0..1 << 20).map(|n: u32| (n / 4099) as u8).collect::<Vec<_>>())?;
    let secret = host.path("secret.raw");
    fs::write(&secret, vec![0x53; 1 << 20])?;
    for (name, backing) in [("inside", &base), ("outside", &secret)] {
        let image = host.path("files").join(format!("{name}.qcow2"));
        tools::run(
            Command::new("qemu-img")
                .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
                .arg(backing)
                .arg(&image),
        )?;
    }
    let inside = host.path("files/inside.qcow2");
    let out = host.path("files/out.raw");
    host.run(&["image", "import", &inside.to_string_lossy(), "--name", "inside"])?;
    host.run(&["image", "convert", "inside", &out.to_string_lossy()])?;
    ensure!(fs::read(&out)? == fs::read(&base)?, "the chain reads differently");

    let outside = host.path("files/outside.qcow2");
    // Root may import from anywhere, but the author of an image is not root.
    let refused = stderr(&host, &["image", "import", &outside.to_string_lossy(), "--name", "outside"], 5)?;
    ensure!(refused.contains("secret.raw"), "the refusal does not name the file: {refused}");
    let leak = host.path("files/leak.raw");
    let arguments = ["image", "convert", &outside.to_string_lossy(), &leak.to_string_lossy()];
    let refused = stderr(&host, &arguments, 5)?;
    ensure!(refused.contains("secret.raw") && !leak.exists(), "{refused}");
    let images = host.json(&["image", "ls"])?;
    ensure!(images.as_array().context("no list")?.len() == 1, "{images}");
    Ok(())
}

#[test]
fn a_written_qcow2_is_what_qemu_img_says_it_should_be() -> Result<()> {
    let host = Host::new("")?;
    let source = host.path("files/source.raw");
    // Sizes that are no multiple of a cluster, with a hole and with data that does not compress.
    let mut bytes = vec![0u8; (3 << 20) + 1536];
    let mut state = 1u32;
    for byte in &mut bytes[70_000..1 << 20] {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    bytes[(2 << 20)..].fill(0x77);
    fs::write(&source, &bytes)?;
    for compression in ["none", "zlib", "zstd"] {
        let target = host.path("files").join(format!("{compression}.qcow2"));
        let (from, to) = (source.to_string_lossy(), target.to_string_lossy());
        host.run(&[
            "image",
            "convert",
            &from,
            &to,
            "--format",
            "raw",
            "--to",
            "qcow2",
            "--compression",
            compression,
        ])?;
        tools::run(Command::new("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(&target))?;
        tools::run(
            Command::new("qemu-img")
                .args(["compare", "-q", "-f", "raw", "-F", "qcow2"])
                .arg(&source)
                .arg(&target),
        )?;
    }
    Ok(())
}
