//! The head of an answer.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use memchr::memchr;

use super::{Fault, LINES_MAX};
use crate::http1::{Decoder, length, words};

/// How every answer begins, also that of HTTP/1.0.
const BEGIN: &[u8] = b"HTTP/1.";

/// What a head says of itself.
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) body: Decoder,
    /// The connection may serve another request.
    pub(super) keeps_alive: bool,
}

/// Lines that decide on the connection, as they are read.
#[derive(Default)]
struct Notes {
    lengths: usize,
    length: Option<u64>,
    codings: usize,
    is_chunked: bool,
    closes: bool,
    keeps_alive: bool,
}

/// Takes empty lines in front of a head away (RFC 9112, section 2.2): how many bytes.
pub(super) fn skip_empty_lines(input: &mut BytesMut) -> usize {
    let mut skipped = 0;
    loop {
        match input.get(skipped..).unwrap_or_default() {
            [b'\n', ..] => skipped += 1,
            [b'\r', b'\n', ..] => skipped += 2,
            _ => break,
        }
    }
    if skipped > 0 {
        input.advance(skipped);
    }
    skipped
}

/// Where a head that has no empty lines in front of it ends. No line ends before `from`, but for
/// one whose end that is.
pub(super) fn head_end(input: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr(b'\n', input.get(at..)?)? + 1;
        match input.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
}

/// Whether bytes can become a head: who speaks another protocol may wait for us in vain.
pub(super) fn can_begin(input: &[u8]) -> bool {
    let length = input.len().min(BEGIN.len());
    input.get(..length) == BEGIN.get(..length) || input == b"\r"
}

/// Reads a head, to its end.
pub(super) fn head(bytes: Bytes, asked: &Method) -> Result<Head, Fault> {
    let mut lines = [const { MaybeUninit::uninit() }; LINES_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, &bytes, &mut lines) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(Fault::NotHttp("its head ends where it should not")),
        Err(error) => return Err(fault(error)),
    }
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Fault::NotHttp("its status is none"))?;
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let (headers, notes) = headers(&bytes, parsed.headers)?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    let reason = parsed.reason.unwrap_or_default();
    if status.canonical_reason() != Some(reason)
        && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
    {
        response.extensions_mut().insert(reason);
    }
    let is_first = version == Version::HTTP_10;
    let keeps_alive = !notes.closes && (!is_first || notes.keeps_alive);
    let connects = *asked == Method::CONNECT && status.is_success();
    let body = match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Decoder::Done,
        _ if status.is_informational() || *asked == Method::HEAD || connects => Decoder::Done,
        _ => notes.body(is_first)?,
    };
    notes.check()?;
    let keeps_alive = keeps_alive && !connects && status != StatusCode::SWITCHING_PROTOCOLS;
    Ok(Head { response, body, keeps_alive })
}

/// The headers, whose values stay where they were read.
fn headers(bytes: &Bytes, lines: &[httparse::Header<'_>]) -> Result<(HeaderMap, Notes), Fault> {
    let mut headers = HeaderMap::with_capacity(lines.len());
    let mut notes = Notes::default();
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let name = name.map_err(|_| Fault::NotHttp("a header has no name"))?;
        let value = if line.value.is_empty() { Bytes::new() } else { bytes.slice_ref(line.value) };
        let value = HeaderValue::from_maybe_shared(value);
        let value = value.map_err(|_| Fault::NotHttp("a header's value is none"))?;
        notes.take(&name, &value);
        headers.append(name, value);
    }
    Ok((headers, notes))
}

impl Notes {
    fn take(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == CONTENT_LENGTH {
            self.lengths += 1;
            self.length = length(value.as_bytes());
        } else if *name == TRANSFER_ENCODING {
            self.codings += 1;
            self.is_chunked = is(value.as_bytes().trim_ascii(), b"chunked");
        } else if *name == CONNECTION {
            self.closes |= words(value.as_bytes()).any(|word| is(word, b"close"));
            self.keeps_alive |= words(value.as_bytes()).any(|word| is(word, b"keep-alive"));
        }
    }

    /// The body behind the head, unless the caller knows that there is none.
    fn body(&self, is_first: bool) -> Result<Decoder, Fault> {
        match (self.codings, self.lengths) {
            (1.., _) if is_first => Err(Fault::NotHttp("Transfer-Encoding is not of HTTP/1.0")),
            (1.., _) => Ok(Decoder::chunked()),
            (0, 0) => Ok(Decoder::UntilClose),
            (0, _) => match self.length {
                Some(0) => Ok(Decoder::Done),
                Some(length) => Ok(Decoder::Length(length)),
                None => Err(Fault::NotHttp("its Content-Length is not one number")),
            },
        }
    }

    /// What nginx refuses, too, also where no body follows: a length beside chunks, two lengths or
    /// none that is a number, and codings that nobody asked for.
    fn check(&self) -> Result<(), Fault> {
        match (self.lengths, self.codings) {
            (0, 0) => Ok(()),
            (1.., 1..) => Err(Fault::Framing("it has Content-Length and Transfer-Encoding")),
            (1, 0) if self.length.is_some() => Ok(()),
            (_, 0) => Err(Fault::Framing("its Content-Length is not one number")),
            (0, 1) if self.is_chunked => Ok(()),
            (0, _) => Err(Fault::Framing("its Transfer-Encoding is not chunked")),
        }
    }
}

fn is(word: &[u8], other: &[u8]) -> bool {
    word.eq_ignore_ascii_case(other)
}

fn fault(error: httparse::Error) -> Fault {
    Fault::NotHttp(match error {
        httparse::Error::TooManyHeaders => return Fault::LargeHead,
        httparse::Error::HeaderName => "the name of a header has a byte that is not allowed",
        httparse::Error::HeaderValue => "the value of a header has a byte that is not allowed",
        httparse::Error::NewLine => "a line has another end than it should",
        httparse::Error::Status => "its status is none",
        httparse::Error::Token => "its first line has a byte that is not allowed",
        httparse::Error::Version => "it does not begin with HTTP/1.1 or HTTP/1.0",
    })
}

/// What is wrong with a head that has no end.
pub(super) fn half(input: &[u8]) -> Fault {
    let mut lines = [const { MaybeUninit::uninit() }; LINES_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, input, &mut lines) {
        Err(error) => fault(error),
        Ok(_) if input.is_empty() => Fault::NoAnswer,
        Ok(_) => Fault::HalfHead,
    }
}
