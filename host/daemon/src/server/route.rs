//! The table of routes: one entry is the router's, the authorisation's and the OpenAPI document's.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::peer::Peer;
use super::reply::Failure;
use crate::api::{Error, ErrorKind, Progress};
use crate::config::Role;
use crate::service::Service;

/// How long an answer may take to begin where the route does not wait for anything.
const TIMEOUT: Duration = Duration::from_secs(120);

pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What an answer looks like.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// JSON.
    Json(SchemaOf),
    /// JSON values, one in each line, as they come.
    Lines(SchemaOf),
    /// JSON; or lines of progress that end with it, to whoever accepts them.
    Told(SchemaOf, SchemaOf),
    /// Bytes as they come.
    Bytes,
    /// The connection becomes a stream of bytes in both directions.
    Upgrade,
}

/// One method of one path.
pub(super) struct Route {
    pub method: Method,
    pub path: &'static str,
    pub name: &'static str,
    pub summary: &'static str,
    pub role: Role,
    pub query: Option<SchemaOf>,
    pub body: Option<SchemaOf>,
    /// Whether the body is bytes of any kind and length instead.
    pub octets: bool,
    pub answer: Answer,
    pub handler: MethodRouter<Arc<Service>>,
    /// Whether it may take as long as it takes.
    pub unbounded: bool,
}

impl Route {
    /// For those who may look.
    pub fn get<H, T>(path: &'static str, name: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Service>>,
        T: 'static,
    {
        Self::new(Method::GET, MethodFilter::GET, path, name, summary, handler)
    }

    /// For those who may act.
    pub fn post<H, T>(path: &'static str, name: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Service>>,
        T: 'static,
    {
        Self::new(Method::POST, MethodFilter::POST, path, name, summary, handler)
    }

    /// For those who may act.
    pub fn put<H, T>(path: &'static str, name: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Service>>,
        T: 'static,
    {
        Self::new(Method::PUT, MethodFilter::PUT, path, name, summary, handler)
    }

    /// For those who may act.
    pub fn delete<H, T>(path: &'static str, name: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Service>>,
        T: 'static,
    {
        Self::new(Method::DELETE, MethodFilter::DELETE, path, name, summary, handler)
    }

    fn new<H, T>(
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        name: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<Service>>,
        T: 'static,
    {
        let role = if method == Method::GET { Role::Read } else { Role::Full };
        Self {
            method,
            path,
            name,
            summary,
            role,
            query: None,
            body: None,
            octets: false,
            answer: Answer::Json(schema_of::<crate::api::Empty>),
            handler: on(filter, handler),
            unbounded: false,
        }
    }

    /// The query parameters.
    pub fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(schema_of::<T>);
        self
    }

    /// The body.
    pub fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(schema_of::<T>);
        self
    }

    /// A body of bytes, of any length.
    pub fn bytes_body(mut self) -> Self {
        self.octets = true;
        self
    }

    /// A JSON answer.
    pub fn json<T: JsonSchema>(mut self) -> Self {
        self.answer = Answer::Json(schema_of::<T>);
        self
    }

    /// Lines of JSON; takes as long as it takes.
    pub fn lines<T: JsonSchema>(mut self) -> Self {
        self.answer = Answer::Lines(schema_of::<T>);
        self.unbounded()
    }

    /// JSON at the end, or lines of progress up to it; takes as long as it takes.
    pub fn told<T: JsonSchema>(mut self) -> Self {
        self.answer = Answer::Told(schema_of::<T>, schema_of::<Progress<T>>);
        self.unbounded()
    }

    /// Any other answer; takes as long as it takes.
    pub fn answer(mut self, answer: Answer) -> Self {
        self.answer = answer;
        self.unbounded()
    }

    /// Takes as long as it takes.
    pub fn unbounded(mut self) -> Self {
        self.unbounded = true;
        self
    }

    /// Who may call it.
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// The handler behind the check of who calls, and the clock.
    pub fn guarded(self) -> MethodRouter<Arc<Service>> {
        let (needed, unbounded) = (self.role, self.unbounded);
        self.handler.layer(axum::middleware::from_fn(move |request: Request, next: Next| async move {
            guard(needed, unbounded, request, next).await
        }))
    }
}

async fn guard(needed: Role, unbounded: bool, request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return Failure(Error::new(ErrorKind::Internal, "the caller is not known")).into_response();
    };
    if peer.role < needed {
        tracing::warn!(uid = peer.uid, gid = peer.gid, method = %request.method(), path = request.uri().path(), "denied");
        return Failure(denied(peer, needed)).into_response();
    }
    if unbounded {
        return next.run(request).await;
    }
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Failure(Error::new(ErrorKind::Timeout, format!("no answer after {TIMEOUT:?}"))).into_response()
        }
    }
}

fn denied(peer: Peer, needed: Role) -> Error {
    let (may, key) = match needed {
        Role::Full => ("change anything", "full-uids"),
        _ => ("look at anything", "read-uids or full-uids"),
    };
    Error::new(ErrorKind::Denied, format!("user {} may not {may} here", peer.uid))
        .hint(format!("let the operator add {} to [api] {key} in witvirt.toml", peer.uid))
}

pub(super) fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
