//! The head of a request on arrival: what nginx refuses before Kong sees it, and what is put in
//! order before anybody reads it.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, EXPECT, HOST, HeaderName,
    HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, TE,
    TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{HeaderMap, Method, Version};
use smallvec::SmallVec;

use crate::pdk::request::host_name;
use crate::proxy::headers;
use crate::respond::Failure;
use crate::router::path;
use crate::settings::Clients;

/// Headers that a request may have once: nginx refuses a second one.
const UNIQUE: [HeaderName; 9] = [
    AUTHORIZATION,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    EXPECT,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
];

/// Tells the operator why a head is refused, as quietly as nginx does; the client learns no more
/// than from nginx.
pub(super) fn refused(failure: Failure, why: &str) -> Failure {
    tracing::info!(fault = "client", "a request is refused: {why}");
    failure
}

/// The same for what gets a 400.
pub(super) fn bad(why: &str) -> Failure {
    refused(Failure::BadRequest, why)
}

/// Refuses the request lines that nginx refuses. It does so before it reads the headers, so that
/// no `Accept` is known to the answer.
pub(super) fn check_line(head: &Parts, limits: &Clients) -> Result<(), Failure> {
    if !head.method.as_str().bytes().all(|b| b.is_ascii_uppercase() || b == b'_' || b == b'-') {
        return Err(bad("its method is none"));
    }
    // `host:port` and `*` are no paths, and no path leads above the root.
    let path = head.uri.path();
    if !path.starts_with('/') || !path::is_well_escaped(path) || path::climbs_out(path) {
        return Err(bad("its path is none, is badly escaped, or leads above the root"));
    }
    const VERSION: usize = " HTTP/1.1\r\n".len();
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() + head.method.as_str().len() + VERSION > limits.line_max {
        return Err(refused(Failure::UriTooLong, "the request line is too long"));
    }
    Ok(())
}

/// Refuses the other requests that nginx refuses. Tells how many bytes the head has.
pub(super) fn check(head: &Parts, limits: &Clients) -> Result<usize, Failure> {
    let headers = check_headers(&head.headers, limits)?;
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next(), head.version) {
        (_, Some(_), _) => return Err(bad("it has two Hosts")),
        (None, _, Version::HTTP_11) => return Err(bad("it has no Host")),
        (Some(host), ..) if host_name(host.as_bytes()).is_none() => {
            return Err(bad("its Host is none"));
        }
        _ => {}
    }
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(refused(Failure::MethodNotAllowed, "CONNECT and TRACE are not taken"));
    }
    let length = head.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if limits.body_max > 0 && length > limits.body_max => {
            let why = "its body is longer than nginx_http_client_max_body_size";
            Err(refused(Failure::PayloadTooLarge, why))
        }
        _ => Ok(line_len(head) + headers + "\r\n".len()),
    }
}

fn line_len(head: &Parts) -> usize {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    head.method.as_str().len() + target + "  HTTP/1.1\r\n".len()
}

/// How long they are together, as lines. Those of HTTP/1 have been counted on arrival; those of
/// HTTP/2 count as if they were some.
fn check_headers(headers: &HeaderMap, limits: &Clients) -> Result<usize, Failure> {
    let mut total = 0;
    for (name, value) in headers {
        let line = name.as_str().len() + value.len() + 4;
        total += line;
        if line > limits.line_max || total > limits.head_max {
            return Err(refused(Failure::HeadersTooLarge, "its headers are too large"));
        }
    }
    let is_single = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_none();
    let no_name_is_there_twice = headers.len() == headers.keys_len();
    match no_name_is_there_twice || UNIQUE.iter().all(is_single) {
        true => Ok(total),
        false => Err(bad("it has a header twice that may be there once")),
    }
}

/// Puts a head in order.
pub(super) fn settle(head: &mut Parts) {
    let headers = &mut head.headers;
    drop_odd(headers);
    drop_named(headers);
    // The target's authority stands above `Host` (RFC 9112, section 3.2.2), and HTTP/2 often has
    // nothing else: Route, upstream and plugins must all see the same host.
    if let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(without_user(authority.as_str()))
    {
        headers.insert(HOST, host);
    }
}

