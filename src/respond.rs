//! Every failure → a status and Kong's body. The only such place.
//!
//! Kong has two voices. `kong.response.error` and nginx's own error pages are negotiated by
//! `Accept` and carry the request id; they differ in what they speak when nothing was asked for.

mod call;
mod pages;
mod reason;

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

use crate::pdk::{Exchange, ReadError, Source};
use crate::plugin::{Outcome, Stop};

pub use self::call::shape as shape_call;
pub use self::pages::{Format, Pages};
pub use self::reason::reason;

/// What the gateway calls itself in `Server`.
pub const SERVER_TOKEN: &str = concat!("silverback/", env!("CARGO_PKG_VERSION"));

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
    /// The gateway holds as many bytes as it may.
    Overloaded,
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
    /// The transfer of the body is coded in a way that cannot be undone.
    NotImplemented,
    /// A body that must be read whole is too long.
    PayloadTooLarge,
    /// The client did not finish its body in time.
    RequestTimeout,
    /// The listener speaks TLS, and the client does not.
    PlainHttp,
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
            Self::Overloaded => (503, "Service unavailable", Voice::Kong),
            Self::Unexpected => (500, "An unexpected error occurred", Voice::Kong),
            Self::BadRequest => (400, "Bad request", Voice::Nginx),
            Self::UriTooLong => (414, "URI too long", Voice::Nginx),
            Self::HeadersTooLarge => (400, "Request header or cookie too large", Voice::Nginx),
            Self::MethodNotAllowed => (405, "Method not allowed", Voice::Nginx),
            Self::NotImplemented => (501, "", Voice::Page),
            Self::PayloadTooLarge => (413, "Payload too large", Voice::Nginx),
            Self::RequestTimeout => (408, "Request timeout", Voice::Nginx),
            Self::PlainHttp => (400, "The plain HTTP request was sent to HTTPS port", Voice::Page),
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
            ReadError::NoRoom => Self::Overloaded,
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
    /// What Kong leaves to nginx alone: one page for everybody.
    Page,
}

