//! Limits what the upstream says a client has used: `X-Kong-Limit: videos=2, images=1`.
//!
//! A request finds out what is left, its reply says what it costs, and the end of the exchange
//! counts it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::anyhow;
use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;

use super::Context;
use super::limits::{self, By, Criterion, Policy};
use crate::pdk::request::header_name;
use crate::pdk::{Exchange, Source};
use crate::plugin::{Outcome, Phases, Plugin, Step, Stop};
use crate::quota::remote::{Remote, identifier};
use crate::quota::{Known, Moment, Period, Scope, Usage};
use crate::redis::{Failure, Short};
use crate::respond;
use crate::shared::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    header_name: Option<String>,
    limit_by: Option<Criterion>,
    policy: Option<Policy>,
    fault_tolerant: bool,
    redis: Option<Short>,
    block_on_first_violation: bool,
    hide_client_headers: bool,
    limits: BTreeMap<String, Periods>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Periods {
    second: Option<f64>,
    minute: Option<f64>,
    hour: Option<f64>,
    day: Option<f64>,
    month: Option<f64>,
    year: Option<f64>,
}

/// One name and its limits.
struct Limit {
    name: String,
    scope: Scope,
    /// What is left goes to the upstream in this.
    remaining: HeaderName,
    windows: Vec<Window>,
    known: RefCell<Known>,
    /// Counters in Redis.
    remote: Option<Rc<Remote>>,
}

struct Window {
    period: Period,
    limit: f64,
    limit_header: HeaderName,
    remaining_header: HeaderName,
}

struct ResponseRateLimiting {
    shared: Arc<Shared>,
    header: HeaderName,
    by: By,
    limits: Vec<Limit>,
    blocks: bool,
    hides: bool,
    /// Requests pass when Redis cannot be asked.
    fault_tolerant: bool,
    is_remote: bool,
}

/// What counts one limit of one client.
enum Counter {
    Here(Arc<Usage>),
    There(Rc<Remote>, Rc<str>),
}

/// What a request found, by limit.
struct Found {
    moment: Moment,
    limits: Vec<(Counter, Vec<f64>)>,
    /// What the reply says it costs; nothing if it was refused.
    costs: RefCell<Vec<f64>>,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let scope =
        |name: &str| limits::scope(context.entity, &format!("response-ratelimiting:{name}"));
    Ok(Box::new(ResponseRateLimiting::new(context.config()?, context.shared.clone(), scope)?))
}

impl Plugin for ResponseRateLimiting {
    fn phases(&self) -> Phases {
        Phases::ACCESS.and(Phases::HEADER_FILTER).and(Phases::LOG)
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        match self.is_remote {
            false => Step::Done(self.look(ex, Moment::now())),
            true => Step::wait(self.ask(ex, Moment::now())),
        }
    }

    fn header_filter(&self, ex: &Exchange) -> Outcome {
        let Some(found) = ex.own.find::<Found>() else { return Ok(()) };
        let costs = self.costs(ex);
        let mut used_up = false;
        let mut headers = ex.response.headers_mut();
        for ((limit, (_, left)), cost) in self.limits.iter().zip(&found.limits).zip(&costs) {
            for (window, left) in limit.windows.iter().zip(left) {
                if !self.hides {
                    headers.insert(&window.limit_header, limits::number(window.limit));
                    let remaining = limits::number((left - cost).max(0.0));
                    headers.insert(&window.remaining_header, remaining);
                }
                used_up |= *cost > 0.0 && *left <= 0.0;
            }
        }
        headers.remove(&self.header);
        drop(headers);
        if used_up {
            return ex.response.exit(StatusCode::TOO_MANY_REQUESTS, None, Bytes::new());
        }
        *found.costs.borrow_mut() = costs;
        Ok(())
    }

    fn log(&self, ex: &Exchange) {
        let Some(found) = ex.own.find::<Found>() else { return };
        let costs = found.costs.borrow();
        let counted = self.limits.iter().zip(&found.limits).zip(&*costs);
        // Most replies cost nothing.
        for ((limit, (counter, _)), cost) in counted.filter(|(_, cost)| **cost != 0.0) {
            // A cast of what is too large, or no number, ends at the next that is one.
            let cost = cost.round() as i64;
            match counter {
                Counter::Here(usage) => {
                    for window in &limit.windows {
                        usage.add(window.period, &found.moment, cost);
                    }
                }
                Counter::There(remote, whom) => {
                    let (remote, whom, moment) = (remote.clone(), whom.clone(), found.moment);
                    tokio::task::spawn_local(async move {
                        if let Err(failure) = remote.add(&whom, &moment, cost).await {
                            tracing::error!("[response-ratelimiting] {failure}");
                        }
                    });
                }
            }
        }
    }
}

