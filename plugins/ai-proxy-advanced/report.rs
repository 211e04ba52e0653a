//! What is told about an exchange when it is over: log record, counters, and a line for the
//! operator when Azure refuses the gateway's credential.
//!
//! Names and numbers are Kong's. Secrets that are part of a URL are masked before any log plugin
//! sees the record.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::balance;
use super::refusal;
use super::reply::Seen;
use super::session::{Asked, Session};
use super::setup::Setup;
use super::targets::Target;
use super::tokens::{self, PartCounters};
use crate::llm::usage::Usage;
use crate::llm::{Provider, RouteType, filter};
use crate::metrics::{Amount, Counter, Histogram, Metrics};
use crate::pdk::{CacheUse, Exchange, ModelCall, ModelUse, ModelWatch, Spent};

/// What Kong writes where nobody said.
const UNSPECIFIED: &str = "UNSPECIFIED";

/// Tells about an exchange that is over.
pub(super) fn report(session: &Rc<Session>, ex: &Exchange) {
    if let Some(used) = record(session, ex) {
        ex.own.all::<ModelWatch>().iter().for_each(|watch| watch.tell(Some((ex, &used))));
    }
}

/// Puts down what is known of it; gives what a model was asked.
fn record(session: &Rc<Session>, ex: &Exchange) -> Option<Rc<ModelUse>> {
    let (asked, target) = (session.asked(), session.target());
    let seen = session.reply.borrow_mut().seen(session, ex);
    let numbers = Numbers::new(session, ex, &seen);
    let mut spent = None;
    if let (Some(asked), Some(target)) = (&asked, target) {
        if let Some(name) = target.plan.secret_arg() {
            ex.log.hide_arg(name);
        }
        if target.plan.route_type() == RouteType::Realtime {
            ex.log.hide_arg("api-key");
        }
        learn(session, ex, target, &numbers);
        let cache = ex.own.find::<CacheUse>();
        let is_hit = cache.as_ref().is_some_and(|cache| cache.is_hit());
        if is_hit {
            // Nobody was asked, and nothing was spent.
            let counters = &session.setup.counters;
            let used = counters.count(&session.setup, target, asked, &numbers, cache);
            if target.log_statistics {
                ex.own.keep(Rc::new(used));
            }
        } else if ex.times.sent.get().is_some() {
            let counters = &session.setup.counters;
            let used = Rc::new(counters.count(&session.setup, target, asked, &numbers, cache));
            spent = Some(used.clone());
            if is_blocked(ex, &seen) {
                count_blocked(&session.setup.shared.metrics, &used);
            }
            if ModelCall::is_wanted(ex) {
                let call = call(session, ex, asked, target, &seen, &numbers, &used);
                ex.own.keep(Rc::new(call));
            }
            // Kong's metrics are made of the log record, so they need its statistics.
            if target.log_statistics {
                ex.own.keep(used);
            }
        }
        if let Some(status) = ex.service.status.get() {
            refusal::explain(session, ex, target, status, seen.text.as_ref());
            if let Some(identity) = target.identity.as_ref().filter(|_| session.has_sent_token()) {
                refusal::judge(identity, status, seen.text.as_ref());
            }
        }
    }
    if ex.log.is_wanted() {
        Statistics { session: session.clone(), asked, seen, numbers }.tell(ex);
    }
    spent
}

/// What log records tell of an exchange that is over.
struct Statistics {
    session: Rc<Session>,
    asked: Option<Rc<Asked>>,
    seen: Seen,
    numbers: Numbers,
}

impl Statistics {
    /// Puts what is configured into the record.
    fn tell(self, ex: &Exchange) {
        let told = Rc::new(self);
        let later = |path, make: fn(&Self) -> Value| {
            let told = told.clone();
            ex.log.set_later(path, move || make(&told));
        };
        let setup = &told.session.setup;
        // A request that was refused has no target yet; the first speaks for all.
        let settings = told.session.target().or_else(|| setup.targets.at(0));
        if settings.is_some_and(|target| target.log_statistics) {
            later("ai.proxy.meta", Self::meta);
            later("ai.proxy.usage", Self::usage);
            if setup.is_advanced {
                later("ai.proxy.tried_targets", |told| {
                    let progress = told.session.progress.borrow();
                    progress.trail.describe(&told.session.setup.targets)
                });
            }
        }
        if settings.is_some_and(|target| target.log_payloads) {
            later("ai.proxy.payload", Self::payload);
        }
    }

