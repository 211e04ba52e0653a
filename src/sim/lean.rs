//! The benchmark upstream: prebuilt replies, so that what is measured is the gateway.
//!
//! Nothing is checked or kept. The replies are those that the full simulator gives, made once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use memchr::memmem::Finder;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::openai::SUCCESS_HEADERS;
use super::options::Options;
use super::serve::read_body;
use super::stream;
use super::wire::{Body, Script};

/// The replies of a lean simulator.
pub(super) struct Lean {
    json_headers: HeaderMap,
    stream_headers: HeaderMap,
    chat: Both,
    completions: Both,
    embeddings: Bytes,
    gap: Duration,
    stream_member: Finder<'static>,
}

/// One answer in its two forms.
struct Both {
    json: Bytes,
    events: Arc<[Bytes]>,
}

impl Lean {
    pub(super) fn new(options: &Options) -> Self {
        let embedding = json!([{ "object": "embedding", "index": 0, "embedding": [0.1, -0.2] }]);
        let embeddings = json!({
            "object": "list",
            "model": "text-embedding-3-small",
            "data": embedding,
            "usage": { "prompt_tokens": 2, "total_tokens": 2 },
        });
        Self {
            json_headers: headers("application/json"),
            stream_headers: headers("text/event-stream; charset=utf-8"),
            chat: Both::new(options, false),
            completions: Both::new(options, true),
            embeddings: embeddings.to_string().into(),
            gap: Duration::from_millis(options.event_delay_ms),
            stream_member: Finder::new(r#""stream""#),
        }
    }

    /// Whether the lean path answers; everything else, tokens included, goes the full way.
    pub(super) fn takes(&self, request: &Request<Incoming>) -> bool {
        request.method() == Method::POST && request.uri().path().starts_with("/openai/")
    }

    pub(super) async fn reply(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let body = read_body(body).await.unwrap_or_default();
        if path.ends_with("/embeddings") {
            return self.respond(&self.json_headers, Body::full(self.embeddings.clone()));
        }
        let both = match path.ends_with("/chat/completions") {
            true => &self.chat,
            false => &self.completions,
        };
        if !self.wants_stream(&body) {
            return self.respond(&self.json_headers, Body::full(both.json.clone()));
        }
        let script = Script::new(Arc::clone(&both.events), self.gap);
        self.respond(&self.stream_headers, Body::script(script))
    }

    fn respond(&self, headers: &HeaderMap, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.headers_mut() = headers.clone();
        response
    }

    /// Looks for `"stream": true` without parsing; `"stream_options"` does not match.
    fn wants_stream(&self, body: &[u8]) -> bool {
        self.stream_member.find_iter(body).any(|at| {
            let mut rest = body[at + 8..].iter().filter(|byte| !byte.is_ascii_whitespace());
            rest.next() == Some(&b':') && rest.next() == Some(&b't')
        })
    }
}

impl Both {
    fn new(options: &Options, legacy: bool) -> Self {
        let text = "Hello from the Azure simulator. This reply was made before you asked.";
        let answer = Answer {
            id: "chatcmpl-sim0000000000000000".into(),
            created: super::clock::now_secs(),
            model: options.model.clone(),
            pieces: answer::words(text),
            finish: "stop",
            prompt_tokens: 16,
            legacy,
            include_usage: false,
            more_usage: None,
        };
        let json: Value = answer.json();
        let pieces = answer::regroup(answer.pieces.clone(), options.stream_events);
        let events = Answer { pieces, ..answer }.events(None);
        Self { json: json.to_string().into(), events: stream::frames(events, None).into() }
    }
}

fn headers(content_type: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let request_id = HeaderValue::from_static("00000000-0000-0000-0000-0000000000a1");
    headers.insert(HeaderName::from_static("apim-request-id"), request_id.clone());
    headers.insert(HeaderName::from_static("x-request-id"), request_id);
    for (name, value) in SUCCESS_HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}
