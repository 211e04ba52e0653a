//! What the client gets (`kong.response`).

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::rc::Rc;

use bytes::Bytes;
use http::header::{
    AsHeaderName, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IntoHeaderName, LAST_MODIFIED, TRAILER,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Screen;
use super::body::Buffered;
use crate::plugin::{Outcome, Stop};

/// Where the response came from (`kong.response.get_source`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// A failure in the gateway or on the way to the upstream.
    #[default]
    Error,
    /// A plugin answered.
    Exit,
    /// The upstream.
    Service,
}

/// Hears bytes that go by.
pub type Listener = Box<dyn FnMut(&[u8])>;

/// What the client gets: head, and the body when it is in memory.
pub struct Response {
    status: Cell<StatusCode>,
    has_status: Cell<bool>,
    /// The upstream's reason phrase, where it is not the usual one.
    reason: RefCell<Option<Bytes>>,
    headers: RefCell<HeaderMap>,
    source: Cell<Source>,
    body: RefCell<Option<Bytes>>,
    /// The upstream's body as it was read: its share of the budget is kept as long.
    held: RefCell<Option<Buffered>>,
    exited: Cell<bool>,
    /// No plugin behind the one that answered is to run, now or later (`ngx.exit`).
    pub is_last_word: Cell<bool>,
    /// Body bytes that went to the client.
    pub sent: Cell<u64>,
    /// Hears what goes to the client once its connection speaks another protocol.
    pub listener: RefCell<Option<Listener>>,
    /// A plugin that runs late writes the whole body itself, whatever it was before: in Kong the
    /// AI plugins do, so `response-transformer` ahead of them does not show in an AI reply.
    pub body_is_final: Cell<bool>,
    /// A plugin answered with an earlier reply of the upstream: its headers go out as if the
    /// upstream had been asked now (Kong: `KONG_PROXIED`).
    pub is_replayed: Cell<bool>,
    /// Looks at the upstream's body before it goes on.
    pub screen: RefCell<Option<Rc<dyn Screen>>>,
    /// The client is to see its connection close, and no answer (nginx' status 444).
    pub hangs_up: Cell<bool>,
}

impl Default for Response {
    fn default() -> Self {
        Self {
            status: Cell::new(StatusCode::OK),
            has_status: Cell::new(false),
            reason: RefCell::default(),
            headers: RefCell::default(),
            source: Cell::default(),
            body: RefCell::default(),
            held: RefCell::default(),
            exited: Cell::new(false),
            is_last_word: Cell::new(false),
            sent: Cell::new(0),
            listener: RefCell::default(),
            body_is_final: Cell::new(false),
            is_replayed: Cell::new(false),
            screen: RefCell::default(),
            hangs_up: Cell::new(false),
        }
    }
}