    fn meta(&self) -> Value {
        let (asked, target) = (self.asked.as_deref(), self.session.target());
        let model = asked.and_then(|asked| asked.model.as_deref()).unwrap_or(UNSPECIFIED);
        let mut meta = json!({
            "plugin_id": self.session.setup.plugin_id,
            "provider_name": target.map_or(UNSPECIFIED, |target| target.plan.provider().as_str()),
            "request_model": model,
            "response_model": self.seen.model.as_deref().unwrap_or(model),
            "llm_latency": self.numbers.latency_ms,
        });
        if let Some(asked) = asked {
            let is_session = target.is_some_and(|t| t.plan.route_type() == RouteType::Realtime);
            let mode = match (is_session, asked.stream) {
                (true, _) => "realtime",
                (false, true) => "stream",
                (false, false) => "oneshot",
            };
            meta["request_mode"] = mode.into();
        }
        if let Some(azure) = asked.and_then(|asked| asked.azure.as_deref()) {
            meta["azure_instance_id"] = azure.azure_instance_id.as_str().into();
            meta["azure_deployment_id"] = azure.azure_deployment_id.as_str().into();
            meta["azure_api_version"] = azure.azure_api_version.as_str().into();
        }
        meta
    }

    fn usage(&self) -> Value {
        let numbers = &self.numbers;
        let counted = &numbers.usage;
        let per_token = match counted.completion_tokens {
            0 => 0.0,
            tokens => numbers.latency_ms as f64 / tokens as f64,
        };
        let mut usage = tokens::describe(counted);
        usage["time_per_token"] = number(per_token);
        usage["cost"] = number(numbers.cost);
        if let Some(ms) = numbers.first_ms {
            usage["time_to_first_token"] = ms.into();
        }
        if let Some(tier) = &numbers.tier {
            usage["service_tier"] = tier.as_str().into();
        }
        // Kong does not tell its guesses from what was counted.
        if counted.estimated && self.asked.is_some() {
            usage["estimated"] = true.into();
        }
        usage
    }

    fn payload(&self) -> Value {
        let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes));
        let mut payload = Map::new();
        let sent = match &self.asked {
            Some(asked) => asked.payload.clone(),
            None => self.session.client.get().map(|client| client.words().bytes().clone()),
        };
        if let Some(sent) = sent {
            payload.insert("request".to_owned(), text(&sent));
        }
        if let Some(said) = &self.seen.text {
            payload.insert("response".to_owned(), text(&said.bytes));
        }
        payload.into()
    }
}

/// What traces tell of the last attempt.
fn call(
    session: &Session,
    ex: &Exchange,
    asked: &Asked,
    target: &Target,
    seen: &Seen,
    numbers: &Numbers,
    used: &ModelUse,
) -> ModelCall {
    let ended = session.reply.borrow().ended.unwrap_or_else(Instant::now);
    let sent = ex.times.sent.get().unwrap_or(ended);
    let counted = Some(&numbers.usage).filter(|usage| numbers.is_answered && !usage.estimated);
    let ending = seen.ending.as_ref();
    let lost = ex.service.tries.borrow().last().and_then(|attempt| attempt.code);
    let error = match (ex.service.status.get(), lost) {
        (Some(status), _) if status.as_u16() < 400 => None,
        (Some(status), _) => Some(status.as_str().to_owned()),
        (None, Some(504)) => Some("timeout".to_owned()),
        (None, _) => Some("_OTHER".to_owned()),
    };
    ModelCall {
        provider: used.provider,
        operation: target.plan.route_type().gen_ai_operation(),
        model: asked.model.clone(),
        parameters: asked.parameters.clone(),
        counted_as: used.model.clone(),
        answered_by: seen.model.clone(),
        id: ending.and_then(|ending| ending.id.clone()),
        reasons: ending.map(|ending| ending.reasons.clone()).unwrap_or_default(),
        prompt_tokens: counted.map(|usage| usage.prompt_tokens),
        completion_tokens: counted.map(|usage| usage.completion_tokens),
        server: (ex.service.host(), ex.service.port()),
        sent,
        took: ended.saturating_duration_since(sent),
        first: seen.first.map(|first| first.saturating_duration_since(sent)),
        error,
    }
}

