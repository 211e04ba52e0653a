//! What clients send and nobody wants, read and thrown away for as long as nginx would.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

/// Nothing came for so long that nothing more is expected (nginx' `lingering_timeout`).
const SILENCE: Duration = Duration::from_secs(5);
/// The longest time to read away (nginx' `lingering_time`).
const LONGEST: Duration = Duration::from_secs(30);

/// How long it has been going on.
pub(super) struct Away {
    until: Instant,
    silence: Pin<Box<Sleep>>,
}

impl Away {
    pub(super) fn new() -> Self {
        let silence = Box::pin(tokio::time::sleep(SILENCE));
        Self { until: Instant::now() + LONGEST, silence }
    }

    /// Something came.
    pub(super) fn go_on(&mut self) {
        self.silence.as_mut().reset(tokio::time::Instant::now() + SILENCE);
    }

    /// Ready when that has been long enough.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() > self.until {
            return Poll::Ready(());
        }
        self.silence.as_mut().poll(cx)
    }

    /// Reads all that comes.
    pub(super) fn poll_all<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        /// Then others have a turn.
        const READS: usize = 16;
        let mut trash = [0; 4096];
        for _ in 0..READS {
            let mut buffer = ReadBuf::new(&mut trash);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return self.poll_over(cx),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(()),
                Poll::Ready(Ok(())) if Instant::now() > self.until => return Poll::Ready(()),
                Poll::Ready(Ok(())) => self.go_on(),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
