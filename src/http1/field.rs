//! The lines of a head, and what their values say (RFC 9112, section 5).

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use memchr::{memchr, memchr_iter};

/// Where the lines of a head are, without their ends; LF alone is one, too. What behind the last
/// of them has no end is left out.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut begin = 0;
    memchr_iter(b'\n', bytes).map(move |end| {
        let line = bytes.get(begin..end).unwrap_or_default();
        let length = line.strip_suffix(b"\r").unwrap_or(line).len();
        let line = begin..begin + length;
        begin = end + 1;
        line
    })
}

/// Reads a line: the name of a header, and where in the line its value is; `None` if it is none. A
/// folded line begins with a blank, which no name has. The bytes of the value are for [`value`] to
/// look at.
fn field(line: &[u8]) -> Option<(HeaderName, Range<usize>)> {
    let colon = memchr(b':', line)?;
    let (name, value) = line.split_at(colon);
    let name = HeaderName::from_bytes(name).ok()?;
    let value = value.get(1..).unwrap_or_default();
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    let begin = value.iter().position(|b| !is_blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !is_blank(b)).map_or(begin, |last| last + 1);
    Some((name, colon + 1 + begin..colon + 1 + end))
}

/// The same with a look at the value, for who does not make one of it yet.
pub(crate) fn whole_field(line: &[u8]) -> Option<(HeaderName, Range<usize>)> {
    let (name, at) = field(line)?;
    // Without an early end, so that many bytes are looked at together.
    let is_good = |good, b: &u8| good & (((*b >= b' ') & (*b != 0x7F)) | (*b == b'\t'));
    let value = line.get(at.clone()).unwrap_or_default();
    value.iter().fold(true, is_good).then_some((name, at))
}

/// A value that stays where it was read; `None` if it is none.
pub(crate) fn value(bytes: &Bytes, at: Range<usize>) -> Option<HeaderValue> {
    let value = if at.is_empty() { Bytes::new() } else { bytes.slice(at) };
    HeaderValue::from_maybe_shared(value).ok()
}

/// Reads the line of a header that is there in `bytes`.
///
/// # Errors
/// It is none: what is wrong with it.
pub(crate) fn field_of(
    bytes: &Bytes,
    line: Range<usize>,
) -> Result<(HeaderName, HeaderValue), &'static str> {
    let text = bytes.get(line.clone()).unwrap_or_default();
    let (name, at) = field(text).ok_or("a line is no header")?;
    let value = value(bytes, line.start + at.start..line.start + at.end);
    Ok((name, value.ok_or("the value of a header is none")?))
}

/// Writes a line of a head.
pub(crate) fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The number that a `Content-Length` is; `None` if it is none (RFC 9110, section 8.6: one, and
/// digits alone).
pub(crate) fn length(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()
}

/// The comma-separated words of a header's value, without parameters.
pub(crate) fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(|part| {
        let end = memchr(b';', part).unwrap_or(part.len());
        part.get(..end).unwrap_or_default().trim_ascii()
    })
}

/// Whether a header's value has a word, in capitals or not.
pub(crate) fn has_word(value: &[u8], word: &str) -> bool {
    words(value).any(|one| one.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_without_their_ends() {
        let text = b"a\r\n\nb\r\r\n\r\nrest";
        let lines: Vec<&[u8]> = lines(text).map(|line| &text[line]).collect();
        assert_eq!(lines, [&b"a"[..], b"", b"b\r", b""]);
    }

    #[test]
    fn a_line_is_a_name_and_a_value_without_blanks_around_it() {
        for (line, want) in [
            ("A: b", Some(("a", "b"))),
            ("A:b \t", Some(("a", "b"))),
            ("A:", Some(("a", ""))),
            ("A: \t ", Some(("a", ""))),
            ("A: b: c", Some(("a", "b: c"))),
            ("A: \u{e9}", Some(("a", "\u{e9}"))),
            ("A : b", None),
            (" A: b", None),
            (": b", None),
            ("A", None),
            ("", None),
            ("A: b\rc", None),
            ("A: b\0", None),
            ("A: \u{7f}", None),
        ] {
            let bytes = Bytes::from(format!("x\r\n{line}"));
            let read = field_of(&bytes, 3..bytes.len()).ok();
            let want = want.map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            });
            assert_eq!(read, want, "{line:?}");
        }
    }

    #[test]
    fn words_are_compared_without_parameters_and_case() {
        assert!(has_word(b"keep-alive, Close;x=1", "close"));
        assert!(!has_word(b"closed, x;close", "close"));
    }
}
