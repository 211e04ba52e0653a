//! What a configuration asks for that is not built yet.
//!
//! Kong's schemas accept more than this gateway does. Nothing of it is ignored in silence: every
//! field that is set to more than its default and would have no effect is a line here, with the
//! field's path and what to use in its place.

use serde_json::Value;

use crate::llm::config::{
    AiProxy, AiProxyAdvanced, Algorithm, Auth, Balancer, Model, Options, Target,
    TokensCountStrategy,
};
use crate::llm::{Provider, RouteType, Wire, anthropic, azure, providers};

/// Lines for `config` of `ai-proxy`; empty when everything works.
pub fn in_ai_proxy(config: &AiProxy) -> Vec<String> {
    let mut lines = Lines(Vec::new());
    lines.plugin(config.llm_format.as_deref());
    lines.messages("config", config.llm_format.as_deref(), config.route_type);
    lines.wire("config", config.llm_format.as_deref(), config.route_type, &config.model);
    lines.target("config", config.route_type, config.auth.as_ref(), &config.model);
    lines.0
}

/// Lines for `config` of `ai-proxy-advanced`; empty when everything works.
pub fn in_ai_proxy_advanced(config: &AiProxyAdvanced) -> Vec<String> {
    let mut lines = Lines(Vec::new());
    lines.plugin(config.llm_format.as_deref());
    lines.balancer(config.balancer.as_ref());
    for (index, target) in config.targets.iter().enumerate() {
        let path = format!("config.targets[{index}]");
        lines.messages(&path, config.llm_format.as_deref(), target.route_type);
        lines.wire(&path, config.llm_format.as_deref(), target.route_type, &target.model);
        lines.target(&path, target.route_type, target.auth.as_ref(), &target.model);
    }
    lines.0
}

/// Lines for a target at `path` that a plugin asks by itself.
pub fn in_target(path: &str, target: &Target) -> Vec<String> {
    let mut lines = Lines(Vec::new());
    if speaks_messages(&target.model) {
        let field = format!("{path}.model.options.azure_foundry_path_prefix");
        let text = "this plugin asks in OpenAI's words; use /openai/v1 and a model that takes them";
        lines.0.push(format!("{field}: {text}"));
    }
    lines.target(path, target.route_type, target.auth.as_ref(), &target.model);
    lines.0
}

struct Lines(Vec<String>);

impl Lines {
    fn instead(&mut self, path: &str, value: &str, instead: &str) {
        self.0.push(format!("{path}: '{value}' is not built yet; use {instead}"));
    }

    /// A field without a value that works.
    fn not_built(&mut self, path: &str, value: Option<&Value>) {
        if value.is_some_and(is_set) {
            self.0.push(format!("{path}: not built yet; leave it out"));
        }
    }

    fn plugin(&mut self, llm_format: Option<&str>) {
        if let Some(format) =
            llm_format.filter(|format| !matches!(*format, "openai" | anthropic::FORMAT))
        {
            self.instead("config.llm_format", format, "openai or anthropic");
        }
    }

    /// Messages are chats, whoever answers them.
    fn messages(&mut self, path: &str, llm_format: Option<&str>, route: RouteType) {
        if llm_format == Some(anthropic::FORMAT) && route != RouteType::Chat {
            let text = format!("{path}.route_type: llm_format anthropic takes llm/v1/chat only");
            self.0.push(text);
        }
    }

    /// Who speaks Anthropic's API alone answers no one who speaks OpenAI's.
    fn wire(&mut self, path: &str, llm_format: Option<&str>, route: RouteType, model: &Model) {
        let is_native = llm_format == Some(anthropic::FORMAT) || route == RouteType::Preserve;
        if speaks_messages(model) && !is_native {
            self.0.push(format!(
                "{path}.model.options.azure_foundry_path_prefix: Anthropic's Messages API is \
                 spoken there; set config.llm_format to anthropic, or use /openai/v1"
            ));
        }
    }

    fn balancer(&mut self, balancer: Option<&Balancer>) {
        let Some(balancer) = balancer else { return };
        // The scores are those of a plugin, ai-llm-as-judge.
        let strategy = balancer.tokens_count_strategy;
        if balancer.algorithm == Some(Algorithm::LowestUsage)
            && strategy == Some(TokensCountStrategy::LlmAccuracy)
        {
            self.0.push(
                "config.balancer.tokens_count_strategy: 'llm-accuracy' needs the scores of \
                 ai-llm-as-judge, which is not built yet; use total-tokens or cost"
                    .to_owned(),
            );
        }
    }

