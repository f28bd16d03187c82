//! The side of a launcher: calls of a hook sidecar behind a socket.

mod connection;
mod error;
mod hook;

use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message;

pub use error::{Failure, SidecarError};
pub use hook::Sidecars;

use crate::cloud_init::{self, CloudInitData};
use crate::message::{
    InfoResult, MutateDomainRequest, MutateDomainResponse, Nothing, OnDefineDomainParams,
    OnDefineDomainResult, PreCloudInitIsoParams, PreCloudInitIsoResult, SidecarContext,
};
use crate::protocol::{Call, HookPoint, LARGEST_DOCUMENT, REST_OF_MESSAGE, Version};
use connection::Connection;

/// Bytes of an answer to `Info`, and of one without fields.
const SMALL: usize = 64 << 10;
/// Time to connect, and to answer `Info`; KubeVirt's.
const DIAL: Duration = Duration::from_secs(1);

/// What a sidecar says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name, at most 200 characters.
    pub name: String,
    /// The newest version that both sides speak.
    pub version: Version,
    /// What it subscribed to; words that are no hook point are passed over.
    pub points: Vec<HookPoint>,
}

/// A connection to a sidecar that has said what it is.
pub struct Sidecar {
    socket: PathBuf,
    offer: Offer,
    connection: Connection,
}

impl Sidecar {
    /// Connects and asks `Info`.
    ///
    /// # Errors
    /// [`SidecarError`]: it cannot be reached, does not answer within a second each, or speaks no version known here.
    pub async fn discover(socket: &Path) -> Result<Self, SidecarError> {
        let failed = |failure| SidecarError::new(socket, "Info", None, failure);
        let connection = within(DIAL, Connection::open(socket)).await.map_err(failed)?;
        let asking = connection.call::<_, InfoResult>(Call::Info, Nothing {}, SMALL, DIAL);
        let offer = offer(within(DIAL, asking).await.map_err(failed)?).map_err(failed)?;
        Ok(Self { socket: socket.to_owned(), offer, connection })
    }

    /// What it said of itself.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The domain as the sidecar wants it; as it was where the sidecar has not subscribed. `vmi` is JSON.
    ///
    /// # Errors
    /// [`SidecarError`].
    pub async fn on_define_domain(
        &self,
        domain: &str,
        vmi: &str,
        time: Duration,
    ) -> Result<String, SidecarError> {
        if !self.offer.points.contains(&HookPoint::OnDefineDomain) {
            return Ok(domain.to_owned());
        }
        let params = OnDefineDomainParams { domain_xml: domain.into(), vmi: vmi.into() };
        let result: OnDefineDomainResult = self.ask(HookPoint::OnDefineDomain, params, time).await?;
        self.document(result.domain_xml)
    }

    /// The data of cloud-init as the sidecar wants it; as it was where the sidecar has not subscribed.
    ///
    /// # Errors
    /// [`SidecarError`].
    pub async fn pre_cloud_init_iso(
        &self,
        data: &CloudInitData,
        vmi: &str,
        time: Duration,
    ) -> Result<CloudInitData, SidecarError> {
        let point = HookPoint::PreCloudInitIso;
        if !self.offer.points.contains(&point) || !self.offer.version.has(point) {
            return Ok(data.clone());
        }
        let failed = |failure| self.failed(point, failure);
        let json = |error: serde_json::Error| {
            failed(Failure::Nonsense(format!("what it is sent is no JSON: {error}")))
        };
        let params = PreCloudInitIsoParams {
            no_cloud_source: serde_json::to_vec(&cloud_init::older_form(data)).map_err(json)?,
            vmi: vmi.into(),
            data: serde_json::to_vec(data).map_err(json)?,
        };
        let result: PreCloudInitIsoResult = self.ask(point, params, time).await?;
        let answer = cloud_init::answer(data, &result.data, &result.no_cloud_source);
        answer.map_err(|reason| failed(Failure::Nonsense(reason)))
    }

    /// Tells it that the machine has ended; does nothing where it cannot be told.
    ///
    /// # Errors
    /// [`SidecarError`].
    pub async fn shutdown(&self, time: Duration) -> Result<(), SidecarError> {
        let point = HookPoint::Shutdown;
        if !self.offer.points.contains(&point) || !self.offer.version.has(point) {
            return Ok(());
        }
        self.ask::<_, Nothing>(point, Nothing {}, time).await.map(drop)
    }

    async fn ask<P, R>(&self, point: HookPoint, params: P, time: Duration) -> Result<R, SidecarError>
    where
        P: Message + Send + Sync + 'static,
        R: Message + Default + Send + Sync + 'static,
    {
        let limit = if point == HookPoint::Shutdown { SMALL } else { LARGEST_DOCUMENT + REST_OF_MESSAGE };
        let asking = self.connection.call(Call::Callback(self.offer.version, point), params, limit, time);
        within(time, asking).await.map_err(|failure| self.failed(point, failure))
    }

    fn failed(&self, point: HookPoint, failure: Failure) -> SidecarError {
        SidecarError::new(&self.socket, point.as_str(), Some(self.offer.version), failure)
    }

    fn document(&self, bytes: Vec<u8>) -> Result<String, SidecarError> {
        text(bytes).map_err(|failure| self.failed(HookPoint::OnDefineDomain, failure))
    }
}

/// Calls the domain hook of a structured plugin, as its launcher would when a machine boots. `vmi` is JSON.
///
/// # Errors
/// [`SidecarError`].
pub async fn mutate_domain(
    socket: &Path,
    domain: &str,
    vmi: &str,
    time: Duration,
) -> Result<String, SidecarError> {
    let failed = |failure| SidecarError::new(socket, Call::MutateDomain.name(), None, failure);
    let connection = within(DIAL, Connection::open(socket)).await.map_err(failed)?;
    let request = MutateDomainRequest {
        domain_type: "libvirt".to_owned(),
        domain: domain.into(),
        vmi: vmi.into(),
        sidecar_context: Some(SidecarContext { invocation_context: "Boot".to_owned() }),
    };
    let asking = connection.call(Call::MutateDomain, request, LARGEST_DOCUMENT + REST_OF_MESSAGE, time);
    let response: MutateDomainResponse = within(time, asking).await.map_err(failed)?;
    text(response.domain).map_err(failed)
}

fn offer(info: InfoResult) -> Result<Offer, Failure> {
    let Some(version) = Version::newest_of(info.versions.iter().map(String::as_str)) else {
        let mut offered = info.versions;
        offered.truncate(8);
        let words = offered.iter().map(|word| word.chars().take(32).collect()).collect();
        return Err(Failure::NoCommonVersion(words));
    };
    let subscribed = |point: &HookPoint| info.hook_points.iter().any(|one| one.name == point.as_str());
    Ok(Offer {
        name: info.name.chars().filter(|letter| !letter.is_control()).take(200).collect(),
        version,
        points: HookPoint::ALL.into_iter().filter(subscribed).collect(),
    })
}

fn text(bytes: Vec<u8>) -> Result<String, Failure> {
    if bytes.is_empty() {
        return Err(Failure::Nonsense("its answer is empty".to_owned()));
    }
    if bytes.len() > LARGEST_DOCUMENT {
        return Err(Failure::TooLarge(LARGEST_DOCUMENT));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::Nonsense(format!("its answer is no UTF-8 from byte {at} on"))
    })
}

async fn within<T>(time: Duration, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(time, work).await.unwrap_or(Err(Failure::NoAnswer(time)))
}
