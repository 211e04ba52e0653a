//! Limits how many requests a client may send in a second, a minute, ... a year.
//!
//! In this process a request counts in all its windows or, when one of them is used up, in none.
//! In Redis a request counts by being asked about, as in Kong, also when it is refused.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;

use http::StatusCode;
use http::header::{HeaderName, RETRY_AFTER};
use serde::Deserialize;

use super::Context;
use super::limits::{self, By, Criterion, Policy};
use crate::pdk::Exchange;
use crate::pdk::request::header_name;
use crate::plugin::{Outcome, Phases, Plugin, Step, Stop};
use crate::quota::remote::{Remote, Synced, identifier};
use crate::quota::{Known, Moment, Period, Scope, Used};
use crate::redis::{Failure, Short};
use crate::respond;
use crate::shared::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    second: Option<f64>,
    minute: Option<f64>,
    hour: Option<f64>,
    day: Option<f64>,
    month: Option<f64>,
    year: Option<f64>,
    limit_by: Option<Criterion>,
    header_name: Option<String>,
    path: Option<String>,
    policy: Option<Policy>,
    fault_tolerant: bool,
    redis: Option<Short>,
    hide_client_headers: bool,
    error_code: Option<f64>,
    error_message: Option<String>,
    sync_rate: f64,
}

/// Where the counters are.
enum Counters {
    Here,
    /// Asked for every request.
    There(Remote),
    /// Asked now and then.
    Synced(Rc<Synced>),
}

struct RateLimiting {
    shared: Arc<Shared>,
    counters: Counters,
    /// Requests pass when Redis cannot be asked.
    fault_tolerant: bool,
    scope: Scope,
    by: By,
    limits: Vec<(Period, f64)>,
    /// Names of the headers with limit and remainder, by limit; none when they are hidden.
    told: Vec<(HeaderName, HeaderName)>,
    status: StatusCode,
    message: String,
    known: RefCell<Known>,
}

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let scope = limits::scope(context.entity, "rate-limiting");
    Ok(Box::new(RateLimiting::new(context.config()?, context.shared.clone(), scope)?))
}

impl Plugin for RateLimiting {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        match self.counters {
            Counters::Here => Step::Done(self.judge(ex, &Moment::now())),
            _ => Step::wait(self.ask(ex, Moment::now())),
        }
    }
}

impl RateLimiting {
    fn new(config: Config, shared: Arc<Shared>, scope: Scope) -> Result<Self, Vec<String>> {
        let counters = counters(&config, &shared, &scope)?;
        let all =
            [config.second, config.minute, config.hour, config.day, config.month, config.year];
        let limits: Vec<(Period, f64)> = (Period::ALL.into_iter().zip(all))
            .filter_map(|(period, limit)| Some((period, limit?)))
            .collect();
        let headers = |(period, _): &(Period, f64)| {
            let name = |what| header_name(&format!("x-ratelimit-{what}-{}", period.name()));
            Some((name("limit")?, name("remaining")?))
        };
        let told = if config.hide_client_headers { &[][..] } else { &limits };
        let told = told.iter().filter_map(headers).collect();
        let status = limits::status(config.error_code.unwrap_or(429.0))
            .ok_or_else(|| vec!["config.error_code: must be a status, 100 to 599".to_owned()])?;
        let by = By::new(config.limit_by, config.header_name.as_deref(), config.path.clone())?;
        let message = config.error_message.unwrap_or_else(|| "Too many requests".to_owned());
        let fault_tolerant = config.fault_tolerant;
        let known = RefCell::default();
        Ok(Self {
            shared,
            counters,
            fault_tolerant,
            scope,
            by,
            limits,
            told,
            status,
            message,
            known,
        })
    }

    fn judge(&self, ex: &Exchange, moment: &Moment) -> Outcome {
        let whom = self.by.whom(ex);
        let usage = self.known.borrow_mut().usage(&self.shared.quotas, &self.scope, whom);
        let (used, passes) = usage.take(&self.limits, moment);
        self.answer(ex, moment, &used, passes)
    }

    /// The same with counters in Redis.
    async fn ask(&self, ex: &Exchange, moment: Moment) -> Outcome {
        let whom = identifier(&self.by.whom(ex));
        let periods = self.limits.iter().map(|(period, _)| *period);
        let used = match &self.counters {
            Counters::There(remote) => remote.count(&whom, periods, &moment).await,
            Counters::Synced(synced) => synced.used(&whom, periods, &moment).await,
            Counters::Here => Ok(Used::new()),
        };
        let used = match used {
            Ok(used) => used,
            Err(failure) => return self.without_redis(ex, &failure),
        };
        let mut left = self.limits.iter().zip(&used).map(|((_, limit), used)| limit - *used as f64);
        let passes = left.all(|left| left > 0.0);
        if let Counters::Synced(synced) = &self.counters {
            let periods = self.limits.iter().map(|(period, _)| *period);
            synced.add(&whom, periods, &moment, i64::from(passes));
        }
        self.answer(ex, &moment, &used, passes)
    }

    fn without_redis(&self, ex: &Exchange, failure: &Failure) -> Outcome {
        if !self.fault_tolerant {
            return Err(Stop::Fault(anyhow!("failed to get usage: {failure}")));
        }
        tracing::error!(request_id = %ex.id, "[rate-limiting] failed to get usage: {failure}");
        Ok(())
    }

    fn answer(&self, ex: &Exchange, moment: &Moment, used: &Used, passes: bool) -> Outcome {
        let reset = self.tell(ex, moment, used, passes);
        if passes {
            return Ok(());
        }
        if let Some(reset) = reset {
            ex.response.set_header(RETRY_AFTER, reset.into());
        }
        respond::error(ex, self.status, &self.message)
    }

    /// Tells the client what is left, and what of it is the least: the longer window among equals.
    /// Returns the seconds until that window ends.
    fn tell(&self, ex: &Exchange, moment: &Moment, used: &Used, passes: bool) -> Option<u64> {
        let mut headers = ex.response.headers_mut();
        let mut least: Option<(f64, Period, f64)> = None;
        let limits = self.limits.iter().zip(used).zip(&self.told);
        for ((&(period, limit), used), (limit_name, remaining_name)) in limits {
            let this_one = if passes { 1.0 } else { 0.0 };
            let remaining = (limit - *used as f64 - this_one).max(0.0);
            headers.insert(limit_name, limits::number(limit));
            headers.insert(remaining_name, limits::number(remaining));
            if least.is_none_or(|(_, _, before)| remaining <= before) {
                least = Some((limit, period, remaining));
            }
        }
        let (limit, period, remaining) = least?;
        let reset = moment.left(period);
        headers.insert(LIMIT, limits::number(limit));
        headers.insert(REMAINING, limits::number(remaining));
        headers.insert(RESET, reset.into());
        Some(reset)
    }
}

fn counters(config: &Config, shared: &Arc<Shared>, scope: &Scope) -> Result<Counters, Vec<String>> {
    let redis = limits::redis(shared, config.policy, config.redis.clone())?;
    let Some(redis) = redis else { return Ok(Counters::Here) };
    let remote = Remote::new(redis, "ratelimit", scope, None);
    if config.sync_rate < 0.0 {
        return Ok(Counters::There(remote));
    }
    let every = Duration::try_from_secs_f64(config.sync_rate)
        .map_err(|_| vec!["config.sync_rate: must be a number of seconds, or -1".to_owned()])?;
    Ok(Counters::Synced(Synced::new(remote, every)))
}

#[cfg(test)]
mod tests;
