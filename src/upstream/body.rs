//! Bodies on both sides of an upstream connection, and the clocks that watch them.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::{Instant, Sleep};

use super::http1::{Apart, Connection, Fault, Piece, Stream};
use super::shared::Seat;
use super::upload::{Cut, Sending, Upload};
use super::{Home, SendError, cause};
use crate::http1::Raw;
use crate::pdk::body::Buffered;
use crate::pdk::service::Limits;

/// A request body on its way to the upstream; its progress is watched.
pub struct Outgoing {
    body: Body,
    progress: Progress,
}

enum Body {
    Empty,
    Whole(Buffered),
    Stream(Sending),
}

impl Outgoing {
    /// No body.
    pub fn empty() -> Self {
        Self::new(Body::Empty)
    }

    /// A body in memory.
    pub fn whole(body: Buffered) -> Self {
        Self::new(Body::Whole(body))
    }

    /// A body that streams, from its beginning.
    pub fn stream(upload: &Upload) -> Self {
        Self::new(Body::Stream(upload.start()))
    }

    fn new(body: Body) -> Self {
        let upload = match &body {
            Body::Stream(sending) => Some(sending.upload().clone()),
            _ => None,
        };
        let progress = Progress(Rc::new(Course {
            last: Cell::new(Instant::now()),
            sending: Cell::new(upload.is_some()),
            starved: Cell::new(false),
            upload,
        }));
        Self { body, progress }
    }

    /// All of it, if it is in memory.
    pub(super) fn all(&self) -> Option<Bytes> {
        match &self.body {
            Body::Empty => Some(Bytes::new()),
            Body::Whole(whole) => Some(whole.bytes.clone()),
            Body::Stream(_) => None,
        }
    }

    /// The body, for who sends it; none is left here.
    pub(super) fn take(&mut self) -> Self {
        let body = std::mem::replace(&mut self.body, Body::Empty);
        Self { body, progress: self.progress.clone() }
    }

    /// What streams, when something does.
    pub(super) fn upload(&self) -> Option<&Upload> {
        self.progress.0.upload.as_ref()
    }

    /// A view of how far the body is.
    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        match &mut this.body {
            Body::Empty => Poll::Ready(None),
            Body::Whole(whole) => {
                let Buffered { bytes, .. } = std::mem::take(whole);
                this.body = Body::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Body::Stream(sending) => {
                let polled = sending.poll_frame(cx);
                this.progress.0.starved.set(polled.is_pending());
                let frame = ready!(polled);
                this.progress.0.last.set(Instant::now());
                // Behind the last frame nobody asks for another one.
                this.progress.0.sending.set(frame.is_some() && !sending.is_end_stream());
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Body::Empty => true,
            Body::Whole(whole) => whole.bytes.is_empty(),
            Body::Stream(sending) => sending.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Body::Empty => SizeHint::with_exact(0),
            Body::Whole(whole) => SizeHint::with_exact(whole.bytes.len() as u64),
            Body::Stream(sending) => sending.size_hint(),
        }
    }
}

/// How far a request body is: the upstream's time to answer starts when it has all of it.
#[derive(Clone)]
pub(super) struct Progress(Rc<Course>);

struct Course {
    last: Cell<Instant>,
    /// Some of a body that streams is still to be sent.
    sending: Cell<bool>,
    /// The client has not sent more yet.
    starved: Cell<bool>,
    upload: Option<Upload>,
}

impl Progress {
    /// Starts the clock: what came before, such as connecting, has limits of its own.
    pub(super) fn restart(&self) {
        self.0.last.set(Instant::now());
    }

    /// The limit that holds now, in milliseconds, and when it is over.
    fn deadline(&self, limits: &Limits) -> (u64, Instant) {
        let limit_ms = if self.0.sending.get() { limits.write_ms } else { limits.read_ms };
        (limit_ms, self.0.last.get() + Duration::from_millis(limit_ms))
    }

