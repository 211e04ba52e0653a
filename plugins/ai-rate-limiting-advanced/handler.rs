//! Limits what models may cost: tokens or money, by provider or by policy.
//!
//! A request reserves what it is sure to use, an estimate of its prompt, and pays or gets back the
//! difference when it is over. So limits hold while many requests are under way, but for the
//! answers that nobody can know ahead. A request that asks no model gets everything back.

mod config;
mod functions;
mod rules;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use super::Context;
use super::limits::{self, By};
use super::prompts;
use crate::llm::{Body, anthropic, openai, usage};
use crate::pdk::request::header_name;
use crate::pdk::{Exchange, ModelUse, ModelWatch};
use crate::plugin::{Outcome, Phases, Plugin, Step};
use crate::quota::amounts::remote::Remote;
use crate::quota::amounts::synced::Synced;
use crate::quota::amounts::{Level, Window, clock};
use crate::quota::remote::identifier;
use crate::redis::Redis;
use crate::respond;
use crate::shared::Shared;
use config::{Config, Counted, Counters, Limiter, Strategy};
use functions::Functions;

struct AiRateLimiting {
    counters: Rc<Store>,
    limiters: Rc<[Limiter]>,
    functions: Rc<Functions>,
    by: By,
    status: StatusCode,
    message: String,
    hides_providers: bool,
    hides_headers: bool,
    jitter: f64,
    /// A request that `requestPrompt` refuses costs it nothing.
    has_no_penalty: bool,
}

/// Where the counters are.
struct Store {
    shared: Arc<Shared>,
    namespace: Arc<str>,
    /// `None` is in this process alone.
    remote: Option<Far>,
}

/// Counters of several gateways.
enum Far {
    /// Each request asks.
    Asked(Remote),
    /// They are compared now and then.
    Synced(Rc<Synced>),
}

impl Far {
    /// The Redis of a configuration; `None` if it counts in this process alone.
    fn new(
        config: &Config,
        context: &Context<'_>,
        namespace: &Arc<str>,
    ) -> Result<Option<Self>, Vec<String>> {
        match config.strategy.unwrap_or(Counters::Local) {
            Counters::Cluster => {
                let what = "config.strategy: 'cluster' needs a database; use redis or local";
                return Err(vec![what.to_owned()]);
            }
            Counters::Redis if config.sync_rate.is_none_or(|rate| rate >= 0.0) => {}
            _ => return Ok(None),
        }
        let record = config.redis.clone();
        let record = record.ok_or_else(|| vec!["config.redis: is missing".to_owned()])?;
        let server = record.server("config.redis")?;
        let shared = context.shared;
        let redis = Redis::signed_in(shared, &context.snapshot.env, server, "config.redis")?;
        let remote = Remote::new(redis, namespace.clone());
        Ok(Some(match config.sync_rate.filter(|rate| *rate > 0.0) {
            Some(rate) => {
                let every = Duration::from_secs_f64(rate.min(86_400.0));
                Self::Synced(Synced::new(shared, namespace.clone(), remote, every))
            }
            None => Self::Asked(remote),
        }))
    }
}

/// A limit of one client, and what was reserved of it.
struct Reserved {
    limiter: usize,
    window: Window,
    strategy: Strategy,
    whom: Box<str>,
    /// What it was asked for.
    wanted: f64,
    /// What it gave.
    amount: f64,
    /// What counts of a request whatever becomes of it.
    fixed: f64,
    level: Level,
    fits: bool,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let config: Config = context.config()?;
    AiRateLimiting::new(config, context).map(|plugin| Box::new(plugin) as _)
}

impl Plugin for AiRateLimiting {
    fn phases(&self) -> Phases {
        // The function for costs reads the record of the log.
        let record = if self.functions.has_costs() { Phases::RECORD } else { Phases::NONE };
        Phases::ACCESS.and(record)
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::wait(self.judge(ex))
    }
}

