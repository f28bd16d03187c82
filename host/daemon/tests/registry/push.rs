//! Putting images into a registry: skopeo reads them, and so does the daemon.

use std::io::Read;
use std::process::Command;

use serde_json::Value;
use witvirt_harness::tools::run;

use crate::pulling::{content, disk, open_registry, plain, sha256, site};
use crate::support::Site;

const MIB: usize = 1 << 20;

fn with_image(site: &Site, name: &str, bytes: &[u8]) {
    let file = site.path("disk.raw");
    std::fs::write(&file, bytes).unwrap();
    site.run(&["image", "import", &file.to_string_lossy(), "--name", name, "--format", "raw"]);
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

fn blob(directory: &std::path::Path, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
    std::fs::read(directory.join(digest)).unwrap()
}

#[test]
fn a_container_disk_that_skopeo_and_qemu_read_and_that_comes_back_the_same() {
    let (Some(registry), Some(site)) = (open_registry(), site("")) else { return };
    let bytes = content(11, 3 * MIB);
    site.append_config(&plain(registry.host()));
    let _daemon = site.daemon();
    with_image(&site, "disk", &bytes);
    let target = format!("docker://{}/disks/made:1", registry.host());
    let reply = site.json(&[
        "image",
        "push",
        "disk",
        &target,
        "--layout",
        "containerdisk",
        "--platform",
        "linux/amd64",
    ]);

    let (manifest, directory) = registry.pull("disks/made:1", &[]).unwrap();
    let text = std::fs::read(directory.join("manifest.json")).unwrap();
    assert_eq!(reply["digest"], sha256(&text));
    let tar = directory.join("layer.tar");
    std::fs::write(&tar, gunzip(&blob(&directory, &manifest["layers"][0]))).unwrap();
    run(Command::new("tar").arg("-C").arg(&directory).arg("-xf").arg(&tar)).unwrap();
    let (qcow2, raw) = (directory.join("disk/disk.qcow2"), directory.join("disk.raw"));
    std::fs::set_permissions(&qcow2, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    run(Command::new("qemu-img").args(["convert", "-f", "qcow2", "-O", "raw"]).arg(&qcow2).arg(&raw))
        .unwrap();
    assert!(std::fs::read(&raw).unwrap() == bytes);

    let other = site_of_another_host(&plain(registry.host()));
    let _other_daemon = other.daemon();
    other.run(&["image", "import", &target, "--name", "back", "--platform", "linux/amd64"]);
    assert!(disk(&other, "back") == bytes);
}

#[test]
fn a_macos_machine_goes_round_with_its_auxiliary_image() {
    let (Some(registry), Some(site)) = (open_registry(), site("")) else { return };
    let (bytes, aux) = (content(12, 2 * MIB), content(13, 50_000));
    registry.push("vm/macos:15", &[], |layout| layout.macosvz(&bytes, &aux)).unwrap();
    site.append_config(&plain(registry.host()));
    let _daemon = site.daemon();
    let of = |tag: &str| format!("oci://{}/vm/macos:{tag}", registry.host());
    site.run(&["image", "import", &of("15")]);

    let options = ["--option", "hardware-model=bW9kZWw=", "--option", "machine-id=aWQ="];
    let push = |tag: &str, more: &[&str]| {
        let target = of(tag);
        let arguments =
            ["image", "push", "macos", &target, "--layout", "macosvz", "--platform", "darwin/arm64"];
        site.json(&[&arguments[..], &options, more].concat())
    };
    // The kept file goes along where the layout has a place for it.
    let reply = push("again", &[]);
    assert!(reply["files"].as_array().unwrap().contains(&"aux-image".into()), "{reply}");
    let (manifest, directory) = registry.pull("vm/macos:again", &[]).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    let layer = |word: &str| {
        let found = layers.iter().find(|layer| layer["mediaType"].as_str().unwrap().contains(word));
        blob(&directory, found.unwrap_or_else(|| panic!("no {word} in {manifest}")))
    };
    assert!(gunzip(&layer("disk.image")) == bytes);
    assert!(gunzip(&layer("aux.image")) == aux);

    // Another one of the same role counts instead.
    let own = site.path("own-aux.img");
    std::fs::write(&own, b"mine").unwrap();
    push("own", &["--file", &format!("aux-image={}", own.display())]);
    let other = site_of_another_host(&plain(registry.host()));
    let _other_daemon = other.daemon();
    for (tag, aux) in [("again", &aux[..]), ("own", b"mine")] {
        other.run(&["image", "import", &of(tag), "--name", tag]);
        assert!(disk(&other, tag) == bytes);
        let image = other.json(&["image", "inspect", tag]);
        let files: Vec<Value> = image["origins"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|origin| origin["files"].as_array().unwrap().clone())
            .collect();
        assert!(files.iter().any(|file| file["digest"] == sha256(aux)), "{image}");
    }
    // A containerDisk has no place for it; the disk is pushed alone.
    let target = format!("docker://{}/disks/macos:1", registry.host());
    let reply =
        site.json(&["image", "push", "macos", &target, "--layout", "containerdisk", "--format", "raw"]);
    assert_eq!(reply["files"], serde_json::json!([]));
    let (code, message) = site.fail(&[
        "image",
        "push",
        "macos",
        &target,
        "--layout",
        "containerdisk",
        "--file",
        &format!("aux-image={}", own.display()),
    ]);
    assert!(code == 1 && message.contains("aux-image"), "what is named is not left out: {code} {message}");

    // Files come out beside an exported disk too.
    let (target, out) = (site.path("out.raw"), site.path("out.aux"));
    let file = format!("aux-image={}", out.display());
    site.run(&["image", "export", "macos", &target.to_string_lossy(), "--file", &file]);
    assert!(std::fs::read(&target).unwrap() == bytes && std::fs::read(&out).unwrap() == aux);
    let file = format!("nvram={}", site.path("out.nvram").display());
    let (_, message) =
        site.fail(&["image", "export", "macos", &site.path("b.raw").to_string_lossy(), "--file", &file]);
    assert!(message.contains("nvram") && message.contains("aux-image"), "{message}");
    assert!(!site.path("b.raw").exists(), "nothing is written before everything is there");
}

fn site_of_another_host(more: &str) -> Site {
    site(more).unwrap()
}
