//! What the attempts of one exchange came to, for the log record and for the client.

use std::fmt::{self, Write as _};

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use smallvec::SmallVec;

use super::targets::Targets;
use crate::pdk::Loss;

/// Tells a client of more than one attempt.
pub(super) const ATTEMPTS: HeaderName = HeaderName::from_static("x-silverback-attempts");
/// Tells a client which target its request should have gone to.
pub(super) const SPILLED: HeaderName = HeaderName::from_static("x-silverback-spilled");

/// The attempts, in order.
#[derive(Default)]
pub(super) struct Trail(SmallVec<[Attempt; 2]>);

/// One attempt.
struct Attempt {
    /// Position of the target.
    index: usize,
    /// `None` while it is under way, and when the client has left meanwhile.
    ending: Option<(Ending, u64)>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With an answer.
    Answered(StatusCode),
    /// Without one.
    Lost(Loss),
    /// Before it began: there was no token for the target.
    NoToken,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered(status) => status.as_str(),
            Self::Lost(Loss::NoAddress) => "no_address",
            Self::Lost(Loss::Error) => "error",
            Self::Lost(Loss::Timeout) => "timeout",
            Self::Lost(Loss::InvalidHeader) => "invalid_header",
            Self::NoToken => "no_token",
        })
    }
}

impl Trail {
    /// An attempt at a target begins.
    pub(super) fn begin(&mut self, index: usize) {
        self.0.push(Attempt { index, ending: None });
    }

    /// It is over after so many milliseconds.
    pub(super) fn end(&mut self, ending: Ending, ms: u64) {
        if let Some(attempt) = self.0.last_mut() {
            attempt.ending = Some((ending, ms));
        }
    }

    /// The header for the client, if there was more than one attempt. Names of targets are only
    /// told where the name of the model is.
    pub(super) fn header(&self, targets: &Targets, names: bool) -> Option<HeaderValue> {
        if self.0.len() < 2 {
            return None;
        }
        let mut text = String::new();
        for attempt in &self.0 {
            let comma = if text.is_empty() { "" } else { ", " };
            text.push_str(comma);
            if let Some(target) = targets.at(attempt.index).filter(|_| names) {
                let _ = write!(text, "{}=", target.label);
            }
            match attempt.ending {
                Some((ending, _)) => drop(write!(text, "{ending}")),
                None => text.push('-'),
            }
        }
        HeaderValue::from_str(&text).ok()
    }

    /// `ai.proxy.tried_targets` of the log record.
    pub(super) fn describe(&self, targets: &Targets) -> Value {
        let describe = |attempt: &Attempt| {
            let plan = &targets.at(attempt.index)?.plan;
            let mut tried = json!({
                "provider": plan.provider().as_str(),
                "route_type": plan.route_type().as_str(),
                "model": plan.name().map(|name| &**name),
            });
            if let Some(endpoint) = plan.endpoint() {
                tried["host"] = (*endpoint.host).into();
                tried["port"] = endpoint.port.into();
            }
            if let Some((ending, ms)) = attempt.ending {
                match ending {
                    Ending::Answered(status) => tried["status"] = status.as_u16().into(),
                    other => tried["error"] = other.to_string().into(),
                }
                tried["ms"] = ms.into();
            }
            Some(tried)
        };
        Value::Array(self.0.iter().filter_map(describe).collect())
    }
}