impl ResponseRateLimiting {
    fn new(
        config: Config,
        shared: Arc<Shared>,
        scope: impl Fn(&str) -> Scope,
    ) -> Result<Self, Vec<String>> {
        let redis = limits::redis(&shared, config.policy, config.redis)?;
        let name = config.header_name.as_deref().unwrap_or("x-kong-limit");
        let header = header_name(name)
            .ok_or_else(|| vec![format!("config.header_name: '{name}' is no header name")])?;
        let limit = |(name, periods): (&String, &Periods)| {
            Limit::new(name, periods, scope(name))
                .ok_or_else(|| format!("config.limits: '{name}' cannot be part of a header name"))
        };
        let mut errors = Vec::new();
        let mut limits: Vec<Limit> = (config.limits.iter().map(limit))
            .filter_map(|limit| limit.map_err(|error| errors.push(error)).ok())
            .collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let by = By::new(config.limit_by, None, None)?;
        let is_remote = redis.is_some();
        if let Some(redis) = redis {
            for limit in &mut limits {
                let (scope, name) = (&limit.scope, Some(&*limit.name));
                let remote = Remote::new(redis.clone(), "response-ratelimit", scope, name);
                limit.remote = Some(Rc::new(remote));
            }
        }
        let (blocks, hides) = (config.block_on_first_violation, config.hide_client_headers);
        let fault_tolerant = config.fault_tolerant;
        Ok(Self { shared, header, by, limits, blocks, hides, fault_tolerant, is_remote })
    }

    fn look(&self, ex: &Exchange, moment: Moment) -> Outcome {
        let whom = self.by.whom(ex);
        let quotas = &self.shared.quotas;
        let look = |limit: &Limit| {
            let usage = limit.known.borrow_mut().usage(quotas, &limit.scope, whom.clone());
            let left = |window: &Window| window.limit - usage.used(window.period, &moment) as f64;
            let left = limit.windows.iter().map(left).collect();
            (Counter::Here(usage), left)
        };
        let found = self.limits.iter().map(look).collect();
        self.judge(ex, moment, found)
    }

    /// The same with counters in Redis.
    async fn ask(&self, ex: &Exchange, moment: Moment) -> Outcome {
        let whom = self.by.whom(ex);
        let whom: Rc<str> = identifier(&whom).into();
        let mut found = Vec::with_capacity(self.limits.len());
        for limit in &self.limits {
            let Some(remote) = &limit.remote else { continue };
            let periods = limit.windows.iter().map(|window| window.period);
            let used = match remote.used(&whom, periods, &moment).await {
                Ok(used) => used,
                Err(failure) => return self.without_redis(ex, &failure),
            };
            let left = limit.windows.iter().zip(used);
            let left = left.map(|(window, used)| window.limit - used as f64).collect();
            found.push((Counter::There(remote.clone(), whom.clone()), left));
        }
        self.judge(ex, moment, found)
    }

    fn without_redis(&self, ex: &Exchange, failure: &Failure) -> Outcome {
        if !self.fault_tolerant {
            return Err(Stop::Fault(anyhow!("failed to get usage: {failure}")));
        }
        tracing::error!(
            request_id = %ex.id, "[response-ratelimiting] failed to get usage: {failure}"
        );
        Ok(())
    }

    fn judge(&self, ex: &Exchange, moment: Moment, found: Vec<(Counter, Vec<f64>)>) -> Outcome {
        for (limit, (_, left)) in self.limits.iter().zip(&found) {
            if self.blocks && left.contains(&0.0) {
                let message = format!("API rate limit exceeded for '{}'", limit.name);
                return respond::error(ex, StatusCode::TOO_MANY_REQUESTS, &message);
            }
            let least = left.iter().copied().fold(f64::INFINITY, f64::min);
            ex.request.set_header(&limit.remaining, limits::number(least));
        }
        ex.own.keep(Rc::new(Found { moment, limits: found, costs: RefCell::default() }));
        Ok(())
    }

    /// What the upstream says that the request costs, by limit.
    fn costs(&self, ex: &Exchange) -> Vec<f64> {
        let mut costs = vec![0.0; self.limits.len()];
        let said = ex.response.header(&self.header);
        let said = said.filter(|_| ex.response.source() == Source::Service);
        let said = said.as_ref().and_then(|value: &HeaderValue| value.to_str().ok());
        for part in said.unwrap_or_default().split(',') {
            let Some((name, cost)) = part.split_once('=').filter(|(_, cost)| !cost.contains('='))
            else {
                continue;
            };
            let at = self.limits.iter().position(|limit| limit.name == name.trim());
            if let Some(at) = at {
                let cost = cost.trim().parse::<f64>().ok();
                costs[at] = cost.filter(|cost| cost.is_finite()).unwrap_or(0.0);
            }
        }
        costs
    }
}

impl Limit {
    fn new(name: &str, periods: &Periods, scope: Scope) -> Option<Self> {
        let all = [
            periods.second,
            periods.minute,
            periods.hour,
            periods.day,
            periods.month,
            periods.year,
        ];
        let mut windows = Vec::new();
        for (period, limit) in Period::ALL.into_iter().zip(all) {
            let Some(limit) = limit else { continue };
            let header =
                |what| header_name(&format!("x-ratelimit-{what}-{name}-{}", period.name()));
            windows.push(Window {
                period,
                limit,
                limit_header: header("limit")?,
                remaining_header: header("remaining")?,
            });
        }
        let remaining = header_name(&format!("x-ratelimit-remaining-{name}"))?;
        let known = RefCell::default();
        Some(Self { name: name.to_owned(), scope, remaining, windows, known, remote: None })
    }
}

#[cfg(test)]
mod tests;
