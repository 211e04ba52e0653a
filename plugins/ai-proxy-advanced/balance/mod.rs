//! Which target takes a request: an algorithm over those that are there for it.
//!
//! A target is not there while it rests after failures (`breaker`) or has asked for patience
//! (`cooling`), and a group of lower priority not for those who may not spill over (`spill`). Of
//! the others the algorithm chooses. What it goes by is known to all workers (`standings`); only
//! whose turn it is belongs to one, and stays when a reload leaves the plugin as it is.

mod cooling;
mod hashing;
mod latency;
mod least_connections;
mod made;
mod priority;
mod round_robin;
mod semantic;
mod spill;
mod turns;
mod usage;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use self::cooling::Cooling;
use self::hashing::Ring;
pub(super) use self::made::Named;
pub(super) use self::semantic::Semantic;
pub(super) use self::spill::{Reserved, Spill, SpillCounters};
pub(super) use self::turns::Turns;
use super::targets::{Indexes, Target};
use crate::llm::RouteType;
use crate::llm::config::{LatencyStrategy, TokensCountStrategy};
use crate::llm::splice::Object;
use crate::pdk::Exchange;
use crate::plugins::said;
use crate::standings::Standing;

/// How targets are chosen, and when they are left alone.
#[derive(Default)]
pub(super) struct Balance {
    /// How.
    pub(super) algorithm: Algorithm,
    breaker: Breaker,
    /// Targets that ask for patience get it.
    cooling: Option<Cooling>,
    /// Who may be sent to a lower group, and how much.
    pub(super) spill: Option<Spill>,
    /// Whose turn it is.
    pub(super) turns: Rc<Turns>,
}

/// `balancer.algorithm`
#[derive(Default)]
pub(super) enum Algorithm {
    /// By weight, without bursts.
    #[default]
    RoundRobin,
    /// Where the fewest requests are under way.
    LeastConnections,
    /// Where a header leads.
    ConsistentHashing(Ring),
    /// Who is fastest.
    LowestLatency(LatencyStrategy),
    /// Who has been used least.
    LowestUsage(TokensCountStrategy),
    /// The best group that is there.
    Priority,
    /// Whose description fits the prompt best.
    Semantic(Semantic),
}

/// When a target is left alone after failures.
#[derive(Debug, Clone, Copy, Default)]
struct Breaker {
    /// Failures until then; 0 is never.
    max_fails: u32,
    /// How long.
    fail_timeout: Duration,
}

/// What of a request decides on its target, worked out once: a retry goes by it, too.
#[derive(Default)]
pub(super) struct Hint {
    /// What is hashed.
    key: Option<String>,
    /// For each target how good it is, where that differs between requests: the best are tried
    /// first.
    tiers: Option<Box<[u32]>>,
}

/// One question: where does this request go next?
pub(super) struct Ask<'a> {
    pub(super) ex: &'a Exchange,
    /// The targets that it may go to at all.
    pub(super) candidates: &'a [usize],
    /// Those it has been to.
    pub(super) tried: &'a [usize],
    pub(super) hint: &'a Hint,
}

/// Why there is no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idle {
    /// All rest after failures.
    Resting,
    /// Nobody is there, and the first will be back after this time.
    Cooling(Duration),
    /// All that there are have been tried.
    Tried,
    /// The prompt fits none of them.
    Far,
}

/// Those that may be chosen.
struct Open {
    targets: Indexes,
    /// None of them has been tried.
    is_fresh: bool,
}

impl Balance {
    /// What decides on the target of a request. It may take time: a model may be asked first.
    pub(super) async fn hint(
        &self,
        ex: &Exchange,
        candidates: &[usize],
        request: Option<&Object<Bytes>>,
    ) -> Result<Hint, Idle> {
        match &self.algorithm {
            Algorithm::ConsistentHashing(ring) => Ok(Hint { key: Some(ring.key(ex)), tiers: None }),
            Algorithm::Semantic(semantic) if candidates.len() > 1 => {
                // Who says something twice has said nothing that all readers read alike.
                let messages = request.and_then(|request| said::messages(request).ok());
                let said = said::last_of_users(&messages.unwrap_or_default());
                let fit = semantic.fit(ex, candidates, &said).await;
                let tiers = fit.tiers()?;
                Ok(Hint { key: None, tiers })
            }
            _ => Ok(Hint::default()),
        }
    }

    /// Whether tokens decide.
    pub(super) fn counts_tokens(&self) -> bool {
        matches!(
            self.algorithm,
            Algorithm::LowestUsage(_) | Algorithm::LowestLatency(LatencyStrategy::Tpot)
        ) || self.spill.as_ref().is_some_and(Spill::is_capped)
    }

