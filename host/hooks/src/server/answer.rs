//! From a request to what a hook says of it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use prost::Message;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;
use witvirt_core::ErrorKind;

use super::{DomainCall, Face, Hooks, Identity, Refusal, Server};
use crate::cloud_init::{self, CloudInitData, NoCloudSource};
use crate::message::{
    InfoResult, MutateDomainRequest, MutateDomainResponse, Nothing, OnDefineDomainParams,
    OnDefineDomainResult, PreCloudInitIsoParams, PreCloudInitIsoResult, Subscription,
};
use crate::protocol::{Call, HookPoint, LARGEST_DOCUMENT, REST_OF_MESSAGE};

type Request = http::Request<Incoming>;
type Response = http::Response<tonic::body::Body>;

/// Answers a request, in the time that a call has.
pub(super) async fn answer(
    server: Arc<Server>,
    face: Arc<Face>,
    request: Request,
) -> Result<Response, Infallible> {
    let limit = server.limits.call;
    let path: String = request.uri().path().chars().take(200).collect();
    let answered = tokio::time::timeout(limit, route(server, face, request)).await;
    Ok(answered.unwrap_or_else(|_| {
        tracing::error!(call = path, "no answer within {limit:?}");
        Status::deadline_exceeded(format!("{path} took longer than {limit:?}")).into_http()
    }))
}

async fn route(server: Arc<Server>, face: Arc<Face>, request: Request) -> Response {
    let unknown = |request: &Request| {
        Status::unimplemented(format!("this hook has no {}", request.uri().path().escape_debug())).into_http()
    };
    match (Call::of(request.uri().path()), face.as_ref()) {
        (Some(Call::Info), Face::Sidecar(identity)) => {
            let result = info(&server, identity);
            unary(request, |_: Nothing| async { Ok(result) }).await
        }
        (Some(Call::Callback(version, point)), Face::Sidecar(identity))
            if identity.versions.contains(&version) =>
        {
            match point {
                HookPoint::OnDefineDomain => unary(request, |params| on_define_domain(server, params)).await,
                HookPoint::PreCloudInitIso => {
                    unary(request, |params| pre_cloud_init_iso(server, params)).await
                }
                HookPoint::Shutdown => unary(request, |_: Nothing| shutdown(server)).await,
            }
        }
        (Some(Call::MutateDomain), Face::Structured) => {
            unary(request, |params| mutate_domain(server, params)).await
        }
        _ => unknown(&request),
    }
}

fn info(server: &Server, identity: &Identity) -> InfoResult {
    let subscription =
        |point: HookPoint| Subscription { name: point.as_str().to_owned(), priority: identity.priority };
    InfoResult {
        name: identity.name.clone(),
        hook_points: server.points(identity).into_iter().map(subscription).collect(),
        versions: identity.versions.iter().map(ToString::to_string).collect(),
    }
}

async fn on_define_domain(
    server: Arc<Server>,
    params: OnDefineDomainParams,
) -> Result<OnDefineDomainResult, Status> {
    let call = DomainCall {
        domain: document("domainXML", params.domain_xml)?,
        vmi: text("vmi", params.vmi)?,
        invocation: None,
    };
    let domain_xml =
        run(&server, "OnDefineDomain", move |hooks| hooks.define_domain(&call)).await?.into_bytes();
    Ok(OnDefineDomainResult { domain_xml })
}

async fn mutate_domain(
    server: Arc<Server>,
    params: MutateDomainRequest,
) -> Result<MutateDomainResponse, Status> {
    if params.domain_type != "libvirt" {
        let word: String = params.domain_type.chars().take(64).collect();
        return Err(Status::invalid_argument(format!(
            "domains of type \"{}\" are not edited here, only \"libvirt\"",
            word.escape_debug()
        )));
    }
    let call = DomainCall {
        domain: document("domain", params.domain)?,
        vmi: text("vmi", params.vmi)?,
        invocation: params.sidecar_context.map(|context| context.invocation_context),
    };
    let domain = run(&server, "MutateDomain", move |hooks| hooks.define_domain(&call)).await?.into_bytes();
    Ok(MutateDomainResponse { domain })
}

async fn pre_cloud_init_iso(
    server: Arc<Server>,
    params: PreCloudInitIsoParams,
) -> Result<PreCloudInitIsoResult, Status> {
    if !server.hooks.edits_cloud_init() {
        return Ok(PreCloudInitIsoResult { no_cloud_source: params.no_cloud_source, data: params.data });
    }
    let vmi = text("vmi", params.vmi)?;
    let older: Option<NoCloudSource> = json("cloudInitNoCloudSource", &params.no_cloud_source)?;
    let newer: Option<CloudInitData> = json("cloudInitData", &params.data)?;
    let (with_newer, data) = match (newer, &older) {
        (Some(data), _) => (true, data),
        (None, Some(source)) => (false, of_older_form(source)),
        (None, None) => {
            return Err(Status::invalid_argument(
                "neither cloudInitData nor cloudInitNoCloudSource is given",
            ));
        }
    };
    let data = run(&server, "PreCloudInitIso", move |hooks| hooks.cloud_init(data, &vmi)).await?;
    // Whichever form the caller looks at has the change.
    let older = older.map(|source| NoCloudSource { others: source.others, ..cloud_init::older_form(&data) });
    Ok(PreCloudInitIsoResult {
        no_cloud_source: older.map(|source| bytes(&source)).transpose()?.unwrap_or_default(),
        data: if with_newer { bytes(&data)? } else { Vec::new() },
    })
}

