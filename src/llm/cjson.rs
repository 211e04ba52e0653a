//! What lua-cjson, by which Kong reads JSON, says of a text that our reader refuses.
//!
//! It counts bytes, and names what it found by its own words for tokens.

/// Kong's bound on the nesting of JSON.
const MAX_DEPTH: usize = 1000;

/// lua-cjson's error; nothing if it would take the text.
pub fn said(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if bytes.len() >= 2 && (bytes[0] == 0 || bytes[1] == 0) {
        return Some("JSON parser does not support UTF-16 or UTF-32".to_owned());
    }
    Reader { bytes, at: 0 }.document().err()
}

/// A token and the position of its first byte.
struct Token {
    kind: &'static str,
    at: usize,
}

const END: &str = "T_END";
const STRING: &str = "T_STRING";

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Outcome = Result<(), String>;

impl Reader<'_> {
    /// Without recursion: the text may be nested as deep as it likes.
    fn document(&mut self) -> Outcome {
        // What closes each open list or object.
        let mut open: Vec<&str> = Vec::new();
        loop {
            let mut token = self.token();
            let is_first = self.opens(&token, &mut open)?;
            if is_first {
                match self.first(&open)? {
                    true => continue,
                    false => drop(open.pop()),
                }
            }
            loop {
                let Some(close) = open.last().copied() else {
                    token = self.token();
                    return expect(token.kind == END, "the end", &token);
                };
                token = self.token();
                if token.kind == close {
                    open.pop();
                    continue;
                }
                let wanted =
                    if close == "T_OBJ_END" { "comma or object end" } else { "comma or array end" };
                expect(token.kind == "T_COMMA", wanted, &token)?;
                if close == "T_OBJ_END" {
                    let key = self.token();
                    self.key(&key)?;
                }
                break;
            }
        }
    }

    /// Reads the beginning of a value; whether it is a list or an object.
    fn opens(&self, token: &Token, open: &mut Vec<&str>) -> Result<bool, String> {
        let close = match token.kind {
            "T_OBJ_BEGIN" => "T_OBJ_END",
            "T_ARR_BEGIN" => "T_ARR_END",
            STRING | "T_NUMBER" | "T_BOOLEAN" | "T_NULL" => return Ok(false),
            _ => return expect(false, "value", token).map(|()| false),
        };
        open.push(close);
        if open.len() > MAX_DEPTH {
            let (depth, at) = (open.len(), self.at);
            return Err(format!(
                "Found too many nested data structures ({depth}) at character {at}"
            ));
        }
        Ok(true)
    }

    /// Behind the beginning of a list or an object; whether a value follows.
    fn first(&mut self, open: &[&str]) -> Result<bool, String> {
        let before = self.at;
        let token = self.token();
        if open.last() == Some(&token.kind) {
            return Ok(false);
        }
        match open.last() {
            Some(&"T_OBJ_END") => self.key(&token)?,
            _ => self.at = before,
        }
        Ok(true)
    }

    fn key(&mut self, token: &Token) -> Outcome {
        expect(token.kind == STRING, "object key string", token)?;
        let colon = self.token();
        expect(colon.kind == "T_COLON", "colon", &colon)
    }

    fn token(&mut self) -> Token {
        while self.bytes.get(self.at).is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let at = self.at;
        let Some(first) = self.bytes.get(at) else { return Token { kind: END, at } };
        let (kind, length) = match first {
            b'{' => ("T_OBJ_BEGIN", 1),
            b'}' => ("T_OBJ_END", 1),
            b'[' => ("T_ARR_BEGIN", 1),
            b']' => ("T_ARR_END", 1),
            b':' => ("T_COLON", 1),
            b',' => ("T_COMMA", 1),
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => ("T_NUMBER", self.number()),
            _ => self.word(),
        };
        self.at += length;
        Token { kind, at }
    }

    fn word(&self) -> (&'static str, usize) {
        let rest = &self.bytes[self.at..];
        let words = [("true", "T_BOOLEAN"), ("false", "T_BOOLEAN"), ("null", "T_NULL")];
        let numbers = ["nan", "inf", "infinity"];
        let is_number = |word: &&str| {
            rest.get(..word.len()).is_some_and(|text| text.eq_ignore_ascii_case(word.as_bytes()))
        };
        let known = words.iter().find(|(word, _)| rest.starts_with(word.as_bytes()));
        match (known, numbers.iter().rev().find(|word| is_number(word))) {
            (Some((word, kind)), _) => (kind, word.len()),
            (None, Some(word)) => ("T_NUMBER", word.len()),
            (None, None) => ("invalid token", 1),
        }
    }

    /// As much as C reads as a number.
    fn number(&self) -> usize {
        let rest = &self.bytes[self.at..];
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-');
        rest.iter().position(|b| !is_part(b)).unwrap_or(rest.len())
    }

    fn string(&mut self) -> Token {
        let begin = self.at;
        let fault = |kind, at| Token { kind, at };
        let mut at = begin + 1;
        loop {
            match self.bytes.get(at) {
                None => return fault("unexpected end of string", at),
                Some(b'"') => break,
                Some(b'\\') => {
                    let escape = self.bytes.get(at + 1).copied().unwrap_or_default();
                    let hex = self.bytes.get(at + 2..at + 6);
                    let is_hex = hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
                    match escape {
                        b'u' if is_hex => at += 6,
                        b'u' => return fault("invalid unicode escape code", at),
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                        _ => return fault("invalid escape code", at),
                    }
                }
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        Token { kind: STRING, at: begin }
    }
}

fn expect(fits: bool, wanted: &str, found: &Token) -> Outcome {
    let Token { kind, at } = found;
    if fits {
        Ok(())
    } else {
        Err(format!("Expected {wanted} but found {kind} at character {}", at + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_cannot_be_read_is_told_in_the_words_of_kongs_reader() {
        let cases = [
            ("", "Expected value but found T_END at character 1"),
            (
                r#"{"a": 1 "b": 2}"#,
                "Expected comma or object end but found T_STRING at character 9",
            ),
            (r#"{"a": 1,}"#, "Expected object key string but found T_OBJ_END at character 9"),
            (r#"{"a" 1}"#, "Expected colon but found T_NUMBER at character 6"),
            ("[1 2]", "Expected comma or array end but found T_NUMBER at character 4"),
            ("[1,]", "Expected value but found T_ARR_END at character 4"),
            ("{a: 1}", "Expected object key string but found invalid token at character 2"),
            ("{} x", "Expected the end but found invalid token at character 4"),
            ("[\"a", "Expected value but found unexpected end of string at character 4"),
            (r#"["\x"]"#, "Expected value but found invalid escape code at character 3"),
            (r#"["\u12"]"#, "Expected value but found invalid unicode escape code at character 3"),
            ("[{\"a\": [", "Expected value but found T_END at character 9"),
        ];
        for (text, wanted) in cases {
            assert_eq!(said(text).as_deref(), Some(wanted), "{text}");
        }
        let deep = "[".repeat(50_000);
        let text = "Found too many nested data structures (1001) at character 1001";
        assert_eq!(said(&deep).as_deref(), Some(text));
    }

    #[test]
    fn what_kongs_reader_takes_is_no_error_to_it() {
        for text in ["{}", "[]", "[1, {\"a\": [true, null]}, \"\\u00e9\"]", "[NaN, -0x1f]", "[01]"]
        {
            assert_eq!(said(text), None, "{text}");
        }
    }
}