    /// The next target.
    pub(super) fn pick(&self, all: &[Target], ask: &Ask<'_>) -> Result<usize, Idle> {
        if let [only] = ask.candidates {
            // Nobody has to be chosen: this is what one model costs.
            return self.only(all, *only, ask).map(|_| *only);
        }
        let open = self.open(all, ask)?.targets;
        let turns = &*self.turns;
        let chosen = match &self.algorithm {
            Algorithm::RoundRobin | Algorithm::Priority | Algorithm::Semantic(_) => {
                round_robin::next(&open, all, turns)
            }
            Algorithm::LeastConnections => least_connections::next(&open, all, turns),
            Algorithm::ConsistentHashing(ring) => ring.find(ask.hint.key.as_deref(), &open),
            Algorithm::LowestLatency(_) => latency::next(&open, all, turns),
            Algorithm::LowestUsage(_) => usage::next(&open, all, turns),
        };
        chosen.ok_or(Idle::Tried)
    }

    /// Whether there is a next target, and whether it is one that was not tried. Nobody's turn is
    /// used up.
    pub(super) fn look_ahead(&self, all: &[Target], ask: &Ask<'_>) -> Result<bool, Idle> {
        match ask.candidates {
            [only] => self.only(all, *only, ask),
            _ => self.open(all, ask).map(|open| open.is_fresh),
        }
    }

    /// The only target there is. It may rest, but it does not cool: its own answer says more than
    /// one of ours, and it may have room for this request.
    fn only(&self, all: &[Target], index: usize, ask: &Ask<'_>) -> Result<bool, Idle> {
        let is_fresh = !ask.tried.contains(&index);
        match all.get(index) {
            Some(target) if self.rests(target) => Err(Idle::Resting),
            Some(_) if is_fresh || self.comes_round() => Ok(is_fresh),
            _ => Err(Idle::Tried),
        }
    }

    fn open(&self, all: &[Target], ask: &Ask<'_>) -> Result<Open, Idle> {
        let tier = |index: usize| self.tier(all, ask.hint, index);
        let is_there = |index: usize| {
            all.get(index)
                .is_some_and(|target| !self.rests(target) && self.cools(target, ask.ex).is_none())
        };
        let there: Indexes = ask.candidates.iter().copied().filter(|i| is_there(*i)).collect();
        let is_fresh = |index: &usize| !ask.tried.contains(index);
        let mut open: Indexes = there.iter().copied().filter(is_fresh).collect();
        let fresh = !open.is_empty();
        if !fresh && self.comes_round() {
            open = there;
        }
        if !self.has_tiers(ask.hint) {
            return self.opened(all, ask, open, fresh);
        }
        priority::keep_best(&mut open, tier);
        let best = priority::best(ask.candidates, tier);
        let spills = open.first().is_some_and(|index| Some(tier(*index)) < best);
        if spills && self.spill.as_ref().is_some_and(|spill| !spill.allows(ask.ex)) {
            let mut first: Indexes = ask.candidates.into();
            priority::keep_best(&mut first, tier);
            let within = Ask { candidates: &first, ..*ask };
            return self.opened(all, &within, Indexes::new(), false);
        }
        self.opened(all, ask, open, fresh)
    }

    /// The open ones, or why there are none.
    fn opened(
        &self,
        all: &[Target],
        ask: &Ask<'_>,
        open: Indexes,
        is_fresh: bool,
    ) -> Result<Open, Idle> {
        if !open.is_empty() {
            return Ok(Open { targets: open, is_fresh });
        }
        let mut soonest: Option<Duration> = None;
        for target in ask.candidates.iter().filter_map(|index| all.get(*index)) {
            match self.cools(target, ask.ex) {
                Some(wait) => soonest = Some(soonest.map_or(wait, |soonest| soonest.min(wait))),
                None if self.rests(target) => {}
                None => return Err(Idle::Tried),
            }
        }
        Err(soonest.map_or(Idle::Resting, Idle::Cooling))
    }

    /// Whether targets that failed are asked again when all have been. Where some are better than
    /// others, the last one of them would get all that the better ones did not take.
    fn comes_round(&self) -> bool {
        !matches!(self.algorithm, Algorithm::Priority | Algorithm::Semantic(_))
    }

    fn has_tiers(&self, hint: &Hint) -> bool {
        matches!(self.algorithm, Algorithm::Priority) || hint.tiers.is_some()
    }

    /// How good a target is; greater is better. Without tiers all are alike.
    fn tier(&self, all: &[Target], hint: &Hint, index: usize) -> u32 {
        match (&hint.tiers, &self.algorithm) {
            (Some(tiers), _) => tiers.get(index).copied().unwrap_or(0),
            (None, Algorithm::Priority) => all.get(index).map_or(0, |target| target.weight),
            _ => 0,
        }
    }

