//! The signature of a request: what the client says of it, and the text that it is made over.

use std::sync::LazyLock;

use http::Version;
use regex::Regex;
use ring::hmac;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::Exchange;

/// Bytes that may be signed. A client may name its headers as often as it likes, and each name is a
/// header more to go through, before anything is known of the client.
const TEXT_MAX: usize = 256 << 10;

/// What the client says of its signature.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) username: String,
    pub(super) algorithm: String,
    /// Names of headers, as the client writes them, with a blank between them.
    pub(super) headers: String,
    /// In base64.
    pub(super) signature: String,
}

/// How it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Algorithm {
    #[serde(rename = "hmac-sha1")]
    Sha1,
    #[serde(rename = "hmac-sha256")]
    Sha256,
    #[serde(rename = "hmac-sha384")]
    Sha384,
    #[serde(rename = "hmac-sha512")]
    Sha512,
}

impl Algorithm {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "hmac-sha1" => Some(Self::Sha1),
            "hmac-sha256" => Some(Self::Sha256),
            "hmac-sha384" => Some(Self::Sha384),
            "hmac-sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    pub(super) fn key(self, secret: &str) -> hmac::Key {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::Key::new(algorithm, secret.as_bytes())
    }
}

/// What a header looks like: its four parts come in this order, as Kong has them. Each instance has
/// one of its own, so that workers do not wait for each other.
pub(super) fn form() -> Result<Regex, String> {
    static FORM: LazyLock<Result<Regex, regex::Error>> = LazyLock::new(|| {
        let first = r#"[Hh]mac\s*username="(.+)",\s*algorithm="(.+)","#;
        let second = r#"\s*headers="(.+)",\s*signature="(.+)""#;
        Regex::new(&format!("{first}{second}"))
    });
    FORM.clone().map_err(|error| error.to_string())
}

impl Signature {
    /// Reads the value of a header.
    pub(super) fn read(form: &Regex, value: &str) -> Option<Self> {
        let parts = form.captures(value)?;
        let part = |number| parts.get(number).map(|part| part.as_str().to_owned());
        Some(Self {
            username: part(1)?,
            algorithm: part(2)?,
            headers: part(3)?,
            signature: part(4)?,
        })
    }

    /// Names of headers.
    pub(super) fn headers(&self) -> impl Iterator<Item = &str> {
        self.headers.split(' ')
    }

    /// Compares in a time that says nothing of the right signature.
    pub(super) fn is_made_with(&self, key: hmac::Key, ex: &Exchange, given: &[u8]) -> bool {
        let mut context = hmac::Context::with_key(&key);
        self.text(ex, |piece| context.update(piece)) && context.sign().as_ref().ct_eq(given).into()
    }

    /// Gives away what is signed, piece by piece: a line for each header. `@request-target` and
    /// `request-line` are the first line of the request, unless headers have these names. Says
    /// whether that was all: it ends where it is too long.
    pub(super) fn text(&self, ex: &Exchange, mut take: impl FnMut(&[u8])) -> bool {
        let mut left = TEXT_MAX;
        let mut put = |pieces: &[&[u8]]| {
            let length: usize = pieces.iter().map(|piece| piece.len()).sum();
            let has_room = length <= left;
            if has_room {
                left -= length;
                pieces.iter().for_each(|piece| take(piece));
            }
            has_room
        };
        let (headers, request) = (ex.request.headers(), &ex.request);
        let (method, path) = (request.method.as_str(), request.raw_path().as_bytes());
        let lower = method.to_ascii_lowercase();
        let [mark, query] = request.raw_query().map_or([""; 2], |query| ["?", query]);
        let (mark, query, version) = (mark.as_bytes(), query.as_bytes(), version(request.version));
        self.headers().enumerate().all(|(index, name)| {
            let end: &[u8] = if index > 0 { b"\n" } else { b"" };
            let line = name.as_bytes();
            match (headers.get(name), name) {
                (Some(value), _) => put(&[end, line, b": ", value.as_bytes()]),
                (None, "@request-target") => {
                    put(&[end, line, b": ", lower.as_bytes(), b" ", path, mark, query])
                }
                (None, "request-line") => {
                    let (method, version) = (method.as_bytes(), version.as_bytes());
                    put(&[end, method, b" ", path, mark, query, b" HTTP/", version])
                }
                (None, _) => put(&[end, line, b":"]),
            }
        })
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_parts_come_in_order() {
        let value =
            r#"x hmac  username="b,"o"b", algorithm="a",headers="date  x", signature="s==""#;
        let expected = Signature {
            username: "b,\"o\"b".into(),
            algorithm: "a".into(),
            headers: "date  x".into(),
            signature: "s==".into(),
        };
        let form = form().unwrap();
        assert_eq!(Signature::read(&form, value), Some(expected));
        for wrong in [
            "",
            "hmac",
            r#"HMAC username="b", algorithm="a", headers="h", signature="s""#,
            r#"hmac algorithm="a", username="b", headers="h", signature="s""#,
            r#"hmac username="", algorithm="a", headers="h", signature="s""#,
        ] {
            assert_eq!(Signature::read(&form, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_header_that_is_not_there_is_signed_as_none() {
        let headers = [("Date", "today"), ("x-a", "1"), ("x-a", "2")];
        let ex = Exchange::for_test("POST", "/p%20q?b=1", &headers);
        let signature = Signature {
            username: "u".into(),
            algorithm: "a".into(),
            headers: "date X-A none @request-target request-line ".into(),
            signature: "s".into(),
        };
        let expected = "date: today\nX-A: 1\nnone:\n@request-target: post /p%20q?b=1\n\
                        POST /p%20q?b=1 HTTP/1.1\n:";
        let mut text = Vec::new();
        assert!(signature.text(&ex, |piece| text.extend_from_slice(piece)));
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn a_header_that_is_named_thousands_of_times_is_not_gone_through_each_time() {
        let long = "x".repeat(8_000);
        let ex = Exchange::for_test("GET", "/", &[("x-a", &long)]);
        for (times, is_all) in [(30, true), (4_000, false)] {
            let signature = Signature {
                username: "u".into(),
                algorithm: "hmac-sha1".into(),
                headers: vec!["x-a"; times].join(" "),
                signature: "s".into(),
            };
            let mut length = 0;
            assert_eq!(signature.text(&ex, |piece| length += piece.len()), is_all);
            assert!(length <= TEXT_MAX, "{length}");
            // What was not gone through to its end is no signature, whatever it says.
            let mut context = hmac::Context::with_key(&Algorithm::Sha1.key("s"));
            signature.text(&ex, |piece| context.update(piece));
            let tag = context.sign();
            let key = Algorithm::Sha1.key("s");
            assert_eq!(signature.is_made_with(key, &ex, tag.as_ref()), is_all);
        }
    }
}
