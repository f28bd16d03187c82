//! Whether a step runs for a machine, and which hooks its annotation names.

use std::collections::BTreeMap;
use std::sync::Arc;

use witvirt_core::domain::{Converter, Diagnostic, Severity};

use super::plan::Choice;
use crate::api::document::Context;
use crate::config::{ValueMatch, WhenTable};

/// Unknown hooks that are told of one by one.
const TOLD: usize = 16;
/// Characters of a text that is shown.
const SHOWN: usize = 64;

/// Why a condition does not hold; `None` when it does.
pub(super) fn unmet(when: &WhenTable, context: &Context) -> Option<String> {
    values("label", &when.labels, &context.labels)
        .or_else(|| values("annotation", &when.annotations, &context.annotations))
        .or_else(|| system(&when.os, context.os.as_deref()))
}

fn values(
    what: &str,
    wanted: &BTreeMap<String, ValueMatch>,
    given: &BTreeMap<String, String>,
) -> Option<String> {
    wanted.iter().find_map(|(key, wanted)| match (wanted, given.get(key)) {
        (ValueMatch::Present(true) | ValueMatch::Value(_), None) => {
            Some(format!("the machine has no {what} {key}"))
        }
        (ValueMatch::Present(false), Some(_)) => Some(format!("the machine has the {what} {key}")),
        (ValueMatch::Value(pattern), Some(value)) if !matches(pattern, value) => {
            Some(format!("the {what} {key} is \"{}\", not \"{pattern}\"", shown(value)))
        }
        _ => None,
    })
}

fn system(wanted: &[String], given: Option<&str>) -> Option<String> {
    let holds = |given: &str| wanted.iter().any(|pattern| matches(pattern, given));
    match given {
        _ if wanted.is_empty() => None,
        Some(given) if holds(given) => None,
        Some(given) => Some(format!("the guest is \"{}\", not {}", shown(given), wanted.join(" or "))),
        None => Some(format!("nothing says that the guest is {}", wanted.join(" or "))),
    }
}

/// Whether the text is as the pattern says, in which "*" stands for any characters, none included. Takes no longer than the
/// product of both lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    // The first place where a part fits leaves the most to those after it.
    let rest = parts.try_fold(rest, |rest, part| rest.find(part).map(|at| &rest[at + part.len()..]));
    rest.is_some_and(|rest| rest.ends_with(last))
}

/// The hooks that a machine names, in its order, each once; and what is to be said of it.
pub(super) fn chosen<'c>(
    choice: &'c Choice,
    context: &Context,
) -> (Vec<&'c Arc<dyn Converter>>, Vec<Diagnostic>) {
    let annotated = context.annotations.get(&choice.annotation);
    let words: Vec<&str> = match annotated {
        Some(value) => value.split(',').map(str::trim).filter(|word| !word.is_empty()).collect(),
        None => choice.otherwise.iter().map(String::as_str).collect(),
    };
    let (mut hooks, mut seen, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for word in words {
        match choice.plugins.get(word) {
            Some(plugin) if seen.contains(&plugin.plugin()) => {}
            Some(plugin) => {
                seen.push(plugin.plugin());
                hooks.push(plugin);
            }
            None if unknown.contains(&word) || unknown.len() > TOLD => {}
            None => unknown.push(word),
        }
    }
    let known = choice.plugins.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let warning = |word: &str| {
        let message = format!(
            "the annotation {} names \"{}\", and no hook is called that here; there are: {known}",
            choice.annotation,
            shown(word)
        );
        remark(Severity::Warning, "pipeline.hook.unknown", message)
    };
    (hooks, unknown.into_iter().take(TOLD).map(warning).collect())
}

/// What the pipeline itself says.
pub(super) fn remark(severity: Severity, code: &str, message: String) -> Diagnostic {
    Diagnostic { severity, code: code.to_owned(), message, path: None, line: None }
}

/// The beginning of a text, without what would act on a terminal.
fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN).collect();
    cut.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "axbxxc", true),
            ("a*b*c", "acb", false),
            ("*ab*ab*", "abab", true),
            ("*ab*ab*", "aba", false),
            ("ü*", "über", true),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    fn context(annotations: &[(&str, &str)], os: Option<&str>) -> Context {
        let pairs = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Context { annotations: pairs.collect(), os: os.map(str::to_owned), ..Context::default() }
    }

    #[test]
    fn a_condition_says_what_does_not_hold() {
        let when = |text: &str| toml::from_str::<WhenTable>(text).unwrap();
        let macos = context(&[("type", "board")], Some("macos"));
        for (condition, expected) in [
            ("os = [\"mac*\", \"darwin\"]", None),
            ("os = [\"linux\", \"windows\"]", Some("the guest is \"macos\", not linux or windows")),
            ("annotations = { type = true }", None),
            ("annotations = { type = false }", Some("the machine has the annotation type")),
            ("annotations = { type = \"b*d\" }", None),
            ("annotations = { type = \"vnc\" }", Some("the annotation type is \"board\", not \"vnc\"")),
            ("labels = { a = true }", Some("the machine has no label a")),
            ("labels = { a = \"*\" }", Some("the machine has no label a")),
            ("labels = { a = false }\nos = [\"macos\"]", None),
        ] {
            assert_eq!(unmet(&when(condition), &macos).as_deref(), expected, "{condition}");
        }
        let nothing = context(&[], None);
        assert_eq!(
            unmet(&when("os = [\"macos\"]"), &nothing).as_deref(),
            Some("nothing says that the guest is macos")
        );
    }

    proptest::proptest! {
        #[test]
        fn a_pattern_without_its_stars_fits(parts in proptest::collection::vec("[ab]{0,3}", 1..5), fill in "[ab]{0,4}") {
            let pattern = parts.join("*");
            assert!(matches(&pattern, &parts.join(&fill)), "{pattern}");
            assert_eq!(matches(&pattern, "c"), pattern.trim_matches('*').is_empty() && pattern.contains('*'));
        }
    }
}