fn of_older_form(source: &NoCloudSource) -> CloudInitData {
    CloudInitData {
        data_source: "noCloud".to_owned(),
        user_data: source.user_data.clone(),
        network_data: source.network_data.clone(),
        ..CloudInitData::default()
    }
}

/// Ends the server once the caller has its answer: connections end gracefully.
async fn shutdown(server: Arc<Server>) -> Result<Nothing, Status> {
    tracing::info!("the machine has ended");
    server.end();
    Ok(Nothing {})
}

/// Runs a hook where it may block.
async fn run<T: Send + 'static>(
    server: &Server,
    call: &'static str,
    work: impl FnOnce(&dyn Hooks) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Status> {
    let closed = |_| Status::unavailable("the sidecar is ending");
    let permit = Arc::clone(&server.running).acquire_owned().await.map_err(closed)?;
    let hooks = Arc::clone(&server.hooks);
    let began = std::time::Instant::now();
    let done = tokio::task::spawn_blocking(move || {
        // Held to the end of the work, also when nobody waits for it any more.
        let _permit = permit;
        work(hooks.as_ref())
    });
    let micros = || u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    match done.await {
        Ok(Ok(result)) => {
            tracing::info!(call, micros = micros(), "answered");
            Ok(result)
        }
        Ok(Err(refusal)) => {
            tracing::error!(call, micros = micros(), "refused: {}", refusal.message);
            Err(Status::new(code(refusal.kind), refusal.message))
        }
        Err(_) => {
            tracing::error!(call, "the hook broke");
            Err(Status::internal("the hook broke; its log says more"))
        }
    }
}

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidInput | ErrorKind::Corrupt => Code::InvalidArgument,
        // Not `Unimplemented`, which is how a missing method is told.
        ErrorKind::Unsupported => Code::FailedPrecondition,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::Limit => Code::ResourceExhausted,
        ErrorKind::Io => Code::Unavailable,
        ErrorKind::Other | ErrorKind::Plugin => Code::Internal,
    }
}

fn document(field: &str, bytes: Vec<u8>) -> Result<String, Status> {
    if bytes.is_empty() {
        return Err(Status::invalid_argument(format!("{field} is empty")));
    }
    if bytes.len() > LARGEST_DOCUMENT {
        let message = format!("{field} has {} bytes, more than {LARGEST_DOCUMENT}", bytes.len());
        return Err(Status::resource_exhausted(message));
    }
    text(field, bytes)
}

fn text(field: &str, bytes: Vec<u8>) -> Result<String, Status> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Status::invalid_argument(format!("{field} is no UTF-8 from byte {at} on"))
    })
}

/// `None` where the field is empty.
fn json<T: serde::de::DeserializeOwned>(field: &str, bytes: &[u8]) -> Result<Option<T>, Status> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let parsed = serde_json::from_slice(bytes);
    parsed.map(Some).map_err(|error| Status::invalid_argument(format!("{field}: {error}")))
}

fn bytes(value: &impl serde::Serialize) -> Result<Vec<u8>, Status> {
    serde_json::to_vec(value).map_err(|error| Status::internal(format!("the result is no JSON: {error}")))
}

/// Reads one message, gives it to `work` and frames what that answers.
async fn unary<M, R, F>(request: Request, work: impl FnOnce(M) -> F + Send) -> Response
where
    M: Message + Default + Send + 'static,
    R: Message + Send + 'static,
    F: Future<Output = Result<R, Status>> + Send + 'static,
{
    tonic::server::Grpc::new(ProstCodec::<R, M>::default())
        .max_decoding_message_size(LARGEST_DOCUMENT + REST_OF_MESSAGE)
        .unary(Once(Some(work)), request)
        .await
}

/// A service that is called once.
struct Once<W>(Option<W>);

impl<M, R, W, F> Service<tonic::Request<M>> for Once<W>
where
    W: FnOnce(M) -> F,
    F: Future<Output = Result<R, Status>> + Send + 'static,
{
    type Response = tonic::Response<R>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<M>) -> Self::Future {
        let Some(work) = self.0.take() else {
            return Box::pin(async { Err(Status::internal("a call is answered once")) });
        };
        let working = work(request.into_inner());
        Box::pin(async { working.await.map(tonic::Response::new) })
    }
}
