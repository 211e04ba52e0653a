//! The HTTP clients of token errands, and one bounded call on them.
//!
//! Two clients, because their rules differ: Entra may be reached through the proxy of the
//! environment, metadata endpoints never, since a proxy could answer with any token. Neither
//! follows a redirect: the request carries a secret.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, NoProxy, Proxy, RequestBuilder};
use tokio::sync::Semaphore;
use url::Url;

use super::endpoint;
use super::pin::{self, Thumbprint};
use crate::settings::Env;

/// The clients of one process; they work on whichever runtime calls them.
pub struct Clients {
    entra: Client,
    direct: Client,
    /// Azure allows five concurrent identity calls per machine; one is left to others.
    metadata_calls: Semaphore,
}

/// Why the clients cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum NoClients {
    /// A proxy variable does not hold an address.
    #[error("{variable} is not the address of a proxy")]
    Proxy {
        /// The variable.
        variable: &'static str,
    },
    /// The HTTP library refused.
    #[error("the clients for token requests could not be built ({0})")]
    Build(#[from] reqwest::Error),
}

/// What an endpoint answered, read to its end.
#[derive(Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) is_html: bool,
    pub(super) retry_after: Option<Duration>,
    /// `WWW-Authenticate`.
    pub(super) challenge: Option<String>,
    pub(super) body: String,
}

impl fmt::Debug for Reply {
    /// Without the body, which may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoReply {
    Transport(reqwest::Error),
    Tls(rustls::Error),
    TooLong,
}

/// A token reply is 2-4 KiB; nothing sensible is longer.
const BODY_MAX: usize = 64 * 1024;

/// Waits of hours occur in `Retry-After`.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

impl Clients {
    /// Clients that trust what `tls` trusts and take `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`
    /// from `env`.
    ///
    /// The TLS configuration brings its own crypto provider, so no process default is needed.
    pub fn new(tls: &rustls::ClientConfig, env: &Env) -> Result<Self, NoClients> {
        let mut entra = builder(tls).connect_timeout(Duration::from_secs(5));
        if let Some(proxy) = proxy(env)? {
            entra = entra.proxy(proxy);
        }
        Ok(Self {
            entra: entra.timeout(Duration::from_secs(20)).build()?,
            direct: direct(tls)?,
            metadata_calls: Semaphore::new(4),
        })
    }

    /// A POST to Entra; an authority on this machine is called without a proxy.
    pub(super) fn post(&self, authority: &Url, path: &str) -> RequestBuilder {
        let is_here = endpoint::is_loopback(authority);
        let client = if is_here { &self.direct } else { &self.entra };
        client.post(endpoint::join(authority, path))
    }

    /// A GET from a metadata endpoint, never through a proxy; waits for its turn.
    pub(super) async fn metadata(&self, url: Url, headers: HeaderMap) -> Result<Reply, NoReply> {
        self.in_turn(self.direct.get(url).headers(headers)).await
    }

    /// A POST to a metadata endpoint.
    pub(super) async fn metadata_form(
        &self,
        url: Url,
        headers: HeaderMap,
        form: String,
    ) -> Result<Reply, NoReply> {
        let request = self.direct.post(url).headers(headers).body(form);
        let kind = "application/x-www-form-urlencoded";
        self.in_turn(request.header(CONTENT_TYPE, kind)).await
    }

    /// A GET from a metadata endpoint that must show this one certificate before it gets anything.
    pub(super) async fn metadata_pinned(
        &self,
        url: Url,
        headers: HeaderMap,
        thumbprint: Thumbprint,
    ) -> Result<Reply, NoReply> {
        let client = direct(&pin::tls(thumbprint)?)?; // one an hour
        self.in_turn(client.get(url).headers(headers)).await
    }

    async fn in_turn(&self, request: RequestBuilder) -> Result<Reply, NoReply> {
        let _turn = self.metadata_calls.acquire().await; // never closed
        send(request).await
    }
}

