//! What the client sent, as far as a target may depend on it.
//!
//! It is read once. A fail-over prepares it anew for the next target, and what was put on the
//! request for the last one, its key above all, comes off first.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, UPGRADE};
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::inflate::accepts_gzip;
use super::messages;
use super::session::Refusal;
use super::setup::Setup;
use super::stored;
use super::targets::Indexes;
use crate::llm::{self, Body, Plan, Prepared, Wire, anthropic, form, openai};
use crate::pdk::{Exchange, ReadError};
use crate::plugins::prompts::is_ours;
use crate::respond::Failure;
use crate::router::path;

/// Headers that carry credentials for a model. A client's own are for the gateway at most.
pub(super) const CREDENTIALS: [HeaderName; 3] =
    [AUTHORIZATION, HeaderName::from_static("api-key"), HeaderName::from_static("x-api-key")];

/// Headers in which a client says whom it speaks for. Only a trusted peer's word goes to a model.
pub(super) const FORWARDED: [HeaderName; 2] =
    [HeaderName::from_static("x-forwarded-for"), http::header::FORWARDED];

/// A client's request.
pub(super) struct Client {
    /// The body as it came; empty when it streams to the upstream unread.
    body: Body,
    /// The chat that a message asks for, where a target may get it that speaks chats.
    chat: Option<Box<Body>>,
    /// Whether a client of Anthropic's API asks only how long its message is.
    pub(super) asks_for_count: bool,
    /// Whether the body was read.
    pub(super) was_read: bool,
    /// Whether it can read gzip.
    pub(super) accepts_gzip: bool,
    /// The targets it may go to.
    pub(super) candidates: Indexes,
    /// The query, before a target changed it.
    query: String,
    /// The values of the headers that targets change; all that a client signs in with.
    headers: SmallVec<[(HeaderName, HeaderValue); 2]>,
}

impl Client {
    /// Reads the request; bodies that are no JSON stay on the wire. Boxed, as it is large and goes
    /// through several hands.
    pub(super) async fn read(setup: &Setup, ex: &Exchange) -> Result<Box<Self>, Refusal> {
        let content_type = ex.request.header(CONTENT_TYPE);
        let content_type = content_type.as_ref().map(HeaderValue::as_bytes);
        let is_json = content_type.is_none_or(openai::is_json);
        let was_read = is_json || is_form_to_read(setup, ex, content_type);
        // Audio and images are larger than what is asked in words.
        let limit = if is_ours(ex) || !is_json { 0 } else { setup.body_limit };
        let bytes = if was_read { whole(setup, ex, limit).await? } else { Bytes::new() };
        let body = Body::read(content_type, bytes, limit)?;
        let mut candidates = candidates(setup, ex, &body)?;
        stored::keep_to_owner(setup, ex, body.object(), &mut candidates);
        let asks_for_count = setup.messages && messages::asks_for_count(ex);
        let chat = match setup.messages {
            true if messages::asks_for_batches(ex) => {
                messages::only_claude(setup, &mut candidates)?;
                None
            }
            true => messages::chat(setup, &body, &mut candidates, asks_for_count)?.map(Box::new),
            false => None,
        };
        let headers = ex.request.headers();
        let kept = setup.changed_headers.iter().flat_map(|name| {
            headers.get_all(name).iter().map(move |value| (name.clone(), value.clone()))
        });
        Ok(Box::new(Self {
            was_read,
            accepts_gzip: accepts_gzip(&headers),
            candidates,
            query: ex.service.query().unwrap_or_default(),
            headers: kept.collect(),
            body,
            chat,
            asks_for_count,
        }))
    }

    /// The body in the words of a target.
    pub(super) fn body_for(&self, plan: &Plan) -> &Body {
        let chat = self.chat.as_deref().filter(|_| plan.wire() == Wire::Openai);
        chat.unwrap_or(&self.body)
    }

    /// The body that an estimate goes by: as a chat, where it is one.
    pub(super) fn words(&self) -> &Body {
        self.chat.as_deref().unwrap_or(&self.body)
    }

