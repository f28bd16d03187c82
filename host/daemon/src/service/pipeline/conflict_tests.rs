//! Hooks are the documents that they leave behind.

use proptest::prelude::*;
use witvirt_core::domain::DOMAIN_XML;

use super::*;

const BASE: &str = "<domain>\n  <vcpu>1</vcpu>\n  <devices>\n    <disk/>\n  </devices>\n</domain>\n";

fn stages(media_type: &str, bodies: &[&str]) -> Vec<Stage> {
    let stage = |(index, body): (usize, &&str)| Stage {
        plugin: (index > 0).then(|| format!("hook-{index}")),
        version: None,
        media_type: media_type.to_owned(),
        body: (*body).to_owned(),
        skipped: None,
        diagnostics: Vec::new(),
    };
    bodies.iter().enumerate().map(stage).collect()
}

fn conflicts(bodies: &[&str]) -> Vec<Conflict> {
    find(&stages(DOMAIN_XML, bodies))
}

#[test]
fn the_value_of_an_earlier_hook_is_replaced() {
    let two = BASE.replace("<vcpu>1", "<vcpu>2");
    let four = BASE.replace("<vcpu>1", "<vcpu>4");
    let expected = Conflict {
        first: "hook-1".to_owned(),
        second: "hook-2".to_owned(),
        line: 2,
        before: "<vcpu>2".to_owned(),
        after: Some("<vcpu>4".to_owned()),
    };
    assert_eq!(conflicts(&[BASE, &two, &four]), [expected]);
    assert_eq!(conflicts(&[BASE, &two, BASE]).len(), 1, "undoing is changing");
    assert_eq!(conflicts(&[BASE, &two, &two, &four]).len(), 1);
    assert_eq!(conflicts(&[BASE, &two, &two]), [], "a hook that rewrites the same value");
    assert_eq!(conflicts(&[BASE, &two]), [], "there is one hook");
}

#[test]
fn an_element_of_an_earlier_hook_is_removed() {
    let with =
        BASE.replace("  </devices>", "    <video model=\"vga\">\n      <x/>\n    </video>\n  </devices>");
    let found = conflicts(&[BASE, &with, BASE]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].line, found[0].before.as_str()), (5, "<video model=\"vga\">"));
    assert_eq!(found[0].after, None);
}

#[test]
fn neighbours_do_not_meet() {
    let first = BASE.replace("  </devices>", "    <a/>\n  </devices>");
    let second = first.replace("  </devices>", "    <b/>\n  </devices>");
    let third = second.replace("<vcpu>1", "<vcpu>2").replace("    <disk/>\n", "    <disk/>\n    <c/>\n");
    assert_eq!(conflicts(&[BASE, &first, &second, &third]), []);
    let moved = second.replace("    <a/>\n", "").replace("  </devices>", "    <a/>\n  </devices>");
    assert_eq!(conflicts(&[BASE, &first, &second, &moved]), [], "what is moved is not lost");
}

#[test]
fn a_converter_between_hooks_begins_anew() {
    let mut chain = stages(DOMAIN_XML, &["<a x=\"1\"/>", "<a x=\"2\"/>", "<a x=\"3\"/>", "<a x=\"4\"/>"]);
    chain[2].media_type = "text/x".to_owned();
    chain[3].media_type = "text/x".to_owned();
    assert_eq!(find(&chain), []);
    let mut chain = stages(DOMAIN_XML, &["<a x=\"1\"/>", "<a x=\"2\"/>", "", "<a x=\"3\"/>"]);
    chain[2].skipped = Some("its condition does not hold".to_owned());
    assert_eq!(find(&chain).len(), 1, "a hook that did not run hides nothing");
    chain[3].plugin = Some("hook-1".to_owned());
    assert_eq!(find(&chain), [], "it is the same hook");
}

#[test]
fn json_is_compared_line_by_line() {
    let found = find(&stages(
        "application/x+json",
        &[
            "{\n  \"a\": 1\n}",
            "{\n  \"a\": 2\n}",
            "{\n  \"a\": 2,\n  \"b\": 1\n}",
            "{\n  \"a\": 3,\n  \"b\": 1\n}",
        ],
    ));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].first.as_str(), found[0].second.as_str(), found[0].line), ("hook-1", "hook-3", 2));
}

#[test]
fn long_documents_are_not_compared_for_ever() {
    let text = |word: &str| (0..200_000).map(|at| format!("<{word}{at}/>")).collect::<String>();
    assert_eq!(conflicts(&[BASE, &text("a"), &text("b")]), []);
    let short = |word: &str| (0..500).map(|at| format!("<{word}{at}/>")).collect::<String>();
    assert!(conflicts(&[BASE, &short("a"), &short("b")]).len() <= CONFLICTS);
}

proptest! {
    #[test]
    fn any_texts_are_taken(bodies in prop::collection::vec("[<>/a\n é]{0,40}", 0..6)) {
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        for conflict in conflicts(&bodies) {
            prop_assert!(conflict.first < conflict.second);
            let lines = bodies.iter().map(|body| body.lines().count()).max().unwrap_or(0);
            prop_assert!(conflict.line as usize <= lines + 1);
        }
    }

    #[test]
    fn hooks_that_only_add_never_conflict(places in prop::collection::vec(0_usize..30, 1..6)) {
        let mut bodies = vec![BASE.to_owned()];
        for (index, place) in places.iter().enumerate() {
            let last = bodies.last().unwrap().clone();
            let lines: Vec<&str> = last.lines().collect();
            let at = 1 + place % (lines.len() - 1);
            let new = format!("  <new at=\"{index}\"/>");
            let body: Vec<&str> = lines[..at].iter().copied().chain([new.as_str()]).chain(lines[at..].iter().copied()).collect();
            bodies.push(body.join("\n"));
        }
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        prop_assert_eq!(conflicts(&bodies), []);
    }

    #[test]
    fn every_value_that_is_overwritten_is_told(values in prop::collection::vec(0_u32..3, 2..8)) {
        let bodies: Vec<String> = values.iter().map(|value| BASE.replace("<vcpu>1", &format!("<vcpu>{value}"))).collect();
        let all: Vec<&str> = bodies.iter().map(String::as_str).collect();
        let changes = values.windows(2).filter(|pair| pair[0] != pair[1]).count();
        prop_assert_eq!(conflicts(&all).len(), changes.saturating_sub(1));
    }
}
