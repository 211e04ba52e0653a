//! From an accepted request to the upstream's answer: the one attempt loop.
//!
//! Retries, fail-over to another target and the replay after a refused token all happen here,
//! before anything has gone to the client. What may be repeated is nginx' rule, as in Kong:
//! anything that the upstream cannot have seen, and idempotent methods.

pub mod headers;

use std::any::Any;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};

use crate::balancer::{Balancer, Report, Turn};
use crate::dns::Names;
use crate::guard::Guard;
use crate::pdk::service::Limits;
use crate::pdk::{Attempts, Body, Exchange, Loss, Lost, Next, Try};
use crate::plugin::Stop;
use crate::respond::Failure;
use crate::tls::Policies;
use crate::upstream::{Key, Outgoing, Pool, ReplyBody, SendError, Tls, Upload, tls_name};

/// Bodies up to this size are read before the upstream is chosen, so that they can be sent again
/// and a slow client holds no upstream connection. Larger ones stream.
const READ_AHEAD: u64 = 1 << 20;

/// What is kept of a call by gRPC, which is never read ahead: enough to send most calls once more
/// when an upstream refuses them unseen.
const KEPT_OF_CALL: usize = 64 << 10;

/// What an exchange needs to get to its upstream.
pub struct Way<'a> {
    /// Connections of this worker.
    pub pool: &'a Rc<Pool>,
    /// Names this worker knows.
    pub names: &'a Names,
    /// Targets of Upstreams.
    pub balancer: &'a Balancer,
    /// How connections are encrypted.
    pub policies: &'a Policies,
    /// Where clients and plugins may not send a request.
    pub guard: &'a Guard,
    /// Largest body that is read whole.
    pub buffer_limit: usize,
    /// Send `X-Kong-Request-Id` upstream.
    pub request_id: bool,
}

/// Why there is no answer of an upstream.
pub enum NoReply {
    /// A plugin has answered instead.
    Answered,
    /// The client gets this failure.
    Failed(Failure),
}

impl From<Failure> for NoReply {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Sends the exchange to its upstream and waits for the head of the answer.
///
/// # Errors
/// No attempt brought an answer that may go to the client.
pub async fn forward(way: &Way<'_>, ex: &Exchange) -> Result<Response<ReplyBody>, NoReply> {
    read_ahead(way, ex).await?;
    let attempts = ex.service.attempts();
    let mut turn = Turn::default();
    let mut upload = None;
    for n in 1.. {
        if let Some(attempts) = &attempts {
            match attempts.before(ex, n).outcome().await {
                Ok(()) => {}
                Err(Stop::Exit) => return Err(NoReply::Answered),
                Err(Stop::Fault(fault)) => {
                    tracing::error!(request_id = %ex.id, "{fault:#}");
                    return Err(Failure::Unexpected.into());
                }
            }
        }
        let limits = ex.service.limits.get();
        ex.service.status.set(None);
        let sent = attempt(way, ex, &mut turn, &limits, &mut upload).await;
        let repeatable = upload.as_ref().is_none_or(Upload::can_restart);
        let sent = match sent {
            Ok(sent) => sent,
            Err(Failure::NameResolution) if repeatable && may_go_elsewhere(ex, n) => continue,
            Err(failure) => return Err(failure.into()),
        };
        match sent {
            Ok(reply) if headers::is_unasked_switch(ex, &reply) => {
                let what = "the upstream changed to a protocol that nobody asked for";
                tracing::warn!(request_id = %ex.id, fault = "upstream", "{what}");
                return Err(Failure::BadGateway.into());
            }
            Ok(reply) => {
                ex.service.status.set(Some(reply.status()));
                turn.report(reported(reply.status()));
                let next = attempts.as_ref().map_or(Next::Accept, |attempts| {
                    attempts.answered(ex, n, reply.status(), reply.headers())
                });
                if next == Next::Accept || !repeatable {
                    return Ok(reply);
                }
            }
            Err(error) => {
                let again = match &attempts {
                    _ if error.is_client() => false,
                    Some(attempts) => attempts.failed(ex, n, lost(&error)) == Next::Again,
                    None => n <= limits.retries && (error.is_unsent() || is_idempotent(ex)),
                };
                let repeat = repeatable && again;
                report(ex, n, &error, repeat);
                if !repeat {
                    return Err(give_up(&turn, &error, attempts.as_deref()).into());
                }
                turn.report(if error.is_timeout() { Report::Timeout } else { Report::TcpFailure });
            }
        }
    }
    Err(Failure::Unexpected.into())
}

/// Reads small bodies, and those of unknown length, which get a `Content-Length` (as in Kong).
async fn read_ahead(way: &Way<'_>, ex: &Exchange) -> Result<(), NoReply> {
    let buffering = ex.matched().is_none_or(|matched| matched.route.request_buffering);
    let small = ex.request.body_len().map_or(buffering, |length| length <= READ_AHEAD);
    let streams = !small || ex.service.scheme().is_grpc();
    let lost = ex.request.lost_body();
    if lost.is_none() && (ex.request.body_is_replayable() || streams) {
        return Ok(());
    }
    let read = match lost {
        Some(error) => Err(error),
        None => ex.request.body(way.buffer_limit).await,
    };
    match read {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::info!(request_id = %ex.id, fault = "client", "request body: {error}");
            Err(Failure::from(&error).into())
        }
    }
}