    /// Waits for an answer, at most `read_ms` after the last sign of progress.
    pub(super) async fn bound<T>(
        &self,
        answer: impl Future<Output = T>,
        limits: &Limits,
        address: SocketAddr,
    ) -> Result<T, SendError> {
        let mut answer = std::pin::pin!(answer);
        loop {
            // From the end of the body on the other limit holds, and nobody tells when that is.
            let mut look = self.deadline(limits).1;
            if self.0.sending.get() {
                look = look.min(Instant::now() + Duration::from_millis(limits.read_ms));
            }
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer),
                () = tokio::time::sleep_until(look) => {
                    let (limit_ms, deadline) = self.deadline(limits);
                    if deadline <= Instant::now() {
                        let starved = self.0.sending.get() && self.0.starved.get();
                        return Err(match starved {
                            true => SendError::SlowClient(limit_ms),
                            false => SendError::Timeout(address, limit_ms),
                        });
                    }
                }
            }
        }
    }
}

/// A reply broke off.
#[derive(Debug, Error)]
pub enum Interrupted {
    /// The upstream closed or sent something that is not HTTP.
    #[error("the upstream broke off: {cause}", cause = cause(.0))]
    Broken(#[from] Fault),
    /// The upstream ended its stream of HTTP/2 with `NO_ERROR`: the library takes that for the end.
    #[error("the upstream reset its stream")]
    Reset,
    /// The client broke off its request, which took the connection along.
    #[error("the client did not finish its body: {0}")]
    Client(String),
    /// No data within `read_timeout`.
    #[error("no data from the upstream within {0} ms (read_timeout)")]
    Idle(u64),
}

/// Why a reply could not be read whole.
#[derive(Debug, Error)]
pub enum Unread {
    /// It broke off.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// There is no room for it.
    #[error(transparent)]
    TooMuch(#[from] crate::pdk::ReadError),
}

impl Interrupted {
    /// Whose fault it is.
    pub fn fault(&self) -> &'static str {
        if matches!(self, Self::Client(_)) { "client" } else { "upstream" }
    }
}

/// Where a reply comes from.
enum Source {
    /// A connection that this moves, where it goes afterwards, and the request's body.
    Own(Box<Connection>, Home, Option<Upload>),
    /// One that a task moves, as its request is still being sent.
    Apart(Apart, Home, Option<Upload>),
    /// One of several on a connection of HTTP/2.
    Shared(Incoming, Seat),
    /// There is nothing more.
    Over,
}

/// The body of an upstream's answer. Read to its end it gives the connection back; dropped before
/// that it closes it, which tells the upstream that nobody listens any more.
pub struct ReplyBody {
    source: Source,
    read_ms: u64,
    last: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ReplyBody {
    /// What comes over a connection behind the head of an answer.
    pub(super) fn own(
        connection: Box<Connection>,
        home: Home,
        upload: Option<Upload>,
        read_ms: u64,
    ) -> Self {
        // Behind a `101` there is another protocol, and not the end of an answer.
        let ends = connection.is_end_stream() && !connection.has_switched();
        match connection.is_sending() && !ends {
            true => Self::new(Source::Apart(Apart::new(connection), home, upload), ends, read_ms),
            false => Self::new(Source::Own(connection, home, upload), ends, read_ms),
        }
    }

    /// What comes over a stream of HTTP/2.
    pub(super) fn shared(incoming: Incoming, seat: Seat, read_ms: u64) -> Self {
        let ends = incoming.is_end_stream();
        Self::new(Source::Shared(incoming, seat), ends, read_ms)
    }

    fn new(source: Source, ends: bool, read_ms: u64) -> Self {
        let mut body = Self { source, read_ms, last: Instant::now(), timer: None };
        if ends {
            body.finish();
        }
        body
    }

    /// The stream of an upstream that has changed to another protocol.
    pub fn into_switched(self) -> Option<Raw<Stream>> {
        match self.source {
            Source::Own(connection, ..) if connection.has_switched() => connection.into_raw(),
            _ => None,
        }
    }

    /// The next frame, or why there is none. Short pieces that are there together are one.
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let polled = match &mut self.source {
            Source::Own(connection, ..) => connection.poll_frame(cx),
            Source::Apart(apart, ..) => match apart.poll_next(cx) {
                Poll::Ready(Some(Piece::End(connection))) => {
                    self.come_back(connection);
                    Poll::Ready(None)
                }
                Poll::Ready(Some(Piece::Frame(frame))) => Poll::Ready(Some(frame)),
                Poll::Ready(None) => Poll::Ready(Some(Err(Fault::HalfBody))),
                Poll::Pending => Poll::Pending,
            },
            Source::Shared(incoming, _) => {
                let frame = Pin::new(incoming).poll_frame(cx);
                frame.map(|frame| frame.map(|frame| frame.map_err(Fault::from)))
            }
            Source::Over => return Poll::Ready(None),
        };
        let Poll::Ready(frame) = polled else { return self.poll_timer(cx) };
        self.last = Instant::now();
        Poll::Ready(self.taken(frame))
    }

