//! Rules: which requests fail, and how; one shape for Rust, `POST /sim/faults` and named faults.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::call::{Call, Kind};
use super::expiry::Expiry;
use super::wire::{Data, Reply, Script};
use super::{errors, named};

/// Which requests it is for, and what happens to their replies.
///
/// The fields up to `times` choose requests; all that are given must match. `status` from 400 up,
/// `body`, `chunks` and `drop` give a reply of their own, before any check of credentials. The
/// rest changes the usual reply. The same names and meanings hold for `POST /sim/faults`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Requests of this kind.
    pub kind: Option<Kind>,
    /// Requests with this path; a `*` at the end stands for any rest.
    pub path: Option<String>,
    /// Requests for this deployment.
    pub deployment: Option<String>,
    /// So many matching requests pass first.
    pub skip: u32,
    /// After so many requests the rule has no effect; none = it stays.
    pub times: Option<u32>,

    /// A named fault, such as `fault-429`; with it, only the fields above may be given.
    pub fault: Option<String>,
    /// The status; from 400 up with Azure's body for it, unless `body` is given.
    pub status: Option<u16>,
    /// Headers set on the reply; a name given twice is sent twice.
    #[serde(with = "header_map")]
    pub headers: Vec<(String, String)>,
    /// The whole body: a string as it is, any other JSON as JSON.
    pub body: Option<Value>,
    /// The exact writes of a streamed body (in JSON: base64 strings).
    #[serde(rename = "chunks_b64", with = "base64_chunks")]
    pub chunks: Option<Vec<Bytes>>,
    /// The pause between chunks or events.
    pub chunk_delay_ms: Option<u64>,
    /// The body ends without the terminator of its framing.
    pub cut: bool,
    /// As `cut`, after so many bytes of the body.
    pub cut_after_bytes: Option<usize>,
    /// As `cut`, after so many events; a body that is no stream is cut at its middle.
    pub cut_after_events: Option<usize>,
    /// The connection is closed without a reply.
    pub drop: bool,
    /// The wait before the reply begins.
    pub delay_ms: u64,
    /// What the assistant says instead of the echo.
    pub content: Option<String>,
    /// Members laid over the `usage` of chats, completions and responses, records within it too.
    pub usage: Option<Value>,
    /// A peculiarity of the reply.
    pub quirk: Option<Quirk>,
    /// The life of the token that is issued.
    pub token_lifetime_secs: Option<u64>,
    /// How the reply says when the token ends.
    pub expiry: Option<Expiry>,
}

/// A peculiarity that Azure, a front door or a bad day adds to a reply of the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quirk {
    /// JSON that ends too early; in a stream, one such event.
    Malformed,
    /// Status 200 and nothing else.
    Empty,
    /// A whole JSON reply although a stream was asked for.
    JsonInsteadOfStream,
    /// A stream although none was asked for.
    StreamInsteadOfJson,
    /// The output was filtered: `finish_reason` is `content_filter`.
    FilteredOutput,
    /// A stream with asynchronous filter events, which have no `delta`, one of them after `stop`.
    AsyncFilter,
    /// A stream that breaks off with an error event and no `[DONE]`.
    ErrorEvent,
    /// A stream that ends properly but without `[DONE]`.
    NoDone,
    /// A stream with CRLF line ends.
    Crlf,
    /// A body written byte by byte.
    OneByte,
    /// A body compressed with gzip if the request accepts that; streams are flushed each event.
    Gzip,
}

/// Why a rule is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// `fault` is not in the table.
    #[error("fault \"{0}\" is unknown: GET /sim lists the named faults")]
    UnknownFault(String),
    /// Other effects beside `fault`.
    #[error("fault stands alone: beside it only kind, path, deployment, skip and times may be set")]
    Mixed,
    /// Not a final status.
    #[error("status {0} is not between 200 and 599")]
    Status(u16),
    /// A header that HTTP forbids.
    #[error("headers has an invalid name or value at \"{0}\"")]
    Header(String),
    /// A pause without a sensible end.
    #[error("delay_ms and chunk_delay_ms may be 600000 (ten minutes) at most")]
    Delay,
    /// No more room.
    #[error("there are {0} rules already: remove them with DELETE /sim/faults")]
    TooMany(usize),
}

/// The longest pause a rule may ask for.
pub(super) const DELAY_MAX_MS: u64 = 600_000;

impl Rule {
    /// The rule with its named fault filled in, or the reason why it cannot work.
    pub(super) fn resolved(self) -> Result<Self, RuleError> {
        let rule = match self.fault.clone() {
            None => self,
            Some(name) => {
                let choice = self.choice();
                if choice != (Self { fault: None, ..self }) {
                    return Err(RuleError::Mixed);
                }
                let fault = named::rule(&name).ok_or(RuleError::UnknownFault(name))?;
                let Self { kind, path, deployment, skip, times, .. } = choice;
                let times = times.or(fault.times);
                Self { kind, path, deployment, skip, times, ..fault }
            }
        };
        rule.check()?;
        Ok(rule)
    }

