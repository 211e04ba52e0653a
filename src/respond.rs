//! Every failure → a status and Kong's body. The only such place.
//!
//! Kong has two voices. `kong.response.error` and nginx's own error pages are negotiated by
//! `Accept` and carry the request id; they differ in what they speak when nothing was asked for.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, SERVER};
use http::{HeaderMap, StatusCode};

use crate::pdk::{Exchange, ReadError, RequestId, Source};
use crate::plugin::{Outcome, Stop};
use crate::settings::Tokens;

/// What the gateway calls itself in `Server`.
pub const SERVER_TOKEN: &str = concat!("silverback/", env!("CARGO_PKG_VERSION"));
/// What the gateway adds to `Via`.
pub const VIA: &str = concat!("1.1 silverback/", env!("CARGO_PKG_VERSION"));

/// A failure of the gateway or on the way to the upstream. Its text is Kong's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No Route matched.
    NoRoute,
    /// The Route has no Service and no plugin answered.
    NoService,
    /// The upstream's name could not be resolved.
    NameResolution,
    /// The Upstream has no target that can take the request.
    NoPeer,
    /// The upstream refused, broke off or said something that is not HTTP.
    BadGateway,
    /// The upstream took longer than the Service allows.
    GatewayTimeout,
    /// Nothing answered where the target should be.
    Unavailable,
    /// A plugin failed or panicked.
    Unexpected,
    /// The request cannot be understood.
    BadRequest,
    /// The request line is longer than Kong accepts.
    UriTooLong,
    /// A header, or all of them, are longer than Kong accepts.
    HeadersTooLarge,
    /// TRACE and CONNECT.
    MethodNotAllowed,
    /// A body that must be read whole is too long.
    PayloadTooLarge,
    /// The client did not finish its body in time.
    RequestTimeout,
    /// The Route wants HTTPS.
    HttpsRequired,
    /// gRPC needs HTTP/2.
    Http2Required,
    /// The Route is for gRPC alone.
    NotGrpc,
}

impl Failure {
    /// Status, text, and whether it is one of nginx's own pages.
    fn parts(self) -> (u16, &'static str, Voice) {
        match self {
            Self::NoRoute => (404, "no Route matched with those values", Voice::Kong),
            Self::NoService => (503, "no Service found with those values", Voice::Kong),
            Self::NameResolution => (503, "name resolution failed", Voice::Kong),
            Self::NoPeer => (503, "failure to get a peer from the ring-balancer", Voice::Kong),
            Self::BadGateway => {
                (502, "An invalid response was received from the upstream server", Voice::Nginx)
            }
            Self::GatewayTimeout => (504, "The upstream server is timing out", Voice::Nginx),
            Self::Unavailable => {
                (503, "The upstream server is currently unavailable", Voice::Nginx)
            }
            Self::Unexpected => (500, "An unexpected error occurred", Voice::Kong),
            Self::BadRequest => (400, "Bad request", Voice::Nginx),
            Self::UriTooLong => (414, "URI too long", Voice::Nginx),
            Self::HeadersTooLarge => (400, "Request header or cookie too large", Voice::Nginx),
            Self::MethodNotAllowed => (405, "Method not allowed", Voice::Nginx),
            Self::PayloadTooLarge => (413, "Payload too large", Voice::Nginx),
            Self::RequestTimeout => (408, "Request timeout", Voice::Nginx),
            Self::HttpsRequired => (426, "Please use HTTPS protocol", Voice::Kong),
            Self::Http2Required => (426, "Please use HTTP2 protocol", Voice::Kong),
            Self::NotGrpc => (415, "Non-gRPC request matched gRPC route", Voice::Kong),
        }
    }

    /// The status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.parts().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<&ReadError> for Failure {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::TooLarge { .. } => Self::PayloadTooLarge,
            ReadError::NoRoom => Self::Unavailable,
            ReadError::Broken(_) => Self::BadRequest,
            ReadError::Idle(_) => Self::RequestTimeout,
        }
    }
}

/// Who speaks: what is said to a client that has no preference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Voice {
    /// JSON.
    Kong,
    /// The request's own Content-Type, else plain text (`error_default_type`).
    Nginx,
}

/// Answers the client with a failure of the gateway.
pub fn fail(ex: &Exchange, failure: Failure) {
    let (_, message, voice) = failure.parts();
    answer(ex, failure.status(), message, voice, Source::Error);
    let upgrade = match failure {
        Failure::HttpsRequired => "TLS/1.2, HTTP/1.1",
        Failure::Http2Required => "HTTP/2",
        _ => return,
    };
    ex.response.set_header("connection", HeaderValue::from_static("Upgrade"));
    ex.response.set_header("upgrade", HeaderValue::from_static(upgrade));
}