/// One attempt. The outer error is final, the inner one may be repeated.
async fn attempt(
    way: &Way<'_>,
    ex: &Exchange,
    turn: &mut Turn,
    limits: &Limits,
    upload: &mut Option<Upload>,
) -> Result<Result<Response<ReplyBody>, SendError>, Failure> {
    let began = Instant::now();
    let (target, address) = locate(way, ex, turn).await?;
    let named = ex.service.named();
    way.guard.check(named, &target.host, address).map_err(|refused| {
        tracing::warn!(request_id = %ex.id, fault = named.as_str(), "{refused}");
        Failure::BadGateway
    })?;
    let located = Instant::now();
    let http2 = ex.service.scheme().is_grpc();
    let tls = encryption(way, ex, &target)?;
    let is_via = ex.service.via.borrow().is_some();
    let tunnel = (is_via && tls.is_some()).then(|| format!("{}:{}", target.host, target.port));
    let key = Key { address, tls, http2, tunnel: tunnel.map(Into::into) };
    let host = target.host;
    let mut request = request(way, ex, target.host_header, body(ex, upload))?;
    if is_via && key.tunnel.is_none() {
        whole_uri(&mut request)?;
    }
    let asked = Instant::now();
    ex.times.sent.set(Some(asked));
    let started_at_ms = ex.times.started_at_ms.get() + ex.times.since_start_ms(Some(asked));
    let sent = way.pool.send(&key, limits, request).await.map_err(|error| {
        // What a body that broke off does to its connection says nothing about the upstream.
        upload.as_ref().and_then(Upload::broken).map_or(error, SendError::Client)
    });
    let answered = Instant::now();
    ex.times.answered.set(Some(answered));
    ex.times.add_wait(answered - asked);
    let lost = sent.as_ref().err().filter(|error| !error.is_client());
    let code = lost.map(|error| if error.is_timeout() { 504 } else { 502 });
    let unsent = lost.is_some_and(SendError::is_unsent);
    let status = sent.as_ref().ok().map(|reply| reply.status().as_u16());
    ex.service.tries.borrow_mut().push(Try {
        address,
        host,
        began,
        took: answered - began,
        started_at_ms,
        balancer_ns: u64::try_from((located - began).as_nanos()).unwrap_or(u64::MAX),
        status,
        code,
        unsent,
    });
    Ok(sent)
}

/// How the connection is encrypted. Its name is the `Host` that the upstream gets, as in Kong, so
/// `host_header`, `preserve_host` and plugins choose both.
fn encryption(way: &Way<'_>, ex: &Exchange, target: &Target) -> Result<Option<Tls>, Failure> {
    if !ex.service.scheme().is_tls() {
        return Ok(None);
    }
    let name = match ex.service.host_header() {
        Some(host) => tls_name(&String::from_utf8_lossy(host.as_bytes()).into()),
        None => tls_name(&target.name),
    };
    let service = ex.matched().and_then(|matched| Some(matched.service.as_ref()?.id));
    let policy = way.policies.of(service, target.balanced);
    let change = ex.service.tls.borrow();
    if change.is_none() {
        return Ok(Some(Tls { name, policy: policy.clone() }));
    }
    let changed = way.policies.changed(policy, &change).map_err(|error| {
        tracing::error!(request_id = %ex.id, fault = "gateway", "{error}");
        Failure::Unexpected
    })?;
    Ok(Some(Tls { name, policy: changed }))
}

