//! Nothing in a manifest passes in silence: each field of KubeVirt's schema, set on its own, changes the domain or is reported.
//!
//! The fields are in `tests/fields.txt`, which `BLESS=1 cargo test -p domain-kubevirt --test silence` writes anew from KubeVirt's
//! OpenAPI document.

mod support;

use std::collections::BTreeSet;
use std::fs;

use domain_kubevirt::{Conversion, Settings, convert};
use serde_json::{Value, json};
use witvirt_sdk::domain::Options;

/// Objects of Kubernetes' own that are waived as a whole.
const OPAQUE: &[&str] = &[
    "Affinity",
    "Toleration",
    "TopologySpreadConstraint",
    "PodDNSConfig",
    "ExecAction",
    "HTTPGetAction",
    "TCPSocketAction",
];

/// Codes that say that the test's value is wrong, not that the field is known.
const WRONG: &[&str] = &["kubevirt.value.invalid", "kubevirt.value.type"];

/// Paths of all fields below a definition, with the kind of value: "string", "boolean", "integer", "quantity", "object", "map",
/// "strings".
fn walk(definitions: &Value, name: &str, path: &str, depth: usize, fields: &mut BTreeSet<String>) {
    assert!(depth < 12, "{path}");
    let properties = definitions[name]["properties"].as_object().into_iter().flatten();
    for (field, schema) in properties {
        let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
        let reference = |schema: &Value| {
            let found = schema["$ref"].as_str().or(schema["allOf"][0]["$ref"].as_str());
            found.map(|found| found.rsplit('/').next().unwrap().to_owned())
        };
        let (list, target) = match schema["type"].as_str() {
            Some("array") => (true, reference(&schema["items"])),
            _ => (false, reference(schema)),
        };
        let path = if list { format!("{path}[]") } else { path };
        let Some(target) = target else {
            let kind = match schema["type"].as_str() {
                Some("object") => "map",
                Some("array") => "string",
                Some(kind) => kind,
                None => panic!("{path} has no type"),
            };
            fields.insert(format!("{path} {kind}"));
            continue;
        };
        let short = target.rsplit('.').next().unwrap();
        if target.contains("Quantity") || short == "IntOrString" {
            fields.insert(format!("{path} quantity"));
            continue;
        }
        fields.insert(format!("{path} object"));
        if !OPAQUE.contains(&short) {
            walk(definitions, &target, &path, depth + 1, fields);
        }
    }
}

fn bless() {
    let swagger = fs::read_to_string(support::data("kubevirt/swagger.json").unwrap()).unwrap();
    let swagger: Value = serde_json::from_str(&swagger).unwrap();
    let mut fields = BTreeSet::new();
    walk(&swagger["definitions"], "v1.VirtualMachineInstanceSpec", "", 0, &mut fields);
    let lines: Vec<_> = fields.into_iter().collect();
    fs::write(support::here("tests/fields.txt"), lines.join("\n") + "\n").unwrap();
}

