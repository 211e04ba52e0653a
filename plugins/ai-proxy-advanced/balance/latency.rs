//! Who is fastest, by a moving average that believes a slow answer at once.
//!
//! Of fifty requests one goes to whoever has not been measured for the longest time, so that a
//! target that was slow once is not left out for ever (Kong: 0.1 to 5 % of the requests).

use super::super::targets::Target;
use super::turns::Turns;
use super::{Spent, least, per_weight, standing};
use crate::llm::config::LatencyStrategy;
use crate::standings::Standing;

/// One of so many requests is a probe.
const PROBE_EVERY: u64 = 50;

/// The next of the open targets.
pub(super) fn next(open: &[usize], all: &[Target], turns: &Turns) -> Option<usize> {
    if turns.count() % PROBE_EVERY == PROBE_EVERY - 1 {
        return least(open, turns, |index| {
            standing(all, index).map_or(0.0, |one| one.latency.observed_at() as f64)
        });
    }
    let unknown = average(open, all);
    least(open, turns, |index| {
        let known = standing(all, index).and_then(|one| one.latency.get());
        all.get(index).map_or(f64::MAX, |target| per_weight(known.unwrap_or(unknown), target))
    })
}

/// A target nobody knows yet counts as average, so that it is not flooded.
fn average(open: &[usize], all: &[Target]) -> f64 {
    let known = open.iter().filter_map(|index| standing(all, *index)?.latency.get());
    let (sum, count) = known.fold((0.0, 0.0), |(sum, count), ms| (sum + ms, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Takes the time of a reply, or of one token of it. A reply without tokens counts as a whole.
pub(super) fn learn(standing: &Standing, strategy: LatencyStrategy, spent: &Spent) {
    let Some(ms) = spent.latency_ms else { return };
    let parts = match strategy {
        LatencyStrategy::E2e => 1,
        LatencyStrategy::Tpot => spent.completion_tokens.max(1),
    };
    standing.latency.observe(standing.now(), ms as f64 / parts as f64);
}

/// A failure counts as its time, and as a slow reply at least.
pub(super) fn learn_failure(standing: &Standing, ms: u64) {
    const SLOW_MS: u64 = 10_000;
    standing.latency.observe(standing.now(), ms.max(SLOW_MS) as f64);
}
