//! HTTP/1 to an upstream: one connection, one exchange at a time.
//!
//! A codec of our own, because every request goes through it. A library has to serve everybody: it
//! gives a connection as a future that somebody must poll, and speaks with it by channels. Here
//! whoever holds a connection asks it for what comes next, and that reads and writes. Pieces that
//! are ready together are one, and a connection that waits holds hardly anything.

mod apart;
mod encode;
mod fault;
mod parse;
mod stream;
#[cfg(test)]
mod tests;

use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};

pub(super) use apart::{Apart, Piece};
pub use fault::Fault;
pub use stream::Stream;

use super::Outgoing;
use crate::http1::{Decoder, Output, Raw};
use encode::Sending;
use stream::Silence;

/// The most bytes of all heads of an answer, and the most lines of one: far more than any server
/// sends, and more of the latter than nginx and Azure's front doors allow.
const HEAD_MAX: usize = 408 << 10;
const LINES_MAX: usize = 256;
/// Answers such as `103 Early Hints` that may come before the one that counts.
const HINTS_MAX: u32 = 20;
/// What is read at a time: between these, as long as there is more each time.
const ROOM_MIN: usize = 8 << 10;
const ROOM_MAX: usize = 64 << 10;

/// A connection; dropped it is closed, whatever it is busy with.
pub(super) struct Connection {
    stream: Stream,
    /// What has been read and not taken.
    input: BytesMut,
    /// What is read at a time.
    room: usize,
    output: Output,
    sending: Option<Sending>,
    /// The method of the request; `None` between exchanges.
    asked: Option<Method>,
    body: Decoder,
    keeps_alive: bool,
    has_switched: bool,
    /// Nothing can be written any more. What the upstream said before that may still be read.
    is_deaf: bool,
    /// What ends the exchange once what is here has been taken.
    fault: Option<Fault>,
    /// Bytes of the head that are known to be no end of it, and bytes in front of it.
    scanned: usize,
    skipped: usize,
}

/// Why there is no answer, and whether the request is untouched.
pub(super) struct Unanswered {
    pub(super) fault: Fault,
    /// No byte of the request was sent, and all of it is where it was.
    pub(super) is_unsent: bool,
}

impl From<Fault> for Unanswered {
    fn from(fault: Fault) -> Self {
        Self { fault, is_unsent: false }
    }
}

impl Connection {
    /// A connection that no request has gone over yet. Boxed: it is handed from one to the next.
    pub(super) fn new(stream: Stream) -> Box<Self> {
        Box::new(Self {
            stream,
            input: BytesMut::new(),
            room: ROOM_MIN,
            output: Output::default(),
            sending: None,
            asked: None,
            body: Decoder::Done,
            keeps_alive: true,
            has_switched: false,
            is_deaf: false,
            fault: None,
            scanned: 0,
            skipped: 0,
        })
    }

    /// Sends a request and waits for the head of its answer. As soon as some of it is sent the
    /// request is left without headers and body: who waits for long holds neither.
    pub(super) fn poll_ask(
        &mut self,
        request: &mut Request<Outgoing>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, Unanswered>> {
        if self.asked.is_none() {
            self.asked = Some(request.method().clone());
            (self.output, self.sending) = encode::begin(request);
        }
        let began = self.output.is_begun;
        self.poll_send(cx);
        if self.is_deaf && !self.output.is_begun && self.fault.is_some() {
            return Poll::Ready(Err(self.unsent(request)));
        }
        if !began && self.output.is_begun {
            *request.headers_mut() = HeaderMap::new();
            drop(request.body_mut().take());
        }
        self.poll_head(cx).map_err(Unanswered::from)
    }

    /// Nothing was sent: the request is as it was if nobody has taken any of its body.
    fn unsent(&mut self, request: &mut Request<Outgoing>) -> Unanswered {
        let mut is_unsent = self.stream.fails_whole();
        if let Some(sending) = self.sending.take() {
            is_unsent &= !sending.is_touched;
            *request.body_mut() = sending.body;
        }
        Unanswered { fault: self.fault.take().unwrap_or(Fault::NoAnswer), is_unsent }
    }

    /// Writes what can be written, and takes more of the request's body.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) {
        while self.is_sending() {
            if let Some(sending) = &mut self.sending {
                match sending.fill(&mut self.output, cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => self.sending = None,
                    Poll::Ready(Err(fault)) => return self.deafen(fault),
                }
            }
            let waits = self.output.is_empty();
            match self.output.poll_write(&mut self.stream, cx) {
                Poll::Pending => return,
                // The body had nothing, and wakes us.
                Poll::Ready(Ok(())) if waits => return,
                Poll::Ready(Ok(())) => {}
                // An upstream that answers and closes, such as for a body that is too large.
                Poll::Ready(Err(_)) if self.output.is_begun => {
                    (self.sending, self.output) = (None, Output::default());
                    (self.output.is_begun, self.is_deaf) = (true, true);
                }
                Poll::Ready(Err(error)) => return self.deafen(Fault::Io(error)),
            }
        }
    }

    /// The exchange is over: no more of the request is sent.
    fn deafen(&mut self, fault: Fault) {
        self.fault = Some(fault);
        self.is_deaf = true;
    }

