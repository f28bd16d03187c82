//! What went wrong with one request, and whether to try it again.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, StatusCode};
use witvirt_disk::{Error, ErrorKind};

use crate::client::Limits;
use crate::reach::Refused;

/// The first pause before a request is tried again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// What comes of one request.
pub(crate) type Attempt<T> = Result<T, Failure>;

/// A request that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) retry: Retry,
}

/// Whether the same request may succeed when it is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    Never,
    Soon,
    /// The server said when.
    After(Duration),
}

impl Failure {
    /// One that repeating does not help.
    pub(crate) fn lasting(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { error: Error::new(kind, message), retry: Retry::Never }
    }

    /// One that may be over soon.
    pub(crate) fn passing(message: impl Into<String>) -> Self {
        Self { error: Error::new(ErrorKind::Unavailable, message), retry: Retry::Soon }
    }

    /// From an answer that is not the one that was hoped for.
    pub(crate) fn status(status: StatusCode, headers: &HeaderMap) -> Self {
        let (kind, retry) = match status.as_u16() {
            401 | 403 | 407 | 451 => (ErrorKind::Denied, Retry::Never),
            404 | 410 => (ErrorKind::NotFound, Retry::Never),
            408 | 425 | 429 | 500 | 502..=504 => (ErrorKind::Unavailable, Retry::Soon),
            _ => (ErrorKind::Unsupported, Retry::Never),
        };
        let retry = match (retry, retry_after(headers)) {
            (Retry::Soon, Some(pause)) => Retry::After(pause),
            (retry, _) => retry,
        };
        let hint = match status.as_u16() {
            401 => ": it wants other credentials",
            403 => ": these credentials do not suffice",
            407 => ": the proxy wants credentials",
            _ => "",
        };
        Self { error: Error::new(kind, format!("the server answers {status}{hint}")), retry }
    }

    /// From a request that got no answer.
    pub(crate) fn connection(error: &(dyn StdError + 'static)) -> Self {
        if let Some(refused) = find::<Refused>(error) {
            return Self::lasting(ErrorKind::Denied, refused.to_string());
        }
        if let Some(tls) = find::<rustls::Error>(error) {
            let untrusted = matches!(tls, rustls::Error::InvalidCertificate(_));
            let advice = if untrusted { "; a private authority is made known with ca-file" } else { "" };
            let message = format!("no secure connection: {tls}{advice}");
            return Self::lasting(
                if untrusted { ErrorKind::Denied } else { ErrorKind::Unsupported },
                message,
            );
        }
        Self::passing(format!("the connection failed: {}", root_cause(error)))
    }

    /// The same failure with `what` was being done in front.
    #[must_use]
    pub(crate) fn during(self, what: impl std::fmt::Display) -> Self {
        Self { error: self.error.during(what), retry: self.retry }
    }
}

/// The last of the causes: those before it repeat that something failed.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // What an io::Error carries is not among its sources, only the sources of it are.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(inner) = inner
            && let Some(found) = find::<E>(inner)
        {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// How long one operation goes on trying.
#[derive(Debug)]
pub(crate) struct Patience {
    attempts: u32,
    left: u32,
    pause: Duration,
    longest: Duration,
}

impl Patience {
    /// `attempts` is how often the request is sent in all.
    pub(crate) fn new(limits: &Limits, attempts: u32) -> Self {
        let attempts = attempts.max(1);
        Self { attempts, left: attempts, pause: FIRST_PAUSE, longest: limits.longest_pause }
    }

    /// There was progress: what failed before does not count any more.
    pub(crate) fn renew(&mut self) {
        self.left = self.attempts;
        self.pause = FIRST_PAUSE;
    }

    /// Waits until it is time to try again.
    ///
    /// # Errors
    /// The failure's own when it is time to give up.
    pub(crate) async fn wait(&mut self, failure: Failure) -> Result<(), Error> {
        self.left = self.left.saturating_sub(1);
        let asked = match failure.retry {
            Retry::Never => return Err(failure.error),
            Retry::Soon => Duration::ZERO,
            Retry::After(asked) => asked,
        };
        if asked > self.longest {
            let message = format!("{}; it asks for a pause of {} s", failure.error, asked.as_secs());
            return Err(Error::new(failure.error.kind(), message));
        }
        if self.left == 0 {
            return Err(match self.attempts {
                1 => failure.error,
                attempts => {
                    let message = format!("{} (tried {attempts} times)", failure.error);
                    Error::new(failure.error.kind(), message)
                }
            });
        }
        tracing::debug!(error = %failure.error, left = self.left, "trying again");
        tokio::time::sleep(jittered(self.pause).max(asked).min(self.longest)).await;
        self.pause = (self.pause * 2).min(self.longest);
        Ok(())
    }
}

/// Between half of it and all of it, so that those who failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let share = (RandomState::new().hash_one(0) % 512 + 512) as u32;
    pause * share / 1024
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use hyper::header::{HeaderValue, RETRY_AFTER};
    use hyper::{HeaderMap, StatusCode};
    use witvirt_disk::ErrorKind;

    use super::{Failure, Patience, Retry, jittered};
    use crate::client::Limits;

    fn failure(status: u16, retry_after: Option<&str>) -> Failure {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        }
        Failure::status(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn statuses_have_kinds() {
        for (status, kind, retry) in [
            (401, ErrorKind::Denied, Retry::Never),
            (403, ErrorKind::Denied, Retry::Never),
            (404, ErrorKind::NotFound, Retry::Never),
            (429, ErrorKind::Unavailable, Retry::Soon),
            (503, ErrorKind::Unavailable, Retry::Soon),
            (501, ErrorKind::Unsupported, Retry::Never),
            (400, ErrorKind::Unsupported, Retry::Never),
        ] {
            let failure = failure(status, None);
            assert_eq!((failure.error.kind(), failure.retry), (kind, retry), "{status}");
        }
    }

    #[test]
    fn servers_say_when() {
        assert_eq!(failure(503, Some("7")).retry, Retry::After(Duration::from_secs(7)));
        assert_eq!(failure(404, Some("7")).retry, Retry::Never);
        assert_eq!(failure(503, Some("soon")).retry, Retry::Soon);
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        let Retry::After(pause) = failure(429, Some(&date)).retry else { panic!("no date") };
        assert!((90..=100).contains(&pause.as_secs()), "{pause:?}");
        assert_eq!(failure(429, Some("Wed, 21 Oct 2015 07:28:00 GMT")).retry, Retry::After(Duration::ZERO));
    }

    #[tokio::test]
    async fn patience_ends() {
        let limits = Limits { longest_pause: Duration::from_millis(10), ..Limits::default() };
        let mut patience = Patience::new(&limits, 3);
        patience.wait(Failure::passing("a")).await.unwrap();
        patience.renew();
        patience.wait(Failure::passing("b")).await.unwrap();
        patience.wait(Failure::passing("c")).await.unwrap();
        let error = patience.wait(Failure::passing("d")).await.unwrap_err();
        assert_eq!(error.to_string(), "d (tried 3 times)");
        let error = Patience::new(&limits, 3).wait(failure(503, Some("3600"))).await.unwrap_err();
        assert!(error.to_string().contains("3600 s"), "{error}");
    }

    #[test]
    fn pauses_differ() {
        let pauses: std::collections::BTreeSet<_> =
            (0..32).map(|_| jittered(Duration::from_secs(1))).collect();
        assert!(pauses.len() > 8);
        assert!(pauses.iter().all(|pause| (500..=1000).contains(&pause.as_millis())));
    }
}
