//! Headers on the way to the upstream and back: hop by hop, `X-Forwarded-*`, `Via`, latencies.
//!
//! RFC 9110, section 7.6, with Kong's names and values.

use std::sync::LazyLock;

use http::header::{
    CONNECTION, CONTENT_TYPE, COOKIE, DATE, HOST, HeaderName, HeaderValue, SERVER, SET_COOKIE, TE,
    TRAILER, UPGRADE, VIA,
};
use http::{HeaderMap, Response, StatusCode, Version};
use smallvec::SmallVec;

use crate::guard::{self, Named};
use crate::http1::{has_word, words};
use crate::pdk::{Exchange, Source};
use crate::respond;
use crate::settings::Tokens;

const WEBSOCKET: &str = "websocket";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that a client used.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host that a client used.
pub const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PATH: HeaderName = HeaderName::from_static("x-forwarded-path");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-kong-request-id");
const UPSTREAM_STATUS: HeaderName = HeaderName::from_static("x-kong-upstream-status");
const UPSTREAM_LATENCY: HeaderName = HeaderName::from_static("x-kong-upstream-latency");
const PROXY_LATENCY: HeaderName = HeaderName::from_static("x-kong-proxy-latency");
const RESPONSE_LATENCY: HeaderName = HeaderName::from_static("x-kong-response-latency");
const OVERHEAD: HeaderName = HeaderName::from_static("x-silverback-overhead-us");

/// `Via` as we write it where nobody has written one: HTTP/1.0, 1.1 and 2.
static VIAS: LazyLock<[(&str, HeaderValue); 3]> = LazyLock::new(|| {
    ["1", "1.1", "2"].map(|version| {
        let via = HeaderValue::try_from(format!("{version} {}", respond::SERVER_TOKEN));
        (version, via.unwrap_or(HeaderValue::from_static(respond::SERVER_TOKEN)))
    })
});

/// Whether a header is one of a hop.
fn is_of_hop(name: &str) -> bool {
    matches!(
        name,
        "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade"
    )
}

/// Whether a header of a client concerns this gateway alone.
fn is_to_us(name: &str) -> bool {
    is_of_hop(name) || matches!(name, "content-length" | "expect" | "proxy")
}

/// Whether a header of an upstream is one of the hop, or one that nginx acts on and hides; nothing
/// here acts on those.
fn is_to_nginx(name: &str) -> bool {
    is_of_hop(name)
        || matches!(
            name,
            "x-accel-buffering"
                | "x-accel-charset"
                | "x-accel-expires"
                | "x-accel-limit-rate"
                | "x-accel-redirect"
                | "x-pad"
        )
}

/// Whether a header for the upstream is made anew, whatever the client has sent.
fn is_made_anew(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "via"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-path"
            | "x-forwarded-port"
            | "x-forwarded-prefix"
            | "x-forwarded-proto"
            | "x-real-ip"
    )
}

