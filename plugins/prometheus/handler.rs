//! Counts for Prometheus what Kong counts, under Kong's names.
//!
//! The series stand in a registry of their own (`Shared::kong_metrics`), which `/metrics` shows
//! while some configuration has this plugin. An instance counts the exchanges that it runs in, and
//! only those with a Route.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;

use super::Context;
use crate::metrics::{Counter, Histogram, Metrics};
use crate::pdk::log::{Latencies, request_size, response_size};
use crate::pdk::{CacheUse, Exchange, Matched, ModelUse, Source};
use crate::plugin::{Phases, Plugin};
use crate::shared::Shared;
use series::{Bandwidth, Latency, Model, Names};

mod series;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    per_consumer: Option<bool>,
    status_code_metrics: Option<bool>,
    ai_metrics: Option<bool>,
    latency_metrics: Option<bool>,
    bandwidth_metrics: Option<bool>,
    /// `/metrics` looks at it.
    #[allow(dead_code)]
    upstream_health_metrics: Option<bool>,
    #[allow(dead_code)]
    wasm_metrics: Option<bool>,
}

/// Provider, model, and what a cache did.
type ModelKey = (&'static str, Arc<str>, [Box<str>; 4]);

struct Prometheus {
    config: Config,
    shared: Arc<Shared>,
    requests: Known<Request, Counter>,
    /// For Kong, the upstream, and the whole request.
    latency: [Known<Uuid, Histogram>; 3],
    bandwidth: Known<(Uuid, Option<Uuid>), Bandwidth>,
    models: Known<ModelKey, Model>,
}

/// Series that this instance has used before.
type Known<K, S> = RefCell<HashMap<K, Rc<S>>>;

/// What tells requests apart: Route, consumer, status, and whether the upstream answered.
type Request = (Uuid, Option<Uuid>, u16, bool);

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    Ok(Box::new(Prometheus::new(context.config()?, context.shared.clone())))
}

impl Plugin for Prometheus {
    fn phases(&self) -> Phases {
        // The size of the response's head is known as long as somebody reads the record.
        let counts_bytes = self.config.bandwidth_metrics == Some(true);
        if counts_bytes { Phases::LOG.and(Phases::RECORD) } else { Phases::LOG }
    }

    fn log(&self, ex: &Exchange) {
        let Some(matched) = ex.matched() else { return };
        let is_on = |flag: Option<bool>| flag.unwrap_or(false);
        if is_on(self.config.bandwidth_metrics) {
            self.count_bytes(ex, matched);
        }
        if is_on(self.config.status_code_metrics) {
            self.count_request(ex, matched);
        }
        if is_on(self.config.latency_metrics) {
            self.count_time(ex, matched);
        }
        if is_on(self.config.ai_metrics) {
            ex.own.all::<ModelUse>().iter().for_each(|used| self.count_model(used));
        }
    }
}

impl Prometheus {
    fn new(config: Config, shared: Arc<Shared>) -> Self {
        Self {
            config,
            shared,
            requests: Known::default(),
            latency: Default::default(),
            bandwidth: Known::default(),
            models: Known::default(),
        }
    }

    fn count_bytes(&self, ex: &Exchange, matched: &Matched) {
        let key = (matched.route.id, self.consumer_id(ex));
        let make = |metrics: &Metrics| Bandwidth::new(metrics, &self.names(ex, matched));
        let bandwidth = self.known(&self.bandwidth, key, make);
        bandwidth.ingress.add(request_size(ex));
        bandwidth.egress.add(response_size(ex));
    }

    fn count_request(&self, ex: &Exchange, matched: &Matched) {
        let status = ex.response.status().as_u16();
        let is_proxied = ex.response.source() == Source::Service;
        let key = (matched.route.id, self.consumer_id(ex), status, is_proxied);
        let make = |metrics: &Metrics| {
            series::requests(metrics, &self.names(ex, matched), status, is_proxied)
        };
        self.known(&self.requests, key, make).add(1);
    }

    fn count_time(&self, ex: &Exchange, matched: &Matched) {
        let times = Latencies::of(ex);
        let observed = [
            (Latency::Kong, Some(times.kong_ms)),
            (Latency::Upstream, times.upstream_ms),
            (Latency::Request, Some(times.request_ms)),
        ];
        for ((kind, time), known) in observed.into_iter().zip(&self.latency) {
            let Some(time) = time else { continue };
            let make = |metrics: &Metrics| kind.histogram(metrics, &self.names(ex, matched));
            self.known(known, matched.route.id, make).observe(time);
        }
    }

    fn count_model(&self, used: &ModelUse) {
        let cache = CacheUse::labels(used.cache.as_deref()).map(Box::from);
        let key = (used.provider, used.model.clone(), cache);
        let make = |metrics: &Metrics| Model::new(metrics, used);
        self.known(&self.models, key, make).count(&self.shared.kong_metrics, used);
    }

    fn known<K: Eq + Hash, S>(
        &self,
        known: &Known<K, S>,
        key: K,
        make: impl FnOnce(&Metrics) -> S,
    ) -> Rc<S> {
        match known.borrow_mut().entry(key) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => entry.insert(Rc::new(make(&self.shared.kong_metrics))).clone(),
        }
    }

    fn consumer_id(&self, ex: &Exchange) -> Option<Uuid> {
        self.config.per_consumer.and_then(|is_on| is_on.then(|| ex.client.consumer_id()).flatten())
    }

    fn names(&self, ex: &Exchange, matched: &Matched) -> Names {
        let service = matched.service.as_ref();
        let consumer = ex.client.consumer().filter(|_| self.config.per_consumer == Some(true));
        let route = &matched.route;
        Names {
            service: service
                .map(|service| service.name.clone().unwrap_or_else(|| service.host.clone()))
                .unwrap_or_default(),
            route: route.name.clone().unwrap_or_else(|| route.id.to_string()),
            consumer: consumer.and_then(|consumer| consumer.username.clone()).unwrap_or_default(),
        }
    }
}
