//! Azure refuses the credential of the gateway: a line that leads the operator to the repair.
//!
//! The client gets Azure's answer as it is. What it says there is about the gateway's credential
//! and not about the client's, so somebody else has to act on it.

use http::StatusCode;

use super::targets::Target;
use crate::azure::TokenHandle;
use crate::llm::{Provider, json, splice::Object};
use crate::pdk::Exchange;
use crate::pdk::body::Buffered;

/// How much of Azure's words goes into a log line, in characters.
const WORDS_MAX: usize = 300;

/// Writes the line, if the reply is such a refusal.
pub(super) fn explain(ex: &Exchange, target: &Target, status: StatusCode, text: Option<&Buffered>) {
    let is_refusal = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if !is_refusal {
        return;
    }
    if !target.authenticates() {
        // The client's own credential may be what was refused; then this is for its owner to mend.
        tracing::warn!(
            request_id = %ex.id,
            fault = "azure",
            upstream = %ex.service.host(),
            status = status.as_u16(),
            "the upstream refuses the request, and the target has no credential of its own: set \
             auth.header_name and auth.header_value, or auth.azure_use_managed_identity"
        );
        return;
    }
    let said = text.and_then(|text| words(&text.bytes)).unwrap_or_default();
    let identity = target.identity.as_ref().map(|handle| handle.identity());
    let repair = match &identity {
        Some(identity) => of_token(&said, &identity.subject(), identity.scope()),
        None => of_key(&said).to_owned(),
    };
    // Others than Azure quote parts of the key.
    let said = if target.plan.provider() == Provider::Azure { said.as_str() } else { "" };
    tracing::error!(
        request_id = %ex.id,
        fault = "azure",
        upstream = %ex.service.host(),
        status = status.as_u16(),
        said,
        "the upstream refuses the gateway's credential: {repair}"
    );
}

/// What to do about a refused token.
fn of_token(said: &str, subject: &str, scope: &str) -> String {
    if said.contains("audience") {
        return format!(
            "the token of {subject} was asked for the scope {scope}; set auth.azure_scope if the \
             resource takes another one: Azure OpenAI and Cognitive Services take \
             https://cognitiveservices.azure.com/.default, Foundry endpoints \
             (*.services.ai.azure.com) https://ai.azure.com/.default"
        );
    }
    if lacks_role(said) {
        return format!(
            "the token is good, but {subject} lacks a role on the resource: assign Cognitive \
             Services OpenAI User and wait five minutes"
        );
    }
    if said.contains("Firewall") {
        return "the network rules of the resource keep this gateway out".to_owned();
    }
    format!("it signed in as {subject} for the scope {scope}")
}

/// Tells the identity why its token was refused, so that a missing role costs no new tokens.
pub(super) fn judge(identity: &TokenHandle, status: StatusCode, text: Option<&Buffered>) {
    if status == StatusCode::UNAUTHORIZED {
        let said = text.and_then(|text| words(&text.bytes)).unwrap_or_default();
        identity.explained(lacks_role(&said));
    }
}

fn lacks_role(said: &str) -> bool {
    ["PermissionDenied", "lacks the required data action", "does not have access"]
        .iter()
        .any(|sign| said.contains(sign))
}

/// What to do about a refused key.
fn of_key(said: &str) -> &'static str {
    if said.contains("AuthenticationTypeDisabled") || said.contains("authentication is disabled") {
        return "the resource takes no keys; set auth.azure_use_managed_identity";
    }
    if said.contains("Firewall") {
        return "the network rules of the resource keep this gateway out";
    }
    "check auth.header_value, and that the key belongs to this resource"
}

/// Code and message of an error, in one bounded line: `{"error": {...}}`, or the members alone.
fn words(body: &[u8]) -> Option<String> {
    let outer = Object::read(body).ok()?;
    let inner = outer.get("error").and_then(|error| Object::read(error).ok());
    let part = |name| {
        let value = match &inner {
            Some(inner) => inner.get(name),
            None => outer.get(name),
        };
        value.and_then(json::text).unwrap_or_default().into_owned()
    };
    let line = format!("{} {}", part("code"), part("message"));
    let clean = line.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    Some(clean.take(WORDS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::time::Instant;

    use super::*;
    use crate::azure::{self, Grant, Tokens};
    use crate::entity::Secret;
    use crate::settings::Env;

    /// The body of a vector.
    fn body(name: &str) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/vectors/azure/err-");
        let text = std::fs::read(format!("{folder}{name}.json")).unwrap();
        let vector: serde_json::Value = serde_json::from_slice(&text).unwrap();
        vector["response"]["body"].to_string()
    }

    /// What Azure says in it.
    fn said(name: &str) -> String {
        words(body(name).as_bytes()).unwrap()
    }

    #[test]
    fn refused_tokens_lead_to_scope_or_role() {
        let audience = of_token(&said("02-401-token-audience"), "system-assigned", "s/.default");
        assert!(audience.contains("asked for the scope s/.default"), "{audience}");
        let role = of_token(&said("03-401-permission-denied"), "client id 1", "s");
        assert!(role.contains("client id 1 lacks a role"), "{role}");
        assert!(of_token(&said("05-403-network"), "x", "s").contains("network rules"));
        assert!(of_token("", "client id 1", "s/.default").contains("client id 1"));
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

    #[test]
    fn refused_keys_lead_to_the_key_or_to_an_identity() {
        assert!(of_key(&said("01-401-bad-key")).contains("header_value"));
        assert!(of_key(&said("04-403-key-auth-disabled")).contains("azure_use_managed_identity"));
    }

    #[test]
    fn words_are_one_bounded_line() {
        let long = format!(r#"{{"message":"a\nb{}"}}"#, "x".repeat(400));
        let line = words(long.as_bytes()).unwrap();
        assert!(line.starts_with("a bxx") && line.chars().count() == WORDS_MAX);
        assert_eq!(words(b"<html>"), None);
    }
}