/// The headers for the upstream. `host` is the target's, used unless somebody asked for another.
pub fn to_upstream(ex: &Exchange, host: HeaderValue, request_id: bool) -> HeaderMap {
    /// Headers that are added below.
    const ADDED: usize = 13;
    let client = ex.request.headers();
    // Where the operator has not sent it, a client's `Metadata: true` might mean something.
    let is_guarded = ex.service.named() == Named::Plugin;
    let mut headers = HeaderMap::with_capacity(client.keys_len() + ADDED);
    headers.insert(HOST, ex.service.host_header().unwrap_or(host));
    for (name, value) in &*client {
        // What a client's `Connection` names is gone since its arrival.
        let text = name.as_str();
        let is_ours = is_to_us(text) || is_made_anew(text);
        if is_ours || (is_guarded && guard::HEADERS.contains(name)) {
            continue;
        }
        headers.append(name.clone(), value.clone());
    }
    if accepts_trailers(&client) {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if wants_websocket(ex) {
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
    } else if !ex.service.scheme().is_grpc() {
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    if ex.request.version == Version::HTTP_2 {
        join_cookies(&mut headers);
    }
    put(&mut headers, VIA, via(&client, version(ex.request.version)));
    forwarded(ex, &client, &mut headers);
    if request_id {
        // Without ours, that of a gateway in front of this one passes (Kong).
        put(&mut headers, REQUEST_ID, id(ex));
    }
    headers
}

/// `X-Forwarded-*` and `X-Real-IP`. What an untrusted client says of itself is replaced.
fn forwarded(ex: &Exchange, client: &HeaderMap, headers: &mut HeaderMap) {
    let connection = &ex.request.connection;
    let address = connection.client_text();
    // Behind a trusted proxy, Kong adds the proxy to a list that is there, and begins one with
    // the client.
    let list = match client.contains_key(FORWARDED_FOR) {
        true => list(client, &FORWARDED_FOR, &connection.peer.ip().to_string()),
        false => address.clone(),
    };
    put(headers, FORWARDED_FOR, list);
    put(headers, REAL_IP, address);
    let prefix = ex.matched().and_then(|matched| matched.prefix.as_deref());
    // A prefix may hold letters that are not ASCII.
    let text = |text: &str| HeaderValue::from_bytes(text.as_bytes()).ok();
    for (name, value) in [
        (FORWARDED_PROTO, Some(HeaderValue::from_static(ex.request.scheme()))),
        (FORWARDED_HOST, text(&ex.request.host_or_kong())),
        (FORWARDED_PORT, Some(HeaderValue::from(connection.port))),
        (FORWARDED_PATH, text(ex.request.raw_path())),
        (FORWARDED_PREFIX, prefix.and_then(text)),
    ] {
        // Of several values of a trusted proxy the first counts; nginx sends no empty header.
        let said = if connection.trusted { client.get(&name).cloned() } else { None };
        put(headers, name, said.or(value).filter(|value| !value.is_empty()));
    }
    for (name, value) in &*ex.service.forwarded() {
        put(headers, name.clone(), Some(value.clone()).filter(|value| !value.is_empty()));
    }
}

/// Takes the hop's headers out of an answer. `Upgrade` stays for a client that asked for just that,
/// and `switched` is an answer that does so.
pub fn from_hop(ex: &Exchange, headers: &mut HeaderMap, switched: bool) {
    let upgrade = headers.get(UPGRADE).cloned();
    let upgrade = upgrade.filter(|_| wants_websocket(ex) && names_websocket(headers));
    from_upstream(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(UPGRADE, upgrade);
    }
    if switched {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if ex.shared.spaces().is_some() {
        ex.service.keep_answer(headers);
    }
}

/// Takes out of an answer what concerned only the upstream's connection, and what speaks to nginx
/// alone, which never passes it on.
pub fn from_upstream(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    drop_those(headers, is_to_nginx);
}

/// Says which status the upstream answered with, ahead of the plugins: they may read it (Kong).
pub fn tell_status(ex: &Exchange, tokens: Tokens) {
    if !tokens.upstream_status {
        return;
    }
    // An attempt that failed stands for a status, too.
    let failed = || ex.service.tries.borrow().last().and_then(|attempt| attempt.code);
    let replayed = || ex.response.is_replayed.get().then(|| ex.response.status().as_u16());
    let status = ex.service.status.get().map(|status| status.as_u16());
    if let Some(status) = status.or_else(failed).or_else(replayed) {
        ex.response.set_header(UPSTREAM_STATUS, HeaderValue::from(status));
    }
}

/// What the gateway adds to every response, after the plugins.
pub fn to_client(ex: &Exchange, tokens: Tokens) {
    let mut headers = ex.response.headers_mut();
    let is_replayed = ex.response.is_replayed.get();
    let tried = ex.times.sent.get().is_some() || is_replayed;
    if tried {
        let upstream = ex.times.upstream_ms().or(is_replayed.then_some(0));
        if let Some(upstream) = upstream.filter(|_| tokens.upstream_latency) {
            headers.insert(UPSTREAM_LATENCY, HeaderValue::from(upstream));
        }
        if tokens.proxy_latency {
            let kong = ex.times.since_start_ms(ex.times.sent.get());
            headers.insert(PROXY_LATENCY, HeaderValue::from(kong));
        }
        if tokens.via {
            let version = if ex.service.scheme().is_grpc() { "2" } else { "1.1" };
            let via = via(&headers, version);
            put(&mut headers, VIA, via);
        }
    } else if tokens.response_latency {
        let total = ex.times.since_start_ms(None);
        headers.insert(RESPONSE_LATENCY, HeaderValue::from(total));
    }
    let ours = ex.response.source() != Source::Service && !is_replayed;
    if ours {
        // An upstream's answer has the date that the upstream gave it, or none.
        headers.entry(DATE).or_insert_with(respond::date);
    }
    // A plugin that calls a function elsewhere says so in `Via`, and `Server` is the function's.
    let via_us = || tokens.via && headers.get(VIA).is_some_and(|via| via == respond::SERVER_TOKEN);
    if ours && !tried && via_us() {
        // Kong leaves it alone.
    } else if tokens.server && (ours || !headers.contains_key(SERVER)) {
        headers.insert(SERVER, HeaderValue::from_static(respond::SERVER_TOKEN));
    } else if ours && !tried {
        // Kong keeps its name to itself, and that of a plugin's making, too.
        headers.remove(SERVER);
    }
    if tokens.request_id {
        put(&mut headers, REQUEST_ID, id(ex));
    }
    let overhead = ex.head_is_ready();
    if tokens.overhead {
        let micros = u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX);
        headers.insert(OVERHEAD, HeaderValue::from(micros));
    }
}

/// Tells a client that sent `Kong-Debug`, with any value, which Route and Service it reached.
pub fn name_route(ex: &Exchange) {
    let asked = ex.request.headers().contains_key("kong-debug");
    let Some(matched) = ex.matched().filter(|_| asked) else { return };
    let (route, service) = (&matched.route, matched.service.as_deref());
    let mut headers = ex.response.headers_mut();
    for (name, value) in [
        ("kong-route-id", Some(route.id.to_string())),
        ("kong-route-name", route.name.clone()),
        ("kong-service-id", service.map(|service| service.id.to_string())),
        ("kong-service-name", service.and_then(|service| service.name.clone())),
    ] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
}

/// Sets a header, or takes it away.
fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => drop(headers.insert(name, value)),
        None => drop(headers.remove(name)),
    }
}

