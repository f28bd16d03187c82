//! One URL, asked again and again by one caller.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Method, Response, StatusCode};
use url::Url;

use crate::client::{Client, Plain};
use crate::failure::Attempt;
use crate::registry::Session;

/// One URL, with what its caller presents to the server.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) client: Client,
    pub(crate) url: Url,
    pub(crate) auth: Auth,
    pub(crate) plain: Plain,
    /// Where the last redirect led. The next request goes there at once: a redirector that knows several mirrors would send
    /// each range to another one, and signed URLs live for a while.
    target: Mutex<Option<Url>>,
}

/// Who the caller is.
#[derive(Debug, Clone)]
pub(crate) enum Auth {
    /// Always the same headers.
    Fixed(HeaderMap),
    /// A registry's tokens.
    Session(Arc<Session>),
}

impl Resource {
    pub(crate) fn new(client: Client, url: Url, auth: Auth, plain: Plain) -> Self {
        Self { client, url, auth, plain, target: Mutex::new(None) }
    }

    /// Sends a GET or HEAD. Refused credentials are renewed once, and where a redirect led is asked for anew once.
    ///
    /// # Errors
    /// When there is no answer. An answer of any status is none.
    pub(crate) async fn ask(&self, method: Method, headers: &HeaderMap) -> Attempt<Response<Incoming>> {
        let (mut renewed, mut resolved) = (false, false);
        loop {
            let target = self.target();
            let direct = target.as_ref().is_none_or(|target| target.origin() == self.url.origin());
            let secrets = if direct { self.auth.headers().await? } else { HeaderMap::new() };
            let start = target.as_ref().unwrap_or(&self.url);
            let answer = self.client.follow(method.clone(), start, headers, &secrets, &self.plain).await;
            let (response, at) = match answer {
                Ok(answer) => answer,
                // The host that it led to is away; the origin may know another.
                Err(_) if target.is_some() && !resolved => {
                    resolved = true;
                    self.set_target(None);
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED
                && at.origin() == self.url.origin()
                && !renewed
                && let Auth::Session(session) = &self.auth
            {
                renewed = true;
                let challenge = response.headers().clone();
                self.client.drain(response).await;
                session.renew(&challenge, secrets.get(AUTHORIZATION)).await?;
                continue;
            }
            if target.is_some() && !resolved && matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410) {
                resolved = true;
                self.set_target(None);
                continue;
            }
            if status.is_success() && at != self.url {
                self.set_target(Some(at));
            }
            return Ok(response);
        }
    }

    fn target(&self) -> Option<Url> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_target(&self, target: Option<Url>) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }
}

impl Auth {
    /// What goes to the origin alone.
    pub(crate) async fn headers(&self) -> Attempt<HeaderMap> {
        match self {
            Self::Fixed(headers) => Ok(headers.clone()),
            Self::Session(session) => session.headers().await,
        }
    }
}
