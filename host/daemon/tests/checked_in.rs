//! What is checked in below config/ is what this program writes and reads. `WITVIRT_BLESS=1` rewrites the schemas.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use witvirt::config::{Config, config_schema, machine_schema};

fn config_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("config")
}

fn fresh(name: &str, value: &Value) {
    let path = config_directory().join(name);
    let actual = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("WITVIRT_BLESS").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        actual == expected,
        "config/{name} is stale: run this test with WITVIRT_BLESS=1 and look at the change"
    );
}

#[test]
fn schemas_are_fresh() {
    fresh("witvirt.schema.json", &config_schema());
    fresh("machine.schema.json", &machine_schema());
    fresh("openapi.json", &witvirt::server::openapi());
}

#[test]
fn every_route_is_in_the_openapi_document_with_an_answer_and_errors() {
    let document = witvirt::server::openapi();
    let routes = witvirt::server::endpoints();
    assert!(routes.len() > 25, "only {} routes", routes.len());
    let mut names = BTreeSet::new();
    for (method, path) in &routes {
        let operation = &document["paths"][path][method.to_lowercase()];
        let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} is missing"));
        assert!(names.insert(name.to_owned()), "two operations are named {name}");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.contains_key("200") || answers.contains_key("101"), "{name} has no answer");
        assert!(answers.contains_key("403") && answers.contains_key("404"), "{name} has no errors");
    }
    let text = document.to_string();
    for (at, _) in text.match_indices("#/components/schemas/") {
        let name = text[at + "#/components/schemas/".len()..].split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "a reference leads nowhere: {name}");
    }
    for (at, _) in text.match_indices("\"$ref\":\"") {
        let target = text[at + 8..].split('"').next().unwrap();
        assert!(target.starts_with("#/components/"), "{target} is no component");
    }
}

/// Every key below a schema, as (table, key).
fn keys(root: &Value, schema: &Value, table: &str, found: &mut BTreeSet<(String, String)>) {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        return keys(root, root.pointer(target.trim_start_matches('#')).unwrap(), table, found);
    }
    for alternative in ["anyOf", "oneOf"].iter().filter_map(|key| schema.get(*key)?.as_array()).flatten() {
        keys(root, alternative, table, found);
    }
    for (key, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        found.insert((table.to_owned(), key.clone()));
        if key != "settings" {
            keys(root, inner, key, found);
        }
    }
    for key in ["items", "additionalProperties"] {
        schema.get(key).into_iter().for_each(|inner| keys(root, inner, table, found));
    }
    for inner in
        schema.get("patternProperties").and_then(Value::as_object).into_iter().flat_map(|map| map.values())
    {
        keys(root, inner, table, found);
    }
}

#[test]
fn every_key_is_in_the_commented_config() {
    let text = std::fs::read_to_string(config_directory().join("witvirt.toml")).unwrap();
    let mut found = BTreeSet::new();
    keys(&config_schema(), &config_schema(), "", &mut found);
    assert!(found.len() > 45, "only {} keys", found.len());
    let mut section = String::new();
    let mut written = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']).to_owned();
            let mut above = String::new();
            for part in section.split('.') {
                written.insert((above, part.to_owned()));
                above = part.to_owned();
            }
        } else if let Some((key, _)) = line.split_once(" = ") {
            // [pipeline.NAME] is a table of the keys of `pipeline`, and so is [registry.HOST] of those of `registry`.
            let named = ["pipeline", "registry"]
                .into_iter()
                .find(|table| section.strip_prefix(table).is_some_and(|name| name.starts_with('.')));
            let table = named.unwrap_or_else(|| section.rsplit('.').next().unwrap());
            written.insert((table.to_owned(), key.to_owned()));
        }
    }
    // These tables stand inside of lines.
    let inline = |table: &str, key: &str| {
        ["converters", "when"].contains(&table) && text.contains(&format!(" {key} = "))
    };
    let missing: Vec<_> = found.difference(&written).filter(|(table, key)| !inline(table, key)).collect();
    assert!(missing.is_empty(), "config/witvirt.toml says nothing of {missing:?}");
}

#[test]
fn the_commented_config_is_good_and_says_the_defaults() {
    let path = config_directory().join("witvirt.toml");
    let config = Config::load(&path).unwrap_or_else(|error| panic!("{error:#}"));
    let crates = std::fs::read_dir(config_directory().with_file_name("plugins")).unwrap().count();
    assert_eq!(config.plugins.len(), crates, "each plugin of the repository is in the config");
    for plugin in &config.plugins {
        assert!(
            plugin.file.is_absolute() && !plugin.file.to_string_lossy().contains(".."),
            "{:?}",
            plugin.file
        );
    }
    let defaults = Config::defaults();
    assert_eq!(format!("{:?}", config.hypervisor), format!("{:?}", defaults.hypervisor));
    assert_eq!(format!("{:?}", config.console), format!("{:?}", defaults.console));
    assert_eq!(format!("{:?}", config.network), format!("{:?}", defaults.network));
    assert_eq!(format!("{:?}", config.api), format!("{:?}", defaults.api));
    let raw = config.plugins.iter().find(|plugin| plugin.name.as_str() == "format-raw").unwrap();
    assert_eq!(raw.limits, Default::default());
}