fn id(ex: &Exchange) -> Option<HeaderValue> {
    HeaderValue::from_str(ex.id.as_str()).ok()
}

/// Kong writes the version as a number: 1 is HTTP/1.0.
fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 | Version::HTTP_10 => "1",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// `Via` with us behind those that it names already.
fn via(headers: &HeaderMap, version: &str) -> Option<HeaderValue> {
    let ours = VIAS.iter().find(|(known, _)| *known == version).map(|(_, via)| via);
    match ours.filter(|_| !headers.contains_key(VIA)) {
        Some(via) => Some(via.clone()),
        None => list(headers, &VIA, &format!("{version} {}", respond::SERVER_TOKEN)),
    }
}

/// A list header with one more element, its lines in one. Kong keeps the first line of several
/// alone, which forgets the proxies that wrote lines of their own.
fn list(headers: &HeaderMap, name: &HeaderName, element: &str) -> Option<HeaderValue> {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let lines: Vec<&[u8]> = lines.chain([element.as_bytes()]).collect();
    HeaderValue::from_bytes(&lines.join(&b", "[..])).ok()
}

/// Whether the client asks for WebSocket, as Kong reads it: `Upgrade` alone decides. Other
/// protocols are not passed on.
pub fn wants_websocket(ex: &Exchange) -> bool {
    ex.request.version == Version::HTTP_11 && names_websocket(&ex.request.headers())
}

fn names_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
}

/// Whether an upstream changes to a protocol that it was not asked for.
pub fn is_unasked_switch<B>(ex: &Exchange, reply: &Response<B>) -> bool {
    reply.status() == StatusCode::SWITCHING_PROTOCOLS
        && !(wants_websocket(ex) && names_websocket(reply.headers()))
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    has_token(headers, &TE, "trailers")
}

