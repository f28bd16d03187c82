//! Domain converters as components: in the engine, under its limits, they answer as the native code does, and what breaks
//! has a name.
#![allow(missing_docs)]

use std::fs;
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use witvirt_core::domain::{
    CONTEXT_JSON, Converter, DOMAIN_XML, Document, KUBEVIRT as MANIFEST, Outcome, Severity,
};
use witvirt_core::plugin::{Limits, Mode, OnFailure, PluginEntry, PluginKind};
use witvirt_core::{ByteSize, ErrorKind, Name, PluginError};
use witvirt_engine::{CompileCommand, Engine, EngineOptions, Plugin};
use witvirt_harness::host::Host;
use witvirt_harness::macos::{self, ANNOTATIONS, HOOKS, OSK};
use witvirt_harness::{plugins, root, witvirt};
use witvirt_testkit::domain::{KUBEVIRT, difference};

/// A plugin, its settings, annotations, and the file with the difference that its own tests compare with.
type Case = (&'static str, Value, &'static [(&'static str, &'static str)], &'static str);

fn cases() -> [Case; 9] {
    const PORT: (&str, &str) = ("vnc.droidvirt.io/port", "5901");
    const WEBSOCKET: (&str, &str) = ("websocket.vnc.droidvirt.io/port", "6080");
    let argument = json!({ "websocket": "argument", "address": "0.0.0.0" });
    [
        ("hook-board", json!({ "osk": OSK }), &[], "kubevirt.diff"),
        ("hook-vnc", json!({}), &[("vnc.droidvirt.io/port", "5900")], "port.diff"),
        ("hook-vnc", json!({}), &[PORT, WEBSOCKET], "websocket.diff"),
        ("hook-vnc", argument, &[PORT, WEBSOCKET], "argument.diff"),
        ("hook-boot-loader", json!({}), &ANNOTATIONS, "kubevirt.diff"),
        ("hook-input-device", json!({}), &[], "kubevirt.diff"),
        ("hook-nic-model", json!({}), &[], "kubevirt.diff"),
        (
            "hook-disk-driver",
            json!({}),
            &[("disk.droidvirt.io/names", "containerdisk"), ("disk.droidvirt.io/driverType", "raw")],
            "kubevirt.diff",
        ),
        (
            "hook-qemu-args",
            json!({ "allow": ["device", "smbios"] }),
            &[("qemu.droidvirt.io/args", "-device;usb-tablet;-smbios;type=11,value=a")],
            "kubevirt.diff",
        ),
    ]
}

static ENGINE: LazyLock<(tempfile::TempDir, Engine)> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let compiler = CompileCommand { program: witvirt(), arguments: vec!["compile-plugin".into()] };
    let options = EngineOptions::new(directory.path().join("cache"), compiler);
    (directory, Engine::new(options).expect("an engine"))
});

fn load(name: &str, settings: Value, limits: Limits) -> Result<Arc<dyn Converter>> {
    let entry = PluginEntry {
        name: Name::new(name)?,
        kind: PluginKind::DomainConverter,
        file: plugins().join(format!("{name}.wasm")),
        sha256: None,
        settings,
        limits,
        on_failure: OnFailure::Deny,
        mode: Mode::Enforce,
    };
    match ENGINE.1.load(&entry).with_context(|| format!("{name}; built by: cargo xtask plugins"))?.plugin {
        Plugin::Converter(converter) => Ok(converter),
        _ => bail!("{name} is no converter"),
    }
}

fn convert(
    converter: &dyn Converter,
    xml: &str,
    annotations: &[(&str, &str)],
) -> Result<Outcome, PluginError> {
    let input = Document { media_type: DOMAIN_XML.to_owned(), body: xml.to_owned() };
    let annotations: Map<String, Value> =
        annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let options = json!({ "name": "machine", "context": { "name": "machine", "annotations": annotations } });
    converter.convert(&input, DOMAIN_XML, &options)
}

