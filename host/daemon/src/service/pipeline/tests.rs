//! Chains of converters that are native code.

use std::time::Duration;

use witvirt_core::PluginError;
use witvirt_core::domain::{DOMAIN_XML, Diagnostic, Outcome, Severity};

use super::*;
use crate::config::Step;

/// What a converter is asked.
pub(super) struct Asked<'a> {
    pub(super) input: &'a Document,
    pub(super) target: &'a str,
    pub(super) options: &'a Value,
    pub(super) timeout: Option<Duration>,
}

/// What a converter makes of a document: the next one with remarks, or an error.
pub(super) type Answer = fn(&Asked<'_>) -> Result<(String, Vec<Diagnostic>), String>;

/// A converter that replaces one text by another, or makes a machine.
pub(super) struct Fake {
    name: &'static str,
    conversions: Vec<(String, String)>,
    answer: Answer,
}

impl Converter for Fake {
    fn plugin(&self) -> &str {
        self.name
    }

    fn version(&self) -> &str {
        "1.2.3"
    }

    fn conversions(&self) -> &[(String, String)] {
        &self.conversions
    }

    fn convert_within(
        &self,
        input: &Document,
        target: &str,
        options: &Value,
        timeout: Option<Duration>,
    ) -> Result<Outcome, PluginError> {
        let (body, diagnostics) =
            (self.answer)(&Asked { input, target, options, timeout }).map_err(|message| PluginError {
                plugin: self.name.to_owned(),
                version: "1.2.3".to_owned(),
                kind: witvirt_core::ErrorKind::InvalidInput,
                message,
                context: Vec::new(),
            })?;
        Ok(Outcome { document: Document { media_type: target.to_owned(), body }, diagnostics })
    }
}

pub(super) struct Fakes(pub(super) Vec<Arc<Fake>>);

impl Converters for Fakes {
    fn converter(&self, name: &Name) -> Option<Arc<dyn Converter>> {
        let found = self.0.iter().find(|fake| fake.name == name.as_str())?;
        Some(Arc::clone(found) as Arc<dyn Converter>)
    }
}

pub(super) fn fake(name: &'static str, conversions: &[(&str, &str)], answer: Answer) -> Arc<Fake> {
    let conversions = conversions.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
    Arc::new(Fake { name, conversions, answer })
}

pub(super) fn fakes() -> Fakes {
    Fakes(vec![
        fake("source", &[("text/x", "text/y"), ("text/x", DOMAIN_XML)], |_| {
            Ok(("<domain/>".to_owned(), Vec::new()))
        }),
        fake("hook", &[(DOMAIN_XML, DOMAIN_XML)], |asked| {
            Ok((asked.input.body.replace("/>", " hooked=\"1\"/>"), Vec::new()))
        }),
        fake("libvirt", &[(DOMAIN_XML, MACHINE_JSON)], |_| {
            Ok((r#"{"name":"m","memory":67108864}"#.to_owned(), Vec::new()))
        }),
        fake("tiny", &[(DOMAIN_XML, MACHINE_JSON)], |_| {
            Ok((r#"{"name":"m","memory":1}"#.to_owned(), Vec::new()))
        }),
        fake("liar", &[(DOMAIN_XML, MACHINE_JSON)], |_| {
            Ok((r#"{"name":"m","colour":1}"#.to_owned(), Vec::new()))
        }),
        fake("refuser", &[(DOMAIN_XML, MACHINE_JSON)], |_| {
            let diagnostic = Diagnostic {
                severity: Severity::Error,
                code: "x.y".to_owned(),
                message: "cannot be".to_owned(),
                path: Some("/domain".to_owned()),
                line: Some(7),
            };
            Ok((r#"{"name":"m","memory":67108864}"#.to_owned(), vec![diagnostic]))
        }),
        fake("breaker", &[(DOMAIN_XML, DOMAIN_XML)], |_| Err("no".to_owned())),
    ])
}

fn pipeline(name: &str, source: &str, converters: &[&str]) -> Pipeline {
    Pipeline {
        name: Name::new(name).unwrap(),
        source: source.to_owned(),
        target: MACHINE_JSON.to_owned(),
        steps: converters.iter().map(|name| Step::plugin(Name::new(*name).unwrap())).collect(),
        automatic: name == "auto",
    }
}

pub(super) fn request(pipeline: Option<&str>, to: Option<&str>) -> ConvertRequest {
    ConvertRequest {
        media_type: "text/x".to_owned(),
        body: "x".to_owned(),
        pipeline: pipeline.map(str::to_owned),
        to: to.map(str::to_owned),
        ..ConvertRequest::default()
    }
}

#[test]
fn a_chain_finds_its_way_and_keeps_every_stage() {
    let pipelines = [pipeline("auto", "text/x", &["source", "hook", "hook", "libvirt"])];
    let conversion = convert(&pipelines, &fakes(), &request(None, None)).unwrap();
    assert_eq!(conversion.problems, Vec::<String>::new());
    let types: Vec<&str> = conversion.stages.iter().map(|stage| stage.media_type.as_str()).collect();
    assert_eq!(types, ["text/x", DOMAIN_XML, DOMAIN_XML, DOMAIN_XML, MACHINE_JSON]);
    assert_eq!(conversion.stages[3].body, "<domain hooked=\"1\" hooked=\"1\"/>");
    assert_eq!(conversion.stages[2].plugin.as_deref(), Some("hook"));
    assert_eq!(conversion.machine.unwrap().name.as_str(), "m");
}

#[test]
fn a_chain_is_cut_after_the_last_document_that_is_asked_for() {
    let pipelines = [pipeline("auto", "text/x", &["source", "hook", "libvirt"])];
    let conversion = convert(&pipelines, &fakes(), &request(None, Some(DOMAIN_XML))).unwrap();
    assert_eq!(conversion.stages.last().unwrap().body, "<domain hooked=\"1\"/>");
    assert!(conversion.machine.is_none());
    let error = convert(&pipelines, &fakes(), &request(None, Some("text/z"))).unwrap_err();
    assert!(error.message.contains("makes no document of type text/z"), "{error}");
}

#[test]
fn what_refuses_is_a_problem_with_its_plugin_and_place() {
    for (converter, expected) in [
        ("refuser", "plugin refuser 1.2.3: line 7: /domain: cannot be (x.y)"),
        ("liar", "plugin liar 1.2.3 is no machine: unknown field `colour`"),
        ("tiny", "memory: 1 B is outside 1 MiB to 16 TiB"),
    ] {
        let pipelines = [pipeline("auto", "text/x", &["source", converter])];
        let conversion = convert(&pipelines, &fakes(), &request(None, None)).unwrap();
        assert!(conversion.problems[0].starts_with(expected), "{converter}: {:?}", conversion.problems);
        assert_eq!(conversion.stages.len(), 3, "the stage is kept to be looked at");
    }
    let pipelines = [pipeline("auto", "text/x", &["source", "breaker", "libvirt"])];
    let conversion = convert(&pipelines, &fakes(), &request(None, None)).unwrap();
    assert_eq!(conversion.problems, ["plugin breaker 1.2.3: invalid input: no"]);
    assert!(conversion.machine.is_none() && conversion.stages.len() == 2);
}

#[test]
fn chains_that_do_not_fit_are_found_before_they_are_used() {
    for (converters, expected) in [
        (&["source"][..], "do not lead from text/x"),
        (&["libvirt"], "do not lead from text/x"),
        (&["source", "libvirt", "hook"], "do not lead"),
        (&["source", "absent"], "the plugin absent is not loaded"),
    ] {
        let error = check(&pipeline("auto", "text/x", converters), &fakes()).unwrap_err();
        assert!(error.message.contains(expected), "{converters:?}: {error}");
    }
    assert!(check(&pipeline("auto", "text/x", &["source", "libvirt"]), &fakes()).is_ok());
}

#[test]
fn a_pipeline_is_taken_by_name_or_by_media_type() {
    let pipelines = [
        pipeline("other", "text/x", &["source", "refuser"]),
        pipeline("auto", "text/x", &["source", "libvirt"]),
    ];
    assert_eq!(convert(&pipelines, &fakes(), &request(None, None)).unwrap().pipeline, "auto");
    assert_eq!(convert(&pipelines, &fakes(), &request(Some("other"), None)).unwrap().pipeline, "other");
    let error = convert(&pipelines, &fakes(), &request(Some("none"), None)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.hints[0].contains("other, auto"), "{error:?}");
    let mut wrong = request(None, None);
    wrong.media_type = "text/q".to_owned();
    assert_eq!(convert(&pipelines, &fakes(), &wrong).unwrap_err().kind, ErrorKind::Refused);
    wrong.body = "x".repeat(LARGEST_DOCUMENT + 1);
    assert_eq!(convert(&pipelines, &fakes(), &wrong).unwrap_err().kind, ErrorKind::TooLarge);
}

#[test]
fn a_machine_needs_no_converter_and_takes_the_name_that_is_asked_for() {
    let mut request = request(None, None);
    request.media_type = MACHINE_JSON.to_owned();
    request.body = r#"{"name":"a","memory":67108864}"#.to_owned();
    request.name = Some("b".to_owned());
    let conversion = convert(&[], &fakes(), &request).unwrap();
    assert_eq!(conversion.machine.unwrap().name.as_str(), "b");
    request.name = Some("B/".to_owned());
    assert!(!convert(&[], &fakes(), &request).unwrap().problems.is_empty());
}