/// A machine that has one of what most fields stand in.
fn base(path: &str) -> Value {
    let mut spec = json!({
        "domain": {
            "memory": {"guest": "1Gi"},
            "devices": {
                "disks": [{"name": "d", "disk": {"bus": "virtio"}}],
                "interfaces": [{"name": "default", "masquerade": {}}],
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [{"name": "d", "emptyDisk": {"capacity": "1Gi"}}],
    });
    let starts = |start: &str| path.starts_with(start);
    if starts("volumes[].") && !starts("volumes[].name") {
        spec["volumes"] = json!([{"name": "d"}]);
    }
    if starts("domain.devices.disks[].cdrom") || starts("domain.devices.disks[].lun") {
        spec["domain"]["devices"]["disks"] = json!([{"name": "d"}]);
    }
    if starts("domain.devices.autoattachPodInterface") {
        spec["networks"] = json!([]);
        spec["domain"]["devices"]["interfaces"] = json!([]);
    }
    let bindings = ["bridge", "sriov", "slirp", "macvtap", "passt", "binding", "masquerade"];
    if bindings.iter().any(|binding| starts(&format!("domain.devices.interfaces[].{binding}"))) {
        spec["domain"]["devices"]["interfaces"] = json!([{"name": "default"}]);
    }
    if starts("networks[].multus") || starts("networks[].resourceClaim") {
        spec["networks"] = json!([{"name": "default"}]);
    }
    if starts("domain.firmware.bootloader.efi") {
        spec["domain"]["features"] = json!({"smm": {}});
    }
    if starts("domain.devices.inputs[]") {
        spec["domain"]["devices"]["inputs"] = json!([{"name": "i", "type": "tablet"}]);
    }
    for device in ["sound", "watchdog"] {
        if starts(&format!("domain.devices.{device}.")) {
            spec["domain"]["devices"][device] = json!({"name": "x"});
        }
    }
    if starts("domain.devices.interfaces[].portRanges[].") {
        spec["domain"]["devices"]["interfaces"][0]["portRanges"] =
            json!([{"start": 80, "end": 90, "protocol": "TCP"}]);
    }
    if starts("domain.devices.interfaces[].ports[].") {
        spec["domain"]["devices"]["interfaces"][0]["ports"] = json!([{"port": 90}]);
    }
    if starts("domain.features.hyperv.vendorid.") {
        spec["domain"]["features"] = json!({"hyperv": {"vendorid": {"vendorid": "abc"}}});
    }
    if starts("domain.cpu.features[].") {
        spec["domain"]["cpu"] = json!({"features": [{"name": "avx"}]});
    }
    if starts("domain.firmware.kernelBoot.container.") {
        spec["domain"]["firmware"] =
            json!({"kernelBoot": {"container": {"image": "registry.example/k:1", "kernelPath": "/a"}}});
    }
    if starts("volumes[].hostDisk.") {
        spec["volumes"][0]["hostDisk"] = json!({"path": "/a", "type": "Disk"});
    }
    if starts("volumes[].cloudInit") {
        let kind = path.split('.').nth(1).unwrap();
        let network = path.contains("etworkData");
        spec["volumes"][0][kind] =
            if network { json!({"userData": "#"}) } else { json!({"networkData": "#"}) };
    }
    for (field, rest) in [
        ("containerDisk", json!({"image": "registry.example/a"})),
        ("dataVolume", json!({"name": "a"})),
        ("persistentVolumeClaim", json!({"claimName": "a"})),
        ("configMap", json!({"name": "a"})),
        ("secret", json!({"secretName": "a"})),
    ] {
        if starts(&format!("volumes[].{field}.")) {
            spec["volumes"][0][field] = rest;
        }
    }
    if starts("volumes[].ephemeral.persistentVolumeClaim.") {
        spec["volumes"][0]["ephemeral"] = json!({"persistentVolumeClaim": {"claimName": "a"}});
    }
    if starts("volumes[].downwardAPI.fields[].") {
        spec["volumes"][0]["downwardAPI"] =
            json!({"fields": [{"path": "a", "fieldRef": {"fieldPath": "metadata.name"}}]});
    }
    spec
}

/// Values to try: at least one has to show.
fn values(path: &str, kind: &str) -> Vec<Value> {
    let name = path.rsplit('.').next().unwrap().trim_end_matches("[]");
    match kind {
        "boolean" => vec![json!(true), json!(false)],
        "integer" => vec![json!(2), json!(512), json!(70_000)],
        "quantity" => vec![json!("2Gi")],
        "object" => vec![json!({})],
        "map" => vec![json!({"a": "1"}), json!({"cpu": "2"})],
        "string" => {
            let texts: &[&str] = match name {
                "action" => &["poweroff"],
                "apiVersion" => &["v1"],
                "bus" => &["usb", "scsi"],
                "cache" | "io" => &["none", "native"],
                "capacity" => &["1Gi"],
                "clock" | "timezone" => &["Europe/Rome"],
                "errorPolicy" => &["ignore"],
                "evictionStrategy" => &["None"],
                "fieldPath" => &["metadata.namespace"],
                "hostname" | "name" | "claimName" | "secretName" => &["other"],
                "image" => &["registry.example/b:2"],
                "initrdPath" | "kernelPath" => &["/b"],
                "ioThreadsPolicy" => &["auto"],
                "macAddress" => &["02:00:00:00:00:07"],
                "model" => &["Penryn", "e1000", "ac97", "hyperv"],
                "networkDataBase64" | "userDataBase64" => &["I2E="],
                "pageSize" => &["2Mi"],
                "path" => &["/b", "b"],
                "pciAddress" => &["0000:01:02.3"],
                "policy" => &["disable"],
                "protocol" => &["UDP"],
                "rebootPolicy" => &["Terminate"],
                "startStrategy" => &["Paused"],
                "state" => &["down"],
                "tickPolicy" => &["delay"],
                "track" => &["guest"],
                "tray" => &["open"],
                "type" => &["virtio", "pc-q35-9.0", "DiskOrCreate", "keyboard", "MemoryDump"],
                "uuid" => &["5d307ca9-b3ef-428c-8861-06e72d69f223"],
                "architecture" => &["arm64"],
                _ => &["some-text"],
            };
            texts.iter().map(|text| json!(text)).collect()
        }
        kind => panic!("{path}: {kind}"),
    }
}

fn set(spec: &mut Value, path: &str, value: Value) {
    let mut at = spec;
    for step in path.split('.') {
        let name = step.trim_end_matches("[]");
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[name];
        if step.ends_with("[]") {
            if !at.is_array() {
                *at = json!([null]);
            }
            at = &mut at[0];
        }
    }
    *at = value;
}

fn run(spec: &Value) -> Conversion {
    let machine = json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm"},
        "spec": spec,
    });
    let settings = Settings { kernel_directory: Some("/k".to_owned()), ..Settings::default() };
    convert(&machine.to_string(), &Options::default(), &settings).unwrap()
}

