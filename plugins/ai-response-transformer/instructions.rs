//! What a model says the response is to be: `{"status": 200, "headers": {...}, "body": "..."}`.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::llm::splice::Object;
use crate::llm::{cjson, json};

/// The response that a model wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Instructions {
    /// `None`: no status that HTTP has.
    pub(super) status: Option<StatusCode>,
    /// Headers that can be sent.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub(super) body: Bytes,
    /// The body is a list or an object.
    pub(super) is_json: bool,
}

impl Instructions {
    /// Reads them; without `body` all of the text is the body, without `status` it is 200 (Kong).
    ///
    /// # Errors
    /// Kong's words for a text that is none.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let escaped = with_escapes(text);
        let text: &str = &escaped;
        let whole = || Bytes::copy_from_slice(text.trim().as_bytes());
        let object = match Object::read(text) {
            Ok(object) => object,
            Err(json::Fault::NotAnObject) if text.trim_start().starts_with('[') => {
                let (status, headers) = (Some(StatusCode::OK), Vec::new());
                return Ok(Self { status, headers, body: whole(), is_json: true });
            }
            Err(json::Fault::NotAnObject) => return Err("input not table or string".to_owned()),
            Err(fault) => return Err(cjson::said(text).unwrap_or_else(|| fault.to_string())),
        };
        let said =
            |name| object.get(name).filter(|value: &&[u8]| !matches!(*value, b"false" | b"null"));
        let (body, is_json) = match said("body") {
            None => (whole(), true),
            Some(body) => match json::text(body) {
                Some(text) => (Bytes::copy_from_slice(text.as_bytes()), false),
                None => {
                    (Bytes::copy_from_slice(body), body.starts_with(b"{") || body.starts_with(b"["))
                }
            },
        };
        Ok(Self {
            status: said("status").map_or(Some(StatusCode::OK), status),
            headers: said("headers").map(headers).unwrap_or_default(),
            body,
            is_json,
        })
    }
}

/// The text with escapes for the line breaks and tabs that models put into strings: JSON has no
/// such bytes there, and Kong's reader takes them.
fn with_escapes(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte < b' ') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let (mut in_string, mut is_escaped) = (false, false);
    for character in text.chars() {
        match character {
            '"' if !is_escaped => in_string = !in_string,
            '\0'..='\u{1f}' if in_string => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
                is_escaped = false;
                continue;
            }
            _ => {}
        }
        is_escaped = in_string && character == '\\' && !is_escaped;
        out.push(character);
    }
    Cow::Owned(out)
}

fn status(value: &[u8]) -> Option<StatusCode> {
    let number: f64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    let is_status = number.fract() == 0.0 && (100.0..=599.0).contains(&number);
    is_status.then(|| StatusCode::from_u16(number as u16).ok()).flatten()
}

fn headers(value: &[u8]) -> Vec<(HeaderName, HeaderValue)> {
    let Ok(object) = Object::read(value) else { return Vec::new() };
    let header = |(name, value): (Cow<'_, str>, &[u8])| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let text = json::text(value);
        let is_plain = !matches!(value.first(), Some(b'{' | b'[' | b'n'));
        let text = match &text {
            Some(text) => text.as_bytes(),
            None if is_plain => value,
            None => return None,
        };
        Some((name, HeaderValue::from_bytes(text).ok()?))
    };
    object.members().filter_map(header).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_headers_and_body_are_read() {
        let text = r#"{"status": 209, "headers": {"content-type": "application/xml", "x-n": 5,
            "bad name": "x", "x-bad": "a\nb"}, "body": "<a>\n"}"#;
        let said = Instructions::read(text).unwrap();
        assert_eq!((said.status.unwrap().as_u16(), &said.body[..]), (209, &b"<a>\n"[..]));
        let headers: Vec<_> = said
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(headers, [("content-type", "application/xml"), ("x-n", "5")]);
        assert!(!said.is_json);
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        for text in [r#" {"a": 1} "#, r#"{"a":1,"body":null,"status":null}"#, "[1, 2]"] {
            let said = Instructions::read(text).unwrap();
            assert_eq!((said.status, said.is_json), (Some(StatusCode::OK), true));
            assert_eq!(said.body, text.trim());
        }
        let said = Instructions::read(r#"{"body": {"x": 1}}"#).unwrap();
        assert_eq!((&said.body[..], said.is_json), (&br#"{"x": 1}"#[..], true));
        for status in ["99", "600", "\"200\"", "200.5", "{}"] {
            let text = format!(r#"{{"status": {status}}}"#);
            assert_eq!(Instructions::read(&text).unwrap().status, None, "{status}");
        }
    }

    #[test]
    fn models_may_break_lines_within_strings() {
        let text = "{\n  \"body\": \"<a>\n\t\\\"<b/>\\\\\",\n\t\"status\": 209\r\n}\n";
        let said = Instructions::read(text).unwrap();
        assert_eq!(said.body, "<a>\n\t\"<b/>\\");
        assert_eq!(said.status.unwrap().as_u16(), 209);
        assert_eq!(with_escapes("{\n}"), "{\n}");
    }

    #[test]
    fn what_is_no_json_is_told_in_the_words_of_kongs_reader() {
        let told = |text| Instructions::read(text).unwrap_err();
        assert_eq!(told("tool: x"), "Expected value but found invalid token at character 1");
        assert_eq!(told("5"), "input not table or string");
        assert_eq!(told("\"x\""), "input not table or string");
    }
}
