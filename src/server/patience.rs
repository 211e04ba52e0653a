//! A limit for clients that stop reading: their exchange, its upstream and its bytes are not kept
//! for them for ever. Over HTTP/1 a client stops reading its connection; over HTTP/2 it may read on
//! and only leave the window of a stream closed.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::activity::Activity;

/// A stream whose writes fail when none gets anywhere for a while (nginx' `send_timeout`).
pub(super) struct Patient<S> {
    stream: S,
    limit: Duration,
    activity: Rc<Activity>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// A stream that may stall for `limit`.
    pub(super) fn new(stream: S, limit: Duration, activity: Rc<Activity>) -> Self {
        Self { stream, limit, activity, timer: None }
    }

    /// Passes on what a write came to; one that waits is watched.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            if self.timer.take().is_some() {
                self.activity.writes(true);
            }
            return wrote;
        }
        if self.timer.is_none() {
            self.activity.writes(false);
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        timer.as_mut().poll(cx).map(|()| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the client has stopped reading"))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.watch(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, shut)
    }
}

thread_local! {
    /// The piece of a response that the current stream's client has not taken; 0 is none.
    static OWED: Cell<u64> = const { Cell::new(0) };
    static PIECES: Cell<u64> = const { Cell::new(0) };
}

/// The current stream's client has something to take, or nothing (any more).
pub(super) fn client_owes(owes: bool) {
    let piece = PIECES.get().wrapping_add(1);
    PIECES.set(piece);
    OWED.set(if owes { piece.max(1) } else { 0 });
}

/// Runs the streams of HTTP/2 connections as tasks of this thread. One whose client takes nothing
/// for `limit` is reset.
#[derive(Clone)]
pub(super) struct StreamExec {
    pub(super) limit: Duration,
}

impl<F: Future + 'static> Executor<F> for StreamExec {
    fn execute(&self, stream: F) {
        drop(tokio::task::spawn_local(unless_stalled(stream, self.limit)));
    }
}

/// Runs a stream until it ends, or its client has not taken a piece for `limit`.
async fn unless_stalled(stream: impl Future, limit: Duration) {
    let mut stream = pin!(stream);
    let mut owed = 0;
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        let before = owed;
        OWED.set(owed);
        let ended = stream.as_mut().poll(cx).is_ready();
        owed = OWED.get();
        if ended {
            return Poll::Ready(());
        }
        if owed == 0 || owed != before {
            timer = None;
        }
        if owed == 0 {
            return Poll::Pending;
        }
        timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit))).as_mut().poll(cx)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_client_that_reads_nothing_loses_its_connection() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut patient = Patient::new(near, Duration::from_millis(20), Activity::new(1));
        patient.write_all(b"abcd").await.unwrap();
        let error = patient.write_all(b"efgh").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // Who reads on is served on.
        far.read_exact(&mut [0; 4]).await.unwrap();
        patient.write_all(b"efgh").await.unwrap();
    }
    #[tokio::test]
    async fn a_stream_whose_client_takes_nothing_ends() {
        let stalled = async {
            client_owes(true);
            std::future::pending::<()>().await;
        };
        unless_stalled(stalled, Duration::from_millis(20)).await;
    }

    #[tokio::test]
    async fn a_stream_that_waits_for_its_upstream_or_gets_on_lives() {
        let limit = Duration::from_millis(30);
        let mut turns = 0;
        let slow = async {
            client_owes(false);
            tokio::time::sleep(limit * 3).await;
            while turns < 6 {
                client_owes(true);
                turns += 1;
                tokio::time::sleep(limit / 2).await;
            }
        };
        unless_stalled(slow, limit).await;
        assert_eq!(turns, 6);
    }
}
