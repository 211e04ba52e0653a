//! The configuration of `ai-proxy` and `ai-proxy-advanced`, as the schema engine fills it in.
//!
//! Field by field the Kong 3.15 schemas. Every declared field is present (null when unset), so
//! there are no defaults here; the schema owns them. Fields whose feature is not built are kept
//! as plain values: [`unsupported`](crate::llm::unsupported) reports them when they are set.

use serde::Deserialize;
use serde_json::{Number, Value};

use crate::entity::Secret;
use crate::llm::embeddings::Embeddings;
use crate::llm::filter_events::FilterEvents;
use crate::llm::include_usage::IncludeUsage;
use crate::llm::token_limit::TokensField;
use crate::llm::{Provider, RouteType};
use crate::vectors;

/// `config` of the plugin `ai-proxy`: one target, flat.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct AiProxy {
    pub route_type: RouteType,
    pub auth: Option<Auth>,
    pub model: Model,
    pub logging: Option<Logging>,
    pub response_streaming: Option<ResponseStreaming>,
    /// Bytes; 0 is no limit.
    pub max_request_body_size: Option<u64>,
    /// Whether `X-Kong-LLM-Model` is sent to the client.
    pub model_name_header: Option<bool>,
    pub llm_format: Option<String>,
    pub genai_category: Option<String>,
}

/// `config` of the plugin `ai-proxy-advanced`: several targets and how to choose one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct AiProxyAdvanced {
    pub targets: Vec<Target>,
    pub balancer: Option<Balancer>,
    pub response_streaming: Option<ResponseStreaming>,
    /// Bytes; 0 is no limit.
    pub max_request_body_size: Option<u64>,
    /// Whether `X-Kong-LLM-Model` is sent to the client.
    pub model_name_header: Option<bool>,
    pub llm_format: Option<String>,
    pub genai_category: Option<String>,
    /// Who may use which targets.
    pub acls: Option<Acls>,
    /// For the algorithm `semantic`: the model that turns texts into vectors.
    pub embeddings: Option<Embeddings>,
    /// For the algorithm `semantic`: where they are kept.
    pub vectordb: Option<vectors::Record>,
}

/// One model endpoint.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Target {
    pub route_type: RouteType,
    pub auth: Option<Auth>,
    pub model: Model,
    pub logging: Option<Logging>,
    pub weight: Option<u32>,
    /// What the semantic algorithm compares with the prompt.
    pub description: Option<String>,
    /// The operator's own, free in form, without effect.
    pub metadata: Option<Value>,
}

impl AiProxy {
    /// The only target, in the form of `ai-proxy-advanced`.
    pub fn target(&self) -> Target {
        Target {
            route_type: self.route_type,
            auth: self.auth.clone(),
            model: self.model.clone(),
            logging: self.logging.clone(),
            weight: None,
            description: None,
            metadata: None,
        }
    }
}

/// Whether replies are streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResponseStreaming {
    /// The client decides.
    Allow,
    /// `stream: true` is refused.
    Deny,
    /// Every reply is a stream.
    Always,
}

/// How a target is chosen, and what happens when it fails.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Balancer {
    pub algorithm: Option<Algorithm>,
    /// Milliseconds.
    pub connect_timeout: Option<u64>,
    /// Milliseconds between two writes.
    pub write_timeout: Option<u64>,
    /// Milliseconds between two reads.
    pub read_timeout: Option<u64>,
    /// Attempts after the first.
    pub retries: Option<u32>,
    pub failover_criteria: Option<Vec<String>>,
    /// Failures until a target is left alone; 0 is never.
    pub max_fails: Option<u32>,
    /// Milliseconds a target is left alone.
    pub fail_timeout: Option<u64>,
    pub slots: Option<u32>,
    pub hash_on_header: Option<String>,
    pub latency_strategy: Option<LatencyStrategy>,
    pub tokens_count_strategy: Option<TokensCountStrategy>,
    /// Ours: targets that ask for patience get it.
    pub cooling: Option<Cooling>,
    /// Ours: who may be sent to a group of lower priority, and how much.
    pub spill: Option<Spill>,
}

/// How a target is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Algorithm {
    ConsistentHashing,
    LeastConnections,
    LowestLatency,
    LowestUsage,
    Priority,
    RoundRobin,
    Semantic,
}

/// What `lowest-latency` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LatencyStrategy {
    /// The time from the request to the end of the reply.
    E2e,
    /// That time for one token of the reply.
    Tpot,
}

/// What `lowest-usage` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum TokensCountStrategy {
    CompletionTokens,
    Cost,
    LlmAccuracy,
    PromptTokens,
    TotalTokens,
}

