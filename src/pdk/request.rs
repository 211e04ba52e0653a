//! What the client sent (`kong.request`).
//!
//! As in Kong there is one set of request headers: what a plugin sets for the upstream, the next
//! plugin reads from the request.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AsHeaderName, HeaderName, IntoHeaderName};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use rustls_pki_types::CertificateDer;

use super::body::{self, Body, Budget, Buffered, ReadError};

/// How a request came in: facts about the connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The client's address after `trusted_ips` and `real_ip_header`.
    pub client: SocketAddr,
    /// The address of the peer itself.
    pub peer: SocketAddr,
    /// Our own address on it.
    pub local: IpAddr,
    /// The port of our listener.
    pub port: u16,
    /// The connection is encrypted.
    pub tls: bool,
    /// The name the client asked for in its TLS hello.
    pub sni: Option<Arc<str>>,
    /// What was agreed on for TLS.
    pub session: Option<Session>,
    /// What the client has shown of itself, if it was asked.
    pub shown: Option<Arc<ClientChain>>,
    /// The peer may set `X-Forwarded-*`.
    pub trusted: bool,
    /// The listener speaks TLS, and the client does not.
    pub lacks_tls: bool,
    /// The client's address as a header says it, once somebody has asked.
    pub text: OnceCell<HeaderValue>,
}

impl Connection {
    /// The client's address without its port, for headers.
    pub fn client_text(&self) -> Option<HeaderValue> {
        if let Some(text) = self.text.get() {
            return Some(text.clone());
        }
        let text = HeaderValue::try_from(self.client.ip().to_string()).ok()?;
        let _ = self.text.set(text.clone());
        Some(text)
    }
}

/// The certificates of a client that was asked for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientChain {
    /// Its own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// nginx' `ssl_client_verify`: `SUCCESS`, or `FAILED:` and why.
    pub verify: String,
}

/// What was agreed on in a TLS handshake, in OpenSSL's names, which Kong logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
}

/// What the client sent.
pub struct Request {
    /// The method; a plugin may change what goes upstream through `ex.service`.
    pub method: Method,
    /// The target as it was on the request line.
    pub uri: Uri,
    /// HTTP version of the client.
    pub version: Version,
    /// The connection it came over.
    pub connection: Rc<Connection>,
    host: RefCell<Rc<str>>,
    /// Bytes of the request line and the headers as they arrived, for the log record.
    pub head_len: Cell<usize>,
    headers: RefCell<HeaderMap>,
    body: RefCell<Body>,
    lost: RefCell<Option<ReadError>>,
    is_body_read: Cell<bool>,
    budget: Arc<Budget>,
    idle_ms: u64,
    /// How long the client's body was waited for.
    pub waited: Cell<Duration>,
}

impl Request {
    /// A request from its parts. `idle_ms` bounds the wait between two reads of the body.
    pub fn new(
        head: http::request::Parts,
        body: Body,
        connection: Rc<Connection>,
        budget: Arc<Budget>,
        idle_ms: u64,
    ) -> Self {
        let host = host_of(&head.uri, &head.headers);
        Self {
            method: head.method,
            uri: head.uri,
            version: head.version,
            connection,
            host: RefCell::new(host.into()),
            head_len: Cell::new(0),
            headers: RefCell::new(head.headers),
            body: RefCell::new(body),
            lost: RefCell::default(),
            is_body_read: Cell::new(false),
            budget,
            idle_ms,
            waited: Cell::default(),
        }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.connection.tls { "https" } else { "http" }
    }

    /// Host name without port, lower case; empty when there was none (HTTP/1.0).
    pub fn host(&self) -> Rc<str> {
        self.host.borrow().clone()
    }

    /// The host, or what a request without one is called: nginx' `server_name` in Kong.
    pub fn host_or_kong(&self) -> Rc<str> {
        Some(self.host()).filter(|host| !host.is_empty()).unwrap_or_else(|| "kong".into())
    }

    /// Reads the host anew: a plugin has changed the header `Host` of the request (OpenResty).
    pub fn follow_host(&self) {
        let host = self.headers.borrow().get(http::header::HOST).cloned();
        let name = host.as_ref().and_then(|host| host_name(host.as_bytes())).unwrap_or_default();
        *self.host.borrow_mut() = name.to_ascii_lowercase().into();
    }

