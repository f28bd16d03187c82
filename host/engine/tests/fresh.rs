//! Converters and policies: a fresh instance for each call, and answers that are held to the contract.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use support::{Bench, built, entry_of};
use witvirt_core::ErrorKind;
use witvirt_core::domain::{Converter, Document, Severity};
use witvirt_core::plugin::{PluginEntry, PluginKind};
use witvirt_core::policy::{Policy, Review, Verdict};
use witvirt_engine::Plugin;

fn hostile(name: &str, kind: PluginKind, behaviour: &str) -> PluginEntry {
    PluginEntry { settings: json!({ "behaviour": behaviour }), ..entry_of(built(name), kind) }
}

fn converter(bench: &Bench, behaviour: &str) -> Arc<dyn Converter> {
    match bench.load(&hostile("hostile-converter", PluginKind::DomainConverter, behaviour)).unwrap().plugin {
        Plugin::Converter(converter) => converter,
        _ => panic!("no converter"),
    }
}

fn policy(bench: &Bench, behaviour: &str) -> Arc<dyn Policy> {
    match bench.load(&hostile("hostile-policy", PluginKind::DevicePolicy, behaviour)).unwrap().plugin {
        Plugin::Policy(policy) => policy,
        _ => panic!("no policy"),
    }
}

fn text(body: &str) -> Document {
    Document { media_type: "text/plain".to_owned(), body: body.to_owned() }
}

#[test]
fn every_conversion_has_a_fresh_instance() {
    let bench = Bench::new();
    let echo = converter(&bench, "");
    assert_eq!((echo.plugin(), echo.version()), ("hostile-converter", "6.6.6"));
    assert_eq!(echo.conversions(), [("text/plain".to_owned(), "text/plain".to_owned())]);
    for _ in 0..3 {
        let outcome = echo.convert(&text("grün"), "text/plain", &json!({ "name": "x" })).unwrap();
        assert_eq!(outcome.document, text("grün"));
        let diagnostic = &outcome.diagnostics[0];
        assert_eq!(diagnostic.message, "call 0 with {\"name\":\"x\"}\\u{1b}[2J");
        assert_eq!((diagnostic.severity, diagnostic.line), (Severity::Warning, Some(3)));
        assert_eq!(diagnostic.path.as_deref(), Some("/a\\n"));
    }
}

#[test]
fn converters_are_held_to_the_contract() {
    let bench = Bench::new();
    let convert = |behaviour| {
        let error =
            converter(&bench, behaviour).convert(&text("disk"), "text/plain", &json!({})).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Plugin, "{behaviour}");
        bench.assert_healthy();
        error.message
    };
    assert!(convert("panic").ends_with(" no such element: <disk>"));
    assert_eq!(convert("wrong-type"), "was asked for text/plain and answered with text/html\\n");
    assert!(convert("huge-document").contains("4194305 bytes"));
    assert!(convert("many-diagnostics").contains("1001 diagnostics"));
    let large = text(&"x".repeat((4 << 20) + 1));
    let error = converter(&bench, "").convert(&large, "text/plain", &json!({})).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit);
    let none = hostile("hostile-converter", PluginKind::DomainConverter, "no-conversions");
    assert!(bench.load(&none).err().unwrap().to_string().contains("names 0 conversions"));
}

#[test]
fn a_conversion_ends_with_its_time() {
    let bench = Bench::new();
    let looping = converter(&bench, "loop");
    let within =
        |time| looping.convert_within(&text("x"), "text/plain", &json!({}), time).unwrap_err().message;
    let short = within(Some(Duration::from_millis(50)));
    assert_eq!(short, "did not answer within 50 ms; a higher timeout in its pipeline gives it more time");
    let none = within(Some(Duration::ZERO));
    assert!(none.contains("did not answer within 0 ms"), "{none}");
    let own = "limits.deadline gives it more time";
    assert!(within(Some(Duration::from_secs(3600))).ends_with(own), "a timeout lengthens nothing");
    assert!(within(None).ends_with(own));
    let outcome = converter(&bench, "").convert_within(
        &text("x"),
        "text/plain",
        &json!({}),
        Some(Duration::from_secs(9)),
    );
    assert!(outcome.is_ok());
    bench.assert_healthy();
}

#[test]
fn policies_are_held_to_the_contract() {
    let bench = Bench::new();
    let review = Review {
        id: "1".to_owned(),
        operation: "create".to_owned(),
        subject: "uid:1000".to_owned(),
        object: json!({ "memory": 64 }),
        old_object: None,
        host: json!({ "cpus": 2 }),
        time_ms: 0,
        dry_run: false,
    };
    let verdict = |behaviour| policy(&bench, behaviour).evaluate(&review).map(|decision| decision.verdict);
    assert_eq!(verdict("").unwrap(), Verdict::Allow);
    assert_eq!(verdict("deny").unwrap(), Verdict::Deny("no more room\\u{7}".to_owned()));
    assert_eq!(verdict("patch").unwrap(), Verdict::AllowWith(json!({ "memory": 32 })));
    assert!(verdict("not-json").unwrap_err().message.starts_with("allowed with a machine that is not JSON"));
    assert_eq!(verdict("deep-json").unwrap_err().kind, ErrorKind::Plugin);
    assert_eq!(
        verdict("many-warnings").unwrap_err().message,
        "answered with 65 warnings, at most 64 are taken"
    );
    assert_eq!(verdict("error").unwrap_err().kind, ErrorKind::Denied);

    let decision = policy(&bench, "").evaluate(&review).unwrap();
    assert_eq!(decision.warnings, ["create by uid:1000\\n"]);
    assert_eq!(decision.annotations, [("host".to_owned(), "{\"cpus\":2}".to_owned())]);
    bench.assert_healthy();
}
