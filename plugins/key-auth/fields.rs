//! Named values in a query and in the three kinds of body that Kong reads: JSON, form, multipart.
//!
//! A value is taken out of a body by cutting its bytes; everything around it stays as the client
//! wrote it. (Kong decodes and encodes the whole body again.)

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;
use percent_encoding::percent_decode;

use crate::llm::json;
use crate::llm::splice::{Edit, Key, Object};

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held<T> {
    Nothing,
    One(T),
    /// Several values, which Kong takes for several keys.
    Several,
    /// Something that is no text, such as an argument without `=`.
    Other,
}

impl<T> Held<T> {
    /// One value, several or none.
    pub(super) fn from_all(mut values: impl Iterator<Item = T>) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::Nothing,
            (Some(one), None) => Self::One(one),
            (Some(_), Some(_)) => Self::Several,
        }
    }

    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> Held<U> {
        match self {
            Self::Nothing => Held::Nothing,
            Self::One(one) => Held::One(f(one)),
            Self::Several => Held::Several,
            Self::Other => Held::Other,
        }
    }
}

/// A body with named values.
pub(super) enum Fields {
    Json(Box<Object<Bytes>>),
    Form(String),
    Multipart { body: Bytes, boundary: String },
}

impl Fields {
    /// Reads a body by its content type; `None` when it is of another kind or broken.
    pub(super) fn read(content_type: &str, body: Bytes) -> Option<Self> {
        let kind = content_type.to_ascii_lowercase();
        if kind.starts_with("application/json") {
            return Object::read(body).ok().map(|object| Self::Json(Box::new(object)));
        }
        if kind.starts_with("application/x-www-form-urlencoded") {
            return String::from_utf8(body.into()).ok().map(Self::Form);
        }
        let boundary = kind.starts_with("multipart/form-data").then(|| boundary(content_type));
        boundary.flatten().map(|boundary| Self::Multipart { body, boundary })
    }

    /// What stands under `name`.
    pub(super) fn find(&self, name: &Key) -> Held<Cow<'_, str>> {
        match self {
            Self::Json(object) => match object.get(name.name()) {
                None => Held::Nothing,
                Some([b'[' | b'{', ..]) => Held::Several,
                Some(value) => json::text(value).map_or(Held::Other, Held::One),
            },
            Self::Form(form) => in_query(form, name),
            Self::Multipart { body, boundary } => {
                let parts = parts(body, boundary).filter(|part| part.is_named(name.name()));
                Held::from_all(parts.map(|part| String::from_utf8_lossy(part.value)))
            }
        }
    }

    /// The body without `name`; `None` when it has no such value.
    pub(super) fn without(&self, name: &Key) -> Option<Bytes> {
        match self {
            Self::Json(object) => {
                object.get(name.name())?;
                Some(object.edited(&[Edit::drop(name)]))
            }
            Self::Form(form) => cut(form, name).map(Bytes::from),
            Self::Multipart { body, boundary } => {
                let mut left = Vec::with_capacity(body.len());
                let mut done = 0;
                for part in parts(body, boundary).filter(|part| part.is_named(name.name())) {
                    left.extend_from_slice(&body[done..part.range.start]);
                    done = part.range.end;
                }
                left.extend_from_slice(&body[done..]);
                (done > 0).then(|| left.into())
            }
        }
    }
}

/// What stands under `name` in a query or form.
pub(super) fn in_query<'a>(query: &'a str, name: &Key) -> Held<Cow<'a, str>> {
    let arguments = query.split('&').map(argument).filter(|(key, _)| *key == name.name());
    match Held::from_all(arguments.map(|(_, value)| value)) {
        Held::One(Some(value)) => Held::One(value),
        Held::One(None) => Held::Other,
        Held::Several => Held::Several,
        Held::Nothing | Held::Other => Held::Nothing,
    }
}

/// A form without `name`; `None` when it is not there.
fn cut(query: &str, name: &Key) -> Option<String> {
    let is_named = |part: &&str| argument(part).0 == name.name();
    query.split('&').any(|part| is_named(&part)).then(|| {
        let left: Vec<&str> = query.split('&').filter(|part| !is_named(part)).collect();
        left.join("&")
    })
}

