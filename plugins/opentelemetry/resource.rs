//! What collectors are told of who sends: `resource_attributes`, and what stands there without
//! them.
//!
//! As in Kong a value may have templates, `$(headers.host)`, which are filled in for each request.
//! Kong runs them as Lua; here they are looked up, which is what they are for.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;
use serde_json::Value;

use crate::otlp::{Envelope, KeyValue};
use crate::pdk::Exchange;

/// The attributes of all records, and those that depend on the request.
pub(super) struct Resource {
    /// What is the same for all.
    fixed: Vec<(String, String)>,
    /// What depends on the request.
    filled: Vec<(String, Vec<Part>)>,
    /// An envelope with the first.
    envelope: Arc<Envelope>,
}

/// A part of a value.
#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    /// The first that has a value.
    Either(Vec<Place>),
}

/// Where a value is looked for.
#[derive(Debug, PartialEq)]
enum Place {
    Text(String),
    Header(HeaderName),
    Query(String),
    Capture(String),
    Shared(String),
}

impl Resource {
    /// Reads the templates, or says which one is none.
    pub(super) fn new(attributes: BTreeMap<String, String>) -> Result<Self, String> {
        let (mut fixed, mut filled) = (Vec::new(), Vec::new());
        for (name, value) in attributes {
            let parts = parts(&value).ok_or_else(|| {
                format!(
                    "config.resource_attributes: '{name}' has a template that is not filled in: \
                     $(headers.NAME), query_params, uri_captures and shared are, with an `or` and \
                     quoted text at most"
                )
            })?;
            match parts.iter().all(|part| matches!(part, Part::Text(_))) {
                true => fixed.push((name, value)),
                false => filled.push((name, parts)),
            }
        }
        let envelope = Arc::new(Envelope::new(key_values(&fixed)));
        Ok(Self { fixed, filled, envelope })
    }

    /// What stands around records of no request.
    pub(super) fn envelope(&self) -> &Arc<Envelope> {
        &self.envelope
    }

    /// Whether it is another one for each request.
    pub(super) fn is_filled(&self) -> bool {
        !self.filled.is_empty()
    }

    /// One delivery's worth of records of a request, in an envelope of their own.
    pub(super) fn wrap(&self, ex: &Exchange, records: &[Bytes]) -> Bytes {
        let mut attributes = key_values(&self.fixed);
        for (name, parts) in &self.filled {
            let value: String = parts.iter().map(|part| part.value(ex)).collect();
            if !value.is_empty() {
                attributes.push(KeyValue::new(name, value));
            }
        }
        Envelope::new(attributes).wrap(records)
    }
}

fn key_values(attributes: &[(String, String)]) -> Vec<KeyValue> {
    attributes.iter().map(|(name, value)| KeyValue::new(name, value.as_str())).collect()
}

impl Part {
    fn value(&self, ex: &Exchange) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Either(places) => places.iter().find_map(|one| one.value(ex)).unwrap_or_default(),
        }
    }
}

impl Place {
    fn value(&self, ex: &Exchange) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Header(name) => ex.request.with_header(name, |value| value.map(str::to_owned)),
            Self::Query(name) => ex.request.query_arg(name),
            Self::Capture(name) => {
                let captures = &ex.matched()?.captures;
                captures.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone())
            }
            Self::Shared(name) => match ex.shared.value(name)? {
                Value::String(text) => Some(text),
                value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
                _ => None,
            },
        }
    }

    /// `source.key`, `source["key"]` or a quoted text.
    fn read(text: &str) -> Option<Self> {
        if let Some(text) = quoted(text) {
            return Some(Self::Text(text.to_owned()));
        }
        let at = text.find(['.', '['])?;
        let (source, rest) = text.split_at_checked(at)?;
        let key = match rest.strip_prefix('.') {
            Some(key) => key,
            None => quoted(rest.strip_prefix('[')?.strip_suffix(']')?.trim())?,
        };
        let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if key.is_empty() || !key.chars().all(is_key) {
            return None;
        }
        Some(match source {
            // Lua finds headers by either spelling.
            "headers" => Self::Header(key.replace('_', "-").parse().ok()?),
            "query_params" => Self::Query(key.to_owned()),
            "uri_captures" => Self::Capture(key.to_owned()),
            "shared" => Self::Shared(key.to_owned()),
            _ => return None,
        })
    }
}

fn quoted(text: &str) -> Option<&str> {
    ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

/// The parts of a value; `None` if one of its templates cannot be looked up.
fn parts(value: &str) -> Option<Vec<Part>> {
    let (mut parts, mut rest) = (Vec::new(), value);
    while let Some((before, behind)) = rest.split_once("$(") {
        let (template, after) = behind.split_once(')')?;
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        let places = template.split(" or ").map(|place| Place::read(place.trim()));
        parts.push(Part::Either(places.collect::<Option<_>>()?));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_lookups_with_a_way_out() {
        assert_eq!(parts("a b"), Some(vec![Part::Text("a b".to_owned())]));
        let host = Place::Header(HeaderName::from_static("host"));
        let team = Place::Header(HeaderName::from_static("x-team"));
        let read = parts(r#"s-$(headers.host)/$(headers["x-team"] or shared.team or 'none')"#);
        let expected = vec![
            Part::Text("s-".to_owned()),
            Part::Either(vec![host]),
            Part::Text("/".to_owned()),
            Part::Either(vec![
                team,
                Place::Shared("team".to_owned()),
                Place::Text("none".to_owned()),
            ]),
        ];
        assert_eq!(read, Some(expected));
        for bad in ["$(headers)", "$(os.time())", "$(headers.a .. 'b')", "$(body.a)", "$(headers.)"]
        {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }
}
