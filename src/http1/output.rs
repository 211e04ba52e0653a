//! Bytes on their way to the wire: a head, and a body in chunks or as long as said.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// Shorter pieces of a body are put together before they are written.
const SHORT: usize = 4 << 10;
/// As long as less than this waits to be written more of a body is taken.
const AHEAD: usize = 16 << 10;

/// Bytes to be written, in this order.
#[derive(Default)]
pub(crate) struct Output {
    front: Vec<u8>,
    /// Bytes of `front` that are written.
    at: usize,
    data: Bytes,
    tail: &'static [u8],
    /// TLS may hold some that it has taken.
    unflushed: bool,
    /// Something is on the wire.
    pub(crate) is_begun: bool,
}

/// A body is not as long as its `Content-Length`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WrongLength;

impl Output {
    /// A head, with room for `length` bytes of it and for a body of `body` bytes, if that is short.
    pub(crate) fn head(&mut self, length: usize, body: u64) -> &mut Vec<u8> {
        let body = usize::try_from(body).ok().filter(|body| *body < SHORT);
        self.front.reserve_exact(length + body.unwrap_or_default());
        &mut self.front
    }

    /// A body that is whole.
    pub(crate) fn whole(&mut self, data: Bytes) {
        if data.len() < SHORT {
            self.front.extend_from_slice(&data);
        } else {
            self.data = data;
        }
    }

    /// Bytes to be written.
    fn waiting(&self) -> usize {
        self.front.len() - self.at + self.data.len() + self.tail.len()
    }

    /// Whether all of it is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting() == 0 && !self.unflushed
    }

    /// Whether there is room for a piece. Behind a long one there is some once that is written.
    pub(crate) fn has_room(&self) -> bool {
        self.data.is_empty() && self.tail.is_empty() && self.waiting() < AHEAD
    }

    /// Puts a piece behind the rest, of which there must be room for it: a chunk if it is not known
    /// how many bytes are `left`.
    pub(crate) fn piece(&mut self, data: Bytes, left: &mut Option<u64>) -> Result<(), WrongLength> {
        let is_chunk = left.is_none();
        match left {
            Some(left) => *left = left.checked_sub(data.len() as u64).ok_or(WrongLength)?,
            // Writing to memory does not fail.
            None => _ = write!(self.front, "{:X}\r\n", data.len()),
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

    /// Ends a body.
    pub(crate) fn end(&mut self, left: Option<u64>) -> Result<(), WrongLength> {
        match left {
            Some(0) => {}
            Some(_) => return Err(WrongLength),
            None if self.tail.is_empty() => self.front.extend_from_slice(b"0\r\n\r\n"),
            None => self.tail = b"\r\n0\r\n\r\n",
        }
        Ok(())
    }

    /// Ends a body in chunks with lines of trailers; there must be room.
    pub(crate) fn end_with(&mut self, trailers: &[u8]) {
        self.front.extend_from_slice(b"0\r\n");
        self.front.extend_from_slice(trailers);
        self.front.extend_from_slice(b"\r\n");
    }

    /// Writes all there is.
    pub(crate) fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
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
        let (mut stream, mut output) = (ours, Output::default());
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
    fn a_body_that_is_not_as_long_as_declared_is_an_error() {
        let (mut output, mut left) = (Output::default(), Some(5));
        output.piece(Bytes::from_static(b"abc"), &mut left).unwrap();
        assert_eq!(output.end(left), Err(WrongLength));
        assert_eq!(output.piece(Bytes::from_static(b"def"), &mut left), Err(WrongLength));
    }
}
