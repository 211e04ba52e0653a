//! Upstream URLs: where they point, what clients may add to them, and which bytes stay.
//!
//! The configured part is checked and encoded once. Of the client's URL only the query goes on:
//! its arguments keep their bytes and their order, except those that the gateway sets. (Kong
//! decodes, sorts and encodes all of them.)

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::{
    AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode,
};

use crate::entity::Protocol;
use crate::llm::template::is_plain_segment;

/// Where a request connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `http` or `https`.
    pub protocol: Protocol,
    /// A name or an address; an IPv6 address has its brackets. Also the `Host` header: Kong's AI
    /// plugins send no port there.
    pub host: Arc<str>,
    /// Kong takes 443 when the URL has no port, even after `http://`.
    pub port: u16,
}

impl Endpoint {
    /// Whether what is sent there can be read on the way: plain HTTP to another machine.
    pub fn is_exposed(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        let loopback = address.map_or(&*self.host == "localhost", |ip| ip.is_loopback());
        !self.protocol.is_tls() && !loopback
    }
}

/// What is wrong with a configured URL or name; completes "`field`: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// No scheme, or none that HTTP knows.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// `user:password@`.
    #[error("must not hold a user name; put the credential in auth.header_value")]
    UserInfo,
    /// Not a host name, not an address, or a bad port.
    #[error("'{0}' is not a host with an optional port")]
    Host(String),
    /// A path with `?` or `#`.
    #[error("must be a path alone; query arguments come from the client")]
    Query,
    /// Not one path segment.
    #[error("'{0}' must be a plain name: no / \\ ? # %, not . or ..")]
    Segment(String),
    /// A template in front of the path that is more than one label within a domain.
    #[error(
        "a template must not choose scheme, host or port; write them out, or at least the \
             domain: https://$(headers.x-region).openai.azure.com"
    )]
    TemplateInHost,
    /// Ollama's own wire.
    #[error(
        "is Ollama's own API; name the one that is OpenAI's: http://HOST:11434/v1/chat/completions"
    )]
    OllamasOwn,
    /// An operation that a surface of Azure does not have.
    #[error("'{0}' has no such operation")]
    NoOperation(String),
}

/// Splits `upstream_url`; its query is dropped, and no path is `/` (both as in Kong).
pub(super) fn upstream_url(url: &str) -> Result<(Endpoint, String), BadUrl> {
    let (scheme, rest) = url.split_once("://").ok_or(BadUrl::Scheme)?;
    let protocol = match scheme.to_ascii_lowercase().as_str() {
        "http" => Protocol::Http,
        "https" => Protocol::Https,
        _ => return Err(BadUrl::Scheme),
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(BadUrl::UserInfo);
    }
    let (host, port) = authority_parts(authority).ok_or_else(|| BadUrl::Host(authority.into()))?;
    Ok((Endpoint { protocol, host, port }, encode_path(path)))
}

/// The host of `https://<instance>.openai.azure.com`.
pub(super) fn https(host: &str) -> Result<Endpoint, BadUrl> {
    match authority_parts(host) {
        Some((host, 443)) => Ok(Endpoint { protocol: Protocol::Https, host, port: 443 }),
        _ => Err(BadUrl::Host(host.into())),
    }
}

fn authority_parts(authority: &str) -> Option<(Arc<str>, u16)> {
    let port_at = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let (host, port) = match port_at {
        Some(at) => (&authority[..at], authority[at + 1..].parse().ok()?),
        None => (authority, 443),
    };
    let host = url::Host::parse(host).ok()?.to_string();
    Some((host.into(), port))
}

/// A path from the configuration: one slash in front, bytes that no URL has encoded.
pub(super) fn encode_path(path: &str) -> String {
    const SET: &AsciiSet =
        &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'\\').add(b'^');
    format!("/{}", utf8_percent_encode(path.trim_start_matches('/'), SET))
}

