//! Asks the upstream, sends what it answers to a model, and answers the client with what the model
//! makes of it. As in Kong the gateway itself is then where the response comes from.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::Context;
use super::ai_proxy_advanced::{inflate, is_gzip};
use super::prompts;
use super::transformer::{self, Transformer};
use crate::llm::config::Target;
use crate::pdk::service::Via;
use crate::pdk::{Answer, Exchange, Unanswered};
use crate::plugin::{Outcome, Phases, Plugin, Step, Stop};
use crate::respond::{self, Failure};
use instructions::Instructions;

mod instructions;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    prompt: String,
    transformation_extract_pattern: Option<String>,
    http_timeout: u64,
    https_verify: bool,
    max_request_body_size: Option<u64>,
    http_proxy_host: Option<String>,
    http_proxy_port: Option<u16>,
    https_proxy_host: Option<String>,
    https_proxy_port: Option<u16>,
    llm: Target,
    parse_llm_response_json_instructions: bool,
}

struct ResponseTransformer {
    transformer: Transformer,
    /// The model says status, headers and body.
    has_instructions: bool,
    timeout_ms: u64,
    verify: bool,
    /// On the way to plain upstreams, and to encrypted ones.
    proxies: [Option<Via>; 2],
    /// Largest reply that is inflated, bytes.
    limit: usize,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let config: Config = context.config()?;
    let has_instructions = config.parse_llm_response_json_instructions;
    let (timeout_ms, verify) = (config.http_timeout, config.https_verify);
    let via = |host: &Option<String>, port: Option<u16>| {
        Some(Via { host: host.as_deref()?.into(), port: port? })
    };
    let proxies = [
        via(&config.http_proxy_host, config.http_proxy_port),
        via(&config.https_proxy_host, config.https_proxy_port),
    ];
    let config = transformer::Config {
        prompt: config.prompt,
        transformation_extract_pattern: config.transformation_extract_pattern,
        http_timeout: config.http_timeout,
        https_verify: config.https_verify,
        max_request_body_size: config.max_request_body_size,
        http_proxy_host: config.http_proxy_host,
        http_proxy_port: config.http_proxy_port,
        https_proxy_host: config.https_proxy_host,
        https_proxy_port: config.https_proxy_port,
        llm: config.llm,
    };
    let transformer = Transformer::new(context, "ai-response-transformer", config)?;
    let limit = context.shared.settings.buffer_limit;
    Ok(Box::new(ResponseTransformer {
        transformer,
        has_instructions,
        timeout_ms,
        verify,
        proxies,
        limit,
    }))
}

impl Plugin for ResponseTransformer {
    fn phases(&self) -> Phases {
        Phases::ACCESS.and(Phases::MODEL)
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::wait(self.answer(ex))
    }
}

impl ResponseTransformer {
    async fn answer(&self, ex: &Exchange) -> Outcome {
        let Some(upstream) = ex.upstream.get().cloned() else {
            respond::fail(ex, Failure::Unexpected);
            return Err(Stop::Exit);
        };
        self.prepare(ex);
        let mut answer = match upstream.ask(ex).await {
            Ok(answer) => answer,
            Err(unanswered) => return lost(ex, unanswered),
        };
        let body = match is_gzip(&answer.headers) {
            false => answer.body.clone(),
            true => match inflate(&answer.body.bytes, self.limit, ex.request.budget()) {
                Ok(body) => body,
                Err(error) => return internal(ex, &format!("reply of the upstream: {error}")),
            },
        };
        let changed = match self.transformer.transform(ex, &body.bytes).await {
            Ok(changed) => changed,
            Err(unchanged) => return unchanged.answer(ex),
        };
        for name in [CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING] {
            answer.headers.remove(name);
        }
        self.exit(ex, answer, changed)
    }

    /// The plugin's own limits hold for the upstream, too (Kong).
    fn prepare(&self, ex: &Exchange) {
        let ms = if self.timeout_ms == 0 { 60_000 } else { self.timeout_ms };
        let mut limits = ex.service.limits.get();
        (limits.connect_ms, limits.write_ms, limits.read_ms) = (ms, ms, ms);
        ex.service.limits.set(limits);
        let verify = self.verify;
        ex.service.change_tls(|tls| tls.verify = Some(verify));
        let proxy = &self.proxies[usize::from(ex.service.scheme().is_tls())];
        *ex.service.via.borrow_mut() = proxy.clone();
    }

    fn exit(&self, ex: &Exchange, answer: Answer, changed: String) -> Outcome {
        let Answer { status, mut headers, .. } = answer;
        if !self.has_instructions {
            put(ex, &headers);
            return ex.response.exit(status, None, changed.into());
        }
        let said = match Instructions::read(&changed) {
            Ok(said) => said,
            Err(error) => {
                let what = "failed to parse JSON response instructions from AI backend";
                return internal(ex, &format!("{what}: {error}"));
            }
        };
        let Some(status) = said.status else {
            tracing::error!(request_id = %ex.id, fault = "upstream", "the model says no status");
            respond::fail(ex, Failure::Unexpected);
            return Err(Stop::Exit);
        };
        for (name, value) in said.headers {
            headers.insert(name, value);
        }
        put(ex, &headers);
        let json = Some("application/json; charset=utf-8");
        let kind = json.filter(|_| said.is_json && !headers.contains_key(CONTENT_TYPE));
        ex.response.exit(status, kind, said.body)
    }
}

/// Puts headers into the response, in the place of those of the same names.
fn put(ex: &Exchange, headers: &HeaderMap) {
    let mut ours = ex.response.headers_mut();
    for name in headers.keys() {
        ours.remove(name);
        for value in headers.get_all(name) {
            ours.append(name, value.clone());
        }
    }
}

fn internal(ex: &Exchange, message: &str) -> Outcome {
    tracing::error!(request_id = %ex.id, fault = "upstream", "{message}");
    prompts::fail(ex, StatusCode::INTERNAL_SERVER_ERROR, message)
}

/// What Kong says when its own request to the upstream fails. A request without a Service, or one
/// that the client did not finish, fails as it always does.
fn lost(ex: &Exchange, unanswered: Unanswered) -> Outcome {
    let (failure, unsent) = match unanswered {
        Unanswered::Exited => return Err(Stop::Exit),
        Unanswered::Lost { failure, unsent } => (failure, unsent),
    };
    let why = match failure {
        Failure::GatewayTimeout => "timeout",
        Failure::NameResolution | Failure::NoPeer => "[cosocket] DNS resolution failed",
        Failure::BadGateway | Failure::Unavailable if unsent => "connection refused",
        Failure::BadGateway | Failure::Unavailable => "closed",
        other => {
            respond::fail(ex, other);
            return Err(Stop::Exit);
        }
    };
    let what = if unsent { "failed to connect to upstream" } else { "subrequest failed" };
    internal(ex, &format!("{what}: {why}"))
}
