//! Who calls the data plane, and whether Azure would let them.

use http::StatusCode;

use super::call::{Call, Kind, Surface};
use super::errors;
use super::record::fingerprint;
use super::state::State;
use super::wire::Refusal;

/// The verdict on the credentials of one request.
pub(super) struct Caller {
    /// What the record and `x-sim-identity` say.
    pub(super) name: String,
    /// The refusal, if these credentials open nothing.
    pub(super) refusal: Option<Refusal>,
}

/// The resources whose tokens Azure OpenAI takes, in the public and the sovereign clouds.
const AUDIENCES: [&str; 4] = [
    "https://cognitiveservices.azure.com",
    "https://cognitiveservices.azure.us",
    "https://cognitiveservices.azure.cn",
    "https://ai.azure.com",
];

/// Judges the key if there is one, else the bearer token.
///
/// On the v1 surface a key may also come as a bearer token: plain OpenAI clients know no other
/// way. On the dated surface it is taken for a token, and fails as one.
pub(super) fn caller(state: &State, call: &Call) -> Caller {
    // Anthropic's API has a header of its own for it.
    let header = if call.surface == Surface::Anthropic { "x-api-key" } else { "api-key" };
    if let Some(key) = call.head.headers.get(header) {
        return key_caller(state, key.as_bytes());
    }
    let safety = call.head.headers.get("ocp-apim-subscription-key");
    if let Some(key) = safety.filter(|_| call.kind == Kind::ContentSafety) {
        return key_caller(state, key.as_bytes());
    }
    // Browsers can set no header on a session.
    if let Some(key) = call.argument("api-key").filter(|_| call.kind == Kind::Realtime) {
        return key_caller(state, key.as_bytes());
    }
    let Some(bearer) = call.header("authorization").and_then(bearer) else {
        return refused("nobody", errors::bad_token());
    };
    if call.surface != Surface::Dated && state.options.keys.iter().any(|key| key == bearer) {
        return key_caller(state, bearer.as_bytes());
    }
    let Some(issued) = state.tokens().look_up(bearer) else {
        return refused("a token that is unknown or expired", errors::bad_token());
    };
    if !AUDIENCES.contains(&issued.audience.as_str()) {
        let name = format!("{} with a token for {}", issued.identity, issued.audience);
        return refused(&name, errors::bad_token());
    }
    Caller { name: issued.identity.to_string(), refusal: None }
}

fn key_caller(state: &State, key: &[u8]) -> Caller {
    let name = format!("api key {}", fingerprint(&String::from_utf8_lossy(key)));
    if state.options.keys.is_empty() {
        let refusal = Refusal(StatusCode::FORBIDDEN, errors::key_disabled());
        return Caller { name, refusal: Some(refusal) };
    }
    match state.options.keys.iter().any(|known| known.as_bytes() == key) {
        true => Caller { name, refusal: None },
        false => refused(&format!("wrong {name}"), errors::bad_key()),
    }
}

fn refused(name: &str, body: serde_json::Value) -> Caller {
    let refusal = Some(Refusal(StatusCode::UNAUTHORIZED, body));
    Caller { name: name.to_owned(), refusal }
}

/// The token of an `Authorization` value; the scheme's case does not matter (RFC 9110).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
