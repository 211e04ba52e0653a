//! Why a Route matches and the others do not: what the router looks at, told instead of used.

use std::sync::Arc;

use super::matcher::Matcher;
use super::{Criterion, Query, Router};
use crate::entity::Route;

/// What the router finds when it looks at one Route, or at a part of it.
pub struct Look {
    /// The Route.
    pub route: Arc<Route>,
    /// Position among the routes of the Snapshot.
    pub index: usize,
    /// The paths of this part: Kong looks at prefixes of different lengths one by one.
    pub paths: Vec<String>,
    /// Kong's priority word.
    pub priority: u64,
    /// Position in the order in which Routes are looked at, from 0.
    pub rank: usize,
    /// Every criterion that the Route has, and whether it is met; empty for an expression.
    pub criteria: Vec<(Criterion, bool)>,
    /// It takes requests of this scheme.
    pub takes_scheme: bool,
    /// Everything is met.
    pub agrees: bool,
}

impl Look {
    fn new(rank: usize, entry: &Matcher, query: &Query<'_>) -> Self {
        Self {
            route: entry.route.clone(),
            index: entry.index,
            paths: entry.paths(),
            priority: entry.word,
            rank,
            criteria: entry.criteria(query).unwrap_or_default(),
            takes_scheme: entry.takes_scheme(query.tls),
            agrees: entry.agrees(query),
        }
    }

    /// How much is wrong: the fewer, the nearer.
    pub fn misses(&self) -> usize {
        let missed = self.criteria.iter().filter(|(_, met)| !met).count();
        let expression = self.criteria.is_empty() && !self.agrees && self.takes_scheme;
        missed + usize::from(!self.takes_scheme) + usize::from(expression)
    }
}

impl Router {
    /// What there is to say of every Route, in the order in which they are looked at. The first
    /// that agrees is the one that [`Router::find`] finds.
    pub fn explain(&self, query: &Query<'_>) -> Vec<Look> {
        let look = |(rank, entry)| Look::new(rank, entry, query);
        self.entries.iter().enumerate().map(look).collect()
    }
}
