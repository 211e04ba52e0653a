//! Targets that speak Anthropic's API themselves, as Claude does on Azure's Foundry.
//!
//! What clients send passes but for its model, and what comes back passes as it is. Only the
//! version of the API has to be named where a client names none.

use http::{HeaderName, HeaderValue};

use crate::llm::config::Options;
use crate::llm::plan::{Invalid, Plan};
use crate::llm::{RouteType, Wire};

/// The header that names the version of the API; without it a request is refused.
pub const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// The only version there is (2026).
const FIRST_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The version for clients that name none.
pub(in crate::llm) fn version(options: &Options) -> Result<HeaderValue, Invalid> {
    let Some(version) = options.anthropic_version.as_deref() else { return Ok(FIRST_VERSION) };
    let invalid = Invalid::Header("model.options.anthropic_version");
    HeaderValue::from_str(version).map_err(|_| invalid)
}

impl Plan {
    /// Whose API the target speaks.
    pub fn wire(&self) -> Wire {
        self.operation.wire
    }

    /// The version of Anthropic's API for clients that name none, where it is spoken.
    pub fn anthropic_version(&self) -> Option<&HeaderValue> {
        (self.wire() == Wire::Messages).then_some(&self.anthropic_version)
    }

    /// Whether the text of a stream is the gateway's to measure, where it says no tokens.
    pub fn is_text(&self) -> bool {
        self.converts()
            || self.route_type() == RouteType::Responses
            || self.wire() == Wire::Messages
    }
}