impl AiRateLimiting {
    fn new(config: Config, context: &Context<'_>) -> Result<Self, Vec<String>> {
        let limiters = config.limiters()?;
        let functions = Functions::new(&config, &limiters, context)?;
        let status = limits::status(config.error_code.unwrap_or(429.0))
            .ok_or_else(|| vec!["config.error_code: must be a status, 100 to 599".to_owned()])?;
        prompts::other_format(config.llm_format.as_deref(), &["openai", anthropic::FORMAT])?;
        let by = config.by()?;
        let id = context.entity.id.to_string();
        let namespace: Arc<str> = config.namespace.as_deref().unwrap_or(&id).into();
        let remote = Far::new(&config, context, &namespace)?;
        Ok(Self {
            counters: Rc::new(Store { shared: context.shared.clone(), namespace, remote }),
            limiters: limiters.into(),
            functions: Rc::new(functions),
            by,
            status,
            message: config.error_message.unwrap_or_default(),
            hides_providers: config.error_hide_providers.unwrap_or(false),
            hides_headers: config.hide_client_headers.unwrap_or(false),
            jitter: config.retry_after_jitter_max.unwrap_or(0.0).max(0.0),
            has_no_penalty: config.disable_penalty.unwrap_or(false),
        })
    }

    async fn judge(&self, ex: &Exchange) -> Outcome {
        let (model, prompt) = asked(ex, &self.counters.shared).await;
        let counted = self.functions.of_request(ex, &self.limiters).await?;
        let time = clock();
        let mut reserved = Vec::new();
        for (at, whom) in self.concerned(ex, model.as_deref()) {
            let limiter = &self.limiters[at];
            let whom: Box<str> = format!("{}:{whom}", limiter.name).into();
            reserved.extend(limiter.limits.iter().map(|limit| {
                let wanted = limiter.at_least(limit.strategy, prompt, counted);
                Reserved {
                    limiter: at,
                    window: limit.window,
                    strategy: limit.strategy,
                    whom: whom.clone(),
                    wanted,
                    amount: wanted,
                    fixed: 0.0,
                    level: Level::default(),
                    fits: false,
                }
            }));
        }
        self.counters.reserve(ex, &mut reserved, time).await;
        self.fix(&mut reserved, time);
        self.tell(ex, &reserved, prompt, time);
        if reserved.iter().all(|one| one.fits) {
            self.watch(ex, reserved, time);
            return Ok(());
        }
        let outcome = self.refuse(ex, &reserved, time);
        self.counters.clone().settle(reserved, |one| one.fixed, time);
        outcome
    }