/// Whether a list header has this word.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| has_word(value.as_bytes(), token))
}

/// The comma-separated words of a header, without parameters.
pub fn tokens_of<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).iter().flat_map(|value| words(value.as_bytes()))
}

/// The headers that `Connection` names, apart from what it says of the connection itself.
pub fn named_by_connection(headers: &HeaderMap) -> SmallVec<[HeaderName; 1]> {
    const OWN: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];
    let names = tokens_of(headers, &CONNECTION);
    names
        .filter(|name| OWN.iter().all(|own| !own.eq_ignore_ascii_case(name)))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect()
}

/// Removes headers of which few are ever there: to look at those that are costs less than to look
/// each of the others up.
fn drop_those(headers: &mut HeaderMap, is_one: impl Fn(&str) -> bool) {
    let there = headers.keys().filter(|name| is_one(name.as_str())).cloned();
    let there: SmallVec<[HeaderName; 4]> = there.collect();
    there.iter().for_each(|name| drop(headers.remove(name)));
}

/// HTTP/2 clients may split their cookies; HTTP/1.1 wants one header (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if parts.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// nginx' `charset` for its default `charset_types`; Kong sets it to `UTF-8`.
pub fn add_charset(headers: &mut HeaderMap, charset: &str) {
    const TYPES: [&str; 6] = [
        "text/html",
        "text/xml",
        "text/plain",
        "text/vnd.wap.wml",
        "application/javascript",
        "application/rss+xml",
    ];
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()) else { return };
    if !kind.contains(';')
        && TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind.trim()))
        && let Ok(full) = HeaderValue::from_str(&format!("{kind}; charset={charset}"))
    {
        headers.insert(CONTENT_TYPE, full);
    }
}

/// Whether the client is ready for trailers; if not, `Trailer` is not announced either.
pub fn drop_unwanted_trailer(ex: &Exchange) {
    if !accepts_trailers(&ex.request.headers()) {
        ex.response.clear_header(TRAILER);
    }
}

/// Gives the client the cookie by which it comes back to its target, in place of an older one.
pub fn add_hash_cookie(ex: &Exchange) {
    let Some(cookie) = ex.service.hash_cookie.take() else { return };
    let name = |value: &HeaderValue| {
        let text = value.as_bytes();
        text.split(|byte| *byte == b'=').next().unwrap_or_default().to_vec()
    };
    let mut headers = ex.response.headers_mut();
    let others: Vec<HeaderValue> =
        headers.get_all(SET_COOKIE).iter().filter(|v| name(v) != name(&cookie)).cloned().collect();
    headers.remove(SET_COOKIE);
    for value in others.into_iter().chain([cookie]) {
        headers.append(SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstreams_connection_names_more_headers_of_the_hop() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, X-Hop"));
        headers.insert("x-hop", HeaderValue::from_static("1"));
        headers.insert("keep-alive", HeaderValue::from_static("5"));
        headers.insert("proxy-authorization", HeaderValue::from_static("x"));
        headers.insert("x-accel-redirect", HeaderValue::from_static("/internal"));
        from_upstream(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["proxy-authorization"]
        );
    }

    #[test]
    fn a_list_on_several_lines_loses_nothing() {
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, HeaderValue::from_static("1.1.1.1"));
        headers.append(FORWARDED_FOR, HeaderValue::from_static("2.2.2.2, 3.3.3.3"));
        let list = list(&headers, &FORWARDED_FOR, "4.4.4.4");
        assert_eq!(list.unwrap(), "1.1.1.1, 2.2.2.2, 3.3.3.3, 4.4.4.4");
    }

    #[test]
    fn text_gets_a_charset_and_event_streams_do_not() {
        for (kind, want) in [
            ("text/html", "text/html; charset=UTF-8"),
            ("text/event-stream", "text/event-stream"),
            ("application/json", "application/json"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
            add_charset(&mut headers, "UTF-8");
            assert_eq!(headers[CONTENT_TYPE], want);
        }
    }
}