/// `kong.response.error(status, message)`: a plugin refuses a request.
pub fn error(ex: &Exchange, status: StatusCode, message: &str) -> Outcome {
    answer(ex, status, message, Voice::Kong, Source::Exit);
    Err(Stop::Exit)
}

/// `kong.response.exit(status, {message = ...})`: compact JSON, whatever the client accepts.
pub fn exit_message(ex: &Exchange, status: StatusCode, message: &str) -> Outcome {
    let body = serde_json::json!({ "message": message }).to_string();
    ex.response.exit(status, Some("application/json; charset=utf-8"), body.into())
}

/// The answer to a request that never became an exchange.
pub fn early(failure: Failure, headers: &HeaderMap, tokens: Tokens) -> http::Response<Bytes> {
    let (_, message, voice) = failure.parts();
    let id = RequestId::random();
    let (kind, body) = template(wanted(headers, voice), message, &id);
    let mut response = http::Response::new(Bytes::from(body));
    *response.status_mut() = failure.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if tokens.server {
        headers.insert(SERVER, HeaderValue::from_static(SERVER_TOKEN));
    }
    if tokens.latency {
        headers.insert("x-kong-response-latency", HeaderValue::from_static("0"));
    }
    if let (true, Ok(id)) = (tokens.request_id, HeaderValue::from_str(id.as_str())) {
        headers.insert("x-kong-request-id", id);
    }
    response
}

fn answer(ex: &Exchange, status: StatusCode, message: &str, voice: Voice, source: Source) {
    let (kind, body) = template(wanted(&ex.request.headers(), voice), message, &ex.id);
    ex.response.answer(source, status, Some(kind), body.into());
}

/// A body format of Kong's error templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Html,
    Xml,
    Plain,
}

fn wanted(headers: &HeaderMap, voice: Voice) -> Format {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    match (text(ACCEPT), voice) {
        (Some(accept), _) => best(accept),
        (None, Voice::Kong) => Format::Json,
        (None, Voice::Nginx) => text(CONTENT_TYPE).map_or(Format::Plain, best),
    }
}

/// The best format for an `Accept` value; the first of equal quality wins, JSON if none fits.
fn best(accept: &str) -> Format {
    let mut chosen = (0.0, Format::Json);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts
            .find_map(|p| p.strip_prefix("q=")?.parse::<f32>().ok())
            .filter(|q| q.is_finite())
            .unwrap_or(1.0);
        let format = match kind.as_str() {
            "text/html" => Format::Html,
            "application/xml" => Format::Xml,
            "text/plain" | "text/*" => Format::Plain,
            "application/json" | "application/*" | "*/*" => Format::Json,
            _ => continue,
        };
        if quality > chosen.0 {
            chosen = (quality, format);
        }
    }
    chosen.1
}

fn template(format: Format, message: &str, id: &RequestId) -> (&'static str, String) {
    match format {
        Format::Json => {
            let message = serde_json::Value::from(message);
            let body = format!("{{\n  \"message\":{message},\n  \"request_id\":\"{id}\"\n}}");
            ("application/json; charset=utf-8", body)
        }
        Format::Html => ("text/html; charset=utf-8", html(&escaped(message), id)),
        Format::Xml => {
            let message = escaped(message);
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  \
                 <message>{message}</message>\n  <requestid>{id}</requestid>\n</error>\n"
            );
            ("application/xml; charset=utf-8", body)
        }
        Format::Plain => ("text/plain; charset=utf-8", format!("{message}\nrequest_id: {id}\n")),
    }
}

fn html(message: &str, id: &RequestId) -> String {
    format!(
        "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    \
         <title>Error</title>\n  </head>\n  <body>\n    <h1>Error</h1>\n    <p>{message}.</p>\n    \
         <p>request_id: {id}</p>\n  </body>\n</html>\n"
    )
}

/// Text between tags. Kong does not escape; its messages hold no markup, ours may hold a name.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_chooses_the_format() {
        assert_eq!(best("text/html;q=0.5, application/xml"), Format::Xml);
        assert_eq!(best("image/png"), Format::Json);
        assert_eq!(best("text/*"), Format::Plain);
        assert_eq!(best("text/html;q=nan"), Format::Html);
    }

    #[test]
    fn nginx_pages_follow_the_content_type_of_the_request() {
        let mut headers = HeaderMap::new();
        assert_eq!(wanted(&headers, Voice::Nginx), Format::Plain);
        assert_eq!(wanted(&headers, Voice::Kong), Format::Json);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert_eq!(wanted(&headers, Voice::Nginx), Format::Json);
    }

    #[test]
    fn a_message_cannot_break_the_json() {
        let (_, body) = template(Format::Json, "say \"x\"", &RequestId::random());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&body).unwrap()["message"],
            "say \"x\""
        );
    }
}