    /// `http` or `https` as the client used it: a trusted peer's `X-Forwarded-Proto` counts (Kong).
    pub fn forwarded_scheme(&self) -> String {
        let named = self.header("x-forwarded-proto").filter(|_| self.connection.trusted);
        let named = named.as_ref().and_then(|scheme| scheme.to_str().ok());
        named.unwrap_or(self.scheme()).to_ascii_lowercase()
    }

    /// What a trusted peer says in an `X-Forwarded-*` header.
    pub fn forwarded(&self, name: &str) -> Option<String> {
        let named = self.header(name).filter(|_| self.connection.trusted)?;
        named.to_str().ok().map(str::to_owned)
    }

    /// The host that the client used: a trusted peer's `X-Forwarded-Host` counts (Kong).
    pub fn forwarded_host(&self) -> String {
        let Some(named) = self.forwarded("x-forwarded-host") else {
            return self.host().to_string();
        };
        let host = named.split_once('@').map_or(named.as_str(), |(_, host)| host);
        host.split(':').next().unwrap_or_default().to_ascii_lowercase()
    }

    /// The port that the client used: a trusted peer's `X-Forwarded-Port`, or the one in its
    /// `X-Forwarded-Host`, counts (Kong).
    pub fn forwarded_port(&self) -> u16 {
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let own = self.forwarded("x-forwarded-port").and_then(|text| port(&text));
        let of_host = || {
            let named = self.forwarded("x-forwarded-host")?;
            let host = named.split_once('@').map_or(named.as_str(), |(_, host)| host);
            port(host.split_once(':')?.1)
        };
        own.or_else(of_host).unwrap_or(self.connection.port)
    }

    /// The path as it was sent, without the query.
    pub fn raw_path(&self) -> &str {
        self.uri.path()
    }

    /// The query as it was sent, without `?`; `None` when there was no `?`.
    pub fn raw_query(&self) -> Option<&str> {
        self.uri.query()
    }

    /// The first value of a query argument, decoded (`+` is a blank).
    pub fn query_arg(&self, name: &str) -> Option<String> {
        let query = self.raw_query()?;
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// All headers.
    pub fn headers(&self) -> Ref<'_, HeaderMap> {
        self.headers.borrow()
    }

    /// The first value of a header.
    pub fn header(&self, name: impl AsHeaderName) -> Option<HeaderValue> {
        self.headers.borrow().get(name).cloned()
    }

    /// Calls `f` with the first value of a header, when it is text.
    pub fn with_header<R>(&self, name: impl AsHeaderName, f: impl FnOnce(Option<&str>) -> R) -> R {
        f(self.headers.borrow().get(name).and_then(|v| v.to_str().ok()))
    }

    /// Sets a header to one value (`kong.service.request.set_header`).
    pub fn set_header(&self, name: impl IntoHeaderName, value: HeaderValue) {
        self.headers.borrow_mut().insert(name, value);
    }