    fn rests(&self, target: &Target) -> bool {
        self.breaker.max_fails > 0 && target.standing.rests().is_some()
    }

    fn cools(&self, target: &Target, ex: &Exchange) -> Option<Duration> {
        self.cooling.as_ref()?;
        target.standing.cools(operation(target, ex))
    }

    /// Takes note of an answer that asks for patience: it was not processed, so the request may
    /// go elsewhere at once. Where there is no elsewhere it is an answer like any other.
    pub(super) fn cool(
        &self,
        target: &Target,
        ask: &Ask<'_>,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> bool {
        let Some(cooling) = &self.cooling else { return false };
        if ask.candidates.len() < 2 || !cooling.covers(status) {
            return false;
        }
        let wait = cooling.wait(headers);
        if let Some(wait) = wait {
            target.standing.cool(operation(target, ask.ex), wait);
        }
        // An overload that says nothing of time may have come half way.
        wait.is_some() || status == StatusCode::TOO_MANY_REQUESTS
    }

    /// A target failed in a way that counts, after so many milliseconds. Without more, who fails
    /// fast would be the fastest, and who fails always would be used least.
    pub(super) fn fail(&self, all: &[Target], target: &Target, ms: u64) {
        if self.breaker.max_fails > 0 {
            target.standing.fail(self.breaker.max_fails, self.breaker.fail_timeout);
        }
        match &self.algorithm {
            Algorithm::LowestLatency(_) => latency::learn_failure(&target.standing, ms),
            Algorithm::LowestUsage(_) => usage::learn_failure(all, &target.standing),
            _ => {}
        }
    }

    /// A target answered.
    pub(super) fn succeed(&self, target: &Target) {
        if self.breaker.max_fails > 0 {
            target.standing.succeed();
        }
    }

    /// The first choice that a request has missed, if its target is of a lower group.
    pub(super) fn spilled_from(
        &self,
        all: &[Target],
        ask: &Ask<'_>,
        index: usize,
    ) -> Option<usize> {
        if !self.has_tiers(ask.hint) || ask.candidates.len() < 2 {
            return None;
        }
        let tier = |index: usize| self.tier(all, ask.hint, index);
        let best = priority::best(ask.candidates, tier)?;
        let is_best = |index: &&usize| tier(**index) == best;
        let missed = || {
            ask.tried.iter().find(is_best).or_else(|| ask.candidates.iter().find(is_best)).copied()
        };
        if tier(index) < best { missed() } else { None }
    }

    /// Takes what an exchange came to: milliseconds, and what was used.
    pub(super) fn learn(&self, standing: &Standing, spent: &Spent) {
        match &self.algorithm {
            Algorithm::LowestLatency(strategy) => latency::learn(standing, *strategy, spent),
            Algorithm::LowestUsage(strategy) => usage::learn(standing, *strategy, spent),
            _ => {}
        }
    }

    /// For each target its group, from 1, and how many groups there are.
    pub(super) fn groups(&self, all: &[Target]) -> (Vec<usize>, usize) {
        let tiers = (0..all.len()).map(|index| self.tier(all, &Hint::default(), index));
        priority::ranks(&tiers.collect::<Vec<_>>())
    }
}

impl Algorithm {
    /// Its name in a configuration.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
            Self::ConsistentHashing(_) => "consistent-hashing",
            Self::LowestLatency(_) => "lowest-latency",
            Self::LowestUsage(_) => "lowest-usage",
            Self::Priority => "priority",
            Self::Semantic(_) => "semantic",
        }
    }
}

/// What an exchange came to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// `None` when the client left before the end.
    pub(super) latency_ms: Option<u64>,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    pub(super) total_tokens: u64,
    /// In the currency of the prices.
    pub(super) cost: f64,
}

/// What a request asks of a target, as far as it may be refused on its own.
fn operation(target: &Target, ex: &Exchange) -> RouteType {
    match target.plan.route_type() {
        RouteType::Preserve => cooling::operation_at(ex.request.raw_path()),
        route_type => route_type,
    }
}

/// Which of some targets has the least of something; equals take turns.
fn least(open: &[usize], turns: &Turns, score: impl Fn(usize) -> f64) -> Option<usize> {
    let scored = open.iter().map(|index| (score(*index), turns.last(*index), *index));
    let (.., chosen) = scored.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
    turns.chose(chosen);
    Some(chosen)
}

/// A number by weight.
fn per_weight(number: f64, target: &Target) -> f64 {
    number / f64::from(target.weight.max(1))
}

fn standing(all: &[Target], index: usize) -> Option<&Arc<Standing>> {
    all.get(index).map(|target| &target.standing)
}

#[cfg(test)]
pub(super) mod tests;
