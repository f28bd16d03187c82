//! Importing what others put into a registry.

use serde_json::Value;
use witvirt_harness::oci::tar;

use crate::pulling::{content, disk, open_registry, plain, sha256, site};
use crate::support::Site;

const MIB: usize = 1 << 20;

fn import(site: &Site, source: &str, more: &[&str]) -> Value {
    site.json(&[&["image", "import", source][..], more].concat())
}

#[test]
fn a_container_disk_behind_an_index_of_several_architectures() {
    let (Some(registry), Some(site)) = (open_registry(), site("")) else { return };
    let (amd64, arm64) = (content(1, MIB), content(2, MIB));
    registry
        .push("disks/debian:12", &[], |layout| {
            let lower = tar(&[("etc/os-release", b"ID=debian")]);
            let images = [
                ("amd64", layout.container("amd64", &[lower.clone(), tar(&[("disk/debian.img", &amd64)])])?),
                ("arm64", layout.container("arm64", &[tar(&[("./disk/debian.img", &arm64)]), lower])?),
            ];
            layout.index(&images)
        })
        .unwrap();
    site.append_config(&plain(registry.host()));
    let _daemon = site.daemon();
    let source = format!("docker://{}/disks/debian:12", registry.host());
    let raw = ["--format", "raw", "--name"];
    let reply = import(&site, &source, &[&raw[..], &["small", "--platform", "linux/amd64"]].concat());
    assert_eq!(reply["image"]["names"], serde_json::json!(["small"]));
    assert!(disk(&site, "small") == amd64);
    import(&site, &source, &[&raw[..], &["arm", "--platform", "linux/arm64"]].concat());
    assert!(disk(&site, "arm") == arm64);
    let (code, message) = site.fail(&["image", "import", &source, "--platform", "linux/s390x"]);
    assert_eq!(code, 3, "{message}");
    assert!(message.contains("linux/amd64") && message.contains("linux/arm64"), "{message}");
    let (_, message) =
        site.fail(&["image", "import", &source, "--platform", "linux/amd64", "--member", "disk/other.img"]);
    assert!(message.contains("disk/other.img"), "{message}");
}

#[test]
fn machines_of_tart_and_macos_vz_and_files_of_oras() {
    let (Some(registry), Some(site)) = (open_registry(), site("")) else { return };
    let (guest, nvram, aux) = (content(3, 5 * MIB + 512), content(4, 4096), content(5, 70_000));
    registry.push("vm/tart:1", &[], |layout| layout.tart(&guest, 2 * MIB, &nvram)).unwrap();
    registry.push("vm/macos:15", &[], |layout| layout.macosvz(&guest, &aux)).unwrap();
    registry
        .push("files/disk:1", &[], |layout| layout.oras(&[("README", b"x"), ("disk.img", &guest)]))
        .unwrap();
    site.append_config(&plain(registry.host()));
    let _daemon = site.daemon();
    let of = |name: &str| format!("oci://{}/{name}", registry.host());

    let reply = import(&site, &of("vm/tart:1"), &[]);
    assert!(disk(&site, "tart") == guest);
    let facts = &reply["facts"];
    for fact in [["layout", "tart"], ["architecture", "arm64"], ["os", "linux"], ["cpus", "4"]] {
        assert!(facts.as_array().unwrap().contains(&serde_json::json!(fact)), "{fact:?} in {facts}");
    }
    let reply = import(&site, &of("vm/macos:15"), &[]);
    assert_eq!(reply["existed"], true, "the same disk from another artifact");
    let reply = import(&site, &of("files/disk:1"), &["--format", "raw", "--member", "disk.img"]);
    assert_eq!(
        (&reply["existed"], &reply["image"]["names"]),
        (&true.into(), &serde_json::json!(["disk", "macos", "tart"]))
    );
    let (_, message) = site.fail(&["image", "import", &of("files/disk:1"), "--member", "other.img"]);
    assert!(message.contains("README") && message.contains("disk.img"), "{message}");

    // What the artifacts say of their machines, and the files beside their disks, are with the image.
    let image = site.json(&["image", "inspect", "tart"]);
    let origins = image["origins"].as_array().unwrap();
    assert_eq!(origins.len(), 3, "{image}");
    let origin = |part: &str| {
        let of = |origin: &&Value| origin["sources"][0]["path"].as_str().unwrap().contains(part);
        origins.iter().find(of).unwrap()
    };
    let fact = |origin: &Value, name: &str| -> Value {
        let facts = origin["machine"].as_array().unwrap();
        facts.iter().find(|fact| fact[0] == name).map_or(Value::Null, |fact| fact[1].clone())
    };
    assert_eq!(fact(origin("vm/tart"), "cpus"), "4");
    assert_eq!(fact(origin("vm/macos"), "hardware-model"), "bW9kZWw=");
    let file = |origin: &Value, role: &str| -> Value {
        let files = origin["files"].as_array().unwrap();
        files.iter().find(|file| file["role"] == role).cloned().unwrap_or_default()
    };
    let kept = file(origin("vm/tart"), "nvram");
    assert_eq!((&kept["digest"], &kept["size"]), (&sha256(&nvram).into(), &4096.into()), "{image}");
    assert_eq!(file(origin("vm/macos"), "aux-image")["digest"], sha256(&aux), "as it is once it is unpacked");
    assert_eq!(file(origin("vm/macos"), "config")["name"], "config.json");
    let shown = site.run(&["image", "inspect", "tart"]);
    for part in ["nvram", "aux-image", "hardware-model", "bW9kZWw="] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn an_upper_layer_hides_what_it_deletes() {
    let (Some(registry), Some(site)) = (open_registry(), site("")) else { return };
    let (old, new) = (content(6, MIB), content(7, MIB));
    let lower = tar(&[("disk/old.img", &old)]);
    for (name, upper, found) in [
        ("replaced", tar(&[("disk/.wh.old.img", b""), ("disk/new.img", &new)]), Some(&new)),
        ("deleted", tar(&[("disk/.wh.old.img", b"")]), None),
        ("opaque", tar(&[("disk/.wh..wh..opq", b"")]), None),
        ("gone", tar(&[(".wh.disk", b"")]), None),
        ("another", tar(&[("disk/.wh.other.img", b"")]), Some(&old)),
        ("elsewhere", tar(&[("etc/.wh.old.img", b""), (".wh.dis", b"")]), Some(&old)),
    ] {
        registry
            .push(&format!("layers/{name}:1"), &[], |layout| {
                layout.container("amd64", &[lower.clone(), tar(&[("etc/motd", b"x")]), upper])
            })
            .unwrap();
        let config = plain(registry.host());
        if !std::fs::read_to_string(site.config()).unwrap().contains(&config) {
            site.append_config(&config);
        }
        let _daemon = site.daemon();
        let source = format!("docker://{}/layers/{name}:1", registry.host());
        let arguments = ["image", "import", &source, "--format", "raw", "--platform", "linux/amd64"];
        for member in [&[][..], &["--member", "/disk/old.img"]] {
            let found = if member.is_empty() { found } else { found.filter(|found| **found == old) };
            let arguments = [&arguments[..], member].concat();
            match found {
                Some(bytes) => {
                    site.run(&[&arguments[..], &["--replace"]].concat());
                    assert!(disk(&site, name) == *bytes, "{name}");
                }
                None => {
                    let (code, message) = site.fail(&arguments);
                    assert_eq!(code, 3, "{name}: {message}");
                    assert!(message.contains("delete"), "{name}: {message}");
                }
            }
        }
    }
}
