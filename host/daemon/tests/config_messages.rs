//! What people are told about mistakes in `witvirt.toml`: each `tests/config/NAME.toml` has its messages in `NAME.txt`.
//! `WITVIRT_BLESS=1` rewrites them.

use std::path::Path;

use witvirt::config::Config;

#[test]
fn every_mistake_is_told_with_its_line() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut seen = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let shown = Path::new("/etc/witvirt").join(path.file_name().unwrap());
        let message = Config::parse(&shown, &text).expect_err("the file has mistakes").to_string();
        golden(&path.with_extension("txt"), &message);
        seen += 1;
    }
    assert!(seen >= 4, "only {seen} files in {}", directory.display());
}

fn golden(path: &Path, actual: &str) {
    if std::env::var_os("WITVIRT_BLESS").is_some() {
        std::fs::write(path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        actual,
        expected,
        "{} is stale: look at the change, then run with WITVIRT_BLESS=1",
        path.display()
    );
}
