//! Azure refuses the credential of the gateway: a line that leads the operator to the repair.
//!
//! The client gets Azure's answer as it is. What it says there is about the gateway's credential
//! and not about the client's, so somebody else has to act on it.

use http::StatusCode;

use super::targets::Target;
use crate::azure::{self, SignedIn, Verdict};
use crate::llm::Provider;
use crate::pdk::Exchange;
use crate::pdk::body::Buffered;

/// Writes the line, if the reply is such a refusal.
pub(super) fn explain(ex: &Exchange, target: &Target, status: StatusCode, text: Option<&Buffered>) {
    let is_refusal = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if !is_refusal {
        return;
    }
    let said = text.and_then(|text| azure::words(&text.bytes, &[])).unwrap_or_default();
    let identity = target.identity.as_ref().map(|handle| handle.identity());
    let signed_in = match (&identity, target.plan.key_place()) {
        (Some(identity), _) => SignedIn::As(identity),
        (None, Some((field, _))) => SignedIn::WithKey(field),
        (None, None) => SignedIn::Not,
    };
    let verdict = Verdict::on_refusal(&said, signed_in);
    if let SignedIn::Not = signed_in {
        // The client's own credential may be what was refused; then this is for its owner to mend.
        tracing::warn!(
            request_id = %ex.id,
            fault = "azure",
            upstream = %ex.service.host(),
            status = status.as_u16(),
            "the upstream refuses the request: {verdict}"
        );
        return;
    }
    // Others than Azure quote parts of the key.
    let said = if target.plan.provider() == Provider::Azure { said.as_str() } else { "" };
    tracing::error!(
        request_id = %ex.id,
        fault = "azure",
        upstream = %ex.service.host(),
        status = status.as_u16(),
        said,
        "the upstream refuses the gateway's credential: {verdict}"
    );
}
