//! The plugin development kit: one request and its response on their way through the gateway.
//!
//! Kong's PDK namespaces are the fields of [`Exchange`]: `ex.request`, `ex.service`,
//! `ex.response`, `ex.client`. The semantics live here once; native plugins call these methods and
//! `lua::kong` binds the same ones, so a plugin cannot tell whether its neighbour is Lua or Rust.
//!
//! An Exchange belongs to one worker thread. Its parts are `Cell`s and `RefCell`s, and no borrow
//! may live across an `.await` (clippy denies it).

mod asking;
pub mod body;
pub mod client;
mod handshake;
mod lines;
pub mod log;
mod model_use;
mod own;
pub mod request;
pub mod response;
mod screen;
pub mod service;
mod shared;
mod spans;
#[cfg(test)]
mod testing;

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use asking::{Answer, Asking, Unanswered, Upstream};
pub use body::{Arriving, Body, Budget, Chunk, ClientBody, ReadError, Unfinished};
pub use client::{Client, Credential};
pub use handshake::{Handshake, Shown, Wish};
pub use lines::{Line, Wanting};
pub use model_use::{CacheUse, ModelCall, ModelUse, ModelWatch, Parameter, Parameters, Spent};
pub use own::Own;
pub use request::Request;
pub use response::{Response, Source};
pub use screen::{Screen, Screened, Screening};
pub use service::{Attempts, Call, Loss, Lost, Next, Try};
pub use shared::{Shared, Spaces};
pub use spans::{MadeEvent, MadeSpan, MadeSpans, Root};

use http::Method;

use crate::entity;
use crate::respond::Pages;
use crate::snapshot::Snapshot;

tokio::task_local! {
    /// The exchange whose turn it is. Only `src/lua` reads it, because Lua's `kong.*` are globals,
    /// and [`Line`]: lines are, too.
    pub static CURRENT: Rc<Exchange>;
}

/// One request and its response, from the first byte to the log record.
pub struct Exchange {
    /// 32 hex digits: `X-Kong-Request-Id`.
    pub id: RequestId,
    /// What the client sent (`kong.request`). Its headers are also what the upstream will get.
    pub request: Request,
    /// What the upstream gets and said (`kong.service`).
    pub service: Call,
    /// What the client gets (`kong.response`).
    pub response: Response,
    /// Who the client is (`kong.client`).
    pub client: Client,
    /// Clock readings for latencies.
    pub times: Times,
    /// How errors are told.
    pub pages: Arc<Pages>,
    /// Values for the log record (`kong.log.set_serialize_value`).
    pub log: log::Extra,
    /// The configuration that the exchange keeps to its end.
    pub entities: OnceCell<Rc<dyn Entities>>,
    /// Gets the exchange to its upstream, for a plugin that answers in its place.
    pub upstream: OnceCell<Rc<dyn Upstream>>,
    route: OnceCell<Matched>,
    phase: Cell<Phase>,
    /// What plugins tell each other (`kong.ctx.shared`).
    pub shared: Shared,
    /// What native plugins keep from one phase to the next (`kong.ctx.plugin`).
    pub own: Own,
}

/// What plugins may look up in the configuration.
pub trait Entities: Any {
    /// Whether there is an Upstream of this name.
    fn has_upstream(&self, name: &str) -> bool;

    /// The consumer of an id or a username.
    fn consumer(&self, id_or_username: &str) -> Option<Arc<entity::Consumer>>;

    /// The configuration itself, if there is one.
    fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        None
    }
}

/// The Route that matched, with its Service and what the match consumed.
#[derive(Clone)]
pub struct Matched {
    /// The Route.
    pub route: Arc<entity::Route>,
    /// Its Service; a Route without one answers 503 unless a plugin does.
    pub service: Option<Arc<entity::Service>>,
    /// What `strip_path` cut off: `X-Forwarded-Prefix`.
    pub prefix: Option<String>,
    /// Groups of the regular expression that matched: number or name, and text.
    pub captures: Rc<[(String, String)]>,
}

/// A phase of the plugin chain, in Kong's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Phase {
    Rewrite,
    Access,
    Balancer,
    Response,
    HeaderFilter,
    BodyFilter,
    Log,
}

impl Phase {
    /// Kong's name of the phase, as its error messages print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rewrite => "rewrite",
            Self::Access => "access",
            Self::Balancer => "balancer",
            Self::Response => "response",
            Self::HeaderFilter => "header_filter",
            Self::BodyFilter => "body_filter",
            Self::Log => "log",
        }
    }
}