    pub(super) fn matches(&self, call: &Call) -> bool {
        let path = |wanted: &String| match wanted.strip_suffix('*') {
            Some(start) => call.path().starts_with(start),
            None => call.path() == wanted,
        };
        self.kind.is_none_or(|kind| kind.covers(call.kind))
            && self.path.as_ref().is_none_or(path)
            && (self.deployment.is_none() || self.deployment == call.deployment)
    }

    /// The reply that the rule gives by itself, if it gives one.
    pub(super) fn scripted(&self, call: &Call) -> Option<Reply> {
        if self.drop {
            return Some(Reply::close());
        }
        let status = StatusCode::from_u16(self.status.unwrap_or(200)).unwrap_or_default();
        if let Some(chunks) = &self.chunks {
            let chunks: Arc<[Bytes]> = chunks.iter().filter(|c| !c.is_empty()).cloned().collect();
            let script = Script::new(chunks, Duration::ZERO).flush_each();
            let mut reply = Reply::script("text/event-stream; charset=utf-8", script);
            reply.status = status;
            return Some(reply);
        }
        match &self.body {
            Some(Value::String(text)) => Some(Reply::text(status, text.clone())),
            Some(json) => Some(Reply::json(status, json)),
            None if status.as_u16() >= 400 => {
                let wait = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case("retry-after"));
                Some(errors::standard(status, call, wait.map_or("1", |(_, secs)| secs)))
            }
            None => None,
        }
    }

    /// The changes to a reply, be it the usual one or the rule's own.
    pub(super) fn adjust(&self, reply: &mut Reply) {
        if let Some(status) = self.status.and_then(|code| StatusCode::from_u16(code).ok()) {
            reply.status = status;
        }
        self.set_headers(reply);
        reply.delay = Duration::from_millis(self.delay_ms);
        if let (Some(ms), Data::Script(script)) = (self.chunk_delay_ms, &mut reply.body) {
            script.gap = Duration::from_millis(ms);
        }
        if let Some(limit) = self.cut_after_bytes {
            reply.cut_after_bytes(limit);
        } else if let Some(limit) = self.cut_after_events {
            reply.cut_after_events(limit);
        } else if self.cut {
            reply.cut_after_bytes(usize::MAX);
        }
    }

    fn set_headers(&self, reply: &mut Reply) {
        for (name, _) in &self.headers {
            reply.headers.remove(name.as_str());
        }
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
            {
                reply.headers.append(name, value);
            }
        }
    }

    /// Only what chooses the requests.
    fn choice(&self) -> Self {
        Self {
            kind: self.kind,
            path: self.path.clone(),
            deployment: self.deployment.clone(),
            skip: self.skip,
            times: self.times,
            ..Self::default()
        }
    }

    fn check(&self) -> Result<(), RuleError> {
        if let Some(status) = self.status.filter(|status| !(200..=599).contains(status)) {
            return Err(RuleError::Status(status));
        }
        for (name, value) in &self.headers {
            if HeaderName::try_from(name.as_str()).is_err()
                || HeaderValue::try_from(value.as_str()).is_err()
            {
                return Err(RuleError::Header(name.clone()));
            }
        }
        match self.delay_ms.max(self.chunk_delay_ms.unwrap_or(0)) {
            ..=DELAY_MAX_MS => Ok(()),
            _ => Err(RuleError::Delay),
        }
    }
}

/// Headers as a JSON object; a list of values sends the name that often.
mod header_map {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        headers: &[(String, String)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = Map::new();
        for (name, value) in headers {
            let values = map.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(values) = values {
                values.push(value.as_str().into());
            }
        }
        map.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(String, String)>, D::Error> {
        let mut headers = Vec::new();
        for (name, value) in Map::deserialize(from)? {
            let values = match value {
                Value::Array(values) => values,
                one => vec![one],
            };
            for value in values {
                let value = match value {
                    Value::String(text) => text,
                    Value::Number(number) => number.to_string(),
                    _ => return Err(D::Error::custom(format!("headers.{name} is not text"))),
                };
                headers.push((name.clone(), value));
            }
        }
        Ok(headers)
    }
}

/// Chunks as a JSON list of base64 strings.
mod base64_chunks {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        chunks: &Option<Vec<Bytes>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let encoded = chunks.as_ref().map(|chunks| chunks.iter().map(|c| STANDARD.encode(c)));
        encoded.map(Vec::from_iter).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Vec<Bytes>>, D::Error> {
        let Some(encoded) = Option::<Vec<String>>::deserialize(from)? else { return Ok(None) };
        let decode = |text: String| STANDARD.decode(text).map(Bytes::from);
        let chunks: Result<_, _> = encoded.into_iter().map(decode).collect();
        chunks.map(Some).map_err(|e| D::Error::custom(format!("chunks_b64 is not base64: {e}")))
    }
}
