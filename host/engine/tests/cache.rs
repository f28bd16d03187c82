//! The cache of compiled code: what is trusted, and what is noticed.
#![allow(missing_docs)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use support::{Bench, built, chain, entry, options};
use tempfile::TempDir;
use witvirt_engine::{CacheUse, Engine, EngineError, LoadError};

/// The compiled file and the record of its digest.
fn files(bench: &Bench) -> (PathBuf, PathBuf) {
    let cache = bench.directory.path().join("cache");
    let generations: Vec<_> = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(generations.len(), 1);
    let mut names: Vec<_> =
        fs::read_dir(&generations[0]).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    (names[1].clone(), names[0].clone())
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    set_mode(path, 0o400);
}

/// Loads after `tamper`, expects that it was noticed for `reason`, and that all is well afterwards.
fn notices(tamper: impl FnOnce(&Path, &Path), reason: &str) {
    let bench = Bench::new();
    bench.load(&entry("format-raw")).unwrap();
    let (code, record) = files(&bench);
    tamper(&code, &record);
    let report = bench.load(&entry("format-raw")).unwrap().report;
    match &report.cache {
        CacheUse::Replaced(found) => assert!(found.contains(reason), "{found}"),
        other => panic!("{other:?} instead of: {reason}"),
    }
    assert!(report.compile_us > 0);
    assert_eq!(bench.load(&entry("format-raw")).unwrap().report.cache, CacheUse::Hit);
    bench.assert_healthy();
}

#[test]
fn files_are_closed_to_others() {
    let bench = Bench::new();
    bench.load(&entry("format-raw")).unwrap();
    let (code, record) = files(&bench);
    assert_eq!((mode(&code), mode(&record)), (0o400, 0o400));
    assert_eq!(mode(code.parent().unwrap()), 0o700);
    assert_eq!(mode(&bench.directory.path().join("cache")), 0o700);
}

#[test]
fn tampered_code_is_noticed() {
    let flip = |code: &Path, _: &Path| {
        let mut bytes = fs::read(code).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        overwrite(code, &bytes);
    };
    notices(flip, "not what the engine stored");
    let cut = |code: &Path, _: &Path| {
        let bytes = fs::read(code).unwrap();
        overwrite(code, &bytes[..bytes.len() / 2]);
    };
    notices(cut, "not what the engine stored");
}

#[test]
fn a_tampered_or_missing_record_is_noticed() {
    notices(|_, record| overwrite(record, b"nonsense"), "not what the engine stored");
    notices(|_, record| fs::remove_file(record).unwrap(), "the digest that belongs to it is missing");
}

#[test]
fn wrong_modes_and_links_are_noticed() {
    notices(|code, _| set_mode(code, 0o644), "its mode is 0644");
    notices(|_, record| set_mode(record, 0o600), "its mode is 0600");
    let link = |code: &Path, _: &Path| {
        let elsewhere = code.with_extension("elsewhere");
        fs::rename(code, &elsewhere).unwrap();
        symlink(&elsewhere, code).unwrap();
    };
    notices(link, "it is a symbolic link");
}

#[test]
fn a_foreign_file_is_noticed() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    notices(|code, _| std::os::unix::fs::chown(code, Some(65534), None).unwrap(), "it belongs to user 65534");
}

#[test]
fn code_of_another_component_is_noticed() {
    let bench = Bench::new();
    bench.load(&entry("format-raw")).unwrap();
    let (raw_code, raw_record) = files(&bench);
    bench.load(&entry("hostile-format")).unwrap();
    for file in fs::read_dir(raw_code.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()) {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("cwasm") if file != raw_code => fs::rename(&file, &raw_code).unwrap(),
            Some("blake3") if file != raw_record => fs::rename(&file, &raw_record).unwrap(),
            _ => {}
        }
    }
    let report = bench.load(&entry("format-raw")).unwrap().report;
    assert_eq!(report.cache, CacheUse::Replaced("it is not what the engine stored".to_owned()));
    assert_eq!(report.formats, ["raw"]);
}

#[test]
fn a_directory_that_others_can_reach_is_refused() {
    let directory = TempDir::new().unwrap();
    let cache = directory.path().join("cache");
    let refused = || match Engine::new(options(directory.path())).err() {
        Some(error @ EngineError::Cache(_)) => chain(&error),
        other => panic!("{other:?}"),
    };
    fs::create_dir(&cache).unwrap();
    set_mode(&cache, 0o770);
    assert!(refused().contains("cannot be trusted: its mode is 0770"), "{}", refused());

    fs::remove_dir(&cache).unwrap();
    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    set_mode(&elsewhere, 0o700);
    symlink(&elsewhere, &cache).unwrap();
    assert!(refused().contains("it is a symbolic link"), "{}", refused());

    fs::remove_file(&cache).unwrap();
    fs::write(&cache, b"").unwrap();
    assert!(refused().contains("no directory"), "{}", refused());

    if rustix::process::geteuid().is_root() {
        fs::remove_file(&cache).unwrap();
        fs::create_dir(&cache).unwrap();
        set_mode(&cache, 0o700);
        std::os::unix::fs::chown(&cache, Some(65534), None).unwrap();
        assert!(refused().contains("it belongs to user 65534, not to user 0"), "{}", refused());
    }
}

#[test]
fn a_generation_that_others_can_reach_is_refused() {
    let bench = Bench::new();
    bench.load(&entry("format-raw")).unwrap();
    let (code, _) = files(&bench);
    set_mode(code.parent().unwrap(), 0o755);
    let error = Engine::new(options(bench.directory.path())).err().unwrap();
    assert!(chain(&error).contains("its mode is 0755"), "{}", chain(&error));
}

#[test]
fn a_failed_compilation_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    for (program, expected) in [
        ("/nonexistent", "cannot run the compiler process /nonexistent: No such file"),
        ("/bin/false", "exit status: 1"),
    ] {
        let mut options = options(directory.path());
        options.compiler.program = program.into();
        let error = Engine::new(options).unwrap().load(&entry("format-raw")).err().unwrap();
        assert!(matches!(error, LoadError::Compile { .. }));
        assert!(chain(&error).contains(expected), "{}", chain(&error));
    }
    let mut slow = options(directory.path());
    slow.compiler.program = "/bin/sleep".into();
    slow.compiler.arguments = vec!["1000".into()];
    slow.compile_deadline = std::time::Duration::from_millis(50);
    let error = Engine::new(slow).unwrap().load(&entry("format-raw")).err().unwrap();
    assert!(chain(&error).contains("was not done after 50ms and was killed"), "{}", chain(&error));

    let mut silent = options(directory.path());
    silent.compiler.program = "/bin/true".into();
    let error = Engine::new(silent).unwrap().load(&entry("format-raw")).err().unwrap();
    assert!(matches!(error, LoadError::Cache { .. }), "{}", chain(&error));

    let generation = fs::read_dir(directory.path().join("cache")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_dir(generation).unwrap().count(), 0);
    assert!(built("format-raw").is_file());
}