impl fmt::Debug for Clients {
    /// Nothing inside: a proxy's address may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

/// Sends one request and reads its reply, up to 64 KiB.
pub(super) async fn send(request: RequestBuilder) -> Result<Reply, NoReply> {
    let mut response = request.send().await?;
    let header = |name| response.headers().get(name)?.to_str().ok();
    let is_html = header(CONTENT_TYPE).is_some_and(|t| t.trim_start().starts_with("text/html"));
    let retry_after = header(RETRY_AFTER).and_then(parse_retry_after);
    let challenge = header(WWW_AUTHENTICATE).map(str::to_owned);
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > BODY_MAX {
            return Err(NoReply::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Reply { status, is_html, retry_after, challenge, body })
}

impl From<reqwest::Error> for NoReply {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(error.without_url())
    }
}

impl From<rustls::Error> for NoReply {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

fn direct(tls: &rustls::ClientConfig) -> reqwest::Result<Client> {
    builder(tls)
        .connect_timeout(Duration::from_secs(2)) // off Azure, packets to IMDS vanish
        .read_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(20))
        .build()
}

fn builder(tls: &rustls::ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .no_proxy()
        .redirect(Policy::none())
        .pool_max_idle_per_host(0) // a call an hour: a kept connection would only be a stale one
        .user_agent(concat!("silverback/", env!("CARGO_PKG_VERSION")))
}

/// The proxy for https addresses; as with curl, the lower-case variable counts first.
fn proxy(env: &Env) -> Result<Option<Proxy>, NoClients> {
    let names = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let found = names.into_iter().find_map(|name| Some((name, env.get(name)?)));
    let Some((variable, address)) = found else { return Ok(None) };
    let proxy = Proxy::https(address).map_err(|_| NoClients::Proxy { variable })?;
    let exceptions = env.get("no_proxy").or_else(|| env.get("NO_PROXY"));
    Ok(Some(proxy.no_proxy(exceptions.and_then(NoProxy::from_string))))
}

/// RFC 9110 section 10.2.3: seconds or a date; bounded.
fn parse_retry_after(text: &str) -> Option<Duration> {
    let wait = match text.trim().parse() {
        Ok(secs) => Duration::from_secs(secs),
        Err(_) => {
            let date = httpdate::parse_http_date(text.trim()).ok()?;
            date.duration_since(std::time::SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::super::mock::{self, Answer, Mock};
    use super::*;

    #[tokio::test]
    async fn a_redirect_is_an_answer_not_an_order() {
        let mock = Mock::run(|_| Answer::new(302, "").header("location", "/elsewhere")).await;
        let reply = mock::clients().metadata(mock.url(), HeaderMap::new()).await.unwrap();
        assert_eq!((reply.status, mock.calls()), (302, 1));
    }

    #[tokio::test]
    async fn an_endless_body_is_cut_off() {
        let mock = Mock::run(|_| Answer::new(200, &"x".repeat(BODY_MAX + 1))).await;
        let reply = mock::clients().metadata(mock.url(), HeaderMap::new()).await;
        assert!(matches!(reply, Err(NoReply::TooLong)));
    }

    #[tokio::test]
    async fn only_entra_goes_through_the_proxy() {
        let proxy = Mock::run(|_| Answer::new(502, "no way out")).await;
        let env: Env = [("HTTPS_PROXY", proxy.url().as_str())].into_iter().collect();
        let clients = Clients::new(&mock::tls(), &env).unwrap();

        let authority = Url::parse("https://login.example.com").unwrap();
        assert!(send(clients.post(&authority, "t/oauth2/v2.0/token")).await.is_err());
        assert_eq!(proxy.last().line, "CONNECT login.example.com:443");

        let imds = Mock::run(|_| Answer::new(200, "")).await;
        assert!(clients.metadata(imds.url(), HeaderMap::new()).await.is_ok());
        assert!(send(clients.post(&imds.url(), "t")).await.is_ok());
        assert_eq!((imds.calls(), proxy.calls()), (2, 1));
    }

    #[test]
    fn a_bad_proxy_is_named_without_its_password() {
        let env: Env = [("HTTPS_PROXY", "http://user:hunter2@[")].into_iter().collect();
        let error = Clients::new(&mock::tls(), &env).unwrap_err().to_string();
        assert_eq!(error, "HTTPS_PROXY is not the address of a proxy");
    }

    #[test]
    fn retry_after_is_bounded() {
        assert_eq!(parse_retry_after("8"), Some(Duration::from_secs(8)));
        assert_eq!(parse_retry_after("86400"), Some(RETRY_AFTER_MAX));
        assert_eq!(parse_retry_after("Fri, 31 Dec 9999 23:59:59 GMT"), Some(RETRY_AFTER_MAX));
        assert_eq!(parse_retry_after("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("soon"), None);
    }
}
