//! A strict JSON reader that decodes nothing: it only tells where values begin and end.
//!
//! Chats are large and mostly string content, so the gateway finds the few members it needs and
//! leaves the rest as bytes. The grammar is RFC 8259 to the letter (the body is UTF-8 as well),
//! because what one JSON reader forgives the next one may read differently.

use std::borrow::Cow;

use memchr::memchr2;

/// Levels of nesting that are read; deeper bodies are refused. The same bound as `serde_json`.
pub const DEPTH_MAX: u32 = 128;

/// Why bytes are not the JSON that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not JSON; the byte where reading stopped.
    #[error("not valid JSON at byte {0}")]
    Malformed(usize),
    /// More than [`DEPTH_MAX`] levels.
    #[error("JSON is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// Valid JSON of another kind.
    #[error("JSON is not an object")]
    NotAnObject,
    /// Offsets are 32 bits wide.
    #[error("JSON is larger than 4 GiB")]
    TooLong,
}

/// A position in JSON text.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The byte at the position.
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Steps over the byte at the position.
    pub(super) fn step(&mut self) {
        self.at += 1;
    }

    /// Steps over `byte`, which must be here.
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.peek() != Some(byte) {
            return Err(self.fault());
        }
        self.at += 1;
        Ok(())
    }

    pub(super) fn fault(&self) -> Fault {
        Fault::Malformed(self.at)
    }

    /// Steps over white space.
    #[inline]
    pub(super) fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Only white space may follow.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.blank();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.fault()) }
    }

    /// Steps over one value. `depth` is how many objects and arrays are open around it.
    ///
    /// The open brackets are bits of one word (1 = object), so hostile nesting costs no stack.
    pub(super) fn value(&mut self, depth: u32) -> Result<(), Fault> {
        let mut open: u128 = 0;
        let mut inner = 0;
        loop {
            self.blank();
            let entered = match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if depth + inner >= DEPTH_MAX {
                        return Err(Fault::TooDeep);
                    }
                    self.at += 1;
                    inner += 1;
                    open = open << 1 | u128::from(bracket == b'{');
                    self.enter(bracket)?
                }
                _ => {
                    self.scalar()?;
                    false
                }
            };
            if !entered && self.leave(&mut open, &mut inner)? {
                return Ok(());
            }
        }
    }

    /// After an opening bracket: whether a value follows; a closing bracket is left in place.
    fn enter(&mut self, bracket: u8) -> Result<bool, Fault> {
        self.blank();
        let object = bracket == b'{';
        if self.peek() == Some(if object { b'}' } else { b']' }) {
            return Ok(false);
        }
        if object {
            self.key()?;
        }
        Ok(true)
    }

    /// After a value, or before the end of an empty bracket: closes what ends here.
    ///
    /// True when nothing is open any more, false when another value follows.
    fn leave(&mut self, open: &mut u128, inner: &mut u32) -> Result<bool, Fault> {
        while *inner > 0 {
            self.blank();
            let object = *open & 1 == 1;
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    if object {
                        self.blank();
                        self.key()?;
                    }
                    return Ok(false);
                }
                Some(b'}') if object => {}
                Some(b']') if !object => {}
                _ => return Err(self.fault()),
            }
            self.at += 1;
            *open >>= 1;
            *inner -= 1;
        }
        Ok(true)
    }

    /// Steps over a key and its colon.
    fn key(&mut self) -> Result<(), Fault> {
        self.string()?;
        self.blank();
        self.expect(b':')
    }

    /// Steps over a string; whether it has escapes.
    pub(super) fn string(&mut self) -> Result<bool, Fault> {
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            match self.plain() {
                Some(b'"') => return Ok(escaped),
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.fault()),
            }
        }
    }

    /// Goes over the plain part of a string and the quote or backslash that ends it, which it
    /// gives. What may not be there, and the end of the bytes, is stopped at.
    ///
    /// Most strings are names and short values, which eight bytes at a time are found faster than
    /// by a search that has to begin; the text of a chat is long, and then the search is faster.
    #[inline]
    fn plain(&mut self) -> Option<u8> {
        const SHORT: usize = 6;
        let rest = self.bytes.get(self.at..)?;
        let (words, _) = rest.as_chunks::<8>();
        for (n, word) in words.iter().take(SHORT).enumerate() {
            let word = u64::from_le_bytes(*word);
            let stops = stops(word);
            if stops != 0 {
                let first = stops.trailing_zeros() & !7;
                self.at += n * 8 + (first / 8) as usize;
                return self.stopped((word >> first) as u8);
            }
        }
        self.at += 8 * words.len().min(SHORT);
        self.long()
    }

    /// The same for what is long, or at the end of the bytes.
    fn long(&mut self) -> Option<u8> {
        let rest = self.bytes.get(self.at..)?;
        let Some(stop) = memchr2(b'"', b'\\', rest) else {
            self.at = self.bytes.len();
            return None;
        };
        if has_control(&rest[..stop]) {
            return None;
        }
        self.at += stop;
        self.stopped(rest[stop])
    }

    /// Steps over what a string stopped at, if it may be in it.
    #[inline]
    fn stopped(&mut self, byte: u8) -> Option<u8> {
        let is_good = matches!(byte, b'"' | b'\\');
        self.at += usize::from(is_good);
        is_good.then_some(byte)
    }

    /// Steps over what follows a backslash.
    fn escape(&mut self) -> Result<(), Fault> {
        let digits = match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 0,
            Some(b'u') => 4,
            _ => return Err(self.fault()),
        };
        self.at += 1;
        for _ in 0..digits {
            if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                return Err(self.fault());
            }
            self.at += 1;
        }
        Ok(())
    }

    fn scalar(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => Err(self.fault()),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.fault());
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Steps over one digit or more.
    fn digits(&mut self) -> Result<(), Fault> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == from { Err(self.fault()) } else { Ok(()) }
    }
}

