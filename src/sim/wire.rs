//! Replies on their way out: a whole body, or a script of chunks with pauses and a planned end.
//!
//! A script can end without the terminator that HTTP asks for; hyper turns the body's error into a
//! closed connection, which is what a cut stream looks like to a client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use serde_json::Value;
use tokio::time::Sleep;

use super::record::{Outcome, Receipt};

/// A reply before it is sent.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Data,
    pub(super) delay: Duration,
    /// Close the connection instead of answering.
    pub(super) dropped: bool,
}

impl Reply {
    pub(super) fn new(status: StatusCode, content_type: &'static str, body: Bytes) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status, headers, body: Data::Full(body), delay: Duration::ZERO, dropped: false }
    }

    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string().into())
    }

    pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body.into())
    }

    pub(super) fn script(content_type: &'static str, script: Script) -> Self {
        let mut reply = Self::new(StatusCode::OK, content_type, Bytes::new());
        reply.body = Data::Script(Box::new(script));
        reply
    }

    pub(super) fn close() -> Self {
        Self { dropped: true, ..Self::text(StatusCode::OK, "") }
    }

    /// Sets a header; a value that HTTP forbids loses the characters that make it so.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_static(name), header_value(value));
        self
    }

    /// Ends the body after so many bytes, without the end that its framing announces.
    pub(super) fn cut_after_bytes(&mut self, limit: usize) {
        let chunks: Arc<[Bytes]> = match &self.body {
            Data::Full(body) => {
                let length = HeaderValue::from(body.len());
                self.headers.insert(CONTENT_LENGTH, length);
                [body.clone()].into()
            }
            Data::Script(script) => Arc::clone(&script.chunks),
        };
        let mut left = limit;
        let kept = chunks.iter().map(|chunk| {
            let part = chunk.slice(..chunk.len().min(left));
            left -= part.len();
            part
        });
        let kept: Arc<[Bytes]> = kept.filter(|part| !part.is_empty()).collect();
        self.cut(kept);
    }

    /// Ends a stream after so many events; a plain body ends at its middle instead.
    pub(super) fn cut_after_events(&mut self, limit: usize) {
        match &self.body {
            Data::Full(body) => self.cut_after_bytes(body.len() / 2),
            Data::Script(script) => {
                let kept = script.chunks.iter().take(limit).cloned().collect();
                self.cut(kept);
            }
        }
    }

    fn cut(&mut self, chunks: Arc<[Bytes]>) {
        let gap = match &self.body {
            Data::Script(script) => script.gap,
            Data::Full(_) => Duration::ZERO,
        };
        let script = Script { cut: true, flush_each: true, ..Script::new(chunks, gap) };
        self.body = Data::Script(Box::new(script));
    }

    pub(super) fn into_response(self, receipt: Option<Receipt>) -> Response<Body> {
        let mut response = Response::new(Body { data: self.body, receipt });
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// A refusal as a check returns it: status and JSON body.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) Value);

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::json(refusal.0, &refusal.1)
    }
}

/// A header value of the visible part of a text; the rest becomes `?`.
pub(super) fn header_value(text: &str) -> HeaderValue {
    let visible: String =
        text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect();
    HeaderValue::try_from(visible).unwrap_or_else(|_| HeaderValue::from_static("?"))
}

/// What a body consists of.
pub(super) enum Data {
    Full(Bytes),
    Script(Box<Script>),
}

/// Chunks in order, with a pause between them.
pub(super) struct Script {
    chunks: Arc<[Bytes]>,
    next: usize,
    pub(super) gap: Duration,
    /// End without the terminator.
    cut: bool,
    flush_each: bool,
    pause: Option<Pin<Box<Sleep>>>,
    flushed: bool,
}

impl Script {
    pub(super) fn new(chunks: Arc<[Bytes]>, gap: Duration) -> Self {
        Self { chunks, next: 0, gap, cut: false, flush_each: false, pause: None, flushed: true }
    }

    /// Lets each chunk reach the socket before the next one is given out, so that chunk borders
    /// are write borders. Without it, chunks that are ready together share a write.
    pub(super) fn flush_each(mut self) -> Self {
        self.flush_each = true;
        self
    }

    fn ended(&self) -> bool {
        self.next >= self.chunks.len() && !self.cut
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if !std::mem::replace(&mut self.flushed, true) {
            // hyper flushes what it has when a body has nothing more to give at once.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let Some(chunk) = self.chunks.get(self.next).cloned() else {
            return Poll::Ready(self.cut.then_some(Err(Cut)));
        };
        self.next += 1;
        let last = self.next == self.chunks.len();
        self.flushed = !self.flush_each || (last && !self.cut);
        if !self.gap.is_zero() && !last {
            self.pause = Some(Box::pin(tokio::time::sleep(self.gap)));
        }
        Poll::Ready(Some(Ok(chunk)))
    }
}

/// The body hyper sends.
pub(super) struct Body {
    data: Data,
    receipt: Option<Receipt>,
}

impl Body {
    pub(super) fn full(bytes: Bytes) -> Self {
        Self { data: Data::Full(bytes), receipt: None }
    }

    pub(super) fn script(script: Script) -> Self {
        Self { data: Data::Script(Box::new(script)), receipt: None }
    }

    fn settle(&mut self, outcome: Outcome) {
        if let Some(receipt) = self.receipt.take() {
            receipt.settle(outcome);
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        let next = match &mut this.data {
            Data::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                (!bytes.is_empty()).then_some(Ok(bytes))
            }
            Data::Script(script) => ready!(script.poll(cx)),
        };
        if matches!(next, Some(Err(Cut))) {
            this.settle(Outcome::Cut);
        } else if this.is_end_stream() {
            this.settle(Outcome::Sent);
        }
        Poll::Ready(next.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.data {
            Data::Full(bytes) => bytes.is_empty(),
            Data::Script(script) => script.ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.data {
            Data::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Data::Script(_) => SizeHint::default(),
        }
    }
}

impl Drop for Body {
    /// An empty body is never polled; any other that is dropped early has lost its client.
    fn drop(&mut self) {
        if http_body::Body::is_end_stream(self) {
            self.settle(Outcome::Sent);
        }
    }
}

/// The simulated loss of a connection.
#[derive(Debug, thiserror::Error)]
#[error("the simulated connection is cut here")]
pub(super) struct Cut;
