//! The head of a request on arrival: what nginx refuses before Kong sees it, and what is put in
//! order before anybody reads it.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Version};
use smallvec::SmallVec;

use super::checked;
use crate::proxy::headers;
use crate::respond::Failure;
use crate::router::path;
use crate::settings::Clients;

/// Refuses what nginx refuses.
pub(super) fn check(head: &Parts, limits: &Clients) -> Result<(), Failure> {
    if let (Version::HTTP_11, Some(failure)) = (head.version, checked::refusal(&head.method)) {
        return Err(failure);
    }
    if head.method == Method::CONNECT {
        return Err(Failure::BadRequest);
    }
    if head.method == Method::TRACE {
        return Err(Failure::MethodNotAllowed);
    }
    if !head.method.as_str().bytes().all(|b| b.is_ascii_uppercase() || b == b'_' || b == b'-') {
        return Err(Failure::BadRequest);
    }
    if !path::is_well_escaped(head.uri.path()) {
        return Err(Failure::BadRequest);
    }
    const VERSION: usize = " HTTP/1.1\r\n".len();
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() + head.method.as_str().len() + VERSION > limits.line_max {
        return Err(Failure::UriTooLong);
    }
    check_headers(&head.headers, limits)?;
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next(), head.version) {
        (_, Some(_), _) | (None, _, Version::HTTP_11) => return Err(Failure::BadRequest),
        (Some(host), ..) if !is_host(host) => return Err(Failure::BadRequest),
        _ => {}
    }
    let length = head.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if limits.body_max > 0 && length > limits.body_max => {
            Err(Failure::PayloadTooLarge)
        }
        _ => Ok(()),
    }
}

/// Lines of HTTP/1 have been counted on arrival; those of HTTP/2 count as if they were some.
fn check_headers(headers: &HeaderMap, limits: &Clients) -> Result<(), Failure> {
    let mut total = 0;
    for (name, value) in headers {
        let line = name.as_str().len() + value.len() + 4;
        total += line;
        if line > limits.line_max || total > limits.head_max {
            return Err(Failure::HeadersTooLarge);
        }
    }
    Ok(())
}

/// nginx' rule for `Host`: no blanks, no control characters, no slash, no empty label.
fn is_host(host: &HeaderValue) -> bool {
    let host = host.as_bytes();
    host.iter().all(|&b| b > b' ' && b != 0x7F && b != b'/')
        && !host.windows(2).any(|two| two == b"..")
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
    const KEPT: [HeaderName; 6] =
        [CONNECTION, HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TE, UPGRADE];
    let named: Vec<String> = headers::tokens_of(headers, &CONNECTION).collect();
    for name in named.iter().filter(|name| KEPT.iter().all(|kept| kept != name.as_str())) {
        headers.remove(name.as_str());
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
        assert_eq!(check(&head, &limits(11)), Ok(()));
        assert_eq!(check(&head, &limits(0)), Ok(()));
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
        let named = "close, X-Hop, content-length, host, connection";
        let mut head = head("/", &[("host", "h"), ("connection", named), ("x-hop", "1")]);
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
        settle(&mut head);
        assert_eq!(head.headers.get("x-hop"), None);
        assert_eq!(head.headers.len(), 3);
    }
}