    /// Whether some of the request is still to be sent.
    pub(super) fn is_sending(&self) -> bool {
        !self.is_deaf && (self.sending.is_some() || !self.output.is_empty())
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Fault>> {
        loop {
            if let Some(fault) = self.fault.take() {
                return Poll::Ready(Err(fault));
            }
            if let Some(response) = self.head()? {
                return Poll::Ready(Ok(response));
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(parse::half(&self.input))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Fault::Io(error))),
            }
        }
    }

    /// The head of the answer, if it is here.
    fn head(&mut self) -> Result<Option<Response<()>>, Fault> {
        for _ in 0..=HINTS_MAX {
            self.skipped += parse::skip_empty_lines(&mut self.input);
            let end = parse::head_end(&self.input, self.scanned);
            if self.skipped + end.unwrap_or(self.input.len()) > HEAD_MAX {
                return Err(Fault::LargeHead);
            }
            let Some(end) = end else {
                if !parse::can_begin(&self.input) {
                    return Err(parse::half(&self.input));
                }
                // The end of a line may be its last byte, and that of the head the next ones.
                self.scanned = self.input.len().saturating_sub(2);
                return Ok(None);
            };
            (self.scanned, self.skipped) = (0, self.skipped + end);
            // Apart from the room that it was read to: who keeps a header keeps what is around it.
            let head = Bytes::copy_from_slice(self.input.get(..end).unwrap_or_default());
            self.input.advance(end);
            let asked = self.asked.as_ref().unwrap_or(&Method::GET);
            let parse::Head { response, body, keeps_alive } = parse::head(&head, asked)?;
            self.has_switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            if self.has_switched || !response.status().is_informational() {
                (self.body, self.keeps_alive) = (body, keeps_alive);
                return Ok(Some(response));
            }
        }
        Err(Fault::NotHttp("it announces an answer again and again"))
    }

    /// The next frame of the answer's body: all pieces that are here, or its trailers.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.poll_send(cx);
        let mut whole = 0;
        while self.fault.is_none() && !self.body.has_ended() {
            match self.body.decode(&mut self.input, whole) {
                Ok(more) => whole = more,
                Err((more, broken)) => {
                    whole = more;
                    self.fault = Some(broken.into());
                }
            }
            if self.fault.is_some() || self.body.has_ended() || whole >= ROOM_MAX {
                break;
            }
            match self.poll_fill(cx) {
                Poll::Pending if whole > 0 => break,
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => self.fault = self.body.close().err().map(Fault::from),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => self.fault = Some(Fault::Io(error)),
            }
        }
        if whole > 0 {
            let data = self.input.split_to(whole).freeze();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Some(Err(fault)));
        }
        let trailers = self.body.take_trailers();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers?))))
    }

    /// Reads what is there. What waits for more and has nothing holds no buffer.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        // Room that is filled to its end looks as if there were more.
        let need = match self.body {
            Decoder::Length(left) => {
                usize::try_from(left).map_or(ROOM_MAX, |left| left.saturating_add(64))
            }
            _ => ROOM_MAX,
        };
        let before = self.input.len();
        let read = self.stream.poll_fill(cx, &mut self.input, self.room.min(need));
        match read {
            Poll::Ready(Ok(length)) if self.input.capacity() == before + length => {
                self.room = (self.room * 2).min(ROOM_MAX);
            }
            Poll::Ready(Ok(length)) if length < self.room / 2 => {
                self.room = (self.room / 2).max(ROOM_MIN);
            }
            Poll::Pending if before == 0 => self.input = BytesMut::new(),
            _ => {}
        }
        read
    }

    /// Bytes of the body that are still to come, when that is known.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    /// Whether all of the answer has been taken.
    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_done() && self.fault.is_none()
    }

    /// Ends an exchange; whether another one may begin. Between them next to nothing is held.
    pub(super) fn rest(&mut self) -> bool {
        let is_whole = self.is_end_stream() && !self.is_sending() && !self.is_deaf;
        if !self.input.is_empty() && is_whole {
            let bytes = self.input.len();
            tracing::debug!(bytes, "an upstream sent more than its answer");
        }
        let may = is_whole && self.keeps_alive && self.input.is_empty();
        (self.input, self.output, self.asked) = (BytesMut::new(), Output::default(), None);
        (self.room, self.scanned, self.skipped) = (ROOM_MIN, 0, 0);
        may && !self.has_ended()
    }

    /// Looks whether a connection between exchanges has ended. Nobody is woken.
    pub(super) fn has_ended(&mut self) -> bool {
        let silence = self.stream.silence();
        if silence == Silence::Broken {
            tracing::debug!("an upstream sent something that nobody asked for");
        }
        silence != Silence::Silent
    }

    /// Whether what is behind the head is another protocol (`101`).
    pub(super) fn has_switched(&self) -> bool {
        self.has_switched
    }

    /// The stream behind the head of a `101`. `None` if some of the request is still to be sent.
    pub(super) fn into_raw(self) -> Option<Raw<Stream>> {
        let is_sent = !self.is_sending() && !self.is_deaf;
        is_sent.then(|| Raw::new(self.stream, self.input.freeze()))
    }
}
