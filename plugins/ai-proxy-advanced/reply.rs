//! The reply of a model on its way to the client: checked, counted, never rewritten.
//!
//! A whole reply is looked at in `response`, before anything goes to the client; a stream is
//! watched event by event; of other replies a bounded copy is kept for usage, payload logs and
//! for what Azure says when it refuses a credential. Bodies pass byte for byte. Only gzip is
//! undone: in streams, and for clients that cannot read it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use anyhow::anyhow;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::inflate::{Inflate, inflate, is_gzip};
use super::messages;
use super::realtime;
use super::session::Session;
use super::stored::Learner;
use super::stream::{Stream, Wanted};
use super::targets::Target;
use crate::llm::anthropic::fault;
use crate::llm::ending::Ending;
use crate::llm::realtime::SessionUsage;
use crate::llm::reply::Reply as Checked;
use crate::llm::usage::{Tail, Usage, last_usage};
use crate::llm::{RouteType, openai};
use crate::pdk::body::{Buffered, Collector};
use crate::pdk::{Chunk, Exchange, ModelCall, Source};
use crate::plugin::{Outcome, Stop};

/// What is kept of a reply that passes, in bytes.
const COPY_MAX: usize = 1 << 20;

/// What is known of a reply.
#[derive(Default)]
pub(super) struct Reply {
    passage: Passage,
    /// When the last byte, or `[DONE]`, was here.
    pub(super) ended: Option<Instant>,
}

/// How a reply goes through the gateway.
#[derive(Default)]
enum Passage {
    /// Nothing is looked at.
    #[default]
    Unseen,
    /// It was read whole; what could be read of it.
    Whole(Box<Seen>),
    /// It passes.
    Passing(Box<Passing>),
    /// It is a session, which is overheard.
    Session(Rc<RefCell<SessionUsage>>),
}

/// What a reply says of itself.
#[derive(Default)]
pub(super) struct Seen {
    /// The tokens.
    pub(super) usage: Option<Usage>,
    /// The model that answered.
    pub(super) model: Option<String>,
    /// The tier of service that it was served in.
    pub(super) tier: Option<String>,
    /// The body, for a payload log or a diagnosis.
    pub(super) text: Option<Buffered>,
    /// When the first event was here; streams only.
    pub(super) first: Option<Instant>,
    /// Its id, and why the model stopped; only where somebody wants to know.
    pub(super) ending: Option<Ending>,
}

impl Seen {
    fn learn(&mut self, ex: &Exchange, reply: &Checked) {
        self.usage = reply.usage();
        self.model = reply.model();
        self.tier = reply.tier();
        self.ending = ModelCall::is_wanted(ex).then(|| reply.ending());
    }
}

/// Whether `response` is to have the whole reply: when the client's own format is checked.
///
/// Where a stream was asked for and something else came, it passes as it is (Kong closes the
/// connection without an answer).
pub(super) fn is_checked(session: &Session, ex: &Exchange) -> bool {
    let Some(asked) = session.asked() else { return false };
    if session.setup.messages {
        return asked.is_checked
            && messages::is_converted(ex)
            && !is_event_stream(&ex.response.headers());
    }
    is_ok(ex)
        && !asked.stream
        && asked.is_checked
        && ex.request.method != Method::HEAD
        && !is_event_stream(&ex.response.headers())
}

/// Checks a whole reply; what is no reply becomes Kong's 500, with the upstream's headers.
pub(super) fn check(session: &Session, ex: &Exchange) {
    let (Some(target), Some(body)) = (session.target(), ex.response.body()) else { return };
    if is_ok(ex) {
        head(session, target, ex);
    }
    let mut reply = session.reply.borrow_mut();
    reply.ended = Some(Instant::now());
    let is_gzip = is_gzip(&ex.response.headers());
    let plain = if is_gzip {
        let limit = session.setup.shared.settings.buffer_limit;
        inflate(&body, limit, ex.request.budget()).unwrap_or_else(|error| {
            tracing::warn!(request_id = %ex.id, fault = "upstream", "{error}");
            Buffered::default() // which is no reply either
        })
    } else {
        Buffered::from(body)
    };
    let (provider, route_type) = (target.plan.provider(), target.plan.route_type());
    let mut seen = Seen::default();
    if !is_ok(ex) {
        messages::replace_error(ex, &plain.bytes);
        // What the model said, for the line on a refused credential.
        seen.text = Some(plain);
        reply.passage = Passage::Whole(Box::new(seen));
        return;
    }
    match Checked::check(provider, route_type, plain.bytes.clone()) {
        Ok(checked) if session.setup.messages => {
            seen.learn(ex, &checked);
            messages::replace(session, ex, &plain.bytes, seen.usage);
        }
        Ok(checked) => {
            if is_gzip && !accepts_gzip(session) {
                ex.response.clear_header(CONTENT_ENCODING);
                ex.response.replace_body(plain.bytes.clone());
            }
            seen.learn(ex, &checked);
        }
        Err(error) => {
            tracing::warn!(request_id = %ex.id, fault = "upstream", "{error}");
            ex.response.set_status(error.status());
            ex.response.clear_header(CONTENT_ENCODING);
            ex.response.replace_body(match session.setup.messages {
                true => fault::own(&error, ex.id.as_str()),
                false => error.body(ex.id.as_str()).into(),
            });
        }
    }
    seen.text = target.log_payloads.then_some(plain);
    reply.passage = Passage::Whole(Box::new(seen));
}