/// Clock readings of an exchange.
#[derive(Default)]
pub struct Times {
    /// Unix milliseconds at the first byte.
    pub started_at_ms: Cell<u64>,
    /// The first byte of the request.
    pub started: Cell<Option<Instant>>,
    /// The request began to go to the upstream (of the last attempt).
    pub sent: Cell<Option<Instant>>,
    /// The upstream's head was here.
    pub answered: Cell<Option<Instant>>,
    /// The gateway's own time up to the head of the response, and then in body filters; `None`
    /// while there is no head.
    pub overhead: Cell<Option<Duration>>,
    /// How long upstreams and models were waited for.
    waited: Cell<Duration>,
}

impl Times {
    /// Where histograms of the gateway's own time are divided, in microseconds.
    pub const OVERHEAD_BOUNDS_US: &[u64] =
        &[25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 102_400, 409_600];

    /// Milliseconds between the start and `until`, or now.
    pub fn since_start_ms(&self, until: Option<Instant>) -> u64 {
        let Some(started) = self.started.get() else { return 0 };
        let until = until.unwrap_or_else(Instant::now);
        u64::try_from(until.saturating_duration_since(started).as_millis()).unwrap_or(u64::MAX)
    }

    /// Milliseconds the upstream took to its head; `None` when there was no upstream.
    pub fn upstream_ms(&self) -> Option<u64> {
        let (sent, answered) = (self.sent.get()?, self.answered.get()?);
        u64::try_from(answered.saturating_duration_since(sent).as_millis()).ok()
    }

    /// Says that an upstream or a model was waited for until now.
    pub fn waited_since(&self, began: Instant) {
        self.add_wait(began.elapsed());
    }

    /// Adds what an upstream or a model was waited for.
    pub fn add_wait(&self, more: Duration) {
        self.waited.set(self.waited.get() + more);
    }

    /// Adds what a body filter took.
    pub fn add_overhead(&self, more: Duration) {
        self.overhead.set(self.overhead.get().map(|time| time + more));
    }
}

impl Exchange {
    /// A new exchange for a request that has just arrived.
    #[inline] // its 2 KB are written where they stay
    pub fn new(request: Request, pages: Arc<Pages>) -> Self {
        let times = Times::default();
        times.started.set(Some(Instant::now()));
        times.started_at_ms.set(unix_ms());
        Self {
            id: RequestId::random(),
            request,
            service: Call::default(),
            response: Response::default(),
            client: Client::default(),
            times,
            pages,
            log: log::Extra::default(),
            entities: OnceCell::new(),
            upstream: OnceCell::new(),
            route: OnceCell::new(),
            phase: Cell::new(Phase::Rewrite),
            shared: Shared::default(),
            own: Own::default(),
        }
    }

    /// What nginx says of the client's connection (`ngx.resp.get_headers().connection`). In `log`
    /// it is given back, whatever the client was told of it.
    pub fn connection(&self) -> &'static str {
        let headers = self.request.headers();
        let named = headers.get_all(http::header::CONNECTION).iter();
        let mut words = named.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
        let is_old = self.request.version < http::Version::HTTP_11;
        match self.response.status() {
            http::StatusCode::SWITCHING_PROTOCOLS => "upgrade",
            _ if self.phase() == Phase::Log || is_old => "close",
            _ if words.any(|word| word.trim().eq_ignore_ascii_case("close")) => "close",
            _ => "keep-alive",
        }
    }

    /// The response's headers as nginx' Lua code finds them: with its own of the connection.
    pub fn response_headers(&self) -> http::HeaderMap {
        let mut headers = self.response.headers().clone();
        headers.insert(http::header::CONNECTION, http::HeaderValue::from_static(self.connection()));
        headers
    }

    /// The method as it stands: what a plugin has set, or the client's (`kong.request.get_method`).
    pub fn method(&self) -> Method {
        self.service.method().unwrap_or_else(|| self.request.method.clone())
    }

    /// The Route that matched; `None` in `rewrite` and when there is none.
    pub fn matched(&self) -> Option<&Matched> {
        self.route.get()
    }

    /// Says which Route matched. The first word counts.
    pub fn set_matched(&self, matched: Matched) {
        let _ = self.route.set(matched);
    }

    /// Says that the head of the response is ready, and how long it took without what upstreams,
    /// models and the client's body were waited for.
    pub fn head_is_ready(&self) -> Duration {
        let total = self.times.started.get().map(|started| started.elapsed()).unwrap_or_default();
        let waited = self.times.waited.get() + self.request.waited.get();
        let own = total.saturating_sub(waited);
        self.times.overhead.set(Some(own));
        own
    }

    /// The phase that is running.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Enters a phase; the chain does.
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase);
    }
}

/// A request id as Kong makes them: 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// A fresh id. It tells requests apart; it is not a secret.
    pub fn random() -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut bits = fastrand::u128(..);
        let mut text = [0; 32];
        for digit in &mut text {
            *digit = HEX[(bits & 15) as usize];
            bits >>= 4;
        }
        Self(text)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
