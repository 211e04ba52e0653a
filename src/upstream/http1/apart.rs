//! An exchange whose answer has begun before its request was sent: both go on by themselves, also
//! while nobody reads the answer. That needs a task.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::{Connection, Fault};

/// Pieces of the answer that may wait for whoever reads it.
const WAITING: usize = 2;

/// The answer's side of a connection that a task moves; dropped the connection is closed.
pub(in super::super) struct Apart {
    pieces: mpsc::Receiver<Piece>,
    task: AbortHandle,
    size: SizeHint,
}

/// What a task brings.
pub(in super::super) enum Piece {
    /// A frame, or why there is none.
    Frame(Result<Frame<Bytes>, Fault>),
    /// The end, and the connection if it may serve another exchange.
    End(Option<Box<Connection>>),
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Apart {
    /// Gives a connection behind the head of an answer to a task.
    pub(in super::super) fn new(connection: Box<Connection>) -> Self {
        let (sender, pieces) = mpsc::channel(WAITING);
        let size = connection.size_hint();
        let task = tokio::task::spawn_local(run(connection, sender)).abort_handle();
        Self { pieces, task, size }
    }

    /// What comes next; `None` if the task is gone.
    pub(in super::super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        let piece = ready!(self.pieces.poll_recv(cx));
        if let (Some(Piece::Frame(Ok(frame))), Some(left)) = (&piece, self.size.exact()) {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.size = SizeHint::with_exact(left.saturating_sub(length));
        }
        Poll::Ready(piece)
    }

    /// Bytes of the body that are still to come, when that is known.
    pub(in super::super) fn size_hint(&self) -> SizeHint {
        self.size
    }
}

async fn run(mut connection: Box<Connection>, pieces: mpsc::Sender<Piece>) {
    loop {
        let mut room = pin!(pieces.reserve());
        let room = poll_fn(|cx| {
            connection.poll_send(cx);
            room.as_mut().poll(cx)
        });
        let Ok(room) = room.await else { return };
        match poll_fn(|cx| connection.poll_frame(cx)).await {
            Some(frame) => {
                let is_fault = frame.is_err();
                room.send(Piece::Frame(frame));
                if is_fault {
                    return;
                }
            }
            None => {
                let is_free = connection.rest();
                return room.send(Piece::End(is_free.then_some(connection)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, Request};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::LocalSet;

    use super::super::{Outgoing, Stream};
    use super::*;
    use crate::pdk::body::Buffered;

    const LENGTH: usize = 1 << 20;
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// A connection whose upstream has answered before it read the request.
    async fn answered() -> (Apart, DuplexStream) {
        let (ours, mut theirs) = duplex(1 << 10);
        let mut connection = Connection::new(Stream::Test(ours));
        let body = Outgoing::whole(Buffered::from(Bytes::from(vec![b'x'; LENGTH])));
        let mut request = Request::new(body);
        *request.method_mut() = Method::PUT;
        theirs.write_all(HEAD.as_bytes()).await.unwrap();
        let answer = poll_fn(|cx| connection.poll_ask(&mut request, cx)).await;
        assert!(answer.is_ok() && connection.is_sending());
        (Apart::new(connection), theirs)
    }

    async fn next(apart: &mut Apart) -> Option<Piece> {
        poll_fn(|cx| apart.poll_next(cx)).await
    }

    #[tokio::test]
    async fn a_request_is_sent_to_its_end_while_nobody_reads_the_answer() {
        let test = async {
            let (mut apart, mut theirs) = answered().await;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(theirs.read_u8().await.unwrap());
            }
            // More than waits for who reads it.
            for _ in 0..2 * WAITING {
                theirs.write_all(b"5\r\nhello\r\n").await.unwrap();
                let mut part = vec![0; LENGTH / 2 / WAITING];
                theirs.read_exact(&mut part).await.unwrap();
            }
            theirs.write_all(b"0\r\n\r\n").await.unwrap();
            let mut length = 0;
            loop {
                match next(&mut apart).await.unwrap() {
                    Piece::Frame(frame) => length += frame.unwrap().into_data().unwrap().len(),
                    Piece::End(connection) => break assert!(connection.is_some()),
                }
            }
            assert_eq!(length, 2 * WAITING * 5);
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn an_answer_that_ends_first_takes_the_rest_of_the_request_along() {
        let test = async {
            let (mut apart, mut theirs) = answered().await;
            theirs.write_all(b"0\r\n\r\n").await.unwrap();
            assert!(matches!(next(&mut apart).await, Some(Piece::End(None))));
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.unwrap();
            assert!(all.len() < LENGTH);
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn nobody_who_listens_any_more_closes_the_connection() {
        let test = async {
            let (apart, mut theirs) = answered().await;
            drop(apart);
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.unwrap();
            assert!(all.len() < LENGTH);
        };
        LocalSet::new().run_until(test).await;
    }
}