/// The target of an attempt and its address. A target whose name has none is passed over (Kong).
async fn locate(
    way: &Way<'_>,
    ex: &Exchange,
    turn: &mut Turn,
) -> Result<(Target, SocketAddr), Failure> {
    let mut missing = Failure::NoPeer;
    if ex.service.balanced.get()
        && let Some(ring) = way.balancer.ring(&ex.service.host())
    {
        ring.settle().await;
    }
    loop {
        let Some(target) = target(way, ex, turn) else { return Err(missing) };
        *ex.service.lease.borrow_mut() = turn.lease().map(|lease| Box::new(lease) as Box<dyn Any>);
        *ex.service.hash_cookie.borrow_mut() = turn.cookie.clone();
        let via = ex.service.via.borrow().clone();
        let address = match (via, target.address) {
            (Some(via), _) => way.names.address(&via.host, via.port).await,
            (None, Some(address)) => Ok(address),
            (None, None) => way.names.address(&target.host, target.port).await,
        };
        turn.resolved(address.is_ok());
        match address {
            Ok(address) => return Ok((target, address)),
            Err(error) => tracing::warn!(request_id = %ex.id, fault = "upstream", "{error}"),
        }
        missing = Failure::NameResolution;
        if !target.balanced {
            return Err(missing);
        }
    }
}

/// What passive health checks learn from the status that the client gets. A time-out is one; a
/// refused connection of the last attempt is a 502, as in Kong.
fn reported(status: StatusCode) -> Report {
    match status {
        StatusCode::GATEWAY_TIMEOUT => Report::Timeout,
        status => Report::Status(status.as_u16()),
    }
}

/// Where an attempt goes, and the `Host` that goes with it.
struct Target {
    host: Rc<str>,
    port: u16,
    /// Where it is, if that is known already.
    address: Option<SocketAddr>,
    /// What the upstream is called: the host, or what `host_header` says.
    name: Rc<str>,
    host_header: HeaderValue,
    /// Another one may take its place.
    balanced: bool,
}

fn target(way: &Way<'_>, ex: &Exchange, turn: &mut Turn) -> Option<Target> {
    let (host, default_port) = (ex.service.host(), ex.service.scheme().default_port());
    if ex.service.balanced.get()
        && let Some(ring) = way.balancer.ring(&host)
    {
        let peer = ring.next(turn, ex)?;
        let (host, port, name) = (peer.host.clone(), peer.port, peer.name.clone());
        let host_header = peer.host_header(default_port)?;
        return Some(Target {
            host,
            port,
            address: peer.address,
            name,
            host_header,
            balanced: true,
        });
    }
    let port = ex.service.port();
    let text = if port == default_port {
        HeaderValue::from_str(&host)
    } else {
        HeaderValue::from_maybe_shared(Bytes::from(format!("{host}:{port}")))
    };
    let (name, host_header) = (host.clone(), text.ok()?);
    Some(Target { host, port, address: None, name, host_header, balanced: false })
}

/// The body for one attempt. One that streams is taken from the request by the first attempt.
fn body(ex: &Exchange, upload: &mut Option<Upload>) -> Outgoing {
    match ex.request.body_for_attempt() {
        Body::Whole(whole) => Outgoing::whole(whole),
        Body::Stream(arriving) => {
            let streams = match ex.service.scheme().is_grpc() {
                true => Upload::of_call(arriving, KEPT_OF_CALL),
                false => Upload::new(arriving),
            };
            Outgoing::stream(upload.insert(streams))
        }
        Body::Empty => upload.as_ref().map_or_else(Outgoing::empty, Outgoing::stream),
    }
}

