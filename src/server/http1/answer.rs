//! An answer on its way to a client of HTTP/1: its head, and the body as the client can take it.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, CONNECTION, CONTENT_LENGTH, HeaderName, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::ext::ReasonPhrase;

use super::head::Wishes;
use crate::http1::{self, Output, WrongLength, length};
use crate::proxy::headers;

/// What must not stand in trailers: who took it for a header would be misled (RFC 9110, section
/// 6.5.1).
const NO_TRAILERS: [HeaderName; 12] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::HOST,
    header::MAX_FORWARDS,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];

/// An answer that is being written.
pub(super) struct Answer<B> {
    body: B,
    framing: Framing,
    /// Bytes of the body to come if that is known.
    left: Option<u64>,
    /// Trailers that have been announced, to a client that takes them.
    announced: Vec<HeaderName>,
    /// The connection is to be closed behind it.
    pub(super) closes: bool,
}

/// How a body is framed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// None of it is sent, such as to `HEAD`.
    None,
    Length(u64),
    Chunks,
    UntilClose,
}

impl Framing {
    /// Bytes of the body to come if that is known.
    fn left(self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Length(length) => Some(length),
            Self::Chunks => None,
            Self::UntilClose => Some(u64::MAX),
        }
    }
}

/// How an answer has gone wrong: the client must not take it for a whole one.
pub(super) enum Spoilt<E> {
    /// The body broke off.
    Body(E),
    /// It is not as long as its head has said.
    Length,
}

impl<B: Body<Data = Bytes> + Unpin> Answer<B> {
    /// Puts the head of a response into an empty output.
    pub(super) fn begin(
        output: &mut Output,
        response: Response<B>,
        method: &Method,
        wishes: Wishes,
    ) -> Self {
        let (head, body) = response.into_parts();
        let has_body = *method != Method::HEAD && can_have_body(head.status);
        let declared = head.headers.get(CONTENT_LENGTH);
        let declared = declared.and_then(|value| length(value.as_bytes()));
        let known = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
        let framing = match known.or(declared) {
            _ if !has_body => Framing::None,
            Some(length) => Framing::Length(length),
            None if wishes.is_old => Framing::UntilClose,
            None => Framing::Chunks,
        };
        let says_close = headers::has_token(&head.headers, &CONNECTION, "close");
        let closes = wishes.closes || says_close || framing == Framing::UntilClose;
        let said = match framing {
            Framing::Length(length) => Some(length),
            // To `HEAD` the length that a body would have.
            Framing::None if *method == Method::HEAD => declared.or(known.filter(|n| *n > 0)),
            Framing::None => declared,
            Framing::Chunks | Framing::UntilClose => None,
        };
        let said = said.filter(|_| may_say_length(head.status));
        let lines: usize = head.headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
        let out = output.head(lines + ROOM, known.unwrap_or_default());
        status_line(out, head.status, head.extensions.get());
        let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let is_ours = |name: &HeaderName| {
            *name == TRANSFER_ENCODING
                || (*name == CONNECTION && closes && !switches)
                || *name == CONTENT_LENGTH
        };
        for (name, value) in head.headers.iter().filter(|(name, _)| !is_ours(name)) {
            http1::write_field(out, name, value);
        }
        if let Some(length) = said {
            let _ = write!(out, "content-length: {length}\r\n");
        }
        if framing == Framing::Chunks {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        // nginx says in every answer what becomes of the connection.
        if closes && !switches {
            out.extend_from_slice(b"connection: close\r\n");
        } else if !head.headers.contains_key(CONNECTION) {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
        let takes_trailers = wishes.trailers && framing == Framing::Chunks;
        Self {
            body,
            framing,
            left: framing.left(),
            announced: if takes_trailers { announced(&head.headers) } else { Vec::new() },
            closes,
        }
    }

    /// Puts what there is of the body into an output, as far as there is room; ready at its end.
    pub(super) fn poll_fill(
        &mut self,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Spoilt<B::Error>>> {
        while output.has_room() {
            if self.framing == Framing::None {
                return Poll::Ready(Ok(()));
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => Some(frame),
                Some(Err(error)) => return Poll::Ready(Err(Spoilt::Body(error))),
                None => None,
            };
            let is_last = frame.is_none() || self.body.is_end_stream();
            match self.put(frame, is_last, output) {
                Ok(false) => {}
                Ok(true) => return Poll::Ready(Ok(())),
                Err(WrongLength) => return Poll::Ready(Err(Spoilt::Length)),
            }
        }
        Poll::Pending
    }

    /// Puts a frame behind the rest; whether that is the end.
    fn put(
        &mut self,
        frame: Option<Frame<Bytes>>,
        is_last: bool,
        output: &mut Output,
    ) -> Result<bool, WrongLength> {
        match frame.map(Frame::into_data) {
            Some(Ok(mut data)) => {
                // Nobody reads on behind the end that a head has told.
                if let Some(left) = self.left.and_then(|left| usize::try_from(left).ok()) {
                    data.truncate(left);
                }
                if !data.is_empty() {
                    output.piece(data, &mut self.left)?;
                }
            }
            Some(Err(frame)) if self.left.is_none() => {
                let trailers = frame.trailers_ref().map(|trailers| self.allowed(trailers));
                output.end_with(&trailers.unwrap_or_default());
                return Ok(true);
            }
            _ => {}
        }
        let is_over = is_last || self.left == Some(0);
        if is_over && self.framing != Framing::UntilClose {
            output.end(self.left)?;
        }
        Ok(is_over)
    }

    /// The lines of trailers that have been announced.
    fn allowed(&self, trailers: &HeaderMap) -> Vec<u8> {
        let mut lines = Vec::new();
        let is_allowed =
            |name: &HeaderName| self.announced.contains(name) && !NO_TRAILERS.contains(name);
        for (name, value) in trailers.iter().filter(|(name, _)| is_allowed(name)) {
            http1::write_field(&mut lines, name, value);
        }
        lines
    }
}

/// What a head takes besides its lines of headers.
const ROOM: usize = 160;

fn status_line(out: &mut Vec<u8>, status: StatusCode, reason: Option<&ReasonPhrase>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    let canonical = status.canonical_reason().unwrap_or_default().as_bytes();
    out.extend_from_slice(reason.map_or(canonical, ReasonPhrase::as_bytes));
    out.extend_from_slice(b"\r\n");
}

/// RFC 9110, section 6.4.1; to `HEAD` nothing has one.
fn can_have_body(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        && !status.is_informational()
}

/// RFC 9110, section 8.6.
fn may_say_length(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && !status.is_informational()
}

fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let names = headers::tokens_of(headers, &TRAILER);
    names.filter_map(|name| HeaderName::from_bytes(name).ok()).collect()
}