    fn target(&mut self, path: &str, route: RouteType, auth: Option<&Auth>, model: &Model) {
        let provider = model.provider;
        if !providers::is_built(provider) {
            let instead = "azure, openai or a provider that speaks OpenAI's API";
            self.instead(&format!("{path}.model.provider"), provider.as_str(), instead);
            // Its options and credentials follow from it; one line says enough.
            return;
        }
        if !providers::takes(provider, route) {
            let place = format!("{path}.route_type");
            self.0.push(format!("{place}: '{route}' is not an operation of provider {provider}"));
        }
        if let Some(auth) = auth {
            self.auth(&format!("{path}.auth"), auth);
        }
        if let Some(options) = &model.options {
            self.options(&format!("{path}.model.options"), provider, options);
        }
    }

    fn auth(&mut self, path: &str, auth: &Auth) {
        let fields = [
            ("aws_access_key_id", auth.aws_access_key_id.is_some()),
            ("aws_secret_access_key", auth.aws_secret_access_key.is_some()),
            ("gcp_use_service_account", auth.gcp_use_service_account == Some(true)),
            ("gcp_service_account_json", auth.gcp_service_account_json.is_some()),
            ("gcp_metadata_url", auth.gcp_metadata_url.is_some()),
            ("gcp_oauth_token_url", auth.gcp_oauth_token_url.is_some()),
        ];
        for (field, _) in fields.into_iter().filter(|(_, set)| *set) {
            self.0.push(format!(
                "{path}.{field}: not built yet; use header_name and header_value, \
                 or azure_use_managed_identity"
            ));
        }
    }

    fn options(&mut self, path: &str, provider: Provider, options: &Options) {
        let other_providers = [
            ("bedrock", &options.bedrock),
            ("cohere", &options.cohere),
            ("dashscope", &options.dashscope),
            ("databricks", &options.databricks),
            ("gemini", &options.gemini),
            ("huggingface", &options.huggingface),
        ];
        let others = other_providers.into_iter().filter(|(name, _)| match *name {
            // Its options are of the older API, which is gone.
            "huggingface" => true,
            name => name != provider.as_str(),
        });
        for (field, value) in others {
            self.not_built(&format!("{path}.{field}"), value.as_ref());
        }
        self.formats(path, provider, options);
    }

    /// Of several wires OpenAI's is built.
    fn formats(&mut self, path: &str, provider: Provider, options: &Options) {
        let formats = [
            ("anthropic_version", &options.anthropic_version),
            ("llama2_format", &options.llama2_format),
            ("mistral_format", &options.mistral_format),
        ];
        for (field, value) in formats {
            let Some(value) = value.as_deref() else { continue };
            if field == "anthropic_version"
                && provider == Provider::Azure
                && azure::wire(options) == Wire::Messages
            {
                continue;
            }
            if !field.starts_with(provider.as_str()) {
                let text = "its provider is not that of the target; leave it out";
                self.0.push(format!("{path}.{field}: {text}"));
            } else if value != "openai" {
                self.instead(&format!("{path}.{field}"), value, "openai");
            }
        }
    }
}

fn speaks_messages(model: &Model) -> bool {
    let options = model.options.as_ref().filter(|_| model.provider == Provider::Azure);
    options.is_some_and(|options| azure::wire(options) == Wire::Messages)
}

