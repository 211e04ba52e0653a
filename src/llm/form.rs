//! A form of several parts (`multipart/form-data`), of which only small text fields are looked at.
//!
//! Audio, images and videos are uploaded in such forms. As with JSON, nothing is decoded: a field
//! is a byte range, an edit replaces it, and a part that is new goes in front. RFC 7578, RFC 2046.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem::Finder;

/// Parts that are looked at; forms have a few.
const PARTS_MAX: usize = 1000;

/// The longest head of a part, in bytes.
const HEAD_MAX: usize = 8 << 10;

/// The longest value of a text field that is read, in bytes.
const VALUE_MAX: usize = 1 << 10;

/// A form and where its text fields are.
#[derive(Clone)]
pub struct Form {
    bytes: Bytes,
    boundary: Box<[u8]>,
    /// Where the first delimiter is.
    first: usize,
    fields: Vec<(Box<str>, Range<usize>)>,
}

/// The `boundary` of a Content-Type, if it is that of a form.
pub fn boundary(content_type: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(content_type).ok()?;
    let (kind, parameters) = text.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(parameters, "boundary")?;
    (1..=70).contains(&boundary.len()).then_some(boundary)
}

/// A parameter of a header, without its quotes.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
        key.trim().eq_ignore_ascii_case(name).then_some(bare)
    })
}

impl Form {
    /// Reads a form; `None` when the bytes are none.
    pub fn read(bytes: Bytes, boundary: &str) -> Option<Self> {
        let delimiter = ["\r\n--", boundary].concat();
        let opening = &delimiter.as_bytes()[2..];
        let ends = Finder::new(delimiter.as_bytes());
        let first = match bytes.starts_with(opening) {
            true => 0,
            false => ends.find(&bytes)? + 2,
        };
        let mut form = Self { boundary: boundary.as_bytes().into(), first, fields: vec![], bytes };
        let mut at = first + opening.len();
        for _ in 0..PARTS_MAX {
            let rest = form.bytes.get(at..)?;
            if rest.starts_with(b"--") {
                return Some(form);
            }
            let head = at + line_end(rest)?;
            let length = ends.find(&form.bytes[head..])?;
            form.note(head, head + length);
            at = head + length + delimiter.len();
        }
        None
    }

