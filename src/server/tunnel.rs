//! A connection that has changed to WebSocket: bytes in both directions, until both ends are done.
//!
//! It runs in the task of the client's connection, which so stays counted, and ends with the
//! worker. The exchange ends with it: `log` knows how much went to the client.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::reply::Finish;
use crate::http1::Raw;
use crate::pdk::Response;
use crate::pdk::service::Limits;
use crate::upstream::Stream;

/// What is read at a time, and held of a peer that reads more slowly than the other writes.
const PIECE: usize = 8 << 10;

/// Where a request leaves the tunnel that its connection is to become.
pub(super) type Slot = Rc<RefCell<Option<Tunnel>>>;

/// A tunnel that has not begun: the client is still to get its head.
pub(super) struct Tunnel {
    upstream: Raw<Stream>,
    finish: Finish,
}

/// Why a tunnel ended before both sides had closed it.
#[derive(Debug, Error)]
enum End {
    #[error("the client or the upstream broke off: {0}")]
    Broken(#[from] io::Error),
    #[error("nothing went through it for {0} ms (read_timeout)")]
    Idle(u64),
    #[error("the upstream took no bytes for {0} ms (write_timeout)")]
    Stuck(u64),
}

impl Tunnel {
    /// A tunnel between a client and the upstream that has agreed to it.
    pub(super) fn new(upstream: Raw<Stream>, finish: Finish) -> Self {
        Self { upstream, finish }
    }

    /// Carries bytes to the end.
    pub(super) async fn run(self, client: impl AsyncRead + AsyncWrite + Unpin) {
        let ex = &self.finish.exchange;
        let limits = ex.service.limits.get();
        if let Err(end) = relay(client, self.upstream, &limits, &ex.response).await {
            tracing::info!(request_id = %ex.id, "a tunnel ended: {end}");
        }
    }
}

/// One clock for both directions, as in nginx: who listens only is not cut off.
async fn relay(
    client: impl AsyncRead + AsyncWrite + Unpin,
    upstream: Raw<Stream>,
    limits: &Limits,
    response: &Response,
) -> Result<(), End> {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_upstream, to_upstream) = tokio::io::split(upstream);
    let last = Cell::new(Instant::now());
    let mut listener = response.listener.take();
    let up = pump(from_client, to_upstream, Some(limits.write_ms), |_| last.set(Instant::now()));
    // How long a client may stall is the listener's to say.
    let down = pump(from_upstream, to_client, None, |piece| {
        response.sent.set(response.sent.get() + piece.len() as u64);
        if let Some(listener) = &mut listener {
            listener(piece);
        }
        last.set(Instant::now());
    });
    let both = async { tokio::try_join!(up, down).map(|_| ()) };
    tokio::select! {
        ended = both => ended,
        () = silence(&last, limits.read_ms) => Err(End::Idle(limits.read_ms)),
    }
}

async fn silence(last: &Cell<Instant>, limit_ms: u64) {
    let limit = Duration::from_millis(limit_ms);
    loop {
        let deadline = last.get() + limit;
        if deadline <= Instant::now() {
            return;
        }
        sleep_until(deadline).await;
    }
}

/// One direction. The next piece is read when the last one is written; an end is passed on, and
/// the other direction goes on.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    write_ms: Option<u64>,
    mut moved: impl FnMut(&[u8]),
) -> Result<(), End> {
    let mut buffer = vec![0; PIECE];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(to.shutdown().await?);
        }
        moved(&[]);
        let piece = buffer.get(..length).unwrap_or_default();
        let write = async {
            to.write_all(piece).await?;
            to.flush().await
        };
        match write_ms {
            None => write.await?,
            Some(ms) => {
                let wrote = timeout(Duration::from_millis(ms), write).await;
                wrote.map_err(|_| End::Stuck(ms))??;
            }
        }
        moved(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_direction_holds_one_piece_of_what_its_reader_does_not_take() {
        let (mut sender, from) = tokio::io::duplex(1 << 20);
        let (to, mut reader) = tokio::io::duplex(16);
        let moved = Cell::new(0);
        let pump = pump(from, to, None, |piece| moved.set(moved.get() + piece.len()));
        sender.write_all(&[7; 5 * PIECE]).await.unwrap();
        sender.shutdown().await.unwrap();
        let mut pump = std::pin::pin!(pump);
        assert!(futures_util::poll!(pump.as_mut()).is_pending());
        assert_eq!(moved.get(), 0, "the first piece is not through");
        let mut all = Vec::new();
        let (ended, read) = tokio::join!(pump, reader.read_to_end(&mut all));
        ended.unwrap();
        assert_eq!((read.unwrap(), moved.get()), (5 * PIECE, 5 * PIECE));
    }

    #[tokio::test]
    async fn an_upstream_that_takes_nothing_ends_its_tunnel() {
        let (mut sender, from) = tokio::io::duplex(64);
        let (to, _reader) = tokio::io::duplex(1);
        sender.write_all(b"abc").await.unwrap();
        let ended = pump(from, to, Some(5), |_| {}).await;
        assert!(matches!(ended, Err(End::Stuck(5))), "{ended:?}");
    }
}
