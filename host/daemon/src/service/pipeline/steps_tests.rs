//! Conditions, order, timeouts, failures and contexts, as a config says them, with converters that are native code.

use std::path::Path;
use std::time::Duration;

use witvirt_core::PluginError;
use witvirt_core::domain::{DOMAIN_XML, Diagnostic, Severity};

use super::tests::{Fakes, fake};
use super::*;
use crate::config::Config;

const SOURCE: &str = "text/x";

fn error(message: &str) -> Diagnostic {
    let (code, message) = ("x.y".to_owned(), message.to_owned());
    Diagnostic { severity: Severity::Error, code, message, path: None, line: None }
}

/// Appends its letter; and what it was told.
fn fakes() -> Fakes {
    let xml = [(DOMAIN_XML, DOMAIN_XML)];
    Fakes(vec![
        fake("source", &[(SOURCE, DOMAIN_XML), (SOURCE, CONTEXT_JSON), (SOURCE, MACHINES_JSON)], |asked| {
            let body = match (asked.target, asked.input.body.as_str()) {
                (CONTEXT_JSON, "liar") => r#"{"name": "m", "colour": 1}"#.to_owned(),
                (CONTEXT_JSON, "large") => format!(r#"{{"labels": {{"a": "{}"}}}}"#, "x".repeat(2 << 20)),
                (CONTEXT_JSON, order) => format!(
                    r#"{{"name": "m", "labels": {{"app": "web"}}, "annotations": {{"order": "{order}"}}, "os": "linux",
                        "resource": {{"kind": "VirtualMachineInstance"}}}}"#
                ),
                (MACHINES_JSON, "two") => {
                    r#"{"machines": [{"name": "a", "namespace": "n"}, {"name": "b"}]}"#.to_owned()
                }
                (MACHINES_JSON, "same") => {
                    r#"{"machines": [{"name": "a", "namespace": "n"}, {"name": "a"}]}"#.to_owned()
                }
                (MACHINES_JSON, "rude") => r#"{"machines": [{"name": "a/b"}]}"#.to_owned(),
                (MACHINES_JSON, _) => r#"{"machines": [{"name": "m"}]}"#.to_owned(),
                (_, "two" | "same" | "rude") => match asked.options["select"].as_str() {
                    Some(name) => format!("<domain {name}/>"),
                    None => return Err("which one?".to_owned()),
                },
                _ => "<domain/>".to_owned(),
            };
            Ok((body, Vec::new()))
        }),
        fake("a", &xml, |asked| Ok((asked.input.body.clone() + "a", Vec::new()))),
        fake("b", &xml, |asked| Ok((asked.input.body.clone() + "b", Vec::new()))),
        fake("told", &xml, |asked| Ok((asked.options.to_string(), Vec::new()))),
        fake("patient", &xml, |asked| Ok((format!("{:?}", asked.timeout), Vec::new()))),
        fake("breaker", &xml, |_| Err("no".to_owned())),
        fake("refuser", &xml, |_| Ok(("<refused/>".to_owned(), vec![error("cannot be")]))),
        fake("huge", &xml, |_| Ok(("x".repeat(LARGEST_DOCUMENT + 1), Vec::new()))),
        fake("large", &xml, |_| Ok(("x".repeat(LARGEST_DOCUMENT), Vec::new()))),
        fake("libvirt", &[(DOMAIN_XML, MACHINE_JSON)], |_| {
            Ok((r#"{"name":"m","memory":67108864}"#.to_owned(), Vec::new()))
        }),
    ])
}

/// The pipeline "p" of a config with these converters.
fn configured(converters: &str) -> Vec<Pipeline> {
    let names = fakes().0.iter().map(|fake| fake.plugin().to_owned()).collect::<Vec<_>>();
    let plugins: String = names
        .iter()
        .map(|name| format!("[[plugin]]\nname = \"{name}\"\nkind = \"domain-converter\"\nfile = \"x\"\n"))
        .collect();
    let text = format!(
        "trust.mode = \"permit\"\nhooks = {{ sockets = true }}\n[pipeline.p]\nsource = \"{SOURCE}\"\nconverters = [{converters}]\n{plugins}"
    );
    Config::parse(Path::new("/etc/witvirt.toml"), &text).unwrap().pipelines
}

fn run(converters: &str, body: &str) -> Conversion {
    let request =
        ConvertRequest { media_type: SOURCE.to_owned(), body: body.to_owned(), ..Default::default() };
    convert(&configured(converters), &fakes(), &request).unwrap()
}

/// The document that reaches the last converter, without problems.
fn xml(converters: &str, body: &str) -> String {
    let conversion = run(&format!("\"source\", {converters}, \"libvirt\""), body);
    assert_eq!(conversion.problems, Vec::<String>::new(), "{converters}");
    let last = conversion
        .stages
        .iter()
        .rev()
        .find(|stage| stage.media_type == DOMAIN_XML && stage.skipped.is_none());
    last.unwrap().body.clone()
}

#[test]
fn an_annotation_names_hooks_and_their_order() {
    let ordered =
        r#"{ order-from = "order", plugins = { first = "a", second = "b" }, otherwise = ["second"] }"#;
    for (annotation, expected) in [
        ("first", "<domain/>a"),
        ("second, first", "<domain/>ba"),
        ("first,second,first,,", "<domain/>ab"),
        ("", "<domain/>"),
        ("third,first", "<domain/>a"),
    ] {
        assert_eq!(xml(ordered, annotation), expected, "{annotation}");
    }
    let absent = ordered.replace("\"order\"", "\"another\"");
    assert_eq!(xml(&absent, "first"), "<domain/>b");
    let unknown = run(&format!("\"source\", {ordered}, \"libvirt\""), "third,first,fo\u{202e}urth,third");
    let messages: Vec<&str> = unknown.diagnostics.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(messages.len(), 2);
    assert_eq!(
        messages[0],
        "the annotation order names \"third\", and no hook is called that here; there are: first, second"
    );
    assert!(messages[1].contains("fo\\u{202e}urth"), "{messages:?}");
    assert!(unknown.machine.is_some());
}

#[test]
fn a_condition_decides_whether_a_hook_runs() {
    let when = |when: &str| xml(&format!("{{ plugin = \"a\", when = {{ {when} }} }}"), "x");
    assert_eq!(when("os = [\"linux\"], labels = { app = \"w*\" }"), "<domain/>a");
    assert_eq!(when("os = [\"linux\"], labels = { app = false }"), "<domain/>");
    let conversion = run("\"source\", { plugin = \"a\", when = { os = [\"macos\"] } }, \"libvirt\"", "x");
    let passed = conversion.stages.iter().find(|stage| stage.plugin.as_deref() == Some("a")).unwrap();
    assert_eq!(passed.skipped.as_deref(), Some("the guest is \"linux\", not macos"));
    assert!(passed.diagnostics.is_empty() && passed.body.is_empty());
    let ordered = r#"{ order-from = "order", plugins = { x = "a" }, when = { os = ["macos"] } }"#;
    let conversion = run(&format!("\"source\", {ordered}, \"libvirt\""), "x");
    assert!(conversion.diagnostics[0].message.contains("passed over: the guest is"), "{conversion:?}");
}

#[test]
fn a_hook_that_may_be_skipped_leaves_the_document_as_it_was() {
    for (hook, reason) in [
        ("breaker", "plugin breaker 1.2.3: invalid input: no"),
        ("refuser", "plugin refuser 1.2.3: cannot be (x.y)"),
        ("huge", "plugin huge 1.2.3 made 4194305 bytes, more than 4194304"),
    ] {
        let chain = format!("{{ plugin = \"{hook}\", on-failure = \"skip\" }}, \"a\"");
        assert_eq!(xml(&chain, "x"), "<domain/>a");
        let conversion = run(&format!("\"source\", {chain}, \"libvirt\""), "x");
        let skipped = &conversion.stages[2];
        assert_eq!(skipped.skipped.as_deref(), Some(reason));
        assert_eq!(skipped.diagnostics[0].severity, Severity::Warning);
        assert!(skipped.diagnostics[0].message.ends_with(&format!("is not done: {reason}")), "{skipped:?}");
        let refused = run(&format!("\"source\", \"{hook}\", \"libvirt\""), "x");
        assert_eq!(refused.problems, [reason]);
        assert!(refused.machine.is_none());
    }
}

#[test]
fn the_stages_of_a_conversion_have_a_bound() {
    let chain = format!("\"source\", {} \"libvirt\"", "\"large\", ".repeat(20));
    let conversion = run(&chain, "x");
    assert!(conversion.problems[0].contains("take more than 67108864 bytes"), "{:?}", conversion.problems);
}

#[test]
fn hooks_are_told_of_the_machine_but_not_the_resource() {
    let told: Value = serde_json::from_str(&xml("\"told\"", "x")).unwrap();
    let expected = serde_json::json!({
        "context": { "name": "m", "labels": { "app": "web" }, "annotations": { "order": "x" }, "os": "linux" }
    });
    assert_eq!(told, expected);
    let request = ConvertRequest {
        media_type: SOURCE.to_owned(),
        body: "x".to_owned(),
        name: Some("n".to_owned()),
        directory: Some("/srv".to_owned()),
        to: Some(DOMAIN_XML.to_owned()),
        context: Some(serde_json::from_value(serde_json::json!({ "annotations": { "b": "c" } })).unwrap()),
        ..Default::default()
    };
    let conversion = convert(&configured("\"source\", \"told\", \"libvirt\""), &fakes(), &request).unwrap();
    let told: Value = serde_json::from_str(&conversion.stages[2].body).unwrap();
    let expected = serde_json::json!({
        "name": "n", "directory": "/srv", "context": { "name": "", "labels": {}, "annotations": { "b": "c" } }
    });
    assert_eq!(told, expected);
    for directory in ["srv", "/a\nb"] {
        let request = ConvertRequest { directory: Some(directory.to_owned()), ..request.clone() };
        assert_eq!(
            convert(&configured("\"source\", \"libvirt\""), &fakes(), &request).unwrap_err().kind,
            ErrorKind::Invalid
        );
    }
}

#[test]
fn what_a_plugin_says_of_a_document_is_not_believed() {
    for (body, expected) in [
        ("liar", "unknown field `colour`"),
        ("large", "its labels take 2097153 bytes"),
        ("rude", "which one?"),
    ] {
        let problems = run("\"source\", \"a\", \"libvirt\"", body).problems;
        assert!(problems[0].contains(expected), "{problems:?}");
    }
    assert!(run("\"source\", \"libvirt\"", "liar").machine.is_some(), "nobody asked for the context");
}

#[test]
fn one_of_several_machines_has_to_be_selected() {
    let conversion = run("\"source\", \"libvirt\"", "two");
    assert_eq!(conversion.machines, ["a", "b"]);
    assert_eq!(conversion.problems, ["the document holds 2 machines: a, b; one of them has to be selected"]);
    assert_eq!(run("\"source\", \"libvirt\"", "same").machines, ["n/a", "a"]);
    let request = ConvertRequest {
        media_type: SOURCE.to_owned(),
        body: "two".to_owned(),
        select: Some("b".to_owned()),
        ..Default::default()
    };
    let conversion = convert(&configured("\"source\", \"libvirt\""), &fakes(), &request).unwrap();
    assert_eq!(conversion.stages[1].body, "<domain b/>");
    let listed = ConvertRequest { select: None, to: Some(MACHINES_JSON.to_owned()), ..request };
    let conversion = convert(&configured("\"source\", \"libvirt\""), &fakes(), &listed).unwrap();
    assert_eq!(conversion.problems, Vec::<String>::new());
    assert!(conversion.stages[1].body.starts_with("{\"machines\""));
}

#[test]
fn a_step_has_the_time_that_the_config_gives_it() {
    assert_eq!(xml("{ plugin = \"patient\", timeout = \"250ms\" }", "x"), "Some(250ms)");
    assert_eq!(xml("\"patient\"", "x"), "None");
}

#[test]
fn what_may_be_passed_over_has_to_leave_the_type() {
    for (converters, expected) in [
        ("{ plugin = \"source\", on-failure = \"skip\" }, \"libvirt\"", "source (text/x -> "),
        ("\"source\", { plugin = \"libvirt\", when = { os = [\"linux\"] } }", "which may be passed over"),
        (
            "\"source\", { order-from = \"x\", plugins = { a = \"a\", l = \"libvirt\" } }, \"libvirt\"",
            "a (application",
        ),
    ] {
        let error = check(&configured(converters)[0], &fakes()).unwrap_err();
        assert!(error.message.contains(expected), "{converters}: {error}");
        assert!(error.hints[1].contains("cannot be passed over"), "{error:?}");
    }
    let optional = "\"source\", { plugin = \"a\", on-failure = \"skip\" }, \"libvirt\"";
    assert!(check(&configured(optional)[0], &fakes()).is_ok());
}

/// A sidecar that says which resource it saw.
struct Sidecar(String);

impl DomainHook for Sidecar {
    fn name(&self) -> &str {
        &self.0
    }

    fn define_domain(&self, xml: &str, vmi: &Value, timeout: Duration) -> Result<String, PluginError> {
        Ok(format!("{xml}{}{}", vmi["kind"].as_str().unwrap_or("nothing"), timeout.as_secs()))
    }

    fn cloud_init(&self, data: &Value, _: &Value, _: Duration) -> Result<Value, PluginError> {
        Ok(data.clone())
    }
}

struct WithSidecar(Fakes);

impl Converters for WithSidecar {
    fn converter(&self, name: &Name) -> Option<Arc<dyn Converter>> {
        self.0.converter(name)
    }

    fn hook(&self, socket: &Path) -> Option<Arc<dyn DomainHook>> {
        Some(Arc::new(Sidecar(socket.display().to_string())))
    }
}

#[test]
fn a_sidecar_gets_the_resource() {
    let request =
        ConvertRequest { media_type: SOURCE.to_owned(), body: "x".to_owned(), ..Default::default() };
    let pipelines = configured("\"source\", { socket = \"x.sock\", timeout = \"7s\" }, \"libvirt\"");
    let conversion = convert(&pipelines, &WithSidecar(fakes()), &request).unwrap();
    assert_eq!(conversion.stages[2].body, "<domain/>VirtualMachineInstance7");
    assert_eq!(conversion.stages[2].plugin.as_deref(), Some("/run/kubevirt-hooks/x.sock"));
    let error = convert(&pipelines, &fakes(), &request).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}
