//! Answers a question that means what an earlier one meant with the reply to that one.
//!
//! It runs behind ai-proxy and before the model is asked: the request is then as the target would
//! get it, so what another model was asked, or with other options, is another question. Replies are
//! kept whole, once their last byte has gone to the client; one that was a stream answers clients
//! that want none, and the other way round.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AGE, CACHE_CONTROL, EXPIRES, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::Context;
use super::ai_proxy_advanced::{
    chat_in_use, hides_usage, inflate, is_event_stream, is_gzip, tokens_of_stream,
};
use super::directives::Directives;
use super::embeddings::Embeddings;
use super::keeping::Keeping;
use super::prompts::{self, Bodies};
use crate::llm::{assembled, embeddings};
use crate::pdk::{CacheUse, Chunk, Exchange, Source};
use crate::plugin::{Outcome, Phases, Plugin, Step};
use crate::vectors::{self, Item, Store};
use kept::Kept;
use question::{Question, is_keepable};

mod kept;
mod question;

const STATUS: HeaderName = HeaderName::from_static("x-cache-status");
const KEY: HeaderName = HeaderName::from_static("x-cache-key");
const TTL: HeaderName = HeaderName::from_static("x-cache-ttl");

/// The largest reply that is kept, in bytes.
const REPLY_MAX: usize = 1 << 20;

/// The longest that a reply is kept, in seconds: a year, as for HTTP's caches. No store can count
/// to any number.
const TTL_MAX: u64 = 365 * 24 * 3600;

/// The greatest distance where the configuration says none: what Kong's documents name.
const THRESHOLD: f64 = 0.2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    embeddings: embeddings::Embeddings,
    vectordb: vectors::Record,
    /// Seconds.
    cache_ttl: Option<u64>,
    message_countback: f64,
    ignore_system_prompts: bool,
    ignore_assistant_prompts: bool,
    ignore_tool_prompts: bool,
    exact_caching: bool,
    cache_control: bool,
    stop_on_failure: bool,
    llm_format: Option<String>,
}

struct SemanticCache {
    config: Config,
    embeddings: Embeddings,
    store: Rc<Store>,
    bodies: Bodies,
    /// Largest reply that is inflated, bytes.
    limit: usize,
    embedding_model: Rc<str>,
}

/// The reply of an exchange is to be kept, if it is of a kind that is kept.
struct Wanted {
    question: Question,
    vector: Vec<f32>,
    /// What was to be asked.
    chat: Option<String>,
}

/// What comes of the reply so far.
struct Pending {
    wanted: Rc<Wanted>,
    /// Seconds.
    ttl: u64,
    is_stream: bool,
    is_gzip: bool,
    body: Keeping,
}

/// What was found out about a question.
enum Found {
    /// A reply that was kept.
    Kept(String, Kept),
    /// None that will do; what the question means.
    Nothing(Vec<f32>, &'static str),
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let config: Config = context.config()?;
    prompts::other_format(config.llm_format.as_deref(), &["openai"])?;
    let dimensions = usize::try_from(config.vectordb.dimensions).unwrap_or(0);
    let space = format!("replies:{}", context.entity.id);
    let (env, vectordb) = (&context.snapshot.env, config.vectordb.clone());
    let store = Store::new(context.shared, env, vectordb, "config.vectordb", &space);
    let model =
        Embeddings::new(context, "config.embeddings", config.embeddings.clone(), dimensions.max(1));
    let (store, embeddings) = match (store, model) {
        (Ok(store), Ok(embeddings)) => (store, embeddings),
        (store, model) => {
            return Err(store.err().into_iter().chain(model.err()).flatten().collect());
        }
    };
    let settings = &context.shared.settings;
    Ok(Box::new(SemanticCache {
        embedding_model: embeddings.model().into(),
        embeddings,
        store: Rc::new(store),
        bodies: Bodies::new(settings, None),
        limit: settings.buffer_limit.min(8 * REPLY_MAX),
        config,
    }))
}

impl Plugin for SemanticCache {
    fn phases(&self) -> Phases {
        Phases::ACCESS.and(Phases::HEADER_FILTER).and(Phases::BODY_FILTER).and(Phases::LOG)
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::wait(self.look(ex))
    }

    fn header_filter(&self, ex: &Exchange) -> Outcome {
        let Some(wanted) = ex.own.find::<Wanted>() else { return Ok(()) };
        if ex.response.source() != Source::Service
            || ex.response.status() != StatusCode::OK
            // Fail-over may have led to another target.
            || chat_in_use(ex) != wanted.chat
        {
            return Ok(());
        }
        let Some(ttl) = self.lifetime(&ex.response.headers()) else {
            self.tell(ex, "Bypass");
            return Ok(());
        };
        let (is_stream, is_gzip) = {
            let headers = ex.response.headers();
            (is_event_stream(&headers), is_gzip(&headers))
        };
        let body = Keeping::new(ex, REPLY_MAX);
        ex.own.keep(Rc::new(Pending { wanted, ttl, is_stream, is_gzip, body }));
        Ok(())
    }

