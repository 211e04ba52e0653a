//! Cloud Shell's identity endpoint: a form instead of a query, and only the user's own identity.

use http::{Method, StatusCode};
use serde_json::json;

use super::call::Call;
use super::metadata::{TokenRequest, is_resource, method_not_allowed};
use super::state::State;
use super::tokens::Identity;
use super::wire::Refusal;

/// Names that would select an identity elsewhere; here there is none to select.
const SELECTORS: [&str; 5] = ["client_id", "clientid", "object_id", "msi_res_id", "mi_res_id"];

pub(super) fn check(state: &State, call: &Call) -> Result<TokenRequest, Refusal> {
    let refused = |code: &str, message: &str| {
        let body = json!({ "error": { "code": code, "message": message } });
        Err(Refusal(StatusCode::BAD_REQUEST, body))
    };
    if call.head.method != Method::POST {
        return Err(method_not_allowed());
    }
    if call.header("metadata") != Some("true") {
        return refused("MetadataHeaderMissing", "Required metadata header not specified");
    }
    let kind = call.header("content-type").unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        return refused("BadRequest", "The body is not a form.");
    }
    let form: Vec<(String, String)> =
        url::form_urlencoded::parse(&call.body).into_owned().chain(call.arguments()).collect();
    if let Some((name, _)) = form.iter().find(|(name, _)| SELECTORS.contains(&name.as_str())) {
        let text = format!("'{name}' is not supported: Cloud Shell has the user's identity only.");
        return refused("BadRequest", &text);
    }
    if !state.options.system_identity {
        return refused("BadRequest", "Identity not found");
    }
    let resource = form.into_iter().find(|(name, _)| name == "resource").map(|(_, value)| value);
    let resource = resource.unwrap_or_default();
    if !is_resource(&resource) {
        let text = format!("Audience {resource} is not a supported MSI token audience.");
        return refused("AudienceNotSupported", &text);
    }
    Ok(TokenRequest { identity: Identity::Managed { by: "cloud shell", named: None }, resource })
}
