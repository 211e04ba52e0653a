//! Why a Route matches and the others do not: what the router looks at, told instead of used.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::matcher::Matcher;
use super::{Criterion, Query, Router, Search};
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
    /// The old router has no priorities.
    is_old: bool,
}

impl Look {
    fn new(rank: usize, entry: &Matcher, query: &Query<'_>, is_old: bool) -> Self {
        Self {
            route: entry.route.clone(),
            index: entry.index,
            paths: entry.paths(),
            priority: entry.word,
            rank,
            criteria: entry.criteria(query).unwrap_or_default(),
            takes_scheme: entry.takes_scheme(query.tls),
            agrees: entry.agrees(query),
            is_old,
        }
    }

    /// How much is wrong: the fewer, the nearer.
    pub fn misses(&self) -> usize {
        let missed = self.criteria.iter().filter(|(_, met)| !met).count();
        let expression = self.criteria.is_empty() && !self.agrees && self.takes_scheme;
        missed + usize::from(!self.takes_scheme) + usize::from(expression)
    }

    /// Why this one is looked at before another one: what decides between their priority words
    /// ([`super::priority`]).
    pub fn precedes_by(&self, other: &Self) -> &'static str {
        let has_expression = |look: &Self| look.criteria.is_empty() && look.route.paths.is_none();
        if self.is_old {
            return "the traditional router finds it first";
        }
        if self.priority == other.priority {
            return "equal priority, and the greater id goes first";
        }
        if has_expression(self) || has_expression(other) {
            return "its priority is greater";
        }
        let criteria = self.criteria.len().cmp(&other.criteria.len());
        let headers = |look: &Self| look.route.headers.as_ref().map_or(0, BTreeMap::len);
        match 63 - (self.priority ^ other.priority).leading_zeros() {
            61.. => "it has four criteria or more",
            60 => "its hosts are written out, without a wildcard",
            51 => "its path is a regular expression",
            _ if self.route.regex_priority > other.route.regex_priority && self.is_regex() => {
                "its regex_priority is greater"
            }
            _ if criteria.is_gt() => "it has more criteria",
            _ if headers(self) > headers(other) => "it asks for more headers",
            _ => "its path is longer",
        }
    }

    fn is_regex(&self) -> bool {
        self.paths.first().is_some_and(|path| path.starts_with('~'))
    }
}

impl Router {
    /// What there is to say of every Route, in the order in which they are looked at. The first
    /// that agrees is the one that [`Router::find`] finds.
    pub fn explain(&self, query: &Query<'_>) -> Vec<Look> {
        let Search::Traditional(categories) = &self.search else {
            let look = |(rank, entry)| Look::new(rank, entry, query, false);
            return self.entries.iter().enumerate().map(look).collect();
        };
        // What it finds may stand behind others that agree: their order is not all that counts.
        let found = self.rank(query);
        let others = categories.order().filter(|rank| Some(*rank) != found);
        let entries = found.into_iter().chain(others);
        let entries = entries.filter_map(|rank| self.entries.get(rank as usize)).enumerate();
        let look = |(rank, entry)| {
            let look = Look::new(rank, entry, query, true);
            // Where it finds none, those that agree stand in a category that it does not look at.
            Look { agrees: look.agrees && found.is_some(), ..look }
        };
        entries.map(look).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::{Value, json};

    use super::super::tests::route;
    use super::*;
    use crate::settings::RouterFlavor;
    use crate::snapshot::Snapshot;

    fn looks(routes: [(&str, Value); 2]) -> Vec<Look> {
        let routes = routes.into_iter().map(|(name, fields)| route(name, fields)).collect();
        let snapshot = Snapshot { routes, ..Snapshot::default() };
        let router = Router::new(&snapshot, RouterFlavor::TraditionalCompatible).unwrap();
        router.explain(&Query {
            path: "/a/b",
            query: None,
            host: "h",
            port: 80,
            method: "GET",
            tls: false,
            sni: None,
            headers: &HeaderMap::new(),
            source: "10.0.0.1:1".parse().unwrap(),
            address: "127.0.0.1".parse().unwrap(),
        })
    }

    #[test]
    fn what_decides_between_two_routes_is_named() {
        for (first, second, why) in [
            (json!({"paths": ["/a/b"]}), json!({"paths": ["/a"]}), "its path is longer"),
            (
                json!({"paths": ["~/a"]}),
                json!({"paths": ["/a/b"]}),
                "its path is a regular expression",
            ),
            (
                json!({"paths": ["~/a"], "regex_priority": 2}),
                json!({"paths": ["~/a/b"], "regex_priority": 1}),
                "its regex_priority is greater",
            ),
            (
                json!({"paths": ["/a"], "methods": ["GET"]}),
                json!({"paths": ["/a/b"]}),
                "it has more criteria",
            ),
            (
                json!({"hosts": ["h"]}),
                json!({"hosts": ["h*"], "methods": ["GET"], "paths": ["/a"]}),
                "its hosts are written out, without a wildcard",
            ),
        ] {
            let looks = looks([("second", second), ("first", first)]);
            assert_eq!(looks[0].route.name.as_deref(), Some("first"), "{why}");
            assert_eq!(looks[0].precedes_by(&looks[1]), why);
        }
        let same = || json!({"paths": ["/a"]});
        let looks = looks([("one", same()), ("two", same())]);
        assert!(looks[0].route.id > looks[1].route.id);
        assert!(looks[0].precedes_by(&looks[1]).contains("greater id"));
    }

    #[test]
    fn the_criteria_that_are_not_met_are_told() {
        let looks = looks([
            ("near", json!({"paths": ["/a"], "methods": ["POST"]})),
            ("far", json!({"paths": ["/x"], "hosts": ["other"], "methods": ["POST"]})),
        ]);
        let of = |name: &str| looks.iter().find(|look| look.route.name.as_deref() == Some(name));
        let near = of("near").unwrap();
        assert_eq!(near.criteria, [(Criterion::Methods, false), (Criterion::Paths, true)]);
        assert_eq!((near.misses(), of("far").unwrap().misses()), (1, 3));
    }
}
