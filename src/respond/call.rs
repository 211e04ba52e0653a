//! What a client of gRPC is told: its libraries read `grpc-status` and `grpc-message`, not bodies.
//!
//! Kong's two voices differ here, too. `kong.response.error` says what the status is called;
//! nginx' pages and `kong.response.exit` with a message say the message.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode, Version};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::pdk::Exchange;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The media type of calls, and what theirs begin with.
pub(super) const TYPE: &str = "application/grpc";
/// gRPC's encoding of messages; what is plain ASCII stays as Kong writes it.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Whether a request is a call, as Kong sees it.
pub(super) fn is_call(version: Version, headers: &HeaderMap) -> bool {
    version == Version::HTTP_2 && is_type(headers)
}

fn is_type(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(TYPE.as_bytes()))
}

/// Says what became of a call. A status that is there stays, and then no message is added.
pub(super) fn describe(headers: &mut HeaderMap, status: StatusCode, message: Option<&str>) {
    let known = headers.contains_key(GRPC_STATUS);
    let (code, name) = code(status);
    if !known {
        headers.insert(GRPC_STATUS, HeaderValue::from(code));
    }
    let message = match message {
        Some(message) => message,
        None if known || headers.contains_key(GRPC_MESSAGE) => return,
        None => name,
    };
    let text = utf8_percent_encode(message, ENCODED).to_string();
    if let Ok(text) = HeaderValue::from_str(&text) {
        headers.insert(GRPC_MESSAGE, text);
    }
}

/// Gives an answer of a plugin to a call the form that Kong gives it. An answer that says which
/// type it has is left alone, unless that is gRPC's own.
pub fn shape(ex: &Exchange) {
    let response = &ex.response;
    let kind = response.header(CONTENT_TYPE);
    let own = is_type(&response.headers());
    if !own && !is_call(ex.request.version, &ex.request.headers()) {
        return;
    }
    let json = kind.as_ref().is_some_and(|kind| kind == "application/json; charset=utf-8");
    if !own && kind.is_some() && !json {
        return;
    }
    let status = response.status();
    if own {
        return describe(&mut response.headers_mut(), status, None);
    }
    let body = response.take_body().unwrap_or_default();
    let message = match json {
        true => message_of(&body),
        false => Some(String::from_utf8_lossy(&body).into_owned()).filter(|text| !text.is_empty()),
    };
    if json {
        response.clear_header(CONTENT_TYPE);
    }
    response.replace_body(Bytes::new());
    response.set_header(CONTENT_LENGTH, HeaderValue::from_static("0"));
    describe(&mut response.headers_mut(), status, message.as_deref());
}

/// Of a table only its message reaches the client.
fn message_of(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    body.get("message")?.as_str().map(str::to_owned)
}

/// Kong's table from HTTP to gRPC.
fn code(status: StatusCode) -> (u16, &'static str) {
    match status.as_u16() {
        401 => (16, "Unauthenticated"),
        403 => (7, "PermissionDenied"),
        404 => (5, "NotFound"),
        409 => (6, "AlreadyExists"),
        429 => (8, "ResourceExhausted"),
        499 => (1, "Canceled"),
        501 => (12, "Unimplemented"),
        503 => (14, "Unavailable"),
        504 => (4, "DeadlineExceeded"),
        200..=299 => (0, "OK"),
        400..=498 => (3, "InvalidArgument"),
        500..=599 => (13, "Internal"),
        _ => (2, "Unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_http_becomes_kongs_status_of_grpc() {
        for (http, grpc, name) in [
            (200, "0", "OK"),
            (302, "2", "Unknown"),
            (400, "3", "InvalidArgument"),
            (401, "16", "Unauthenticated"),
            (418, "3", "InvalidArgument"),
            (429, "8", "ResourceExhausted"),
            (499, "1", "Canceled"),
            (502, "13", "Internal"),
            (503, "14", "Unavailable"),
            (504, "4", "DeadlineExceeded"),
        ] {
            let mut headers = HeaderMap::new();
            describe(&mut headers, StatusCode::from_u16(http).unwrap(), None);
            assert_eq!(headers[GRPC_STATUS], grpc, "{http}");
            assert_eq!(headers[GRPC_MESSAGE], name, "{http}");
        }
    }

    #[test]
    fn a_message_cannot_leave_its_header() {
        let mut headers = HeaderMap::new();
        describe(&mut headers, StatusCode::NOT_FOUND, Some("no\r\nx: 100% ü"));
        assert_eq!(headers[GRPC_MESSAGE], "no%0D%0Ax: 100%25 %C3%BC");
    }

    #[test]
    fn what_a_plugin_says_of_a_call_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_STATUS, HeaderValue::from_static("9"));
        describe(&mut headers, StatusCode::OK, None);
        assert_eq!(headers[GRPC_STATUS], "9");
        assert!(!headers.contains_key(GRPC_MESSAGE));
    }
}