    /// Marks the values of a header as a credential: no log shows them.
    pub fn hide_header(&self, name: &HeaderName) {
        let mut headers = self.headers.borrow_mut();
        if let http::header::Entry::Occupied(mut entry) = headers.entry(name) {
            entry.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }

    /// Adds a value to a header (`kong.service.request.add_header`).
    pub fn add_header(&self, name: impl IntoHeaderName, value: HeaderValue) {
        self.headers.borrow_mut().append(name, value);
    }

    /// Removes a header (`kong.service.request.clear_header`).
    pub fn clear_header(&self, name: impl AsHeaderName) {
        self.headers.borrow_mut().remove(name);
    }

    /// The whole body, read once and kept for the upstream. One that says beforehand that it is
    /// too long stays unread, so that it can still go there; one that was lost on the way here is
    /// lost for everybody.
    ///
    /// # Errors
    /// Longer than `limit` bytes, broken off, or no room in the budget of the process.
    pub async fn body(&self, limit: usize) -> Result<Bytes, ReadError> {
        if let Some(error) = self.lost_body() {
            return Err(error);
        }
        if self.body_len().is_some_and(|length| length > limit as u64) {
            return Err(ReadError::TooLarge { limit });
        }
        let taken = std::mem::take(&mut *self.body.borrow_mut());
        let whole = match taken {
            Body::Empty => Buffered::default(),
            Body::Whole(whole) => whole,
            Body::Stream(arriving) => {
                let began = Instant::now();
                let read = body::read_whole(arriving, limit, self.idle_ms, &self.budget).await;
                self.waited.set(self.waited.get() + began.elapsed());
                read.inspect_err(|error| *self.lost.borrow_mut() = Some(error.clone()))?
            }
        };
        let bytes = whole.bytes.clone();
        *self.body.borrow_mut() = Body::Whole(whole);
        self.is_body_read.set(true);
        Ok(bytes)
    }

    /// Why the body that the client sent is not here any more, when somebody tried to read it.
    pub fn lost_body(&self) -> Option<ReadError> {
        self.lost.borrow().clone()
    }

    /// Replaces the body (`kong.service.request.set_raw_body`).
    pub fn set_body(&self, bytes: Bytes) {
        *self.lost.borrow_mut() = None;
        self.is_body_read.set(true);
        let mut body = self.body.borrow_mut();
        *body = Body::Whole(match &*body {
            Body::Whole(whole) => whole.with_bytes(bytes),
            _ => bytes.into(),
        });
    }

    /// The body, if it has been read or there is none.
    pub fn whole_body(&self) -> Option<Bytes> {
        match &*self.body.borrow() {
            Body::Empty => Some(Bytes::new()),
            Body::Whole(whole) => Some(whole.bytes.clone()),
            Body::Stream(_) => None,
        }
    }

    /// Asks for the body if the client waits to be asked (`Expect: 100-continue`).
    pub async fn ask_for_body(&self) {
        if !self.body.borrow().awaits() {
            return;
        }
        let mut body = std::mem::take(&mut *self.body.borrow_mut());
        let began = Instant::now();
        body.ask().await;
        self.waited.set(self.waited.get() + began.elapsed());
        *self.body.borrow_mut() = body;
    }

    /// Whether somebody has asked for the body: nginx shows it to nobody before.
    pub fn is_body_read(&self) -> bool {
        self.is_body_read.get()
    }

    /// Bytes of the body that are known to come.
    pub fn body_len(&self) -> Option<u64> {
        self.body.borrow().exact_len()
    }

    /// The body for one attempt: a whole one can be sent again, a stream only once.
    pub fn body_for_attempt(&self) -> Body {
        let mut body = self.body.borrow_mut();
        match &*body {
            Body::Empty => Body::Empty,
            Body::Whole(whole) => Body::Whole(whole.clone()),
            Body::Stream(_) => std::mem::take(&mut *body),
        }
    }

    /// Whether the body could be sent a second time.
    pub fn body_is_replayable(&self) -> bool {
        !matches!(&*self.body.borrow(), Body::Stream(_))
    }

    /// The budget that bodies of this process share.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }
}

/// The host a request asks for: the target's own in absolute form and HTTP/2, else `Host`.
fn host_of(uri: &Uri, headers: &HeaderMap) -> String {
    let named = match uri.host() {
        Some(host) => host_name(host.as_bytes()),
        None => headers.get(http::header::HOST).and_then(|host| host_name(host.as_bytes())),
    };
    named.unwrap_or_default().to_ascii_lowercase()
}

/// The name in `Host`, without port and last dot, by nginx' rule; brackets of IPv6 stay. `None` is
/// what nginx refuses: no name, an empty label, a slash, a blank, a control character.
pub fn host_name(authority: &[u8]) -> Option<&str> {
    let mut before = 0;
    for byte in authority {
        if *byte <= b' ' || matches!(byte, 0x7F | b'/') || (*byte == b'.' && before == b'.') {
            return None;
        }
        before = *byte;
    }
    let literal = authority.first() == Some(&b'[');
    let end = match authority.iter().position(|b| *b == b']') {
        Some(bracket) if literal => bracket + 1,
        _ => authority.iter().position(|b| *b == b':').unwrap_or(authority.len()),
    };
    let name = authority.get(..end)?;
    let name = name.strip_suffix(b".").unwrap_or(name);
    std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
}

/// Parses a header name that comes from configuration.
pub fn header_name(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_without_port_and_lower_case() {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("GW.test:8000"));
        assert_eq!(host_of(&Uri::from_static("/a"), &headers), "gw.test");
        headers.insert("host", HeaderValue::from_static("[::1]:8000"));
        assert_eq!(host_of(&Uri::from_static("/a"), &headers), "[::1]");
        assert_eq!(host_of(&Uri::from_static("http://Abs.test/a"), &headers), "abs.test");
        headers.insert("host", HeaderValue::from_static("gw.test.:80:1"));
        assert_eq!(host_of(&Uri::from_static("/a"), &headers), "gw.test");
    }
}
