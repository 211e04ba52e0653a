//! From a request to its Route, and to the call that the Route asks for.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{HeaderMap, StatusCode, Version};

use crate::chain::Plan;
use crate::entity::{Protocol, Route};
use crate::guard::Named;
use crate::pdk::service::Limits;
use crate::pdk::{Exchange, Matched, Source};
use crate::proxy::headers::{FORWARDED_HOST, FORWARDED_PROTO};
use crate::respond::{self, Failure};
use crate::router::{Hit, Query, path, split_port};
use crate::runloop::Runloop;

/// The Route of a request.
pub(crate) struct Routed {
    /// Its plugins.
    pub(crate) plan: Rc<Plan>,
    /// Its position in the Snapshot.
    pub(crate) index: usize,
    /// What there is to know of it.
    pub(crate) matched: Matched,
}

/// Finds the Route and fills in the call to its Service, or answers what came over another protocol
/// than the Route's.
pub(crate) fn route(runloop: &Runloop, ex: &Exchange) -> Option<Routed> {
    let request = &ex.request;
    let decoded = path::decoded(request.raw_path());
    let hit = find(runloop, ex, &decoded)?;
    let plan = runloop.plan(&hit);
    let index = hit.index;
    address(ex, &decoded, &hit, runloop);
    check_protocol(ex, hit.route);
    let mut captures = hit.captures;
    if let (Some(whole), false) = (&hit.matched, captures.is_empty()) {
        // Group 0 is the whole match, as in Kong.
        captures.insert(0, ("0".to_owned(), whole.clone()));
    }
    let prefix = hit.matched.filter(|_| hit.route.strip_path);
    let matched = Matched {
        route: hit.route.clone(),
        service: hit.service.cloned(),
        prefix: prefix.filter(|prefix| !matches!(prefix.as_str(), "" | "/")),
        captures: captures.into(),
    };
    Some(Routed { plan, index, matched })
}

fn find<'r>(runloop: &'r Runloop, ex: &Exchange, decoded: &str) -> Option<Hit<'r>> {
    with_query(ex, decoded, |query| runloop.router.find(query))?
}

/// Calls `f` with what the router is asked; it is not asked for paths that are no text.
pub(crate) fn with_query<R>(
    ex: &Exchange,
    decoded: &str,
    f: impl FnOnce(&Query<'_>) -> R,
) -> Option<R> {
    if !path::is_text(decoded) {
        return None;
    }
    let request = &ex.request;
    let connection = &request.connection;
    let headers = request.headers();
    let (host, port) = split_port(authority(&headers));
    let method = ex.method();
    Some(f(&Query {
        path: decoded,
        query: request.raw_query(),
        host,
        port: port.unwrap_or(connection.port.into()),
        method: method.as_str(),
        tls: connection.tls,
        sni: connection.sni.as_deref(),
        headers: &headers,
        source: connection.client,
        address: connection.local,
    }))
}

/// `Host` as it was sent; the target's authority is in there since the request's arrival.
fn authority(headers: &HeaderMap) -> &str {
    headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

/// The call to the Service as the configuration has it; plugins may change it.
fn address(ex: &Exchange, decoded: &str, hit: &Hit<'_>, runloop: &Runloop) {
    let call = &ex.service;
    call.pass_query(ex.request.raw_query());
    let Some(service) = hit.service else { return };
    let matched = hit.matched.as_deref().unwrap_or_default();
    let matched = hit.route.strip_path.then_some(matched);
    let join = if hit.joins { path::joined } else { path::upstream };
    let target = join(service.path.as_deref(), decoded, matched);
    call.set_path(path::escape(&target));
    call.set_scheme(service.protocol);
    call.set_target(service.host.as_str().into(), service.port, Named::Operator);
    call.balanced.set(runloop.balancer.ring(&service.host).is_some());
    call.limits.set(Limits {
        connect_ms: service.connect_timeout,
        write_ms: service.write_timeout,
        read_ms: service.read_timeout,
        retries: service.retries,
    });
    // A plugin may have asked in `rewrite`; Kong sets what the Service says afterwards.
    call.change_tls(|asked| {
        asked.verify = asked.verify.filter(|_| service.tls_verify.is_none());
        asked.depth = asked.depth.filter(|_| service.tls_verify_depth.is_none());
        asked.shown.take_if(|_| service.client_certificate.is_some());
        asked.trusted.take_if(|_| service.ca_certificates.is_some());
    });
    if hit.route.preserve_host {
        call.set_host_header(ex.request.header(HOST));
    }
}

/// Turns away what matched in all but the protocol (Kong).
fn check_protocol(ex: &Exchange, route: &Route) {
    let has = |protocol| route.protocols.contains(&protocol);
    let plain = !came_over_https(ex);
    if plain && has(Protocol::Https) && !has(Protocol::Http) {
        return redirect_to_https(ex, route.https_redirect_status_code);
    }
    if !has(Protocol::Grpc) && !has(Protocol::Grpcs) {
        return;
    }
    let is_grpc = ex.request.with_header(CONTENT_TYPE, |kind| {
        kind.is_some_and(|kind| kind.starts_with("application/grpc"))
    });
    if !is_grpc {
        respond::fail(ex, Failure::NotGrpc);
    } else if ex.request.version != Version::HTTP_2 {
        respond::fail(ex, Failure::Http2Required);
    } else if plain && !has(Protocol::Grpc) {
        ex.response.set_header("grpc-status", HeaderValue::from_static("1"));
        let message = HeaderValue::from_static("gRPC request matched gRPCs route");
        ex.response.set_header("grpc-message", message);
        let kind = Some("application/grpc");
        ex.response.answer(Source::Exit, StatusCode::OK, kind, Bytes::new());
    }
}

/// Kong compares what a trusted proxy says letter by letter: `HTTPS` is another protocol.
fn came_over_https(ex: &Exchange) -> bool {
    let said = ex.request.header(FORWARDED_PROTO).filter(|_| ex.request.connection.trusted);
    said.map_or(ex.request.scheme() == "https", |said| said == "https")
}

fn redirect_to_https(ex: &Exchange, status: u16) {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UPGRADE_REQUIRED);
    if status == StatusCode::UPGRADE_REQUIRED {
        return respond::fail(ex, Failure::HttpsRequired);
    }
    let request = &ex.request;
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    // A proxy in front of us knows the host that the client used.
    let named = request.header(FORWARDED_HOST).filter(|_| request.connection.trusted);
    let own = request.host_or_kong();
    let host = named.as_ref().and_then(|host| host.to_str().ok()).unwrap_or(&own);
    if let Ok(location) = HeaderValue::from_str(&format!("https://{host}{target}")) {
        ex.response.set_header("location", location);
    }
    ex.response.answer(Source::Error, status, None, Bytes::new());
}
