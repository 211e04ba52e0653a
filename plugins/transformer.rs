//! What the AI transformers have in common: a body goes to a model with instructions, and what it
//! answers takes its place. Kong's order, Kong's texts, Kong's log record.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Context;
use super::ai_proxy_advanced::{FieldNames, Target, model_in_use, without_key};
use super::model_call::{Answered, Caller, Failed, Terms};
use super::patterns::{Flags, Pattern};
use super::prompts;
use crate::llm::json::Fault;
use crate::llm::reply::Reply;
use crate::llm::{Error, config, parameters};
use crate::pdk::{Exchange, ModelCall, ModelUse, Spent};
use crate::plugin::Outcome;

/// The fields of both transformers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) prompt: String,
    pub(super) transformation_extract_pattern: Option<String>,
    pub(super) http_timeout: u64,
    pub(super) https_verify: bool,
    pub(super) max_request_body_size: Option<u64>,
    pub(super) http_proxy_host: Option<String>,
    pub(super) http_proxy_port: Option<u16>,
    pub(super) https_proxy_host: Option<String>,
    pub(super) https_proxy_port: Option<u16>,
    pub(super) llm: config::Target,
}

/// A model with its instructions.
pub(super) struct Transformer {
    /// The plugin's name, under which it is logged.
    plugin: &'static str,
    caller: Caller,
    prompt: String,
    pattern: Option<Pattern>,
}

/// Why there is nothing to put in the place of a body.
pub(super) enum Unchanged {
    /// Told to the client, as Kong does.
    Said(String),
    /// No token, or no target.
    Gateway(Error),
}

impl Unchanged {
    /// Tells the client.
    pub(super) fn answer(self, ex: &Exchange) -> Outcome {
        match self {
            Self::Said(message) => {
                tracing::info!(request_id = %ex.id, fault = "upstream", "{message}");
                prompts::refuse(ex, &message)
            }
            Self::Gateway(error) => prompts::answer(ex, &error),
        }
    }
}

impl Transformer {
    /// Compiles it, or says all that stands against it.
    pub(super) fn new(
        context: &Context<'_>,
        plugin: &'static str,
        config: Config,
    ) -> Result<Self, Vec<String>> {
        let pattern = config.transformation_extract_pattern.as_deref();
        let pattern = pattern.map(|text| Pattern::new(text, Flags::CaselessLines));
        if let Some(fault) = pattern.as_ref().and_then(Pattern::fault) {
            context.warn(&format!("config.transformation_extract_pattern: {fault}"));
        }
        let terms = Terms {
            timeout_ms: config.http_timeout,
            verify: config.https_verify,
            http_proxy: config.http_proxy_host.zip(config.http_proxy_port),
            https_proxy: config.https_proxy_host.zip(config.https_proxy_port),
        };
        let caller = Caller::new(context, FieldNames::new("config.llm", &[]), config.llm, terms)?;
        Ok(Self { plugin, caller, prompt: config.prompt, pattern })
    }

    /// What the model makes of a body.
    pub(super) async fn transform(&self, ex: &Exchange, body: &[u8]) -> Result<String, Unchanged> {
        let no_target = || Unchanged::Gateway(Error::NoTarget);
        let target = self.caller.target().ok_or_else(no_target)?;
        if target.log_payloads {
            let client = without_key(ex, ex.request.whole_body().unwrap_or_default());
            self.log(ex, "payload.request", String::from_utf8_lossy(&client).into());
        }
        let chat = target.plan.chat(&self.prompt, &String::from_utf8_lossy(body));
        let is_traced = ModelCall::is_wanted(ex);
        let parameters = if is_traced { parameters::of(&chat) } else { Vec::new() };
        let began = Instant::now();
        let answered = self.caller.post(ex, chat).await.map(|answered| {
            let read = Reply::read(answered.body.bytes.clone());
            (answered, read)
        });
        if is_traced {
            let call = ModelCall { parameters, ..self.call(target, began, &answered) };
            ex.own.keep(Rc::new(call));
        }
        let (answered, read) = answered.map_err(|failed| match failed {
            Failed::NoToken => Unchanged::Gateway(Error::NoIdentity),
            Failed::NoTarget => no_target(),
            Failed::Lost(why) => {
                introspection(&format!("request to ai service failed: request failed: {why}"))
            }
        })?;
        if answered.status.as_u16() > 299 {
            return Err(introspection(&format!("status code {}", answered.status.as_u16())));
        }
        let bytes = answered.body.bytes.clone();
        let (provider, route) = (target.plan.provider(), target.plan.route_type());
        let reply = Reply::of_route(provider, route, read).map_err(|error| {
            Unchanged::Said(format!("failed to convert AI response to Kong format: {error}"))
        })?;
        self.report(ex, target, &reply, &bytes, answered.took);
        let content = reply.content().ok_or_else(|| {
            Unchanged::Said("no 'choices' in upstream AI service response".to_owned())
        })?;
        self.extracted(content)
    }

