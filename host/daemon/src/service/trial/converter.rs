//! Converters: every conversion on small documents.

use serde_json::{Value, json};
use similar::TextDiff;
use witvirt_core::domain::{
    CLOUD_INIT_JSON, CONTEXT_JSON, Converter, DOMAIN_XML, Document, KUBEVIRT, MACHINE_JSON, Outcome,
    Severity, XHYVE,
};
use witvirt_core::spec::MachineSpec;

use super::{Check, Sample, Verdict, is_broken};
use crate::api::document::Context;
use crate::api::{Error, ErrorKind};

/// Lines of a difference that are shown.
const SHOWN: usize = 40;

/// Documents of the media types that converters of this repository have in common.
const SAMPLES: [(&str, &str); 5] = [
    (DOMAIN_XML, include_str!("samples/domain.xml")),
    (KUBEVIRT, include_str!("samples/kubevirt.yaml")),
    (XHYVE, include_str!("samples/xhyve.sh")),
    (MACHINE_JSON, include_str!("samples/machine.json")),
    (CLOUD_INIT_JSON, include_str!("samples/cloudinit.json")),
];

pub(super) fn checks(
    plugin: &dyn Converter,
    sample: Option<&Sample>,
    context: &Context,
) -> Result<Vec<Check>, Error> {
    let pairs = plugin.conversions().iter();
    let wanted = pairs.filter(|(from, _)| sample.is_none_or(|sample| sample.media_type == *from));
    let wanted: Vec<_> = wanted.collect();
    if let (Some(sample), true) = (sample, wanted.is_empty()) {
        let message =
            format!("plugin {} converts no documents of type {}", plugin.plugin(), sample.media_type);
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Ok(wanted.into_iter().flat_map(|(from, to)| conversion(plugin, from, to, sample, context)).collect())
}

fn conversion(
    plugin: &dyn Converter,
    from: &str,
    to: &str,
    sample: Option<&Sample>,
    context: &Context,
) -> Vec<Check> {
    let name = format!("{} -> {}", short(from), short(to));
    let built_in = SAMPLES.iter().find(|(media_type, _)| *media_type == from).map(|(_, body)| *body);
    let Some(body) = sample.map(|sample| sample.body.as_str()).or(built_in) else {
        let why = "there is no document of this type here: give one";
        return vec![Check::with(name, Verdict::Skipped, why)];
    };
    let directory = sample.map_or("/srv", |sample| &sample.directory);
    let options = json!({ "directory": directory, "context": bare(context) });
    let document = Document { media_type: from.to_owned(), body: body.to_owned() };
    let mut checks = twice(plugin, &document, to, &options, &name);
    checks.push(nonsense(plugin, &document, to, &options, &name));
    checks
}

/// As pipelines tell it: without the resource.
fn bare(context: &Context) -> Context {
    Context { resource: None, ..context.clone() }
}

/// The same result twice; a hook leaves its own result as it is.
fn twice(plugin: &dyn Converter, document: &Document, to: &str, options: &Value, name: &str) -> Vec<Check> {
    let (first, second) = (plugin.convert(document, to, options), plugin.convert(document, to, options));
    let mut checks = Vec::new();
    let same = format!("{name}: the same twice");
    match (&first, &second) {
        (Err(error), _) | (_, Err(error)) if is_broken(error) => {
            return vec![Check::fail(name, error.to_string())];
        }
        (Ok(first), Ok(second)) if first != second => {
            let differs = difference(&first.document.body, &second.document.body);
            checks.push(Check::fail(same, differs));
        }
        (Err(first), Err(second)) if first == second => {
            return vec![Check::with(name, Verdict::Refused, first.to_string())];
        }
        (Ok(_), Ok(_)) => checks.push(Check::pass(same)),
        (Ok(_), Err(error)) | (Err(error), _) => {
            return vec![Check::fail(same, format!("only one of two calls failed: {error}"))];
        }
    }
    let Ok(outcome) = first else { return checks };
    if let Some(refusal) = outcome.diagnostics.iter().find(|one| one.severity == Severity::Error) {
        checks.push(Check::with(name, Verdict::Refused, refusal.message.clone()));
        return checks;
    }
    checks.push(usable(&outcome, to, name));
    if document.media_type == to {
        checks.push(match outcome.document == *document {
            true => {
                Check::with(format!("{name}: its own result stays as it is"), Verdict::Skipped, UNCHANGED)
            }
            false => again(plugin, &outcome, options, name),
        });
    }
    checks
}

/// Why a hook was not applied again.
const UNCHANGED: &str = "it changes nothing in this document; give it one that it changes, or --annotation";

/// Whether the host would take the result.
fn usable(outcome: &Outcome, to: &str, name: &str) -> Check {
    let body = &outcome.document.body;
    let name = format!("{name}: the host takes the result");
    let problem = match to {
        _ if outcome.document.media_type != to => Some(format!("it is {}", outcome.document.media_type)),
        MACHINE_JSON => match serde_json::from_str::<MachineSpec>(body) {
            Ok(spec) => spec.validate().first().map(ToString::to_string),
            Err(error) => Some(error.to_string()),
        },
        CONTEXT_JSON => serde_json::from_str::<Context>(body).err().map(|error| error.to_string()),
        _ if to.ends_with("json") => serde_json::from_str::<Value>(body).err().map(|error| error.to_string()),
        _ if body.trim().is_empty() => Some("it is empty".to_owned()),
        _ => None,
    };
    problem.map_or_else(|| Check::pass(name.clone()), |problem| Check::fail(name.clone(), problem))
}

fn again(plugin: &dyn Converter, outcome: &Outcome, options: &Value, name: &str) -> Check {
    let first = &outcome.document;
    let name = format!("{name}: its own result stays as it is");
    match plugin.convert(first, &first.media_type, options) {
        Ok(second) if second.diagnostics.iter().any(|one| one.severity == Severity::Error) => {
            Check::fail(name, "refused when applied again".to_owned())
        }
        Ok(second) if second.document == *first => Check::pass(name),
        Ok(second) => Check::fail(name, difference(&first.body, &second.document.body)),
        Err(error) => Check::fail(name, format!("refused when applied again: {error}")),
    }
}

/// Nothing, the half of a document, and a mess: refused or not, but without breaking.
fn nonsense(plugin: &dyn Converter, document: &Document, to: &str, options: &Value, name: &str) -> Check {
    let body = &document.body;
    let half = (0..=body.len() / 2).rev().find(|at| body.is_char_boundary(*at)).unwrap_or(0);
    let deep = "<a>".repeat(100_000);
    let mess = "\u{0}<&{[\"'\\\u{202e}é".repeat(100);
    let name = format!("{name}: nonsense does not break it");
    for text in ["", &body[..half], &mess, &deep, &"[".repeat(100_000), &"- ".repeat(50_000)] {
        let input = Document { media_type: document.media_type.clone(), body: text.to_owned() };
        let check = Check::survives(&name, &plugin.convert(&input, to, options));
        if check.verdict == Verdict::Fail {
            return check;
        }
    }
    Check::pass(name)
}

/// What changed between two texts, as a unified diff.
fn difference(before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    let unified = diff.unified_diff().context_radius(1).header("first", "second").to_string();
    let lines: Vec<&str> = unified.lines().take(SHOWN).collect();
    match lines.is_empty() {
        true => "the diagnostics differ".to_owned(),
        false => lines.join("\n"),
    }
}

/// "libvirt.domain+xml" of "application/vnd.libvirt.domain+xml".
fn short(media_type: &str) -> &str {
    media_type.strip_prefix("application/vnd.").unwrap_or(media_type)
}
