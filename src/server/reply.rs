//! The response body on its way to the client: filters, limits, and the end of the exchange.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

use super::activity::Busy;
use super::patience::client_owes;
use super::screened::Incoming;
use super::worker::Worker;
use crate::chain::Chain;
use crate::pdk::{self, Chunk, Exchange};
use crate::respond::{self, Failure};
use crate::runloop::Runloop;
use crate::telemetry::AccessLog;
use crate::upstream::{Interrupted, ReplyBody};

/// The response cannot be finished; the client sees its connection close.
#[derive(Debug, Error)]
pub(super) enum Cut {
    /// The upstream broke off.
    #[error(transparent)]
    Upstream(#[from] Interrupted),
    /// A plugin failed on the body.
    #[error("a plugin failed on the response body")]
    Plugin,
    /// A plugin that looked at the response refuses it.
    #[error("a plugin refuses the response body")]
    Refused,
    /// The stream lasted longer than `silverback_stream_max_secs`.
    #[error("the stream lasted longer than silverback_stream_max_secs")]
    TooLong,
}

impl Cut {
    /// Whose fault it is.
    fn fault(&self) -> &'static str {
        match self {
            Self::Upstream(interrupted) => interrupted.fault(),
            _ => "upstream",
        }
    }
}

/// A response body.
pub(super) struct Reply {
    source: Source,
    /// Trailers that have come before filters have seen the end.
    trailers: Option<HeaderMap>,
    /// The head may have gone out.
    has_begun: bool,
    /// What filters have made of the first piece; `Some(None)` is the end.
    first: Option<Option<Frame<Bytes>>>,
    finish: Option<Finish>,
    _busy: Option<Busy>,
}

enum Source {
    /// Nothing more to come.
    Done,
    /// In memory.
    Whole(Bytes),
    /// From the upstream.
    Upstream(Incoming),
    /// Only the upstream's trailers are still to come.
    Trailers(HeaderMap),
    /// The same one turn before: the head is still to go out.
    Breaking(Option<Cut>),
    /// Nothing more to come, and the client must not take that for the end.
    Broken(Option<Cut>),
}

impl Reply {
    /// The body of an exchange: the upstream's, or what lies in `ex.response`.
    pub(super) fn new(body: Option<ReplyBody>, mut finish: Finish) -> Self {
        finish.answer_begins();
        let source = match body {
            // gRPC tells a call that failed at once from one that ended by where its head ends.
            Some(body) if body.is_end_stream() && is_call(&finish.exchange) => {
                Source::Whole(Bytes::new())
            }
            Some(body) => Source::Upstream(Incoming::new(body, &finish.exchange)),
            None => Source::Whole(finish.exchange.response.take_body().unwrap_or_default()),
        };
        let mut reply = Self {
            source,
            trailers: None,
            has_begun: false,
            first: None,
            finish: Some(finish),
            _busy: None,
        };
        if let Source::Whole(bytes) = &mut reply.source {
            let whole = std::mem::take(bytes);
            reply.source = Source::Whole(reply.filter_whole(whole));
        }
        reply
    }

    /// A body without an exchange.
    pub(super) fn alone(bytes: Bytes) -> Self {
        Self {
            source: Source::Whole(bytes),
            trailers: None,
            has_begun: false,
            first: None,
            finish: None,
            _busy: None,
        }
    }

