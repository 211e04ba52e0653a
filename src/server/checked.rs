//! A client's stream of HTTP/1, of which the library sees what is in order.
//!
//! A head that is refused reaches the library as a request that no client can send: its method is
//! the number of the refusal. So it is answered like any other, behind those before it, with
//! Kong's page; and nothing behind it is read any more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use http::{HeaderName, Method};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::activity::Activity;
use super::framing::{self, Framing, Limits, Seen};
use crate::pdk::Arriving;
use crate::respond::Failure;

/// The numbers of refusals, as nginx has them.
const REFUSALS: [(Failure, &str); 4] = [
    (Failure::BadRequest, "400"),
    (Failure::UriTooLong, "414"),
    (Failure::HeadersTooLarge, "494"),
    (Failure::NotImplemented, "501"),
];

/// The refusal that a request of HTTP/1 stands for.
pub(super) fn refusal(method: &Method) -> Option<Failure> {
    let method = method.as_str();
    if !method.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    REFUSALS.iter().find(|(_, number)| *number == method).map(|(failure, _)| *failure)
}

/// The header of a stand-in with the method that the client sent.
pub(super) const METHOD: HeaderName = HeaderName::from_static("method");

/// A request in place of a refused head, with what its answer and its record depend on.
fn stand_in(head: &[u8], failure: Failure) -> Vec<u8> {
    const NEGOTIATED: [&[u8]; 2] = [b"accept", b"content-type"];
    let number = REFUSALS.iter().find(|(known, _)| *known == failure);
    let number = number.map_or("400", |(_, number)| number);
    let (method, target) = framing::begins(head);
    // nginx forgets a line that is too long.
    let target = if failure == Failure::UriTooLong { b"/" } else { target };
    let mut request = [number.as_bytes(), b" ", target, b" HTTP/1.1\r\nHost: -\r\n"].concat();
    if let Some(method) = method {
        request.extend_from_slice(&[b"Method: ", method, b"\r\n"].concat());
    }
    let lines = head.split(|b| *b == b'\n').skip(1);
    for line in lines.map_while(|line| line.strip_suffix(b"\r")) {
        let Some((name, value)) = framing::header(line) else { break };
        if NEGOTIATED.iter().any(|wanted| name.eq_ignore_ascii_case(wanted)) {
            request.extend_from_slice(name);
            request.extend_from_slice(b": ");
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n");
        }
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// A stream whose requests have been looked at.
pub(super) struct Checked<S> {
    stream: S,
    framing: Framing,
    activity: Arc<Activity>,
    /// Bytes that have been read: first those that may go on, then a head that has not ended, or
    /// what is HTTP only if the request before it is not agreed to (`Upgrade`).
    held: BytesMut,
    /// How many of them may go on.
    ready: usize,
    end: Option<End>,
    linger: Option<Linger>,
}

/// Why nothing more is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// A head was refused.
    Refused,
    /// A body broke its framing.
    Broken,
}

impl<S> Checked<S> {
    pub(super) fn new(stream: S, limits: Limits, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            framing: Framing::new(limits),
            activity,
            held: BytesMut::new(),
            ready: 0,
            end: None,
            linger: None,
        }
    }

    /// Looks at bytes that nobody has seen. How many may go on; the others are held.
    fn look(&mut self, fresh: &[u8]) -> usize {
        match self.framing.scan(fresh) {
            Seen::All => fresh.len(),
            Seen::Partial(at) => {
                self.held.extend_from_slice(&fresh[at..]);
                at
            }
            Seen::Refused(at, failure) => {
                self.refuse(&fresh[at..], failure);
                at
            }
            Seen::Broken(at) => {
                self.end = Some(End::Broken);
                at
            }
        }
    }

    /// Looks at what is held, which has grown.
    fn look_again(&mut self) {
        match self.framing.scan(&self.held) {
            Seen::All => self.ready = self.held.len(),
            Seen::Partial(at) => self.ready = at,
            Seen::Refused(at, failure) => {
                let head = self.held.split_off(at);
                self.ready = at;
                self.refuse(&head, failure);
            }
            Seen::Broken(at) => {
                self.end = Some(End::Broken);
                self.held.truncate(at);
                self.ready = at;
            }
        }
    }

    fn refuse(&mut self, head: &[u8], failure: Failure) {
        self.end = Some(End::Refused);
        self.held.extend_from_slice(&stand_in(head, failure));
        self.ready = self.held.len();
    }

    /// Looks at what came behind a request for another protocol once that is answered. Until then
    /// nothing more is read when something is held.
    fn poll_decided(&mut self, requests: usize, cx: &mut Context<'_>) -> Poll<()> {
        let is_answered = self.activity.poll_answered(requests, cx).is_ready();
        if is_answered {
            self.framing.go_on();
        }
        if self.held.is_empty() {
            return Poll::Ready(());
        }
        if !is_answered {
            return Poll::Pending;
        }
        self.look_again();
        self.time_head();
        Poll::Ready(())
    }

    /// Tells whether a head is waited for.
    fn time_head(&self) {
        if self.held.len() > self.ready && self.framing.undecided().is_none() {
            self.activity.head_begun();
        } else {
            self.activity.head_ended();
        }
    }

    /// Hands on what may go on.
    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let taken = self.ready.min(buffer.remaining());
        buffer.put_slice(&self.held[..taken]);
        self.held.advance(taken);
        self.ready -= taken;
        if self.held.is_empty() {
            // Most connections never hold anything: those that did give the memory back.
            self.held = BytesMut::new();
        }
    }

    /// Whether the client may be about to send more that nobody will read.
    fn is_midway(&self) -> bool {
        self.end.is_some() || !self.held.is_empty() || !self.framing.is_between()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Checked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.end.is_none() && this.activity.is_upgraded() {
                // What came right behind the request is no head.
                this.ready = this.held.len();
            }
            if this.ready > 0 {
                this.hand_on(buffer);
                return Poll::Ready(Ok(()));
            }
            match this.end {
                Some(End::Refused) => return Poll::Pending,
                Some(End::Broken) => {
                    let error = "the body is not framed as it says";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                None => {}
            }
            if let Some(requests) = this.framing.undecided() {
                ready!(this.poll_decided(requests, cx));
                if this.ready > 0 {
                    continue;
                }
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            let fresh = &buffer.filled()[before..];
            if fresh.is_empty() || this.activity.is_upgraded() {
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                let passed = this.look(fresh);
                buffer.set_filled(before + passed);
            } else {
                this.held.extend_from_slice(fresh);
                buffer.set_filled(before);
                this.look_again();
            }
            this.time_head();
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Checked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes. A client that is still sending would lose its answer to the system's reset, so what
    /// it sends is read for a while and thrown away (nginx' `lingering_close`).
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.is_midway() || this.activity.is_upgraded() {
                return Poll::Ready(Ok(()));
            }
        }
        this.linger.get_or_insert_with(Linger::new).poll(&mut this.stream, cx).map(Ok)
    }
}

