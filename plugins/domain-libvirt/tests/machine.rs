//! What libvirt has no words for: `<w:machine>` and disks of the pool "witvirt".

mod support;

use std::time::Duration;

use domain_libvirt::{Libvirt, Settings, context};
use support::{assert_quiet, errors, run, run_with, warnings, with_devices};
use witvirt_sdk::core::ByteSize;
use witvirt_sdk::core::domain::{CONTEXT_JSON, DOMAIN_XML, Document, Severity};
use witvirt_sdk::core::spec::{DataFile, DiskSource, Firmware, FirmwareFile, Protocol, RunStrategy};

/// A domain with `inside` in its metadata, and these devices.
fn domain(inside: &str, devices: &str) -> String {
    let machine = format!("<m:machine xmlns:m='urn:witvirt:domain:1'>{inside}</m:machine>");
    with_devices("q35", devices).replace("<memory", &format!("<metadata>{machine}</metadata><memory"))
}

fn disk(target: &str, volume: &str) -> String {
    format!(
        "<disk type='volume'><source pool='witvirt' volume='{volume}'/><target dev='{target}' bus='virtio'/></disk>"
    )
}

fn source(inside: &str) -> String {
    format!("<m:source name='s'>{inside}</m:source>")
}

/// What a machine's only disk holds.
fn content(inside: &str) -> Option<DiskSource> {
    let xml = domain(&source(inside), &disk("vda", "s"));
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    conversion.machine.disks[0].source.clone()
}

/// What is wrong with a source: code, path and message of the errors. That a disk without one is none follows from it.
fn refusals(metadata: &str, devices: &str) -> Vec<(String, String, String)> {
    let conversion = run(&domain(metadata, devices));
    let found = conversion.diagnostics.into_iter().filter(|d| d.severity == Severity::Error);
    let found = found.filter(|d| !d.message.starts_with("a disk needs one"));
    found.map(|d| (d.code, d.path.unwrap_or_default(), d.message)).collect()
}

#[test]
fn tags_strategy_and_patience() {
    let xml = domain(
        "<m:label name='app'>web</m:label><m:annotation name='a/b'> x\n&lt;y </m:annotation>\
         <m:os>macos</m:os><m:run strategy='rerun-on-failure'/><m:stop timeout='0'/>",
        "",
    );
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    let machine = conversion.machine;
    assert_eq!(machine.labels["app"], "web");
    assert_eq!(machine.annotations["a/b"], " x\n<y ");
    assert_eq!(machine.os.as_deref(), Some("macos"));
    assert_eq!(machine.run, RunStrategy::RerunOnFailure);
    assert_eq!(machine.stop_timeout, Duration::ZERO);
}

#[test]
fn what_a_tag_cannot_say_is_refused() {
    for (inside, code) in [
        ("<m:label>x</m:label>", "libvirt.value.missing"),
        ("<m:label name='a'>x</m:label><m:label name='a'>y</m:label>", "libvirt.witvirt.repeated"),
        ("<m:os/>", "libvirt.value.invalid"),
        ("<m:run strategy='sometimes'/>", "libvirt.value.invalid"),
        ("<m:run/>", "libvirt.value.missing"),
        ("<m:stop timeout='-1'/>", "libvirt.value.invalid"),
        ("<m:stop timeout='99999999999'/>", "libvirt.value.invalid"),
    ] {
        assert_eq!(errors(&run(&domain(inside, ""))), [code], "{inside}");
    }
    let unknown = run(&domain("<m:later/><label name='a'>x</label>", ""));
    assert_eq!(warnings(&unknown), ["libvirt.unknown.element", "libvirt.unknown.element"]);
}

#[test]
fn a_restart_policy_cannot_contradict_the_strategy() {
    let xml = domain("<m:run strategy='once'/>", "")
        .replace("<memory", "<on_poweroff>restart</on_poweroff><memory");
    let conversion = run(&xml);
    assert_eq!(errors(&conversion), ["libvirt.machine.invalid"]);
    let error = conversion.diagnostics.iter().find(|d| d.severity == Severity::Error).unwrap();
    assert_eq!(error.path.as_deref(), Some("/domain/metadata"));
}

