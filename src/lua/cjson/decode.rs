//! JSON text to Lua values, with lua-cjson's words for what is wrong.

use mlua::{Lua, LuaSerdeExt, Table, Value};

use super::DEPTH;
use super::number::{self, Number};
use crate::lua::bind::Fault;

/// What a caller may change (`cjson.decode_*`).
#[derive(Clone, Copy)]
pub(in crate::lua) struct Options {
    /// Arrays get `cjson.array_mt`.
    pub(in crate::lua) marks: bool,
    /// Numbers that are none in JSON are refused: `NaN`, `0x10`, `007`.
    pub(in crate::lua) is_strict: bool,
    pub(in crate::lua) depth: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { marks: false, is_strict: false, depth: DEPTH }
    }
}

/// A Lua value for a JSON text.
pub(in crate::lua) fn decode(lua: &Lua, text: &[u8], options: Options) -> Result<Value, Fault> {
    if let [first, second, ..] = text
        && (*first == 0 || *second == 0)
    {
        return Err("JSON parser does not support UTF-16 or UTF-32".into());
    }
    let array = options.marks.then(|| lua.array_metatable());
    let mut reader = Reader { lua, text, at: 0, array, options };
    reader.blanks();
    let value = reader.value(0)?;
    reader.blanks();
    if reader.at < text.len() {
        // A zero is the end of a text of C's, which Kong makes an error.
        let is_end = reader.peek() == Some(0);
        return Err(reader.expected(if is_end { "EOF" } else { "the end" }));
    }
    Ok(value)
}

