//! The table of native plugins: name, priority, constructor.
//!
//! A plugin is a folder: `schema.lua` says what its configuration may be, `handler.rs` (or
//! `handler.lua`) what it does. Priorities are Kong's.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::entity::PluginEntity;
use crate::plugin::{Counting, Plugin};
use crate::shared::Shared;
use crate::snapshot::Snapshot;

#[path = "acl/handler.rs"]
mod acl;
#[path = "ai-azure-content-safety/handler.rs"]
mod ai_azure_content_safety;
#[path = "ai-prompt-decorator/handler.rs"]
mod ai_prompt_decorator;
#[path = "ai-prompt-guard/handler.rs"]
mod ai_prompt_guard;
#[path = "ai-prompt-template/handler.rs"]
mod ai_prompt_template;
#[path = "ai-proxy/handler.rs"]
mod ai_proxy;
#[path = "ai-proxy-advanced/handler.rs"]
mod ai_proxy_advanced;
#[path = "ai-rate-limiting-advanced/handler.rs"]
mod ai_rate_limiting_advanced;
#[path = "ai-request-transformer/handler.rs"]
mod ai_request_transformer;
#[path = "ai-response-transformer/handler.rs"]
mod ai_response_transformer;
#[path = "ai-semantic-cache/handler.rs"]
mod ai_semantic_cache;
mod authentication;
#[path = "basic-auth/handler.rs"]
mod basic_auth;
#[path = "bot-detection/handler.rs"]
mod bot_detection;
#[path = "correlation-id/handler.rs"]
mod correlation_id;
#[path = "cors/handler.rs"]
mod cors;
mod delivering;
mod directives;
mod embeddings;
#[path = "file-log/handler.rs"]
mod file_log;
mod findings;
#[path = "hmac-auth/handler.rs"]
mod hmac_auth;
#[path = "http-log/handler.rs"]
mod http_log;
#[path = "ip-restriction/handler.rs"]
mod ip_restriction;
#[path = "jwt/handler.rs"]
mod jwt;
mod keeping;
#[path = "key-auth/handler.rs"]
mod key_auth;
mod limits;
mod model_call;
#[path = "opentelemetry/handler.rs"]
mod opentelemetry;
mod patterns;
#[path = "prometheus/handler.rs"]
mod prometheus;
mod prompts;
#[path = "proxy-cache/handler.rs"]
mod proxy_cache;
#[path = "rate-limiting/handler.rs"]
mod rate_limiting;
#[path = "redirect/handler.rs"]
mod redirect;
#[path = "request-size-limiting/handler.rs"]
mod request_size_limiting;
#[path = "request-termination/handler.rs"]
mod request_termination;
#[path = "response-ratelimiting/handler.rs"]
mod response_ratelimiting;
#[path = "response-transformer/handler.rs"]
mod response_transformer;
mod said;
mod transformer;

pub use findings::{Credential, Findings, ModelTarget, Turn};

/// A plugin written in Rust.
pub struct Native {
    /// The name in a configuration.
    pub name: &'static str,
    /// Greater runs earlier.
    pub priority: i64,
    /// Its constructor.
    pub make: Make,
}

/// Makes an instance, or says everything that stands against it.
pub type Make = fn(&Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>>;

/// What a plugin is made from.
pub struct Context<'a> {
    /// The process.
    pub shared: &'a Arc<Shared>,
    /// The configuration it belongs to.
    pub snapshot: &'a Arc<Snapshot>,
    /// Its own part of it.
    pub entity: &'a Arc<PluginEntity>,
    /// Takes what the author of the configuration should know. Workers pass on nothing: the
    /// loader's trial has told it already.
    pub findings: Option<&'a Findings>,
    /// What the instance before it left ([`Plugin::state`]), if its configuration was the same.
    pub state: Option<&'a Rc<dyn Any>>,
    /// Makes code of the configuration that counts ready to run, in the Lua VM of this thread.
    pub counting: &'a MakeCounting<'a>,
}

/// Makes Lua code of a plugin ready to run; the message says what is against it.
pub type MakeCounting<'a> = dyn Fn(&PluginEntity, &str) -> Result<Box<dyn Counting>, String> + 'a;

impl Context<'_> {
    /// Tells the author of the configuration something that does not stand in the way.
    pub fn warn(&self, message: &str) {
        if let Some(findings) = self.findings {
            let entity = self.entity;
            let line = format!("plugin '{}': {message}", entity.name);
            findings.warnings.borrow_mut().push(self.snapshot.at_plugin(entity.id, &line));
        }
    }

    /// The configuration as the plugin's own type. The schema has filled in and checked it, so a
    /// mismatch means that schema.lua and handler.rs disagree.
    ///
    /// # Errors
    /// The field in question.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, Vec<String>> {
        T::deserialize(&self.entity.config).map_err(|error| vec![format!("config: {error}")])
    }

    /// Lua code of the configuration that counts something.
    ///
    /// # Errors
    /// It does not fit into the VM.
    pub fn count_by(&self, field: &str, code: &str) -> Result<Box<dyn Counting>, Vec<String>> {
        let counting = (self.counting)(self.entity, code);
        counting.map_err(|error| vec![format!("config.{field}: {error}")])
    }
}