/// Whether a value made a difference, or a diagnostic speaks of its place or of something around it.
fn shows(path: &str, value: &Value) -> Result<bool, String> {
    let mut spec = base(path);
    let parent = path.rsplit_once('.').map(|(parent, _)| parent);
    if let Some(parent) = parent {
        let pointer: String = parent
            .split('.')
            .map(|step| match step.strip_suffix("[]") {
                Some(name) => format!("/{name}/0"),
                None => format!("/{step}"),
            })
            .collect();
        if spec.pointer(&pointer).is_none() {
            set(&mut spec, parent, json!({}));
        }
    }
    let before = run(&spec);
    set(&mut spec, path, value.clone());
    let after = run(&spec);
    let place = format!("spec.{}", path.replace("[]", "[0]"));
    for d in &after.diagnostics {
        if matches!(&*d.code, "kubevirt.unknown" | "kubevirt.ignored") {
            return Err(format!("{path} = {value}: {:?} {}", d.path, d.message));
        }
    }
    let speaks = after.diagnostics.iter().any(|d| {
        let at = d.path.as_deref().unwrap_or_default();
        let around = at != "spec" && (place.starts_with(at) || at.starts_with(&place));
        around && !WRONG.contains(&&*d.code)
    });
    let said = |conversion: &Conversion| {
        let told = conversion.diagnostics.iter().filter(|d| !WRONG.contains(&&*d.code));
        told.map(|d| (d.path.clone(), d.message.clone())).collect::<Vec<_>>()
    };
    Ok(speaks || before.xml != after.xml || said(&before) != said(&after))
}

#[test]
fn every_field_of_the_schema_shows() {
    if std::env::var_os("BLESS").is_some() {
        bless();
    }
    let fields = fs::read_to_string(support::here("tests/fields.txt")).unwrap();
    let mut silent = Vec::new();
    let mut tried = 0;
    for line in fields.lines() {
        let (path, kind) = line.split_once(' ').unwrap();
        let shown = values(path, kind).iter().map(|value| shows(path, value)).collect::<Result<Vec<_>, _>>();
        match shown {
            Ok(shown) if shown.contains(&true) => {}
            // An empty object says nothing; its fields are tried on their own.
            Ok(_) if fields.contains(&format!("\n{path}.")) => {}
            Ok(_) => silent.push(format!("{path} passes in silence")),
            Err(unknown) => silent.push(unknown),
        }
        tried += 1;
    }
    println!("{tried} fields tried");
    assert!(silent.is_empty(), "{} of {tried}:\n{}", silent.len(), silent.join("\n"));
    assert!(tried > 300, "only {tried}");
}

#[test]
fn odd_names_are_reported_wherever_they_stand() {
    let fields = fs::read_to_string(support::here("tests/fields.txt")).unwrap();
    let mut silent = Vec::new();
    let mut tried = 0;
    for line in fields.lines().filter(|line| line.ends_with(" object")) {
        let (path, _) = line.split_once(' ').unwrap();
        let mut spec = base(&format!("{path}."));
        set(&mut spec, &format!("{path}.zzOdd"), json!(1));
        let conversion = run(&spec);
        let place = format!("spec.{}.zzOdd", path.replace("[]", "[0]"));
        // A diagnostic for the whole of something around it speaks for it as well.
        let seen = conversion.diagnostics.iter().any(|d| {
            let at = d.path.as_deref().unwrap_or_default();
            at == place || (at != "spec" && !at.is_empty() && place.starts_with(at))
        });
        if !seen {
            silent.push(place);
        }
        tried += 1;
    }
    assert!(silent.is_empty(), "{silent:#?}");
    assert!(tried > 100, "only {tried}");
}