    /// Keeps the place of a text field.
    fn note(&mut self, from: usize, to: usize) {
        let part = &self.bytes[from..to];
        let end = Finder::new(b"\r\n\r\n").find(&part[..part.len().min(HEAD_MAX)]);
        let Some(end) = end else { return };
        let Ok(head) = std::str::from_utf8(&part[..end]) else { return };
        let disposition = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
        });
        let Some((_, parameters)) = disposition.and_then(|value| value.split_once(';')) else {
            return;
        };
        let is_file = parameter(parameters, "filename").is_some();
        if let Some(name) = parameter(parameters, "name").filter(|_| !is_file) {
            self.fields.push((name.into(), from + end + 4..to));
        }
    }

    /// The bytes as they were read.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The text of a field; of several the first. `None` when it is no short text.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, range) = self.fields.iter().find(|(own, _)| &**own == name)?;
        let value = &self.bytes[range.clone()];
        std::str::from_utf8(value).ok().filter(|value| value.len() <= VALUE_MAX)
    }

    /// The form with these fields: one that is there changes wherever it is, one that is new goes
    /// in front. Values are single lines.
    pub fn edited(&self, edits: &[(&str, &str)]) -> Bytes {
        let same = |(name, value): &(&str, &str)| {
            let mut own = self.fields.iter().filter(|(own, _)| &**own == *name).peekable();
            own.peek().is_some()
                && own.all(|(_, range)| &self.bytes[range.clone()] == value.as_bytes())
        };
        if edits.iter().all(same) {
            return self.bytes.clone();
        }
        let room: usize = edits.iter().map(|(name, value)| name.len() + value.len() + 160).sum();
        let mut out = Vec::with_capacity(self.bytes.len() + room);
        out.extend_from_slice(&self.bytes[..self.first]);
        for (name, value) in edits {
            if !self.fields.iter().any(|(own, _)| &**own == *name) {
                self.append(&mut out, name, value);
            }
        }
        let mut done = self.first;
        for (name, range) in &self.fields {
            let Some((_, value)) = edits.iter().find(|(own, _)| *own == &**name) else { continue };
            out.extend_from_slice(&self.bytes[done..range.start]);
            out.extend_from_slice(value.as_bytes());
            done = range.end;
        }
        out.extend_from_slice(&self.bytes[done..]);
        out.into()
    }

    fn append(&self, out: &mut Vec<u8>, name: &str, value: &str) {
        out.extend_from_slice(b"--");
        out.extend_from_slice(&self.boundary);
        out.extend_from_slice(b"\r\nContent-Disposition: form-data; name=\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\"\r\n\r\n");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Bytes up to the end of a line that may hold white space alone.
fn line_end(text: &[u8]) -> Option<usize> {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    text[blanks..].starts_with(b"\r\n").then_some(blanks + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "--b0\r\nContent-Disposition: form-data; name=\"file\"; \
        filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRI\r\n--b0 FF\0name=\"model\"\r\n\
        --b0\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
        --b0\r\nContent-Disposition: form-data; name=language\r\n\r\n\r\n--b0--\r\n";

    fn read(text: &'static str) -> Option<Form> {
        Form::read(Bytes::from_static(text.as_bytes()), "b0")
    }

    #[test]
    fn text_fields_are_found_and_files_are_not() {
        // The file holds what looks like a delimiter, but for the blank behind it.
        let text = FORM.replace("\r\n--b0 FF", "\r\n--b1 FF");
        let form = Form::read(text.into(), "b0").unwrap();
        assert_eq!(form.get("model"), Some("whisper-1"));
        assert_eq!(form.get("language"), Some(""));
        assert_eq!((form.get("file"), form.get("prompt")), (None, None));
    }

    #[test]
    fn what_is_no_form_is_none() {
        for text in [
            "",
            "--b0",
            "--b0\r\n",
            "--b0x\r\n\r\n--b0--",
            "--b0\r\n\r\nx",
            "--other\r\n\r\nx\r\n--other--",
            "{\"model\":\"x\"}",
            FORM,
        ] {
            assert!(read(text).is_none(), "{text}");
        }
        assert!(read("--b0--").is_some_and(|form| form.get("model").is_none()));
        let headless = read("preamble\r\n--b0\r\n\r\nx\r\n--b0--").unwrap();
        assert_eq!(headless.get("model"), None);
    }

    #[test]
    fn boundaries_of_content_types() {
        let of = |text: &'static str| boundary(text.as_bytes());
        assert_eq!(of("multipart/form-data; boundary=b0"), Some("b0"));
        assert_eq!(of("Multipart/Form-Data;charset=utf-8; Boundary=\"b 0\""), Some("b 0"));
        for none in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/mixed; boundary=x",
            "application/json; boundary=x",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn an_edit_changes_its_field_and_no_other_byte() {
        let text = FORM.replace("\r\n--b0 FF", "\r\n--b1 FF");
        let form = Form::read(text.clone().into(), "b0").unwrap();
        let other = form.edited(&[("model", "my-dep")]);
        assert_eq!(other, text.replace("whisper-1", "my-dep"));
        assert_eq!(form.edited(&[("model", "whisper-1")]).as_ptr(), form.bytes().as_ptr());
        let added = form.edited(&[("user", "u"), ("model", "m")]);
        let part = "--b0\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\nu\r\n";
        assert_eq!(added, [part, &text.replace("whisper-1", "m")].concat());
        let twice = "--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n\
            --b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nb\r\n--b0--\r\n";
        let both = read(twice).unwrap().edited(&[("model", "m")]);
        let expected = twice.replace("\r\na\r", "\r\nm\r").replace("\r\nb\r", "\r\nm\r");
        assert_eq!(both, expected);
    }
}
