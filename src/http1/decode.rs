//! Where a body ends, and its bytes without what is between them.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::SizeHint;

use super::field::{field_of, lines};

/// Why a body has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The connection ended within it.
    Half,
    /// A chunk is none.
    Chunks(&'static str),
}

/// The most lines of trailers.
const LINES_MAX: usize = 256;
/// The most bytes of extensions in all chunks of a body, and of its trailers.
const EXTENSIONS_MAX: usize = 16 << 10;
const TRAILERS_MAX: usize = 16 << 10;
/// The most digits and blanks of one size: leading zeros mean nothing.
const LINE_MAX: usize = 256;

/// How much of a body is still to come (RFC 9112, section 6.3).
pub(crate) enum Decoder {
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
    pub(crate) fn chunked() -> Self {
        Self::Chunked(Chunked::default())
    }

    /// Whether nothing more comes.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Chunked(chunked) => chunked.state == State::Done && chunked.trailers.is_empty(),
            _ => false,
        }
    }

    /// Whether only trailers are left to be taken, or nothing.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self, Self::Chunked(chunked) if chunked.state == State::Done) || self.is_done()
    }

    /// Bytes that are still to come, when that is known.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Done => SizeHint::with_exact(0),
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Chunked(_) | Self::UntilClose => SizeHint::default(),
        }
    }

    /// Decodes what is behind the first `whole` bytes, which are decoded: how many there are now.
    /// Behind them is only what does not belong to the body.
    pub(crate) fn decode(
        &mut self,
        input: &mut BytesMut,
        whole: usize,
    ) -> Result<usize, (usize, Broken)> {
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
    pub(crate) fn close(&mut self) -> Result<(), Broken> {
        match self {
            Self::UntilClose => *self = Self::Done,
            _ if self.has_ended() => {}
            _ => return Err(Broken::Half),
        }
        Ok(())
    }

    /// The trailers, once the body has ended with some.
    pub(crate) fn take_trailers(&mut self) -> Option<Result<HeaderMap, Broken>> {
        match self {
            Self::Chunked(chunked) if chunked.state == State::Done => {
                let lines = std::mem::take(&mut chunked.trailers);
                (!lines.is_empty()).then(|| trailers(lines.into()))
            }
            _ => None,
        }
    }
}

/// How far a chunked body is.
#[derive(Default)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes of the chunk that are still to come.
    size: u64,
    /// Digits and blanks of the size.
    digits: usize,
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
    fn decode(&mut self, input: &mut BytesMut, mut whole: usize) -> Result<usize, (usize, Broken)> {
        let mut at = whole;
        while let Some(&byte) = input.get(at).filter(|_| self.state != State::Done) {
            if self.state != State::Data {
                self.state = self.step(byte).map_err(|what| (whole, Broken::Chunks(what)))?;
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
            (State::Digits | State::Spaces, _) if self.digits >= LINE_MAX => {
                Err("a size has too many digits or blanks")
            }
            (State::Start | State::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                let size = self.size.checked_mul(16).and_then(|size| size.checked_add(digit));
                self.size = size.ok_or("a size is too large")?;
                self.digits += 1;
                Ok(State::Digits)
            }
            (State::Digits | State::Spaces, b' ' | b'\t') => {
                self.digits += 1;
                Ok(State::Spaces)
            }
            (State::Digits | State::Spaces, b';') => Ok(State::Extension),
            (State::Digits | State::Spaces | State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Start | State::Digits | State::Spaces, _) => Err("a size is no number"),
            (State::Extension, _) if byte.is_ascii_control() && byte != b'\t' => {
                Err("an extension has a byte that is not allowed")
            }
            (State::Extension, _) => {
                self.extensions += 1;
                let fits = self.extensions < EXTENSIONS_MAX;
                fits.then_some(State::Extension).ok_or("its extensions are too long")
            }
            (State::SizeLf, b'\n') if self.size == 0 => Ok(State::Line),
            (State::SizeLf, b'\n') => Ok(State::Data),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => {
                self.digits = 0;
                Ok(State::Start)
            }
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
        let ends_line =
            matches!(byte, b'\r' | b'\n') && (byte == b'\n') == (self.state == State::TrailerLf);
        if byte.is_ascii_control() && byte != b'\t' && !ends_line {
            return Err("a trailer has a byte that is not allowed");
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

fn trailers(text: Bytes) -> Result<HeaderMap, Broken> {
    let mut trailers = HeaderMap::new();
    // The last one is empty.
    for line in lines(&text).take_while(|line| !line.is_empty()) {
        let (name, value) = field_of(&text, line).map_err(Broken::Chunks)?;
        trailers.append(name, value);
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body as it is decoded in pieces of this size, and what is behind it.
    fn decoded(text: &str, piece: usize) -> Result<(String, String), Broken> {
        let (mut decoder, mut input, mut whole) = (Decoder::chunked(), BytesMut::new(), Vec::new());
        for piece in text.as_bytes().chunks(piece) {
            input.extend_from_slice(piece);
            let length = decoder.decode(&mut input, 0).map_err(|(_, broken)| broken)?;
            whole.extend_from_slice(&input.split_to(length));
        }
        decoder.close()?;
        let [whole, rest] = [&whole[..], &input].map(|b| String::from_utf8_lossy(b).into_owned());
        Ok((whole, rest))
    }

    #[test]
    fn a_chunked_body_ends_behind_its_trailers() {
        for (body, data) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("00A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
            ("1;name=\t\"value\"\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n", "x"),
        ] {
            let text = format!("{body}GET /");
            for piece in [1, 2, 7, 1 << 10] {
                let rest = "GET /".to_owned();
                assert_eq!(decoded(&text, piece), Ok((data.to_owned(), rest)), "{body:?}");
            }
        }
    }

    #[test]
    fn what_is_no_chunk_is_broken() {
        for body in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "0x1\r\n",
            "1\nx\r\n",
            "1\r\nxy\r\n",
            "1\r\nx\n",
            "0\n\r\n",
            "1;a\nb\r\nx\r\n",
            "1;a\0\r\nx\r\n",
            "0\r\nA: b\n\r\n",
            "10000000000000000\r\n",
        ] {
            let broken = decoded(body, 1 << 10).unwrap_err();
            assert!(matches!(broken, Broken::Chunks(_)), "{body:?}: {broken:?}");
        }
    }

    #[test]
    fn lines_around_chunks_have_an_end() {
        let extensions = format!("1;{}", "x".repeat(EXTENSIONS_MAX + 1));
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(TRAILERS_MAX / 6 + 1));
        let digits = "0".repeat(LINE_MAX + 1);
        for text in [extensions, trailers, digits] {
            assert!(matches!(decoded(&text, 1 << 20), Err(Broken::Chunks(_))));
        }
    }
}
