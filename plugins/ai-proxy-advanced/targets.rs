//! The targets of one plugin: whose turn it is, and who is left alone after failures.
//!
//! Round-robin in nginx' smooth form: a heavy target is not hit in bursts. Kong's circuit breaker:
//! failures add up to `max_fails` whatever succeeds in between, then the target rests for
//! `fail_timeout`; the first success after that clears it. The state is this worker's, and stays
//! when a reload leaves the plugin as it is.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::HeaderValue;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::azure::TokenHandle;
use crate::llm::Plan;

/// Positions in the list of targets.
pub(super) type Indexes = SmallVec<[usize; 4]>;

/// Every target, in the order of the configuration.
pub(in crate::plugins) struct Targets {
    all: Box<[Target]>,
    /// One for each target.
    states: Rc<States>,
    breaker: Breaker,
}

/// One model endpoint, ready for requests.
pub(in crate::plugins) struct Target {
    /// How a request for it is made.
    pub(in crate::plugins) plan: Plan,
    /// Whose token it gets.
    pub(in crate::plugins) identity: Option<TokenHandle>,
    /// A field whose vault reference was not resolved: no request may go without it.
    pub(in crate::plugins) unresolved: Option<&'static str>,
    /// A credential that the client sends is kept.
    pub(in crate::plugins) allow_override: bool,
    /// Host and `Host` header, when they are the same for all clients.
    pub(in crate::plugins) host: Option<(Rc<str>, HeaderValue)>,
    /// Prices of a million prompt and completion tokens.
    pub(in crate::plugins) prices: (Option<f64>, Option<f64>),
    /// `logging.log_statistics`.
    pub(in crate::plugins) log_statistics: bool,
    /// `logging.log_payloads`.
    pub(in crate::plugins) log_payloads: bool,
    /// Its share of the requests.
    pub(in crate::plugins) weight: u32,
}

/// How the targets have done so far.
type States = Box<[State]>;

/// How a target has done so far.
#[derive(Default)]
struct State {
    turn: Cell<i64>,
    fails: Cell<u32>,
    rests_until: Cell<Option<Instant>>,
}

/// When a target is left alone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Breaker {
    /// Failures until then; 0 is never.
    pub(super) max_fails: u32,
    /// How long.
    pub(super) fail_timeout: Duration,
}

impl Target {
    /// Whether the gateway signs in there, so that a client's own credential has no business.
    pub(super) fn authenticates(&self) -> bool {
        self.plan.has_key() || self.identity.is_some()
    }
}

impl Targets {
    /// At least one target.
    pub(super) fn new(all: Vec<Target>, breaker: Breaker) -> Self {
        let states = Rc::new(all.iter().map(|_| State::default()).collect());
        Self { all: all.into(), states, breaker }
    }

    /// What outlives a reload.
    pub(super) fn state(&self) -> Rc<dyn Any> {
        self.states.clone()
    }

    /// Goes on where the same targets of another configuration are. The two share their state, so
    /// exchanges that have begun before the reload count, too.
    pub(super) fn inherit(&mut self, state: &Rc<dyn Any>) {
        let states = state.clone().downcast::<States>();
        if let Some(states) = states.ok().filter(|states| states.len() == self.all.len()) {
            self.states = states;
        }
    }

    /// Every target, in the order of the configuration.
    pub(super) fn all(&self) -> &[Target] {
        &self.all
    }

    /// The target at a position.
    pub(in crate::plugins) fn at(&self, index: usize) -> Option<&Target> {
        self.all.get(index)
    }

    /// The targets that a request for this model may go to.
    ///
    /// An alias is somebody's own name, so it goes before a name that several targets may share.
    /// A model that nobody has goes to any: preparing the request then gives Kong's refusal.
    pub(super) fn candidates(&self, model: Option<&str>) -> Indexes {
        let everybody = || (0..self.all.len()).collect();
        let Some(model) = model.filter(|model| !model.is_empty() && self.all.len() > 1) else {
            return everybody();
        };
        let which = |fits: &dyn Fn(&Target) -> bool| -> Indexes {
            (0..self.all.len()).filter(|index| fits(&self.all[*index])).collect()
        };
        let by_alias = which(&|target| target.plan.has_alias(model));
        if !by_alias.is_empty() {
            return by_alias;
        }
        let by_name = which(&|target| target.plan.answers_to(model));
        if by_name.is_empty() { everybody() } else { by_name }
    }

    /// The next target: one that was not tried, else, when all were, any that is not resting.
    pub(super) fn pick(&self, candidates: &[usize], tried: &[usize]) -> Option<usize> {
        self.pick_untried(candidates, tried).or_else(|| self.turn_of(candidates, &[]))
    }

    /// The next target that was not tried.
    pub(super) fn pick_untried(&self, candidates: &[usize], tried: &[usize]) -> Option<usize> {
        self.turn_of(candidates, tried)
    }

    /// Whether there is a target that was not tried; nobody's turn is used up.
    pub(super) fn has_untried(&self, candidates: &[usize], tried: &[usize]) -> bool {
        let now = Instant::now();
        candidates.iter().any(|index| !tried.contains(index) && !self.rests(*index, now))
    }