/// When a target is left alone because it said so.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Cooling {
    pub enabled: Option<bool>,
    /// Of the answers that are looked at.
    pub statuses: Option<Vec<u16>>,
    /// The longest that a target is left alone.
    pub max_seconds: Option<f64>,
}

/// Limits of what goes to a group of lower priority than the first.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Spill {
    /// Names of consumer groups that stay with the first group.
    pub deny_consumer_groups: Option<Vec<String>>,
    /// Tokens in a window.
    pub max_tokens: Option<u64>,
    /// Money in a window.
    pub max_cost: Option<f64>,
    /// Seconds.
    pub window_size: Option<u64>,
}

/// Who may use which targets: a denial counts more than an allowance.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Acls {
    pub allow: Option<Vec<AclRule>>,
    pub deny: Option<Vec<AclRule>>,
}

/// One rule: all its conditions must hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct AclRule {
    pub r#match: Vec<AclMatch>,
}

/// One condition: one of the values must be there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct AclMatch {
    pub r#type: AclType,
    pub key: Option<String>,
    pub values: Vec<String>,
}

/// What a condition compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum AclType {
    Consumer,
    ConsumerGroup,
    Header,
    Ip,
    Model,
    Path,
    Provider,
}

/// What goes into the log record.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Logging {
    pub log_statistics: Option<bool>,
    pub log_payloads: Option<bool>,
}

/// The credential of a target: a header, a parameter, or a cloud identity.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Auth {
    pub header_name: Option<String>,
    pub header_value: Option<Secret>,
    pub param_name: Option<String>,
    pub param_value: Option<Secret>,
    pub param_location: Option<ParamLocation>,
    /// A credential that the client sends in the same place is kept.
    pub allow_override: Option<bool>,
    pub azure_use_managed_identity: Option<bool>,
    pub azure_client_id: Option<String>,
    pub azure_client_secret: Option<Secret>,
    pub azure_tenant_id: Option<String>,
    /// Ours, as the rest of `azure_`: object id of a user-assigned identity.
    pub azure_managed_identity_object_id: Option<String>,
    /// ARM resource id of a user-assigned identity.
    pub azure_managed_identity_resource_id: Option<String>,
    /// A file with a Kubernetes service account token.
    pub azure_federated_token_file: Option<String>,
    /// A file with certificate and key of an app registration.
    pub azure_client_certificate_path: Option<String>,
    /// The same as text.
    pub azure_client_certificate: Option<Secret>,
    /// What opens the key.
    pub azure_client_certificate_password: Option<Secret>,
    /// Whether the certificates are sent along.
    pub azure_client_send_certificate_chain: Option<bool>,
    /// What the token is for; by default what the host and path of the target take.
    pub azure_scope: Option<String>,
    /// Entra's address in another cloud.
    pub azure_authority_host: Option<String>,
    /// Another address of the metadata service.
    pub azure_imds_endpoint: Option<String>,
    pub aws_access_key_id: Option<Secret>,
    pub aws_secret_access_key: Option<Secret>,
    pub gcp_use_service_account: Option<bool>,
    pub gcp_service_account_json: Option<Secret>,
    pub gcp_metadata_url: Option<String>,
    pub gcp_oauth_token_url: Option<String>,
}

/// Where a credential parameter goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamLocation {
    /// A member of the JSON body.
    Body,
    /// An argument of the query.
    Query,
}

/// The model of a target.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Model {
    pub provider: Provider,
    /// `None`: the client's.
    pub name: Option<String>,
    /// Another name that clients may use for it.
    pub model_alias: Option<String>,
    pub options: Option<Options>,
}

/// Model options. What is set here wins over the client's request, as in Kong.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Options {
    pub max_tokens: Option<Number>,
    pub temperature: Option<Number>,
    pub top_p: Option<Number>,
    /// OpenAI and Azure know no such option; it is never sent.
    pub top_k: Option<Number>,
    pub upstream_url: Option<String>,
    pub upstream_path: Option<String>,
    pub azure_instance: Option<String>,
    pub azure_deployment_id: Option<String>,
    pub azure_api_version: Option<String>,
    /// `azure-openai` or `azure-foundry`; of Kong's next versions, as the three below it.
    pub azure_service: Option<String>,
    pub azure_foundry_resource: Option<String>,
    pub azure_foundry_domain: Option<String>,
    pub azure_foundry_path_prefix: Option<String>,
    /// Ours: what follows `azure_instance` in the host.
    pub azure_domain: Option<String>,
    /// Ours: the name under which the limit of a reply goes upstream.
    pub max_tokens_field: Option<TokensField>,
    /// Ours: what becomes of events that Azure's content filter has to itself.
    pub azure_filter_events: Option<FilterEvents>,
    /// Ours: whether streams are asked for their tokens where somebody counts them.
    pub include_usage: Option<IncludeUsage>,
    /// Price of a million prompt tokens.
    pub input_cost: Option<f64>,
    /// Price of a million completion tokens.
    pub output_cost: Option<f64>,
    /// Price of a million prompt tokens out of the upstream's cache.
    pub cache_read_cost: Option<f64>,
    /// Price of a million prompt tokens that are put there.
    pub cache_write_cost: Option<f64>,
    /// The same by how long they stay.
    pub cache_write_cost_list: Option<Vec<CacheWriteCost>>,
    pub context_window_factor: Option<Vec<ContextWindowFactor>>,
    pub service_tier_factor: Option<Vec<ServiceTierFactor>>,
    pub embeddings_dimensions: Option<Value>,
    pub anthropic_version: Option<String>,
    pub llama2_format: Option<String>,
    pub mistral_format: Option<String>,
    pub bedrock: Option<Value>,
    pub cohere: Option<Value>,
    pub dashscope: Option<Value>,
    pub databricks: Option<Value>,
    pub gemini: Option<Value>,
    pub huggingface: Option<Value>,
}

