//! JSON text to a tree with positions.
//!
//! Kong reads a `.json` file as JSON and nothing else, and posted text as JSON before YAML.
//! `serde_json` judges the syntax and reads strings and numbers; only the structure and the
//! positions, which it does not tell, are read here.

use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde_json::{Number, Value};

use super::env::Origin;
use super::node::{Data, Entry, Fault, MAX_DEPTH, Node, Pos};
use super::yaml::{given_twice, too_deep};
use crate::llm::cjson;

/// Reads a JSON document; the error has the position that the JSON reader tells.
pub(super) fn parse(text: &str, origin: &Origin) -> Result<Node, Vec<Fault>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    syntax(text, origin).map_err(|fault| vec![fault])?;
    let mut reader =
        Reader { text, origin, at: 0, line: 1, column: 1, depth: 0, faults: Vec::new() };
    match reader.value() {
        Ok(node) if reader.faults.is_empty() => Ok(node),
        Ok(_) => Err(reader.faults),
        Err(fault) => {
            reader.faults.push(fault);
            Err(reader.faults)
        }
    }
}

/// Whether the text is JSON.
pub(super) fn syntax(text: &str, origin: &Origin) -> Result<(), Fault> {
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| {
        let pos = origin.pos(error.line().max(1), error.column().max(1));
        let told = error.to_string();
        let message = told.split(" at line ").next().unwrap_or_default();
        Fault { kong: cjson::said(text), ..Fault::new(pos, message) }
    })
}

/// Walks a text that is known to be JSON.
struct Reader<'a> {
    text: &'a str,
    origin: &'a Origin,
    /// Bytes already read, and the position there.
    at: usize,
    line: usize,
    column: usize,
    depth: usize,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Node, Fault> {
        let next = self.skip_space();
        let pos = self.pos();
        let data = match next {
            Some(b'{') => Data::Map(self.nested(Self::map)?),
            Some(b'[') => Data::List(self.nested(Self::list)?),
            Some(b'"') => Data::Scalar(Value::String(self.string()?)),
            _ => Data::Scalar(self.word()?),
        };
        Ok(Node { pos, data })
    }

    fn nested<T>(&mut self, read: fn(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth == MAX_DEPTH {
            return Err(too_deep(self.pos()));
        }
        self.depth += 1;
        self.advance(1);
        let content = read(self);
        self.depth -= 1;
        content
    }

    fn map(&mut self) -> Result<Vec<Entry>, Fault> {
        let (mut entries, mut seen) = (Vec::new(), HashMap::new());
        while let Some(b'"' | b',') = self.skip_space() {
            if self.take(b',') {
                continue;
            }
            let pos = self.pos();
            let key = self.string()?;
            if let Some(earlier) = seen.insert(key.clone(), pos) {
                self.faults.push(given_twice(&key, earlier, pos));
            }
            self.skip_space();
            self.take(b':');
            let value = self.value()?;
            entries.push(Entry { key, pos, value });
        }
        self.take(b'}');
        Ok(entries)
    }

    fn list(&mut self) -> Result<Vec<Node>, Fault> {
        let mut items = Vec::new();
        while let Some(next) = self.skip_space() {
            match next {
                b']' => break,
                b',' => self.advance(1),
                _ => items.push(self.value()?),
            }
        }
        self.take(b']');
        Ok(items)
    }

    fn string(&mut self) -> Result<String, Fault> {
        let pos = self.pos();
        let bytes = self.rest().as_bytes();
        let mut end = 1;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let raw = self.rest().get(..=end).unwrap_or_default();
        let text = serde_json::from_str(raw)
            .map_err(|_| Fault::new(pos, "this string is not valid JSON"))?;
        self.advance(end + 1);
        Ok(text)
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Result<Value, Fault> {
        let rest = self.rest();
        let is_end = |c: char| matches!(c, ',' | ']' | '}') || c.is_ascii_whitespace();
        let word = &rest[..rest.find(is_end).unwrap_or(rest.len())];
        let value = match word {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => Value::Number(
                serde_json::from_str::<Number>(word)
                    .map_err(|_| Fault::new(self.pos(), "this number is out of range"))?,
            ),
        };
        self.advance(word.len());
        Ok(value)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn pos(&self) -> Pos {
        self.origin.pos(self.line, self.column)
    }

    /// Skips white space and tells the byte after it.
    fn skip_space(&mut self) -> Option<u8> {
        let rest = self.rest();
        self.advance(rest.len() - rest.trim_ascii_start().len());
        self.rest().bytes().next()
    }

    /// Skips one byte if it is the expected one.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.rest().as_bytes().first() == Some(&byte);
        if found {
            self.advance(1);
        }
        found
    }

    fn advance(&mut self, bytes: usize) {
        for c in self.rest().get(..bytes).unwrap_or_default().chars() {
            if c == '\n' {
                (self.line, self.column) = (self.line + 1, 1);
            } else {
                self.column += 1;
            }
        }
        self.at += bytes;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn origin() -> Origin {
        Origin::of_file(0)
    }

    fn faults(text: &str) -> Vec<(usize, usize, String)> {
        let faults = parse(text, &origin()).unwrap_err();
        faults.into_iter().map(|f| (f.pos.line, f.pos.column, f.message)).collect()
    }

    #[test]
    fn values_know_their_place() {
        let node = parse("{\"a\": [1.0,\n  {\"é\": \"\\ud83d\\ude00\"}]}", &origin()).unwrap();
        assert_eq!(node.to_value(), json!({"a": [1.0, {"é": "😀"}]}));
        let inner = &node.field("a").unwrap().items()[1];
        assert_eq!((inner.pos.line, inner.pos.column), (2, 3));
        let value = &inner.field("é").unwrap().pos;
        assert_eq!((value.line, value.column), (2, 9));
    }

    #[test]
    fn errors_know_their_place() {
        assert_eq!(faults("{\"a\": 1,\n \"b\" 2}"), [(2, 6, "expected `:`".to_owned())]);
        assert_eq!(faults("{} x"), [(1, 4, "trailing characters".to_owned())]);
        assert_eq!(faults(""), [(1, 1, "EOF while parsing a value".to_owned())]);
        let twice = "'a' is given twice (first in line 1)";
        assert_eq!(faults("{\"a\": 1,\n \"a\": 2}"), [(2, 2, twice.to_owned())]);
        assert_eq!(faults("[1e999]"), [(1, 2, "this number is out of range".to_owned())]);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        assert!(faults(&deep)[0].2.contains("nested deeper"));
    }
}
