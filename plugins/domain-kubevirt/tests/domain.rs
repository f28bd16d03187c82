//! What the XML is good for: libvirt's schema takes it, and domain-libvirt makes a valid machine of it.

mod support;

use std::fs;
use std::process::Command;

use domain_kubevirt::{OtherNetworks, Settings, convert};
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{DiskSource, MachineSpec, RunStrategy};
use witvirt_sdk::domain::Options;

const LIBVIRT: &str = r#"{"firmware": {"code": "/f/a.fd"}, "secure-firmware": {"code": "/f/b.fd"}}"#;

/// Our own manifests and KubeVirt's examples, by name.
fn manifests() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for directory in
        [Some(support::here("tests/golden")), support::data("kubevirt/examples")].into_iter().flatten()
    {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The domain XML of every manifest that converts.
fn domains() -> Vec<(String, String)> {
    let settings = Settings {
        kernel_directory: Some("/srv/kernels".to_owned()),
        other_networks: OtherNetworks::User,
        ..Settings::default()
    };
    let manifests = manifests().into_iter();
    let converted = manifests.filter_map(|(name, text)| {
        let conversion = convert(&text, &Options::default(), &settings).ok()?;
        let refused = conversion.diagnostics.iter().any(|d| d.severity == Severity::Error);
        (!refused).then_some((name, conversion.xml))
    });
    converted.collect()
}

#[test]
fn schema_of_libvirt_takes_it() {
    let Some(schema) = support::data("libvirt/schemas/domain.rng") else { return };
    if Command::new("xmllint").arg("--version").output().is_err() {
        println!("skipped: there is no xmllint (Debian's libxml2-utils)");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut xmllint = Command::new("xmllint");
    xmllint.arg("--noout").arg("--relaxng").arg(schema);
    let domains = domains();
    for (name, xml) in &domains {
        let file = directory.path().join(name);
        fs::write(&file, xml).unwrap();
        xmllint.arg(file);
    }
    let output = xmllint.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{} domains are valid", domains.len());
}

#[test]
fn domain_libvirt_makes_a_valid_machine_of_it() {
    let settings = domain_libvirt::Settings::parse(LIBVIRT).unwrap();
    let domains = domains();
    for (name, xml) in &domains {
        let conversion = domain_libvirt::convert(xml, None, &settings).unwrap();
        let errors = conversion.diagnostics.iter().filter(|d| d.severity == Severity::Error);
        assert_eq!(errors.collect::<Vec<_>>(), [] as [&_; 0], "{name}\n{xml}");
        let json = serde_json::to_string(&conversion.machine).unwrap();
        let machine: MachineSpec = serde_json::from_str(&json).unwrap();
        assert_eq!(machine.validate(), [], "{name}");
        if std::env::var_os("CORPUS_VERBOSE").is_some() {
            for d in &conversion.diagnostics {
                println!(
                    "{name} {:?} {} {}: {}",
                    d.severity,
                    d.code,
                    d.path.as_deref().unwrap_or("-"),
                    d.message
                );
            }
        }
    }
    assert!(domains.len() >= 3, "only {}", domains.len());
}

#[test]
fn what_libvirt_has_no_words_for_arrives_in_the_machine() {
    let settings = domain_libvirt::Settings::parse(LIBVIRT).unwrap();
    let text = include_str!("golden/fedora.yaml");
    let xml = convert(text, &Options::default(), &Settings::default()).unwrap().xml;
    let machine = domain_libvirt::convert(&xml, None, &settings).unwrap().machine;
    assert_eq!(machine.run, RunStrategy::RerunOnFailure);
    assert_eq!(machine.stop_timeout.as_secs(), 180);
    assert_eq!(machine.labels["app"], "web");
    let ports: Vec<_> = machine.interfaces[0].forwards.iter().map(|f| (f.host_port, f.guest_port)).collect();
    assert_eq!(ports, [(0, 22), (0, 53)]);
    let [image, init, data] = &machine.disks[..] else { panic!("{} disks", machine.disks.len()) };
    assert!(
        matches!(&image.source, Some(DiskSource::Remote { url, .. }) if url == "docker://registry.example/fedora:41")
    );
    let Some(DiskSource::Data { label, files }) = &init.source else { panic!("{:?}", init.source) };
    assert_eq!(label, "cidata");
    let text = |path: &str| files.iter().find(|file| file.path == path).unwrap().text.clone().unwrap();
    assert_eq!(text("user-data"), "#cloud-config\nusers:\n  - default\n");
    let meta: serde_json::Value = serde_json::from_str(&text("meta-data")).unwrap();
    assert_eq!(meta["instance-id"], machine.uuid.unwrap().to_string());
    assert!(
        matches!(&data.source, Some(DiskSource::Volume { size: Some(size), .. }) if size.get() == 10 << 30)
    );
}
