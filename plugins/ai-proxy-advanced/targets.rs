//! The targets of one plugin: what each is, which of them a request may mean, and, by the balance,
//! which one gets it.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use smallvec::SmallVec;

use super::balance::{Ask, Balance, Hint, Idle, Spent, Spill, Turns};
use crate::azure::TokenHandle;
use crate::llm::Plan;
use crate::llm::price::Prices;
use crate::llm::splice::Object;
use crate::pdk::Exchange;
use crate::standings::{Resource, Standing};

/// Positions in the list of targets.
pub(super) type Indexes = SmallVec<[usize; 4]>;

/// Every target, in the order of the configuration.
pub(in crate::plugins) struct Targets {
    all: Box<[Target]>,
    balance: Balance,
}

/// One model endpoint, ready for requests.
pub(in crate::plugins) struct Target {
    /// How a request for it is made.
    pub(in crate::plugins) plan: Plan,
    /// What people call it; no other target of the plugin is called so.
    pub(super) label: String,
    /// How it is doing.
    pub(super) standing: Arc<Standing>,
    /// Where it keeps what is made there.
    pub(super) resource: Option<Resource>,
    /// Whose token it gets.
    pub(in crate::plugins) identity: Option<TokenHandle>,
    /// A field whose vault reference was not resolved: no request may go without it.
    pub(in crate::plugins) unresolved: Option<&'static str>,
    /// A credential that the client sends is kept.
    pub(in crate::plugins) allow_override: bool,
    /// Host and `Host` header, when they are the same for all clients.
    pub(in crate::plugins) host: Option<(Rc<str>, HeaderValue)>,
    /// What its tokens cost.
    pub(in crate::plugins) prices: Prices,
    /// `logging.log_statistics`.
    pub(in crate::plugins) log_statistics: bool,
    /// `logging.log_payloads`.
    pub(in crate::plugins) log_payloads: bool,
    /// Its share of the requests; for `priority` its group.
    pub(in crate::plugins) weight: u32,
}

impl Target {
    /// Whether the gateway signs in there, so that a client's own credential has no business.
    pub(super) fn authenticates(&self) -> bool {
        self.plan.has_key() || self.identity.is_some()
    }
}

impl Targets {
    /// At least one target.
    pub(super) fn new(all: Vec<Target>, balance: Balance) -> Self {
        Self { all: all.into(), balance }
    }

    /// What outlives a reload.
    pub(super) fn state(&self) -> Rc<dyn Any> {
        self.balance.turns.clone()
    }

    /// Goes on where the same targets of another configuration are. The two share their turns, so
    /// exchanges that have begun before the reload count, too.
    pub(super) fn inherit(&mut self, state: &Rc<dyn Any>) {
        let turns = state.clone().downcast::<Turns>();
        if let Some(turns) = turns.ok().filter(|turns| turns.len() == self.all.len()) {
            self.balance.turns = turns;
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
    ///
    /// One whose key is a vault reference without a value is asked only where there is no other.
    pub(super) fn candidates(&self, model: Option<&str>) -> Indexes {
        let named = self.named(model);
        let resolved = |index: &usize| self.at(*index).is_some_and(|t| t.unresolved.is_none());
        let ready: Indexes = named.iter().copied().filter(resolved).collect();
        if ready.is_empty() { named } else { ready }
    }

    fn named(&self, model: Option<&str>) -> Indexes {
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

    /// What decides on the target of a request, beside what is known of the targets.
    pub(super) async fn hint(
        &self,
        ex: &Exchange,
        candidates: &[usize],
        request: Option<&Object<Bytes>>,
    ) -> Result<Hint, Idle> {
        self.balance.hint(ex, candidates, request).await
    }

    /// The next target of a request.
    pub(super) fn pick(&self, ask: &Ask<'_>) -> Result<usize, Idle> {
        self.balance.pick(&self.all, ask)
    }

    /// Whether there is a next target, and whether it is one that was not tried.
    pub(super) fn look_ahead(&self, ask: &Ask<'_>) -> Result<bool, Idle> {
        self.balance.look_ahead(&self.all, ask)
    }

    /// The first choice that a request has missed, if it goes to a group of lower priority.
    pub(super) fn spilled_from(&self, ask: &Ask<'_>, index: usize) -> Option<usize> {
        self.balance.spilled_from(&self.all, ask, index)
    }

    /// The limits of what goes there, if somebody has to count.
    pub(super) fn capped_spill(&self) -> Option<&Spill> {
        self.balance.spill.as_ref().filter(|spill| spill.is_capped())
    }

    /// Whether tokens decide on the targets of requests.
    pub(super) fn counts_tokens(&self) -> bool {
        self.balance.counts_tokens()
    }

    /// Takes note of an answer that asks for patience, and says whether it was one.
    pub(super) fn cool(
        &self,
        index: usize,
        ask: &Ask<'_>,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> bool {
        let target = self.all.get(index);
        target.is_some_and(|target| self.balance.cool(target, ask, status, headers))
    }

    /// A target failed in a way that counts, after so many milliseconds.
    pub(super) fn fail(&self, index: usize, ms: u64) {
        if let Some(target) = self.all.get(index) {
            self.balance.fail(&self.all, target, ms);
        }
    }

    /// A target answered.
    pub(super) fn succeed(&self, index: usize) {
        if let Some(target) = self.all.get(index) {
            self.balance.succeed(target);
        }
    }

    /// Takes what an exchange with a target came to.
    pub(super) fn learn(&self, target: &Target, spent: &Spent) {
        self.balance.learn(&target.standing, spent);
    }

    /// The name of the algorithm; for each target its group, from 1; and how many groups there
    /// are.
    pub(super) fn order(&self) -> (&'static str, Vec<usize>, usize) {
        let (ranks, groups) = self.balance.groups(&self.all);
        (self.balance.algorithm.name(), ranks, groups)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::balance::tests::{models, targets};

    #[test]
    fn a_model_chooses_its_targets() {
        let targets = models(&[
            json!({"name": "a", "model_alias": "fast"}),
            json!({"name": "b"}),
            json!({"name": null}),
        ]);
        let of = |model| targets.candidates(model).to_vec();
        assert_eq!(of(Some("fast")), [0]);
        assert_eq!(of(Some("b")), [1, 2]);
        assert_eq!(of(Some("other")), [2]);
        assert_eq!(of(None), [0, 1, 2]);
        assert_eq!(of(Some("")), [0, 1, 2]);
    }

    #[test]
    fn turns_are_inherited_where_there_are_as_many() {
        let old = targets(&[1, 1], json!({}));
        assert_eq!(old.next(&[]), Ok(0));
        let mut new = targets(&[1, 1], json!({}));
        new.targets.inherit(&old.targets.state());
        assert_eq!(new.next(&[]), Ok(1), "it is the other's turn");
        let mut other = targets(&[1, 1, 1], json!({}));
        other.targets.inherit(&old.targets.state());
        assert_eq!(other.next(&[]), Ok(0), "other targets start anew");
    }
}
