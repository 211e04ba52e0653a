//! Where the body of an answer ends, and its bytes without what is between them.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::SizeHint;

use super::{Fault, LINES_MAX};

/// The most bytes of extensions in all chunks of a body, and of its trailers.
const EXTENSIONS_MAX: usize = 16 << 10;
const TRAILERS_MAX: usize = 16 << 10;

/// How much of a body is still to come (RFC 9112, section 6.3).
pub(super) enum Decoder {
    /// Nothing.
    Done,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// Whatever comes before the connection ends.
    UntilClose,
}

impl Decoder {
    /// A body in chunks.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunked::default())
    }

    /// Whether nothing more comes.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Chunked(chunked) => chunked.state == State::Done && chunked.trailers.is_empty(),
            _ => false,
        }
    }

    /// Whether only trailers are left to be taken, or nothing.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Self::Chunked(chunked) if chunked.state == State::Done) || self.is_done()
    }

    /// Bytes that are still to come, when that is known.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Done => SizeHint::with_exact(0),
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Chunked(_) | Self::UntilClose => SizeHint::default(),
        }
    }

    /// Decodes what is behind the first `whole` bytes, which are decoded: how many there are now.
    /// Behind them is only what does not belong to the body.
    pub(super) fn decode(
        &mut self,
        input: &mut BytesMut,
        whole: usize,
    ) -> Result<usize, (usize, Fault)> {
        match self {
            Self::Done => Ok(whole),
            Self::UntilClose => Ok(input.len()),
            Self::Length(left) => {
                let there = (input.len() - whole) as u64;
                let taken = there.min(*left);
                *left -= taken;
                if *left == 0 {
                    *self = Self::Done;
                }
                // It is not more than is in the buffer.
                Ok(whole + usize::try_from(taken).unwrap_or_default())
            }
            Self::Chunked(chunked) => chunked.decode(input, whole),
        }
    }

    /// The connection has ended; whether the body has, too.
    pub(super) fn close(&mut self) -> Result<(), Fault> {
        match self {
            Self::UntilClose => *self = Self::Done,
            _ if self.has_ended() => {}
            _ => return Err(Fault::HalfBody),
        }
        Ok(())
    }

    /// The trailers, once the body has ended with some.
    pub(super) fn take_trailers(&mut self) -> Option<Result<HeaderMap, Fault>> {
        match self {
            Self::Chunked(chunked) if chunked.state == State::Done => {
                let lines = std::mem::take(&mut chunked.trailers);
                (!lines.is_empty()).then(|| trailers(&lines))
            }
            _ => None,
        }
    }
}

/// How far a chunked body is.
#[derive(Default)]
pub(super) struct Chunked {
    state: State,
    /// Bytes of the chunk that are still to come.
    size: u64,
    /// Bytes of extensions so far.
    extensions: usize,
    /// Lines of trailers, as they came.
    trailers: Vec<u8>,
    lines: usize,
}

/// What comes next.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The first digit of a size.
    #[default]
    Start,
    /// More digits.
    Digits,
    /// Nothing but spaces, an extension or the line's end.
    Spaces,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// A line of trailers, or the empty one that is the end.
    Line,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

impl Chunked {
    fn decode(&mut self, input: &mut BytesMut, mut whole: usize) -> Result<usize, (usize, Fault)> {
        let mut at = whole;
        while let Some(&byte) = input.get(at).filter(|_| self.state != State::Done) {
            if self.state != State::Data {
                self.state = self.step(byte).map_err(|what| (whole, Fault::Chunks(what)))?;
                at += 1;
                continue;
            }
            if whole == 0 {
                // The first piece stays where it is.
                input.advance(at);
                at = 0;
            }
            let there = (input.len() - at) as u64;
            // Not more than is in the buffer.
            let taken = usize::try_from(there.min(self.size)).unwrap_or_default();
            self.size -= taken as u64;
            if self.size == 0 {
                self.state = State::DataCr;
            }
            if at != whole {
                input.copy_within(at..at + taken, whole);
            }
            at += taken;
            whole += taken;
        }
        if at != whole {
            let rest = input.len() - at;
            input.copy_within(at.., whole);
            input.truncate(whole + rest);
        }
        Ok(whole)
    }

    fn step(&mut self, byte: u8) -> Result<State, &'static str> {
        match (self.state, byte) {
            (State::Start | State::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                let size = self.size.checked_mul(16).and_then(|size| size.checked_add(digit));
                self.size = size.ok_or("a size is too large")?;
                Ok(State::Digits)
            }
            (State::Digits | State::Spaces, b' ' | b'\t') => Ok(State::Spaces),
            (State::Digits | State::Spaces, b';') => Ok(State::Extension),
            (State::Digits | State::Spaces | State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Start | State::Digits | State::Spaces, _) => Err("a size is no number"),
            (State::Extension, b'\n') => Err("an extension has a line's end in it"),
            (State::Extension, _) => {
                self.extensions += 1;
                let fits = self.extensions < EXTENSIONS_MAX;
                fits.then_some(State::Extension).ok_or("its extensions are too long")
            }
            (State::SizeLf, b'\n') if self.size == 0 => Ok(State::Line),
            (State::SizeLf, b'\n') => Ok(State::Data),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Start),
            (State::Line | State::Trailer | State::TrailerLf, _) => self.trailer(byte),
            (State::EndLf, b'\n') => {
                if !self.trailers.is_empty() {
                    self.trailers.extend_from_slice(b"\r\n");
                }
                Ok(State::Done)
            }
            _ => Err("a line has another end than it should"),
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<State, &'static str> {
        if self.state == State::Line && byte == b'\r' {
            return Ok(State::EndLf);
        }
        if self.trailers.len() >= TRAILERS_MAX {
            return Err("its trailers are too long");
        }
        self.trailers.push(byte);
        match (self.state, byte) {
            (State::TrailerLf, b'\n') => {
                self.lines += 1;
                let fits = self.lines <= LINES_MAX;
                fits.then_some(State::Line).ok_or("it has too many trailers")
            }
            (State::TrailerLf, _) => Err("a trailer has another end than it should"),
            (_, b'\r') => Ok(State::TrailerLf),
            _ => Ok(State::Trailer),
        }
    }
}

fn trailers(lines: &[u8]) -> Result<HeaderMap, Fault> {
    let broken = || Fault::Chunks("a trailer is no header");
    let mut headers = [httparse::EMPTY_HEADER; LINES_MAX];
    let Ok(httparse::Status::Complete((_, headers))) = httparse::parse_headers(lines, &mut headers)
    else {
        return Err(broken());
    };
    let mut trailers = HeaderMap::with_capacity(headers.len());
    for header in headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| broken())?;
        let value = HeaderValue::from_bytes(header.value).map_err(|_| broken())?;
        trailers.append(name, value);
    }
    Ok(trailers)
}