/// `upstream_path`, which may have no query.
pub(super) fn upstream_path(path: &str) -> Result<String, BadUrl> {
    if path.contains(['?', '#']) { Err(BadUrl::Query) } else { Ok(encode_path(path)) }
}

/// One segment of a path, encoded.
pub(super) fn segment(name: &str) -> Result<String, BadUrl> {
    if is_plain_segment(name) { Ok(encode(name)) } else { Err(BadUrl::Segment(name.into())) }
}

/// Encodes all but RFC 3986's unreserved characters.
pub(super) fn encode(value: &str) -> String {
    const SET: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(value, SET).to_string()
}

/// The arguments that the gateway sets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Arguments<'a> {
    /// The encoded `api-version`, unless the client sends one (Kong lets the client win).
    pub(super) api_version: Option<&'a str>,
    /// The surface takes no date: of the client's versions only these pass.
    pub(super) undated: bool,
    /// A credential: name, `name=value` encoded, and whether the client's own is kept.
    pub(super) credential: Option<(&'a str, &'a str, bool)>,
    /// Arguments of the client's that go no further.
    pub(super) dropped: &'a [&'a str],
    /// `name=value`, encoded, in place of what was dropped.
    pub(super) own: Option<&'a str>,
}

/// The versions that Azure's v1 API takes.
const UNDATED: [&str; 2] = ["v1", "preview"];

/// The query for the upstream: `api-version` first, the client's arguments, the credential last.
///
/// Kong sorts by name. This order gives the same bytes for the arguments in use and leaves the
/// client's alone. Copies of `api-version` after the first are dropped, so that gateway and
/// upstream cannot read different ones.
pub(super) fn query(client: &str, set: Arguments<'_>) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let (mut version_seen, mut credential_seen) = (false, false);
    for argument in client.split('&').filter(|argument| !argument.is_empty()) {
        let name = name_of(argument);
        if (set.api_version.is_some() || set.undated) && name == "api-version" {
            let value = argument.split_once('=').map_or("", |(_, value)| value);
            let is_refused = set.undated && !UNDATED.contains(&value);
            if is_refused || std::mem::replace(&mut version_seen, true) {
                continue;
            }
        } else if let Some((_, _, keep)) = set.credential.filter(|(own, ..)| name == *own) {
            if !keep {
                continue;
            }
            credential_seen = true;
        } else if set.dropped.contains(&&*name) {
            continue;
        }
        kept.push(argument);
    }
    let version = set.api_version.filter(|_| !version_seen);
    let mut out = version.map_or_else(String::new, |version| format!("api-version={version}"));
    let credential = set.credential.filter(|_| !credential_seen).map(|(_, pair, _)| pair);
    for argument in set.own.into_iter().chain(kept).chain(credential) {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(argument);
    }
    out
}

/// The value of a client's argument, decoded.
pub(super) fn argument<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(own, value)| (own == name).then_some(value))
}

