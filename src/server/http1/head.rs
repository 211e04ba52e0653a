//! The head of a request, line by line as it comes, and whether it is in order.
//!
//! What is doubtful is refused: two readers of the same bytes that see other requests are how
//! requests are smuggled.

use std::ops::Range;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use memchr::memchr;

use crate::http1::{Decoder, has_word, length, value, whole_field};
use crate::respond::Failure;
use crate::server::head::{bad, refused};

/// The most lines a head may have. nginx bounds its bytes alone.
const LINES_MAX: usize = 320;

/// How long a head may be, in bytes.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Limits {
    /// One line.
    pub(in super::super) line: usize,
    /// All of them.
    pub(in super::super) head: usize,
}

/// A request up to its body.
pub(super) struct Head {
    pub(super) parts: Parts,
    pub(super) has_body: bool,
    pub(super) wishes: Wishes,
}

/// What a client wants of its connection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wishes {
    /// To close it behind the answer.
    pub(super) closes: bool,
    /// To speak another protocol on it.
    pub(super) upgrade: bool,
    /// To be asked for the body (`100 Continue`).
    pub(super) expects: bool,
    /// Trailers behind the answer.
    pub(super) trailers: bool,
    /// It speaks HTTP/1.0, which has no chunks.
    pub(super) is_old: bool,
}

/// A head as far as it has been read.
#[derive(Default)]
pub(super) struct Reading {
    /// Where the line begins that has not ended.
    line: usize,
    /// How far its end has been looked for.
    searched: usize,
    request: Option<(Method, Uri)>,
    lines: Vec<(HeaderName, Range<usize>)>,
    length: Option<u64>,
    is_coded: bool,
    is_chunked: bool,
    stays: bool,
    wishes: Wishes,
}

impl Reading {
    /// Looks at the bytes of a head, of which there are more each time; its length when it has
    /// ended.
    ///
    /// # Errors
    /// It is refused, also before it has ended.
    pub(super) fn read(&mut self, bytes: &[u8], limits: Limits) -> Result<Option<usize>, Failure> {
        loop {
            let found = bytes.get(self.searched..).and_then(|rest| memchr(b'\n', rest));
            let end = found.map_or(bytes.len(), |found| self.searched + found + 1);
            self.check_size(end, limits)?;
            if found.is_none() {
                self.searched = bytes.len();
                let line = bytes.get(self.line..).unwrap_or_default();
                if self.request.is_none() && !can_begin(line) {
                    return Err(bad("its request line is none"));
                }
                return Ok(None);
            }
            let line = bytes.get(self.line..end).unwrap_or_default();
            // nginx also takes a lone LF. Others do not.
            let line = line.strip_suffix(b"\r\n").ok_or_else(|| bad("a line ends without CR"))?;
            let begin = std::mem::replace(&mut self.line, end);
            self.searched = end;
            if !line.is_empty() {
                self.take(line, begin)?;
            } else if self.request.is_some() {
                self.check_framing()?;
                return Ok(Some(end));
            }
        }
    }

