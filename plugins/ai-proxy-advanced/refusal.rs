//! What is refused for the gateway's sake, its credential above all: a line that leads the operator
//! to the repair.
//!
//! The client gets Azure's answer as it is. What it says there is about the gateway's credential
//! and not about the client's, so somebody else has to act on it.

use http::StatusCode;

use super::client::CREDENTIALS;
use super::session::Session;
use super::targets::Target;
use crate::azure::{self, SignedIn, TokenHandle, Verdict};
use crate::entity::Secret;
use crate::llm::Provider;
use crate::pdk::Exchange;
use crate::pdk::body::Buffered;

/// Writes the line on an upstream that refuses what the gateway has asked for in its client's
/// place, and takes the request without.
pub(super) fn tell_of_usage(ex: &Exchange) {
    tracing::warn!(
        request_id = %ex.id,
        fault = "upstream",
        upstream = %ex.service.host(),
        "the upstream refuses stream_options, with which the gateway asks a stream for its tokens; \
         for an hour it is not asked, and tokens are estimated: set model.options.include_usage to \
         never"
    );
}

/// Writes the line, if the reply is such a refusal.
pub(super) fn explain(
    session: &Session,
    ex: &Exchange,
    target: &Target,
    status: StatusCode,
    text: Option<&Buffered>,
) {
    let is_refusal = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if !is_refusal {
        return;
    }
    if target.identity.is_some() && !session.has_sent_token() {
        tracing::warn!(
            request_id = %ex.id,
            fault = "azure",
            upstream = %ex.service.host(),
            status = status.as_u16(),
            "the upstream refuses the client's own Authorization, which auth.allow_override lets \
             through"
        );
        return;
    }
    let secrets = carried(ex, target);
    let secrets: Vec<_> = secrets.iter().map(Secret::expose).collect();
    let said = text.and_then(|text| azure::words(&text.bytes, &secrets)).unwrap_or_default();
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
    let renewal = target.identity.as_ref().and_then(|handle| handle.status().last_failure);
    let renewal = renewal.map_or_else(String::new, |failure| {
        format!("; a newer token is not to be had: {}", failure.cause)
    });
    // Others than Azure quote parts of the key.
    let said = if target.plan.provider() == Provider::Azure { said.as_str() } else { "" };
    tracing::error!(
        request_id = %ex.id,
        fault = "azure",
        upstream = %ex.service.host(),
        status = status.as_u16(),
        said,
        "the upstream refuses the gateway's credential: {verdict}{renewal}"
    );
}

/// Every credential that went upstream: what is in between, or plays Azure, might say it back.
fn carried(ex: &Exchange, target: &Target) -> Vec<Secret> {
    let headers = ex.request.headers();
    let credentials =
        headers.iter().filter(|(name, value)| value.is_sensitive() || CREDENTIALS.contains(name));
    let texts = credentials.filter_map(|(_, value)| value.to_str().ok()).flat_map(|text| {
        let bare = text.split_once(' ').map(|(_scheme, bare)| bare);
        [Some(text), bare].into_iter().flatten()
    });
    texts.map(Secret::new).chain(target.plan.secrets()).collect()
}

/// Tells the identity why its token was refused, so that a missing role costs no new tokens.
pub(super) fn judge(identity: &TokenHandle, status: StatusCode, text: Option<&Buffered>) {
    if status == StatusCode::UNAUTHORIZED {
        let said = text.and_then(|text| azure::words(&text.bytes, &[])).unwrap_or_default();
        identity.explained(azure::lacks_role(&said));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::time::Instant;

    use super::*;
    use crate::azure::{Grant, Tokens};
    use crate::entity::Secret;
    use crate::settings::Env;

    /// The body of a vector.
    fn body(name: &str) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/vectors/azure/err-");
        let text = std::fs::read(format!("{folder}{name}.json")).unwrap();
        let vector: serde_json::Value = serde_json::from_slice(&text).unwrap();
        vector["response"]["body"].to_string()
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_role_leaves_the_token_in_place() {
        let tokens = Tokens::with_exchange(tokio::runtime::Handle::current(), |_| {
            let (asked_at, lifetime) = (Instant::now(), Duration::from_secs(3600));
            let access_token = Secret::new("t");
            let grant = Grant { access_token, asked_at, lifetime, refresh_in: None };
            Box::pin(async { Ok(grant) })
        });
        let auth = azure::Auth { use_managed_identity: true, ..azure::Auth::default() };
        let identity = azure::resolve(&auth, &Env::default(), "foo.openai.azure.com");
        let handle = tokens.handle(identity.unwrap().unwrap());
        let token = handle.wait(Instant::now() + Duration::from_secs(5)).await.unwrap();
        handle.current().unwrap();
        let reply = |name: &str| Buffered::from(Bytes::from(body(name)));
        let role = reply("03-401-permission-denied");
        judge(&handle, StatusCode::UNAUTHORIZED, Some(&role));
        assert!(!handle.invalidate(&token), "the token is not to blame");
        judge(&handle, StatusCode::FORBIDDEN, Some(&reply("05-403-network")));
        assert!(!handle.invalidate(&token), "403 says nothing of tokens");
        judge(&handle, StatusCode::UNAUTHORIZED, Some(&reply("02-401-token-audience")));
        assert!(handle.invalidate(&token));
    }
}
