//! Whatever stands in a manifest, a conversion ends with an answer.

use std::sync::LazyLock;

use domain_kubevirt::{Settings, context, convert, machines};
use proptest::prelude::*;
use serde_json::{Value, json};
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::domain::Options;

/// A document with one of everything, as JSON values of its documents.
fn everything() -> Vec<Value> {
    static DOCUMENTS: LazyLock<Vec<Value>> = LazyLock::new(read);
    DOCUMENTS.clone()
}

fn read() -> Vec<Value> {
    let text = include_str!("golden/everything.yaml");
    let context: Value = serde_json::from_str(&context(text, &Options::default()).unwrap()).unwrap();
    let mut instance = context["resource"].clone();
    // What the defaults have filled in has to be as robust as what users write.
    instance["metadata"]["namespace"] = json!("lab");
    vec![
        instance,
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "data": {"id": "QQ=="}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config"}, "data": {"a": "b"}}),
    ]
}

/// Pointers to all values.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                pointers(value, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                pointers(value, format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
    found.push(at);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(Value::from),
        "[a-z0-9./:-]{0,12}".prop_map(Value::from),
        "[0-9]{1,25}(Ki|Mi|Gi|Ei|m|e9)?".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-zA-Z]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Everything that a host asks for; the XML is well-formed where there is no error.
fn all(text: &str) {
    let _ = machines(text);
    let _ = context(text, &Options::default());
    let Ok(conversion) = convert(text, &Options::default(), &Settings::default()) else { return };
    let refused = conversion.diagnostics.iter().any(|d| d.severity == Severity::Error);
    if !refused {
        let document = witvirt_sdk::xml::Document::parse(&conversion.xml);
        assert!(document.is_ok(), "{:?}\n{}", document.err(), conversion.xml);
    }
}

#[test]
fn every_field_takes_any_type() {
    let documents = everything();
    let mut found = Vec::new();
    pointers(&documents[0], String::new(), &mut found);
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(1.5),
        json!(""),
        json!("\u{0}\r\u{fffe}<&>"),
        json!([]),
        json!([null, [], {}]),
        json!({}),
        json!({"": {"a": null}}),
    ];
    for pointer in &found {
        for value in &odd {
            let mut documents = documents.clone();
            *documents[0].pointer_mut(pointer).unwrap() = value.clone();
            let text: Vec<_> = documents.iter().map(Value::to_string).collect();
            all(&text.join("\n"));
        }
    }
    assert!(found.len() > 200, "only {}", found.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_value_in_place_of_any_field(index in any::<prop::sample::Index>(), value in any_json()) {
        let mut documents = everything();
        let mut found = Vec::new();
        pointers(&documents[0], String::new(), &mut found);
        *documents[0].pointer_mut(&found[index.index(found.len())]).unwrap() = value;
        let text: Vec<_> = documents.iter().map(Value::to_string).collect();
        all(&text.join("\n"));
    }

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        all(&text);
    }

    #[test]
    fn mangled_manifests(at in any::<prop::sample::Index>(), length in 0usize..40, insert in "[\\PC\n\t]{0,8}") {
        let text = include_str!("golden/everything.yaml");
        let start = text.floor_char_boundary(at.index(text.len()));
        let end = text.floor_char_boundary((start + length).min(text.len()));
        all(&format!("{}{insert}{}", &text[..start], &text[end..]));
    }
}