    /// The limits that a request falls under, and whose counters they are.
    fn concerned(&self, ex: &Exchange, model: Option<&str>) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (at, limiter) in self.limiters.iter().enumerate() {
            if limiter.provider.is_some() {
                found.push((at, identifier(&self.by.whom(ex))));
            } else if !limiter.matches.is_fallback()
                && let Some(whom) = limiter.matches.find(ex, model)
            {
                found.push((at, whom));
            }
        }
        let is_policy = |(at, _): &(usize, String)| self.limiters[*at].provider.is_none();
        if !found.iter().any(is_policy) {
            let rest = self.limiters.iter().enumerate();
            let rest = rest.filter(|(_, l)| l.provider.is_none() && l.matches.is_fallback());
            found.extend(rest.map(|(at, _)| (at, identifier(&self.by.whom(ex)))));
        }
        found
    }

    /// What `requestPrompt` counts stays, also of a request that is refused (Kong): only where the
    /// limit was reached before, `disable_penalty` leaves it out.
    fn fix(&self, reserved: &mut [Reserved], time: f64) {
        let is_counted =
            |limiter: usize| self.limiters[limiter].provider == Some(Counted::RequestPrompt);
        for one in reserved.iter_mut().filter(|one| is_counted(one.limiter)) {
            let is_reached = one.window.used(one.level, time) >= one.window.limit;
            if one.fits || !is_reached || !self.has_no_penalty {
                one.fixed = one.wanted;
                one.level.now += one.fixed - one.amount;
            }
        }
    }

    /// Tells the client what is left.
    fn tell(&self, ex: &Exchange, reserved: &[Reserved], prompt: u64, time: f64) {
        if self.hides_headers {
            return;
        }
        let mut least: Option<u64> = None;
        for one in reserved {
            let name = &self.limiters[one.limiter].name;
            let size = named(one.window.size);
            let used = one.window.used(one.level, time);
            let left = (one.window.limit - used).max(0.0);
            set(ex, &format!("x-ai-ratelimit-limit-{size}-{name}"), one.window.limit);
            set(ex, &format!("x-ai-ratelimit-remaining-{size}-{name}"), left);
            if self.limiters[one.limiter].provider == Some(Counted::RequestPrompt) {
                set(ex, &format!("x-ai-ratelimit-query-cost-{size}-{name}"), one.wanted);
            }
            let reset = one.window.reset(time);
            least = Some(least.map_or(reset, |before| before.min(reset)));
        }
        if let Some(reset) = least {
            set(ex, "x-ai-ratelimit-reset", reset as f64);
            set(ex, "x-ai-ratelimit-query-cost", prompt as f64);
        }
    }

    fn refuse(&self, ex: &Exchange, reserved: &[Reserved], time: f64) -> Outcome {
        let over = reserved.iter().filter(|one| !one.fits);
        let mut names: Vec<&str> = Vec::new();
        let mut longest = 0;
        for one in over {
            let name = &*self.limiters[one.limiter].name;
            let wait = one.window.wait(one.level, one.wanted, time);
            let after = wait + fastrand::u64(0..=self.jitter as u64);
            longest = longest.max(after);
            if !names.contains(&name) {
                names.push(name);
            }
            if !self.hides_headers {
                let size = named(one.window.size);
                set(ex, &format!("x-ai-ratelimit-reset-{size}-{name}"), wait as f64);
                set(ex, &format!("x-ai-ratelimit-retry-after-{size}-{name}"), after as f64);
            }
        }
        if !self.hides_headers {
            set(ex, "x-ai-ratelimit-retry-after", longest as f64);
            ex.response.set_header(RETRY_AFTER, HeaderValue::from(longest));
        }
        let mut message = self.message.clone();
        if !self.hides_providers {
            message.push_str(&names.join(", "));
        }
        respond::error(ex, self.status, &message)
    }

    /// Puts the counters right when it is known what the request has cost.
    fn watch(&self, ex: &Exchange, reserved: Vec<Reserved>, time: f64) {
        let (counters, limiters) = (self.counters.clone(), self.limiters.clone());
        let functions = self.functions.clone();
        let watch = ModelWatch::new(move |told| {
            let custom = told.and_then(|(ex, _)| functions.of_costs(ex, &limiters));
            let used = told.map(|(_, used)| used);
            let cost = |one: &Reserved| cost(&limiters[one.limiter], one, used, custom);
            counters.settle(reserved, cost, time);
        });
        ex.own.keep(Rc::new(watch));
    }
}

/// What a request has cost a limit; `custom` is what the function for costs has said.
fn cost(
    limiter: &Limiter,
    reserved: &Reserved,
    used: Option<&ModelUse>,
    custom: Option<f64>,
) -> f64 {
    let of_model = |used: &ModelUse| {
        let spent = used.spent.as_ref();
        spent.map_or(0.0, |spent| reserved.strategy.of(spent))
    };
    match limiter.provider {
        Some(Counted::RequestPrompt) => reserved.fixed,
        Some(Counted::CustomCost) => custom.unwrap_or(0.0),
        Some(Counted::Provider(provider)) => {
            used.filter(|used| used.provider == provider).map_or(0.0, of_model)
        }
        None => {
            used.filter(|used| limiter.matches.has_provider(used.provider)).map_or(0.0, of_model)
        }
    }
}

