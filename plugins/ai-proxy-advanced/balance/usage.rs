//! Who has been used least in the last minute, measured by weight.
//!
//! A minute, because the limits of a deployment are by the minute, and because a target that comes
//! back has no past to catch up on. What is under way counts as an average request, so that
//! requests that come at once do not all go to one target.

use super::super::targets::Target;
use super::turns::Turns;
use super::{Spent, least, per_weight, standing};
use crate::llm::config::TokensCountStrategy;
use crate::standings::Standing;

/// Parts of the currency that money is counted in.
pub(super) const MONEY: f64 = 1e9;

/// The next of the open targets.
pub(super) fn next(open: &[usize], all: &[Target], turns: &Turns) -> Option<usize> {
    let average = average(open, all);
    least(open, turns, |index| {
        let Some(target) = all.get(index) else { return f64::MAX };
        let standing = &target.standing;
        let expected = standing.open.value() as f64 * average;
        per_weight(standing.used.sliding(standing.now()) + expected, target)
    })
}

/// What a request has cost on the average.
fn average(open: &[usize], all: &[Target]) -> f64 {
    let sums = open.iter().filter_map(|index| {
        let standing = standing(all, *index)?;
        let now = standing.now();
        Some((standing.used.sliding(now), standing.requests.sliding(now)))
    });
    let (used, requests) = sums.fold((0.0, 0.0), |(a, b), (used, count)| (a + used, b + count));
    if requests > 0.0 { used / requests } else { 1.0 }
}

/// Takes what a request has cost.
pub(super) fn learn(standing: &Standing, strategy: TokensCountStrategy, spent: &Spent) {
    let amount = match strategy {
        TokensCountStrategy::PromptTokens => spent.prompt_tokens,
        TokensCountStrategy::CompletionTokens => spent.completion_tokens,
        TokensCountStrategy::Cost => (spent.cost * MONEY) as u64,
        TokensCountStrategy::TotalTokens | TokensCountStrategy::LlmAccuracy => spent.total_tokens,
    };
    let now = standing.now();
    standing.used.add(now, amount);
    standing.requests.add(now, 1);
}

/// A failure counts as an average request.
pub(super) fn learn_failure(all: &[Target], standing: &Standing) {
    let everybody: Vec<_> = (0..all.len()).collect();
    let now = standing.now();
    standing.used.add(now, average(&everybody, all).ceil() as u64);
    standing.requests.add(now, 1);
}