/// The decoded name of a query argument.
fn name_of(argument: &str) -> Cow<'_, str> {
    let name = argument.split('=').next().unwrap_or_default();
    if !name.contains(['%', '+']) {
        return Cow::Borrowed(name);
    }
    let name = name.replace('+', " ");
    Cow::Owned(percent_decode_str(&name).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (Protocol, String, u16, String) {
        let (endpoint, path) = upstream_url(url).unwrap();
        (endpoint.protocol, endpoint.host.to_string(), endpoint.port, path)
    }

    #[test]
    fn urls_are_read_as_kong_reads_them() {
        let http =
            |port, path: &str| (Protocol::Http, "127.0.0.1".to_owned(), port, path.to_owned());
        assert_eq!(parts("http://127.0.0.1:19001/up/path"), http(19001, "/up/path"));
        assert_eq!(parts("http://127.0.0.1:80"), http(80, "/"));
        assert_eq!(parts("http://127.0.0.1/x?a=b#c"), http(443, "/x"));
        assert_eq!(parts("http://127.0.0.1?a=/b"), http(443, "/"));
        let (protocol, host, port, path) = parts("HTTPS://Acme.Example:8443//a b/%7E");
        assert_eq!((protocol, port, path.as_str()), (Protocol::Https, 8443, "/a%20b/%7E"));
        assert_eq!(host, "acme.example");
        assert_eq!(parts("https://[::1]:1/").1, "[::1]");
    }

    #[test]
    fn urls_that_cannot_be_meant_are_refused() {
        assert_eq!(upstream_url("acme.example/x"), Err(BadUrl::Scheme));
        assert_eq!(upstream_url("ftp://h/"), Err(BadUrl::Scheme));
        assert_eq!(upstream_url("https://u:p@h/"), Err(BadUrl::UserInfo));
        for host in
            ["https:///x", "https://h:99999/", "https://h:/", "https://a b/", "https://[::1/"]
        {
            assert!(matches!(upstream_url(host), Err(BadUrl::Host(_))), "{host}");
        }
        assert_eq!(upstream_path("/x?y"), Err(BadUrl::Query));
        assert!(segment("a/b").is_err() && segment("..").is_err() && segment("x?v=1").is_err());
        assert_eq!(segment("gpt 4.1").as_deref(), Ok("gpt%204.1"));
    }

    #[test]
    fn exposed_endpoints() {
        let exposed = |url| upstream_url(url).unwrap().0.is_exposed();
        assert!(exposed("http://api.example/") && exposed("http://10.0.0.1/"));
        assert!(!exposed("https://api.example/") && !exposed("http://localhost:1/"));
        assert!(!exposed("http://[::1]:1/") && !exposed("http://127.9.9.9/"));
    }

    #[test]
    fn queries_keep_the_bytes_of_the_client() {
        let version = Arguments { api_version: Some("v"), ..Arguments::default() };
        assert_eq!(query("", version), "api-version=v");
        assert_eq!(query("z=%7e&a=1+2", version), "api-version=v&z=%7e&a=1+2");
        assert_eq!(query("x=1&api-version=c&y=a%20b", version), "x=1&api-version=c&y=a%20b");
        assert_eq!(query("api%2Dversion=c&api-version=d", version), "api%2Dversion=c");
        assert_eq!(query("api-version=1&b=2", Arguments::default()), "api-version=1&b=2");
    }

    #[test]
    fn credentials_in_the_query() {
        let set = |keep| Arguments {
            api_version: Some("v"),
            credential: Some(("k", "k=a%20b", keep)),
            ..Arguments::default()
        };
        assert_eq!(query("k=mine&x=1&k=2", set(false)), "api-version=v&x=1&k=a%20b");
        assert_eq!(query("%6b=mine", set(true)), "api-version=v&%6b=mine");
        assert_eq!(query("", set(true)), "api-version=v&k=a%20b");
    }

    #[test]
    fn a_surface_without_dates_takes_none() {
        let v1 = |api_version| Arguments { api_version, undated: true, ..Arguments::default() };
        assert_eq!(query("api-version=2024-10-21&a=1", v1(None)), "a=1");
        assert_eq!(query("api-version=preview", v1(None)), "api-version=preview");
        assert_eq!(query("api-version=2024-10-21", v1(Some("preview"))), "api-version=preview");
        assert_eq!(query("api-version=v1", v1(Some("preview"))), "api-version=v1");
    }

    #[test]
    fn arguments_can_be_dropped_and_replaced() {
        let set = Arguments {
            dropped: &["model", "deployment", "api-key"],
            own: Some("model=rt"),
            ..Arguments::default()
        };
        assert_eq!(query("model=x&api%2Dkey=k&intent=t&deployment=y", set), "model=rt&intent=t");
        assert_eq!(argument("a=1&model=g%2E4", "model").as_deref(), Some("g.4"));
    }
}
