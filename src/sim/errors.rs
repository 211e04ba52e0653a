//! Azure's refusals in Azure's words: clients recognise them by status, code and text.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::call::{Call, Kind, Surface};
use super::ops::messages;
use super::wire::Reply;

/// The usual reply for an error status, in the shape of the endpoint that was called.
///
/// A 429 names the wait in seconds in its text too.
pub(super) fn standard(status: StatusCode, call: &Call, wait_secs: &str) -> Reply {
    let body = match call.kind {
        Kind::Entra | Kind::Discovery => entra_body(status),
        Kind::Imds | Kind::Arc => imds_body(status),
        Kind::AppService | Kind::AzureMl => app_service_body(status),
        Kind::CloudShell | Kind::ServiceFabric => nested_body(status),
        Kind::Messages if !matches!(status.as_u16(), 401 | 403 | 404) => {
            let reason = status.canonical_reason().unwrap_or("Overloaded");
            messages::error(status.as_u16(), reason)
        }
        _ => data_plane_body(status, call, wait_secs),
    };
    Reply::json(status, &body)
}

/// A wrong key, or a key of another resource.
pub(super) fn bad_key() -> Value {
    json!({ "error": {
        "code": "401",
        "message": "Access denied due to invalid subscription key or wrong API endpoint. Make \
            sure to provide a valid key for an active subscription and use a correct regional \
            API endpoint for your resource.",
    }})
}

/// No credentials, or a token that is unknown, expired or for something else; flat, as no other.
pub(super) fn bad_token() -> Value {
    json!({
        "statusCode": 401,
        "message": "Unauthorized. Access token is missing, invalid, audience is incorrect \
            (https://cognitiveservices.azure.com), or have expired.",
    })
}

/// A key on a resource that takes Entra tokens only.
pub(super) fn key_disabled() -> Value {
    error("AuthenticationTypeDisabled", "Key based authentication is disabled for this resource.")
}

pub(super) fn permission_denied() -> Value {
    error(
        "PermissionDenied",
        "The principal `00000000-0000-0000-0000-0000000000d1` lacks the required data action \
         `Microsoft.CognitiveServices/accounts/OpenAI/deployments/chat/completions/action` to \
         perform `POST /openai/deployments/{deployment-id}/chat/completions` operation.",
    )
}

pub(super) fn firewall() -> Value {
    error("403", "Access denied due to Virtual Network/Firewall rules.")
}

pub(super) fn resource_not_found() -> Value {
    error("404", "Resource not found")
}

pub(super) fn deployment_not_found() -> Value {
    error(
        "DeploymentNotFound",
        "The API deployment for this resource does not exist. If you created the deployment \
         within the last 5 minutes, please wait a moment and try again.",
    )
}

pub(super) fn busy() -> Value {
    error(
        "429",
        "The system is currently experiencing high demand and cannot process your request. Your \
         request exceeds the maximum usage size allowed during peak load. Please retry after 20 \
         seconds. For improved latency reliability, consider switching to Provisioned Throughput.",
    )
}

pub(super) fn context_length() -> Value {
    invalid_request(
        "context_length_exceeded".into(),
        "messages".into(),
        "This model's maximum context length is 8192 tokens. However, your messages resulted in \
         9001 tokens. Please reduce the length of the messages.",
    )
}

/// The four-member error of the model itself, unlike the two members of the front door.
pub(super) fn invalid_request(code: Value, param: Value, message: &str) -> Value {
    json!({ "error": {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }})
}

pub(super) fn content_filter() -> Value {
    json!({ "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content \
            management policy. Please modify your prompt and retry. To learn more about our \
            content filtering policies please read our documentation: \
            https://go.microsoft.com/fwlink/?linkid=2198766",
        "type": null,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {
                "hate": { "filtered": true, "severity": "high" },
                "self_harm": { "filtered": false, "severity": "safe" },
                "sexual": { "filtered": false, "severity": "safe" },
                "violence": { "filtered": true, "severity": "medium" },
                "jailbreak": { "detected": false, "filtered": false },
            },
        },
    }})
}

/// What the front door sends when nothing behind it answers.
pub(super) const FRONT_DOOR_PAGE: &str =
    "<!DOCTYPE html><html><title>Service Unavailable</title></html>";

/// The front door's refusals: a code, often the status in quotes, and a message.
pub(super) fn error(code: &str, message: &str) -> Value {
    json!({ "error": { "code": code, "message": message } })
}

fn data_plane_body(status: StatusCode, call: &Call, wait_secs: &str) -> Value {
    match status.as_u16() {
        401 if call.header("api-key").or(call.header("x-api-key")).is_some() => bad_key(),
        401 => bad_token(),
        403 => key_disabled(),
        404 => deployment_not_found(),
        429 => token_rate(call, wait_secs),
        500 => json!({ "error": {
            "message": "The server had an error while processing your request. Sorry about that!",
            "type": "server_error",
            "param": null,
            "code": null,
        }}),
        code => error(&code.to_string(), status.canonical_reason().unwrap_or("Unknown error")),
    }
}

fn token_rate(call: &Call, wait_secs: &str) -> Value {
    let operation = match call.kind {
        Kind::Completions => "Completions_Create",
        Kind::Embeddings => "Embeddings_Create",
        _ => "ChatCompletions_Create",
    };
    let version = match call.surface {
        Surface::Dated | Surface::Inference => call.argument("api-version").unwrap_or_default(),
        Surface::V1 | Surface::Anthropic => "v1".into(),
    };
    let message = format!(
        "Requests to the {operation} Operation under Azure OpenAI API version {version} have \
         exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after \
         {wait_secs} seconds. Please go here: https://aka.ms/oai/quotaincrease if you would \
         like to further increase the default rate limit."
    );
    error("429", &message)
}

fn entra_body(status: StatusCode) -> Value {
    match status.as_u16() {
        429 => json!({
            "error": "temporarily_unavailable",
            "error_description": "AADSTS90055: throttled",
            "error_codes": [90055],
        }),
        _ => json!({
            "error": "server_error",
            "error_description": "AADSTS90033: A transient error has occurred. Please try again.",
            "error_codes": [90033],
        }),
    }
}

fn imds_body(status: StatusCode) -> Value {
    let (error, description) = match status.as_u16() {
        400 => ("invalid_request", "Identity not found"),
        404 => ("not_found", "IMDS endpoint is updating"),
        410 => return json!({ "error": "gone" }),
        429 => ("too_many_requests", "Too many requests"),
        _ => (
            "unknown",
            "Failed to retrieve token from the Active directory. For details see logs in <file \
             path>",
        ),
    };
    json!({ "error": error, "error_description": description })
}

/// App Service has one shape for everything; the spelling is its own.
pub(super) fn app_service_body(status: StatusCode) -> Value {
    json!({
        "statusCode": status.as_u16(),
        "message": "An unexpected error occured while fetching the AAD Token.",
        "correlationId": uuid::Uuid::new_v4(),
    })
}

/// Cloud Shell and Service Fabric nest their errors, as Azure's management does.
fn nested_body(status: StatusCode) -> Value {
    let reason = status.canonical_reason().unwrap_or("Unknown error");
    let code: String = reason.split(' ').collect();
    error(&code, reason)
}

/// The page of a network that wants its users to sign in first.
pub(super) const PORTAL_PAGE: &str = "<html>Sign in to the network</html>";

/// Refuses a body over the simulator's limit.
pub(super) fn too_large() -> Reply {
    let body = error("413", "Request body is larger than the simulator's 32 MiB");
    Reply::new(StatusCode::PAYLOAD_TOO_LARGE, "application/json", Bytes::from(body.to_string()))
}