    /// Runs filters that may fail on the first piece while the client can still be told. nginx
    /// holds the head back for as long, but not that of a call nor that of an answer it does not
    /// buffer: the upstream may be waiting for a client that has seen it.
    pub(super) async fn try_filters(&mut self, ex: &Exchange) {
        let screen = match &self.source {
            Source::Upstream(incoming) => incoming.screen(),
            _ => None,
        };
        let may_fail = self.finish.as_ref().is_some_and(|f| f.chain.may_fail_on_body());
        let buffers = ex.matched().is_none_or(|matched| matched.route.response_buffering);
        let holds_back = may_fail && buffers && !is_call(ex) || screen.is_some();
        if !holds_back || !matches!(self.source, Source::Upstream(_)) {
            self.has_begun = true;
            return;
        }
        let first = poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await;
        self.has_begun = true;
        if let (Some(screen), Some(Err(Cut::Refused))) = (screen, &first) {
            screen.refuse(ex);
            return self.replace(ex);
        }
        // The first piece may be fine, and the end that was there with it not.
        let failed = matches!(first, Some(Err(Cut::Plugin)))
            || matches!(self.source, Source::Broken(Some(Cut::Plugin)));
        if failed {
            respond::fail(ex, Failure::Unexpected);
            return self.replace(ex);
        }
        match first {
            Some(Err(cut)) => self.source = Source::Breaking(Some(cut)),
            Some(Ok(frame)) => self.first = Some(Some(frame)),
            None => self.first = Some(None),
        }
    }

    /// What lies in `ex.response` is the body after all.
    fn replace(&mut self, ex: &Exchange) {
        let body = ex.response.take_body().unwrap_or_default();
        ex.response.sent.set(body.len() as u64);
        self.source = Source::Whole(body);
    }