impl Response {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status.get()
    }

    /// Whether anybody has said what the status is: before that nginx has none.
    pub fn has_status(&self) -> bool {
        self.has_status.get()
    }

    fn decide(&self, status: StatusCode) {
        self.status.set(status);
        self.has_status.set(true);
    }

    /// Sets the status. The upstream's reason phrase was for another one.
    pub fn set_status(&self, status: StatusCode) {
        self.decide(status);
        self.set_reason(None);
    }

    /// The upstream's reason phrase, where it is not the usual one of the status.
    pub fn reason(&self) -> Option<Bytes> {
        self.reason.borrow().clone()
    }

    /// Keeps the upstream's reason phrase.
    pub fn set_reason(&self, reason: Option<Bytes>) {
        *self.reason.borrow_mut() = reason;
    }

    /// Where the response came from.
    pub fn source(&self) -> Source {
        self.source.get()
    }

    /// All headers.
    pub fn headers(&self) -> Ref<'_, HeaderMap> {
        self.headers.borrow()
    }

    /// All headers, to be changed.
    pub fn headers_mut(&self) -> RefMut<'_, HeaderMap> {
        self.headers.borrow_mut()
    }

    /// The first value of a header.
    pub fn header(&self, name: impl AsHeaderName) -> Option<HeaderValue> {
        self.headers.borrow().get(name).cloned()
    }

    /// Sets a header to one value.
    pub fn set_header(&self, name: impl IntoHeaderName, value: HeaderValue) {
        self.headers.borrow_mut().insert(name, value);
    }

    /// Adds a value to a header.
    pub fn add_header(&self, name: impl IntoHeaderName, value: HeaderValue) {
        self.headers.borrow_mut().append(name, value);
    }

    /// Removes a header.
    pub fn clear_header(&self, name: impl AsHeaderName) {
        self.headers.borrow_mut().remove(name);
    }

    /// Answers the client and ends the access phase (`kong.response.exit`).
    ///
    /// Filters and `log` of every matching plugin still run. The value is for `return`.
    pub fn exit(&self, status: StatusCode, content_type: Option<&str>, body: Bytes) -> Outcome {
        self.answer(Source::Exit, status, content_type, body);
        Err(Stop::Exit)
    }

    /// Stores an answer of the gateway: status, body and what describes it. What describes a body
    /// of the upstream goes.
    pub fn answer(&self, source: Source, status: StatusCode, kind: Option<&str>, body: Bytes) {
        if self.source.get() == Source::Service {
            for name in [CONTENT_ENCODING, CONTENT_RANGE, ETAG, LAST_MODIFIED, TRAILER] {
                self.clear_header(name);
            }
        }
        self.decide(status);
        self.source.set(source);
        if let Some(kind) = kind.and_then(|k| HeaderValue::from_str(k).ok()) {
            self.set_header(CONTENT_TYPE, kind);
        }
        self.replace_body(body);
        self.exited.set(true);
    }

    /// Whether an answer is there and no upstream is to be asked.
    pub fn exited(&self) -> bool {
        self.exited.get()
    }

    /// The whole body, when it is in memory: after an exit, or in the `response` phase.
    pub fn body(&self) -> Option<Bytes> {
        self.body.borrow().clone()
    }

    /// Puts a whole body there and says its length.
    pub fn replace_body(&self, body: Bytes) {
        self.set_header(CONTENT_LENGTH, HeaderValue::from(body.len()));
        *self.body.borrow_mut() = Some(body);
    }

    /// Keeps a body that was read from the upstream, headers untouched.
    pub fn hold_body(&self, body: Buffered) {
        *self.body.borrow_mut() = Some(body.bytes.clone());
        *self.held.borrow_mut() = Some(body);
    }

    /// The upstream's body as it was read, if it was read whole.
    pub fn held_body(&self) -> Option<Bytes> {
        self.held.borrow().as_ref().map(|held| held.bytes.clone())
    }

    /// Takes the whole body out.
    pub fn take_body(&self) -> Option<Bytes> {
        self.body.borrow_mut().take()
    }

    /// Takes the upstream's head. What plugins have set so far stays in front of it, also where
    /// the upstream has a header of that name, as in nginx; only what describes the body is the
    /// upstream's to say.
    pub fn take_head(&self, status: StatusCode, headers: HeaderMap) {
        self.decide(status);
        self.source.set(Source::Service);
        let mut ours = self.headers.borrow_mut();
        if ours.is_empty() {
            *ours = headers;
            return;
        }
        ours.remove(CONTENT_LENGTH);
        if headers.contains_key(CONTENT_TYPE) {
            ours.remove(CONTENT_TYPE);
        }
        let mut last = None;
        for (name, value) in headers {
            last = name.or(last);
            if let Some(name) = &last {
                ours.append(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_a_plugin_stands_beside_the_upstreams_and_the_body_is_the_upstreams_to_describe()
    {
        let response = Response::default();
        for (name, value) in [
            ("x-a", "plugin"),
            ("x-own", "plugin"),
            ("content-type", "text/plain"),
            ("content-length", "1"),
        ] {
            response.set_header(name, HeaderValue::from_static(value));
        }
        let mut theirs = HeaderMap::new();
        for (name, value) in [("x-a", "1"), ("x-a", "2"), ("content-type", "text/html")] {
            theirs.append(name, HeaderValue::from_static(value));
        }
        response.take_head(StatusCode::OK, theirs);
        let headers = response.headers();
        let all =
            |name| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(all("x-a"), ["plugin", "1", "2"]);
        assert_eq!(all("x-own"), ["plugin"]);
        assert_eq!(all("content-type"), ["text/html"]);
        assert_eq!(all("content-length"), [""; 0]);
    }
}