/// Of eight bytes those that are a quote, a backslash or a control character: the lowest is exact.
#[inline]
fn stops(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // A byte below `n` borrows into its highest bit, and so may its neighbours above.
    let below = |word: u64, n: u8| word.wrapping_sub(ONES * u64::from(n)) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & HIGHS
}

/// Control characters must be escaped. The fold has no early exit, so it runs many bytes at once.
fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |seen, byte| seen | u8::from(*byte < 0x20)) != 0
}

/// The text of a JSON string, copied only when it has escapes.
///
/// `None` when `value` is another kind of value, or has half a surrogate pair.
pub fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice(value).ok().map(Cow::Owned)
}

/// The items of a JSON array that was read before; empty for any other value.
pub fn items(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut scanner = Scanner::new(array);
    let mut more = scanner.expect(b'[').is_ok();
    std::iter::from_fn(move || {
        if !more {
            return None;
        }
        scanner.blank();
        let from = scanner.at;
        scanner.value(0).ok()?;
        let item = &array[from..scanner.at];
        scanner.blank();
        more = scanner.expect(b',').is_ok();
        Some(item)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn reads(text: &[u8]) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.value(0).and_then(|()| scanner.end()).is_ok()
    }

    #[test]
    fn grammar_is_strict() {
        for good in ["0", "-0.5e+3", "[]", "{}", "[[],{}]", r#"{"a":[1,{"b":null}]}"#, " true "] {
            assert!(reads(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "01",
            "1.",
            ".5",
            "+1",
            "NaN",
            "[1,]",
            "[,1]",
            "[,]",
            "{,}",
            "{\"a\":1,}",
            "{a:1}",
            "'x'",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\t\"",
            "[1 2]",
            "{\"a\" 1}",
            "tru",
            "1e",
            "\"",
            "[}",
            "{\"a\":}",
            "[[1]",
            "1 1",
        ] {
            assert!(!reads(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(reads(&nested(DEPTH_MAX as usize)));
        let mut deep = Scanner::new(&[b'['; 100_000]);
        assert_eq!(deep.value(0), Err(Fault::TooDeep));
    }

    #[test]
    fn items_of_an_array() {
        let found: Vec<_> = items(br#"[ {"a":[1]}, "x,y" ,3]"#).collect();
        assert_eq!(found, [&br#"{"a":[1]}"#[..], br#""x,y""#, b"3"]);
        assert_eq!(items(b"[]").count() + items(b"{}").count() + items(b"").count(), 0);
    }

    #[test]
    fn text_of_a_string() {
        assert_eq!(text(br#""a""#), Some(Cow::Borrowed("a")));
        assert_eq!(text(br#""a\u00e9\n""#).as_deref(), Some("a\u{e9}\n"));
        assert_eq!(text(b"5"), None);
        assert_eq!(text(br#""\ud800""#), None);
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in "[\\[\\]{}\",:0-9eE.+\\-\\\\a-z \n]{0,24}") {
            let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(reads(text.as_bytes()), expected);
        }
    }
}
