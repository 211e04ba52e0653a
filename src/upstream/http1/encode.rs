//! A request on its way: its head, and the body in chunks or as long as said.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::Request;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite;

use super::super::Outgoing;
use super::super::upload::Cut;
use super::parse::length;
use super::{Fault, Stream};

/// Shorter pieces of a body are put together before they are written.
const SHORT: usize = 4 << 10;
/// As long as less than this waits to be written more of a body is taken.
const AHEAD: usize = 16 << 10;

/// Bytes to be written, in this order.
#[derive(Default)]
pub(super) struct Output {
    front: Vec<u8>,
    /// Bytes of `front` that are written.
    at: usize,
    data: Bytes,
    tail: &'static [u8],
    /// TLS may hold some that it has taken.
    unflushed: bool,
    /// Something of this request is on the wire.
    pub(super) is_begun: bool,
}

/// A body that streams.
pub(super) struct Sending {
    pub(super) body: Outgoing,
    /// Bytes to come if its length is declared; it goes in chunks if not.
    left: Option<u64>,
    /// Some of it has been taken.
    pub(super) is_touched: bool,
}

/// What a head is told of its body.
enum Framing {
    /// Nothing but what it says already: there is no body, or it says the same.
    None,
    Length(u64),
    Chunked,
}

impl Framing {
    fn of(known: Option<u64>, declared: Option<u64>) -> Self {
        match known {
            known if known == declared && known.is_some() => Self::None,
            Some(length) => Self::Length(length),
            None => Self::Chunked,
        }
    }
}

impl Output {
    /// Puts a request into an empty output, with its whole body if that is here; gives back what
    /// streams.
    pub(super) fn begin(&mut self, request: &mut Request<Outgoing>) -> Option<Sending> {
        *self = Self::default();
        let body = request.body();
        let ends = body.is_end_stream();
        let declared = request.headers().get(CONTENT_LENGTH);
        let declared = declared.and_then(|value| length(value.as_bytes()));
        // What is known counts: a header that says something else would be another framing.
        let known = body.size_hint().exact().or(declared);
        self.head(request, if ends { Framing::None } else { Framing::of(known, declared) });
        if ends {
            return None;
        }
        if let Some(whole) = request.body().all() {
            self.data = whole;
            return None;
        }
        Some(Sending { body: request.body_mut().take(), left: known, is_touched: false })
    }

