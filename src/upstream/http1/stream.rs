//! The stream of a connection, plain or encrypted, and how little it holds while nothing comes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::io::poll_read_buf;

/// Below this much room in a buffer a read would be a system call for little.
const SPARE_MIN: usize = 2 << 10;

/// A stream to an upstream.
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
    /// A test at the other end.
    #[cfg(test)]
    Test(tokio::io::DuplexStream),
}

/// What an idle connection is like.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nothing comes.
    Silent,
    /// It has ended.
    Over,
    /// Somebody speaks who was not asked.
    Broken,
}

impl Stream {
    /// Reads what is there behind the buffer's end: how many bytes. For a buffer without room
    /// there is some of `room` bytes once something is there, and not before.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        let spare = input.capacity() - input.len();
        match self {
            Self::Plain(tcp) => {
                if spare == 0 {
                    ready!(tcp.poll_read_ready(cx))?;
                }
                if spare < SPARE_MIN {
                    input.reserve(room);
                }
                poll_read_buf(Pin::new(tcp), cx, input)
            }
            Self::Tls(tls) => {
                // TLS has it in a buffer of its own already.
                let there = ready!(Pin::new(&mut *tls).poll_fill_buf(cx))?;
                let length = there.len();
                input.extend_from_slice(there);
                Pin::new(tls).consume(length);
                Poll::Ready(Ok(length))
            }
            #[cfg(test)]
            Self::Test(duplex) => {
                input.reserve(room);
                poll_read_buf(Pin::new(duplex), cx, input)
            }
        }
    }

    /// Looks at a connection on which nothing should come. Nobody is woken.
    pub(super) fn silence(&mut self) -> Silence {
        let mut nobody = Context::from_waker(Waker::noop());
        let read = match self {
            Self::Plain(tcp) => match tcp.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                read => Poll::Ready(read),
            },
            Self::Tls(tls) => {
                Pin::new(&mut **tls).poll_fill_buf(&mut nobody).map_ok(|there| there.len())
            }
            #[cfg(test)]
            Self::Test(duplex) => {
                poll_read_buf(Pin::new(duplex), &mut nobody, &mut BytesMut::new())
            }
        };
        match read {
            Poll::Pending => Silence::Silent,
            Poll::Ready(Ok(length)) if length > 0 => Silence::Broken,
            Poll::Ready(_) => Silence::Over,
        }
    }

    /// Whether a write that fails has sent nothing: TLS may have sent a part.
    pub(super) fn fails_whole(&self) -> bool {
        !matches!(self, Self::Tls(_))
    }
}

/// The same for each kind of stream.
macro_rules! each {
    ($stream:expr, $inner:ident => $does:expr) => {
        match $stream.get_mut() {
            Self::Plain($inner) => $does,
            Self::Tls($inner) => $does,
            #[cfg(test)]
            Self::Test($inner) => $does,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, inner => Pin::new(inner).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, inner => Pin::new(inner).poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}
