//! A walk of a TOML document along a JSON schema, for the part of JSON schema that schemars writes.

use std::ops::Range;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// Everything in the document that the schema does not allow.
pub(super) fn against_schema(schema: &Value, table: &Spanned<DeTable<'_>>) -> Vec<Problem> {
    let mut walk = Walk { root: schema, problems: Vec::new() };
    walk.table(schema, table.get_ref(), &table.span(), "");
    walk.problems
}

struct Walk<'s> {
    root: &'s Value,
    problems: Vec<Problem>,
}

impl<'s> Walk<'s> {
    fn value(&mut self, schema: &'s Value, value: &Spanned<DeValue<'_>>, path: &str) {
        let schema = self.resolve(schema);
        let alternatives = self.alternatives(schema);
        match alternatives.as_slice() {
            [] => self.plain(schema, value, path),
            [only] => self.value(only, value, path),
            several => self.one_of(several, value, path),
        }
    }

    /// Follows `$ref`.
    fn resolve(&self, mut schema: &'s Value) -> &'s Value {
        while let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            match target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) {
                Some(next) => schema = next,
                None => break,
            }
        }
        schema
    }

    /// The alternatives of `oneOf` and `anyOf`, without `null`, which TOML does not have.
    fn alternatives(&self, schema: &'s Value) -> Vec<&'s Value> {
        ["oneOf", "anyOf"]
            .iter()
            .filter_map(|key| schema.get(*key)?.as_array())
            .flatten()
            .map(|alternative| self.resolve(alternative))
            .filter(|alternative| alternative.get("type").and_then(Value::as_str) != Some("null"))
            .collect()
    }

    fn plain(&mut self, schema: &'s Value, value: &Spanned<DeValue<'_>>, path: &str) {
        let span = value.span();
        if !allows(schema, value.get_ref()) {
            return self.wrong_type(&[schema], value, path);
        }
        match value.get_ref() {
            DeValue::Table(table) => self.table(schema, table, &span, path),
            DeValue::Array(array) => {
                let Some(items) = schema.get("items") else { return };
                for (index, item) in array.iter().enumerate() {
                    self.value(items, item, &format!("{path}[{index}]"));
                }
            }
            DeValue::String(text) => {
                let words = words(schema);
                if !words.is_empty() && !words.contains(&text.as_ref()) {
                    self.unknown_word(&words, text, span, path);
                }
            }
            DeValue::Integer(_) => self.bounds(schema, value, path),
            _ => {}
        }
    }

    fn bounds(&mut self, schema: &Value, value: &Spanned<DeValue<'_>>, path: &str) {
        let Some(number) = integer(value.get_ref()) else { return };
        let bound = |key| schema.get(key).and_then(Value::as_i64).map(i128::from);
        let (minimum, maximum) = (bound("minimum"), bound("maximum"));
        if minimum.is_some_and(|minimum| number < minimum) || maximum.is_some_and(|maximum| number > maximum)
        {
            let range = match (minimum, maximum) {
                (Some(low), Some(high)) => format!("from {low} to {high}"),
                (Some(low), None) => format!("of at least {low}"),
                (_, high) => format!("of at most {}", high.unwrap_or_default()),
            };
            self.problems
                .push(Problem::at(value.span(), format!("{path} takes a number {range}, not {number}")));
        }
    }

    fn table(&mut self, schema: &'s Value, table: &DeTable<'_>, span: &Range<usize>, path: &str) {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        // A map whose keys have a form of their own: the form is left to serde, the values are looked at.
        let by_pattern =
            schema.get("patternProperties").and_then(Value::as_object).and_then(|map| map.values().next());
        let additional = by_pattern.or(schema.get("additionalProperties"));
        for (key, value) in table.iter() {
            let inner = join(path, key.get_ref());
            if let Some(schema) = properties.and_then(|properties| properties.get(key.get_ref().as_ref())) {
                self.value(schema, value, &inner);
            } else if additional == Some(&Value::Bool(false)) {
                let choices = properties.unwrap_or(&none).keys().map(String::as_str);
                let message = format!("unknown key \"{}\"{}", key.get_ref().escape_debug(), place(path));
                self.problems.push(Problem::at(key.span(), message).suggest(key.get_ref(), choices));
            } else if let Some(schema) = additional.filter(|schema| schema.is_object()) {
                self.value(schema, value, &inner);
            }
        }
        for key in
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            if !table.contains_key(key) {
                let message = format!("the key \"{key}\" is missing{}", place(path));
                let problem = Problem::at(span.clone(), message);
                self.problems.push(match description(properties, key) {
                    Some(text) => problem.help(text),
                    None => problem,
                });
            }
        }
    }

    fn one_of(&mut self, several: &[&'s Value], value: &Spanned<DeValue<'_>>, path: &str) {
        let fitting: Vec<&'s Value> =
            several.iter().copied().filter(|one| allows(one, value.get_ref())).collect();
        if fitting.is_empty() {
            return self.wrong_type(several, value, path);
        }
        match value.get_ref() {
            DeValue::String(text) => {
                let free = fitting.iter().any(|one| words(one).is_empty());
                let words: Vec<&str> = fitting.iter().flat_map(|one| words(one)).collect();
                if !free && !words.contains(&text.as_ref()) {
                    self.unknown_word(&words, text, value.span(), path);
                }
            }
            DeValue::Table(table) => self.variant(&fitting, table, value, path),
            _ => self.plain(fitting[0], value, path),
        }
    }

    /// A table that is one of several: a variant of an enum, named by its only key.
    fn variant(
        &mut self,
        several: &[&'s Value],
        table: &DeTable<'_>,
        value: &Spanned<DeValue<'_>>,
        path: &str,
    ) {
        let named = |one: &Value| {
            let properties = one.get("properties").and_then(Value::as_object);
            properties.is_some_and(|properties| {
                table.keys().any(|key| properties.contains_key(key.get_ref().as_ref()))
            })
        };
        if let Some(one) = several.iter().copied().find(|one| named(one)) {
            return self.table(one, table, &value.span(), path);
        }
        let choices: Vec<&str> = several
            .iter()
            .filter_map(|one| one.get("properties")?.as_object())
            .flat_map(|properties| properties.keys().map(String::as_str))
            .collect();
        match table.keys().next() {
            Some(key) => {
                let message = format!("unknown key \"{}\"{}", key.get_ref().escape_debug(), place(path));
                self.problems.push(Problem::at(key.span(), message).suggest(key.get_ref(), choices));
            }
            None => {
                let message = format!("{path} is empty");
                self.problems.push(Problem::at(value.span(), message).suggest("", choices));
            }
        }
    }

    fn unknown_word(&mut self, words: &[&str], text: &str, span: Range<usize>, path: &str) {
        let message = format!("{path} cannot be \"{}\"", text.escape_debug());
        self.problems.push(Problem::at(span, message).suggest(text, words.iter().copied()));
    }

    fn wrong_type(&mut self, schemas: &[&Value], value: &Spanned<DeValue<'_>>, path: &str) {
        let mut wanted: Vec<&str> = schemas.iter().flat_map(|schema| types(schema)).map(article).collect();
        wanted.dedup();
        let message = format!("{path} takes {}, not {}", wanted.join(" or "), article(kind(value.get_ref())));
        self.problems.push(Problem::at(value.span(), message));
    }
}

/// The texts that a schema names.
fn words(schema: &Value) -> Vec<&str> {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    listed.chain(schema.get("const")).filter_map(Value::as_str).collect()
}

/// The JSON types that a schema names, without `null`.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => {
            several.iter().filter_map(Value::as_str).filter(|one| *one != "null").collect()
        }
        _ if schema.get("const").or(schema.get("enum")).is_some() => vec!["string"],
        _ => Vec::new(),
    }
}

fn allows(schema: &Value, value: &DeValue<'_>) -> bool {
    let types = types(schema);
    let kind = kind(value);
    types.is_empty() || types.contains(&kind) || (kind == "integer" && types.contains(&"number"))
}

/// The JSON type of a TOML value.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "date",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    }
}

/// The name of a JSON type as TOML's users know it.
fn article(kind: &str) -> &'static str {
    match kind {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a table",
        _ => "a date",
    }
}

fn integer(value: &DeValue<'_>) -> Option<i128> {
    let number = value.as_integer()?;
    i128::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn place(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" in {path}") }
}

/// The first sentence of a property's description.
fn description(properties: Option<&Map<String, Value>>, key: &str) -> Option<String> {
    let text = properties?.get(key)?.get("description")?.as_str()?;
    Some(format!("{key}: {}", text.split_terminator('.').next()?.replace('\n', " ")))
}
