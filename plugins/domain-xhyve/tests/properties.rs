//! What holds for any document.

#[path = "../../../tests/fuzz/bodies/domain_xhyve.rs"]
mod body;

use domain_xhyve::{Conversion, Settings, convert};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use witvirt_sdk::domain::Options;

/// What scripts are made of, so that random ones come near the language.
const TOKENS: [&str; 64] = [
    "xhyve",
    "bhyve",
    "hyperkit",
    "sudo ",
    " -s ",
    " -l ",
    " -f ",
    " -m ",
    " -c ",
    " -U ",
    " -A",
    "-M",
    "$A",
    "${A",
    ":-",
    "}",
    "\"",
    "'",
    "$(",
    ")",
    "(",
    "((",
    "if ",
    "; then ",
    "else ",
    "elif ",
    "fi",
    "\n",
    ";",
    ";;",
    "&&",
    "||",
    "|",
    "&",
    "{ ",
    "case ",
    " in ",
    "esac",
    "for a in ",
    "do ",
    "done",
    "while ",
    "[[ ",
    " ]]",
    "[ -n ",
    " ]",
    "`",
    "A=",
    "A=(",
    "A+=",
    "\\\n",
    "<<E\n",
    "E\n",
    "f() ",
    "f ",
    "cd ",
    "#",
    "0,hostbridge",
    "31,lpc",
    "com1,stdio",
    "2,virtio-blk,a",
    "kexec,k,i,c",
    "$@",
    "*",
];

fn convert_or_none(document: &str) -> Option<Conversion> {
    let options = Options { directory: Some("/vm".to_owned()), ..Options::default() };
    convert(document, &options, &Settings::default()).ok()
}

/// As a careful person would write it for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[test]
fn seeds_convert_and_hold() {
    for seed in body::seeds() {
        body::run(&seed);
        let text = String::from_utf8(seed).unwrap();
        let options = Options { directory: Some("/vm".to_owned()), ..Options::default() };
        if let Err(error) = convert(&text, &options, &Settings::default()) {
            panic!("{error:?}: {text}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn near_the_language(tokens in vec(select(&TOKENS[..]), 0..60)) {
        body::run(tokens.concat().as_bytes());
    }

    #[test]
    fn mutations_of_scripts(
        seed in 0usize..5,
        changes in vec((any::<Index>(), any::<Index>(), select(&TOKENS[..])), 1..6),
    ) {
        let mut text = body::seeds().swap_remove(seed);
        for (at, end, token) in changes {
            let (at, end) = (at.index(text.len() + 1), end.index(text.len() + 1));
            let token = token.bytes();
            text.splice(at.min(end)..at.max(end).min(at.min(end) + 8), token);
        }
        body::run(&text);
    }

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        body::run(text.as_bytes());
        body::run(format!("xhyve {text}").as_bytes());
    }

    #[test]
    fn any_arguments(words in vec("(-[a-zA-Z])?[ -~]{0,24}", 0..12)) {
        for program in ["xhyve", "hyperkit", "bhyve"] {
            let argv: Vec<&str> = [program].into_iter().chain(words.iter().map(String::as_str)).collect();
            body::run(serde_json::to_string(&argv).unwrap().as_bytes());
        }
    }

    /// A line of quoted words is the same machine as the words.
    #[test]
    fn quoting_changes_nothing(words in vec("\\PC{0,12}", 0..8), cmdline in "\\PC{0,40}") {
        let mut argv = vec!["xhyve".to_owned(), "-f".to_owned(), format!("kexec,k,i,{cmdline}")];
        argv.extend(words);
        let line: Vec<_> = argv.iter().map(|word| quoted(word)).collect();
        let from_line = convert_or_none(&line.join(" ")).map(|made| made.xml);
        prop_assert_eq!(from_line, convert_or_none(&serde_json::to_string(&argv).unwrap()).map(|made| made.xml));
    }
}
