//! What a registry wants to see before it answers: nothing, user and password, or a token that a token server gives for
//! them (distribution's "token authentication").

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::{Origin, Url};
use witvirt_disk::{Error, ErrorKind};

use super::endpoint::Endpoint;
use crate::access::{Credential, Login, RegistryAccess, Secret, sensitive};
use crate::client::{Client, Plain, authority, full};
use crate::failure::{Attempt, Failure};
use crate::label;

/// Longest answer of a token server in bytes.
const TOKEN_LIMIT: u64 = 256 << 10;

/// How long a token lives whose server does not say.
const USUAL_LIFE: Duration = Duration::from_secs(60);

/// What a token is to allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Actions {
    Pull,
    PullAndPush,
}

/// One caller at one repository of one server.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) plain: Plain,
    /// Of the registry's API: where credentials go.
    origin: Origin,
    host: String,
    repository: String,
    actions: Actions,
    access: RegistryAccess,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    header: Option<HeaderValue>,
    /// When the token should be replaced.
    stale: Option<Instant>,
    challenge: Option<Challenge>,
}

/// How the registry wants to be convinced.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Session {
    pub(super) fn new(
        client: Client,
        endpoint: &Endpoint,
        actions: Actions,
        access: RegistryAccess,
        plain: Arc<[String]>,
    ) -> Self {
        Self {
            client,
            plain: Plain::Only(plain),
            origin: endpoint.url(&[]).origin(),
            host: endpoint.host.clone(),
            repository: endpoint.repository.clone(),
            actions,
            access,
            state: Mutex::default(),
        }
    }

    /// Where credentials go.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What to send; nothing until the registry has asked for it.
    pub(crate) async fn headers(&self) -> Attempt<HeaderMap> {
        let mut state = self.state.lock().await;
        let stale = state.stale.is_some_and(|stale| Instant::now() >= stale);
        if stale && let Some(challenge) = state.challenge.clone() {
            self.answer(&mut state, challenge).await?;
        }
        let mut headers = HeaderMap::new();
        if let Some(header) = &state.header {
            headers.insert(AUTHORIZATION, header.clone());
        }
        Ok(headers)
    }

    /// Does what the registry asks for in the answer to a request that was sent with `used`.
    pub(crate) async fn renew(&self, headers: &HeaderMap, used: Option<&HeaderValue>) -> Attempt<()> {
        let mut state = self.state.lock().await;
        if state.header.is_some() && state.header.as_ref() != used {
            // Somebody else did meanwhile.
            return Ok(());
        }
        let challenge = self.challenge(headers)?;
        if challenge == Challenge::Basic && used.is_some() {
            return Err(self.refused());
        }
        self.answer(&mut state, challenge).await
    }

    async fn answer(&self, state: &mut State, challenge: Challenge) -> Attempt<()> {
        let credential = self.access.credential(&self.host, &self.repository).await;
        let credential = credential.map_err(|error| Failure::lasting(error.kind(), error.to_string()))?;
        let (header, life) = match (&challenge, credential) {
            (Challenge::Basic, Some(Credential::Login(login @ Login::Basic { .. }))) => {
                (login.header().map_err(given)?, None)
            }
            (Challenge::Basic, _) => {
                let message = format!("{} wants a user and a password, and none are given for it", self.host);
                return Err(Failure::lasting(ErrorKind::Denied, message));
            }
            // A token for the registry itself.
            (Challenge::Bearer { .. }, Some(Credential::Login(login @ Login::Bearer(_)))) => {
                (login.header().map_err(given)?, None)
            }
            (Challenge::Bearer { realm, service }, credential) => {
                let (token, life) = self
                    .token(realm, service.as_deref(), credential)
                    .await
                    .map_err(|failure| failure.during(format!("the token server {}", label::of(realm))))?;
                let header = Login::Bearer(token).header().map_err(given)?;
                (header, Some(life))
            }
        };
        state.header = Some(header);
        // A little early: the clocks of three hosts are involved.
        state.stale = life.map(|life| Instant::now() + life * 4 / 5);
        state.challenge = Some(challenge);
        Ok(())
    }

    fn challenge(&self, headers: &HeaderMap) -> Attempt<Challenge> {
        let mut basic = false;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let Some(challenges) =
                value.to_str().ok().and_then(|text| http_auth::parse_challenges(text).ok())
            else {
                continue;
            };
            for challenge in challenges {
                basic |= challenge.scheme.eq_ignore_ascii_case("basic");
                if !challenge.scheme.eq_ignore_ascii_case("bearer") {
                    continue;
                }
                let parameter = |name: &str| {
                    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                let Some(realm) = parameter("realm") else { continue };
                return self.bearer(&realm, parameter("service"));
            }
        }
        if basic {
            return Ok(Challenge::Basic);
        }
        let message = format!("{} wants credentials of a kind that is not known here", self.host);
        Err(Failure::lasting(ErrorKind::Denied, message))
    }

    /// Credentials go where the registry says, so at least nobody on the way may read them.
    fn bearer(&self, realm: &str, service: Option<String>) -> Attempt<Challenge> {
        let refused = |what: String| {
            let message = format!("{}: the token server {what}", self.host);
            Failure::lasting(ErrorKind::Denied, message)
        };
        let mut realm = Url::parse(realm).map_err(|_| refused("has no usable URL".to_owned()))?;
        let _ = realm.set_username("");
        let _ = realm.set_password(None);
        let plain = matches!(&self.plain, Plain::Only(hosts) if hosts.contains(&authority(&realm)));
        match realm.scheme() {
            "https" => {}
            "http" if plain => {}
            _ => return Err(refused(format!("{} is not asked: it is no https", label::of(&realm)))),
        }
        Ok(Challenge::Bearer { realm, service })
    }

    async fn token(
        &self,
        realm: &Url,
        service: Option<&str>,
        credential: Option<Credential>,
    ) -> Attempt<(Secret, Duration)> {
        let actions = match self.actions {
            Actions::Pull => "pull",
            Actions::PullAndPush => "pull,push",
        };
        // What is needed, and not what the registry's challenge would like.
        let scope = format!("repository:{}:{actions}", self.repository);
        let response = match credential {
            Some(Credential::Identity(token)) => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.append_pair("grant_type", "refresh_token");
                form.append_pair("client_id", "witvirt");
                form.append_pair("scope", &scope);
                form.append_pair("service", service.unwrap_or_default());
                form.append_pair("refresh_token", token.expose());
                let mut headers = HeaderMap::new();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
                self.client.send(Method::POST, realm, headers, full(form.finish().into()), None).await?
            }
            credential => {
                let mut url = realm.clone();
                let mut query = url.query_pairs_mut();
                query.append_pair("scope", &scope);
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                drop(query);
                let mut secrets = HeaderMap::new();
                if let Some(Credential::Login(login)) = &credential {
                    secrets.insert(AUTHORIZATION, login.header().map_err(given)?);
                }
                let none = HeaderMap::new();
                self.client.follow(Method::GET, &url, &none, &secrets, &self.plain).await?.0
            }
        };
        if response.status() != StatusCode::OK {
            return Err(Failure::status(response.status(), response.headers()));
        }
        let body = self.client.collect(response, TOKEN_LIMIT).await?;
        let corrupt = || Failure::lasting(ErrorKind::Corrupt, "an answer that holds no token");
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| corrupt())?;
        let token = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty());
        let token = Secret::new(token.ok_or_else(corrupt)?);
        sensitive(token.expose(), "a token").map_err(|_| corrupt())?;
        let life = answer.expires_in.filter(|seconds| *seconds > 0).map_or(USUAL_LIFE, Duration::from_secs);
        Ok((token, life.min(Duration::from_secs(24 * 3600))))
    }

    fn refused(&self) -> Failure {
        let message = format!("{} refuses the credentials", self.host);
        Failure::lasting(ErrorKind::Denied, message)
    }
}

