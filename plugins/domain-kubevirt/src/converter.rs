//! The plugin: which documents it converts, and into what.

use serde_json::{Map, Value, json};
use witvirt_sdk::core::domain::{
    CONTEXT_JSON, DOMAIN_XML, Diagnostic, Document, KUBEVIRT, MACHINES_JSON, Outcome,
};
use witvirt_sdk::domain::{Converter, Options};
use witvirt_sdk::{Error, ErrorKind};

use crate::draft::Draft;
use crate::expand::{Machine, expand};
use crate::manifest::{Manifest, ReadError};
use crate::{Settings, domain, metadata, volumes};

/// KubeVirt manifests to libvirt domain XML.
pub struct KubeVirt;

impl Converter for KubeVirt {
    const NAME: &str = env!("CARGO_PKG_NAME");
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &str = "KubeVirt manifests to libvirt domain XML";
    const SETTINGS_SCHEMA: Option<&str> = Some(Settings::SCHEMA);
    type Settings = Settings;

    fn check(settings: &Settings) -> Result<(), Error> {
        let bad = settings.kernel_directory.as_deref().filter(|path| !path.starts_with('/'));
        let Some(path) = bad else { return Ok(()) };
        let message =
            format!("setting kernel-directory: \"{}\" is not an absolute path", path.escape_debug());
        Err(Error::new(ErrorKind::InvalidInput, message))
    }

    fn conversions() -> Vec<(&'static str, &'static str)> {
        vec![(KUBEVIRT, DOMAIN_XML), (KUBEVIRT, CONTEXT_JSON), (KUBEVIRT, MACHINES_JSON)]
    }

    fn convert(
        settings: &Settings,
        input: &Document,
        target: &str,
        options: &Options,
    ) -> Result<Outcome, Error> {
        let (body, diagnostics) = match target {
            MACHINES_JSON => (machines(&input.body).map_err(refusal)?, Vec::new()),
            CONTEXT_JSON => (context(&input.body, options).map_err(refusal)?, Vec::new()),
            _ => {
                let conversion = convert(&input.body, options, settings).map_err(refusal)?;
                (conversion.xml, conversion.diagnostics)
            }
        };
        let document = Document { media_type: target.to_owned(), body };
        Ok(Outcome { document, diagnostics })
    }
}

fn refusal(error: ReadError) -> Error {
    let kind = match &error {
        ReadError::Parse(crate::ParseError::TooLarge { .. }) => ErrorKind::Limit,
        _ => ErrorKind::InvalidInput,
    };
    Error::new(kind, error.to_string())
}

/// Result of a conversion.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversion {
    /// libvirt domain XML: to be used unless a diagnostic is an error, a best guess for reading otherwise.
    pub xml: String,
    /// What the user should know, in the order of lines.
    pub diagnostics: Vec<Diagnostic>,
}

/// Converts one machine of a manifest to domain XML.
///
/// # Errors
/// [`ReadError`] where there is no machine to speak of; everything else becomes a diagnostic.
pub fn convert(text: &str, options: &Options, settings: &Settings) -> Result<Conversion, ReadError> {
    let (manifest, machine) = expanded(text, options)?;
    let mut used = Vec::new();
    let mut xml = String::new();
    if let Some(machine) = &machine {
        if let Some(mut draft) = Draft::new(settings, &manifest, machine) {
            xml = domain::convert(&mut draft).to_document(2);
            volumes::finish(&draft);
            used = draft.used;
        }
        used.extend(&machine.used);
        manifest.tree.report_unread(machine.object.id);
        manifest.report_others(&machine.object, &used);
    }
    if xml.is_empty() {
        xml = "<domain/>\n".to_owned();
    }
    Ok(Conversion { xml, diagnostics: manifest.tree.diagnostics() })
}

fn expanded(text: &str, options: &Options) -> Result<(Manifest, Option<Machine>), ReadError> {
    let mut manifest = Manifest::parse(text)?;
    let object = manifest.select(options.select.as_deref())?;
    let name = options.name.as_ref().map(|name| name.as_str());
    let machine = expand(&mut manifest, object, name);
    Ok((manifest, machine))
}

/// What hooks and conditions know of a machine, as JSON: `name`, `namespace`, `labels`, `annotations`, `os`, and as `resource`
/// the VirtualMachineInstance as KubeVirt would hand it to a hook.
///
/// # Errors
/// [`ReadError`] where there is no machine to speak of.
pub fn context(text: &str, options: &Options) -> Result<String, ReadError> {
    let (manifest, machine) = expanded(text, options)?;
    let Some(machine) = machine else {
        return Ok(json!({"name": "", "labels": {}, "annotations": {}}).to_string());
    };
    let metadata = manifest.tree.field(machine.metadata);
    let map = |name| -> Map<String, Value> {
        metadata::tags(metadata, name)
            .into_iter()
            .map(|(key, value)| (key.to_owned(), json!(value)))
            .collect()
    };
    let (labels, annotations) = (map("labels"), map("annotations"));
    let mut instance = Map::new();
    instance.insert("name".to_owned(), json!(machine.name));
    if let Some(namespace) = &machine.object.namespace {
        instance.insert("namespace".to_owned(), json!(namespace));
    }
    instance.insert("labels".to_owned(), json!(labels));
    instance.insert("annotations".to_owned(), json!(annotations));
    let mut context = instance.clone();
    if let Some(os) = metadata::os(metadata) {
        context.insert("os".to_owned(), json!(os));
    }
    let resource = json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": instance,
        "spec": manifest.tree.to_json(machine.spec),
    });
    context.insert("resource".to_owned(), resource);
    Ok(Value::Object(context).to_string())
}