impl Store {
    /// Reserves all of it, as far as it fits.
    async fn reserve(&self, ex: &Exchange, wanted: &mut [Reserved], time: f64) {
        let answers = match &self.remote {
            Some(Far::Asked(remote)) if !wanted.is_empty() => {
                let asked = wanted.iter().map(|one| (&*one.whom, &one.window, one.amount));
                remote.reserve(asked, time).await.map_err(|failure| {
                    tracing::error!(
                        request_id = %ex.id,
                        redis = %remote.place(),
                        "[ai-rate-limiting-advanced] {failure}; counting in this process"
                    );
                })
            }
            _ => Err(()),
        };
        let mut answers = answers.ok().map(Vec::into_iter);
        for one in wanted {
            let (level, fits) = answers.as_mut().and_then(Iterator::next).unwrap_or_else(|| {
                let amounts = &self.shared.amounts;
                amounts.reserve(&self.namespace, &one.whom, &one.window, one.amount, time)
            });
            if let Some(Far::Synced(synced)) = &self.remote {
                synced.touch(&one.whom, &one.window);
            }
            (one.level, one.fits) = (level, fits);
            one.amount = if fits { one.amount } else { 0.0 };
        }
    }

    /// Makes what was reserved what it has cost.
    fn settle(
        self: Rc<Self>,
        reserved: Vec<Reserved>,
        cost: impl Fn(&Reserved) -> f64,
        since: f64,
    ) {
        let changes: Vec<(Window, Box<str>, f64)> = reserved
            .into_iter()
            .map(|one| {
                let more = cost(&one) - one.amount;
                (one.window, one.whom, more)
            })
            .filter(|(.., more)| *more != 0.0)
            .collect();
        if changes.is_empty() {
            return;
        }
        match &self.remote {
            Some(Far::Asked(_)) => {}
            None => return self.settle_here(&changes, since),
            Some(Far::Synced(synced)) => {
                self.settle_here(&changes, since);
                return changes.iter().for_each(|(window, whom, _)| synced.touch(whom, window));
            }
        }
        tokio::task::spawn_local(async move {
            let Some(Far::Asked(remote)) = &self.remote else { return };
            if let Err(failure) = remote.settle(&changes, since).await {
                tracing::error!(
                    redis = %remote.place(),
                    "[ai-rate-limiting-advanced] {failure}; counting in this process"
                );
                self.settle_here(&changes, since);
            }
        });
    }

    fn settle_here(&self, changes: &[(Window, Box<str>, f64)], since: f64) {
        let (amounts, time) = (&self.shared.amounts, clock());
        for (window, whom, more) in changes {
            amounts.settle(&self.namespace, whom, window, *more, since, time);
        }
    }
}

/// The model that a request names, and an estimate of its prompt's tokens. What cannot be read is
/// refused by the plugin that has to send it.
async fn asked(ex: &Exchange, shared: &Shared) -> (Option<String>, u64) {
    let content_type = ex.request.header(http::header::CONTENT_TYPE);
    let content_type = content_type.as_ref().map(HeaderValue::as_bytes);
    if !content_type.is_none_or(openai::is_json) {
        return (None, 0);
    }
    let Ok(bytes) = ex.request.body(shared.settings.buffer_limit).await else { return (None, 0) };
    let Ok(body) = Body::read(content_type, bytes, 0) else { return (None, 0) };
    let prompt = body.object().map_or(0, |object| usage::estimate_prompt(object, false));
    (body.model().map(|model| model.into_owned()), prompt)
}

/// A window's length in Kong's words.
fn named(size: u64) -> String {
    let known = [
        (1, "second"),
        (60, "minute"),
        (3_600, "hour"),
        (86_400, "day"),
        (2_592_000, "month"),
        (31_536_000, "year"),
    ];
    let name = known.iter().find(|(known, _)| *known == size).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| size.to_string())
}

fn set(ex: &Exchange, name: &str, value: f64) {
    if let Some(name) = header_name(name) {
        ex.response.set_header(name, limits::number(value));
    }
}