/// Removes the headers that nginx ignores: those with other characters in their names than letters,
/// digits, `-` and `_`.
fn drop_odd(headers: &mut HeaderMap) {
    let is_odd = |name: &&HeaderName| {
        !name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let odd: SmallVec<[HeaderName; 1]> = headers.keys().filter(is_odd).cloned().collect();
    for name in odd {
        headers.remove(name);
    }
}

fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Removes the headers that `Connection` names. On arrival, not on the way out: a client must not
/// be able to name a header that a plugin sets, such as the consumer's or the credential.
fn drop_named(headers: &mut HeaderMap) {
    const KEPT: [HeaderName; 5] = [CONNECTION, HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TE];
    for name in headers::named_by_connection(headers) {
        if !KEPT.contains(&name) {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn limits(body_max: u64) -> Clients {
        Clients { body_max, ..Settings::defaults().clients }
    }

    fn head(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_host_that_is_none_is_refused() {
        for (host, good) in [
            ("gw.test:8000", true),
            ("[::1]:8000", true),
            ("gw.test.", true),
            ("", false),
            (".", false),
            (":8000", false),
            ("::1", false),
            ("a b", false),
            ("a/b", false),
            ("a..b", false),
        ] {
            assert_eq!(check(&head("/", &[("host", host)]), &limits(0)).is_ok(), good, "{host}");
        }
    }

    #[test]
    fn a_header_with_an_odd_name_is_ignored_as_by_nginx() {
        let mut head = head("/", &[("host", "h"), ("x.y", "1"), ("x_y", "2"), ("x-y", "3")]);
        settle(&mut head);
        assert_eq!(head.headers.len(), 3);
        assert_eq!(head.headers.get("x.y"), None);
    }

    #[test]
    fn a_body_longer_than_the_setting_is_refused() {
        let head = head("/", &[("host", "h"), ("content-length", "11")]);
        assert_eq!(check(&head, &limits(10)), Err(Failure::PayloadTooLarge));
        let length = "GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 11\r\n\r\n".len();
        assert_eq!(check(&head, &limits(11)), Ok(length));
        assert_eq!(check(&head, &limits(0)), Ok(length));
    }

    #[test]
    fn a_target_without_a_path_or_above_the_root_is_refused() {
        for (target, good) in [
            ("*", false),
            ("/..", false),
            ("/a/../../b", false),
            ("/a/%2e%2e/..", false),
            ("/a/../b", true),
            ("http://abs.test", true),
        ] {
            let head = head(target, &[("host", "h")]);
            assert_eq!(check_line(&head, &limits(0)).is_ok(), good, "{target}");
        }
        let mut connect = head("abs.test:443", &[("host", "h")]);
        connect.method = Method::CONNECT;
        assert_eq!(check_line(&connect, &limits(0)), Err(Failure::BadRequest));
        assert_eq!(check(&connect, &limits(0)), Err(Failure::MethodNotAllowed));
    }

    #[test]
    fn a_second_authorization_is_refused_and_a_second_cookie_is_not() {
        for (name, good) in [("authorization", false), ("if-match", false), ("cookie", true)] {
            let head = head("/", &[("host", "h"), (name, "1"), (name, "1")]);
            assert_eq!(check(&head, &limits(0)).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn the_host_is_that_of_the_target() {
        for target in ["http://abs.test:81/a", "http://user@abs.test:81/a"] {
            let mut head = head(target, &[("host", "other.test")]);
            settle(&mut head);
            assert_eq!(head.headers[HOST], "abs.test:81");
        }
    }

    #[test]
    fn connection_names_headers_of_the_hop_but_not_its_framing() {
        // A word that is none takes none of the others with it.
        let named = "close, é, X-Hop, content-length, host, connection";
        let mut head = head("/", &[("host", "h"), ("connection", named), ("x-hop", "1")]);
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
        settle(&mut head);
        assert_eq!(head.headers.get("x-hop"), None);
        assert_eq!(head.headers.len(), 3);
    }
}
