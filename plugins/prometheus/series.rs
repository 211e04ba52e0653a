//! The series of Kong's plugin: names, texts, labels and bounds.

use std::cell::OnceCell;

use crate::metrics::{Amount, Counter, Histogram, Metrics};
use crate::pdk::{CacheUse, ModelUse};

const KONG_LATENCY_MS: &[u64] =
    &[1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000];
const UPSTREAM_LATENCY_MS: &[u64] =
    &[25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10_000, 30_000, 60_000];
const MODEL_LATENCY_MS: &[u64] =
    &[250, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 5000, 10_000, 30_000, 60_000];

const WORKSPACE: (&str, &str) = ("workspace", "default");

/// The label values of a Route; empty where there is nothing.
#[derive(Clone)]
pub(super) struct Names {
    pub(super) service: String,
    pub(super) route: String,
    pub(super) consumer: String,
}

/// `kong_http_requests_total`.
pub(super) fn requests(metrics: &Metrics, names: &Names, status: u16, proxied: bool) -> Counter {
    let status = status.to_string();
    let labels = [
        ("service", names.service.as_str()),
        ("route", &names.route),
        ("code", &status),
        ("source", if proxied { "service" } else { "kong" }),
        WORKSPACE,
        ("consumer", &names.consumer),
    ];
    let help = "HTTP status codes per consumer/service/route in Kong";
    metrics.counter("kong_http_requests_total", help, &labels)
}

/// `kong_bandwidth_bytes`.
pub(super) struct Bandwidth {
    pub(super) ingress: Counter,
    pub(super) egress: Counter,
}

impl Bandwidth {
    pub(super) fn new(metrics: &Metrics, names: &Names) -> Self {
        let direction = |direction| {
            let labels = [
                ("service", names.service.as_str()),
                ("route", &names.route),
                ("direction", direction),
                WORKSPACE,
                ("consumer", &names.consumer),
            ];
            let help = "Total bandwidth (ingress/egress) throughput in bytes";
            metrics.counter("kong_bandwidth_bytes", help, &labels)
        };
        Self { ingress: direction("ingress"), egress: direction("egress") }
    }
}

/// One of the three histograms of a Route.
#[derive(Clone, Copy)]
pub(super) enum Latency {
    /// Up to the request to the upstream.
    Kong,
    /// From there to the upstream's head.
    Upstream,
    /// The whole exchange.
    Request,
}

impl Latency {
    pub(super) fn histogram(self, metrics: &Metrics, names: &Names) -> Histogram {
        let labels = [("service", names.service.as_str()), ("route", &names.route), WORKSPACE];
        let (name, help, bounds) = match self {
            Self::Kong => (
                "kong_kong_latency_ms",
                "Latency added by Kong and enabled plugins for each service/route in Kong",
                KONG_LATENCY_MS,
            ),
            Self::Upstream => (
                "kong_upstream_latency_ms",
                "Latency added by upstream response for each service/route in Kong",
                UPSTREAM_LATENCY_MS,
            ),
            Self::Request => (
                "kong_request_latency_ms",
                "Total latency incurred during requests for each service/route in Kong",
                UPSTREAM_LATENCY_MS,
            ),
        };
        metrics.histogram(name, help, bounds, &labels)
    }
}

/// The series of one model. Like Kong's they are there from the first count on.
pub(super) struct Model {
    requests: Counter,
    cost: OnceCell<Amount>,
    latency: OnceCell<Histogram>,
    /// Of the prompt, of the completion, and of both.
    tokens: [OnceCell<Counter>; 3],
    /// Of a cache of replies: its store, and its embedding model.
    cache: [OnceCell<Histogram>; 2],
}

impl Model {
    pub(super) fn new(metrics: &Metrics, used: &ModelUse) -> Self {
        let help = "AI requests total per ai_provider in Kong";
        let requests = metrics.counter("kong_ai_llm_requests_total", help, &labels(used));
        let (cost, latency, tokens, cache) = Default::default();
        Self { requests, cost, latency, tokens, cache }
    }

    pub(super) fn count(&self, metrics: &Metrics, used: &ModelUse) {
        self.requests.add(1);
        let labels = labels(used);
        if let Some(cache) = &used.cache {
            for ((cell, (name, help)), ms) in
                self.cache.iter().zip(CacheUse::SERIES).zip(cache.times())
            {
                let make = || metrics.histogram(name, help, MODEL_LATENCY_MS, &labels);
                ms.inspect(|ms| cell.get_or_init(make).observe(*ms));
            }
        }
        let Some(spent) = &used.spent else { return };
        if spent.cost > 0.0 {
            let help = "AI requests cost per ai_provider/cache in Kong";
            let make = || metrics.amount("kong_ai_llm_cost_total", help, &labels);
            self.cost.get_or_init(make).add(spent.cost);
        }
        let help = "LLM response Latency for each AI plugins per ai_provider in Kong";
        let name = "kong_ai_llm_provider_latency_ms";
        let make = || metrics.histogram(name, help, MODEL_LATENCY_MS, &labels);
        self.latency.get_or_init(make).observe(spent.latency_ms);
        let kinds = ["prompt_tokens", "completion_tokens", "total_tokens"];
        let counts = [spent.prompt_tokens, spent.completion_tokens, spent.total_tokens];
        for ((cell, kind), count) in self.tokens.iter().zip(kinds).zip(counts) {
            if count > 0 {
                cell.get_or_init(|| tokens(metrics, labels, kind)).add(count);
            }
        }
    }
}

fn labels(used: &ModelUse) -> [(&str, &str); 7] {
    let [cache, db, embeddings, embedding] = CacheUse::labels(used.cache.as_deref());
    [
        ("ai_provider", used.provider),
        ("ai_model", &used.model),
        ("cache_status", cache),
        ("vector_db", db),
        ("embeddings_provider", embeddings),
        ("embeddings_model", embedding),
        WORKSPACE,
    ]
}

fn tokens(metrics: &Metrics, labels: [(&str, &str); 7], kind: &str) -> Counter {
    let [provider, model, cache, db, embeddings, embedding, workspace] = labels;
    let kind = ("token_type", kind);
    let labels = [provider, model, cache, db, embeddings, embedding, kind, workspace];
    // The help is Kong's, cost and all.
    let help = "AI requests cost per ai_provider/cache in Kong";
    metrics.counter("kong_ai_llm_tokens_total", help, &labels)
}
