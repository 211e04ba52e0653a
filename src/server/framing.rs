//! Where requests of HTTP/1 begin and end, and whether their heads are in order.
//!
//! The library parses and frames requests. It answers what it cannot parse with an empty 400, and
//! it is more lenient in some places than a gateway should be. So every byte passes this first. It
//! knows no more than it needs: what is doubtful is refused, and where it should ever be wrong
//! about a body, the library still judges for itself.

use http::Uri;
use memchr::memchr;

use super::chunked::Chunked;
use crate::respond::Failure;

/// The most lines a head may have.
pub(super) const LINES_MAX: usize = 320;

/// How long a head may be, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// One line.
    pub(super) line: usize,
    /// All of them.
    pub(super) head: usize,
}

/// Follows the requests of one connection.
pub(super) struct Framing {
    limits: Limits,
    state: State,
    /// Heads that have ended.
    requests: usize,
    /// The last one asks for another protocol.
    asks_upgrade: bool,
}

enum State {
    Head(Head),
    Body(u64),
    Chunks(Chunked),
    /// Behind a request for another protocol: its answer says whether more of HTTP follows.
    Undecided,
}

/// What a look at some bytes has shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// All of it may go on.
    All,
    /// The bytes from here on are to be shown again: with more, if they are a head that has not
    /// ended, or later, if [`Framing::undecided`] says so.
    Partial(usize),
    /// The head that begins here is refused.
    Refused(usize, Failure),
    /// The body that this belongs to is not framed as it says.
    Broken(usize),
}

/// Tells the operator why a head is refused, as quietly as nginx does; the client learns no more
/// than from nginx.
pub(super) fn refused(failure: Failure, why: &str) -> Failure {
    tracing::info!(fault = "client", "a request is refused: {why}");
    failure
}

/// The same for what gets a 400.
pub(super) fn bad(why: &str) -> Failure {
    refused(Failure::BadRequest, why)
}

impl Framing {
    pub(super) fn new(limits: Limits) -> Self {
        let state = State::Head(Head::default());
        Self { limits, state, requests: 0, asks_upgrade: false }
    }

    /// Looks at the bytes that follow those of the last look. After [`Seen::Partial`] it is to get
    /// the same bytes again and those behind them.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Seen {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Head(head) => match head.scan(rest, self.limits) {
                    Ok(None) => return Seen::Partial(at),
                    Ok(Some(length)) => {
                        at += length;
                        self.requests += 1;
                        self.asks_upgrade = head.asks_upgrade && !head.is_http_10;
                        match head.body() {
                            Some(body) => self.state = body,
                            None => self.end_request(),
                        }
                    }
                    Err(failure) => return Seen::Refused(at, failure),
                },
                State::Body(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= taken as u64;
                    at += taken;
                    if *left == 0 {
                        self.end_request();
                    }
                }
                State::Chunks(chunks) => match chunks.scan(rest) {
                    Ok(taken) => {
                        at += taken;
                        if chunks.is_done() {
                            self.end_request();
                        }
                    }
                    Err(taken) => return Seen::Broken(at + taken),
                },
                State::Undecided => return Seen::Partial(at),
            }
        }
        Seen::All
    }

    fn end_request(&mut self) {
        self.state = match self.asks_upgrade {
            true => State::Undecided,
            false => State::Head(Head::default()),
        };
    }

    /// How many requests must have been answered before it is known what follows them.
    pub(super) fn undecided(&self) -> Option<usize> {
        matches!(self.state, State::Undecided).then_some(self.requests)
    }

    /// What follows is HTTP.
    pub(super) fn go_on(&mut self) {
        self.state = State::Head(Head::default());
    }

    /// Whether the next byte begins a head.
    pub(super) fn is_between(&self) -> bool {
        match &self.state {
            State::Head(head) => head.line == 0,
            State::Undecided => true,
            State::Body(_) | State::Chunks(_) => false,
        }
    }
}

/// A head as far as it has been looked at.
#[derive(Default)]
struct Head {
    /// Where the line begins that has not ended.
    line: usize,
    /// How far its end has been looked for.
    searched: usize,
    lines: usize,
    has_request_line: bool,
    is_http_10: bool,
    length: Option<u64>,
    is_coded: bool,
    is_chunked: bool,
    asks_upgrade: bool,
}

impl Head {
    /// Looks at the lines of a head; its length when it has ended.
    fn scan(&mut self, bytes: &[u8], limits: Limits) -> Result<Option<usize>, Failure> {
        loop {
            let found = bytes.get(self.searched..).and_then(|rest| memchr(b'\n', rest));
            let end = found.map_or(bytes.len(), |found| self.searched + found + 1);
            self.check_size(end, limits)?;
            if found.is_none() {
                self.searched = bytes.len();
                return Ok(None);
            }
            let line = bytes.get(self.line..end).unwrap_or_default();
            // nginx also takes a lone LF. Others do not, and two readers of the same bytes that
            // see other lines are how requests are smuggled.
            let line = line.strip_suffix(b"\r\n").ok_or_else(|| bad("a line ends without CR"))?;
            (self.line, self.searched) = (end, end);
            if !line.is_empty() {
                self.take(line)?;
            } else if self.has_request_line {
                self.check_framing()?;
                return Ok(Some(end));
            }
        }
    }

