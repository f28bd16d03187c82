//! Real plugins behind the daemon and the command line.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

mod support;

use support::{Site, error, plugin};

const DOMAIN: &str = r#"<domain type="kvm">
  <name>web</name>
  <memory unit="MiB">64</memory>
  <os><type arch="x86_64" machine="q35">hvm</type></os>
  <devices>
    <frobnicator/>
    <serial type="pty"/>
  </devices>
</domain>
"#;

/// A site with these plugins, or `None` with the reason printed.
fn site(plugins: &[(&str, &str, &str)]) -> Option<Site> {
    let mut text = String::new();
    for (name, kind, more) in plugins {
        let file = plugin(name)?;
        text += &format!("[[plugin]]\nname = \"{name}\"\nkind = \"{kind}\"\nfile = {file:?}\n{more}\n");
    }
    Some(Site::new(&text))
}

fn document(site: &Site) -> String {
    let file = site.path("web.xml");
    std::fs::write(&file, DOMAIN).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_domain_document_becomes_a_machine_with_and_without_a_daemon() {
    let Some(site) = site(&[("domain-libvirt", "domain-converter", "")]) else { return };
    let file = document(&site);
    let alone = site.json(&["domain", "convert", &file]);
    let explained = site.run(&["domain", "explain", &file]);
    let _daemon = site.daemon();
    assert_eq!(site.json(&["domain", "convert", &file]), alone);
    assert_eq!(site.run(&["domain", "explain", &file]), explained);
    assert_eq!((&alone["name"], &alone["memory"]), (&"web".into(), &(64 << 20).into()));
    assert!(
        explained.contains("domain-libvirt@0.1.0 made application/vnd.witvirt.machine.v1+json"),
        "{explained}"
    );
    assert!(explained.contains("warning: line 6: /domain/devices/frobnicator"), "{explained}");
    assert!(explained.ends_with("the machine is valid\n"), "{explained}");
    assert_eq!(site.run(&["domain", "convert", &file, "--to", "libvirt"]).trim_end(), DOMAIN.trim_end());

    let output = site.try_run(&["create", &file, "--name", "other"]);
    assert!(output.status.success(), "{}", error(&output));
    assert!(error(&output).contains("frobnicator"), "what is not honoured is told: {}", error(&output));
    assert_eq!(site.json(&["inspect", "other"])["spec"]["name"], "other");

    let mut piped = site
        .command(&["domain", "convert", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    piped.stdin.take().unwrap().write_all(b"<domain>").unwrap();
    let output = piped.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(output.stdout.is_empty(), "a refused document has no result");
}

#[test]
fn images_are_imported_listed_kept_while_used_and_removed() {
    let Some(site) = site(&[("format-raw", "disk-format", ""), ("format-qcow2", "disk-format", "")]) else {
        return;
    };
    let _daemon = site.daemon();
    let raw = site.path("My Disk.img");
    let mut bytes = vec![0; 1 << 20];
    bytes[4096..8192].fill(7);
    std::fs::write(&raw, &bytes).unwrap();
    let raw = raw.to_str().unwrap();
    let (code, message) = site.fail(&["image", "import", raw]);
    assert_eq!(code, 1, "raw is never guessed: {message}");
    let imported = site.json(&["image", "import", raw, "--format", "raw"]);
    assert_eq!((&imported["image"]["names"][0], &imported["existed"]), (&"my-disk".into(), &false.into()));
    assert_eq!(site.json(&["image", "ls"]).as_array().unwrap().len(), 1);
    assert_eq!(site.json(&["image", "inspect", "my-disk"])["virtual-size"], 1 << 20);
    assert_eq!(site.json(&["image", "check", "my-disk"])["good"], true);

    // Out of the store into a qcow2 file, and back: the same content is the same image.
    let copy = site.path("copy.qcow2");
    let copy = copy.to_str().unwrap();
    site.run(&["image", "convert", "my-disk", copy, "--to", "qcow2", "--compression", "zlib"]);
    assert_eq!(site.json(&["image", "check", copy])["good"], true);
    let info = site.json(&["image", "inspect", copy]);
    assert_eq!(
        (&info["source"]["format"], &info["geometry"]["virtual-size"]),
        (&"qcow2".into(), &(1 << 20).into())
    );
    assert!(site.run(&["image", "inspect", copy]).contains("cluster-size"));
    let (_, message) = site.fail(&["image", "convert", "my-disk", "x", "--to", "floppy"]);
    assert!(message.contains("there are: qcow2, raw"), "{message}");
    let again = site.json(&["image", "import", copy]);
    assert_eq!((&again["image"]["digest"], &again["existed"]), (&imported["image"]["digest"], &true.into()));
    let (code, message) = site.fail(&["image", "convert", "my-disk", copy]);
    assert_eq!(code, 4, "{message}");
    assert!(message.contains("--replace"), "{message}");
    let wrong = "0".repeat(64);
    assert_ne!(site.fail(&["image", "import", copy, "--name", "x", "--sha256", &wrong]).0, 0);

    site.run(&["image", "rm", "copy"]);
    site.run(&[
        "create",
        "--start",
        &site.machine("user", "disks = [{ name = \"root\", source = { image = \"my-disk\" } }]"),
    ]);
    let (code, message) = site.fail(&["image", "rm", "my-disk"]);
    assert_eq!(code, 4, "{message}");
    assert!(message.contains("/machines/user/overlays/root"), "{message}");
    site.run(&["rm", "--force", "user"]);
    site.run(&["image", "rm", "my-disk"]);
    assert_eq!(site.json(&["image", "ls"]), Value::Array(Vec::new()));
}

#[test]
fn run_takes_an_image_file() {
    let plugins = [("format-raw", "disk-format", ""), ("format-qcow2", "disk-format", "")];
    let Some(site) = site(&plugins) else { return };
    let file = site.path("disk.img");
    std::fs::write(&file, vec![1; 1 << 20]).unwrap();
    let file = file.to_str().unwrap();
    let _daemon = site.daemon();
    let name = site.run(&["run", "--detach", "--format", "raw", "--memory", "128MiB", "--cpus", "2", file]);
    let spec = &site.json(&["inspect", name.trim()])["spec"];
    assert_eq!((&spec["memory"], &spec["cpu"]["count"]), (&(128 << 20).into(), &2.into()));
    assert_eq!(spec["disks"][0]["source"]["image"], "disk");
    assert_eq!(site.run(&["run", "--detach", "--name", "second", "disk"]), "second\n");
}

#[test]
fn a_plugin_that_breaks_is_named_and_the_daemon_serves_on() {
    for behaviour in ["trap-in-drop", "bad-sector", "many-references", "long-name"] {
        let settings = format!("settings = {{ behaviour = \"{behaviour}\" }}");
        let Some(site) = site(&[("hostile-format", "disk-format", &settings)]) else { return };
        let daemon = site.daemon();
        let file = site.path("x.img");
        std::fs::write(&file, vec![1; 1 << 20]).unwrap();
        let (code, message) = site.fail(&["image", "import", file.to_str().unwrap()]);
        assert_ne!(code, 0, "{behaviour}: {message}");
        assert!(message.contains("hostile-format 6.6.6"), "{behaviour}: {message}");
        assert!(!message.contains('\x1b'), "{behaviour}: {message:?}");
        assert_eq!(site.json(&["image", "ls"]), Value::Array(Vec::new()));
        assert!(daemon.terminate().success());
    }
}

#[test]
fn a_plugin_that_does_not_come_up_keeps_the_daemon_from_serving() {
    let more = "settings = { behaviour = \"loop-in-configure\" }\nlimits = { deadline = \"200ms\" }";
    let Some(site) = site(&[("hostile-format", "disk-format", more)]) else { return };
    for command in [&["daemon"][..], &["config", "check"]] {
        let (code, message) = site.fail(command);
        assert_eq!(code, 1);
        assert!(message.contains("plugin hostile-format") && message.contains("200"), "{message}");
    }
    assert!(!site.socket().exists());
}