/// Tells the balancer. What failed has cost nothing.
fn learn(session: &Session, ex: &Exchange, target: &Target, numbers: &Numbers) {
    let setup = &session.setup;
    let status = ex.service.status.get();
    let is_session = status == Some(StatusCode::SWITCHING_PROTOCOLS);
    let is_success = is_session || status.is_some_and(|status| status.is_success());
    // A stream that its client has left says nothing of the time that the rest would have taken.
    let is_stream = session.asked().is_some_and(|asked| asked.stream);
    let is_whole = !is_session && !is_stream || session.reply.borrow().ended.is_some();
    let spent = match is_success {
        true => numbers.for_balance(is_whole),
        false => balance::Spent::default(),
    };
    // A length is found faster than an answer.
    if is_success && session.asked().is_none_or(|asked| !asked.is_free) {
        setup.targets.learn(target, &spent);
    }
    if let Some(from) = session.settle(Some(&spent)) {
        setup.spills.count(setup, from, target, &spent);
    }
}

/// Whether the content filter has refused the request.
fn is_blocked(ex: &Exchange, seen: &Seen) -> bool {
    let is_bad = ex.service.status.get() == Some(StatusCode::BAD_REQUEST);
    is_bad && seen.text.as_ref().is_some_and(|text| filter::is_blocked(&text.bytes))
}

fn count_blocked(metrics: &Metrics, used: &ModelUse) {
    let labels = [("ai_provider", used.provider), ("ai_model", &*used.model)];
    let help = "Requests that the content filter of the provider has refused";
    metrics.counter("silverback_ai_content_filter_total", help, &labels).add(1);
}

/// The numbers of an exchange.
struct Numbers {
    usage: Usage,
    cost: f64,
    /// The tier of service, as the upstream calls it.
    tier: Option<String>,
    /// From the request to the last byte of the reply, in milliseconds.
    latency_ms: u64,
    /// To the first event, in milliseconds.
    first_ms: Option<u64>,
    is_answered: bool,
}

impl Numbers {
    fn for_balance(&self, is_whole: bool) -> balance::Spent {
        balance::Spent {
            latency_ms: Some(self.latency_ms).filter(|_| is_whole),
            prompt_tokens: self.usage.prompt_tokens,
            completion_tokens: self.usage.completion_tokens,
            total_tokens: self.usage.total_tokens,
            cost: self.cost,
        }
    }

    fn spent(&self) -> Spent {
        Spent {
            prompt_tokens: self.usage.prompt_tokens,
            completion_tokens: self.usage.completion_tokens,
            total_tokens: self.usage.total_tokens,
            cost: self.cost,
            latency_ms: self.latency_ms,
        }
    }

    fn new(session: &Session, ex: &Exchange, seen: &Seen) -> Self {
        let status = ex.service.status.get();
        let is_free = session.asked().is_some_and(|asked| asked.is_free);
        let usage = match (seen.usage, status) {
            // The answer is a number of tokens, and takes none.
            _ if is_free => Usage::default(),
            (Some(usage), _) => usage,
            // Kong counts what was sent, also when nothing came of it.
            (None, Some(_)) => Usage::estimate(session.prompt_tokens(), 0),
            (None, None) => Usage::default(),
        };
        let is_paid = matches!(status, Some(StatusCode::OK | StatusCode::SWITCHING_PROTOCOLS));
        let paid = session.target().filter(|_| is_paid);
        let tier = seen.tier.as_deref();
        let until = |end: Instant| {
            let sent = ex.times.sent.get()?;
            u64::try_from(end.saturating_duration_since(sent).as_millis()).ok()
        };
        let end = session.reply.borrow().ended.unwrap_or_else(Instant::now);
        Self {
            usage,
            cost: paid.map_or(0.0, |target| target.prices.cost(&usage, tier)),
            tier: seen.tier.clone(),
            latency_ms: until(end).unwrap_or(0),
            first_ms: seen.first.and_then(until),
            is_answered: status.is_some(),
        }
    }
}

/// Kong writes whole numbers without a fraction.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { (value as i64).into() } else { value.into() }
}

/// The series of one plugin instance, by provider and model.
#[derive(Default)]
pub(super) struct Counters {
    known: RefCell<HashMap<Model, Rc<Series>>>,
}

/// Who runs a model, its name, and what a cache did for it.
type Model = (Provider, Arc<str>, [Box<str>; 4]);