    /// Bounds the line that ends, or has got to, `end`.
    fn check_size(&self, end: usize, limits: Limits) -> Result<(), Failure> {
        let too_long = end - self.line > limits.line;
        match self.has_request_line {
            false if too_long || end > limits.head => {
                Err(refused(Failure::UriTooLong, "the request line is too long"))
            }
            true if too_long || end > limits.head => {
                Err(refused(Failure::HeadersTooLarge, "its headers are too large"))
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<(), Failure> {
        if !self.has_request_line {
            self.has_request_line = true;
            self.is_http_10 = request_line(line).ok_or_else(|| bad("its request line is none"))?;
            return Ok(());
        }
        self.lines += 1;
        if self.lines > LINES_MAX {
            return Err(refused(Failure::HeadersTooLarge, "it has too many headers"));
        }
        let (name, value) = header(line).ok_or_else(|| bad("one of its header lines is none"))?;
        if name.eq_ignore_ascii_case(b"content-length") {
            // One, and digits alone: no list, no sign, no second opinion.
            let length = std::str::from_utf8(value).ok().filter(|_| is_number(value));
            let length = length.and_then(|text| text.parse().ok());
            let length = length.ok_or_else(|| bad("its Content-Length is no number"))?;
            if self.length.replace(length).is_some() {
                return Err(bad("it has two Content-Lengths"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if std::mem::replace(&mut self.is_coded, true) {
                return Err(bad("it has two Transfer-Encodings"));
            }
            self.is_chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.asks_upgrade = true;
        }
        Ok(())
    }

    /// nginx: a body is framed once, in chunks only where HTTP has them, and what cannot be taken
    /// off it is not passed on.
    fn check_framing(&self) -> Result<(), Failure> {
        match (self.is_coded, self.is_chunked) {
            (true, _) if self.is_http_10 => Err(bad("HTTP/1.0 has no Transfer-Encoding")),
            (true, true) if self.length.is_some() => {
                Err(bad("it has Content-Length and Transfer-Encoding"))
            }
            (true, false) => {
                Err(refused(Failure::NotImplemented, "its Transfer-Encoding is not chunked"))
            }
            _ => Ok(()),
        }
    }

    /// The body that belongs to it.
    fn body(&self) -> Option<State> {
        match (self.is_chunked, self.length) {
            (true, _) => Some(State::Chunks(Chunked::default())),
            (false, Some(length)) if length > 0 => Some(State::Body(length)),
            _ => None,
        }
    }
}

fn is_number(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(u8::is_ascii_digit)
}

/// The method and the target of a head, as far as they are in order; the latter only of a whole
/// line.
pub(super) fn begins(head: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut lines = head.split(|b| *b == b'\n').filter_map(|line| line.strip_suffix(b"\r"));
    let whole = lines.find(|line| !line.is_empty()).filter(|line| request_line(line).is_some());
    let (method, rest) = method(whole.unwrap_or(head)).unzip();
    let target = whole.and(rest).map(without_blanks);
    let target = target.and_then(|rest| Some(rest.split_at(memchr(b' ', rest)?).0));
    (method, target.unwrap_or(b"/"))
}

/// Splits off the method.
fn method(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (method, rest) = line.split_at(memchr(b' ', line)?);
    let is_method = |b: &u8| b.is_ascii_uppercase() || matches!(b, b'_' | b'-');
    (!method.is_empty() && method.iter().all(is_method)).then_some((method, rest))
}

/// Checks a request line. Whether it is one of HTTP/1.0.
fn request_line(line: &[u8]) -> Option<bool> {
    let (method, rest) = method(line)?;
    let rest = without_blanks(rest);
    let (target, version) = rest.split_at(memchr(b' ', rest)?);
    let is_old = match without_blanks(version) {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return None,
    };
    is_target(method, target).then_some(is_old)
}

/// nginx takes several blanks between the parts of a request line.
fn without_blanks(text: &[u8]) -> &[u8] {
    let begin = text.iter().position(|b| *b != b' ').unwrap_or(text.len());
    text.get(begin..).unwrap_or_default()
}

/// Whether the library can hold a target.
fn is_target(method: &[u8], target: &[u8]) -> bool {
    if method == b"CONNECT" {
        // Refused later, in the words for it.
        return Uri::try_from(target).is_ok();
    }
    if target.first() != Some(&b'/') {
        return Uri::try_from(target).is_ok_and(|uri| uri.scheme().is_some());
    }
    // Only the odd ones cost a second parse.
    let is_plain = |b: &u8| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'/' | b'-' | b'.' | b'_' | b'~' | b'%' | b'?' | b'=' | b'&' | b'+' | b':' | b','
            )
    };
    target.iter().all(is_plain) || Uri::try_from(target).is_ok()
}

/// Splits a header line; `None` if it is none. A folded line begins with a blank, which no name
/// has.
pub(super) fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at(memchr(b':', line)?);
    let value = &value[1..];
    // Without an early end, so that many bytes are looked at together.
    let is_value = |good, b: &u8| good & (((*b >= b' ') & (*b != 0x7F)) | (*b == b'\t'));
    let good = !name.is_empty()
        && name.iter().all(|b| TOKEN[usize::from(*b)])
        && value.iter().fold(true, is_value);
    good.then(|| (name, value.trim_ascii()))
}

/// Which bytes are characters of a name (RFC 9110, section 5.6.2).
static TOKEN: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < table.len() {
        table[byte] = is_token(byte as u8);
        byte += 1;
    }
    table
};

const fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests;
