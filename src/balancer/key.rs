//! What of a request decides its target (`hash_on`, `hash_fallback`).

use http::header::COOKIE;
use http::{HeaderName, HeaderValue};

use crate::entity::{HashOn, Upstream};
use crate::pdk::Exchange;
use crate::router::path;

/// The text that is hashed, and the cookie that the client gets so that it comes back with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) cookie: Option<HeaderValue>,
}

/// The names that a kind of hashing needs.
struct Names<'a> {
    header: &'a Option<String>,
    query_arg: &'a Option<String>,
    uri_capture: &'a Option<String>,
}

/// The key of an exchange. Nothing found is a key too: such requests share a target (Kong).
pub(super) fn of(upstream: &Upstream, ex: &Exchange) -> Key {
    let first = Names {
        header: &upstream.hash_on_header,
        query_arg: &upstream.hash_on_query_arg,
        uri_capture: &upstream.hash_on_uri_capture,
    };
    let second = Names {
        header: &upstream.hash_fallback_header,
        query_arg: &upstream.hash_fallback_query_arg,
        uri_capture: &upstream.hash_fallback_uri_capture,
    };
    for (kind, names) in [(upstream.hash_on, first), (upstream.hash_fallback, second)] {
        if let Some(text) = text(kind, &names, upstream, ex) {
            return Key { text, cookie: None };
        }
        if kind == HashOn::Cookie {
            return fresh_cookie(upstream);
        }
    }
    Key::default()
}

fn text(kind: HashOn, names: &Names<'_>, upstream: &Upstream, ex: &Exchange) -> Option<String> {
    match kind {
        HashOn::None => None,
        HashOn::Consumer => {
            let credential = || ex.client.credential()?.id;
            ex.client.named().id().or_else(credential).map(|id| id.to_string())
        }
        HashOn::Ip => Some(ex.request.connection.client.ip().to_string()),
        HashOn::Header => header(names.header.as_deref()?, ex),
        HashOn::Cookie => cookie(upstream.hash_on_cookie.as_deref()?, ex),
        HashOn::Path => Some(path::decoded(ex.request.raw_path()).to_string()),
        HashOn::QueryArg => query_arg(names.query_arg.as_deref()?, ex),
        HashOn::UriCapture => {
            let name = names.uri_capture.as_deref()?;
            let matched = ex.matched()?;
            matched.captures.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone())
        }
    }
}

/// All values of a header, as nginx joins them.
fn header(name: &str, ex: &Exchange) -> Option<String> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let headers = ex.request.headers();
    let values =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// nginx compares the names of cookies without case.
fn cookie(name: &str, ex: &Exchange) -> Option<String> {
    let headers = ex.request.headers();
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(known, _)| known.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
}

/// The values of an argument in alphabetical order; one without a value is `true` (OpenResty).
fn query_arg(name: &str, ex: &Exchange) -> Option<String> {
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let pairs = ex.request.raw_query()?.split('&').map(|pair| match pair.split_once('=') {
        Some((key, value)) => (decoded(key), decoded(value)),
        None => (decoded(pair), "true".to_owned()),
    });
    let mut values: Vec<String> =
        pairs.filter(|(key, _)| key == name).map(|(_, value)| value).collect();
    values.sort();
    (!values.is_empty()).then(|| values.join(","))
}

/// A new client gets a cookie with a random value, which is its key from now on (Kong).
fn fresh_cookie(upstream: &Upstream) -> Key {
    let text = uuid::Uuid::new_v4().to_string();
    let name = upstream.hash_on_cookie.as_deref().unwrap_or_default();
    let path = upstream.hash_on_cookie_path.as_deref().unwrap_or("/");
    let cookie = format!("{name}={text}; Path={path}; Same-Site=Lax; HttpOnly");
    Key { text, cookie: HeaderValue::from_str(&cookie).ok() }
}