/// Which machines a text holds, as JSON.
///
/// # Errors
/// [`ReadError`] where it cannot be read, or holds none.
pub fn machines(text: &str) -> Result<String, ReadError> {
    let manifest = Manifest::parse(text)?;
    let machines: Vec<Value> = manifest
        .machines()
        .map(|machine| match &machine.namespace {
            Some(namespace) => json!({"name": machine.name, "namespace": namespace}),
            None => json!({"name": machine.name}),
        })
        .collect();
    if machines.is_empty() {
        return Err(manifest
            .select(None)
            .err()
            .unwrap_or_else(|| unreachable!("there is no machine to select")));
    }
    Ok(json!({"machines": machines}).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use witvirt_sdk::core::domain::{CONTEXT_JSON, DOMAIN_XML, Document, KUBEVIRT, MACHINES_JSON};
    use witvirt_sdk::domain::{configure, convert};
    use witvirt_sdk::{Error, ErrorKind};

    use super::KubeVirt;
    use crate::{HostPorts, OtherNetworks, Settings};

    const TWO: &str = "
{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: a, namespace: n}, spec: {domain: {memory: {guest: 1Gi}, devices: {}}}}
---
{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: b}, spec: {domain: {memory: {guest: 1Gi}, devices: {}}}}
";

    fn run(text: &str, target: &str, options: &str) -> Result<String, Error> {
        let input = Document { media_type: KUBEVIRT.to_owned(), body: text.to_owned() };
        convert::<KubeVirt>(&Settings::default(), &input, target, options)
            .map(|outcome| outcome.document.body)
    }

    #[test]
    fn offers_three_documents() {
        let machines: Value = serde_json::from_str(&run(TWO, MACHINES_JSON, "{}").unwrap()).unwrap();
        assert_eq!(machines, json!({"machines": [{"name": "a", "namespace": "n"}, {"name": "b"}]}));
        let context: Value =
            serde_json::from_str(&run(TWO, CONTEXT_JSON, r#"{"select": "a"}"#).unwrap()).unwrap();
        assert_eq!((&context["name"], &context["namespace"]), (&json!("a"), &json!("n")));
        assert!(run(TWO, DOMAIN_XML, r#"{"select": "b", "name": "c"}"#).unwrap().contains("<name>c</name>"));
    }

    #[test]
    fn refuses_with_the_kind_of_error() {
        for (text, options, kind, part) in [
            (TWO, "{}", ErrorKind::InvalidInput, "the text holds 2 machines: choose one of n/a, b"),
            (TWO, r#"{"select": "z"}"#, ErrorKind::InvalidInput, "0 machines that are called \"z\""),
            ("a: [", "{}", ErrorKind::InvalidInput, "not YAML: "),
            (&*"- ".repeat(100), "{}", ErrorKind::Limit, "more than 64 levels, at line 1"),
        ] {
            let error = run(text, DOMAIN_XML, options).unwrap_err();
            assert_eq!(error.kind, kind, "{text}");
            assert!(error.message.contains(part), "{}", error.message);
        }
    }

    #[test]
    fn settings_and_their_schema_agree() {
        let json = r#"{"kernel-directory": "/k", "host-ports": "same", "other-networks": "unplugged"}"#;
        let settings = configure::<KubeVirt>(json).unwrap();
        assert_eq!(settings.kernel_directory.as_deref(), Some("/k"));
        assert_eq!(
            (settings.host_ports, settings.other_networks),
            (HostPorts::Same, OtherNetworks::Unplugged)
        );
        let schema: Value = serde_json::from_str(Settings::SCHEMA).unwrap();
        let given: Value = serde_json::from_str(json).unwrap();
        for (key, property) in schema["properties"].as_object().unwrap() {
            assert!(given.get(key).is_some(), "{key}");
            for value in property["enum"].as_array().into_iter().flatten() {
                configure::<KubeVirt>(&json!({key: value}).to_string()).unwrap();
            }
        }
        assert_eq!(schema["properties"].as_object().unwrap().len(), given.as_object().unwrap().len());
        for (json, part) in [
            (r#"{"kernel-directory": "k"}"#, "setting kernel-directory: \"k\" is not an absolute path"),
            (r#"{"host-ports": "any"}"#, "host-ports"),
            (r#"{"hostports": "free"}"#, "hostports"),
        ] {
            let error = configure::<KubeVirt>(json).unwrap_err();
            assert!(error.message.contains(part), "{}", error.message);
        }
    }
}
