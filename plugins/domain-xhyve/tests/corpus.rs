//! Command lines and scripts that people wrote: which are mapped, which are refused, and why. The table is checked in.

use std::fs;
use std::path::PathBuf;

use domain_xhyve::{Settings, convert};
use serde_json::Value;
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::domain::Options;

fn corpus() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/xhyve");
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: the command lines are not at ../shared/data/xhyve");
    None
}

fn options() -> Options {
    Options { directory: Some("/vm".to_owned()), ..Options::default() }
}

/// "mapped", or "refused" and the reasons.
fn verdict(document: &str) -> String {
    let conversion = match convert(document, &options(), &Settings::default()) {
        Ok(conversion) => conversion,
        Err(error) => return format!("refused: {error}"),
    };
    let errors = conversion.diagnostics.iter().filter(|d| d.severity == Severity::Error);
    let errors: Vec<_> = errors.map(|d| format!("{} {}", d.code, d.message)).collect();
    if errors.is_empty() {
        roxmltree::Document::parse(&conversion.xml).unwrap();
        return "mapped".to_owned();
    }
    format!("refused: {}", errors.join("; "))
}

#[test]
fn every_command_line_is_mapped_or_refused_as_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let mut table = String::from(
        "# What becomes of the command lines of shared/data/xhyve; written by WITVIRT_BLESS=1.\n",
    );
    for line in fs::read_to_string(corpus.join("commandlines.jsonl")).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let argv = verdict(&case["argv"].to_string());
        let raw = case["raw"].as_str().unwrap();
        // As typed and as the shell passes it on is the same machine.
        let convert = |document: &str| convert(document, &options(), &Settings::default()).ok();
        let (typed, passed) = (convert(raw), convert(&case["argv"].to_string()));
        assert_eq!(typed.map(|made| made.xml), passed.map(|made| made.xml), "{raw}");
        table += &format!("{}\t{}\t{argv}\n", case["id"], case["tool"].as_str().unwrap());
    }
    for script in ["coreos-xhyve/coreos-xhyve-run", "fazerxlo-opensuse/start.sh"] {
        let text = fs::read_to_string(corpus.join("scripts").join(script)).unwrap();
        table += &format!("{script}\tscript\t{}\n", verdict(&text));
    }
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/corpus.tsv");
    if std::env::var_os("WITVIRT_BLESS").is_some() {
        fs::write(&file, &table).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), table);
}
