//! What makes two requests the same, as Kong computes it.
//!
//! A digest of: consumer and Route; the method; the request line up to the query, which is the
//! whole line when there is none; query arguments; headers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::{HeaderMap, Version};
use sha2::{Digest as _, Sha256};

use super::{Config, Exchange, HeaderValue, Key};

/// The key of a request.
pub(super) fn of(ex: &Exchange, config: &Config) -> Key {
    let route = ex.matched().map(|matched| matched.route.id);
    let prefix = match (ex.client.consumer_id(), route) {
        (Some(consumer), Some(route)) => format!("{consumer}:{route}"),
        (None, Some(route)) => route.to_string(),
        (_, None) => "default".to_owned(),
    };
    let method = ex.request.method.as_str();
    let mut line = format!("{method} {}", ex.request.raw_path());
    if ex.request.raw_query().is_none() {
        line.push_str(protocol(ex.request.version));
    }
    if config.ignore_uri_case == Some(true) {
        line.make_ascii_lowercase();
    }
    let query = ex.service.query().unwrap_or_default();
    let query = arguments(&query, config.vary_query_params.as_deref().unwrap_or_default());
    let names = config.vary_headers.as_deref().unwrap_or_default();
    let headers = headers(&ex.request.headers(), names);
    Sha256::digest(format!("{prefix}|{method}|{line}|{query}|{headers}")).into()
}

/// The key as the client sees it.
pub(super) fn header(key: &Key) -> HeaderValue {
    let text = key.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => " HTTP/1.0",
        Version::HTTP_2 => " HTTP/2.0",
        _ => " HTTP/1.1",
    }
}

/// The arguments of these names in this order, or all in the order of their names.
fn arguments(query: &str, names: &[String]) -> String {
    let mut known: BTreeMap<Cow<'_, str>, Vec<Option<Cow<'_, str>>>> = BTreeMap::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let is_bare = !part.contains('=');
        for (name, value) in url::form_urlencoded::parse(part.as_bytes()) {
            known.entry(name).or_default().push((!is_bare).then_some(value));
        }
    }
    let text = |(name, values): (&str, &Vec<Option<Cow<'_, str>>>)| match values.as_slice() {
        [None] => name.to_owned(),
        values => {
            let mut values: Vec<&str> =
                values.iter().map(|value| value.as_deref().unwrap_or("true")).collect();
            values.sort_unstable();
            format!("{name}={}", values.join(","))
        }
    };
    let parts: Vec<String> = if names.is_empty() {
        known.iter().map(|(name, values)| text((&**name, values))).collect()
    } else {
        let named = names.iter().filter_map(|name| Some((&**name, known.get(&**name)?)));
        named.map(text).collect()
    };
    parts.join(":")
}

/// The headers of these names in this order.
fn headers(headers: &HeaderMap, names: &[String]) -> String {
    let text = |name: &String| {
        let mut values: Vec<Cow<'_, str>> = headers
            .get_all(name.as_str())
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        values.sort_unstable();
        (!values.is_empty()).then(|| format!("{name}={}", values.join(",")))
    };
    names.iter().filter_map(text).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_decoded_and_sorted() {
        for (query, names, expected) in [
            ("b=2&a=1", &[][..], "a=1:b=2"),
            ("a=z&b&a=%41&c=", &[], "a=A,z:b:c="),
            ("a&a=1", &[], "a=1,true"),
            ("b=2&a=1&c=3", &["c", "none", "b"], "c=3:b=2"),
            ("", &[], ""),
        ] {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(arguments(query, &names), expected, "{query}");
        }
    }

    #[test]
    fn headers_keep_the_order_of_the_configuration() {
        let mut map = HeaderMap::new();
        for (name, value) in [("x-a", "2"), ("x-a", "1"), ("x-b", "b")] {
            map.append(name, HeaderValue::from_static(value));
        }
        let names = ["X-B".to_owned(), "x-none".to_owned(), "X-A".to_owned()];
        assert_eq!(headers(&map, &names), "X-B=b:X-A=1,2");
        assert_eq!(headers(&map, &[]), "");
    }
}