    /// What traces tell of a call.
    fn call(
        &self,
        target: &Target,
        began: Instant,
        answered: &Result<(Answered, Result<Reply, Fault>), Failed>,
    ) -> ModelCall {
        let reply = answered.as_ref().ok().and_then(|(_, read)| read.as_ref().ok());
        let usage = reply.and_then(Reply::usage);
        let ending = reply.map(Reply::ending).unwrap_or_default();
        let name = target.plan.name().cloned();
        let error = match answered {
            Ok((answered, _)) if answered.status.as_u16() < 300 => None,
            Ok((answered, _)) => Some(answered.status.as_str().to_owned()),
            Err(Failed::Lost(why)) if why == "timeout" => Some(why.clone()),
            Err(_) => Some("_OTHER".to_owned()),
        };
        ModelCall {
            provider: target.plan.provider().as_str(),
            operation: target.plan.route_type().gen_ai_operation(),
            counted_as: name.clone().unwrap_or_else(|| Arc::from("UNSPECIFIED")),
            model: name,
            parameters: Vec::new(),
            answered_by: reply.and_then(Reply::model),
            id: ending.id,
            reasons: ending.reasons,
            prompt_tokens: usage.map(|usage| usage.prompt_tokens),
            completion_tokens: usage.map(|usage| usage.completion_tokens),
            server: self.caller.server(),
            sent: began,
            took: began.elapsed(),
            first: None,
            error,
        }
    }

    /// The part of the answer that is used.
    fn extracted(&self, content: String) -> Result<String, Unchanged> {
        let Some(pattern) = &self.pattern else { return Ok(content) };
        match pattern.find(content.as_bytes()) {
            Ok(Some(found)) => Ok(String::from_utf8_lossy(found).into_owned()),
            Ok(None) => Err(Unchanged::Said(
                "AI response did not match specified regular expression".to_owned(),
            )),
            Err(error) => {
                Err(Unchanged::Said(format!("failed regex matching ai response: {error}")))
            }
        }
    }

    fn log(&self, ex: &Exchange, name: &str, value: Value) {
        ex.log.set(&format!("ai.{}.{name}", self.plugin), value);
    }

    /// Puts into the log record what Kong does, and counts.
    fn report(&self, ex: &Exchange, target: &Target, reply: &Reply, body: &Bytes, took: Duration) {
        if target.log_payloads {
            self.log(ex, "payload.response", String::from_utf8_lossy(body).into());
        }
        if !target.log_statistics {
            return;
        }
        let latency_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let model = model_in_use(ex).unwrap_or_else(|| Arc::from("UNSPECIFIED"));
        let provider = target.plan.provider().as_str();
        let answering = reply.model().or_else(|| target.plan.name().map(|name| name.to_string()));
        let mut meta = json!({
            "plugin_id": self.caller.plugin_id(),
            "provider_name": provider,
            "request_model": &*model,
            "llm_latency": latency_ms,
        });
        if let Some(answering) = answering {
            meta["response_model"] = answering.into();
        }
        let counted = reply.usage();
        let mut usage = Map::new();
        let mut cost = 0.0;
        if let Some(counted) = &counted {
            let per_token = latency_ms.checked_div(counted.completion_tokens).unwrap_or(0);
            usage.insert("time_per_token".to_owned(), per_token.into());
            usage.insert("prompt_tokens".to_owned(), counted.prompt_tokens.into());
            usage.insert("completion_tokens".to_owned(), counted.completion_tokens.into());
            usage.insert("total_tokens".to_owned(), counted.total_tokens.into());
            if target.prices.are_set() {
                cost = target.prices.cost(counted, reply.tier().as_deref());
                usage.insert("cost".to_owned(), cost.into());
            }
        }
        self.log(ex, "meta", meta);
        self.log(ex, "usage", usage.into());
        self.log(ex, "cache", json!({}));
        let counted = counted.unwrap_or_default();
        let spent = Spent {
            prompt_tokens: counted.prompt_tokens,
            completion_tokens: counted.completion_tokens,
            total_tokens: counted.total_tokens,
            cost,
            latency_ms,
        };
        ex.own.keep(Rc::new(ModelUse { provider, model, spent: Some(spent), cache: None }));
    }
}

fn introspection(why: &str) -> Unchanged {
    Unchanged::Said(format!("failed to introspect request with AI service: {why}"))
}