/// Decides how a reply passes that was not read whole, and sets its headers.
pub(super) fn begin(session: &Session, ex: &Exchange) {
    let Some((asked, target)) = session.asked().zip(session.target()) else { return };
    let is_seen = !matches!(session.reply.borrow().passage, Passage::Unseen);
    if is_seen || ex.response.source() != Source::Service {
        return;
    }
    if let Some(heard) = realtime::listen(session, ex) {
        session.reply.borrow_mut().passage = Passage::Session(heard);
        return;
    }
    let status = ex.response.status();
    if is_ok(ex) {
        head(session, target, ex);
    }
    if ex.request.method == Method::HEAD {
        return;
    }
    let (is_gzip, is_stream, is_json) = {
        let headers = ex.response.headers();
        (is_gzip(&headers), is_event_stream(&headers), is_json(&headers))
    };
    let is_opaque = is_opaque(target);
    let stream = (is_ok(ex) && is_stream && !is_opaque).then(|| {
        let translator = (session.setup.messages && asked.is_checked)
            .then(|| messages::translator(session, &asked));
        let wanted = Wanted {
            transcript: target.log_payloads,
            ending: ModelCall::is_wanted(ex),
            hides_usage: asked.hides_usage,
        };
        Stream::new(&target.plan, wanted, translator)
    });
    let inflates = is_gzip && (stream.is_some() || !accepts_gzip(session));
    let is_refusal = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let copies = stream.is_none()
        && (target.log_payloads && !is_media(&ex.response.headers())
            || (is_ok(ex) && is_json && (asked.stream || !asked.is_checked))
            || (is_ok(ex) && is_stream && is_opaque)
            || (is_refusal && target.authenticates())
            || (is_json && status == StatusCode::BAD_REQUEST));
    if inflates {
        ex.response.clear_header(CONTENT_ENCODING);
    }
    if inflates || stream.is_some() {
        ex.response.clear_header(CONTENT_LENGTH);
    }
    let is_told = is_json || stream.is_some();
    let learner = Learner::new(session, ex, is_gzip && !inflates).filter(|_| is_told);
    if !inflates && !copies && stream.is_none() && learner.is_none() {
        return;
    }
    let passing = Passing {
        inflate: inflates.then(Inflate::new),
        stream,
        learner,
        copy: copies.then(|| Collector::new(COPY_MAX, ex.request.budget())),
        tail: None,
        copies_gzip: is_gzip && !inflates,
    };
    session.reply.borrow_mut().passage = Passage::Passing(Box::new(passing));
}

/// Takes off what one of several targets says of its limits (`x-ratelimit-remaining-tokens`): a
/// client would take it for what all of them have left.
pub(super) fn drop_limits(session: &Session, ex: &Exchange) {
    let has_others = session.setup.targets.all().len() > 1;
    if has_others && ex.response.source() == Source::Service {
        // Those of Kong's limits end in a time.
        let is_limit = |name: &&HeaderName| {
            let name = name.as_str();
            let kinds = ["-requests", "-tokens"].iter().any(|kind| name.ends_with(kind));
            name.starts_with("x-ratelimit-") && kinds || name.starts_with("anthropic-ratelimit-")
        };
        let limits: Vec<_> = ex.response.headers().keys().filter(is_limit).cloned().collect();
        limits.iter().for_each(|name| ex.response.clear_header(name));
    }
}

/// Takes a piece of a reply that passes.
pub(super) fn pass(session: &Session, chunk: &mut Chunk) -> Outcome {
    let mut reply = session.reply.borrow_mut();
    let Reply { passage, ended } = &mut *reply;
    let Passage::Passing(passing) = passage else { return Ok(()) };
    let outcome = passing.pass(chunk);
    let is_done = passing.stream.as_ref().is_some_and(Stream::is_done);
    if (chunk.last || is_done) && ended.is_none() {
        *ended = Some(Instant::now());
    }
    outcome
}

impl Reply {
    /// The tokens of a stream that has come to its end.
    pub(super) fn tokens_of_stream(&self, session: &Session) -> Option<Usage> {
        let Passage::Passing(passing) = &self.passage else { return None };
        passing.stream.as_ref()?.usage(|| session.prompt_tokens())
    }

    /// What the reply said, once it is over.
    pub(super) fn seen(&mut self, session: &Session, ex: &Exchange) -> Seen {
        match std::mem::take(&mut self.passage) {
            Passage::Unseen => Seen::default(),
            Passage::Whole(seen) => *seen,
            Passage::Passing(passing) => passing.seen(session, ex),
            Passage::Session(heard) => {
                Seen { usage: Some(heard.borrow().usage()), ..Seen::default() }
            }
        }
    }
}