fn request(
    way: &Way<'_>,
    ex: &Exchange,
    host: HeaderValue,
    body: Outgoing,
) -> Result<Request<Outgoing>, Failure> {
    let bad = |error: &dyn std::fmt::Display| {
        tracing::warn!(request_id = %ex.id, fault = "client", "upstream path: {error}");
        Failure::BadRequest
    };
    let target = PathAndQuery::from_maybe_shared(Bytes::from(ex.service.path_and_query()))
        .map_err(|error| bad(&error))?;
    let mut request = Request::new(body);
    *request.method_mut() = ex.service.method().unwrap_or_else(|| ex.request.method.clone());
    *request.headers_mut() = headers::to_upstream(ex, host, way.request_id);
    *request.uri_mut() = match ex.service.scheme().is_grpc() {
        false => Uri::from(target),
        true => call_uri(ex, target, request.headers_mut()).map_err(|error| bad(&error))?,
    };
    if let Some(length) = declared_length(ex, request.body()) {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(request)
}

/// A proxy is told where a request goes (RFC 9112, section 3.2.2).
fn whole_uri(request: &mut Request<Outgoing>) -> Result<(), Failure> {
    let target = request.uri().path_and_query().cloned();
    let host = request.headers().get(HOST).map_or(&b""[..], HeaderValue::as_bytes);
    let uri = Uri::builder().scheme("http").authority(host);
    let uri = uri.path_and_query(target.unwrap_or_else(|| PathAndQuery::from_static("/"))).build();
    *request.uri_mut() = uri.map_err(|_| Failure::BadRequest)?;
    Ok(())
}

/// In HTTP/2 the scheme and the host stand in the target, and `Host` goes.
fn call_uri(
    ex: &Exchange,
    target: PathAndQuery,
    headers: &mut HeaderMap,
) -> Result<Uri, http::Error> {
    let scheme = if ex.service.scheme().is_tls() { "https" } else { "http" };
    let host = headers.remove(HOST).unwrap_or_else(|| HeaderValue::from_static(""));
    Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(target).build()
}

/// The length of a body, and that of an empty one if the client's request was framed: nginx says
/// nothing of a body where the client said nothing.
fn declared_length(ex: &Exchange, body: &Outgoing) -> Option<u64> {
    let length = http_body::Body::size_hint(body).exact()?;
    let headers = ex.request.headers();
    let framed = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    (length > 0 || framed).then_some(length)
}

/// Whether somebody knows another target than the one whose name has no address.
fn may_go_elsewhere(ex: &Exchange, n: u32) -> bool {
    let lost = Lost { how: Loss::NoAddress, unsent: true };
    ex.service.attempts().is_some_and(|attempts| attempts.failed(ex, n, lost) == Next::Again)
}

fn lost(error: &SendError) -> Lost {
    let how = match error {
        error if error.is_timeout() => Loss::Timeout,
        error if error.is_invalid_answer() => Loss::InvalidHeader,
        _ => Loss::Error,
    };
    Lost { how, unsent: error.is_unsent() }
}

fn is_idempotent(ex: &Exchange) -> bool {
    let method = &ex.request.method;
    !matches!(*method, Method::POST | Method::PATCH | Method::CONNECT) && method.as_str() != "LOCK"
}

/// The failure for the client. That of a client is not held against the target.
fn give_up(turn: &Turn, error: &SendError, attempts: Option<&dyn Attempts>) -> Failure {
    let failure = failure(error, attempts);
    if !error.is_client() {
        turn.report(reported(failure.status()));
    }
    failure
}

fn failure(error: &SendError, attempts: Option<&dyn Attempts>) -> Failure {
    let refused = attempts.map_or(StatusCode::BAD_GATEWAY, Attempts::refused_status);
    match error {
        error if error.is_timeout() => Failure::GatewayTimeout,
        SendError::SlowClient(_) => Failure::RequestTimeout,
        SendError::Client(_) => Failure::BadRequest,
        SendError::Connect(..) if refused == StatusCode::SERVICE_UNAVAILABLE => {
            Failure::Unavailable
        }
        _ => Failure::BadGateway,
    }
}

fn report(ex: &Exchange, n: u32, error: &SendError, repeat: bool) {
    if error.is_client() {
        return tracing::info!(request_id = %ex.id, fault = "client", "{error}");
    }
    let then = if repeat { "trying again" } else { "giving up" };
    tracing::warn!(
        request_id = %ex.id,
        fault = "upstream",
        attempt = n,
        upstream = %ex.service.host(),
        "{error}; {then}"
    );
}