/// Reads and throws away, for as long as nginx would.
struct Linger {
    until: Instant,
    silence: Pin<Box<Sleep>>,
}

impl Linger {
    fn new() -> Self {
        Self {
            until: Instant::now() + Arriving::AWAY,
            silence: Box::pin(tokio::time::sleep(Arriving::SILENCE)),
        }
    }

    fn poll<S: AsyncRead + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<()> {
        /// Then others have a turn.
        const READS: usize = 16;
        let mut trash = [0; 4096];
        for _ in 0..READS {
            let mut buffer = ReadBuf::new(&mut trash);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return self.silence.as_mut().poll(cx),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(()),
                Poll::Ready(Ok(())) if Instant::now() > self.until => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {
                    self.silence.as_mut().reset(tokio::time::Instant::now() + Arriving::SILENCE);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    const LIMITS: Limits = Limits { line: 1 << 10, head: 4 << 10 };

    fn pair() -> (DuplexStream, Checked<DuplexStream>) {
        let (client, server) = tokio::io::duplex(1 << 16);
        (client, Checked::new(server, LIMITS, Activity::new(9)))
    }

    async fn next(checked: &mut Checked<DuplexStream>) -> String {
        let mut buffer = [0; 1 << 12];
        let read = checked.read(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer[..read]).into_owned()
    }

    #[tokio::test]
    async fn a_refused_head_is_a_request_that_no_client_can_send() {
        let (mut client, mut checked) = pair();
        let good = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
        let bad = "GET /b HTTP/1.1\r\nAccept: text/html\r\nHost : h\r\nX: y\r\n\r\n";
        client.write_all(format!("{good}{bad}{good}").as_bytes()).await.unwrap();
        assert_eq!(next(&mut checked).await, good);
        let refused = next(&mut checked).await;
        let stands = "400 /b HTTP/1.1\r\nHost: -\r\nMethod: GET\r\nAccept: text/html\r\n\r\n";
        assert_eq!(refused, stands);
        let method = Method::from_bytes(refused.split(' ').next().unwrap().as_bytes()).unwrap();
        assert_eq!(refusal(&method), Some(Failure::BadRequest));
        client.write_all(refused.as_bytes()).await.unwrap();
        let more = tokio::time::timeout(std::time::Duration::from_millis(20), next(&mut checked));
        assert!(more.await.is_err(), "nothing behind it is read");
    }

    #[tokio::test]
    async fn a_client_cannot_send_a_refusal() {
        let (mut client, mut checked) = pair();
        client.write_all(b"414 / HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(next(&mut checked).await.starts_with("400 "));
    }

    #[tokio::test]
    async fn a_head_is_handed_on_when_it_is_whole() {
        let (mut client, mut checked) = pair();
        let text = "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab";
        for piece in text.as_bytes().chunks(5) {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(client);
        let mut whole = String::new();
        checked.read_to_string(&mut whole).await.unwrap();
        assert_eq!(whole, text);
        assert_eq!(checked.held.capacity(), 0);
    }

    #[tokio::test]
    async fn a_body_that_breaks_its_framing_is_an_error_of_the_stream() {
        let (mut client, mut checked) = pair();
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.write_all(format!("{head}1\nx").as_bytes()).await.unwrap();
        assert_eq!(next(&mut checked).await, format!("{head}1"));
        let error = checked.read(&mut [0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn after_an_upgrade_nobody_looks() {
        let (mut client, mut checked) = pair();
        checked.activity.upgrade();
        client.write_all(b"\x81\x05hello").await.unwrap();
        let mut frame = [0; 7];
        checked.read_exact(&mut frame).await.unwrap();
        assert_eq!(&frame[2..], b"hello");
    }

    #[tokio::test]
    async fn a_client_that_is_still_sending_gets_its_answer() {
        let (mut client, mut checked) = pair();
        client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab").await.unwrap();
        next(&mut checked).await;
        let sends = async {
            client.read_to_end(&mut Vec::new()).await.unwrap();
            // More than fits on the way: it ends only because somebody reads.
            client.write_all(&[b'x'; 1 << 18]).await.unwrap();
            drop(client);
        };
        let (closed, ()) = tokio::join!(checked.shutdown(), sends);
        closed.unwrap();
    }
}