#[test]
fn hooks_change_what_their_native_code_does() -> Result<()> {
    for (name, settings, annotations, golden) in cases() {
        let hook = load(name, settings, Limits::default())?;
        ensure!(hook.conversions() == [(DOMAIN_XML.to_owned(), DOMAIN_XML.to_owned())], "{name}");
        let made = convert(&*hook, KUBEVIRT, annotations)?;
        let golden = root().join("plugins").join(name).join("tests/golden").join(golden);
        let expected = fs::read_to_string(&golden).with_context(|| golden.display().to_string())?;
        let changed = difference(KUBEVIRT, &made.document.body);
        ensure!(changed == expected, "{}\n{}", golden.display(), difference(&expected, &changed));
        let again = convert(&*hook, &made.document.body, annotations)?;
        ensure!(again.document == made.document, "{name} is not idempotent");
    }
    Ok(())
}

/// From a manifest to domain XML: the source converter, and the hooks in the order of the annotation.
fn chain(manifest: &str) -> Result<String> {
    let source = load("domain-kubevirt", json!({}), Limits::default())?;
    let input = Document { media_type: MANIFEST.to_owned(), body: manifest.to_owned() };
    let made = source.convert(&input, DOMAIN_XML, &json!({}))?;
    let context = source.convert(&input, CONTEXT_JSON, &json!({}))?.document.body;
    let context: Value = serde_json::from_str(&context)?;
    let names = context["annotations"]["converter.droidvirt.io/type"].as_str().context("no annotation")?;
    ensure!(made.diagnostics.iter().all(|said| said.severity != Severity::Error), "{:?}", made.diagnostics);
    let mut domain = made.document;
    for name in names.split(',').map(|name| format!("hook-{name}")) {
        let settings = if name == "hook-board" { json!({ "osk": OSK }) } else { json!({}) };
        let hook = load(&name, settings, Limits::default())?;
        let made = hook.convert(&domain, DOMAIN_XML, &json!({ "context": context }))?;
        ensure!(made.diagnostics.is_empty(), "{name}: {:?}", made.diagnostics);
        domain = made.document;
    }
    Ok(domain.body)
}