    /// Bounds the line that ends, or has got to, `end`.
    fn check_size(&self, end: usize, limits: Limits) -> Result<(), Failure> {
        let too_long = end - self.line > limits.line || end > limits.head;
        match self.request {
            None if too_long => Err(refused(Failure::UriTooLong, "the request line is too long")),
            Some(_) if too_long => {
                Err(refused(Failure::HeadersTooLarge, "its headers are too large"))
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self, line: &[u8], begin: usize) -> Result<(), Failure> {
        if self.request.is_none() {
            let line = request_line(line).ok_or_else(|| bad("its request line is none"))?;
            self.wishes.is_old = line.is_old;
            self.request = Some((line.method, line.uri));
            return Ok(());
        }
        if self.lines.len() >= LINES_MAX {
            return Err(refused(Failure::HeadersTooLarge, "it has too many headers"));
        }
        let (name, at) = whole_field(line).ok_or_else(|| bad("one of its header lines is none"))?;
        self.note(&name, line.get(at.clone()).unwrap_or_default())?;
        if self.lines.capacity() == 0 {
            self.lines.reserve_exact(16);
        }
        self.lines.push((name, begin + at.start..begin + at.end));
        Ok(())
    }

    fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Failure> {
        if *name == CONTENT_LENGTH {
            // One, and digits alone: no list, no sign, no second opinion.
            let length = length(value).ok_or_else(|| bad("its Content-Length is no number"))?;
            if self.length.replace(length).is_some() {
                return Err(bad("it has two Content-Lengths"));
            }
        } else if *name == TRANSFER_ENCODING {
            if std::mem::replace(&mut self.is_coded, true) {
                return Err(bad("it has two Transfer-Encodings"));
            }
            self.is_chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if *name == CONNECTION {
            self.wishes.closes |= has_word(value, "close");
            self.stays |= has_word(value, "keep-alive");
        } else if *name == UPGRADE {
            self.wishes.upgrade = true;
        } else if *name == EXPECT {
            self.wishes.expects = value.eq_ignore_ascii_case(b"100-continue");
        } else if *name == TE {
            self.wishes.trailers |= has_word(value, "trailers");
        }
        Ok(())
    }

    /// nginx: a body is framed once, in chunks only where HTTP has them, and what cannot be taken
    /// off it is not passed on.
    fn check_framing(&self) -> Result<(), Failure> {
        match (self.is_coded, self.is_chunked) {
            (true, _) if self.wishes.is_old => Err(bad("HTTP/1.0 has no Transfer-Encoding")),
            (true, true) if self.length.is_some() => {
                Err(bad("it has Content-Length and Transfer-Encoding"))
            }
            (true, false) => {
                Err(refused(Failure::NotImplemented, "its Transfer-Encoding is not chunked"))
            }
            _ => Ok(()),
        }
    }

    /// The request of a head that has ended, and what its body is to be.
    ///
    /// # Errors
    /// The value of a header is none.
    pub(super) fn finish(self, bytes: &Bytes) -> Result<(Head, Decoder), Failure> {
        let mut headers = HeaderMap::with_capacity(self.lines.len());
        for (name, at) in self.lines {
            let value = value(bytes, at).ok_or_else(|| bad("the value of a header is none"))?;
            headers.append(name, value);
        }
        let (method, uri) = self.request.unwrap_or_default();
        let is_old = self.wishes.is_old;
        let body = match (self.is_chunked, self.length) {
            (true, _) => Decoder::chunked(),
            (false, Some(length)) if length > 0 => Decoder::Length(length),
            _ => Decoder::Done,
        };
        let wishes = Wishes {
            closes: self.wishes.closes || (is_old && !self.stays),
            // HTTP/1.0 has none of these.
            upgrade: self.wishes.upgrade && !is_old,
            expects: self.wishes.expects && !is_old && !body.is_done(),
            ..self.wishes
        };
        let version = if is_old { Version::HTTP_10 } else { Version::HTTP_11 };
        let parts = parts(method, uri, version, headers);
        Ok((Head { parts, has_body: !body.is_done(), wishes }, body))
    }
}

/// A head with these parts.
fn parts(method: Method, uri: Uri, version: Version, headers: HeaderMap) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.version, parts.headers) = (method, uri, version, headers);
    parts
}

/// A refused head as far as its answer and its record depend on it.
pub(super) fn of_refused(head: &[u8], failure: Failure) -> Parts {
    const NEGOTIATED: [HeaderName; 2] = [http::header::ACCEPT, http::header::CONTENT_TYPE];
    let (method, uri) = begins(head);
    // One that was refused may have no method, and nginx forgets a line that is too long.
    let method = method.or_else(|| Method::from_bytes(b"-").ok()).unwrap_or_default();
    let uri = if failure == Failure::UriTooLong { Uri::default() } else { uri };
    let mut headers = HeaderMap::new();
    let lines = head.split(|b| *b == b'\n').skip(1);
    for line in lines.map_while(|line| line.strip_suffix(b"\r")) {
        let Some((name, at)) = whole_field(line) else { break };
        let value = HeaderValue::from_bytes(line.get(at).unwrap_or_default());
        if let (true, Ok(value)) = (NEGOTIATED.contains(&name), value) {
            headers.append(name, value);
        }
    }
    parts(method, uri, Version::HTTP_11, headers)
}

/// The method and the target of a head, as far as they are in order; the latter only of a whole
/// line.
fn begins(head: &[u8]) -> (Option<Method>, Uri) {
    let mut lines = head.split(|b| *b == b'\n').filter_map(|line| line.strip_suffix(b"\r"));
    match lines.find(|line| !line.is_empty()).and_then(request_line) {
        Some(line) => (Some(line.method), line.uri),
        None => {
            let method = method(head).and_then(|(method, _)| Method::from_bytes(method).ok());
            (method, Uri::default())
        }
    }
}

struct RequestLine {
    method: Method,
    uri: Uri,
    is_old: bool,
}

/// Reads a request line; `None` if it is none.
fn request_line(line: &[u8]) -> Option<RequestLine> {
    let (method, rest) = method(line)?;
    let rest = without_blanks(rest);
    let (target, version) = rest.split_at(memchr(b' ', rest)?);
    let is_old = match without_blanks(version) {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return None,
    };
    let method = Method::from_bytes(method).ok()?;
    let uri = Uri::try_from(target).ok()?;
    // That of CONNECT is refused later, in the words for it.
    let is_target =
        target.first() == Some(&b'/') || method == Method::CONNECT || uri.scheme().is_some();
    is_target.then_some(RequestLine { method, uri, is_old })
}

/// Splits off the method.
fn method(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (method, rest) = line.split_at(memchr(b' ', line)?);
    (!method.is_empty() && method.iter().all(is_of_method)).then_some((method, rest))
}

fn is_of_method(byte: &u8) -> bool {
    byte.is_ascii_uppercase() || matches!(byte, b'_' | b'-')
}

/// Whether a line that has no end can become a request line: who speaks another protocol, such as
/// TLS, would wait in vain for us to say that this is none.
fn can_begin(line: &[u8]) -> bool {
    let end = memchr(b' ', line).unwrap_or(line.len());
    line == b"\r" || line.iter().take(end).all(is_of_method)
}

/// nginx takes several blanks between the parts of a request line.
fn without_blanks(text: &[u8]) -> &[u8] {
    let begin = text.iter().position(|b| *b != b' ').unwrap_or(text.len());
    text.get(begin..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
