//! Shows what is said to a model, and what it says, to Azure AI Content Safety, and lets only that
//! pass which stays below the levels of the configuration. The service is asked with a key or as
//! one of the identities of ai-proxy.
//!
//! Kong's words for clients, and its keys for log records. A reply is looked at whole before any of
//! it goes out; of a stream each part before it does.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use super::ai_proxy_advanced::{FieldNames, inflate, is_event_stream, is_gzip};
use super::model_call::{Caller, Failed, Terms};
use super::prompts::{self, Bodies};
use super::said::{self, Part};
use crate::azure;
use crate::entity::Secret;
use crate::llm::config::Target;
use crate::llm::openai;
use crate::llm::splice::Twice;
use crate::llm::sse::TooLong;
use crate::pdk::{Exchange, Source};
use crate::plugin::{Outcome, Phases, Plugin, Step};
use stream::Watch;
use verdict::{Analysis, Finding};

mod stream;
mod verdict;

/// The most characters that Azure looks at in one call.
const TEXT_MAX: usize = 10_000;

/// Milliseconds to connect, and between two reads.
const TIMEOUT_MS: u64 = 10_000;

/// This plugin's names for fields of a target.
const OWN: &[(&str, &str)] = &[
    ("auth.azure_", "azure_"),
    ("auth.header_value", "content_safety_key"),
    ("model.options.upstream_url", "content_safety_url"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    content_safety_url: String,
    azure_api_version: String,
    content_safety_key: Option<Secret>,
    azure_use_managed_identity: Option<bool>,
    azure_client_id: Option<String>,
    azure_client_secret: Option<Secret>,
    azure_tenant_id: Option<String>,
    text_source: Option<Part>,
    categories: Option<Vec<Category>>,
    blocklist_names: Option<Vec<String>>,
    halt_on_blocklist_hit: bool,
    output_type: String,
    reveal_failure_reason: bool,
    guarding_mode: Option<Mode>,
    stop_on_error: bool,
    response_buffer_size: Option<f64>,
    ssl_verify: bool,
    log_blocked_content: bool,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Category {
    name: String,
    rejection_level: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Mode {
    Input,
    Output,
    Both,
}

/// What is looked at, in the words of Kong's log keys.
#[derive(Clone, Copy)]
enum Side {
    Input,
    Output,
}

struct Guard {
    caller: Caller,
    bodies: Bodies,
    part: Part,
    categories: Vec<Category>,
    blocklists: Vec<String>,
    halts: bool,
    output_type: String,
    reveals: bool,
    mode: Mode,
    stops_on_error: bool,
    logs_content: bool,
    /// Largest reply that is inflated, bytes.
    limit: usize,
    /// Bytes of text that a stream gathers before they are looked at; `None` is the whole of it.
    window: Option<usize>,
}

/// The plugin; what looks at a stream has the guard, too.
struct Plugged(Rc<Guard>);

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let config: Config = context.config()?;
    let terms = Terms {
        timeout_ms: TIMEOUT_MS,
        verify: config.ssl_verify,
        http_proxy: None,
        https_proxy: None,
    };
    if config.content_safety_key.is_none() && config.azure_use_managed_identity != Some(true) {
        context.warn(
            "config.content_safety_key: not set, and azure_use_managed_identity is not true: the \
             service is asked without a credential",
        );
    }
    let target = config.target().map_err(|error| vec![format!("config: {error}")])?;
    let caller = Caller::new(context, FieldNames::new("config", OWN), target, terms)?;
    let limit = context.shared.settings.buffer_limit;
    let window = config.response_buffer_size.filter(|size| *size >= 1.0);
    Ok(Box::new(Plugged(Rc::new(Guard {
        caller,
        bodies: Bodies::new(&context.shared.settings, None),
        part: config.text_source.unwrap_or(Part::ConcatenateAllContent),
        categories: config.categories.unwrap_or_default(),
        blocklists: config.blocklist_names.unwrap_or_default(),
        halts: config.halt_on_blocklist_hit,
        output_type: config.output_type,
        reveals: config.reveal_failure_reason,
        mode: config.guarding_mode.unwrap_or(Mode::Input),
        stops_on_error: config.stop_on_error,
        logs_content: config.log_blocked_content,
        limit,
        window: window.map(|size| size as usize),
    }))))
}

impl Config {
    /// The service as a target: what knows how to ask a model asks it, with the same identities.
    fn target(&self) -> Result<Target, serde_json::Error> {
        let mark = if self.content_safety_url.contains('?') { '&' } else { '?' };
        let version = url::form_urlencoded::byte_serialize(self.azure_api_version.as_bytes());
        let version: String = version.collect();
        let url = format!("{}{mark}api-version={version}", self.content_safety_url);
        let signs_in = self.azure_use_managed_identity == Some(true);
        let mut auth = json!({ "azure_use_managed_identity": signs_in });
        if signs_in {
            let secret = self.azure_client_secret.as_ref().map(Secret::expose);
            auth["azure_client_id"] = json!(self.azure_client_id);
            auth["azure_client_secret"] = json!(secret);
            auth["azure_tenant_id"] = json!(self.azure_tenant_id);
        } else if let Some(key) = &self.content_safety_key {
            auth["header_name"] = "Ocp-Apim-Subscription-Key".into();
            auth["header_value"] = key.expose().into();
        }
        serde_json::from_value(json!({
            "route_type": "preserve",
            "auth": auth,
            "model": { "provider": "azure", "options": { "upstream_url": url } },
        }))
    }
}

/// A text was not looked at, and why: for the operator.
struct Unseen(String);

/// What a client is told in place of what it may not see or say.
struct Refused {
    status: StatusCode,
    message: String,
}

impl Refused {
    fn answer(self, ex: &Exchange) -> Outcome {
        ex.response.clear_header(CONTENT_TYPE);
        prompts::fail(ex, self.status, &self.message)
    }
}

impl Plugin for Plugged {
    fn phases(&self) -> Phases {
        let reply = Phases::RESPONSE.and(Phases::HEADER_FILTER);
        match self.0.mode {
            Mode::Input => Phases::ACCESS,
            Mode::Output => reply,
            Mode::Both => Phases::ACCESS.and(reply),
        }
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::wait(self.0.look_at_request(ex))
    }

    fn buffers(&self, ex: &Exchange) -> bool {
        is_reply(ex) && kind_of(ex).is_some() && !self.0.screens(ex)
    }

    fn response<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::wait(self.0.look_at_reply(ex))
    }

    fn header_filter(&self, ex: &Exchange) -> Outcome {
        if is_reply(ex) && self.0.screens(ex) {
            ex.response.clear_header(CONTENT_LENGTH);
            let watch = Watch::new(self.0.clone(), self.0.window.unwrap_or_default());
            ex.response.screen.replace(Some(Rc::new(watch)));
        }
        Ok(())
    }
}

/// Whether it is the upstream's, and not an error of it.
fn is_reply(ex: &Exchange) -> bool {
    ex.response.source() == Source::Service && ex.response.status() == StatusCode::OK
}

/// Whether a reply is a stream; `None` where it is nothing that could be read.
fn kind_of(ex: &Exchange) -> Option<bool> {
    let headers = ex.response.headers();
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    match is_event_stream(&headers) {
        true => Some(true),
        false => kind.is_none_or(openai::is_json).then_some(false),
    }
}

impl Guard {
    /// Whether a reply is looked at piece by piece: a stream that nobody has read whole, and that
    /// is not packed.
    fn screens(&self, ex: &Exchange) -> bool {
        let is_plain = || !is_gzip(&ex.response.headers()) && ex.response.body().is_none();
        self.window.is_some() && kind_of(ex) == Some(true) && is_plain()
    }

    async fn look_at_request(&self, ex: &Exchange) -> Outcome {
        let body = self.bodies.take(ex).await?;
        // Forms and sound say nothing that could be looked at; what is no JSON the model refuses.
        let Some(request) = prompts::object(ex, body) else { return Ok(()) };
        match self.part.of_request(&request) {
            Ok(text) => self.judge(ex, Side::Input, &text).await.or_else(|told| told.answer(ex)),
            Err(Twice) => prompts::refuse(ex, "bad request"),
        }
    }

    async fn look_at_reply(&self, ex: &Exchange) -> Outcome {
        let (Some(body), Some(is_stream)) = (ex.response.body(), kind_of(ex)) else {
            return Ok(());
        };
        let is_packed = is_gzip(&ex.response.headers());
        let body = match is_packed {
            false => Ok(body),
            true => {
                inflate(&body, self.limit, ex.request.budget()).map(|whole| whole.bytes.clone())
            }
        };
        let judged = match body {
            Ok(body) => {
                let (text, read) = said::of_reply(&body, is_stream);
                let unseen =
                    |error: TooLong| self.unseen(ex, Side::Output, &Unseen(error.to_string()));
                match read.or_else(unseen) {
                    Ok(()) => self.judge(ex, Side::Output, &text).await,
                    Err(told) => Err(told),
                }
            }
            Err(error) => self.unseen(ex, Side::Output, &Unseen(error.to_string())),
        };
        judged.or_else(|told| told.answer(ex))
    }

    async fn judge(&self, ex: &Exchange, side: Side, text: &str) -> Result<(), Refused> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let began = std::time::Instant::now();
        let looked = self.ask(ex, text).await;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        log(ex, &format!("{}_processing_latency", side.name()), took_ms.into());
        match looked {
            Ok(None) => Ok(()),
            Ok(Some(finding)) => Err(self.refuse(ex, side, &finding, text)),
            Err(unseen) => self.unseen(ex, side, &unseen),
        }
    }

    /// Asks about a text, in pieces that Azure takes; the first piece that is refused ends it.
    async fn ask(&self, ex: &Exchange, text: &str) -> Result<Option<Finding>, Unseen> {
        for piece in pieces(text) {
            let answered = self.caller.post(ex, self.question(piece)).await.map_err(|failed| {
                Unseen(match failed {
                    Failed::NoToken => "no Azure token".to_owned(),
                    Failed::NoTarget => "a vault reference was not resolved".to_owned(),
                    Failed::Lost(why) => why,
                })
            })?;
            if answered.status != StatusCode::OK {
                let keys = self.caller.target().map(|target| target.plan.secrets());
                let keys = keys.unwrap_or_default();
                let keys: Vec<&str> = keys.iter().map(Secret::expose).collect();
                let said = azure::words(&answered.body.bytes, &keys).unwrap_or_default();
                return Err(Unseen(format!("status {}: {said}", answered.status.as_u16())));
            }
            let analysis = Analysis::read(&answered.body.bytes);
            let analysis = analysis.map_err(|error| Unseen(format!("its answer: {error}")))?;
            for (category, severity) in analysis.severities() {
                ex.log.set(&format!("ai.audit.azure_content_safety.{category}"), severity.into());
            }
            let levels = self.categories.iter().map(|one| (one.name.as_str(), one.rejection_level));
            if let Some(finding) = analysis.finding(levels) {
                return Ok(Some(finding));
            }
        }
        Ok(None)
    }

    fn question(&self, text: &str) -> Bytes {
        let mut question = json!({ "text": text, "outputType": self.output_type });
        if !self.categories.is_empty() {
            let names: Vec<_> = self.categories.iter().map(|one| one.name.as_str()).collect();
            question["categories"] = json!(names);
        }
        if !self.blocklists.is_empty() {
            question["blocklistNames"] = json!(self.blocklists);
            question["haltOnBlocklistHit"] = self.halts.into();
        }
        question.to_string().into()
    }

    fn refuse(&self, ex: &Exchange, side: Side, finding: &Finding, text: &str) -> Refused {
        let plugin = "ai-azure-content-safety";
        let what = side.subject();
        tracing::warn!(request_id = %ex.id, plugin, "{what} failed the check: {finding}");
        let name = side.name();
        log(ex, &format!("{name}_block_reason"), finding.to_string().into());
        log(ex, &format!("{name}_block_source"), plugin.into());
        if let Some(id) = ex.client.consumer_id() {
            log(ex, &format!("{name}_block_consumer_id"), id.to_string().into());
        }
        log(ex, "guards_triggered_count", 1.into());
        if self.logs_content {
            log(ex, side.faulty(), text.into());
        }
        let message = match self.reveals {
            true => format!("{what} failed content safety check: {finding}"),
            false => format!("{what} failed content safety check"),
        };
        Refused { status: StatusCode::BAD_REQUEST, message }
    }

    /// What could not be looked at passes only if the operator says so.
    fn unseen(&self, ex: &Exchange, side: Side, unseen: &Unseen) -> Result<(), Refused> {
        let (what, why) = (side.subject(), &unseen.0);
        let fault = "upstream";
        tracing::error!(request_id = %ex.id, fault, "content safety: {what} not seen: {why}");
        if !self.stops_on_error {
            return Ok(());
        }
        let message = format!("{what} could not be checked for content safety");
        Err(Refused { status: StatusCode::INTERNAL_SERVER_ERROR, message })
    }
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Input => "request",
            Self::Output => "response",
        }
    }

    fn faulty(self) -> &'static str {
        match self {
            Self::Input => "input_faulty_prompt",
            Self::Output => "output_faulty_response",
        }
    }
}

fn log(ex: &Exchange, name: &str, value: Value) {
    ex.log.set(&format!("ai.proxy.azure-content-safety.{name}"), value);
}

/// A text in pieces of as many characters as Azure takes.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.char_indices().nth(TEXT_MAX).map_or(rest.len(), |(at, _)| at);
        let (piece, left) = rest.split_at(end);
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_asked_about_in_pieces_of_whole_characters() {
        let text = "\u{e4}".repeat(TEXT_MAX) + "rest";
        let lengths: Vec<_> = pieces(&text).map(|piece| piece.chars().count()).collect();
        assert_eq!(lengths, [TEXT_MAX, 4]);
        assert_eq!(pieces("").count(), 0);
    }
}
