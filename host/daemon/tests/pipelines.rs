//! Documents on their way through pipelines of real plugins: hooks that misbehave, several machines, every kind of document.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::Value;

mod support;

use support::{Site, error, plugin};

const XML: &str = "application/vnd.libvirt.domain+xml";

const DOMAIN: &str = r#"<domain type="kvm">
  <name>web</name>
  <memory unit="MiB">64</memory>
  <vcpu>1</vcpu>
  <os><type arch="x86_64" machine="q35">hvm</type></os>
  <devices>
    <serial type="pty"/>
  </devices>
</domain>
"#;

/// Two machines and a Secret that one of them names.
const MANIFESTS: &str = "\
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: { name: one, namespace: a }
spec:
  domain:
    resources: { requests: { memory: 64Mi } }
    devices: {}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: { name: two, namespace: a }
spec:
  domain:
    resources: { requests: { memory: 128Mi } }
    devices: {}
";

/// An entry of the config for a plugin of the repository, under its own name.
fn entry(file: &str, name: &str, settings: &str) -> Option<String> {
    let path = plugin(file)?;
    let settings = settings.trim().trim_end_matches(',');
    Some(format!(
        "[[plugin]]\nname = \"{name}\"\nkind = \"domain-converter\"\nfile = {path:?}\nsettings = {{ {settings} }}\n"
    ))
}

/// A site whose pipeline for domain XML has these converters before the last.
fn with_hooks(hooks: &[(&str, &str)], converters: &str) -> Option<Site> {
    let mut text = entry("domain-libvirt", "domain-libvirt", "")?;
    for (name, settings) in hooks {
        text += &entry("hostile-converter", name, &format!("media-type = \"{XML}\", {settings}"))?;
    }
    text += &format!("[pipeline.libvirt]\nconverters = [{converters}, \"domain-libvirt\"]\n");
    Some(Site::new(&text))
}

