//! The head of an answer.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use memchr::{memchr, memchr_iter};

use super::{Fault, LINES_MAX};
use crate::http1::{Decoder, field_of, has_word, length, lines, whole_field};

/// How every answer begins, also that of HTTP/1.0.
const BEGIN: &[u8] = b"HTTP/1.";
const NO_VERSION: Fault = Fault::NotHttp("it does not begin with HTTP/1.1 or HTTP/1.0");

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
pub(super) fn head(bytes: &Bytes, asked: &Method) -> Result<Head, Fault> {
    let mut lines = lines(bytes);
    let first = lines.next().and_then(|line| bytes.get(line)).unwrap_or_default();
    let (version, status, reason) = status_line(first)?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = version;
    if let Some(reason) = reason {
        response.extensions_mut().insert(reason);
    }
    let count = memchr_iter(b'\n', bytes).count().saturating_sub(2);
    if count > LINES_MAX {
        return Err(Fault::LargeHead);
    }
    let mut headers = HeaderMap::with_capacity(count);
    let mut notes = Notes::default();
    for line in lines.take(count) {
        let (name, value) = field_of(bytes, line).map_err(Fault::NotHttp)?;
        notes.take(&name, &value);
        headers.append(name, value);
    }
    *response.headers_mut() = headers;
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

/// Reads the first line. The reason is there if it is not the usual one.
fn status_line(line: &[u8]) -> Result<(Version, StatusCode, Option<ReasonPhrase>), Fault> {
    const NO_STATUS: Fault = Fault::NotHttp("its status is none");
    let (version, rest) = match line.strip_prefix(BEGIN) {
        Some([b'1', rest @ ..]) => (Version::HTTP_11, rest),
        Some([b'0', rest @ ..]) => (Version::HTTP_10, rest),
        _ => return Err(NO_VERSION),
    };
    let (code, reason) = match rest {
        [b' ', a, b, c] => ([*a, *b, *c], &b""[..]),
        [b' ', a, b, c, b' ', reason @ ..] => ([*a, *b, *c], reason),
        _ => return Err(NO_STATUS),
    };
    let status = StatusCode::from_bytes(&code).map_err(|_| NO_STATUS)?;
    let is_usual = status.canonical_reason().is_some_and(|usual| usual.as_bytes() == reason);
    let reason = (!is_usual).then(|| ReasonPhrase::try_from(reason)).transpose();
    let not_allowed = |_| Fault::NotHttp("its first line has a byte that is not allowed");
    Ok((version, status, reason.map_err(not_allowed)?))
}

impl Notes {
    fn take(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == CONTENT_LENGTH {
            self.lengths += 1;
            self.length = length(value.as_bytes());
        } else if *name == TRANSFER_ENCODING {
            self.codings += 1;
            self.is_chunked = value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        } else if *name == CONNECTION {
            self.closes |= has_word(value.as_bytes(), "close");
            self.keeps_alive |= has_word(value.as_bytes(), "keep-alive");
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

/// What is wrong with a head that has no end.
pub(super) fn half(input: &[u8]) -> Fault {
    if input.is_empty() {
        return Fault::NoAnswer;
    }
    if !can_begin(input) {
        return NO_VERSION;
    }
    let mut lines = lines(input).filter_map(|line| input.get(line));
    if let Some(Err(fault)) = lines.next().map(status_line) {
        return fault;
    }
    match lines.all(|line| whole_field(line).is_some()) {
        true => Fault::HalfHead,
        false => Fault::NotHttp("a line is no header"),
    }
}
