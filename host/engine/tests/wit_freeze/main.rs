//! Released packages of the contract never change shape: a plugin that was compiled against one goes on working.
//!
//! `wit/frozen/<package>@<version>.txt` holds each released package in a form without comments and order, one item a line.
//! `WITVIRT_BLESS=1 cargo test --release -p witvirt-engine --test wit_freeze` freezes the versions that are not yet.
#![allow(missing_docs)]

mod shape;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use shape::{Package, contract, parse};

fn wit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")
}

fn frozen() -> Vec<(String, BTreeSet<String>)> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(wit().join("frozen")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().replacen('-', ":", 1);
        packages.push((name, fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect()));
    }
    packages
}

/// Everything that would break a plugin built against `old`, which was released as `name@version`.
fn breaks(name: &str, old: &BTreeSet<String>, current: &Package) -> Vec<String> {
    let (package, version) = name.split_once('@').unwrap();
    let track = |version: &str| version.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    if package != current.name || track(version) != track(&current.version) {
        return Vec::new();
    }
    let mut problems: Vec<String> =
        old.difference(&current.items).map(|item| format!("changed or removed: {item}")).collect();
    for item in current.items.difference(old) {
        if version == current.version {
            problems.push(format!("added without a new version: {item}"));
        } else if asks_more_of_plugins(item, old) {
            problems.push(format!("asks old plugins for what they do not have: {item}"));
        }
    }
    problems
}

/// A new export of an old world, or a new function in an interface that plugins export.
fn asks_more_of_plugins(item: &str, old: &BTreeSet<String>) -> bool {
    let words: Vec<&str> = item.split(' ').collect();
    match words[..] {
        ["world", world, "export", ..] => old.iter().any(|line| line.starts_with(&format!("world {world} "))),
        ["interface", interface, "function", ..] => old.iter().any(|line| {
            line.starts_with("world ")
                && line.ends_with(&format!("/{interface}"))
                && line.contains(" export ")
        }),
        _ => false,
    }
}

const REMEDY: &str = "a released package never changes shape (wit/VERSIONING.md): put additions under @since in a new 0.N.M, \
                      breaks in a new 0.N, and restore what was released";

#[test]
fn frozen_packages_keep_their_shape() {
    let contract = contract(&wit());
    if std::env::var_os("WITVIRT_BLESS").is_some() {
        bless(&contract);
    }
    let frozen = frozen();
    for package in &contract {
        let name = format!("{}@{}", package.name, package.version);
        assert!(
            frozen.iter().any(|(frozen, _)| *frozen == name),
            "{name} is not frozen yet: run the tests once with WITVIRT_BLESS=1 and commit wit/frozen"
        );
        for (name, old) in &frozen {
            let problems = breaks(name, old, package);
            assert!(
                problems.is_empty(),
                "{name} was released and wit/ no longer agrees:\n{}\n{REMEDY}",
                problems.join("\n")
            );
        }
    }
}

/// Writes what is missing; what was released is never written again.
fn bless(contract: &[Package]) {
    for package in contract {
        let name = format!("{}@{}.txt", package.name.replacen(':', "-", 1), package.version);
        let path = wit().join("frozen").join(name);
        if !path.exists() {
            let text: String = package.items.iter().map(|item| format!("{item}\n")).collect();
            fs::write(path, text).unwrap();
        }
    }
}

#[test]
fn every_item_says_since_when_it_is_there() {
    for package in contract(&wit()) {
        assert!(
            package.unversioned.is_empty(),
            "@since is missing in {}: {:?}",
            package.name,
            package.unversioned
        );
    }
}

const BASE: &str = "package t:p@0.1.0;
    interface host { read: func(at: u64) -> list<u8>; }
    interface guest { record r { a: u8, b: string } resource h { m: func() -> r; } run: func(x: r) -> result<u8, string>; }
    world w { import host; export guest; }";

fn problems(from: &str, to: &str) -> Vec<String> {
    let old = parse(BASE);
    let text = BASE.replace(from, to);
    assert_ne!(text, BASE, "nothing replaced for {from}");
    breaks("t:p@0.1.0", &old.items, &parse(&text))
}

#[test]
fn a_changed_shape_is_noticed() {
    assert_eq!(breaks("t:p@0.1.0", &parse(BASE).items, &parse(BASE)), [""; 0]);
    for (from, to) in [
        ("a: u8", "a: u16"),
        ("a: u8, b: string", "b: string, a: u8"),
        ("b: string }", "b: string, c: u8 }"),
        ("at: u64", "offset: u64"),
        ("read: func", "fetch: func"),
        ("result<u8, string>", "result<u8>"),
        ("m: func() -> r;", ""),
        ("resource h { m: func() -> r; }", "resource h { m: static func() -> r; }"),
        ("import host; ", ""),
        ("world w", "world v"),
    ] {
        assert!(!problems(from, to).is_empty(), "{from} -> {to}");
    }
}

#[test]
fn a_change_of_the_contract_itself_is_noticed() {
    let text = fs::read_to_string(wit().join("types/types.wit")).unwrap();
    let (name, old) = frozen().into_iter().find(|(name, _)| name == "witvirt:types@0.1.0").unwrap();
    assert_eq!(breaks(&name, &old, &parse(&text)), [""; 0]);
    let changed = text.replace("settings-schema: option<string>,", "settings-schema: string,");
    assert_ne!(changed, text);
    let problems = breaks(&name, &old, &parse(&changed));
    assert!(
        problems[0].starts_with("changed or removed: interface lifecycle type info = record"),
        "{problems:?}"
    );
}

#[test]
fn comments_and_order_are_no_shape() {
    assert_eq!(problems("interface guest", "/// words\n interface guest"), [""; 0]);
    assert_eq!(problems("import host; export guest;", "export guest; import host;"), [""; 0]);
}

#[test]
fn additions_need_a_version_and_must_not_ask_more_of_plugins() {
    let later = |from: &str, to: &str| {
        let text = BASE.replace("@0.1.0", "@0.1.1").replace(from, to);
        breaks("t:p@0.1.0", &parse(BASE).items, &parse(&text))
    };
    let host = ("interface host {", "interface host { size: func() -> u64;");
    assert_eq!(problems(host.0, host.1).len(), 1);
    assert_eq!(later(host.0, host.1), [""; 0]);
    assert_eq!(later("interface guest {", "interface guest { more: func();").len(), 1);
    assert_eq!(later("world w {", "interface new { f: func(); } world w { export new;").len(), 1);
    assert_eq!(later("world w {", "interface new { f: func(); } world w { import new;"), [""; 0]);
    let next = parse(&BASE.replace("@0.1.0", "@0.2.0").replace("a: u8", "a: u16"));
    assert_eq!(breaks("t:p@0.1.0", &parse(BASE).items, &next), [""; 0]);
}
