//! Where a chunked body ends.

/// The longest line of a chunk's size or of a trailer, and the most bytes of trailers.
const LINE_MAX: usize = 8 << 10;
const TRAILERS_MAX: usize = 32 << 10;

/// Follows a chunked body to its end.
#[derive(Default)]
pub(super) struct Chunked {
    state: State,
    size: u64,
    /// Bytes of the line, or of all trailers.
    count: usize,
    /// The line has something in it.
    filled: bool,
}

#[derive(Default, PartialEq, Eq)]
enum State {
    /// The first digit of a size.
    #[default]
    Size,
    /// More digits.
    Digits,
    /// What stands behind the size.
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// A line of trailers, or the empty one.
    Trailer,
    TrailerLf,
    Done,
}

impl Chunked {
    /// How much of this belongs to the body.
    ///
    /// # Errors
    /// What is behind so many bytes is no chunk.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<usize, usize> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at).filter(|_| self.state != State::Done) {
            if self.state == State::Data {
                let there = (bytes.len() - at) as u64;
                let taken = self.size.min(there);
                self.size -= taken;
                at += usize::try_from(taken).unwrap_or_default();
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.step(byte).ok_or(at)?;
            at += 1;
        }
        Ok(at)
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn step(&mut self, byte: u8) -> Option<State> {
        self.count += 1;
        let next = match (&self.state, byte) {
            (State::Size | State::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = u64::from(char::from(byte).to_digit(16)?);
                self.size = self.size.checked_mul(16)?.checked_add(digit)?;
                State::Digits
            }
            (State::Digits | State::Extension, b'\r') => State::SizeLf,
            (State::Digits, b';' | b' ' | b'\t') => State::Extension,
            (State::Extension, b' '.. | b'\t') if byte != 0x7F => State::Extension,
            (State::SizeLf, b'\n') => {
                (self.count, self.filled) = (0, false);
                if self.size == 0 { State::Trailer } else { State::Data }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.count = 0;
                State::Size
            }
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::Trailer, b' '.. | b'\t') if byte != 0x7F => {
                self.filled = true;
                State::Trailer
            }
            (State::TrailerLf, b'\n') if !self.filled => State::Done,
            (State::TrailerLf, b'\n') => {
                self.filled = false;
                State::Trailer
            }
            _ => return None,
        };
        let is_trailer = matches!(next, State::Trailer | State::TrailerLf);
        let limit = if is_trailer { TRAILERS_MAX } else { LINE_MAX };
        (self.count <= limit).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it ends, and how long it is.
    fn whole(text: &str) -> (bool, Result<usize, usize>) {
        let mut chunked = Chunked::default();
        let scanned = chunked.scan(text.as_bytes());
        (chunked.is_done(), scanned)
    }

    #[test]
    fn a_chunked_body_ends_behind_its_trailers() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "00A\r\n0123456789\r\n0\r\n\r\n",
            "1;name=value\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n",
        ] {
            let text = format!("{body}GET /");
            assert_eq!(whole(&text), (true, Ok(body.len())), "{body:?}");
            // The same, byte by byte.
            let mut chunked = Chunked::default();
            let taken: usize = body.bytes().map(|b| chunked.scan(&[b]).unwrap()).sum();
            assert!(chunked.is_done() && taken == body.len());
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
            "0\r\nA: b\n\r\n",
            "10000000000000000\r\n",
        ] {
            let (done, scanned) = whole(body);
            assert!(!done && scanned.is_err(), "{body:?}");
        }
    }

    #[test]
    fn lines_around_chunks_have_an_end() {
        let digits = "0".repeat(LINE_MAX + 1);
        assert!(whole(&digits).1.is_err());
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(TRAILERS_MAX / 6 + 1));
        assert!(whole(&trailers).1.is_err());
    }
}