#[test]
fn sources_of_every_kind() {
    let name = |text: &str| text.parse().unwrap();
    assert_eq!(
        content("<m:volume name='osx-disk-1' size='16GiB'/>"),
        Some(DiskSource::Volume { name: name("osx-disk-1"), size: Some(ByteSize::gib(16)) })
    );
    assert_eq!(content("<m:overlay volume='clover'/>"), Some(DiskSource::Overlay { volume: name("clover") }));
    assert_eq!(content("<m:blank size='1073741824'/>"), Some(DiskSource::Blank { size: ByteSize::gib(1) }));
    let digest = "ab".repeat(32);
    assert_eq!(
        content(&format!(
            "<m:remote url='https://images.example/d.qcow2' format='qcow2' sha256='{digest}'/>"
        )),
        Some(DiskSource::Remote {
            url: "https://images.example/d.qcow2".to_owned(),
            format: Some("qcow2".to_owned()),
            sha256: Some(digest.parse().unwrap()),
        })
    );
}

#[test]
fn files_as_text_and_as_base64() {
    let made = content(
        "<m:data label='cidata' joliet='yes'>\n<m:file path='meta-data'/>\
         <m:file path='user-data' encoding='text'>#cloud-config\n# &lt;!-- x --&gt;\n</m:file>\
         <m:file path='a/b c' encoding='base64'>AAEC\n/w==</m:file></m:data>",
    );
    let Some(DiskSource::Data { label, files }) = made else { panic!("{made:?}") };
    assert_eq!(label, "cidata");
    assert_eq!(files[0], DataFile::text("meta-data", ""));
    assert_eq!(files[1], DataFile::text("user-data", "#cloud-config\n# <!-- x -->\n"));
    assert_eq!((files[2].path.as_str(), files[2].content().unwrap()), ("a/b c", vec![0, 1, 2, 255]));
}

#[test]
fn sources_have_to_be_there_once() {
    let blank = "<m:blank size='1GiB'/>";
    let missing = refusals(&source(blank), &disk("vda", "other"));
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert_eq!(missing[0].0, "libvirt.witvirt.source");
    assert_eq!(missing[0].1, "/domain/devices/disk/source/@volume");
    assert!(missing[0].2.contains("no <source> of the name \"other\""), "{}", missing[0].2);
    let twice = refusals(&source(blank).repeat(2), &disk("vda", "s"));
    assert_eq!(twice.len(), 1);
    assert_eq!(twice[0].1, "/domain/metadata/m:machine/m:source[2]/@name");
    let unused = run(&domain(&source(blank), ""));
    assert_eq!((errors(&unused).len(), warnings(&unused)), (0, vec!["libvirt.witvirt.source"]));
}

#[test]
fn what_is_no_source_is_refused() {
    let file = |attributes: &str, text: &str| {
        format!("<m:data label='l'><m:file {attributes}>{text}</m:file></m:data>")
    };
    for (inside, part) in [
        (String::new(), "a source is one of <data>"),
        ("<m:blank size='1'/><m:blank size='1'/>".to_owned(), "a source is one of <data>"),
        ("<m:tape/>".to_owned(), "<tape>: use <data>"),
        ("<m:volume name='A B'/>".to_owned(), "a volume name of"),
        ("<m:volume name='a' size='much'/>".to_owned(), "a size like 16GiB"),
        ("<m:overlay/>".to_owned(), "attribute volume is missing"),
        ("<m:remote url='https://x.example/a' sha256='12'/>".to_owned(), "64 hexadecimal digits"),
        ("<m:data/>".to_owned(), "attribute label is missing"),
        (file("", "x"), "attribute path is missing"),
        (file("path='a' encoding='hex'", "x"), "use one of text, base64"),
        (file("path='a' encoding='base64'", "secret!"), "not base64"),
        (file("path='../a'", "x"), "not a path from the disk's root"),
        (file("path='a'", &"x".repeat((1 << 20) + 1)), "at most 1024 files with 1.00 MiB"),
        (file("path='a' encoding='base64'", &"QUFB".repeat(350_000)), "1.00 MiB together"),
        (format!("<m:data label='l'>{}</m:data>", "<m:file path='a'/>".repeat(1025)), "at most 1024 files"),
        (format!("<m:data label='{}'/>", "x".repeat(33)), "1 to 32 printable"),
    ] {
        let found = refusals(&source(&inside), &disk("vda", "s"));
        let shown = &inside[..inside.len().min(100)];
        assert!(found.iter().any(|(_, _, message)| message.contains(part)), "{shown}: {found:?}");
        assert!(found.iter().all(|(_, _, message)| !message.contains("secret")), "{found:?}");
    }
}

