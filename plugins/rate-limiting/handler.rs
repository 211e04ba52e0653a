//! Limits how many requests a client may send in a second, a minute, ... a year.
//!
//! A request counts in all its windows or, when one of them is used up, in none.

use std::cell::RefCell;
use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderName, RETRY_AFTER};
use serde::Deserialize;

use super::Context;
use super::limits::{self, Policy, Redis};
use crate::pdk::Exchange;
use crate::pdk::request::header_name;
use crate::plugin::{Outcome, Phases, Plugin, Step};
use crate::quota::{Known, Moment, Period, Scope, Used, Whom};
use crate::respond;
use crate::router::path;
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
    limit_by: Option<LimitBy>,
    header_name: Option<String>,
    path: Option<String>,
    policy: Option<Policy>,
    #[allow(dead_code)] // a counter of this process can always be reached
    fault_tolerant: bool,
    #[allow(dead_code)]
    redis: Option<Redis>,
    hide_client_headers: bool,
    error_code: Option<f64>,
    error_message: Option<String>,
    #[allow(dead_code)] // only Redis has to be asked
    sync_rate: f64,
}

/// The criterion, in Kong's words.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LimitBy {
    Consumer,
    Credential,
    Ip,
    Service,
    Header,
    Path,
}

/// Whose requests are counted together.
enum By {
    Consumer,
    Credential,
    Address,
    Service,
    Header(HeaderName),
    Path(String),
}

struct RateLimiting {
    shared: Arc<Shared>,
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
        Step::Done(self.judge(ex, &Moment::now()))
    }
}

impl RateLimiting {
    fn new(config: Config, shared: Arc<Shared>, scope: Scope) -> Result<Self, Vec<String>> {
        limits::check(config.policy)?;
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
        let by = by(&config).map_err(|error| vec![error])?;
        let message = config.error_message.unwrap_or_else(|| "Too many requests".to_owned());
        let known = RefCell::default();
        Ok(Self { shared, scope, by, limits, told, status, message, known })
    }

    fn judge(&self, ex: &Exchange, moment: &Moment) -> Outcome {
        let whom = self.whom(ex).unwrap_or_else(|| limits::address(ex));
        let usage = self.known.borrow_mut().usage(&self.shared.quotas, &self.scope, whom);
        let (used, passes) = usage.take(&self.limits, moment);
        let reset = self.tell(ex, moment, &used, passes);
        if passes {
            return Ok(());
        }
        if let Some(reset) = reset {
            ex.response.set_header(RETRY_AFTER, reset.into());
        }
        respond::error(ex, self.status, &self.message)
    }

    /// Whom the criterion names; `None` is somebody unknown.
    fn whom(&self, ex: &Exchange) -> Option<Whom> {
        match &self.by {
            By::Consumer => limits::consumer(ex),
            By::Credential => limits::credential(ex),
            By::Address => None,
            By::Service => Some(Whom::Id(ex.matched()?.service.as_ref()?.id)),
            By::Header(name) => Some(Whom::text(ex.request.headers().get(name)?.as_bytes())),
            By::Path(path) => {
                let asked = path::decoded(ex.request.raw_path());
                (*asked == **path).then(|| Whom::text(path.as_bytes()))
            }
        }
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

/// The criterion; the schema requires what it needs.
fn by(config: &Config) -> Result<By, String> {
    Ok(match config.limit_by.unwrap_or(LimitBy::Consumer) {
        LimitBy::Consumer => By::Consumer,
        LimitBy::Credential => By::Credential,
        LimitBy::Ip => By::Address,
        LimitBy::Service => By::Service,
        LimitBy::Header => {
            let name = config.header_name.as_deref().and_then(header_name);
            By::Header(name.ok_or("config.header_name: is no header name")?)
        }
        LimitBy::Path => By::Path(config.path.clone().ok_or("config.path: is missing")?),
    })
}

#[cfg(test)]
mod tests;
