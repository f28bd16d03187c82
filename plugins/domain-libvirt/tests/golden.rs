//! Whole documents and what becomes of them. `BLESS=1 cargo test -p domain-libvirt` writes the expectations anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use domain_libvirt::{Settings, convert};

const SETTINGS: &str = r#"{
    "firmware": {"code": "/firmware/OVMF_CODE_4M.fd", "vars-template": "/firmware/OVMF_VARS_4M.fd"},
    "secure-firmware": {"code": "/firmware/OVMF_CODE_4M.ms.fd", "vars-template": "/firmware/OVMF_VARS_4M.ms.fd"}
}"#;

#[test]
fn documents_convert_as_expected() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let settings = Settings::parse(SETTINGS).unwrap();
    let mut documents = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "xml") {
            continue;
        }
        documents += 1;
        let conversion = convert(&fs::read_to_string(&path).unwrap(), None, &settings).unwrap();
        let mut json = serde_json::to_string_pretty(&conversion.machine).unwrap();
        json.push('\n');
        let mut text = String::new();
        for d in &conversion.diagnostics {
            let place = d.path.as_deref().unwrap_or("-");
            writeln!(text, "{:?} {} line {} {place}: {}", d.severity, d.code, d.line.unwrap_or(0), d.message)
                .unwrap();
        }
        compare(&path.with_extension("json"), &json);
        compare(&path.with_extension("txt"), &text);
    }
    assert!(documents >= 9, "only {documents} documents");
}

fn compare(path: &Path, actual: &str) {
    if std::env::var_os("BLESS").is_some() {
        return fs::write(path, actual).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(actual, expected, "{}: run with BLESS=1 if the new one is right", path.display());
}
