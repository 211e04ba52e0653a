//! Bodies on both sides of an upstream connection, and the clocks that watch them.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::{Instant, Sleep};

use super::shared::Seat;
use super::upload::{Cut, Sending, Upload};
use super::{Home, Link, SendError};
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
        let progress = Progress {
            last: Rc::new(Cell::new(Instant::now())),
            sending: Rc::new(Cell::new(upload.is_some())),
            starved: Rc::default(),
            upload,
        };
        Self { body, progress }
    }

    /// What streams, when something does.
    pub(super) fn upload(&self) -> Option<&Upload> {
        self.progress.upload.as_ref()
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
                this.progress.starved.set(polled.is_pending());
                let frame = ready!(polled);
                this.progress.last.set(Instant::now());
                // Behind the last frame nobody asks for another one.
                this.progress.sending.set(frame.is_some() && !sending.is_end_stream());
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
pub(super) struct Progress {
    last: Rc<Cell<Instant>>,
    sending: Rc<Cell<bool>>,
    /// The client has not sent more yet.
    starved: Rc<Cell<bool>>,
    upload: Option<Upload>,
}

impl Progress {
    /// Whether some of a body that streams is still to be sent.
    pub(super) fn is_sending(&self) -> bool {
        self.sending.get()
    }

    /// Starts the clock: what came before, such as connecting, has limits of its own.
    pub(super) fn restart(&self) {
        self.last.set(Instant::now());
    }

    /// The limit that holds now, in milliseconds, and when it is over.
    fn deadline(&self, limits: &Limits) -> (u64, Instant) {
        let limit_ms = if self.sending.get() { limits.write_ms } else { limits.read_ms };
        (limit_ms, self.last.get() + Duration::from_millis(limit_ms))
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
            if self.sending.get() {
                look = look.min(Instant::now() + Duration::from_millis(limits.read_ms));
            }
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer),
                () = tokio::time::sleep_until(look) => {
                    let (limit_ms, deadline) = self.deadline(limits);
                    if deadline <= Instant::now() {
                        let starved = self.sending.get() && self.starved.get();
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
    #[error("the upstream broke off: {0}")]
    Broken(#[from] hyper::Error),
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

/// The connection that a reply comes over.
pub(super) enum Held {
    /// In use for this exchange alone: where it goes afterwards, and how far its request is.
    Own(Link, Home, Progress),
    /// One of several on it.
    Shared(Seat),
}

impl Held {
    /// Why the client did not finish the request that this is held for.
    fn broken_upload(&self) -> Option<String> {
        match self {
            Self::Own(.., progress) => progress.upload.as_ref()?.broken(),
            Self::Shared(seat) => seat.upload()?.broken(),
        }
    }
}

/// The body of an upstream's answer. Read to its end it gives the connection back; dropped before
/// that it closes it, which tells the upstream that nobody listens any more.
pub struct ReplyBody {
    incoming: Incoming,
    connection: Option<Held>,
    /// What was taken together with pieces before it, and is not one: trailers, or the end.
    ahead: Option<Ahead>,
    read_ms: u64,
    last: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What is behind the pieces that were taken: the end, or one more thing. Few bodies have it.
enum Ahead {
    End,
    Frame(Box<Result<Frame<Bytes>, Interrupted>>),
}

/// Pieces that are ready together go on together while they are shorter than the first of these,
/// and until they are as long as the second: a model's events are far shorter, and each by itself
/// would be a system call.
const PIECE: usize = 4 << 10;
const TOGETHER: usize = 64 << 10;

impl ReplyBody {
    pub(super) fn new(incoming: Incoming, held: Held, read_ms: u64) -> Self {
        let mut body = Self::switched(incoming, held, read_ms);
        if body.incoming.is_end_stream() {
            body.finish();
        }
        body
    }

    /// There is no body: what follows the head is another protocol. The connection is not given
    /// back, and lives as long as this.
    pub(super) fn switched(incoming: Incoming, held: Held, read_ms: u64) -> Self {
        Self {
            incoming,
            connection: Some(held),
            ahead: None,
            read_ms,
            last: Instant::now(),
            timer: None,
        }
    }

    /// The next frame, or why there is none. Short pieces that are there together are one.
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        match self.ahead.take() {
            Some(Ahead::Frame(frame)) => return Poll::Ready(Some(*frame)),
            Some(Ahead::End) => {
                self.ahead = Some(Ahead::End);
                return Poll::Ready(None);
            }
            None => {}
        }
        let Poll::Ready(frame) = self.poll_incoming(cx) else { return self.poll_timer(cx) };
        self.last = Instant::now();
        match frame {
            Some(Ok(frame)) if self.may_grow(&frame) => {
                Poll::Ready(Some(Ok(self.with_more(frame))))
            }
            frame => Poll::Ready(frame),
        }
    }

    /// The next frame as it comes out of the connection, which moves if there is none.
    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let is_held = matches!(&self.connection, Some(Held::Own(link, ..)) if link.is_held());
        if !is_held {
            let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
            return Poll::Ready(self.taken(frame));
        }
        if let Poll::Ready(frame) = self.poll_there() {
            return Poll::Ready(frame);
        }
        // Whoever takes a piece makes room for the next, which would wake somebody: only of a
        // connection that has nothing to say word is wanted.
        if let Some(Held::Own(link, ..)) = &mut self.connection {
            link.drive(cx);
        }
        self.poll_taken()
    }

    /// The next frame of a connection that this holds, if it is here or can be read.
    fn poll_there(&mut self) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        if let Poll::Ready(frame) = self.poll_taken() {
            return Poll::Ready(frame);
        }
        if let Some(Held::Own(link, ..)) = &mut self.connection {
            link.advance();
        }
        self.poll_taken()
    }

    /// The next frame that has come out of the connection.
    fn poll_taken(&mut self) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let mut nobody = Context::from_waker(Waker::noop());
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(&mut nobody));
        Poll::Ready(self.taken(frame))
    }

    /// Takes note of what came out of the connection.
    fn taken(
        &mut self,
        frame: Option<Result<Frame<Bytes>, hyper::Error>>,
    ) -> Option<Result<Frame<Bytes>, Interrupted>> {
        match frame {
            Some(Ok(frame)) => {
                if self.incoming.is_end_stream() {
                    self.finish();
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                let broken = self.connection.take().and_then(|held| held.broken_upload());
                Some(Err(broken.map_or_else(|| error.into(), Interrupted::Client)))
            }
            None if self.is_reset() => {
                let broken = self.connection.take().and_then(|held| held.broken_upload());
                Some(Err(broken.map_or(Interrupted::Reset, Interrupted::Client)))
            }
            None => {
                self.finish();
                None
            }
        }
    }

    /// Whether a frame is a short piece behind which there may be more.
    fn may_grow(&self, frame: &Frame<Bytes>) -> bool {
        let is_short = frame.data_ref().is_some_and(|data| data.len() < PIECE);
        is_short && matches!(&self.connection, Some(Held::Own(link, ..)) if link.is_held())
    }

    /// A short piece and all that are there with it.
    fn with_more(&mut self, first: Frame<Bytes>) -> Frame<Bytes> {
        let Ok(first) = first.into_data() else { return Frame::data(Bytes::new()) };
        let mut together = BytesMut::new();
        loop {
            match self.poll_there() {
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                    let data = frame.into_data().unwrap_or_default();
                    if together.is_empty() {
                        together.extend_from_slice(&first);
                    }
                    together.extend_from_slice(&data);
                    if together.len() < TOGETHER && self.connection.is_some() {
                        continue;
                    }
                }
                Poll::Ready(Some(other)) => self.ahead = Some(Ahead::Frame(Box::new(other))),
                Poll::Ready(None) => self.ahead = Some(Ahead::End),
                Poll::Pending => {}
            }
            return Frame::data(if together.is_empty() { first } else { together.freeze() });
        }
    }

    /// Whether there is nothing more, and the last frame did not say so.
    fn is_reset(&self) -> bool {
        matches!(self.connection, Some(Held::Shared(_))) && !self.incoming.is_end_stream()
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
        if let Some(Held::Shared(seat)) = self.connection.take() {
            seat.retire();
        }
        Poll::Ready(Some(Err(Interrupted::Idle(self.read_ms))))
    }

    fn finish(&mut self) {
        // An upstream that answered before it had the whole request gets no more of it, and its
        // connection cannot serve anybody else.
        if let Some(Held::Own(link, home, progress)) = self.connection.take()
            && !progress.sending.get()
        {
            home.give_back(link);
        }
    }

    /// Bytes that are still to come, when the upstream said so.
    pub fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    /// Whether all of it has been read.
    pub fn is_end_stream(&self) -> bool {
        match &self.ahead {
            Some(ahead) => matches!(ahead, Ahead::End),
            None => self.incoming.is_end_stream(),
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