/// Every native plugin, in the order in which they run.
pub const NATIVE: &[Native] = &[
    Native { name: "correlation-id", priority: 100_001, make: correlation_id::make },
    Native { name: "bot-detection", priority: 2500, make: bot_detection::make },
    Native { name: "cors", priority: 2000, make: cors::make },
    Native { name: "jwt", priority: 1450, make: jwt::make },
    Native { name: "key-auth", priority: 1250, make: key_auth::make },
    Native { name: "basic-auth", priority: 1100, make: basic_auth::make },
    Native { name: "hmac-auth", priority: 1030, make: hmac_auth::make },
    Native { name: "ip-restriction", priority: 990, make: ip_restriction::make },
    Native { name: "request-size-limiting", priority: 951, make: request_size_limiting::make },
    Native { name: "acl", priority: 950, make: acl::make },
    Native { name: "rate-limiting", priority: 910, make: rate_limiting::make },
    Native {
        name: "ai-rate-limiting-advanced",
        priority: 905,
        make: ai_rate_limiting_advanced::make,
    },
    Native { name: "response-ratelimiting", priority: 900, make: response_ratelimiting::make },
    Native { name: "response-transformer", priority: 800, make: response_transformer::make },
    Native { name: "redirect", priority: 779, make: redirect::make },
    Native { name: "ai-request-transformer", priority: 777, make: ai_request_transformer::make },
    Native { name: "ai-azure-content-safety", priority: 774, make: ai_azure_content_safety::make },
    Native { name: "ai-prompt-template", priority: 773, make: ai_prompt_template::make },
    Native { name: "ai-prompt-decorator", priority: 772, make: ai_prompt_decorator::make },
    Native { name: "ai-prompt-guard", priority: 771, make: ai_prompt_guard::make },
    Native { name: "ai-proxy-advanced", priority: 770, make: ai_proxy_advanced::make },
    Native { name: "ai-proxy", priority: 770, make: ai_proxy::make },
    Native { name: "ai-response-transformer", priority: 768, make: ai_response_transformer::make },
    Native { name: "ai-semantic-cache", priority: 765, make: ai_semantic_cache::make },
    Native { name: "proxy-cache", priority: 100, make: proxy_cache::make },
    Native { name: "opentelemetry", priority: 14, make: opentelemetry::make },
    Native { name: "prometheus", priority: 13, make: prometheus::make },
    Native { name: "http-log", priority: 12, make: http_log::make },
    Native { name: "file-log", priority: 9, make: file_log::make },
    Native { name: "request-termination", priority: 2, make: request_termination::make },
];

/// The native plugin of this name.
pub fn native(name: &str) -> Option<&'static Native> {
    NATIVE.iter().find(|native| native.name == name)
}

/// Whether a plugin is one of Kong's that is not built here. To list it in the `plugins` setting is
/// no mistake, as long as nothing is configured for it.
pub fn is_kongs(name: &str) -> bool {
    KONGS.binary_search(&name).is_ok()
}

/// Kong 3.15's other plugins, in alphabetical order.
#[rustfmt::skip]
const KONGS: &[&str] = &[
    "ace", "acme", "ai-a2a-proxy", "ai-aws-guardrails",
    "ai-custom-guardrail", "ai-gcp-model-armor", "ai-lakera-guard", "ai-llm-as-judge",
    "ai-mcp-oauth2", "ai-mcp-proxy", "ai-prompt-compressor", "ai-rag-injector",
    "ai-sanitizer",
    "ai-semantic-prompt-guard", "ai-semantic-response-guard", "app-dynamics", "aws-lambda",
    "azure-functions", "canary", "confluent", "confluent-consume",
    "datadog", "datakit", "degraphql", "exit-transformer", "forward-proxy",
    "graphql-proxy-cache-advanced", "graphql-rate-limiting-advanced", "grpc-gateway",
    "grpc-web", "header-cert-auth", "injection-protection",
    "jq", "json-threat-protection", "jwe-decrypt", "jwt-signer",
    "kafka-consume", "kafka-log", "kafka-upstream", "key-auth-enc", "konnect-application-auth",
    "ldap-auth", "ldap-auth-advanced", "loggly", "metering-and-billing", "mocking", "mtls-auth",
    "oas-validation", "oauth2", "oauth2-introspection", "opa", "openid-connect",
    "proxy-cache-advanced",
    "rate-limiting-advanced", "request-callout",
    "request-transformer-advanced",
    "request-validator", "response-transformer-advanced",
    "route-by-header", "route-transformer-advanced", "saml", "service-protection",
    "session", "solace-consume", "solace-log", "solace-upstream", "standard-webhooks", "statsd",
    "statsd-advanced", "syslog", "tcp-log", "tls-handshake-modifier", "tls-metadata-headers",
    "udp-log", "upstream-oauth", "upstream-timeout", "vault-auth", "websocket-size-limit",
    "websocket-validator", "xml-threat-protection", "zipkin",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kongs_list_is_in_order_and_holds_nothing_that_is_built() {
        assert!(KONGS.is_sorted());
        assert!(NATIVE.iter().all(|native| !is_kongs(native.name)));
        assert!(is_kongs("ace") && is_kongs("zipkin") && !is_kongs("hello"));
    }
}