    fn body_filter(&self, ex: &Exchange, chunk: &mut Chunk) -> Outcome {
        let Some(pending) = ex.own.find::<Pending>() else { return Ok(()) };
        if pending.body.is_whole_with(ex, NAME, chunk) {
            self.keep(ex, &pending);
        }
        Ok(())
    }

    fn log(&self, ex: &Exchange) {
        let Some(used) = ex.own.find::<CacheUse>().filter(|_| ex.log.is_wanted()) else { return };
        let mut told = json!({
            "cache_status": used.status.get(),
            "vector_db": used.vector_db,
            "embeddings_provider": used.embeddings_provider,
            "embeddings_model": &*used.embeddings_model,
        });
        for (name, ms) in ["fetch_latency", "embeddings_latency"].iter().zip(used.times()) {
            if let Some(ms) = ms {
                told[name] = ms.into();
            }
        }
        ex.log.set("ai.proxy.cache", told);
    }
}

const NAME: &str = "ai-semantic-cache";

impl SemanticCache {
    /// Answers with what was kept, or notes that the reply is to be.
    async fn look(&self, ex: &Exchange) -> Outcome {
        let used = Rc::new(CacheUse {
            status: Cell::new("Bypass"),
            vector_db: self.store.name(),
            embeddings_provider: self.embeddings.provider(),
            embeddings_model: self.embedding_model.clone(),
            fetch_ms: Cell::default(),
            embeddings_ms: Cell::default(),
        });
        ex.own.keep(used.clone());
        let asked = Directives::of(&ex.request.headers(), &CACHE_CONTROL);
        let is_forbidden =
            self.config.cache_control && (asked.has("no-store") || asked.has("no-cache"));
        let question = if is_forbidden { None } else { self.question(ex).await? };
        let Some(question) = question else {
            self.tell(ex, "Bypass");
            return Ok(());
        };
        let found = match self.find(ex, &question, &asked, &used).await {
            Ok(found) => found,
            Err(why) => {
                tracing::error!(request_id = %ex.id, plugin = NAME, fault = "upstream", "{why}");
                self.tell(ex, "Bypass");
                return match self.config.stop_on_failure {
                    true => {
                        let status = StatusCode::INTERNAL_SERVER_ERROR;
                        prompts::fail(ex, status, "the semantic cache cannot be asked")
                    }
                    false => Ok(()),
                };
            }
        };
        let (vector, status) = match found {
            Found::Kept(key, kept) => {
                if let Some(outcome) = self.answer(ex, &question, &key, &kept) {
                    return outcome;
                }
                self.tell(ex, "Bypass");
                return Ok(());
            }
            Found::Nothing(vector, status) => (vector, status),
        };
        if self.config.cache_control && asked.has("only-if-cached") {
            self.tell(ex, status);
            return ex.response.exit(StatusCode::GATEWAY_TIMEOUT, None, Bytes::new());
        }
        self.tell(ex, status);
        set(ex, KEY, &question.key);
        ex.own.keep(Rc::new(Wanted { question, vector, chat: chat_in_use(ex) }));
        Ok(())
    }

    /// What is asked, if it is a question that can be compared.
    async fn question(&self, ex: &Exchange) -> Result<Option<Question>, crate::plugin::Stop> {
        let chat = chat_in_use(ex).filter(|_| ex.request.method == Method::POST);
        let Some(chat) = chat else { return Ok(None) };
        let body = match ex.request.whole_body() {
            Some(body) => body,
            None => self.bodies.take(ex).await?,
        };
        let Some(request) = prompts::object(ex, body) else { return Ok(None) };
        let route = ex.matched().map(|matched| matched.route.id).unwrap_or_default();
        let mut place = route.as_bytes().to_vec();
        place.extend_from_slice(self.embeddings.digest());
        let Config { message_countback, .. } = &self.config;
        place.extend_from_slice(&message_countback.to_be_bytes());
        place.extend([
            u8::from(self.config.ignore_system_prompts),
            u8::from(self.config.ignore_assistant_prompts),
            u8::from(self.config.ignore_tool_prompts),
        ]);
        place.extend_from_slice(chat.as_bytes());
        let mut question = Question::of(&request, &self.config, &place);
        if let Some(question) = question.as_mut().filter(|_| hides_usage(ex)) {
            question.tells_usage = false;
        }
        Ok(question)
    }

