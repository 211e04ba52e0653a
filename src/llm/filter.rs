//! Whether Azure's content filter has blocked a request.

use crate::llm::json;
use crate::llm::splice::Object;

/// The codes of such a refusal: of chats, and of images.
const CODES: [&str; 2] = ["content_filter", "content_policy_violation"];

/// Whether the body of a 400 says so. What it says more, `innererror` of chats or `inner_error`
/// of images, goes to the client with it.
pub fn is_blocked(body: &[u8]) -> bool {
    let Ok(object) = Object::read(body) else { return false };
    let error = object.get("error").and_then(|error| Object::read(error).ok());
    let code = error.as_ref().and_then(|error| error.get("code")).and_then(json::text);
    code.is_some_and(|code| CODES.contains(&&*code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_are_known() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/vectors/azure/err-");
        for (name, blocked) in [
            ("09-400-content-filter-prompt", true),
            ("20-image-filter", true),
            ("10-400-context-length", false),
            ("11-400-max-tokens", false),
        ] {
            let text = std::fs::read(format!("{folder}{name}.json")).unwrap();
            let vector: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let body = vector["response"]["body"].to_string();
            assert_eq!(is_blocked(body.as_bytes()), blocked, "{name}");
        }
        assert!(!is_blocked(b"") && !is_blocked(br#"{"error":"content_filter"}"#));
    }
}