/// Answers the client with a failure of the gateway.
pub fn fail(ex: &Exchange, failure: Failure) {
    let (_, message, voice) = failure.parts();
    answer(ex, failure.status(), message, voice, Source::Error);
    let upgrade = match failure {
        // Bodies leave the memory as fast as upstreams answer: soon, and not at once.
        Failure::Overloaded => {
            return ex.response.set_header(RETRY_AFTER, HeaderValue::from_static("1"));
        }
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

/// The same in the format of a media type that the plugin names, whatever the client accepts.
pub fn error_of_type(ex: &Exchange, status: StatusCode, message: &str, kind: &str) -> Outcome {
    let named = kind.split(';').next().unwrap_or_default().trim();
    let format = Format::of_type(named).unwrap_or(Format::Json);
    let (_, body) = ex.pages.page(format, message, ex.id.as_str());
    ex.response.answer(Source::Exit, status, Some(kind), body.into());
    Err(Stop::Exit)
}

/// What nginx says for a status that a plugin leaves with (`ngx.exit`): Kong's page for the errors
/// that Kong has one for (`error_page`), its own for others and for redirects, or nothing.
pub fn nginx_error(ex: &Exchange, status: StatusCode) {
    let (message, voice) = match status.as_u16() {
        400 | 404 | 405 | 408 | 411..=414 | 417 | 494 | 500 | 502..=504 => {
            (default_message(status), Voice::Nginx)
        }
        _ => ("", Voice::Page),
    };
    answer(ex, status, message, voice, Source::Error);
}

/// Kong's words for a status that comes without a message.
pub fn default_message(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "Bad request",
        402 => "Payment required",
        404 => "Not found",
        405 => "Method not allowed",
        406 => "Not acceptable",
        407 => "Proxy authentication required",
        408 => "Request timeout",
        411 => "Length required",
        412 => "Precondition failed",
        413 => "Payload too large",
        414 => "URI too long",
        415 => "Unsupported media type",
        416 => "Range not satisfiable",
        417 => "Expectation failed",
        418 => "I'm a teapot",
        421 => "Misdirected request",
        422 => "Unprocessable entity",
        424 => "Failed dependency",
        425 => "Too early",
        426 => "Upgrade required",
        428 => "Precondition required",
        429 => "Too many requests",
        431 => "Request header fields too large",
        451 => "Unavailable for legal reasons",
        494 => "Request header or cookie too large",
        500 => "An unexpected error occurred",
        501 => "Not implemented",
        502 => "An invalid response was received from the upstream server",
        503 => "The upstream server is currently unavailable",
        504 => "The upstream server is timing out",
        505 => "HTTP version not supported",
        506 => "Variant also negotiates",
        507 => "Insufficient storage",
        508 => "Loop detected",
        510 => "Not extended",
        511 => "Network authentication required",
        _ => status.canonical_reason().unwrap_or(""),
    }
}

/// `kong.response.exit(status, {message = ...})`: compact JSON, whatever the client accepts.
pub fn exit_message(ex: &Exchange, status: StatusCode, message: &str) -> Outcome {
    exit_json(ex, status, &serde_json::json!({ "message": message }))
}

/// `kong.response.exit(status, {...})`: compact JSON, whatever the client accepts.
pub fn exit_json(ex: &Exchange, status: StatusCode, body: &serde_json::Value) -> Outcome {
    let kind = Some("application/json; charset=utf-8");
    ex.response.exit(status, kind, body.to_string().into())
}

/// Now, for an answer of the gateway's own.
pub fn date() -> HeaderValue {
    let now = httpdate::fmt_http_date(SystemTime::now());
    HeaderValue::from_str(&now).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The format for a client. Kong's own voice reads every line of `Accept`, nginx' the first.
fn wanted(headers: &HeaderMap, voice: Voice, pages: &Pages) -> Format {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let lines: Vec<String> = headers.get_all(ACCEPT).iter().filter_map(text).collect();
    let named = match voice {
        Voice::Kong if lines.is_empty() => return Format::Json,
        Voice::Kong => return pages::best(&lines.join(",")),
        Voice::Nginx | Voice::Page => {
            lines.first().cloned().or_else(|| headers.get(CONTENT_TYPE).and_then(text))
        }
    };
    match named {
        // Kong means to answer gRPC, which needs HTTP/2; over HTTP/1.1 a table comes of it.
        Some(named) if named.starts_with("application/grpc") => Format::Compact,
        Some(named) => pages::best(&named),
        None => pages.default_type,
    }
}

fn answer(ex: &Exchange, status: StatusCode, message: &str, voice: Voice, source: Source) {
    if call::is_call(ex.request.version, &ex.request.headers()) {
        let (kind, message) = match voice {
            Voice::Kong => (Some(call::TYPE), None),
            Voice::Nginx | Voice::Page => {
                (None, Some(message).filter(|message| !message.is_empty()))
            }
        };
        ex.response.clear_header(CONTENT_TYPE);
        ex.response.answer(source, status, kind, Bytes::new());
        return call::describe(&mut ex.response.headers_mut(), status, message);
    }
    if voice == Voice::Page {
        let page = pages::of_nginx(status, Some(message).filter(|message| !message.is_empty()));
        let kind = page.as_ref().map(|_| "text/html");
        return ex.response.answer(source, status, kind, page.unwrap_or_default().into());
    }
    let format = wanted(&ex.request.headers(), voice, &ex.pages);
    let (kind, body) = ex.pages.page(format, message, ex.id.as_str());
    ex.response.answer(source, status, kind, body.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_pages_follow_the_content_type_of_the_request() {
        let pages = Pages::default();
        let mut headers = HeaderMap::new();
        assert_eq!(wanted(&headers, Voice::Nginx, &pages), Format::Plain);
        assert_eq!(wanted(&headers, Voice::Kong, &pages), Format::Json);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert_eq!(wanted(&headers, Voice::Nginx, &pages), Format::Json);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        assert_eq!(wanted(&headers, Voice::Nginx, &pages), Format::Compact);
        headers.insert(ACCEPT, HeaderValue::from_static("text/html;q=0.1"));
        headers.append(ACCEPT, HeaderValue::from_static("application/xml"));
        assert_eq!(wanted(&headers, Voice::Nginx, &pages), Format::Html);
        assert_eq!(wanted(&headers, Voice::Kong, &pages), Format::Xml);
    }
}