struct Reader<'t> {
    lua: &'t Lua,
    text: &'t [u8],
    at: usize,
    array: Option<Table>,
    options: Options,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// What was found where something else should be.
    fn expected(&self, what: &str) -> Fault {
        let found = match self.peek() {
            None | Some(0) => "T_END",
            Some(b'{') => "T_OBJ_BEGIN",
            Some(b'}') => "T_OBJ_END",
            Some(b'[') => "T_ARR_BEGIN",
            Some(b']') => "T_ARR_END",
            Some(b',') => "T_COMMA",
            Some(b':') => "T_COLON",
            Some(b'"') => "T_STRING",
            Some(b'-' | b'0'..=b'9') => return self.instead_of(what, number::kind(self.rest())),
            Some(_) => match &self.text[self.at..] {
                rest if rest.starts_with(b"true") || rest.starts_with(b"false") => "T_BOOLEAN",
                rest if rest.starts_with(b"null") => "T_NULL",
                _ => "invalid token",
            },
        };
        self.instead_of(what, found)
    }

    fn instead_of(&self, what: &str, found: &str) -> Fault {
        format!("Expected {what} but found {found} at character {}", self.at + 1).into()
    }

    fn rest(&self) -> &[u8] {
        &self.text[self.at..]
    }

    fn value(&mut self, depth: usize) -> Result<Value, Fault> {
        match self.peek() {
            Some(b'{') => self.nested(depth).and_then(|()| self.object(depth + 1)),
            Some(b'[') => self.nested(depth).and_then(|()| self.list(depth + 1)),
            Some(b'"') => Ok(Value::String(self.lua.create_string(self.string()?)?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'+' | b'i' | b'I' | b'n' | b'N') if self.is_odd_number() => self.number(),
            _ => {
                let rest = &self.text[self.at..];
                let words: [(&[u8], Value); 3] = [
                    (b"true", Value::Boolean(true)),
                    (b"false", Value::Boolean(false)),
                    (b"null", self.lua.null()),
                ];
                let Some((word, value)) =
                    words.into_iter().find(|(word, _)| rest.starts_with(word))
                else {
                    return Err(self.expected("value"));
                };
                self.at += word.len();
                Ok(value)
            }
        }
    }

    fn nested(&self, depth: usize) -> Result<(), Fault> {
        if depth < self.options.depth {
            return Ok(());
        }
        let (levels, at) = (depth + 1, self.at + 1);
        Err(format!("Found too many nested data structures ({levels}) at character {at}").into())
    }

    fn object(&mut self, depth: usize) -> Result<Value, Fault> {
        let table = self.lua.create_table()?;
        self.at += 1;
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Table(table));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.expected("object key string"));
            }
            let name = self.string()?;
            self.blanks();
            if self.peek() != Some(b':') {
                return Err(self.expected("colon"));
            }
            self.at += 1;
            self.blanks();
            let value = self.value(depth)?;
            table.raw_set(self.lua.create_string(name)?, value)?;
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.expected("comma or object end")),
            }
            self.blanks();
        }
        self.at += 1;
        Ok(Value::Table(table))
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fault> {
        let table = self.lua.create_table()?;
        if let Some(array) = &self.array {
            table.set_metatable(Some(array.clone()))?;
        }
        self.at += 1;
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Table(table));
        }
        for index in 1.. {
            table.raw_set(index, self.value(depth)?)?;
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.expected("comma or array end")),
            }
            self.blanks();
        }
        self.at += 1;
        Ok(Value::Table(table))
    }

    /// A number of C's that is none of JSON's.
    fn is_odd_number(&self) -> bool {
        let rest = &self.text[self.at..];
        let word = rest.strip_prefix(b"-").unwrap_or(rest);
        let starts = |name: &[u8]| {
            word.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        let is_odd = rest.starts_with(b"+") || starts(b"inf") || starts(b"nan");
        is_odd && !self.options.is_strict
    }

    /// A number, read as C's `strtod` reads it: as far as it goes.
    fn number(&mut self) -> Result<Value, Fault> {
        let rest = &self.text[self.at..];
        let bad = || {
            let at = self.at + 1;
            Fault::from(format!("Expected value but found invalid number at character {at}"))
        };
        let digits = rest.strip_prefix(b"-").unwrap_or(rest);
        let is_padded = matches!(digits, [b'0', b'0'..=b'9' | b'x' | b'X', ..]);
        let is_word = !digits.first().is_some_and(u8::is_ascii_digit);
        if (is_padded || is_word) && self.options.is_strict {
            return Err(bad());
        }
        let (value, length) = number::read(rest).ok_or_else(bad)?;
        self.at += length;
        Ok(match value {
            Number::Whole(number) => Value::Integer(number),
            Number::Real(number) => Value::Number(number),
        })
    }

    /// The bytes of a string, escapes resolved; the reader stands behind its end.
    fn string(&mut self) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        self.at += 1;
        loop {
            let rest = &self.text[self.at.min(self.text.len())..];
            // Kong's library takes control characters as they stand; to it, NUL is the end.
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0));
            let end = plain.unwrap_or(rest.len());
            bytes.extend_from_slice(&rest[..end]);
            self.at += end;
            match rest.get(end) {
                Some(b'"') => break,
                Some(b'\\') => self.escape(&mut bytes)?,
                _ => {
                    let told = "Expected value but found unexpected end of string at character";
                    return Err(format!("{told} {}", self.at + 1).into());
                }
            }
        }
        self.at += 1;
        Ok(bytes)
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let byte = match self.text.get(self.at + 1) {
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(&byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'u') => return self.unicode(bytes),
            _ => return Err(self.bad_escape("escape")),
        };
        bytes.push(byte);
        self.at += 2;
        Ok(())
    }

    fn bad_escape(&self, what: &str) -> Fault {
        let at = self.at + 1;
        format!("Expected value but found invalid {what} code at character {at}").into()
    }

    fn unicode(&mut self, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let unit = |at: usize| -> Option<u32> {
            let digits =
                self.text.get(at..at + 4).filter(|d| d.iter().all(u8::is_ascii_hexdigit))?;
            u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        let Some(high) = unit(self.at + 2) else { return Err(self.bad_escape("unicode escape")) };
        let (mut code, mut length) = (high, 6);
        if (0xd800..0xdc00).contains(&high)
            && self.text.get(self.at + 6..self.at + 8) == Some(b"\\u")
            && let Some(low) = unit(self.at + 8).filter(|low| (0xdc00..0xe000).contains(low))
        {
            code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            length = 12;
        }
        let Some(letter) = char::from_u32(code) else {
            return Err(self.bad_escape("unicode escape"));
        };
        bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += length;
        Ok(())
    }
}