#[test]
fn one_source_is_not_multiplied_without_end() {
    let big = format!("<m:data label='l'><m:file path='a'>{}</m:file></m:data>", "x".repeat(1 << 20));
    let disks: String = (0..100).map(|n| disk(&format!("vd{n}"), "s")).collect();
    let found = refusals(&source(&big), &disks);
    assert_eq!(found.len(), 96);
    assert!(found[0].2.contains("all data disks together"), "{:?}", found[0]);
}

#[test]
fn forwards_find_their_interface() {
    let card = "<interface type='user'><model type='virtio'/><alias name='ua-default'/></interface>";
    let inside = "<m:forward interface='ua-default' protocol='tcp' host-port='0' guest-port='22'/>\
                  <m:forward interface='ua-default' guest-port='23'/>\
                  <m:forward interface='ua-default' protocol='udp' host-port='5353' guest-port='53' address='0.0.0.0'/>";
    let xml = domain(inside, card);
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    let forwards = &conversion.machine.interfaces[0].forwards;
    let made: Vec<_> =
        forwards.iter().map(|f| (f.protocol, f.address.to_string(), f.host_port, f.guest_port)).collect();
    assert_eq!(
        made,
        [
            (Protocol::Tcp, "127.0.0.1".to_owned(), 0, 22),
            (Protocol::Tcp, "127.0.0.1".to_owned(), 0, 23),
            (Protocol::Udp, "0.0.0.0".to_owned(), 5353, 53)
        ]
    );
    for (forward, code) in [
        ("interface='ua-other' guest-port='1'", "libvirt.value.invalid"),
        ("interface='ua-default'", "libvirt.value.missing"),
        ("interface='ua-default' guest-port='70000'", "libvirt.value.invalid"),
        ("interface='ua-default' guest-port='1' protocol='sctp'", "libvirt.value.invalid"),
        ("interface='ua-default' guest-port='1' address='here'", "libvirt.value.invalid"),
        ("interface='ua-default' guest-port='0'", "libvirt.machine.invalid"),
    ] {
        let conversion = run(&domain(&format!("<m:forward {forward}/>"), card));
        assert_eq!(errors(&conversion), [code], "{forward}");
    }
    let unplugged = card.replace("'user'", "'null'");
    assert_eq!(errors(&run(&domain(inside, &unplugged))), ["libvirt.witvirt.forward"; 3]);
    let many = "<m:forward interface='ua-default' guest-port='1'/>".repeat(300);
    assert_eq!(errors(&run(&domain(&many, card))).len(), 44);
}

#[test]
fn firmware_paths_may_mean_images() {
    let settings =
        r#"{"firmware-images": {"/usr/share/OVMF/OVMF_CODE.fd": "ovmf-code", "/v.fd": "ovmf-vars"}}"#;
    let os =
        "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader><nvram template='/v.fd'/>";
    let xml = with_devices("q35", "").replace("</os>", &format!("{os}</os>"));
    let uefi = |code, vars| Firmware::Uefi { code, vars_template: Some(vars), secure: false };
    assert_eq!(
        run_with(&xml, settings).machine.boot.firmware,
        uefi(FirmwareFile::image("ovmf-code"), FirmwareFile::image("ovmf-vars"))
    );
    assert_eq!(run(&xml).machine.boot.firmware, uefi("/usr/share/OVMF/OVMF_CODE.fd".into(), "/v.fd".into()));
}

#[test]
fn the_context_is_what_the_metadata_says() {
    let xml =
        domain("<m:label name='a'>1</m:label><m:annotation name='b'>2</m:annotation><m:os>linux</m:os>", "");
    let made = context(&xml, &Settings::default()).unwrap();
    assert_eq!((made.name.as_str(), made.os.as_deref()), ("a", Some("linux")));
    assert_eq!((made.labels["a"].as_str(), made.annotations["b"].as_str()), ("1", "2"));
    let input = Document { media_type: DOMAIN_XML.to_owned(), body: xml };
    let outcome =
        witvirt_sdk::domain::convert::<Libvirt>(&Settings::default(), &input, CONTEXT_JSON, "{}").unwrap();
    assert_eq!(
        outcome.document.body,
        r#"{"name":"a","labels":{"a":"1"},"annotations":{"b":"2"},"os":"linux"}"#
    );
    assert!(context("<network/>", &Settings::default()).is_err());
}
