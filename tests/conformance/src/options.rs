//! A QEMU command line as options with properties, whatever they were spelt like.

use std::collections::BTreeMap;

use serde_json::Value;

/// Properties of an option by their dotted names: on and off for all words of that meaning, decimal for all numbers.
pub type Properties = BTreeMap<String, String>;

/// Options that may stand several times, each for a thing of its own.
const REPEATED: &[&str] = &[
    "device",
    "object",
    "blockdev",
    "netdev",
    "chardev",
    "audiodev",
    "fsdev",
    "tpmdev",
    "drive",
    "global",
    "smbios",
    "acpitable",
    "fw_cfg",
    "numa",
    "spice",
    "vnc",
];

/// One option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Without its dash.
    pub name: String,
    /// As given; absent for flags.
    pub value: Option<String>,
}

/// The words of a command in shell syntax: lines that go on, and quotes.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None) => match letters.next() {
                Some('\n') | None => {}
                Some(other) => word.get_or_insert_default().push(other),
            },
            (_, Some(open)) if letter == open => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(letter),
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (space, None) if space.is_whitespace() => words.extend(word.take()),
            (_, None) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// The options of a command: without environment and program.
pub fn arguments(words: &[String]) -> Vec<Argument> {
    let start = words.iter().position(|word| word.starts_with('-')).unwrap_or(words.len());
    let mut arguments: Vec<Argument> = Vec::new();
    let is_option = |word: &str| {
        word.strip_prefix('-')
            .is_some_and(|rest| rest.trim_start_matches('-').starts_with(|c: char| c.is_ascii_alphabetic()))
    };
    for word in &words[start..] {
        match arguments.last_mut() {
            Some(last) if last.value.is_none() && !is_option(word) => last.value = Some(word.clone()),
            _ => arguments.push(Argument { name: word.trim_start_matches('-').to_owned(), value: None }),
        }
    }
    arguments
}

/// Whether an option stands for one thing among several.
pub fn is_repeated(name: &str) -> bool {
    REPEATED.contains(&name)
}

/// What the first word of an option means when it has no key.
fn implied(name: &str) -> Option<&'static str> {
    Some(match name {
        "device" => "driver",
        "object" => "qom-type",
        "netdev" | "machine" | "numa" | "tpmdev" | "display" => "type",
        "chardev" => "backend",
        "accel" => "accel",
        "cpu" => "model",
        "smp" => "cpus",
        "m" => "size",
        "fsdev" => "fsdriver",
        "audiodev" => "driver",
        "vnc" => "vnc",
        _ => return None,
    })
}

/// The properties in an option's value.
pub fn properties(name: &str, value: &str) -> Properties {
    let mut found = Properties::new();
    if value.starts_with('{')
        && let Ok(value) = serde_json::from_str(value)
    {
        flatten("", &value, &mut found);
        return found;
    }
    let value = value.replace(",,", "\0");
    for (index, part) in value.split(',').enumerate() {
        let (key, value) = match (part.split_once('='), implied(name)) {
            (Some((key, value)), _) => (key, value),
            (None, Some(key)) if index == 0 => (key, part),
            (None, _) => (part, "on"),
        };
        let value = plain(&value.replace('\0', ","));
        match found.get_mut(key) {
            Some(more) if matches!(name, "netdev" | "smbios" | "numa") => {
                more.push(';');
                more.push_str(&value);
            }
            _ => {
                found.insert(key.to_owned(), value);
            }
        }
    }
    found
}

fn flatten(key: &str, value: &Value, found: &mut Properties) {
    let below = |part: &str| if key.is_empty() { part.to_owned() } else { format!("{key}.{part}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| flatten(&below(name), value, found)),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(at, value)| flatten(&below(&at.to_string()), value, found));
        }
        Value::String(text) => {
            found.insert(key.to_owned(), plain(text));
        }
        other => {
            found.insert(key.to_owned(), plain(&other.to_string()));
        }
    }
}

/// One spelling for each value.
fn plain(text: &str) -> String {
    match text {
        "true" | "yes" | "on" => return "on".to_owned(),
        "false" | "no" | "off" => return "off".to_owned(),
        _ => {}
    }
    if let Some(number) = text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
        return number.to_string();
    }
    let scaled = |unit: char| match unit.to_ascii_lowercase() {
        'b' => Some(0),
        'k' => Some(10),
        'm' => Some(20),
        'g' => Some(30),
        _ => None,
    };
    if let Some((shift, digits)) =
        text.chars().last().and_then(|unit| Some((scaled(unit)?, text.get(..text.len() - 1)?)))
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(number) = digits.parse::<u64>()
        && let Some(bytes) = number.checked_mul(1 << shift)
    {
        return bytes.to_string();
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::{arguments, properties, words};

    #[test]
    fn spelling_does_not_matter() {
        let one = properties("device", r#"{"driver":"virtio-blk-pci","iommu_platform":true,"addr":"0x2"}"#);
        let other = properties("device", "virtio-blk-pci,iommu_platform=on,addr=2");
        assert_eq!(one, other);
        assert_eq!(properties("m", "size=219136k"), properties("m", "size=224395264B"));
        let nested = properties("blockdev", r#"{"cache":{"direct":false},"node-name":"a"}"#);
        assert_eq!(nested, properties("blockdev", "cache.direct=off,node-name=a"));
        assert_eq!(properties("smbios", "type=11,value=a,,b,value=c")["value"], "a,b;c");
    }

    #[test]
    fn reads_commands() {
        let words = words("A=b \\\n/usr/bin/qemu -S -device '{\"a\":\"b c\"}' -k en --nodefaults");
        let read = arguments(&words);
        let named: Vec<_> = read.iter().map(|a| (a.name.as_str(), a.value.as_deref())).collect();
        let expected =
            [("S", None), ("device", Some("{\"a\":\"b c\"}")), ("k", Some("en")), ("nodefaults", None)];
        assert_eq!(named, expected);
    }
}
