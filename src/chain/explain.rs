//! Why a plugin runs with this configuration and not with another: what the chain chooses from,
//! told instead of run.

use std::rc::Rc;

use super::{Candidate, Instance, Plan, Slot};
use crate::pdk::Exchange;

/// One plugin name on a Route, with every configuration that could apply, most specific first.
pub struct Choice {
    /// The configurations.
    pub candidates: Vec<Considered>,
}

/// A configuration and what becomes of it.
pub struct Considered {
    /// The plugin made from it.
    pub instance: Rc<Instance>,
    /// Whether it runs, or why not.
    pub verdict: Verdict,
}

/// What becomes of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It runs.
    Runs,
    /// A more specific one is in its place.
    LessSpecific,
    /// It is for another consumer, or for a consumer where there is none.
    OtherConsumer,
    /// It is for a consumer group that the consumer is not in.
    OtherGroup,
}

impl Choice {
    /// The plugin that runs, if one does.
    pub fn runs(&self) -> Option<&Rc<Instance>> {
        let running = self.candidates.iter().find(|one| one.verdict == Verdict::Runs);
        running.map(|one| &one.instance)
    }
}

impl Plan {
    /// Every plugin that may run, in the order in which they do.
    ///
    /// The exchange says who the client is: an authentication plugin would have named it by then.
    pub fn explain(&self, ex: &Exchange) -> Vec<Choice> {
        self.slots.iter().map(|slot| slot.explain(ex)).collect()
    }
}

impl Slot {
    fn explain(&self, ex: &Exchange) -> Choice {
        let best = self.best(ex);
        let considered = |candidate: &Candidate| Considered {
            instance: candidate.instance.clone(),
            verdict: match best {
                Some(best) if std::ptr::eq(best, candidate) => Verdict::Runs,
                _ if candidate.fit(ex).is_some() => Verdict::LessSpecific,
                _ if candidate.consumer.is_some() => Verdict::OtherConsumer,
                _ => Verdict::OtherGroup,
            },
        };
        Choice { candidates: self.candidates.iter().map(considered).collect() }
    }
}