/// Whether a value says anything: dumped configurations spell out records full of defaults.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => members.iter().any(|(name, value)| match name.as_str() {
            // Defaults of Kong's schema for other providers.
            "embedding_input_type" => value != "classification" && is_set(value),
            "international" => *value == Value::Bool(false),
            _ => is_set(value),
        }),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::config::tests::target;

    fn advanced(targets: Vec<Target>, more: Value) -> AiProxyAdvanced {
        let mut config = json!({
            "targets": [], "balancer": null, "response_streaming": "allow",
            "max_request_body_size": 1048576, "model_name_header": true, "llm_format": "openai",
            "genai_category": "text/generation", "acls": null, "embeddings": null,
            "vectordb": null
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        AiProxyAdvanced { targets, ..serde_json::from_value(config).unwrap() }
    }

    #[test]
    fn what_is_built_gives_no_line() {
        let auth = json!({"azure_use_managed_identity": true, "azure_client_id": "id"});
        let options = json!({
            "top_k": 4, "input_cost": 1.5, "max_tokens": 5,
            "service_tier_factor": [{"tier": "x", "factor": 2}],
            "dashscope": {"international": true},
            "cohere": {"embedding_input_type": "classification", "wait_for_model": null},
            "bedrock": {"aws_region": null, "embeddings_normalize": false}
        });
        let targets = vec![
            target(auth, options, json!({"model_alias": "a"})),
            target(json!({}), json!({}), json!({"provider": "openai", "route_type": "preserve"})),
        ];
        assert_eq!(in_ai_proxy_advanced(&advanced(targets, json!({}))), Vec::<String>::new());
    }

    #[test]
    fn providers_have_their_own_operations_and_options() {
        let of = |options: Value, model: Value| {
            in_ai_proxy_advanced(&advanced(vec![target(json!({}), options, model)], json!({})))
        };
        let none = Vec::<String>::new();
        let mistral = json!({"mistral_format": "openai"});
        assert_eq!(of(mistral, json!({"provider": "mistral"})), none);
        let workspace = json!({"databricks": {"workspace_instance_id": "dbc-1"}});
        assert_eq!(of(workspace, json!({"provider": "databricks"})), none);
        let grok = json!({"provider": "xai", "route_type": "llm/v1/responses"});
        assert_eq!(of(json!({}), grok), none);
        let place = "config.targets[0]";
        let audio = json!({"provider": "deepseek", "route_type": "audio/v1/audio/speech"});
        let text = "'audio/v1/audio/speech' is not an operation of provider deepseek";
        assert_eq!(of(json!({}), audio), [format!("{place}.route_type: {text}")]);
        let ollama = of(json!({"llama2_format": "ollama"}), json!({"provider": "llama2"}));
        let text = "'ollama' is not built yet; use openai";
        assert_eq!(ollama, [format!("{place}.model.options.llama2_format: {text}")]);
    }

    #[test]
    fn claude_on_foundry_is_for_those_who_speak_its_api() {
        let options = || {
            json!({"azure_service": "azure-foundry", "azure_foundry_resource": "r",
            "azure_foundry_path_prefix": "/anthropic/v1", "anthropic_version": "2023-06-01"})
        };
        let of = |format: &str, model: Value| {
            let targets = vec![target(json!({}), options(), model)];
            in_ai_proxy_advanced(&advanced(targets, json!({ "llm_format": format })))
        };
        let none = Vec::<String>::new();
        assert_eq!(of("anthropic", json!({})), none);
        assert_eq!(of("openai", json!({"route_type": "preserve"})), none);
        let field = "model.options.azure_foundry_path_prefix";
        let text = "Anthropic's Messages API is spoken there; set config.llm_format to \
            anthropic, or use /openai/v1";
        assert_eq!(of("openai", json!({})), [format!("config.targets[0].{field}: {text}")]);
        let alone = in_target("config.llm", &target(json!({}), options(), json!({})));
        let text = "this plugin asks in OpenAI's words; use /openai/v1 and a model that takes them";
        assert_eq!(alone, [format!("config.llm.{field}: {text}")]);
    }

    #[test]
    fn every_line_names_field_and_remedy() {
        let balancer = json!({
            "algorithm": "lowest-usage", "connect_timeout": 60000, "write_timeout": 60000,
            "read_timeout": 60000, "retries": 5, "failover_criteria": ["error"], "max_fails": 0,
            "fail_timeout": 10000, "slots": 10000, "hash_on_header": "X-Kong-LLM-Request-ID",
            "latency_strategy": "tpot", "tokens_count_strategy": "llm-accuracy"
        });
        let more = json!({
            "balancer": balancer, "llm_format": "cohere",
            "genai_category": "realtime/generation"
        });
        let auth = json!({"gcp_use_service_account": true});
        let options = json!({
            "gemini": {"project_id": "p"},
            "mistral_format": "openai"
        });
        let gemini = json!({"provider": "gemini", "route_type": "llm/v1/embeddings"});
        let targets = vec![target(json!({}), json!({}), gemini), target(auth, options, json!({}))];
        let lines = in_ai_proxy_advanced(&advanced(targets, more));
        assert_eq!(
            lines,
            [
                "config.llm_format: 'cohere' is not built yet; use openai or anthropic",
                "config.balancer.tokens_count_strategy: 'llm-accuracy' needs the scores of \
                 ai-llm-as-judge, which is not built yet; use total-tokens or cost",
                "config.targets[0].model.provider: 'gemini' is not built yet; \
                 use azure, openai or a provider that speaks OpenAI's API",
                "config.targets[1].auth.gcp_use_service_account: not built yet; \
                 use header_name and header_value, or azure_use_managed_identity",
                "config.targets[1].model.options.gemini: not built yet; leave it out",
                "config.targets[1].model.options.mistral_format: its provider is not that of the \
                 target; leave it out",
            ]
        );
    }
}
