//! What an AI plugin tells plugins that count about the model that it asked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Exchange;

/// One request to a model; kept in `Exchange::own` at the end of the exchange.
#[derive(Debug, Clone)]
pub struct ModelUse {
    /// Kong's name of the provider.
    pub provider: &'static str,
    /// The name of the model; of limited variety where clients choose it.
    pub model: Arc<str>,
    /// What it cost; `None` when no answer came.
    pub spent: Option<Spent>,
    /// What a cache of replies did for it.
    pub cache: Option<Rc<CacheUse>>,
}

/// What a cache of replies did for a request to a model; kept in `Exchange::own`.
#[derive(Debug)]
pub struct CacheUse {
    /// `Hit`, `Miss`, `Bypass` or `Refresh`; it may turn out that a reply is not kept.
    pub status: Cell<&'static str>,
    /// The kind of store.
    pub vector_db: &'static str,
    /// Kong's name of the provider of the embedding model.
    pub embeddings_provider: &'static str,
    /// The embedding model.
    pub embeddings_model: Rc<str>,
    /// Milliseconds that the store was waited for.
    pub fetch_ms: Cell<Option<u64>>,
    /// Milliseconds that the embedding model was waited for.
    pub embeddings_ms: Cell<Option<u64>>,
}

impl CacheUse {
    /// Values of Kong's labels `cache_status`, `vector_db`, `embeddings_provider` and
    /// `embeddings_model`; empty without a cache.
    pub fn labels(cache: Option<&Self>) -> [&str; 4] {
        let Some(cache) = cache else { return [""; 4] };
        let status = match cache.status.get() {
            "Hit" => "hit",
            "Refresh" => "refresh",
            "Bypass" => "bypass",
            _ => "miss",
        };
        [status, cache.vector_db, cache.embeddings_provider, &cache.embeddings_model]
    }

    /// Names and helps of Kong's histograms of its times, in milliseconds.
    pub const SERIES: [(&'static str, &'static str); 2] = [
        (
            "kong_ai_cache_fetch_latency",
            "Milliseconds that a cache of replies waited for its store",
        ),
        (
            "kong_ai_cache_embeddings_latency",
            "Milliseconds that a cache of replies waited for its embedding model",
        ),
    ];

    /// The times, in the order of the series.
    pub fn times(&self) -> [Option<u64>; 2] {
        [self.fetch_ms.get(), self.embeddings_ms.get()]
    }

    /// Whether the reply came out of it.
    pub fn is_hit(&self) -> bool {
        self.status.get() == "Hit"
    }
}

/// Tokens, money and time.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    /// Tokens that were sent.
    pub prompt_tokens: u64,
    /// Tokens that came back.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
    /// In the currency of the configured prices.
    pub cost: f64,
    /// From the request to the last byte of the reply, in milliseconds.
    pub latency_ms: u64,
}

/// One call of a model, as traces tell of it: in `Exchange::own` at the end of the exchange, if
/// somebody has said before that it is wanted.
#[derive(Debug, Clone)]
pub struct ModelCall {
    /// Kong's name of the provider.
    pub provider: &'static str,
    /// What was asked of the model, in OpenTelemetry's words: `chat`, `embeddings`, ...
    pub operation: &'static str,
    /// The model that was asked; `None` where nobody named one.
    pub model: Option<Arc<str>>,
    /// The same for metrics: of limited variety where clients choose it.
    pub counted_as: Arc<str>,
    /// What was asked of it beside words, by attribute.
    pub parameters: Parameters,
    /// The model that answered.
    pub answered_by: Option<String>,
    /// The id of the reply.
    pub id: Option<String>,
    /// Why each choice ended.
    pub reasons: Vec<String>,
    /// Tokens that were sent, if the upstream has counted them.
    pub prompt_tokens: Option<u64>,
    /// Tokens that came back, if the upstream has counted them.
    pub completion_tokens: Option<u64>,
    /// Host and port of the upstream.
    pub server: (Rc<str>, u16),
    /// When the request began to go out.
    pub sent: Instant,
    /// From there to the last byte of the reply.
    pub took: Duration,
    /// From there to the first event; streams only.
    pub first: Option<Duration>,
    /// What went wrong: a status, or `timeout`, or `_OTHER`.
    pub error: Option<String>,
}

/// Parameters of a request, by the names of OpenTelemetry's attributes.
pub type Parameters = Vec<(&'static str, Parameter)>;

/// The value of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Parameter {
    /// A whole number.
    Whole(i64),
    /// Any number.
    Number(f64),
    /// One of few words.
    Kind(&'static str),
}

/// Kept in `Exchange::own` by who wants to hear of calls of models.
struct Wanted;

impl ModelCall {
    /// Says that calls in this exchange are to be told of.
    pub fn want(ex: &Exchange) {
        ex.own.keep(Rc::new(Wanted));
    }

    /// Whether somebody has.
    pub fn is_wanted(ex: &Exchange) -> bool {
        ex.own.find::<Wanted>().is_some()
    }
}

/// What a plugin that ran earlier wants to do when it is known what a model has cost. Without a
/// request to a model it is told so when the exchange ends.
pub struct ModelWatch(RefCell<Option<Watcher>>);

type Watcher = Box<dyn FnOnce(Option<(&Exchange, &ModelUse)>)>;

impl ModelWatch {
    /// Keep it in `Exchange::own`.
    pub fn new(watcher: impl FnOnce(Option<(&Exchange, &ModelUse)>) + 'static) -> Self {
        Self(RefCell::new(Some(Box::new(watcher))))
    }

    /// Tells it, once; in `log`, when the record has what is known of the request.
    pub fn tell(&self, used: Option<(&Exchange, &ModelUse)>) {
        let watcher = self.0.borrow_mut().take();
        if let Some(watcher) = watcher {
            watcher(used);
        }
    }
}

impl Drop for ModelWatch {
    fn drop(&mut self) {
        self.tell(None);
    }
}