    /// Takes note of what came out of the connection.
    fn taken(
        &mut self,
        frame: Option<Result<Frame<Bytes>, Fault>>,
    ) -> Option<Result<Frame<Bytes>, Interrupted>> {
        match frame {
            Some(Ok(frame)) => {
                if self.is_end_stream() {
                    self.finish();
                }
                Some(Ok(frame))
            }
            Some(Err(fault)) => Some(Err(self.interrupt(Interrupted::Broken(fault)))),
            // The last frame of a stream of HTTP/2 says that it is the last one.
            None if !self.is_end_stream() && matches!(self.source, Source::Shared(..)) => {
                Some(Err(self.interrupt(Interrupted::Reset)))
            }
            None => {
                self.finish();
                None
            }
        }
    }

    /// Ends it; if the client did not finish its request that is why.
    fn interrupt(&mut self, error: Interrupted) -> Interrupted {
        let broken = match std::mem::replace(&mut self.source, Source::Over) {
            Source::Own(.., upload) | Source::Apart(.., upload) => {
                upload.and_then(|upload| upload.broken())
            }
            Source::Shared(_, seat) => seat.upload().and_then(Upload::broken),
            Source::Over => None,
        };
        broken.map_or(error, Interrupted::Client)
    }

    /// One timer for the whole body: when it fires it looks whether something came since.
    fn poll_timer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let limit = Duration::from_millis(self.read_ms);
        let deadline = self.last + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        while timer.as_mut().poll(cx).is_ready() {
            if deadline <= Instant::now() {
                break;
            }
            timer.as_mut().reset(deadline);
        }
        if !timer.is_elapsed() {
            return Poll::Pending;
        }
        if let Source::Shared(_, seat) = std::mem::replace(&mut self.source, Source::Over) {
            seat.retire();
        }
        Poll::Ready(Some(Err(Interrupted::Idle(self.read_ms))))
    }

    /// A task has brought an answer to its end, and the connection if it may be used again.
    fn come_back(&mut self, connection: Option<Box<Connection>>) {
        if let Source::Apart(_, home, upload) = std::mem::replace(&mut self.source, Source::Over)
            && let Some(connection) = connection
        {
            self.source = Source::Own(connection, home, upload);
        }
    }

    fn finish(&mut self) {
        // An upstream that answered before it had the whole request gets no more of it, and its
        // connection cannot serve anybody else.
        if let Source::Own(connection, home, _) = std::mem::replace(&mut self.source, Source::Over)
        {
            home.give_back(connection);
        }
    }

    /// Bytes that are still to come, when the upstream said so.
    pub fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(connection, ..) => connection.size_hint(),
            Source::Apart(apart, ..) => apart.size_hint(),
            Source::Shared(incoming, _) => incoming.size_hint(),
            Source::Over => SizeHint::with_exact(0),
        }
    }

    /// Whether all of it has been read.
    pub fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(connection, ..) => connection.is_end_stream(),
            Source::Apart(..) => false,
            Source::Shared(incoming, _) => incoming.is_end_stream(),
            Source::Over => true,
        }
    }

    /// Reads the body to its end, up to `limit` bytes.
    ///
    /// # Errors
    /// It is not here whole, or there is no room for it.
    pub async fn read_whole(
        mut self,
        limit: usize,
        budget: &std::sync::Arc<crate::pdk::Budget>,
    ) -> Result<Buffered, Unread> {
        let mut whole = crate::pdk::body::Collector::new(limit, budget);
        loop {
            match std::future::poll_fn(|cx| self.poll_next(cx)).await {
                None => return Ok(whole.finish()),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        whole.push(data)?;
                    }
                }
            }
        }
    }
}
