//! The OpenAPI 3.1 document, made from the table of routes.

use axum::http::Method;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::route::{Answer, Route};
use crate::api::{Error, ErrorKind};
use crate::config::Role;

/// The document.
pub(super) fn document(routes: &[Route]) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            methods.insert(route.method.as_str().to_lowercase(), operation(route, &mut generator));
        }
    }
    let error = generator.subschema_for::<Error>();
    let mut responses = Map::new();
    responses.insert(
        "Error".into(),
        json!({
            "description": "the request failed; `kind` decides the status",
            "content": { "application/json": { "schema": error } },
        }),
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "witvirt",
            "version": "v1",
            "description": "The API of the witvirt daemon on its unix socket. Who calls is decided by the peer's credentials.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true), "responses": responses },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut parameters = path_parameters(route.path);
    if let Some(query) = route.query {
        parameters.extend(query_parameters(query, generator));
    }
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.summary,
        "description": match route.role {
            Role::Full => "Needs the full role.",
            Role::Read => "Needs the read role.",
            Role::None => "Open to everybody who can connect.",
        },
        "responses": responses(route, generator),
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = route.body {
        let schema = body(generator);
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    if route.octets {
        operation["requestBody"] = json!({ "required": true, "content": { "application/octet-stream": {} } });
    }
    operation
}

fn path_parameters(path: &str) -> Vec<Value> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect()
}

/// One parameter for each property of the schema.
fn query_parameters(query: super::route::SchemaOf, generator: &mut SchemaGenerator) -> Vec<Value> {
    let schema = query(generator).to_value();
    let schema = match schema.get("$ref").and_then(Value::as_str).and_then(|target| target.rsplit('/').next())
    {
        Some(name) => generator.definitions_mut().remove(name).unwrap_or_default(),
        None => schema,
    };
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    properties
        .into_iter()
        .map(|(name, schema)| {
            let needed = required.iter().any(|one| one == &Value::String(name.clone()));
            json!({ "name": name, "in": "query", "required": needed, "schema": schema })
        })
        .collect()
}

fn responses(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let (status, answer) = match route.answer {
        Answer::Json(schema) => (
            "200",
            json!({ "description": "done", "content": { "application/json": { "schema": schema(generator) } } }),
        ),
        Answer::Lines(schema) => (
            "200",
            json!({
                "description": "one JSON value in each line, as they come",
                "content": { "application/x-ndjson": { "schema": schema(generator) } },
            }),
        ),
        Answer::Told(end, line) => (
            "200",
            json!({
                "description": "done; with `Accept: application/x-ndjson`, lines of progress up to that",
                "content": {
                    "application/json": { "schema": end(generator) },
                    "application/x-ndjson": { "schema": line(generator) },
                },
            }),
        ),
        Answer::Bytes => (
            "200",
            json!({ "description": "bytes, as they come", "content": { "application/octet-stream": {} } }),
        ),
        Answer::Upgrade => (
            "101",
            json!({ "description": "the connection becomes a stream of bytes; ask with `Connection: Upgrade` and `Upgrade: witvirt-console`" }),
        ),
    };
    let mut responses = Map::new();
    responses.insert(status.into(), answer);
    let mut kinds: Vec<u16> = ErrorKind::ALL.iter().map(|kind| kind.status()).collect();
    if route.method == Method::GET {
        kinds.retain(|status| *status != ErrorKind::TooLarge.status());
    }
    kinds.sort_unstable();
    for status in kinds {
        responses.insert(status.to_string(), json!({ "$ref": "#/components/responses/Error" }));
    }
    responses.into()
}