    fn turn_of(&self, candidates: &[usize], without: &[usize]) -> Option<usize> {
        let now = Instant::now();
        let mut total = 0;
        let mut best: Option<(i64, usize)> = None;
        for index in candidates.iter().copied() {
            if without.contains(&index) || self.rests(index, now) {
                continue;
            }
            let (Some(target), Some(state)) = (self.all.get(index), self.states.get(index)) else {
                continue;
            };
            let weight = i64::from(target.weight.max(1));
            let turn = state.turn.get() + weight;
            state.turn.set(turn);
            total += weight;
            if best.is_none_or(|(most, _)| turn > most) {
                best = Some((turn, index));
            }
        }
        let (turn, index) = best?;
        self.states.get(index)?.turn.set(turn - total);
        Some(index)
    }

    fn rests(&self, index: usize, now: Instant) -> bool {
        let until = self.states.get(index).and_then(|state| state.rests_until.get());
        until.is_some_and(|until| until > now)
    }

    /// A target failed in a way that counts.
    pub(super) fn fail(&self, index: usize) {
        let Some(state) = self.states.get(index) else { return };
        if self.breaker.max_fails == 0 {
            return;
        }
        state.fails.set(state.fails.get().saturating_add(1));
        if state.fails.get() >= self.breaker.max_fails {
            state.rests_until.set(Some(Instant::now() + self.breaker.fail_timeout));
        }
    }

    /// A target answered.
    pub(super) fn succeed(&self, index: usize) {
        let Some(state) = self.states.get(index) else { return };
        if state.rests_until.get().is_some_and(|until| until <= Instant::now()) {
            state.rests_until.set(None);
            state.fails.set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::llm::config::ResponseStreaming;
    use crate::llm::config::tests::target;

    fn one(weight: u32, model: Value) -> Target {
        let config = target(json!({}), json!({}), model);
        Target {
            plan: Plan::new(&config, ResponseStreaming::Allow).unwrap(),
            identity: None,
            unresolved: None,
            allow_override: false,
            host: None,
            prices: (None, None),
            log_statistics: false,
            log_payloads: false,
            weight,
        }
    }

    fn targets(weights: &[u32], max_fails: u32) -> Targets {
        let all = weights.iter().map(|weight| one(*weight, json!({}))).collect();
        let fail_timeout = Duration::from_secs(10);
        Targets::new(all, Breaker { max_fails, fail_timeout })
    }

    #[test]
    fn weights_are_shares_without_bursts() {
        let targets = targets(&[3, 1], 0);
        let turns: Vec<_> = (0..8).filter_map(|_| targets.pick(&[0, 1], &[])).collect();
        assert_eq!(turns, [0, 0, 1, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn what_was_tried_comes_again_only_when_all_were() {
        let targets = targets(&[1, 1, 1], 0);
        assert_eq!(targets.pick(&[0, 1, 2], &[0, 2]), Some(1));
        assert!(targets.has_untried(&[0, 1], &[0]) && !targets.has_untried(&[0, 1], &[1, 0]));
        assert_eq!(targets.pick_untried(&[0, 1], &[0, 1]), None);
        assert!(targets.pick(&[0, 1], &[0, 1]).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_failed_too_often_rests() {
        let targets = targets(&[1, 1], 2);
        targets.fail(0);
        targets.succeed(0); // failures add up, whatever succeeds in between
        targets.fail(0);
        for _ in 0..4 {
            assert_eq!(targets.pick(&[0, 1], &[]), Some(1));
        }
        assert_eq!(targets.pick(&[0], &[]), None);
        targets.succeed(0); // an old answer: the target still rests
        assert_eq!(targets.pick(&[0], &[]), None);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(targets.pick(&[0], &[]), Some(0));
        targets.fail(0); // one more failure is enough now
        assert_eq!(targets.pick(&[0], &[]), None);
        tokio::time::advance(Duration::from_secs(10)).await;
        targets.succeed(0);
        targets.fail(0);
        assert_eq!(targets.pick(&[0], &[]), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn turns_and_rests_are_inherited_and_shared() {
        let old = targets(&[1, 1], 1);
        assert_eq!(old.pick(&[0, 1], &[]), Some(0));
        let mut new = targets(&[1, 1], 1);
        new.inherit(&old.state());
        assert_eq!(new.pick(&[0, 1], &[]), Some(1), "it is the other's turn");
        old.fail(1); // an exchange that began before the reload
        assert_eq!([new.pick(&[0, 1], &[]), new.pick(&[0, 1], &[])], [Some(0); 2]);
        let mut other = targets(&[1, 1, 1], 1);
        other.inherit(&old.state());
        assert!(!other.rests(1, Instant::now()), "other targets start anew");
    }

    #[test]
    fn a_model_chooses_its_targets() {
        let all = vec![
            one(1, json!({"name": "a", "model_alias": "fast"})),
            one(1, json!({"name": "b"})),
            one(1, json!({"name": null})),
        ];
        let targets = Targets::new(all, Breaker::default());
        let of = |model| targets.candidates(model).to_vec();
        assert_eq!(of(Some("fast")), [0]);
        assert_eq!(of(Some("b")), [1, 2]);
        assert_eq!(of(Some("other")), [2]);
        assert_eq!(of(None), [0, 1, 2]);
        assert_eq!(of(Some("")), [0, 1, 2]);
    }
}