fn write(site: &Site, name: &str, text: &str) -> String {
    let file = site.path(name);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Every way in which a hook breaks, and what is said of it.
const BROKEN: [(&str, &str); 11] = [
    ("loop", "did not answer within 200 ms; a higher timeout in its pipeline gives it more time"),
    ("allocate", "needs more than 64.0 MiB of memory"),
    ("recurse", "call stack"),
    ("panic", "no such element"),
    ("wrong-type", "answered with text/html"),
    ("huge-document", "answered with a document of 4194305 bytes"),
    ("many-diagnostics", "answered with 1001 diagnostics"),
    ("error", "no machine is good enough"),
    ("refuse", "line 3: /a\\n: call 0"),
    ("half", "domain-libvirt"),
    ("nothing", "domain-libvirt"),
];

/// A site with a pipeline for each way to break, under its name.
fn broken(on_failure: &str) -> Option<Site> {
    let mut text = entry("domain-libvirt", "domain-libvirt", "")?;
    for (behaviour, _) in BROKEN {
        let settings = format!("media-type = \"{XML}\", behaviour = \"{behaviour}\"");
        text += &entry("hostile-converter", behaviour, &settings)?;
        // Only what never ends has little time: on a busy machine anything else may take long.
        let timeout = if behaviour == "loop" { "timeout = \"200ms\", " } else { "" };
        text += &format!(
            "[pipeline.{behaviour}]\nautomatic = false\n\
             converters = [{{ plugin = \"{behaviour}\", {timeout}on-failure = \"{on_failure}\" }}, \"domain-libvirt\"]\n"
        );
    }
    Some(Site::new(&text))
}

#[test]
fn hooks_that_misbehave_are_named_and_nothing_else_suffers() {
    let Some(site) = broken("refuse") else { return };
    let file = write(&site, "web.xml", DOMAIN);
    let _daemon = site.daemon();
    for (behaviour, expected) in BROKEN {
        let (code, message) = site.fail(&["create", &file, "--pipeline", behaviour]);
        assert_eq!(code, 4, "{behaviour}: {message}");
        assert!(message.contains(expected), "{behaviour}: {message}");
    }
    assert_eq!(site.json(&["ps"]), Value::Array(Vec::new()));
    site.run(&["create", &site.machine("healthy", "")]);
}

#[test]
fn a_hook_that_may_be_skipped_stops_no_machine() {
    let Some(site) = broken("skip") else { return };
    let file = write(&site, "web.xml", DOMAIN);
    for (behaviour, expected) in &BROKEN[..9] {
        let output = site.try_run(&["domain", "convert", &file, "--pipeline", behaviour]);
        assert!(output.status.success(), "{behaviour}: {}", error(&output));
        let (told, skipped) = (error(&output), format!("plugin {behaviour} 6.6.6 was skipped"));
        assert!(told.contains(&skipped) && told.contains(expected), "{behaviour}: {told}");
        let explained = site.run(&["domain", "explain", &file, "--pipeline", behaviour]);
        assert!(explained.contains(&format!("{behaviour}@6.6.6 was passed over")), "{explained}");
        assert!(explained.ends_with("the machine is valid\n"), "{explained}");
    }
}

#[test]
fn hooks_that_change_the_same_place_are_told() {
    let hooks = [
        ("first", r#"find = "<vcpu>1", replace = "<vcpu>2""#),
        ("second", r#"find = "<vcpu>2", replace = "<vcpu>4""#),
        ("third", r#"find = "<serial", replace = "<serial id=\"x\"""#),
    ];
    let Some(site) = with_hooks(&hooks, r#""first", "second", "third""#) else { return };
    let file = write(&site, "web.xml", DOMAIN);
    let explained = site.run(&["domain", "explain", &file]);
    let expected = "warning: line 4: second changed what first had written: <vcpu>2 became <vcpu>4\n";
    assert!(explained.contains(expected), "{explained}");
    assert_eq!(explained.matches("had written").count(), 1, "{explained}");
    let whole = site.json(&["domain", "explain", &file]);
    let conflicts = whole["conflicts"].as_array().unwrap();
    assert_eq!(conflicts.len(), 1);
    assert_eq!((&conflicts[0]["first"], &conflicts[0]["second"]), (&"first".into(), &"second".into()));
    assert_eq!(whole["machine"]["cpu"]["count"], 4);
}

#[test]
fn a_config_whose_chain_may_break_is_refused() {
    for (converters, expected) in [
        (r#"{ plugin = "hook", when = { os = ["macos"] } }"#, None),
        (r#"{ plugin = "domain-libvirt", on-failure = "skip" }"#, Some("cannot be passed over")),
        (r#"{ socket = "x.sock" }"#, Some("[hooks] sockets = true")),
    ] {
        let Some(site) = with_hooks(&[("hook", "")], converters) else { return };
        let output = site.try_run(&["config", "check"]);
        match expected {
            None => assert!(output.status.success(), "{}", error(&output)),
            Some(expected) => assert!(error(&output).contains(expected), "{}", error(&output)),
        }
    }
}

#[test]
fn plugins_are_tried_out() {
    let hooks = [
        ("good", ""),
        ("grows", r#"behaviour = "grow""#),
        ("second", r#"behaviour = "second""#),
        ("loops", r#"behaviour = "loop""#),
        ("refuses", r#"behaviour = "error""#),
    ];
    let Some(site) = with_hooks(&hooks, r#""good""#) else { return };
    assert!(site.run(&["plugin", "test", "good"]).ends_with("1 plugin tried, nothing failed\n"));
    for (name, expected) in [
        ("grows", "+<!-- more -->"),
        ("second", "once was enough"),
        ("loops", "did not answer within 2000 ms"),
    ] {
        let output = site.try_run(&["plugin", "test", name]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.contains(expected) && told.contains("1 of 1 plugin failed"), "{name}: {told}");
    }
    assert!(site.run(&["plugin", "test", "refuses"]).contains("refused  libvirt.domain+xml"));
    let file = write(&site, "web.xml", DOMAIN);
    let tried = site.json(&["plugin", "test", "domain-libvirt", &file]);
    assert!(tried[0]["checks"].as_array().unwrap().iter().all(|check| check["verdict"] == "pass"), "{tried}");
    let (code, message) = site.fail(&["plugin", "test", "absent"]);
    assert_eq!(code, 3, "{message}");
    assert_eq!(site.try_run(&["plugin", "test", "--all"]).status.code(), Some(1));
}

/// KubeVirt manifests and xhyve's command lines become machines.
fn kinds() -> Option<Site> {
    let mut text = String::new();
    for name in ["domain-kubevirt", "domain-xhyve", "domain-libvirt"] {
        text += &entry(name, name, "")?;
    }
    for (name, source) in [("kubevirt", "kubevirt+yaml"), ("xhyve", "xhyve.commandline")] {
        text += &format!(
            "[pipeline.{name}]\nsource = \"application/vnd.{source}\"\nconverters = [\"domain-{name}\", \"domain-libvirt\"]\n"
        );
    }
    text += "[pipeline.libvirt]\nconverters = [\"domain-libvirt\"]\n";
    Some(Site::new(&text))
}

fn piped(site: &Site, arguments: &[&str], text: &str) -> Output {
    let mut command = site.command(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_document_may_hold_several_machines() {
    let Some(site) = kinds() else { return };
    let file = write(&site, "vms.yaml", MANIFESTS);
    let both = site.json(&["domain", "convert", &file]);
    let names: Vec<&str> =
        both.as_array().unwrap().iter().map(|spec| spec["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(site.json(&["domain", "convert", &file, "--select", "a/two"])["name"], "two");
    let xml = site.run(&["domain", "convert", &file, "--to", "libvirt"]);
    assert_eq!(xml.matches("</domain>").count(), 2, "{xml}");
    let (_, message) = site.fail(&["domain", "convert", &file, "--name", "x"]);
    assert!(message.contains("--select: one, two"), "{message}");
    let output = piped(&site, &["domain", "convert", "-", "--output", "json"], MANIFESTS);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), both, "{}", error(&output));

    let _daemon = site.daemon();
    let (code, message) = site.fail(&["run", "--detach", &file]);
    assert_ne!(code, 0);
    assert!(message.contains("holds 2 machines: one, two") && message.contains("--select NAME"), "{message}");
    site.run(&["create", &site.machine("two", "")]);
    let (code, message) = site.fail(&["create", &file]);
    assert_eq!(code, 4, "{message}");
    assert!(message.contains("machine two exists already; nothing was created"), "{message}");
    assert_eq!(site.json(&["ps"]).as_array().unwrap().len(), 1);
    site.run(&["rm", "two"]);
    assert_eq!(site.json(&["create", &file, "--dry-run"]).as_array().unwrap().len(), 2);
    assert_eq!(site.json(&["ps"]), Value::Array(Vec::new()));
    let created = site.run(&["create", &file]);
    assert!(created.contains("one") && created.contains("two"), "{created}");
    assert_eq!(site.json(&["inspect", "two"])["spec"]["memory"], 128 << 20);
    assert_eq!(site.run(&["run", "--detach", &file, "--select", "one", "--name", "third"]), "third\n");
}

#[test]
fn a_command_line_is_a_document() {
    let Some(site) = kinds() else { return };
    let words = [
        "xhyve",
        "-m",
        "64M",
        "-c",
        "2",
        "-l",
        "com1,stdio",
        "-f",
        "kexec,/boot/vmlinuz,/boot/initrd,console=ttyS0 a,b",
    ];
    let given: Vec<&str> = ["domain", "convert", "--name", "box", "--"].into_iter().chain(words).collect();
    let output = site.try_run(&given);
    assert!(output.status.success(), "{}", error(&output));
    let spec: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&spec["name"], &spec["cpu"]["count"]), (&"box".into(), &2.into()));
    assert_eq!(spec["boot"]["cmdline"], "console=ttyS0 a,b");
    let script =
        write(&site, "run.sh", "#!/bin/sh\nKERNEL=vmlinuz\nxhyve -m 64M -f kexec,$KERNEL,initrd,quiet\n");
    let spec = site.json(&["domain", "convert", &script, "--name", "box"]);
    let here = site.path("").canonicalize().unwrap().join("vmlinuz");
    assert_eq!(spec["boot"]["kernel"], here.to_str().unwrap(), "paths are relative to the script");

    let line = site.run(&["domain", "convert", &script, "--name", "box", "--to", "qemu-args"]);
    assert!(line.starts_with("# machine box, with "), "{line}");
    assert!(line.contains(&format!(" \\\n  -kernel {}", here.display())), "{line}");
    assert!(line.contains("\n  -append quiet"), "{line}");
    let checked = piped(
        &site,
        &["domain", "convert", "-", "--type", "xhyve", "--name", "box"],
        "xhyve -m 64M -f kexec,/k,/i,q",
    );
    assert!(checked.status.success(), "{}", error(&checked));
    let machine = site.machine("plain", "");
    assert!(
        site.run(&["domain", "convert", &machine, "--to", "qemu-args"]).contains("-name"),
        "a machine is one, too"
    );
}
