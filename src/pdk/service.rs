//! What the upstream gets and what it said (`kong.service`).
//!
//! Headers and body of the upstream request are those of `ex.request`: Kong keeps one set.

use std::any::Any;
use std::cell::{Cell, Ref, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use url::form_urlencoded;

use super::Exchange;
use crate::entity::Protocol;
use crate::guard::Named;
use crate::plugin::Step;

/// The call to the upstream: filled from Route and Service after routing, changed by plugins.
#[derive(Default)]
pub struct Call {
    scheme: Cell<Option<Protocol>>,
    host: RefCell<Rc<str>>,
    port: Cell<u16>,
    named: Cell<Named>,
    host_header: RefCell<Option<HeaderValue>>,
    method: RefCell<Option<Method>>,
    path: RefCell<String>,
    query: RefCell<Option<String>>,
    has_own_query: Cell<bool>,
    forwarded: RefCell<HeaderMap>,
    /// Lines of a name, a colon and a value: quicker to write than a map, and seldom asked for.
    answer: RefCell<Option<Vec<u8>>>,
    attempts: RefCell<Option<Rc<dyn Attempts>>>,
    /// Timeouts and retries.
    pub limits: Cell<Limits>,
    /// What plugins ask of the upstream's certificate.
    pub tls: RefCell<TlsChange>,
    /// The upstream's status; `None` while it has not answered.
    pub status: Cell<Option<StatusCode>>,
    /// Every attempt, for the log record.
    pub tries: RefCell<Vec<Try>>,
    /// What the balancer keeps of this exchange until its end.
    pub lease: RefCell<Option<Box<dyn Any>>>,
    /// The cookie by which a client comes back to its target (`hash_on: cookie`).
    pub hash_cookie: RefCell<Option<HeaderValue>>,
    /// The reply is read whole before its head goes out (`kong.service.request.enable_buffering`).
    pub buffered: Cell<bool>,
    /// The headers of such a reply, as the upstream has sent them.
    pub buffered_headers: RefCell<Option<HeaderMap>>,
    /// The trailers behind the reply, for filters that look at its end.
    pub trailers: RefCell<Option<HeaderMap>>,
    /// Names the Upstream entity whose targets are balanced, by its host name.
    pub balanced: Cell<bool>,
    /// A proxy that the operator has put between the gateway and the upstream.
    pub via: RefCell<Option<Via>>,
}

/// A proxy for requests to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// Its name or address.
    pub host: Rc<str>,
    /// Its port.
    pub port: u16,
}

/// How long to wait for the upstream, and how often to try.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Milliseconds to open a connection.
    pub connect_ms: u64,
    /// Milliseconds between two writes.
    pub write_ms: u64,
    /// Milliseconds between two reads.
    pub read_ms: u64,
    /// Further attempts after the first.
    pub retries: u32,
}

/// What a plugin asks of the upstream's certificate, in place of what the Service says.
#[derive(Clone, Default)]
pub struct TlsChange {
    /// Whether it is verified (`kong.service.set_tls_verify`).
    pub verify: Option<bool>,
    /// Intermediate certificates that its chain may have (`kong.service.set_tls_verify_depth`).
    pub depth: Option<u32>,
    /// Whose signatures count (`kong.service.set_tls_verify_store`).
    pub trusted: Option<Rc<[CertificateDer<'static>]>>,
    /// What it is shown if it asks (`kong.service.set_tls_cert_key`).
    pub shown: Option<Arc<CertifiedKey>>,
}

impl TlsChange {
    /// Whether nothing is asked.
    pub fn is_none(&self) -> bool {
        let Self { verify, depth, trusted, shown } = self;
        verify.is_none() && depth.is_none() && trusted.is_none() && shown.is_none()
    }
}

impl Default for Limits {
    /// Kong's defaults of a Service.
    fn default() -> Self {
        Self { connect_ms: 60_000, write_ms: 60_000, read_ms: 60_000, retries: 5 }
    }
}

/// One attempt, as the log record lists it under `tries`.
#[derive(Debug, Clone)]
pub struct Try {
    /// Where it went.
    pub address: SocketAddr,
    /// What that is called.
    pub host: Rc<str>,
    /// When its target was looked for.
    pub began: Instant,
    /// From there to the head of the answer, or to the failure.
    pub took: Duration,
    /// Unix milliseconds at its start.
    pub started_at_ms: u64,
    /// Nanoseconds it took to find the address: target and DNS.
    pub balancer_ns: u64,
    /// The status that the upstream has answered with.
    pub status: Option<u16>,
    /// The status that a failed attempt stood for, 502 or 504; `None` when the upstream answered.
    pub code: Option<u16>,
    /// The upstream cannot have seen the request.
    pub unsent: bool,
}

/// Drives the attempts of one exchange: a plugin with several targets or a credential of its own.
///
/// Fail-over, re-translation for another target and the replay after a refused token live here.
/// It is also where such a plugin keeps what it knows of the exchange, hence `Any`: its later
/// phases find it through [`Call::attempts`].
pub trait Attempts: Any {
    /// Ahead of attempt `n`, from 1: chooses the target, sets the credential.
    fn before<'a>(&'a self, ex: &'a Exchange, n: u32) -> Step<'a>;