    /// A reply that will do: to the very same request, or to one that means the same.
    async fn find(
        &self,
        ex: &Exchange,
        question: &Question,
        asked: &Directives,
        used: &CacheUse,
    ) -> Result<Found, String> {
        let lost = |failure: vectors::Failure| format!("{}: {failure}", self.store.place());
        let mut status = "Miss";
        if self.config.exact_caching {
            let began = Instant::now();
            let value = self.store.find(&question.key).await;
            waited(ex, &used.fetch_ms, began);
            if let Some(kept) = value.map_err(lost)?.and_then(Kept::read) {
                match self.is_good_enough(&kept, asked) {
                    true => return Ok(Found::Kept(question.key.clone(), kept)),
                    false => status = "Refresh",
                }
            }
        }
        let began = Instant::now();
        let vector = self.embeddings.of(Some(ex), &question.text).await;
        used.embeddings_ms.set(Some(millis(began.elapsed())));
        let vector = vector.map_err(|why| {
            format!("the embedding model cannot be asked about the prompt: {why}")
        })?;
        let threshold = self.store.threshold().unwrap_or(THRESHOLD);
        let began = Instant::now();
        let near = self.store.nearest(&question.scope, &vector, threshold).await;
        waited(ex, &used.fetch_ms, began);
        let near = near.map_err(lost)?;
        let kept = near.and_then(|near| Some((near.key, Kept::read(near.value)?)));
        Ok(match kept {
            Some((key, kept)) if self.is_good_enough(&kept, asked) => Found::Kept(key, kept),
            Some(_) => Found::Nothing(vector, "Refresh"),
            None => Found::Nothing(vector, status),
        })
    }

    /// Whether a client takes what was kept.
    fn is_good_enough(&self, kept: &Kept, asked: &Directives) -> bool {
        if !self.config.cache_control {
            return true;
        }
        let (age, left) = kept.age_and_rest(unix_secs());
        asked.seconds("max-age").is_none_or(|most| age as f64 <= most)
            && asked.seconds("min-fresh").is_none_or(|least| left as f64 >= least)
    }

    /// The reply as it was kept, or as the stream that is asked for.
    fn answer(
        &self,
        ex: &Exchange,
        question: &Question,
        key: &str,
        kept: &Kept,
    ) -> Option<Outcome> {
        let (kind, body) = match question.stream {
            true => {
                let stream = assembled::streamed(&kept.body, question.tells_usage)?;
                ("text/event-stream", stream.into())
            }
            false => ("application/json", kept.body.clone()),
        };
        let outcome = ex.response.exit(StatusCode::OK, Some(kind), body);
        let (age, left) = kept.age_and_rest(unix_secs());
        self.tell(ex, "Hit");
        set(ex, KEY, key);
        ex.response.set_header(TTL, HeaderValue::from(left));
        ex.response.set_header(AGE, HeaderValue::from(age));
        Some(outcome)
    }

    /// Tells the client, the log and the counters.
    fn tell(&self, ex: &Exchange, status: &'static str) {
        ex.response.set_header(STATUS, HeaderValue::from_static(status));
        if let Some(used) = ex.own.find::<CacheUse>() {
            used.status.set(status);
        }
    }

    /// How many seconds a reply is good for; `None` if it must not be kept.
    fn lifetime(&self, headers: &HeaderMap) -> Option<u64> {
        let own = self.config.cache_ttl.unwrap_or(300).min(TTL_MAX);
        if !self.config.cache_control {
            return Some(own);
        }
        let said = Directives::of(headers, &CACHE_CONTROL);
        if ["private", "no-store", "no-cache"].iter().any(|word| said.has(word)) {
            return None;
        }
        let says_when =
            said.has("s-maxage") || said.has("max-age") || headers.contains_key(EXPIRES);
        if !says_when {
            return Some(own);
        }
        let ttl = said.lifetime(headers.get(EXPIRES), SystemTime::now()) as u64;
        (ttl > 0).then_some(ttl.min(TTL_MAX))
    }

    /// Keeps the reply. Nothing waits for the store.
    fn keep(&self, ex: &Exchange, pending: &Rc<Pending>) {
        let Some(body) = pending.body.take() else { return };
        let plain = match pending.is_gzip {
            true => inflate(&body.bytes, self.limit, ex.request.budget()).unwrap_or_default(),
            false => body,
        };
        let reply = match pending.is_stream {
            true => {
                let counted = tokens_of_stream(ex);
                assembled::whole(&plain.bytes, counted.as_ref()).map(Bytes::from)
            }
            false => Some(plain.bytes.clone()),
        };
        let Some(reply) = reply.filter(|reply| is_keepable(reply)) else { return };
        let (store, pending, id) = (self.store.clone(), pending.clone(), ex.id);
        tokio::task::spawn_local(async move {
            let value = Kept::write(unix_secs(), pending.ttl, &reply);
            let Wanted { question, vector, .. } = &*pending.wanted;
            let ttl = Duration::from_secs(pending.ttl);
            let (scope, key) = (&*question.scope, &*question.key);
            let item = Item { scope, key, vector, value: &value, ttl };
            if let Err(failure) = store.keep(&item).await {
                let (place, fault) = (store.place(), "upstream");
                tracing::error!(request_id = %id, plugin = NAME, fault, "{place}: {failure}");
            }
        });
    }
}

/// Adds the time since then to what the store was waited for.
fn waited(ex: &Exchange, sum: &Cell<Option<u64>>, began: Instant) {
    ex.times.waited_since(began);
    sum.set(Some(sum.get().unwrap_or(0) + millis(began.elapsed())));
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn set(ex: &Exchange, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        ex.response.set_header(name, value);
    }
}

fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