/// A reply that passes.
struct Passing {
    inflate: Option<Inflate>,
    stream: Option<Stream>,
    /// What remembers the ids it tells.
    learner: Option<Learner>,
    /// The beginning of a copy; dropped when the reply is too long for one.
    copy: Option<Collector>,
    /// Then this is kept.
    tail: Option<Tail>,
    copies_gzip: bool,
}

impl Passing {
    fn pass(&mut self, chunk: &mut Chunk) -> Outcome {
        let inflated = match &mut self.inflate {
            None => Ok(std::mem::take(&mut chunk.data)),
            Some(inflate) => {
                let data = inflate.push(&chunk.data);
                let ends = chunk.last && !chunk.broken;
                data.and_then(|data| Ok(joined(data, ends.then(|| inflate.finish()).transpose()?)))
            }
        };
        if let Some(stream) = &mut self.stream {
            return stream.pass(chunk, inflated, self.learner.as_mut());
        }
        let data = inflated.map_err(|error| Stop::Fault(anyhow!(error)))?;
        self.learner.iter_mut().for_each(|learner| learner.see(&data));
        self.keep(&data);
        chunk.data = data;
        Ok(())
    }

    /// Keeps a copy, or of what is too long for one the end.
    fn keep(&mut self, data: &Bytes) {
        if let Some(tail) = &mut self.tail {
            return tail.push(data);
        }
        let Some(copy) = &mut self.copy else { return };
        if copy.push(data.clone()).is_ok() {
            return;
        }
        let copy = self.copy.take().map(Collector::finish);
        if !self.copies_gzip {
            let mut tail = Tail::default();
            copy.iter().for_each(|copy| tail.push(&copy.bytes));
            tail.push(data);
            self.tail = Some(tail);
        }
    }

    fn seen(self, session: &Session, ex: &Exchange) -> Seen {
        if let Some(stream) = self.stream {
            return stream.seen(|| session.prompt_tokens());
        }
        if let Some(tail) = self.tail {
            return Seen { usage: tail.usage().filter(|_| is_ok(ex)), ..Seen::default() };
        }
        let Some(copy) = self.copy.map(Collector::finish) else { return Seen::default() };
        let text = if self.copies_gzip {
            let limit = session.setup.shared.settings.buffer_limit.min(8 * COPY_MAX);
            inflate(&copy.bytes, limit, ex.request.budget()).unwrap_or_default()
        } else {
            copy
        };
        // Errors have neither usage nor model, and no other status is looked at.
        let reply = Checked::of_any_kind(text.bytes.clone()).filter(|_| is_ok(ex));
        let mut seen = Seen::default();
        match &reply {
            Some(reply) => seen.learn(ex, reply),
            None if is_ok(ex) => seen.usage = last_usage(&text.bytes),
            None => {}
        }
        seen.text = Some(text);
        seen
    }
}

/// The headers of a 200: whose model answered, and no cookies of the upstream's (Kong).
fn head(session: &Session, target: &Target, ex: &Exchange) {
    if !is_preserved(target) {
        ex.response.clear_header(SET_COOKIE);
    }
    let wanted = session.setup.model_name_header || ex.request.headers().contains_key("kong-debug");
    let model = session.asked().and_then(|asked| asked.model_header.clone());
    if let Some(model) = model.filter(|_| wanted) {
        ex.response.set_header("x-kong-llm-model", model);
    }
}

/// Whether everything is left as it is.
fn is_preserved(target: &Target) -> bool {
    target.plan.route_type() == RouteType::Preserve
}

/// Pictures and sound are longer than the events that are looked at one by one.
fn is_opaque(target: &Target) -> bool {
    matches!(
        target.plan.route_type(),
        RouteType::ImageGenerations | RouteType::ImageEdits | RouteType::Speech
    )
}

fn is_ok(ex: &Exchange) -> bool {
    ex.response.source() == Source::Service && ex.response.status() == StatusCode::OK
}

fn accepts_gzip(session: &Session) -> bool {
    session.client.get().is_some_and(|client| client.accepts_gzip)
}

/// Whether a reply is a stream of events.
pub(in crate::plugins) fn is_event_stream(headers: &HeaderMap) -> bool {
    const KIND: &[u8] = b"text/event-stream";
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.get(..KIND.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(KIND))
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| openai::is_json(kind.as_bytes()))
}

/// Sound, pictures and files, which say nothing in a log.
fn is_media(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let kinds: [&[u8]; 4] = [b"audio/", b"image/", b"video/", b"application/octet-stream"];
    kinds.iter().any(|media| kind.starts_with(media))
}

/// Two pieces as one; most often the second is empty.
pub(super) fn joined(first: Bytes, second: Option<Bytes>) -> Bytes {
    match second.filter(|second| !second.is_empty()) {
        None => first,
        Some(second) if first.is_empty() => second,
        Some(second) => [first, second].concat().into(),
    }
}
