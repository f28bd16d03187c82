//! TOML that people write: read into a type, with every mistake reported at its line.
//!
//! The type's JSON schema is the one list of keys and values. [`read`] first walks the document along the schema and
//! collects everything that does not fit, then lets serde have the last word.

mod check;
mod problem;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use problem::{Problem, Problems};

/// A document that was read: the value and where its keys were.
#[derive(Debug)]
pub struct Document<T> {
    /// The value.
    pub value: T,
    spans: Spans,
}

/// Where the parts of a document are.
#[derive(Debug)]
struct Spans(Spanned<DeTable<'static>>);

impl<T> Document<T> {
    /// The bytes of the text that a path names: keys and array indices. The nearest part that exists where the path leads
    /// nowhere.
    pub fn span(&self, path: &[&str]) -> std::ops::Range<usize> {
        let table = self.spans.0.get_ref();
        let Some((first, rest)) = path.split_first() else { return self.spans.0.span() };
        let Some(mut value) = table.get(*first) else { return self.spans.0.span() };
        for step in rest {
            let inner = match value.get_ref() {
                DeValue::Table(table) => table.get(*step),
                DeValue::Array(array) => step.parse().ok().and_then(|index: usize| array.get(index)),
                _ => None,
            };
            match inner {
                Some(inner) => value = inner,
                None => break,
            }
        }
        value.span()
    }
}

/// Reads a TOML text. `name` is the file's name for messages.
///
/// # Errors
/// Every mistake: of syntax (all of them), else of keys, types and values (all of them), else serde's first.
pub fn read<T: DeserializeOwned + schemars::JsonSchema>(
    name: &str,
    text: &str,
) -> Result<Document<T>, Problems> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problems =
            errors.iter().map(|error| Problem::at(error.span().unwrap_or(0..0), error.message())).collect();
        return Err(Problems::new(name, text, problems));
    }
    let schema = schemars::schema_for!(T).to_value();
    let problems = check::against_schema(&schema, &table);
    if !problems.is_empty() {
        return Err(Problems::new(name, text, problems));
    }
    let value = T::deserialize(toml::de::Deserializer::from(table.clone())).map_err(|error| {
        let problem = Problem::at(error.span().unwrap_or(0..0), error.message());
        Problems::new(name, text, vec![problem])
    })?;
    Ok(Document { value, spans: spans(table) })
}

/// As [`read`], for types that refuse unknown keys and have no bounds that only their schema knows: what serde takes is right
/// then, and the schema, megabytes of memory that a process keeps, is made only to tell mistakes.
///
/// # Errors
/// As [`read`].
pub fn read_by_type<T: DeserializeOwned + schemars::JsonSchema>(
    name: &str,
    text: &str,
) -> Result<Document<T>, Problems> {
    let (table, errors) = DeTable::parse_recoverable(text);
    match T::deserialize(toml::de::Deserializer::from(table.clone())) {
        Ok(value) if errors.is_empty() => Ok(Document { value, spans: spans(table) }),
        _ => read(name, text),
    }
}

fn spans(table: Spanned<DeTable<'_>>) -> Spans {
    let (span, mut owned) = (table.span(), table.into_inner());
    owned.make_owned();
    Spans(Spanned::new(span, into_static(owned)))
}

/// `make_owned` leaves nothing borrowed, but keeps the lifetime in the type; this rebuilds it without.
fn into_static(table: DeTable<'_>) -> DeTable<'static> {
    table
        .into_iter()
        .map(|(key, value)| (respan(key, |key| key.into_owned().into()), respan(value, static_value)))
        .collect()
}

fn static_value(value: DeValue<'_>) -> DeValue<'static> {
    match value {
        DeValue::Table(table) => DeValue::Table(into_static(table)),
        DeValue::Array(array) => {
            DeValue::Array(array.into_iter().map(|item| respan(item, static_value)).collect())
        }
        // Scalars keep their place only: nobody asks this copy for their values.
        _ => DeValue::Boolean(true),
    }
}

fn respan<A, B>(spanned: Spanned<A>, convert: impl FnOnce(A) -> B) -> Spanned<B> {
    let span = spanned.span();
    Spanned::new(span, convert(spanned.into_inner()))
}
