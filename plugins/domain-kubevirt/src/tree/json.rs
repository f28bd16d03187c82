//! JSON, into the tree and out of it.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Id, Kind, MAX_DEPTH, Tree};

/// Reads one or many JSON texts. What is wrong with one is left to the YAML parser to say, which knows lines.
pub(super) fn parse(text: &str, tree: &mut Tree) -> Result<(), serde_json::Error> {
    let mut values = serde_json::Deserializer::from_str(text);
    loop {
        let id = Seed { tree, depth: 0 }.deserialize(&mut values)?;
        tree.documents.push(id);
        if values.end().is_ok() {
            return Ok(());
        }
    }
}

struct Seed<'t> {
    tree: &'t mut Tree,
    depth: usize,
}

impl Seed<'_> {
    fn add<E: Error>(self, kind: Kind) -> Result<Id, E> {
        // Lines are not known; one line is usual.
        self.tree.push(kind, 1, 0).ok_or_else(|| E::custom("too many values"))
    }

    fn open<E: Error>(&mut self, kind: Kind) -> Result<Id, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom("too deep"));
        }
        self.tree.push(kind, 1, 0).ok_or_else(|| E::custom("too many values"))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Id;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Id, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Id;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Id, E> {
        self.add(Kind::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Id, E> {
        self.add(Kind::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Id, E> {
        self.add(Kind::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Id, E> {
        self.add(Kind::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Id, E> {
        let number = serde_json::Number::from_f64(value).ok_or_else(|| E::custom("not a number"))?;
        self.add(Kind::Number(number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Id, E> {
        self.add(Kind::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Id, A::Error> {
        let list = self.open(Kind::List(Vec::new()))?;
        while let Some(id) = items.next_element_seed(Seed { tree: self.tree, depth: self.depth + 1 })? {
            self.tree.append(list, id);
        }
        Ok(list)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Id, A::Error> {
        let map = self.open(Kind::Map(Vec::new()))?;
        let mut names = HashSet::new();
        while let Some(name) = entries.next_key::<String>()? {
            let id = entries.next_value_seed(Seed { tree: self.tree, depth: self.depth + 1 })?;
            self.tree.add_entry(map, &name, id);
            if !names.insert(name) {
                return Err(A::Error::custom("a key is there twice"));
            }
        }
        Ok(map)
    }
}

/// The other way; a tree is as deep as it was read, and copies keep to the bound.
pub(super) fn write(tree: &Tree, id: Id) -> Value {
    match tree.kind(id) {
        Kind::Null => Value::Null,
        Kind::Bool(value) => Value::Bool(*value),
        Kind::Number(number) => Value::Number(number.clone()),
        Kind::Text(text) => Value::String(text.to_string()),
        Kind::List(items) => Value::Array(items.iter().map(|id| write(tree, *id)).collect()),
        Kind::Map(entries) => {
            let entries = entries.iter().map(|(name, id)| (name.to_string(), write(tree, *id)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}
