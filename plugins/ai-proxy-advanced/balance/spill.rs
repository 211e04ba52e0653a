//! `balancer.spill`: who may be sent to a lower group than the first, and for how much.
//!
//! The first group is paid for in any case (provisioned throughput); whatever goes to a lower one
//! costs extra. What is under way counts as its prompt until its real size is known, so a cap is
//! exceeded by at most the replies that are under way.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::super::setup::Setup;
use super::super::targets::Target;
use super::Spent;
use super::usage::MONEY;
use crate::llm::config;
use crate::metrics::{Amount, Counter};
use crate::pdk::Exchange;
use crate::standings::{Spilled, Standings};

/// The rules of one plugin.
pub(in super::super) struct Spill {
    denied: Vec<String>,
    max_tokens: Option<u64>,
    /// In parts of the currency.
    max_cost: Option<u64>,
    spilled: Arc<Spilled>,
}

/// What a request is expected to come to.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Reserved {
    tokens: u64,
    cost: u64,
}

impl Spill {
    /// The rules of a configuration; what has been spilled is known to the process.
    pub(in super::super) fn new(
        config: &config::Spill,
        standings: &Standings,
        plugin_id: &str,
    ) -> Self {
        let window = Duration::from_secs(config.window_size.unwrap_or(3600).max(1));
        Self {
            denied: config.deny_consumer_groups.clone().unwrap_or_default(),
            max_tokens: config.max_tokens,
            max_cost: config.max_cost.map(|cost| (cost * MONEY) as u64),
            spilled: standings.spilled(plugin_id, window),
        }
    }

    /// Whether a request may spill over now.
    pub(super) fn allows(&self, ex: &Exchange) -> bool {
        let is_denied = |group: &str| self.denied.iter().any(|denied| denied == group);
        if !self.denied.is_empty()
            && ex.client.with_groups(|groups| groups.iter().any(|group| is_denied(&group.name)))
        {
            return false;
        }
        let now = self.spilled.now();
        let has_room = |max: Option<u64>, sum: u64| max.is_none_or(|max| sum < max);
        has_room(self.max_tokens, self.spilled.tokens.current(now))
            && has_room(self.max_cost, self.spilled.cost.current(now))
    }

    /// Whether somebody has to count.
    pub(in super::super) fn is_capped(&self) -> bool {
        self.max_tokens.is_some() || self.max_cost.is_some()
    }

    /// A request sets out for a lower group.
    pub(in super::super) fn reserve(&self, tokens: u64, cost: f64) -> Reserved {
        let reserved = Reserved { tokens, cost: (cost * MONEY) as u64 };
        let now = self.spilled.now();
        self.spilled.tokens.add(now, reserved.tokens);
        self.spilled.cost.add(now, reserved.cost);
        reserved
    }

    /// It has come to this; nothing, if it failed.
    pub(in super::super) fn settle(&self, reserved: Reserved, spent: Option<&Spent>) {
        let now = self.spilled.now();
        self.spilled.tokens.take(now, reserved.tokens);
        self.spilled.cost.take(now, reserved.cost);
        if let Some(spent) = spent {
            self.spilled.tokens.add(now, spent.total_tokens);
            self.spilled.cost.add(now, (spent.cost * MONEY) as u64);
        }
    }
}

/// Series of one plugin by the target that a request should have gone to, and where it went.
#[derive(Default)]
pub(in super::super) struct SpillCounters {
    known: RefCell<HashMap<(usize, String), Rc<Series>>>,
}

struct Series {
    requests: Counter,
    tokens: Counter,
    cost: Amount,
}

impl SpillCounters {
    /// Counts a request that went elsewhere.
    pub(in super::super) fn count(&self, setup: &Setup, from: usize, to: &Target, spent: &Spent) {
        let mut known = self.known.borrow_mut();
        let make = || Rc::new(Series::new(setup, from, to));
        let series = known.entry((from, to.label.clone())).or_insert_with(make);
        series.requests.add(1);
        series.tokens.add(spent.total_tokens);
        series.cost.add(spent.cost);
    }
}

impl Series {
    fn new(setup: &Setup, from: usize, to: &Target) -> Self {
        let from = setup.targets.at(from).map_or("", |target| &target.label);
        let labels = [("plugin", &*setup.plugin_name), ("from", from), ("to", &to.label)];
        let metrics = &setup.shared.metrics;
        Self {
            requests: metrics.counter(
                "silverback_ai_spilled_requests_total",
                "Requests that went to a group of lower priority than the first",
                &labels,
            ),
            tokens: metrics.counter(
                "silverback_ai_spilled_tokens_total",
                "Tokens of requests that went to a group of lower priority than the first",
                &labels,
            ),
            cost: metrics.amount(
                "silverback_ai_spilled_cost_total",
                "Cost of requests that went to a group of lower priority than the first",
                &labels,
            ),
        }
    }
}