/// The price of a million prompt tokens that stay in the upstream's cache for so long.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct CacheWriteCost {
    /// Such as `5m`.
    pub ttl: String,
    pub cost: f64,
}

/// What prices are multiplied with above a number of prompt tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ContextWindowFactor {
    /// The number, which Kong has as a text.
    pub above: String,
    pub input_factor: f64,
    pub output_factor: f64,
}

/// What prices are multiplied with in a tier of service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ServiceTierFactor {
    /// A part of what the upstream calls it.
    pub tier: String,
    pub factor: f64,
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A target as the schema engine delivers it, with these members of `auth`, `model.options`
    /// and `model` on top.
    pub(crate) fn target(auth: Value, options: Value, model: Value) -> Target {
        let mut target = json!({
            "route_type": "llm/v1/chat", "weight": 100, "description": null, "metadata": null,
            "logging": {"log_statistics": false, "log_payloads": false},
            "auth": {
                "header_name": null, "header_value": null, "param_name": null,
                "param_value": null, "param_location": null, "allow_override": false,
                "azure_use_managed_identity": false, "azure_client_id": null,
                "azure_client_secret": null, "azure_tenant_id": null,
                "azure_managed_identity_object_id": null,
                "azure_managed_identity_resource_id": null, "azure_federated_token_file": null,
                "azure_client_certificate_path": null, "azure_client_certificate": null,
                "azure_client_certificate_password": null,
                "azure_client_send_certificate_chain": null,
                "azure_scope": null, "azure_authority_host": null, "azure_imds_endpoint": null,
                "aws_access_key_id": null,
                "aws_secret_access_key": null, "gcp_use_service_account": false,
                "gcp_service_account_json": null, "gcp_metadata_url": null,
                "gcp_oauth_token_url": null
            },
            "model": {
                "provider": "azure", "name": "gpt-4o", "model_alias": null,
                "options": {
                    "max_tokens": null, "temperature": null, "top_p": null, "top_k": null,
                    "upstream_url": null, "upstream_path": null,
                    "azure_instance": "my-instance", "azure_deployment_id": "gpt-4o-dep",
                    "azure_api_version": "2023-05-15", "input_cost": null, "output_cost": null,
                    "cache_read_cost": null, "cache_write_cost": null,
                    "cache_write_cost_list": null, "context_window_factor": null,
                    "service_tier_factor": null, "embeddings_dimensions": null,
                    "anthropic_version": null, "llama2_format": null, "mistral_format": null,
                    "bedrock": null, "cohere": null, "dashscope": null, "databricks": null,
                    "gemini": null, "huggingface": null
                }
            }
        });
        let mut lay = |pointer: &str, members: Value| {
            let into = target.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            into.extend(members.as_object().unwrap().clone());
        };
        lay("/auth", auth);
        lay("/model/options", options);
        if let Some(route_type) = model.get("route_type").cloned() {
            lay("", json!({ "route_type": route_type }));
        }
        let mut model = model;
        model.as_object_mut().unwrap().remove("route_type");
        lay("/model", model);
        serde_json::from_value(target).unwrap()
    }

    #[test]
    fn unknown_fields_are_refused() {
        let model = json!({"provider": "azure", "name": null, "options": null, "nmae": "x"});
        let error = serde_json::from_value::<Model>(model).unwrap_err().to_string();
        assert!(error.contains("unknown field `nmae`"), "{error}");
    }

    #[test]
    fn secrets_are_not_printed() {
        let auth = json!({"header_name": "api-key", "header_value": "sk-1", "param_value": "sk-2"});
        let target = target(auth, json!({}), json!({}));
        assert!(!format!("{target:?}").contains("sk-"));
    }
}