    /// What a screen refuses ends with its word, if it has begun.
    fn refused(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let screen = match &self.source {
            Source::Upstream(incoming) => incoming.screen().filter(|_| self.has_begun),
            _ => None,
        };
        let Some(screen) = screen else { return self.cut(Cut::Refused, cx) };
        self.source = Source::Done;
        let mut chunk = Chunk { data: screen.ending(), last: true, broken: false };
        match self.filter(&mut chunk) {
            Ok(data) => Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data)))),
            Err(cut) => self.cut(cut, cx),
        }
    }

    /// Keeps its connection busy to its end.
    pub(super) fn lasting(mut self: Box<Self>, busy: Busy) -> Box<Self> {
        client_owes(true);
        self._busy = Some(busy);
        self
    }

    /// Runs the body filters on a body in memory. Nothing has gone out yet, so a fault becomes an
    /// honest 500.
    fn filter_whole(&mut self, whole: Bytes) -> Bytes {
        let before = whole.len();
        let filtered = self.filter_pieces(whole);
        let Some(finish) = &self.finish else { return filtered.unwrap_or_default() };
        let response = &finish.exchange.response;
        let body = filtered.unwrap_or_else(|_| {
            respond::fail(&finish.exchange, Failure::Unexpected);
            response.take_body().unwrap_or_default()
        });
        if body.len() != before {
            response.set_header(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let status = response.status();
        let bodiless = finish.exchange.request.method == Method::HEAD
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        response.sent.set(if bodiless { 0 } else { body.len() as u64 });
        body
    }

    /// Filters see such a body as nginx shows it to them: the whole, and then an end without bytes.
    fn filter_pieces(&mut self, whole: Bytes) -> Result<Bytes, Cut> {
        if !whole.is_empty() && self.has_filters() {
            let mut chunk = Chunk { data: whole, last: false, broken: false };
            let first = self.filter(&mut chunk)?;
            if chunk.last {
                return Ok(first);
            }
            let end = self.filter(&mut Chunk { data: Bytes::new(), last: true, broken: false })?;
            return Ok(if end.is_empty() { first } else { [first, end].concat().into() });
        }
        self.filter(&mut Chunk { data: whole, last: true, broken: false })
    }

    /// Runs the body filters on a piece and counts what goes out.
    fn filter(&mut self, chunk: &mut Chunk) -> Result<Bytes, Cut> {
        let Some(finish) = &self.finish else { return Ok(std::mem::take(&mut chunk.data)) };
        if finish.chain.filters_body() {
            let began = Instant::now();
            let filtered = finish.current(|| finish.chain.body_filter(&finish.exchange, chunk));
            finish.exchange.times.add_overhead(began.elapsed());
            filtered.map_err(|()| Cut::Plugin)?;
        }
        let sent = &finish.exchange.response.sent;
        sent.set(sent.get() + chunk.data.len() as u64);
        Ok(std::mem::take(&mut chunk.data))
    }

    fn has_filters(&self) -> bool {
        self.finish.as_ref().is_some_and(|finish| finish.chain.filters_body())
    }

    /// The end of the upstream's body: filters may have something to add.
    fn end(
        &mut self,
        broken: Option<Cut>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.source = self.trailers.take().map_or(Source::Done, Source::Trailers);
        if let (Some(error), Some(finish)) = (&broken, &self.finish) {
            let id = finish.exchange.id;
            let fault = error.fault();
            tracing::warn!(request_id = %id, fault, "reply cut short: {error}");
        }
        if self.has_filters() {
            let mut chunk = Chunk { data: Bytes::new(), last: true, broken: broken.is_some() };
            match self.filter(&mut chunk) {
                Err(cut) => return self.cut(cut, cx),
                // A filter that has the last word ends a broken stream in its own way.
                Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(_) if !chunk.broken => return Poll::Ready(self.last_frame()),
                Ok(_) => {}
            }
        }
        let Some(error) = broken else { return Poll::Ready(self.last_frame()) };
        self.cut(error, cx)
    }

    fn last_frame(&mut self) -> Option<Result<Frame<Bytes>, Cut>> {
        match std::mem::replace(&mut self.source, Source::Done) {
            Source::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            _ => None,
        }
    }

    /// Ends with an error, one turn later: over HTTP/2 what is not flushed is lost with it.
    fn cut(&mut self, cut: Cut, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.source = Source::Broken(Some(cut));
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            if self.finish.as_ref().is_some_and(Finish::is_overdue) {
                return self.end(Some(Cut::TooLong), cx);
            }
            let Source::Upstream(body) = &mut self.source else { return Poll::Ready(None) };
            let frame = match std::task::ready!(body.poll_next(cx)) {
                None => return self.end(None, cx),
                Some(Err(Cut::Refused)) => return self.refused(cx),
                Some(Err(error)) => return self.end(Some(error), cx),
                Some(Ok(frame)) => frame,
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                // Trailers end a body, and filters are still to see its end; what they make of it
                // is another body than the one the trailers speak of, if it is not a call's.
                Err(frame) if self.has_filters() => {
                    let trailers = frame.into_trailers().ok();
                    let Some(finish) = &self.finish else { continue };
                    finish.exchange.service.trailers.borrow_mut().clone_from(&trailers);
                    self.trailers = trailers.filter(|_| is_call(&finish.exchange));
                    continue;
                }
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            let mut chunk = Chunk { data, last: false, broken: false };
            let filtered = self.filter(&mut chunk);
            if chunk.last && filtered.is_ok() {
                // A filter has said that the body ends here, whatever the upstream still sends.
                self.source = Source::Done;
                let data = filtered.unwrap_or_default();
                return Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))));
            }
            match filtered {
                // A filter may hold a piece back.
                Ok(data) if self.is_spent() => return self.end_behind(data, cx),
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(cut) => return self.cut(cut, cx),
            }
        }
    }

    /// Whether nothing of the upstream's body is left that a filter has not seen. Nobody asks for
    /// more behind the last byte that a `Content-Length` promises, and filters wait for the end.
    fn is_spent(&self) -> bool {
        let spent = matches!(&self.source, Source::Upstream(body) if body.is_end_stream());
        spent && self.has_filters()
    }

    /// The last piece, and with it what filters add at the end.
    fn end_behind(
        &mut self,
        data: Bytes,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let end = self.end(None, cx);
        if data.is_empty() {
            return end;
        }
        let added = match end {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            // A filter that failed has left its cut for the next turn.
            _ => Bytes::new(),
        };
        let data = if added.is_empty() { data } else { [data, added].concat().into() };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(first) = self.first.take() {
            client_owes(first.is_some());
            return Poll::Ready(first.map(Ok));
        }
        let polled = match &mut self.source {
            Source::Done => Poll::Ready(None),
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::Done;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Source::Upstream(_) => self.poll_upstream(cx),
            Source::Trailers(_) => Poll::Ready(self.last_frame()),
            Source::Breaking(cut) => match cut.take() {
                Some(cut) => self.cut(cut, cx),
                None => Poll::Ready(None),
            },
            Source::Broken(cut) => Poll::Ready(cut.take().map(Err)),
        };
        client_owes(matches!(polled, Poll::Ready(Some(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        if let Some(first) = &self.first {
            return first.is_none() && matches!(self.source, Source::Done);
        }
        match &self.source {
            Source::Done => true,
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Upstream(body) => body.is_end_stream() && !self.has_filters(),
            Source::Trailers(_) | Source::Breaking(_) | Source::Broken(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.first.is_some() {
            return SizeHint::default();
        }
        match &self.source {
            Source::Done => SizeHint::with_exact(0),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream(_) if self.has_filters() => SizeHint::default(),
            Source::Upstream(body) => body.size_hint(),
            Source::Trailers(_) | Source::Breaking(_) | Source::Broken(_) => SizeHint::default(),
        }
    }
}

/// Whether the reply comes from a Service for gRPC, whose trailers hold the status of the call.
fn is_call(ex: &Exchange) -> bool {
    ex.response.source() == pdk::Source::Service && ex.service.scheme().is_grpc()
}

/// The end of an exchange. Dropped when its last byte has gone out, or when the client has: either
/// way `log` runs, once.
pub(super) struct Finish {
    pub(super) worker: Rc<Worker>,
    pub(super) runloop: Rc<Runloop>,
    pub(super) exchange: Rc<Exchange>,
    pub(super) chain: Chain,
    /// Position of the Route, for counters.
    pub(super) route: Option<usize>,
    /// A response has been made; without one the client left before its answer.
    answered: bool,
}

/// nginx' status for a client that did not wait. It is never sent, only logged and counted.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Finish {
    pub(super) fn new(worker: Rc<Worker>, runloop: Rc<Runloop>, exchange: Rc<Exchange>) -> Self {
        worker.open.set(worker.open.get() + 1);
        Self { worker, runloop, exchange, chain: Chain::default(), route: None, answered: false }
    }

    /// Runs plugins with this exchange as the current one; a panic is a fault of theirs.
    fn current(&self, run: impl FnOnce() -> Result<(), ()>) -> Result<(), ()> {
        let run = || pdk::CURRENT.sync_scope(self.exchange.clone(), run);
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            let id = self.exchange.id;
            tracing::error!(request_id = %id, fault = "gateway", "a plugin phase panicked");
            Err(())
        })
    }

    /// Whether the log record will be made, by a plugin or for the access log.
    pub(super) fn reads_record(&self) -> bool {
        let json = self.worker.access_log.as_ref().is_some_and(AccessLog::writes_records);
        json || self.chain.reads_record()
    }

    /// From here on the client has not left before its answer.
    pub(super) fn answer_begins(&mut self) {
        self.answered = true;
    }

    fn is_overdue(&self) -> bool {
        let limit = Duration::from_secs(self.worker.shared.settings.stream_max_secs);
        let answered = self.exchange.times.answered.get();
        answered.is_some_and(|at| Instant::now().saturating_duration_since(at) > limit)
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        if let (false, Ok(gone)) = (self.answered, StatusCode::from_u16(CLIENT_CLOSED_REQUEST)) {
            self.exchange.response.set_status(gone);
        }
        if self.reads_record() {
            self.exchange.log.want();
        }
        let _ = self.current(|| {
            self.chain.log(&self.exchange);
            Ok(())
        });
        let status = self.exchange.response.status().as_u16();
        self.runloop.count(&self.worker.shared, self.route, status);
        self.worker.overhead.count(&self.exchange);
        if let Some(log) = &self.worker.access_log {
            log.write(&self.exchange);
        }
        self.worker.open.set(self.worker.open.get().saturating_sub(1));
    }
}
