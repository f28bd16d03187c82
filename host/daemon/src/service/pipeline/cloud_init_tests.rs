use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use witvirt_core::domain::{Converter, DOMAIN_XML, MACHINE_JSON};
use witvirt_core::hook::DomainHook;
use witvirt_core::{ErrorKind, PluginError};

use super::super::convert;
use super::super::tests::{Fakes, fake};
use super::*;

fn files() -> Vec<DataFile> {
    vec![
        DataFile::text("meta-data", r#"{"instance-id":"i","local-hostname":"h"}"#),
        DataFile::text("user-data", "#cloud-config\n"),
        DataFile::text("other", "stays"),
    ]
}

#[test]
fn files_become_data_and_data_files() {
    let layout = &LAYOUTS[0];
    let mut files = files();
    let sent = read(layout, &files, "vm", "disk seed").unwrap();
    assert!(sent.counts());
    assert_eq!((sent.data_source.as_str(), sent.volume_name.as_str()), ("noCloud", "seed"));
    assert_eq!(sent.no_cloud_meta_data.as_ref().unwrap()["instance-id"], "i");
    let mut edited = sent.clone();
    edited.user_data.push_str("hostname: b\n");
    edited.network_data = "version: 2\n".to_owned();
    edited.no_cloud_meta_data.as_mut().unwrap().insert("local-hostname".to_owned(), "b".into());
    write(layout, &mut files, &sent, &edited);
    let found = |path: &str| {
        let file = files.iter().find(|file| file.path == path).unwrap();
        String::from_utf8(file.content().unwrap()).unwrap()
    };
    assert_eq!(found("user-data"), "#cloud-config\nhostname: b\n");
    assert_eq!(found("network-config"), "version: 2\n");
    assert_eq!(found("meta-data"), r#"{"instance-id":"i","local-hostname":"b"}"#);
    assert_eq!(found("other"), "stays");
    assert_eq!(files.len(), 4);
}

#[test]
fn metadata_that_is_no_json_stays_as_it_is() {
    let layout = &LAYOUTS[0];
    let mut files =
        vec![DataFile::text("meta-data", "instance-id: yaml\n"), DataFile::text("user-data", "a")];
    let sent = read(layout, &files, "vm", "disk seed").unwrap();
    assert_eq!(sent.no_cloud_meta_data.as_ref().unwrap()["instance-id"], "vm");
    let edited = CloudInitData { user_data: "b".to_owned(), ..sent.clone() };
    write(layout, &mut files, &sent, &edited);
    assert_eq!(files[0], DataFile::text("meta-data", "instance-id: yaml\n"));
    assert_eq!(files[1], DataFile::text("user-data", "b"));
}

#[test]
fn a_config_drive_has_its_own_names() {
    let layout = &LAYOUTS[1];
    let files = vec![
        DataFile::text("openstack/latest/meta_data.json", r#"{"uuid":"u"}"#),
        DataFile::text("openstack/latest/user_data", "x"),
    ];
    let sent = read(layout, &files, "vm", "disk c").unwrap();
    assert!(sent.counts() && sent.no_cloud_meta_data.is_none());
    assert_eq!(sent.config_drive_meta_data.unwrap()["uuid"], "u");
}

#[test]
fn bytes_are_not_for_hooks() {
    let files = vec![DataFile::bytes("user-data", b"\x1f\x8b\xff")];
    assert_eq!(read(&LAYOUTS[0], &files, "vm", "disk seed"), None);
}

/// A sidecar that writes into user data, and does what the domain's text asks for.
struct Sidecar;

impl DomainHook for Sidecar {
    fn name(&self) -> &str {
        "/run/hooks/x.sock"
    }

    fn define_domain(&self, xml: &str, _: &Value, _: Duration) -> Result<String, PluginError> {
        Ok(xml.to_owned())
    }

    fn cloud_init(&self, data: &Value, vmi: &Value, timeout: Duration) -> Result<Value, PluginError> {
        let mut data = data.clone();
        let user = data["UserData"].as_str().unwrap_or_default();
        if user.contains("refuse") {
            let message = "it will not".to_owned();
            let (plugin, version) = (self.name().to_owned(), "v1alpha2".to_owned());
            return Err(PluginError {
                plugin,
                version,
                kind: ErrorKind::Other,
                message,
                context: Vec::new(),
            });
        }
        let size = if user.contains("much") { 2 << 20 } else { 1 };
        data["UserData"] = format!("{user}{} {}{}", vmi["kind"], timeout.as_secs(), "x".repeat(size)).into();
        Ok(data)
    }
}

struct WithSidecar(Fakes);

impl Converters for WithSidecar {
    fn converter(&self, name: &Name) -> Option<Arc<dyn Converter>> {
        self.0.converter(name)
    }

    fn hook(&self, _: &Path) -> Option<Arc<dyn DomainHook>> {
        Some(Arc::new(Sidecar))
    }
}

/// A pipeline with the sidecar, over a converter whose machine has what the document says as user data.
fn converted(user_data: &str) -> Conversion {
    let fakes = Fakes(vec![fake("libvirt", &[(DOMAIN_XML, MACHINE_JSON)], |asked| {
        let files = serde_json::json!([{ "path": "user-data", "text": asked.input.body }]);
        let source = serde_json::json!({ "data": { "label": "CIDATA", "files": files } });
        let disks = serde_json::json!([{ "name": "seed", "source": source }]);
        let machine = serde_json::json!({ "name": "m", "memory": 67_108_864, "disks": disks });
        Ok((machine.to_string(), Vec::new()))
    })]);
    let mut socket = Step::plugin(Name::new("unused").unwrap());
    socket.action = Action::Socket("/run/hooks/x.sock".into());
    socket.timeout = Some(Duration::from_secs(7));
    let pipeline = Pipeline {
        name: Name::new("p").unwrap(),
        source: DOMAIN_XML.to_owned(),
        target: MACHINE_JSON.to_owned(),
        steps: vec![socket, Step::plugin(Name::new("libvirt").unwrap())],
        automatic: true,
    };
    let resource = Some(serde_json::json!({ "kind": "VirtualMachineInstance" }));
    let request = ConvertRequest {
        media_type: DOMAIN_XML.to_owned(),
        body: user_data.to_owned(),
        context: Some(Context { resource, ..Context::default() }),
        ..ConvertRequest::default()
    };
    convert(&[pipeline], &WithSidecar(fakes), &request).unwrap()
}

#[test]
fn a_sidecar_edits_the_seed_of_the_machine() {
    let conversion = converted("#cloud-config\n");
    assert_eq!(conversion.problems, Vec::<String>::new());
    let machine = conversion.machine.unwrap();
    let Some(DiskSource::Data { files, .. }) = &machine.disks[0].source else { panic!("{machine:?}") };
    let content = String::from_utf8(files[0].content().unwrap()).unwrap();
    assert_eq!(content, "#cloud-config\n\"VirtualMachineInstance\" 7x");
    let codes: Vec<&str> = conversion.diagnostics.iter().map(|one| one.code.as_str()).collect();
    assert_eq!(codes, ["pipeline.cloud-init.edited"]);
}

#[test]
fn what_a_sidecar_makes_of_a_seed_is_judged() {
    let refused = converted("refuse");
    assert!(refused.problems[0].contains("it will not"), "{:?}", refused.problems);
    let large = converted("much");
    assert!(large.problems.iter().any(|problem| problem.contains("together")), "{:?}", large.problems);
}