    /// Whether the client sent this header.
    pub(super) fn has(&self, name: &HeaderName) -> bool {
        self.headers.iter().any(|(own, _)| own == name)
    }

    /// Takes off what a target put on the request.
    pub(super) fn restore(&self, setup: &Setup, ex: &Exchange) {
        for name in &setup.changed_headers {
            ex.request.clear_header(name);
        }
        for (name, value) in &self.headers {
            ex.request.add_header(name.clone(), value.clone());
        }
    }

    /// The request for one target; `counts` asks a stream for its tokens.
    pub(super) fn prepare(
        &self,
        ex: &Exchange,
        plan: &Plan,
        counts: bool,
    ) -> Result<Prepared, llm::Error> {
        let captures = |key: &str| {
            let found = ex.matched()?.captures.iter().find(|(name, _)| name == key)?;
            Some(found.1.clone())
        };
        let client = llm::Client {
            method: &ex.request.method,
            raw_path: ex.request.raw_path(),
            path: &path::normalise(ex.request.raw_path()),
            query: &self.query,
            headers: &ex.request.headers(),
            captures: &captures,
        };
        plan.prepare(&client, self.body_for(plan), counts)
    }
}

/// The targets that a request means and that its client may use.
fn candidates(setup: &Setup, ex: &Exchange, body: &Body) -> Result<Indexes, Refusal> {
    // A session has no body, and names its model in the query.
    let upgrades = ex.request.headers().contains_key(UPGRADE);
    let session = upgrades.then(|| ex.request.query_arg("model")).flatten();
    let is_batch = setup.messages && messages::asks_for_batches(ex);
    let batch = body.object().filter(|_| is_batch).map(anthropic::models_of_batch);
    let batch = batch.unwrap_or_default();
    let first = batch.first().and_then(Option::as_deref);
    let model = body.model().or(session.map(Into::into)).or(first.map(Into::into));
    let model = model.as_deref();
    let mut candidates = setup.targets.candidates(model);
    if let Some(acls) = &setup.acls {
        if batch.len() > anthropic::MODELS_OF_BATCH_MAX {
            return Err(llm::Error::Denied.into());
        }
        // Who may not ask for a model may not have it asked in a batch either.
        let admits = |target| {
            let mut others = batch.iter().skip(1);
            acls.admit(ex, model, target)
                && others.all(|other| acls.admit(ex, other.as_deref(), target))
        };
        candidates.retain(|index| setup.targets.at(*index).is_some_and(admits));
        if candidates.is_empty() {
            return Err(llm::Error::Denied.into());
        }
    }
    Ok(candidates)
}

/// Whether a form has to be looked into, which names the model for some target. One that says it
/// is longer than what the process reads goes on unread, with the model that its client names.
fn is_form_to_read(setup: &Setup, ex: &Exchange, content_type: Option<&[u8]>) -> bool {
    let process = setup.shared.settings.buffer_limit as u64;
    ex.request.body_len().is_none_or(|length| length <= process)
        && content_type.and_then(form::boundary).is_some()
        && setup.targets.all().iter().any(|target| target.plan.reads_forms())
}

/// The whole body, within the limit of the plugin and that of the process.
async fn whole(setup: &Setup, ex: &Exchange, limit: usize) -> Result<Bytes, Refusal> {
    let process = setup.shared.settings.buffer_limit;
    let own = Some(limit).filter(|limit| (1..process).contains(limit));
    ex.request.body(own.unwrap_or(process)).await.map_err(|error| match (own, &error) {
        (Some(limit), ReadError::TooLarge { .. }) => llm::Error::TooLarge { limit }.into(),
        _ => {
            tracing::info!(request_id = %ex.id, fault = "client", "request body: {error}");
            Refusal::Gateway(Failure::from(&error))
        }
    })
}

/// Every header that a request for one of these targets may change.
pub(super) fn changed_headers(keys: impl Iterator<Item = HeaderName>) -> Vec<HeaderName> {
    let mut names: Vec<_> = CREDENTIALS.into_iter().chain(keys).collect();
    names.push(ACCEPT_ENCODING);
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names
}
