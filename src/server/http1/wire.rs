//! A client's connection of HTTP/1: what is read of it and who reads it.
//!
//! Between requests and behind them its own task reads. A body is read by whoever holds it, as far
//! as they want it; what nobody wants is read away.

use std::cell::{RefCell, RefMut};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::away::Away;
use super::head::{Head, Limits, Reading, of_refused};
use crate::http1::{Broken, Decoder, Output, Raw};
use crate::pdk::{ClientBody, Unfinished};
use crate::respond::Failure;
use crate::server::activity::Activity;

/// What is read at a time where it is not known how much is to come.
const SCRATCH: usize = 64 << 10;
/// A body of which more than this is to come is read to where it stays.
const LONG: u64 = 16 << 10;

thread_local! {
    /// Reads go here first: who waits holds no buffer, and who has read holds no more than came.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// A connection, as its task and the holder of a body see it.
pub(super) struct Wire<S> {
    stream: S,
    limits: Limits,
    activity: Rc<Activity>,
    /// What has been read and not taken.
    input: BytesMut,
    reading: Reading,
    body: Decoder,
    /// Which of the bodies it is: one of an exchange that is over may still be held.
    number: u64,
    reader: Reader,
    /// The client waits to be asked for its body.
    awaits: bool,
    /// The word that asks for it, on its way.
    word: Output,
    /// The task of the connection, which waits until a body has been read by its holder.
    task: Option<Waker>,
    /// It closes, and the client may still send.
    lingers: Option<Away>,
}

/// Who reads what is left of a body.
enum Reader {
    /// Its holder.
    Holder,
    /// Nobody wants it.
    Away(Away),
    /// Nobody does: the client waits in vain to be asked for it, or it cannot be read any more.
    Nobody,
}

/// What comes next.
pub(super) enum Next {
    /// A request.
    Request(Head),
    /// What is to be answered as one, with why it is none.
    Refused(http::request::Parts, Failure),
    /// The end.
    End,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S, limits: Limits, activity: Rc<Activity>) -> Self {
        Self {
            stream,
            limits,
            activity,
            input: BytesMut::new(),
            reading: Reading::default(),
            body: Decoder::Done,
            number: 0,
            reader: Reader::Holder,
            awaits: false,
            word: Output::default(),
            task: None,
            lingers: None,
        }
    }

    /// Waits for the next request, behind what is left of the last one.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Next>> {
        if !self.body.has_ended() && ready!(self.poll_away(cx)).is_err() {
            return Poll::Ready(Ok(Next::End));
        }
        loop {
            match self.reading.read(&self.input, self.limits) {
                Ok(Some(end)) => return Poll::Ready(Ok(self.begin(end))),
                Ok(None) => {}
                Err(failure) => return Poll::Ready(Ok(self.refuse(failure))),
            }
            // Who has asked for nothing, or not yet, does not hold up the end.
            if self.activity.is_leaving() {
                return Poll::Ready(Ok(Next::End));
            }
            if !self.input.is_empty() {
                self.activity.head_begun();
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(Next::End));
            }
        }
    }

    fn begin(&mut self, end: usize) -> Next {
        self.activity.head_ended();
        let head = Bytes::copy_from_slice(self.input.get(..end).unwrap_or_default());
        match std::mem::take(&mut self.reading).finish(&head) {
            Ok((head, body)) => {
                self.drop_front(end);
                (self.body, self.number) = (body, self.number + 1);
                self.reader = Reader::Holder;
                self.awaits = head.wishes.expects;
                Next::Request(head)
            }
            Err(failure) => self.refuse(failure),
        }
    }

    fn refuse(&mut self, failure: Failure) -> Next {
        self.activity.head_ended();
        self.reader = Reader::Nobody;
        Next::Refused(of_refused(&self.input, failure), failure)
    }

    fn drop_front(&mut self, length: usize) {
        if length == self.input.len() {
            self.input = BytesMut::new();
        } else {
            self.input.advance(length);
        }
    }

    /// Reads what is there.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        if let Decoder::Length(left @ LONG..) = self.body {
            let room = usize::try_from(left).unwrap_or(SCRATCH).min(SCRATCH);
            self.input.reserve(room);
            return poll_read_buf(stream, cx, &mut self.input);
        }
        READ.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(stream.poll_read(cx, &mut buffer))?;
            self.input.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// While a request is answered: ready when the client has left.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.body.has_ended() {
            match &self.reader {
                Reader::Away(_) => match ready!(self.poll_away(cx)) {
                    Ok(()) => {}
                    Err(Unfinished::Closed | Unfinished::Failed(_)) => return Poll::Ready(()),
                    Err(_) => self.reader = Reader::Nobody,
                },
                Reader::Holder => {
                    if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                        self.task = Some(cx.waker().clone());
                    }
                }
                Reader::Nobody => {}
            }
        }
        // What it has already sent behind its request waits there.
        let is_whole = self.body.has_ended() && self.input.is_empty();
        if !is_whole || matches!(self.reader, Reader::Nobody) {
            return Poll::Pending;
        }
        match ready!(self.poll_fill(cx)) {
            Ok(0) | Err(_) => Poll::Ready(()),
            // Nothing is read on top of it.
            Ok(_) => Poll::Pending,
        }
    }

    /// Reads away what is left of a body; an error if it cannot be read.
    fn poll_away(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unfinished>> {
        while !self.body.has_ended() {
            let decoded = self.body.decode(&mut self.input, 0).map_err(|(_, broken)| broken)?;
            self.drop_front(decoded);
            if self.body.has_ended() {
                break;
            }
            let Reader::Away(away) = &mut self.reader else {
                return Poll::Ready(Err(Unfinished::Left));
            };
            if away.poll_over(cx).is_ready() {
                return Poll::Ready(Err(Unfinished::Left));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(Unfinished::Closed));
            }
            if let Reader::Away(away) = &mut self.reader {
                away.go_on();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The next frame of a body for its holder.
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unfinished>>> {
        if !matches!(self.reader, Reader::Holder) {
            return Poll::Ready(Some(Err(Unfinished::Left)));
        }
        loop {
            if self.body.has_ended() {
                let trailers = self.body.take_trailers();
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers?))));
            }
            let whole = match self.body.decode(&mut self.input, 0) {
                Ok(whole) => whole,
                Err((_, broken)) => return self.fail(broken.into()),
            };
            if whole > 0 {
                self.has_read();
                return Poll::Ready(Some(Ok(Frame::data(self.take(whole)))));
            }
            if self.body.has_ended() {
                self.has_read();
                continue;
            }
            // It comes when it has been asked for.
            let _ = self.poll_ask(cx);
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return self.fail(Unfinished::Closed),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return self.fail(error.into()),
                Poll::Pending => {
                    if self.input.is_empty() {
                        self.input = BytesMut::new();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes bytes of a body. Few of them do not keep the large buffer that they were read to.
    fn take(&mut self, whole: usize) -> Bytes {
        const FEW: usize = 8 << 10;
        if whole < FEW && self.input.capacity() > 2 * whole {
            let data = Bytes::copy_from_slice(self.input.get(..whole).unwrap_or_default());
            self.drop_front(whole);
            return data;
        }
        let data = match whole == self.input.len() {
            true => std::mem::take(&mut self.input),
            false => self.input.split_to(whole),
        };
        data.freeze()
    }

    /// Nothing more can be read.
    fn fail(&mut self, why: Unfinished) -> Poll<Option<Result<Frame<Bytes>, Unfinished>>> {
        self.reader = Reader::Nobody;
        self.wake();
        Poll::Ready(Some(Err(why)))
    }

    /// Tells the task of the connection when the body has been read.
    fn has_read(&mut self) {
        if self.body.has_ended() {
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Asks for a body.
    fn poll_ask(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.awaits) {
            self.word.whole(Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        // A connection that fails fails again where that is looked at.
        self.word.poll_write(&mut self.stream, cx).map(drop)
    }

    /// The holder of a body has left it.
    fn leave(&mut self) {
        if matches!(self.reader, Reader::Holder) && !self.body.has_ended() {
            self.reader = match std::mem::take(&mut self.awaits) {
                true => Reader::Nobody,
                false => Reader::Away(Away::new()),
            };
            self.wake();
        }
    }

    /// The answer begins: no word goes out behind its head.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.awaits {
            self.leave();
        }
        if self.word.is_empty() { Poll::Ready(()) } else { self.poll_ask(cx) }
    }

    /// Whether a body is left that nobody can read: nothing may follow it.
    pub(super) fn is_stuck(&self) -> bool {
        !self.body.has_ended() && matches!(self.reader, Reader::Nobody)
    }

    /// Writes what there is of an answer.
    pub(super) fn poll_write(
        &mut self,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        output.poll_write(&mut self.stream, cx)
    }

    /// The answer has been given; whether a request may follow.
    pub(super) fn end_exchange(&mut self) -> bool {
        self.leave();
        self.body.has_ended() || matches!(self.reader, Reader::Away(_))
    }

    /// Closes. A client that is still sending would lose its answer to the system's reset, so what
    /// it sends is read for a while and thrown away (nginx' `lingering_close`).
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingers.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            let is_whole = self.body.has_ended() && self.input.is_empty();
            let is_silent = is_whole
                && !matches!(self.reader, Reader::Nobody)
                && !matches!(self.poll_fill(cx), Poll::Ready(Ok(1..)));
            if is_silent {
                return Poll::Ready(Ok(()));
            }
        }
        self.lingers.get_or_insert_with(Away::new).poll_all(&mut self.stream, cx).map(Ok)
    }

    /// Bytes that it has room for.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.input.capacity()
    }

    /// The stream behind the answer to a request for another protocol; `None` if a part of the
    /// request's body would be taken for that.
    pub(super) fn into_raw(self) -> Option<Raw<S>> {
        self.body.has_ended().then(|| Raw::new(self.stream, self.input.freeze()))
    }
}