/// What is wrong with credentials that the caller gave.
fn given(error: Error) -> Failure {
    Failure { error, retry: crate::failure::Retry::Never }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::{HeaderValue, WWW_AUTHENTICATE};
    use witvirt_disk::ErrorKind;

    use super::{Actions, Challenge, Endpoint, Session};
    use crate::access::RegistryAccess;
    use crate::client::Client;
    use crate::config::FetchConfig;
    use crate::reach::Reach;
    use crate::tls::Authorities;

    fn session() -> Session {
        let config = FetchConfig::default();
        let client = Client::new(&config.http, &Authorities::default(), &Reach::default()).unwrap();
        let reference = "registry.example/a/b".parse().unwrap();
        let endpoint = Endpoint::origin(&config, &reference).unwrap();
        let plain = ["plain.example:5001".to_owned()];
        Session::new(client, &endpoint, Actions::Pull, RegistryAccess::anonymous(), plain.into())
    }

    fn challenge(texts: &[&str]) -> Result<Challenge, ErrorKind> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap());
        }
        session().challenge(&headers).map_err(|failure| failure.error.kind())
    }

    #[test]
    fn challenges() {
        let bearer = |realm: &str, service: Option<&str>| {
            Ok(Challenge::Bearer { realm: realm.parse().unwrap(), service: service.map(str::to_owned) })
        };
        let usual = r#"Bearer realm="https://auth.example/t",service="s, x",scope="repository:evil:pull""#;
        assert_eq!(challenge(&[usual]), bearer("https://auth.example/t", Some("s, x")));
        assert_eq!(challenge(&["Basic realm=\"x\"", usual]), bearer("https://auth.example/t", Some("s, x")));
        assert_eq!(challenge(&["basic realm=\"x\""]), Ok(Challenge::Basic));
        let plain = r#"bearer realm="http://plain.example:5001/t""#;
        assert_eq!(challenge(&[plain]), bearer("http://plain.example:5001/t", None));
        for bad in [
            r#"Bearer realm="http://auth.example/t""#,
            r#"Bearer realm="http://plain.example/t""#,
            r#"Bearer realm="ftp://auth.example/t""#,
            r#"Bearer realm="nowhere""#,
            "Bearer service=x",
            "Negotiate",
            "\"\"\"",
        ] {
            assert_eq!(challenge(&[bad]), Err(ErrorKind::Denied), "{bad}");
        }
        assert_eq!(challenge(&[]), Err(ErrorKind::Denied));
    }
}