    /// The upstream answered attempt `n` with this head; nothing has gone to the client yet.
    fn answered<'a>(
        &'a self,
        ex: &'a Exchange,
        n: u32,
        status: StatusCode,
        headers: &'a HeaderMap,
    ) -> Next;

    /// Attempt `n` brought no answer. [`Next::Again`] is followed only if the body can be sent a
    /// second time.
    fn failed(&self, ex: &Exchange, n: u32, lost: Lost) -> Next;

    /// The status for the client when no attempt reached the upstream (connection refused).
    fn refused_status(&self) -> StatusCode {
        StatusCode::BAD_GATEWAY
    }
}

/// How an attempt went without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// What happened.
    pub how: Loss,
    /// The upstream cannot have seen the request.
    pub unsent: bool,
}

/// What happened to an attempt, in the words of nginx' `proxy_next_upstream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The name has no address.
    NoAddress,
    /// The connection failed or broke off.
    Error,
    /// Time ran out.
    Timeout,
    /// What came is not HTTP.
    InvalidHeader,
}

/// What to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It goes to the client.
    Accept,
    /// Try once more; the answer is dropped.
    Again,
}

impl Call {
    /// Changes what is asked of the upstream's certificate.
    pub fn change_tls(&self, change: impl FnOnce(&mut TlsChange)) {
        change(&mut self.tls.borrow_mut());
    }

    /// The scheme of the upstream connection.
    pub fn scheme(&self) -> Protocol {
        self.scheme.get().unwrap_or(Protocol::Http)
    }

    /// Sets the scheme (`kong.service.request.set_scheme`).
    pub fn set_scheme(&self, scheme: Protocol) {
        self.scheme.set(Some(scheme));
    }

    /// Host name, IP address or name of an Upstream.
    pub fn host(&self) -> Rc<str> {
        self.host.borrow().clone()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port.get()
    }

    /// Who said where the request goes.
    pub fn named(&self) -> Named {
        self.named.get()
    }

    /// Sets host and port (`kong.service.set_target`) and who says so; the host is not balanced
    /// any more.
    pub fn set_target(&self, host: Rc<str>, port: u16, named: Named) {
        *self.host.borrow_mut() = host;
        self.port.set(port);
        self.named.set(named);
        self.balanced.set(false);
    }

    /// Sends the request to an Upstream entity (`kong.service.set_upstream`).
    pub fn balance(&self, upstream: Rc<str>) {
        *self.host.borrow_mut() = upstream;
        self.named.set(Named::Operator);
        self.balanced.set(true);
    }

    /// The `Host` that was asked for; `None` follows the target.
    pub fn host_header(&self) -> Option<HeaderValue> {
        self.host_header.borrow().clone()
    }

    /// Sets `Host` for the upstream; `None` follows the target.
    pub fn set_host_header(&self, host: Option<HeaderValue>) {
        *self.host_header.borrow_mut() = host;
    }

    /// The method a plugin asked for; `None` is the client's.
    pub fn method(&self) -> Option<Method> {
        self.method.borrow().clone()
    }

    /// Sets the method (`kong.service.request.set_method`).
    pub fn set_method(&self, method: Method) {
        *self.method.borrow_mut() = Some(method);
    }

