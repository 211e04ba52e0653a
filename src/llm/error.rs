//! What the AI plugins answer when they refuse a request or a reply.
//!
//! Where Kong has a text, the text, the status and the body are Kong's. Our own refusals, and
//! failures that no recording of Kong shows, use the full error object of the OpenAI API, which is
//! what the clients' SDKs read, and the request id under Kong's name for it.

use http::StatusCode;
use serde_json::json;

use crate::llm::{Provider, RouteType};

/// A request or a reply that is not passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Kong: no JSON object with `messages` or `prompt`, whatever the reason.
    #[error("request body doesn't contain valid prompts")]
    NoPrompts,
    /// Kong: an operation that takes JSON got something else.
    #[error("content-type header does not match request body, or bad JSON formatting")]
    NotJson,
    /// Kong: the client names another model than the configuration.
    #[error("cannot use own model - must be: {0}")]
    OwnModel(String),
    /// Kong: nobody names a model.
    #[error("model parameter not found in request, nor in gateway configuration")]
    NoModel,
    /// Kong: a completion on a chat route, or the other way round.
    #[error("[{found}] message format is not compatible with [{route}] route type")]
    OtherFormat {
        /// What the body is.
        found: RouteType,
        /// What the route takes.
        route: RouteType,
    },
    /// Kong: `messages` and `prompt` in one body.
    #[error("request matches multiple LLM request formats")]
    ManyFormats,
    /// Kong: `stream: true` where `response_streaming` is `deny`.
    #[error("response streaming is not enabled for this LLM")]
    StreamingDenied,
    /// Kong: `$(source.key)` with a source that does not exist.
    #[error("source '{0}' is not supported")]
    TemplateSource(String),
    /// Kong: `$(...)` that is not `source.key`; the whole value of the field.
    #[error("cannot parse expression for field '{0}'")]
    TemplateExpression(String),
    /// Kong: the client did not send what a template asks for.
    #[error("{source_name} key {key} was not provided")]
    TemplateMissing {
        /// `headers`, `query_params` or `uri_captures`.
        source_name: &'static str,
        /// The header, argument or capture.
        key: String,
    },
    /// Kong: a 200 whose body is no reply of this route type.
    #[error("transformation failed from type {provider}://{route}: {reason}")]
    BadReply {
        /// Who answered.
        provider: Provider,
        /// What was asked.
        route: RouteType,
        /// Kong's words.
        reason: String,
    },
    /// Kong's text, our shape: no token for the upstream; the log says why.
    #[error("LLM request failed before proxying")]
    NoIdentity,
    /// Kong's text, our shape: no target can take the request; the log says why.
    #[error("An unexpected error occurred")]
    NoTarget,
    /// Ours: every target has asked for patience, this many seconds at least.
    #[error("every target has asked to be left alone; try again in {seconds} s")]
    Cooling {
        /// Whole seconds, rounded up.
        seconds: u64,
    },
    /// Ours: `config.acls` has no target for this client.
    #[error("access to this model is denied")]
    Denied,
    /// Ours: a client's value would change the upstream URL beyond its place in it.
    #[error("the client's value for {field} cannot be used in an upstream URL")]
    UnsafeValue {
        /// The option that has the template.
        field: &'static str,
    },
    /// Ours: Kong hides this behind [`NoPrompts`](Self::NoPrompts).
    #[error("request body is larger than {limit} bytes (config.max_request_body_size)")]
    TooLarge {
        /// The configured bound, in bytes.
        limit: usize,
    },
    /// Ours: a request of Anthropic's Messages API that cannot be put in the words of the target.
    #[error("{0}")]
    NotMessages(String),
    /// Ours: batches of Anthropic's API, and no target that could have any.
    #[error(
        "batches of messages are kept by Claude alone, and none of the models here is: send the \
         messages one by one"
    )]
    NoBatches,
    /// Ours: `param_location: body` and a body that is no JSON object.
    #[error("the credential belongs in a JSON body, but the request has none")]
    NoBodyForCredential,
}

impl Error {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadReply { .. } | Self::NoIdentity | Self::NoTarget => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Cooling { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::NoBatches => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The JSON body of the answer.
    pub fn body(&self, request_id: &str) -> Vec<u8> {
        let message = self.to_string();
        let body = match self.code() {
            None => json!({ "error": { "message": message } }),
            Some(code) => {
                let kind = match self.status().as_u16() {
                    500.. => "server_error",
                    429 => "requests", // what OpenAI says of such a limit
                    _ => "invalid_request_error",
                };
                let error =
                    json!({ "message": message, "type": kind, "param": null, "code": code });
                json!({ "error": error, "request_id": request_id })
            }
        };
        body.to_string().into_bytes()
    }

    /// The code of an error in the full shape; Kong's have none. None tells of an identity.
    fn code(&self) -> Option<&'static str> {
        match self {
            Self::UnsafeValue { .. } => Some("unsafe_upstream_value"),
            Self::TooLarge { .. } => Some("request_too_large"),
            Self::NoBodyForCredential => Some("json_body_required"),
            Self::NotMessages(_) => Some("request_not_convertible"),
            Self::NoBatches => Some("batches_unavailable"),
            Self::NoIdentity => Some("credential_unavailable"),
            Self::NoTarget => Some("target_unavailable"),
            Self::Cooling { .. } => Some("rate_limit_exceeded"),
            Self::Denied => Some("access_denied"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(error: &Error) -> String {
        String::from_utf8(error.body("1f")).unwrap()
    }

    #[test]
    fn texts_of_kong_have_the_short_shape() {
        let error = Error::OtherFormat { found: RouteType::Completions, route: RouteType::Chat };
        assert_eq!(
            body(&error),
            concat!(
                r#"{"error":{"message":"[llm/v1/completions] message format is not compatible "#,
                r#"with [llm/v1/chat] route type"}}"#
            )
        );
        assert_eq!(error.status(), 400);
        let expected = r#"{"error":{"message":"request body doesn't contain valid prompts"}}"#;
        assert_eq!(body(&Error::NoPrompts), expected);
    }

    #[test]
    fn our_own_are_full_error_objects() {
        assert_eq!(
            body(&Error::TooLarge { limit: 8 }),
            concat!(
                r#"{"error":{"message":"request body is larger than 8 bytes "#,
                r#"(config.max_request_body_size)","type":"invalid_request_error","#,
                r#""param":null,"code":"request_too_large"},"request_id":"1f"}"#
            )
        );
        assert_eq!(
            body(&Error::NoIdentity),
            concat!(
                r#"{"error":{"message":"LLM request failed before proxying","#,
                r#""type":"server_error","param":null,"#,
                r#""code":"credential_unavailable"},"request_id":"1f"}"#
            )
        );
    }
}
