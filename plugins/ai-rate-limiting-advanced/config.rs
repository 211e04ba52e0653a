//! The configuration, and the limits that it comes to.

use std::sync::Arc;

use serde::Deserialize;

use super::super::limits::{By, Criterion};
use super::rules::{Condition, Match};
use crate::llm::Provider;
use crate::pdk::Spent;
use crate::quota::amounts::Window;
use crate::redis::Record;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    identifier: Option<Criterion>,
    header_name: Option<String>,
    path: Option<String>,
    pub(super) llm_providers: Option<Vec<LlmProvider>>,
    pub(super) policies: Option<Vec<Policy>>,
    window_type: Option<WindowType>,
    tokens_count_strategy: Option<Strategy>,
    pub(super) strategy: Option<Counters>,
    pub(super) sync_rate: Option<f64>,
    pub(super) namespace: Option<String>,
    #[allow(dead_code)] // the counters of this process have their place
    dictionary_name: Option<String>,
    pub(super) redis: Option<Record>,
    pub(super) llm_format: Option<String>,
    pub(super) error_code: Option<f64>,
    pub(super) error_message: Option<String>,
    pub(super) error_hide_providers: Option<bool>,
    pub(super) hide_client_headers: Option<bool>,
    pub(super) retry_after_jitter_max: Option<f64>,
    pub(super) disable_penalty: Option<bool>,
    #[allow(dead_code)] // Redis adds fractions here
    decrease_by_fractions_in_redis: Option<bool>,
    pub(super) request_prompt_count_function: Option<String>,
    pub(super) custom_cost_count_function: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WindowType {
    Fixed,
    Sliding,
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Strategy {
    TotalTokens,
    PromptTokens,
    CompletionTokens,
    Cost,
}

/// Where it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Counters {
    Local,
    Redis,
    Cluster,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LlmProvider {
    name: String,
    limit: Vec<f64>,
    window_size: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    id: Option<String>,
    #[serde(rename = "match")]
    matches: Option<Vec<Condition>>,
    limits: Option<Vec<PolicyLimit>>,
    window_type: Option<WindowType>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyLimit {
    limit: f64,
    window_size: f64,
    tokens_count_strategy: Option<Strategy>,
}

impl Strategy {
    /// What this counts of a request that is over.
    pub(super) fn of(self, spent: &Spent) -> f64 {
        match self {
            Self::TotalTokens => spent.total_tokens as f64,
            Self::PromptTokens => spent.prompt_tokens as f64,
            Self::CompletionTokens => spent.completion_tokens as f64,
            Self::Cost => spent.cost,
        }
    }

    /// What a request is sure to use, from an estimate of its prompt. Prices are not known before
    /// a target is.
    pub(super) fn at_least(self, prompt_tokens: u64) -> f64 {
        match self {
            Self::TotalTokens | Self::PromptTokens => prompt_tokens as f64,
            Self::CompletionTokens | Self::Cost => 0.0,
        }
    }
}

/// What is counted under the name of a provider.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// What this provider has answered.
    Provider(&'static str),
    /// What `request_prompt_count_function` says of a request.
    RequestPrompt,
    /// What `custom_cost_count_function` says when a request is over.
    CustomCost,
}

impl Counted {
    fn named(name: &str) -> Option<Self> {
        let provider = || serde_json::from_value::<Provider>(name.into()).ok();
        match name {
            "requestPrompt" => Some(Self::RequestPrompt),
            "customCost" => Some(Self::CustomCost),
            _ => Some(Self::Provider(provider()?.as_str())),
        }
    }

    /// Its name in a configuration.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Provider(name) => name,
            Self::RequestPrompt => "requestPrompt",
            Self::CustomCost => "customCost",
        }
    }
}

/// Limits that count together.
pub(super) struct Limiter {
    /// At the end of header names: the provider, or `policy-<n>`.
    pub(super) name: Arc<str>,
    /// Which requests.
    pub(super) matches: Match,
    /// Counts only what this one has answered; `None` is a policy.
    pub(super) provider: Option<Counted>,
    pub(super) limits: Vec<Limit>,
}

pub(super) struct Limit {
    pub(super) window: Window,
    pub(super) strategy: Strategy,
}

impl Limiter {
    /// What a request is sure to use of a limit: from an estimate of its prompt in tokens, or from
    /// what the function for requests has counted.
    pub(super) fn at_least(&self, strategy: Strategy, prompt_tokens: u64, counted: f64) -> f64 {
        match self.provider {
            Some(Counted::RequestPrompt) => counted,
            Some(Counted::CustomCost) => 0.0,
            _ => strategy.at_least(prompt_tokens),
        }
    }
}

impl Config {
    /// Whose use is counted together.
    pub(super) fn by(&self) -> Result<By, Vec<String>> {
        By::new(self.identifier, self.header_name.as_deref(), self.path.clone())
    }

    /// The limits, or what stands against them.
    pub(super) fn limiters(&self) -> Result<Vec<Limiter>, Vec<String>> {
        let mut errors = Vec::new();
        let slides = self.window_type != Some(WindowType::Fixed);
        let strategy = self.tokens_count_strategy.unwrap_or(Strategy::TotalTokens);
        let mut limiters = Vec::new();
        for (at, provider) in self.llm_providers.iter().flatten().enumerate() {
            match provider.limiter(slides, strategy) {
                Ok(limiter) => limiters.push(limiter),
                Err(what) => errors.push(format!("config.llm_providers[{at}].{what}")),
            }
        }
        for (at, policy) in self.policies.iter().flatten().enumerate() {
            match policy.limiter(at) {
                Ok(limiter) => limiters.push(limiter),
                Err(what) => errors.push(format!("config.policies[{at}].{what}")),
            }
        }
        if errors.is_empty() { Ok(limiters) } else { Err(errors) }
    }
}

impl LlmProvider {
    fn limiter(&self, slides: bool, strategy: Strategy) -> Result<Limiter, String> {
        let provider = Counted::named(&self.name)
            .ok_or_else(|| format!("name: '{}' is no provider of models", self.name))?;
        let limit = |(limit, size): (&f64, &f64)| Limit {
            window: Window { limit: *limit, size: seconds(*size), slides },
            strategy,
        };
        Ok(Limiter {
            name: self.name.as_str().into(),
            matches: Match::default(),
            provider: Some(provider),
            limits: self.limit.iter().zip(&self.window_size).map(limit).collect(),
        })
    }
}

impl Policy {
    fn limiter(&self, at: usize) -> Result<Limiter, String> {
        if self.id.is_some() {
            return Err("id: the entities 'ai_rate_limiting_policies' are not built; leave it \
                        out, and put limits and match in the policy itself"
                .to_owned());
        }
        let limits = self.limits.as_ref().ok_or("limits: required field missing")?;
        let slides = self.window_type != Some(WindowType::Fixed);
        let limit = |limit: &PolicyLimit| Limit {
            window: Window { limit: limit.limit, size: seconds(limit.window_size), slides },
            strategy: limit.tokens_count_strategy.unwrap_or(Strategy::TotalTokens),
        };
        Ok(Limiter {
            name: format!("policy-{}", at + 1).into(),
            matches: Match::new(self.matches.as_deref().unwrap_or_default())?,
            provider: None,
            limits: limits.iter().map(limit).collect(),
        })
    }
}

/// A window in whole seconds, at least one.
fn seconds(size: f64) -> u64 {
    size.ceil().clamp(1.0, 1e12) as u64
}
