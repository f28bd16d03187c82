//! Both shapes of script that the project was asked for with, to the byte.

use std::fs;
use std::path::Path;

use domain_xhyve::{Conversion, Settings, convert};
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::domain::Options;

fn run(script: &str) -> Conversion {
    let options = Options { directory: Some("/vm".to_owned()), ..Options::default() };
    convert(script, &options, &Settings::default()).unwrap()
}

#[test]
fn scripts_have_their_goldens() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for name in ["install", "run"] {
        let script = fs::read_to_string(golden.join(format!("{name}.sh"))).unwrap();
        let made = run(&script);
        let mut text = made.xml;
        text += "<!--\n";
        for diagnostic in &made.diagnostics {
            let line = diagnostic.line.map_or(String::new(), |line| format!("line {line}: "));
            let path = diagnostic.path.as_ref().map_or(String::new(), |path| format!("{path}: "));
            text += &format!(
                "{:?} {}: {line}{path}{}\n",
                diagnostic.severity, diagnostic.code, diagnostic.message
            );
        }
        text += "-->\n";
        let file = golden.join(format!("{name}.xml"));
        if std::env::var_os("WITVIRT_BLESS").is_some() {
            fs::write(&file, &text).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "{name}: WITVIRT_BLESS=1 writes it anew");
    }
}

/// The scripts as they stand in the document, indented, between other text.
#[test]
fn the_document_s_own_scripts_convert() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/seeds");
    let seed = fs::read_dir(&seeds).into_iter().flatten().flatten().map(|entry| entry.path());
    let Some(seed) = seed.into_iter().find(|path| path.to_string_lossy().contains("/001_")) else {
        println!("skipped: the documents are not at ../shared/seeds");
        return;
    };
    let text = fs::read_to_string(seed).unwrap();
    let scripts: Vec<&str> = text.split("#!/bin/bash").skip(1).take(2).collect();
    for script in &scripts {
        // To the end of its command.
        let end = script.find("\"$CMDLINE\"\n").unwrap() + "\"$CMDLINE\"\n".len();
        let made = run(&script[..end]);
        assert!(made.diagnostics.iter().all(|d| d.severity != Severity::Error), "{:?}", made.diagnostics);
        for part in ["<vcpu placement='static'>2</vcpu>", "/vm/ubuntu18.img", "<interface type='user'>"] {
            assert!(made.xml.contains(part), "{part}: {}", made.xml);
        }
    }
    assert_eq!(scripts.len(), 2);
}
