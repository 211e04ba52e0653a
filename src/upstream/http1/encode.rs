//! A request on its way: its head, and the body in chunks or as long as said.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http_body::{Body as _, Frame};

use super::super::Outgoing;
use super::super::upload::Cut;
use super::Fault;
use crate::http1::{Output, length, write_field};

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

/// A request as an output, with its whole body if that is here, and what of it streams.
pub(super) fn begin(request: &mut Request<Outgoing>) -> (Output, Option<Sending>) {
    let mut output = Output::default();
    let body = request.body();
    let ends = body.is_end_stream();
    let declared = request.headers().get(CONTENT_LENGTH);
    let declared = declared.and_then(|value| length(value.as_bytes()));
    // What is known counts: a header that says something else would be another framing.
    let known = body.size_hint().exact().or(declared);
    let framing = if ends { Framing::None } else { Framing::of(known, declared) };
    head(&mut output, request, framing, known.unwrap_or_default());
    if ends {
        return (output, None);
    }
    if let Some(whole) = request.body().all() {
        output.whole(whole);
        return (output, None);
    }
    let sending = Sending { body: request.body_mut().take(), left: known, is_touched: false };
    (output, Some(sending))
}

fn head(output: &mut Output, request: &Request<Outgoing>, framing: Framing, body: u64) {
    let (uri, headers) = (request.uri(), request.headers());
    let lines: usize = headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
    let path = uri.path_and_query().map_or(1, |path| path.as_str().len());
    let out = output.head(lines + path + 64, body);
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
            write_field(out, name, value);
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

impl Sending {
    /// Puts what there is of a body into an output, as far as there is room; whether that was its
    /// end.
    pub(super) fn fill(
        &mut self,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        while output.has_room() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            self.is_touched = true;
            if self.frame(frame, output)? {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }

    /// Puts a frame behind the rest; whether it is the last one.
    fn frame(
        &mut self,
        frame: Option<Result<Frame<Bytes>, Cut>>,
        output: &mut Output,
    ) -> Result<bool, Fault> {
        let Some(frame) = frame else {
            output.end(self.left)?;
            return Ok(true);
        };
        let Ok(data) = frame.map_err(Fault::Request)?.into_data() else { return Ok(false) };
        let last = self.body.is_end_stream();
        if !data.is_empty() {
            output.piece(data, &mut self.left)?;
        }
        if last {
            output.end(self.left)?;
        }
        Ok(last)
    }
}
