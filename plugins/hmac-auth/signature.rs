//! The signature of a request: what the client says of it, and the text that it is made over.

use std::sync::LazyLock;

use http::Version;
use regex::Regex;
use ring::hmac;
use serde::Deserialize;

use super::Exchange;

/// What the client says of its signature.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) username: String,
    pub(super) algorithm: String,
    /// Names of headers, as the client writes them.
    pub(super) headers: Vec<String>,
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

    /// Compares in a time that says nothing of the right signature.
    pub(super) fn is_signed(self, secret: &str, text: &[u8], signature: &[u8]) -> bool {
        hmac::verify(&self.key(secret), text, signature).is_ok()
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

impl Signature {
    /// Reads the value of a header. The four parts come in this order, as Kong has them.
    pub(super) fn read(value: &str) -> Option<Self> {
        static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| {
            let first = r#"[Hh]mac\s*username="(.+)",\s*algorithm="(.+)","#;
            let second = r#"\s*headers="(.+)",\s*signature="(.+)""#;
            Regex::new(&format!("{first}{second}")).ok()
        });
        let parts = FORM.as_ref()?.captures(value)?;
        let part = |number| parts.get(number).map(|part| part.as_str().to_owned());
        Some(Self {
            username: part(1)?,
            algorithm: part(2)?,
            headers: part(3)?.split(' ').map(str::to_owned).collect(),
            signature: part(4)?,
        })
    }

    /// What is signed: a line for each header. `@request-target` and `request-line` are the first
    /// line of the request, unless headers have these names.
    pub(super) fn text(&self, ex: &Exchange) -> Vec<u8> {
        let headers = ex.request.headers();
        let mut text = Vec::new();
        for (index, name) in self.headers.iter().enumerate() {
            if index > 0 {
                text.push(b'\n');
            }
            let target = || {
                let query = ex.request.raw_query().map(|query| format!("?{query}"));
                format!("{}{}", ex.request.raw_path(), query.unwrap_or_default())
            };
            let method = ex.request.method.as_str();
            match (headers.get(name.as_str()), name.as_str()) {
                (Some(value), _) => {
                    text.extend_from_slice(format!("{name}: ").as_bytes());
                    text.extend_from_slice(value.as_bytes());
                }
                (None, "@request-target") => {
                    let method = method.to_ascii_lowercase();
                    text.extend_from_slice(format!("{name}: {method} {}", target()).as_bytes());
                }
                (None, "request-line") => {
                    let version = version(ex.request.version);
                    let line = format!("{method} {} HTTP/{version}", target());
                    text.extend_from_slice(line.as_bytes());
                }
                (None, _) => text.extend_from_slice(format!("{name}:").as_bytes()),
            }
        }
        text
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
            headers: vec!["date".into(), String::new(), "x".into()],
            signature: "s==".into(),
        };
        assert_eq!(Signature::read(value), Some(expected));
        for wrong in [
            "",
            "hmac",
            r#"HMAC username="b", algorithm="a", headers="h", signature="s""#,
            r#"hmac algorithm="a", username="b", headers="h", signature="s""#,
            r#"hmac username="", algorithm="a", headers="h", signature="s""#,
        ] {
            assert_eq!(Signature::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_header_that_is_not_there_is_signed_as_none() {
        let headers = [("Date", "today"), ("x-a", "1"), ("x-a", "2")];
        let ex = Exchange::for_test("POST", "/p%20q?b=1", &headers);
        let names = ["date", "X-A", "none", "@request-target", "request-line", ""];
        let signature = Signature {
            username: "u".into(),
            algorithm: "a".into(),
            headers: names.map(str::to_owned).to_vec(),
            signature: "s".into(),
        };
        let expected = "date: today\nX-A: 1\nnone:\n@request-target: post /p%20q?b=1\n\
                        POST /p%20q?b=1 HTTP/1.1\n:";
        assert_eq!(String::from_utf8(signature.text(&ex)).unwrap(), expected);
    }
}
