//! Refuses requests whose body is too large, before the upstream sees any of it.
//!
//! A body that says its length is not read. One that does not (chunked, or HTTP/2) is read whole,
//! as Kong reads it, and counts against the budget for bodies.

use http::StatusCode;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use serde::Deserialize;

use super::Context;
use crate::pdk::{Exchange, ReadError};
use crate::plugin::{Outcome, Phases, Plugin, Step, Stop};
use crate::respond::{self, Failure};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    allowed_payload_size: Option<i64>,
    size_unit: Unit,
    require_content_length: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Bytes,
    Kilobytes,
    Megabytes,
}

struct RequestSizeLimiting {
    /// Bytes. A negative limit refuses everything, an empty body too.
    allowed: i64,
    require_length: bool,
    /// The largest body that the gateway reads whole, bytes.
    body_limit: usize,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let limit = context.shared.settings.body_limit();
    Ok(Box::new(RequestSizeLimiting::new(&context.config()?, limit)?))
}

impl Plugin for RequestSizeLimiting {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        let length = ex.request.with_header(CONTENT_LENGTH, |length| length?.trim().parse().ok());
        if let Some(length) = length {
            return Step::Done(self.judge(ex, length));
        }
        let chunked = || ex.request.with_header(TRANSFER_ENCODING, |te| te == Some("chunked"));
        if self.require_length && !chunked() {
            let message = "A valid Content-Length header is required";
            return Step::Done(respond::error(ex, StatusCode::LENGTH_REQUIRED, message));
        }
        match ex.request.body_len() {
            Some(length) => Step::Done(self.judge(ex, length)),
            None => Step::wait(self.measure(ex)),
        }
    }
}

impl RequestSizeLimiting {
    fn new(config: &Config, body_limit: usize) -> Result<Self, Vec<String>> {
        let Some(size) = config.allowed_payload_size else {
            return Err(vec!["config.allowed_payload_size: required field missing".to_owned()]);
        };
        let unit = match config.size_unit {
            Unit::Bytes => 1,
            Unit::Kilobytes => 1 << 10,
            Unit::Megabytes => 1 << 20,
        };
        let allowed = size.saturating_mul(unit);
        Ok(Self { allowed, require_length: config.require_content_length, body_limit })
    }

    fn judge(&self, ex: &Exchange, length: u64) -> Outcome {
        if i64::try_from(length).unwrap_or(i64::MAX) <= self.allowed {
            return Ok(());
        }
        let waits = ex.request.with_header(EXPECT, |expect| {
            expect.is_some_and(|expect| expect.trim().eq_ignore_ascii_case("100-continue"))
        });
        let status =
            if waits { StatusCode::EXPECTATION_FAILED } else { StatusCode::PAYLOAD_TOO_LARGE };
        respond::error(ex, status, "Request size limit exceeded")
    }

    /// Reads a body of unknown length, as far as it may be long.
    async fn measure(&self, ex: &Exchange) -> Outcome {
        let allowed = usize::try_from(self.allowed).unwrap_or(0);
        match ex.request.body(allowed.min(self.body_limit)).await {
            Ok(body) => self.judge(ex, body.len() as u64),
            Err(ReadError::TooLarge { limit }) if limit == allowed => self.judge(ex, u64::MAX),
            Err(error) => {
                respond::fail(ex, Failure::from(&error));
                Err(Stop::Exit)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plugin(changes: Value) -> RequestSizeLimiting {
        let mut config = json!({
            "allowed_payload_size": 1, "size_unit": "kilobytes", "require_content_length": false,
        });
        for (name, value) in changes.as_object().unwrap() {
            config[name] = value.clone();
        }
        RequestSizeLimiting::new(&serde_json::from_value(config).unwrap(), 1 << 20).unwrap()
    }

    async fn status(plugin: &RequestSizeLimiting, headers: &[(&str, &str)], body: &str) -> u16 {
        let ex = Exchange::for_test_with_text("POST", "/", headers, body);
        match plugin.access(&ex).outcome().await {
            Ok(()) => 200,
            Err(_) => ex.response.status().as_u16(),
        }
    }

    #[tokio::test]
    async fn a_kilobyte_has_1024_bytes_and_a_megabyte_1024_of_them() {
        for (unit, length, expected) in [
            ("bytes", "1", 200),
            ("bytes", "2", 413),
            ("kilobytes", "1024", 200),
            ("kilobytes", "1025", 413),
            ("megabytes", "1048576", 200),
            ("megabytes", "1048577", 413),
        ] {
            let plugin = plugin(json!({"size_unit": unit}));
            assert_eq!(status(&plugin, &[("content-length", length)], "").await, expected);
        }
        let huge = plugin(json!({"allowed_payload_size": i64::MAX}));
        assert_eq!(status(&huge, &[("content-length", "9")], "").await, 200);
        let none = plugin(json!({"allowed_payload_size": -1}));
        assert_eq!(status(&none, &[], "").await, 413);
    }

    #[tokio::test]
    async fn a_client_that_waits_for_leave_gets_417() {
        let plugin = plugin(json!({}));
        let headers = [("content-length", "1025"), ("expect", " 100-Continue ")];
        assert_eq!(status(&plugin, &headers, "").await, 417);
    }

    #[tokio::test]
    async fn a_length_can_be_required_unless_the_body_comes_in_chunks() {
        let strict = plugin(json!({"require_content_length": true}));
        assert_eq!(status(&strict, &[], "").await, 411);
        assert_eq!(status(&strict, &[("transfer-encoding", "chunked")], "x").await, 200);
        let long = "x".repeat(1025);
        assert_eq!(status(&strict, &[("transfer-encoding", "chunked")], &long).await, 413);
        assert_eq!(status(&plugin(json!({})), &[], &long).await, 413);
    }
}