    fn head(&mut self, request: &Request<Outgoing>, framing: Framing) {
        let (uri, headers) = (request.uri(), request.headers());
        let lines: usize = headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
        let path = uri.path_and_query().map_or(1, |path| path.as_str().len());
        let out = &mut self.front;
        out.reserve_exact(lines + path + 64);
        out.extend_from_slice(request.method().as_str().as_bytes());
        out.push(b' ');
        if uri.scheme().is_some() || uri.authority().is_some() {
            // Writing to memory does not fail.
            let _ = write!(out, "{uri}");
        } else {
            out.extend_from_slice(uri.path().as_bytes());
            if let Some(query) = uri.query() {
                out.push(b'?');
                out.extend_from_slice(query.as_bytes());
            }
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
        for (name, value) in headers {
            let is_replaced = *name == TRANSFER_ENCODING
                || (*name == CONTENT_LENGTH && !matches!(framing, Framing::None));
            if !is_replaced {
                out.extend_from_slice(name.as_str().as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(value.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
        match framing {
            Framing::None => {}
            Framing::Length(length) => {
                let _ = write!(out, "content-length: {length}\r\n");
            }
            Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Bytes to be written.
    fn waiting(&self) -> usize {
        self.front.len() - self.at + self.data.len() + self.tail.len()
    }

    /// Whether all of it is written.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == 0 && !self.unflushed
    }

    /// Takes what there is of a body, as far as there is room; whether that was its end.
    pub(super) fn take(
        &mut self,
        sending: &mut Sending,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        // Behind a long piece there is room once it is written.
        while self.data.is_empty() && self.tail.is_empty() && self.waiting() < AHEAD {
            let frame = ready!(Pin::new(&mut sending.body).poll_frame(cx));
            sending.is_touched = true;
            if self.frame(frame, sending)? {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }

    /// Puts a frame behind the rest; whether it is the last one.
    fn frame(
        &mut self,
        frame: Option<Result<Frame<Bytes>, Cut>>,
        sending: &mut Sending,
    ) -> Result<bool, Fault> {
        let Some(frame) = frame else {
            return self.end(sending.left).map(|()| true);
        };
        let Ok(data) = frame.map_err(Fault::Request)?.into_data() else { return Ok(false) };
        let last = sending.body.is_end_stream();
        if !data.is_empty() {
            self.piece(data, &mut sending.left)?;
        }
        if last {
            self.end(sending.left)?;
        }
        Ok(last)
    }

    fn piece(&mut self, data: Bytes, left: &mut Option<u64>) -> Result<(), Fault> {
        let is_chunk = left.is_none();
        match left {
            Some(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Fault::RequestLength)?;
            }
            None => {
                let _ = write!(self.front, "{:X}\r\n", data.len());
            }
        }
        let end: &'static [u8] = if is_chunk { b"\r\n" } else { b"" };
        if data.len() < SHORT {
            self.front.extend_from_slice(&data);
            self.front.extend_from_slice(end);
        } else {
            (self.data, self.tail) = (data, end);
        }
        Ok(())
    }

    fn end(&mut self, left: Option<u64>) -> Result<(), Fault> {
        match left {
            Some(0) => {}
            Some(_) => return Err(Fault::RequestLength),
            None if self.tail.is_empty() => self.front.extend_from_slice(b"0\r\n\r\n"),
            None => self.tail = b"\r\n0\r\n\r\n",
        }
        Ok(())
    }

    /// Writes all there is.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.waiting() > 0 {
            let front = self.front.get(self.at..).unwrap_or_default();
            let stream = Pin::new(&mut *stream);
            let written = if self.data.is_empty() && self.tail.is_empty() {
                ready!(stream.poll_write(cx, front))?
            } else {
                let parts = [front, &self.data, self.tail].map(IoSlice::new);
                ready!(stream.poll_write_vectored(cx, &parts))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            (self.is_begun, self.unflushed) = (true, true);
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        let front = written.min(self.front.len() - self.at);
        self.at += front;
        let data = (written - front).min(self.data.len());
        self.data.advance(data);
        self.tail = self.tail.get(written - front - data..).unwrap_or_default();
        if self.at == self.front.len() {
            // The next pieces need little of the room that a head has.
            (self.front, self.at) = (Vec::new(), 0);
        }
        if self.data.is_empty() {
            self.data = Bytes::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    /// What is written of a body in these pieces through a stream that takes `room` bytes a time.
    async fn written(pieces: &[usize], mut left: Option<u64>, room: usize) -> Vec<u8> {
        let (ours, mut theirs) = duplex(room);
        let (mut stream, mut output) = (Stream::Test(ours), Output::default());
        let write = async {
            for (number, length) in pieces.iter().enumerate() {
                output.piece(vec![b'x'; *length].into(), &mut left).unwrap();
                if number + 1 == pieces.len() {
                    output.end(left).unwrap();
                }
                std::future::poll_fn(|cx| output.poll_write(&mut stream, cx)).await.unwrap();
                assert!(output.is_empty() && output.front.capacity() == 0);
            }
            drop(stream);
        };
        let mut all = Vec::new();
        tokio::join!(write, theirs.read_to_end(&mut all)).1.unwrap();
        all
    }

    #[tokio::test]
    async fn a_body_goes_in_chunks_or_as_long_as_declared_however_slowly_it_is_taken() {
        let (short, long) = ("x".repeat(10), "x".repeat(5000));
        let chunks = format!("A\r\n{short}\r\n1388\r\n{long}\r\nA\r\n{short}\r\n0\r\n\r\n");
        let ends_long = format!("A\r\n{short}\r\n1388\r\n{long}\r\n0\r\n\r\n");
        for room in [1, 2, 3, 7, 5010, 1 << 20] {
            assert_eq!(written(&[10, 5000, 10], None, room).await, chunks.as_bytes());
            assert_eq!(written(&[10, 5000], None, room).await, ends_long.as_bytes());
            let plain = written(&[10, 5000, 10], Some(5020), room).await;
            assert_eq!(plain.len(), 5020);
        }
    }

    #[test]
    fn a_body_that_is_not_as_long_as_declared_is_a_fault() {
        let (mut output, mut left) = (Output::default(), Some(5));
        output.piece(Bytes::from_static(b"abc"), &mut left).unwrap();
        assert!(matches!(output.end(left), Err(Fault::RequestLength)));
        let long = output.piece(Bytes::from_static(b"def"), &mut left);
        assert!(matches!(long, Err(Fault::RequestLength)));
    }
}