#[test]
fn the_macos_machine_becomes_the_domain_that_it_is_said_to_become() -> Result<()> {
    let golden = root().join("tests/e2e/tests/golden/macos.xml");
    let made = chain(&macos::example()?)?;
    if std::env::var_os("WITVIRT_BLESS").is_some() {
        fs::write(&golden, &made)?;
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    ensure!(made == expected, "{}\n{}", golden.display(), difference(&expected, &made));
    Ok(())
}

#[test]
fn the_seeds_machine_goes_through_the_chain() -> Result<()> {
    let Some(machine) = macos::seed()? else {
        println!("skipped: there is no ../shared/seeds");
        return Ok(());
    };
    let domain = chain(&machine)?;
    for part in [
        "<name>osx-1</name>",
        "value='isa-applesmc,osk=",
        "<loader readonly='yes' secure='no' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>",
        "<nvram>/usr/share/OVMF/OVMF_VARS.fd</nvram>",
        "<model type='qxl' ",
        "<graphics type='vnc' port='5900'>",
        "<model type='vmxnet3'/>",
        "<controller type='usb' index='0' model='piix3-uhci'/>",
    ] {
        ensure!(domain.contains(part), "no {part} in {domain}");
    }
    Ok(())
}

#[test]
fn a_key_that_is_missing_is_asked_for() -> Result<()> {
    let hook = load("hook-board", json!({}), Limits::default())?;
    let made = convert(&*hook, KUBEVIRT, &[])?;
    let messages: Vec<&str> = made.diagnostics.iter().map(|said| said.message.as_str()).collect();
    ensure!(messages.len() == 1 && messages[0].contains("setting osk"), "{messages:?}");
    let wrong = load("hook-board", json!({ "osk": &OSK[1..] }), Limits::default()).err();
    let wrong = format!("{:#}", wrong.context("63 characters are a key")?);
    ensure!(wrong.contains("hook-board") && wrong.contains("63 characters"), "{wrong}");
    ensure!(!wrong.contains(&OSK[1..]), "the key is in a message: {wrong}");
    Ok(())
}

/// Documents that are none, or that are made to exhaust whoever reads them.
fn hostile() -> Vec<(&'static str, String)> {
    let bomb = "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]><domain>&b;</domain>";
    let attributes: String = (0..10_000).map(|n| format!(" a{n}='1'")).collect();
    vec![
        ("nothing", String::new()),
        ("another root", "<network/>".to_owned()),
        ("a cut document", "<domain><devices>".to_owned()),
        ("no XML", "\u{0}\u{1}\u{2}<<<>>>".to_owned()),
        ("entities", bomb.to_owned()),
        ("depth", "<domain>".to_owned() + &"<a>".repeat(100_000)),
        ("nodes", format!("<domain>{}</domain>", "<a/>".repeat(200_000))),
        ("attributes", format!("<domain{attributes}/>")),
        ("size", format!("<domain>{}</domain>", " ".repeat(5 << 20))),
    ]
}

#[test]
fn hostile_documents_are_refused_in_the_plugins_name() -> Result<()> {
    for name in HOOKS.into_iter().chain(["hook-disk-driver", "hook-qemu-args"]) {
        let settings = if name == "hook-board" { json!({ "osk": OSK }) } else { json!({}) };
        let hook = load(name, settings, Limits::default())?;
        for (what, document) in hostile() {
            let Err(error) = convert(&*hook, &document, &ANNOTATIONS) else { bail!("{name} took {what}") };
            ensure!(error.plugin == name, "{what}: {error}");
            // Refused by the plugin or by the host, not broken.
            ensure!(
                matches!(error.kind, ErrorKind::InvalidInput | ErrorKind::Limit),
                "{name}, {what}: {error}"
            );
        }
        convert(&*hook, KUBEVIRT, &ANNOTATIONS)?;
    }
    Ok(())
}

/// Within all bounds of documents, and more than fits twice into 3 MiB.
fn large_comment() -> String {
    format!("<!--{}-->", "x".repeat(1_800_000))
}

#[test]
fn a_conversion_that_breaks_off_is_told_with_the_plugins_name() -> Result<()> {
    let large = format!("<domain>{}</domain>", large_comment());
    for name in HOOKS {
        let settings = if name == "hook-board" { json!({ "osk": OSK }) } else { json!({}) };
        let limits = Limits { memory: ByteSize::mib(3), ..Limits::default() };
        let hook = load(name, settings, limits)?;
        let Err(error) = convert(&*hook, &large, &ANNOTATIONS) else {
            bail!("{name} keeps {} bytes in 3 MiB", large.len());
        };
        ensure!(error.plugin == name && !error.version.is_empty(), "{error:?}");
        ensure!(error.kind == ErrorKind::Limit && error.message.contains("memory"), "{error}");
        // The next instance knows nothing of it.
        convert(&*hook, KUBEVIRT, &ANNOTATIONS)?;
    }
    Ok(())
}

#[test]
fn a_pipeline_names_the_hook_that_broke() -> Result<()> {
    let hook = plugins().join("hook-nic-model.wasm");
    let host = Host::new(&format!(
        "[[plugin]]\nname = \"cards\"\nkind = \"domain-converter\"\nfile = {hook:?}\nlimits = {{ memory = \"3MiB\" }}\n\
         [pipeline.libvirt]\nsource = \"{DOMAIN_XML}\"\nconverters = [\"cards\", \"domain-libvirt\"]\n"
    ))?;
    let _daemon = host.daemon()?;
    let file = host.path("files/guest.xml");
    let domain = "<domain type='qemu'><name>m</name><memory unit='MiB'>64</memory><os><type>hvm</type></os>\
                  <devices><interface type='user'/></devices>";
    fs::write(&file, format!("{domain}</domain>"))?;
    let file = file.to_string_lossy();
    let machine = host.run(&["domain", "convert", &file])?;
    ensure!(machine.contains("vmxnet3"), "{machine}");
    fs::write(&*file, format!("{domain}{}</domain>", large_comment()))?;
    let output = host.try_run(&["domain", "convert", &file])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("cards") && said.contains("memory"), "{said}");
    Ok(())
}
