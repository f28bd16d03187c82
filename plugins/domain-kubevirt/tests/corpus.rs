//! Every manifest of KubeVirt's examples, and those of others that hold machines: what is converted, what is refused, and why.
//!
//! `tests/corpus.txt` is the table; `BLESS=1 cargo test -p domain-kubevirt --test corpus` writes it anew. What is refused there is
//! refused for the reason that stands beside it.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use domain_kubevirt::{OtherNetworks, Settings, convert, machines};
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::domain::Options;

/// Files that name others: what has to stand in the same text.
const TOGETHER: &[(&str, &[&str])] = &[
    ("vm-cirros-clarge.yaml", &["clarge.yaml"]),
    ("vm-cirros-clarge-virtio.yaml", &["clarge.yaml", "virtio.yaml"]),
    ("vm-cirros-clarge-windows.yaml", &["clarge.yaml", "windows.yaml"]),
    ("vm-cirros-cluster-csmall.yaml", &["cluster-csmall.yaml"]),
    ("vm-cirros-csmall.yaml", &["csmall.yaml"]),
    ("vm-windows-clarge-windows.yaml", &["clarge.yaml", "windows.yaml"]),
];

/// Files that need settings.
const SETTLED: &[&str] =
    &["vmi-kernel-boot.yaml", "vmi-multus-multiple-net.yaml", "vmi-multus-ptp.yaml", "vmi-sriov.yaml"];

fn manifests(directory: &Path, found: &mut BTreeMap<String, String>, root: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            manifests(&path, found, root);
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

/// One line for each machine: file, machine, verdict, reason.
fn rows(name: &str, text: &str, settings: &Settings, table: &mut String) {
    let Ok(list) = machines(text).map_err(|error| writeln!(table, "{name}\t-\tnone\t{error}").unwrap())
    else {
        return;
    };
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    for machine in list["machines"].as_array().unwrap() {
        let machine = machine["name"].as_str().unwrap();
        let options = Options { select: Some(machine.to_owned()), ..Options::default() };
        let conversion = convert(text, &options, settings).unwrap();
        let errors = conversion.diagnostics.iter().filter(|d| d.severity == Severity::Error);
        let reasons: Vec<_> =
            errors.map(|d| format!("{}: {}", d.path.as_deref().unwrap_or("-"), d.message)).collect();
        let warned = conversion.diagnostics.iter().any(|d| d.severity == Severity::Warning);
        let verdict = match (reasons.is_empty(), warned) {
            (false, _) => "refused",
            (true, true) => "warned",
            (true, false) => "converted",
        };
        writeln!(table, "{name}\t{machine}\t{verdict}\t{}", reasons.join("; ")).unwrap();
    }
}

#[test]
fn examples_convert_or_are_refused_with_the_listed_reason() {
    let Some(data) = support::data("kubevirt") else { return };
    let mut found = BTreeMap::new();
    for directory in ["examples", "cdi-examples", "intel-virtualization", "sidecar-injector"] {
        manifests(&data.join(directory), &mut found, &data);
    }
    let mut table = String::new();
    for (name, text) in &found {
        let own = name.starts_with("examples/");
        if !own && !text.contains("kind: VirtualMachine") {
            continue;
        }
        let settings = Settings::default();
        rows(name, text, &settings, &mut table);
        if SETTLED.iter().any(|file| name.ends_with(file)) {
            let settings = Settings {
                kernel_directory: Some("/srv/kernels".to_owned()),
                other_networks: OtherNetworks::User,
                ..settings.clone()
            };
            rows(&format!("{name} + settings"), text, &settings, &mut table);
        }
        let base = Path::new(name).file_name().unwrap().to_str().unwrap();
        let with = TOGETHER.iter().find(|(file, _)| own && *file == base);
        if let Some((_, others)) = with {
            let mut text = text.clone();
            for other in *others {
                text.push_str("\n---\n");
                text.push_str(&found[&format!("examples/{other}")]);
            }
            rows(&format!("{name} + {}", others.join(" + ")), &text, &settings, &mut table);
        }
    }
    let path = support::here("tests/corpus.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(table, expected, "run with BLESS=1 if the new table is right");
    let count = |verdict: &str| table.lines().filter(|line| line.split('\t').nth(2) == Some(verdict)).count();
    let [converted, warned, refused, none] = ["converted", "warned", "refused", "none"].map(count);
    println!("{converted} converted, {warned} with warnings, {refused} refused, {none} without a machine");
    assert!(converted + warned >= 26, "only {converted} and {warned} with warnings");
}

#[test]
fn shipped_instancetypes_and_preferences_expand() {
    let Some(data) = support::data("kubevirt") else { return };
    let read = |name: &str| fs::read_to_string(data.join("instancetypes").join(name)).unwrap();
    let types = read("common-clusterinstancetypes-bundle.yaml");
    let preferences = read("common-clusterpreferences-bundle.yaml");
    let names = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix("  name: ")).map(str::to_owned).collect()
    };
    let machine = |instancetype: &str, preference: &str| {
        format!(
            "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {{name: vm}}\nspec:\n  runStrategy: Manual\n  \
             instancetype: {{name: {instancetype}}}\n  preference: {{name: {preference}}}\n  template:\n    spec:\n      \
             domain: {{devices: {{}}}}\n      volumes: [{{name: a, emptyDisk: {{capacity: 1Gi}}}}]\n---\n"
        )
    };
    let errors = |text: &str| -> Vec<String> {
        let conversion = convert(text, &Options::default(), &Settings::default()).unwrap();
        let unknown = |code: &str| matches!(code, "kubevirt.unknown" | "kubevirt.ignored");
        let bad =
            conversion.diagnostics.into_iter().filter(|d| d.severity == Severity::Error || unknown(&d.code));
        bad.map(|d| format!("{} {}", d.path.unwrap_or_default(), d.message)).collect()
    };
    let all = format!("{types}\n---\n{preferences}");
    let (types, preferences) = (names(&types), names(&preferences));
    assert!(types.len() >= 60 && preferences.len() >= 50, "{} {}", types.len(), preferences.len());
    for name in &types {
        assert_eq!(errors(&(machine(name, "linux") + &all)), [""; 0], "{name}");
    }
    for name in &preferences {
        let errors = errors(&(machine("u1.4xlarge", name) + &all));
        let foreign = name.ends_with(".arm64") || name.contains("s390x");
        assert_eq!(errors.is_empty(), !foreign, "{name}: {errors:?}");
    }
}