/// Models that one instance tells apart. Where the configuration names none, clients do.
const MODELS_MAX: usize = 100;
/// The longest name of a model that becomes a label, in bytes.
const MODEL_LEN_MAX: usize = 100;

impl Counters {
    fn count(
        &self,
        setup: &Setup,
        target: &Target,
        asked: &Asked,
        numbers: &Numbers,
        cache: Option<Rc<CacheUse>>,
    ) -> ModelUse {
        let series = self.series(&setup.shared.metrics, target, asked, cache.as_deref());
        series.requests.add(1);
        let times = cache.as_ref().map(|cache| cache.times()).unwrap_or_default();
        for (series, ms) in series.cache.iter().zip(times) {
            series.iter().zip(ms).for_each(|(series, ms)| series.observe(ms));
        }
        let spent = numbers.is_answered.then(|| numbers.spent());
        if let Some(spent) = &spent {
            series.cost.add(spent.cost);
            series.prompt.add(spent.prompt_tokens);
            series.completion.add(spent.completion_tokens);
            series.total.add(spent.total_tokens);
            series.latency.observe(spent.latency_ms);
        }
        let provider = target.plan.provider().as_str();
        series.parts.count(&setup.shared.metrics, provider, &series.model, &numbers.usage);
        ModelUse { provider, model: series.model.clone(), spent, cache }
    }

    fn series(
        &self,
        metrics: &Metrics,
        target: &Target,
        asked: &Asked,
        cache: Option<&CacheUse>,
    ) -> Rc<Series> {
        let model = asked.model.clone().unwrap_or_else(|| UNSPECIFIED.into());
        let mut key = (target.plan.provider(), model, CacheUse::labels(cache).map(Box::from));
        let mut known = self.known.borrow_mut();
        if let Some(series) = known.get(&key) {
            return series.clone();
        }
        let is_ours = target.plan.name().is_some();
        if !is_ours && (known.len() >= MODELS_MAX || key.1.len() > MODEL_LEN_MAX) {
            key.1 = "other".into();
        }
        let make = || Rc::new(Series::new(metrics, key.0.as_str(), &key.1, cache));
        known.entry(key.clone()).or_insert_with(make).clone()
    }
}

/// What Kong counts for one model.
struct Series {
    /// The name that it is counted under.
    model: Arc<str>,
    requests: Counter,
    cost: Amount,
    prompt: Counter,
    completion: Counter,
    total: Counter,
    latency: Histogram,
    parts: PartCounters,
    /// Of a cache of replies, where there is one: its store, and its embedding model.
    cache: [Option<Histogram>; 2],
}

impl Series {
    fn new(metrics: &Metrics, provider: &str, model: &Arc<str>, cache: Option<&CacheUse>) -> Self {
        const BOUNDS_MS: &[u64] = &[
            250, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 5000, 10_000, 30_000, 60_000,
        ];
        let [status, db, embeddings, embedding] = CacheUse::labels(cache);
        let labels = [
            ("ai_provider", provider),
            ("ai_model", &**model),
            ("cache_status", status),
            ("vector_db", db),
            ("embeddings_provider", embeddings),
            ("embeddings_model", embedding),
            ("workspace", "default"),
        ];
        let times = CacheUse::SERIES
            .map(|(name, help)| cache.map(|_| metrics.histogram(name, help, BOUNDS_MS, &labels)));
        let tokens = |kind| {
            let [provider, model, cache, db, embeddings, embedding, workspace] = labels;
            let kind = ("token_type", kind);
            let labels = [provider, model, cache, db, embeddings, embedding, kind, workspace];
            let help = "AI tokens total per ai_provider/cache in Kong";
            metrics.counter("kong_ai_llm_tokens_total", help, &labels)
        };
        Self {
            model: model.clone(),
            requests: metrics.counter(
                "kong_ai_llm_requests_total",
                "AI requests total per ai_provider in Kong",
                &labels,
            ),
            cost: metrics.amount(
                "kong_ai_llm_cost_total",
                "AI requests cost per ai_provider/cache in Kong",
                &labels,
            ),
            prompt: tokens("prompt_tokens"),
            completion: tokens("completion_tokens"),
            total: tokens("total_tokens"),
            latency: metrics.histogram(
                "kong_ai_llm_provider_latency_ms",
                "LLM response Latency for each AI plugins per ai_provider in Kong",
                BOUNDS_MS,
                &labels,
            ),
            parts: PartCounters::default(),
            cache: times,
        }
    }
}
