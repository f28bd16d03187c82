//! Whole manifests and what becomes of them. `BLESS=1 cargo test -p domain-kubevirt` writes the expectations anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use domain_kubevirt::{Settings, context, convert};
use witvirt_sdk::domain::Options;

#[test]
fn manifests_convert_as_expected() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let settings = Settings { kernel_directory: Some("/srv/kernels".to_owned()), ..Settings::default() };
    let mut documents = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        documents += 1;
        let text = fs::read_to_string(&path).unwrap();
        let conversion = convert(&text, &Options::default(), &settings).unwrap();
        let mut report = String::new();
        for d in &conversion.diagnostics {
            let place = d.path.as_deref().unwrap_or("-");
            writeln!(
                report,
                "{:?} {} line {} {place}: {}",
                d.severity,
                d.code,
                d.line.unwrap_or(0),
                d.message
            )
            .unwrap();
        }
        let context = context(&text, &Options::default()).unwrap();
        let context: serde_json::Value = serde_json::from_str(&context).unwrap();
        let mut context = serde_json::to_string_pretty(&context).unwrap();
        context.push('\n');
        compare(&path.with_extension("xml"), &conversion.xml);
        compare(&path.with_extension("txt"), &report);
        compare(&path.with_extension("json"), &context);
    }
    assert!(documents >= 3, "only {documents} documents");
}

fn compare(path: &Path, actual: &str) {
    if std::env::var_os("BLESS").is_some() {
        return fs::write(path, actual).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(actual, expected, "{}: run with BLESS=1 if the new one is right", path.display());
}