impl From<Broken> for Unfinished {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Half => Self::Closed,
            Broken::Chunks(what) => Self::Chunks(what),
        }
    }
}

/// The body of one request, for its holder.
pub(super) struct Held<S> {
    wire: Rc<RefCell<Wire<S>>>,
    number: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Held<S> {
    /// The body of the request that has just come.
    pub(super) fn new(wire: &Rc<RefCell<Wire<S>>>) -> Self {
        Self { wire: wire.clone(), number: wire.borrow().number }
    }

    /// The connection, if its current body is this one.
    fn wire(&self) -> Option<RefMut<'_, Wire<S>>> {
        Some(self.wire.borrow_mut()).filter(|wire| wire.number == self.number)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientBody for Held<S> {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Unfinished>>> {
        match self.wire() {
            Some(mut wire) => wire.poll_frame(cx),
            None => Poll::Ready(Some(Err(Unfinished::Left))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.wire().is_none_or(|wire| wire.body.is_done())
    }

    fn size_hint(&self) -> SizeHint {
        self.wire().map(|wire| wire.body.size_hint()).unwrap_or_default()
    }

    fn awaits(&self) -> bool {
        self.wire().is_some_and(|wire| wire.awaits)
    }

    fn poll_ask(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.wire() {
            Some(mut wire) if wire.awaits || !wire.word.is_empty() => wire.poll_ask(cx),
            _ => Poll::Ready(()),
        }
    }

    fn leave(&self) {
        if let Some(mut wire) = self.wire() {
            wire.leave();
        }
    }
}