    /// Path and query as they go on the request line.
    pub fn path_and_query(&self) -> String {
        let mut target = self.path.borrow().clone();
        if let Some(query) = &*self.query.borrow() {
            target.push('?');
            target.push_str(query);
        }
        target
    }

    /// The path, already encoded.
    pub fn path(&self) -> String {
        self.path.borrow().clone()
    }

    /// Sets the path. It must be encoded already: bytes that a request line may hold.
    pub fn set_path(&self, path: impl Into<String>) {
        *self.path.borrow_mut() = path.into();
    }

    /// The query without `?`; `None` has no `?` at all.
    pub fn query(&self) -> Option<String> {
        self.query.borrow().clone()
    }

    /// Sets the query, already encoded, without `?`.
    pub fn set_query(&self, query: Option<String>) {
        *self.query.borrow_mut() = query;
        self.has_own_query.set(true);
    }

    /// The client's query goes upstream, unless a plugin has set one already.
    pub fn pass_query(&self, query: Option<&str>) {
        if !self.has_own_query.get() {
            *self.query.borrow_mut() = query.map(str::to_owned);
        }
    }

    /// A plugin has set the query.
    pub fn has_own_query(&self) -> bool {
        self.has_own_query.get()
    }

    /// The upstream's own headers, whatever plugins have made of them since; only where somebody
    /// may ask.
    pub fn answer(&self) -> Option<HeaderMap> {
        let parse = |line: &[u8]| {
            let colon = memchr::memchr(b':', line)?;
            let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
            Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
        };
        let lines = self.answer.borrow();
        let lines = lines.as_ref()?.split(|byte| *byte == b'\n');
        Some(lines.filter_map(parse).collect())
    }

    /// Keeps the upstream's own headers.
    pub fn keep_answer(&self, headers: &HeaderMap) {
        /// Most answers fit in.
        const ROOM: usize = 1024;
        let mut lines = Vec::with_capacity(ROOM);
        for (name, value) in headers {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.push(b':');
            lines.extend_from_slice(value.as_bytes());
            lines.push(b'\n');
        }
        *self.answer.borrow_mut() = Some(lines);
    }

    /// Headers about the way here that a plugin has set in place of ours; an empty one is not sent.
    pub fn forwarded(&self) -> Ref<'_, HeaderMap> {
        self.forwarded.borrow()
    }

    /// Sets such a header (`ngx.var.upstream_x_forwarded_for = ...`).
    pub fn set_forwarded(&self, name: HeaderName, value: HeaderValue) {
        self.forwarded.borrow_mut().insert(name, value);
    }

    /// The same, unless a plugin has set it.
    pub fn keep_forwarded(&self, name: HeaderName, value: HeaderValue) {
        self.forwarded.borrow_mut().entry(name).or_insert(value);
    }

    /// Who drives the attempts.
    pub fn attempts(&self) -> Option<Rc<dyn Attempts>> {
        self.attempts.borrow().clone()
    }

    /// Hands the attempts to a plugin.
    pub fn drive(&self, attempts: Rc<dyn Attempts>) {
        *self.attempts.borrow_mut() = Some(attempts);
    }
}

/// A query without the arguments of this name. Kong takes the query apart for that and puts it
/// together again as the URL standard does, so what stays may look different: `a=%41&b` becomes
/// `a=A&b=`. Blanks are `%20`.
pub fn without_argument(query: &str, name: &[u8]) -> Option<String> {
    let decode = |text: &str| -> Vec<u8> {
        percent_encoding::percent_decode(text.replace('+', " ").as_bytes()).collect()
    };
    let encode = |text: &[u8]| -> String { form_urlencoded::byte_serialize(text).collect() };
    let left = query.split('&').filter(|part| !part.is_empty()).filter_map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let key = decode(key);
        (key != name).then(|| format!("{}={}", encode(&key), encode(&decode(value))))
    });
    let left = left.collect::<Vec<_>>().join("&").replace('+', "%20");
    (!left.is_empty()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_that_is_kept_is_the_one_that_is_told() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "1: 2"), ("date", ""), ("x-a", "\tcaf\u{e9}")] {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        let call = Call::default();
        assert_eq!(call.answer(), None);
        call.keep_answer(&headers);
        assert_eq!(call.answer(), Some(headers));
    }
}