/// Name and value of `a=b`, decoded; an argument without `=` has no value.
fn argument(part: &str) -> (Cow<'_, str>, Option<Cow<'_, str>>) {
    match part.split_once('=') {
        Some((name, value)) => (decode(name), Some(decode(value))),
        None => (decode(part), None),
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let blank = text.replace('+', " ");
        return percent_decode(blank.as_bytes()).decode_utf8_lossy().into_owned().into();
    }
    percent_decode(text.as_bytes()).decode_utf8_lossy()
}

/// The boundary of a multipart content type (RFC 2046, section 5.1.1).
fn boundary(content_type: &str) -> Option<String> {
    let mut parameters = content_type.split(';').skip(1).map(str::trim);
    let boundary = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"'))
    })?;
    (!boundary.is_empty()).then(|| boundary.to_owned())
}

/// One part of a multipart body.
struct Part<'a> {
    /// From its delimiter to the next one.
    range: Range<usize>,
    head: &'a [u8],
    value: &'a [u8],
}

impl Part<'_> {
    fn is_named(&self, name: &str) -> bool {
        let head = String::from_utf8_lossy(self.head);
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(header, _)| header.trim().eq_ignore_ascii_case("content-disposition"))
            .flat_map(|(_, value)| value.split(';'))
            .filter_map(|parameter| parameter.trim().strip_prefix("name="))
            .any(|quoted| quoted.trim_matches('"') == name)
    }
}

/// The parts of a multipart body that are complete.
fn parts<'a>(body: &'a [u8], boundary: &str) -> impl Iterator<Item = Part<'a>> {
    let delimiter = format!("--{boundary}");
    let starts: Vec<usize> = memmem::find_iter(body, &delimiter)
        .filter(|&at| at == 0 || body[..at].ends_with(b"\r\n"))
        .collect();
    let ranges: Vec<Range<usize>> = starts.windows(2).map(|pair| pair[0]..pair[1]).collect();
    ranges.into_iter().filter_map(move |range| {
        let content = body[range.clone()].get(delimiter.len()..)?.strip_suffix(b"\r\n")?;
        let blank = memmem::find(content, b"\r\n\r\n")?;
        Some(Part { range, head: &content[..blank], value: &content[blank + 4..] })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, body: &str) -> Fields {
        Fields::read(kind, Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    #[test]
    fn an_argument_is_found_decoded_and_cut_as_it_stands() {
        let name = Key::new("api key");
        let query = "a=%41&api%20key=x%2by&&b";
        assert_eq!(in_query(query, &name), Held::One("x+y".into()));
        assert_eq!(cut(query, &name).as_deref(), Some("a=%41&&b"));
        assert_eq!(in_query("api+key", &name), Held::Other);
        assert_eq!(in_query("api+key=1&api+key", &name), Held::Several);
        assert_eq!(cut("a=1", &name), None);
    }

    #[test]
    fn json_keeps_its_other_bytes() {
        let name = Key::new("k");
        let fields = read("Application/JSON; charset=utf-8", r#"{ "n": 1.0, "k": "x\u0041" }"#);
        assert_eq!(fields.find(&name), Held::One("xA".into()));
        assert_eq!(fields.without(&name).unwrap(), r#"{ "n": 1.0 }"#);
        assert_eq!(read("application/json", r#"{"k":["a"]}"#).find(&name), Held::Several);
        assert_eq!(read("application/json", r#"{"k":null}"#).find(&name), Held::Other);
        assert!(Fields::read("application/json", "[1".into()).is_none());
        assert!(Fields::read("text/plain", "k=1".into()).is_none());
    }

    #[test]
    fn a_part_goes_with_its_delimiter() {
        let name = Key::new("k");
        let body = "--B\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\nsecret\r\n\
                    --B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"k\"\r\n\
                    \r\n--Bx\r\n\
                    --B--\r\n";
        let fields = read("multipart/form-data; boundary=\"B\"", body);
        assert_eq!(fields.find(&name), Held::One("secret".into()));
        let left = fields.without(&name).unwrap();
        assert_eq!(
            left,
            body[body.find("--B\r\nContent-Disposition: form-data; name=\"f\"").unwrap()..]
        );
        assert_eq!(read("multipart/form-data; boundary=B", "--B\r\nk").find(&name), Held::Nothing);
    }
}
