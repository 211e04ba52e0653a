//! Which entries of the router a request may be for: by host, then by the path's beginning.
//!
//! Entries are named by their rank, the first in Kong's order is 0. A host or a path that the
//! index cannot look up stands in a list that every request goes through.

use std::collections::HashMap;
use std::rc::Rc;

use regex_syntax::hir::Look;
use regex_syntax::hir::literal::Extractor;
use smallvec::SmallVec;

/// A host name as the index holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostKey {
    Exact(String),
    /// `.b.c` of `*.b.c`.
    Suffix(String),
    /// `a.` of `a.*`.
    Prefix(String),
}

/// Where an entry is found: every host it may have, every beginning of its paths.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    /// `None`: any host.
    pub(super) hosts: Option<Vec<HostKey>>,
    /// `None`: any path.
    pub(super) paths: Option<Vec<Rc<str>>>,
}

/// Ranks by host.
#[derive(Default)]
pub(super) struct Index {
    exact: HashMap<Box<str>, Beginnings>,
    suffixes: HashMap<Box<str>, Beginnings>,
    prefixes: HashMap<Box<str>, Beginnings>,
    any: Beginnings,
}

/// Ranks by the beginning of a path.
#[derive(Default)]
struct Beginnings {
    ranks: HashMap<Rc<str>, SmallVec<[u32; 2]>>,
    /// The lengths that occur.
    lengths: Vec<u32>,
}

impl Index {
    /// Adds an entry. Ranks must come in rising order.
    pub(super) fn add(&mut self, rank: u32, keys: &Keys) {
        let paths = keys.paths.clone().unwrap_or_else(|| vec!["".into()]);
        let Some(hosts) = &keys.hosts else { return self.any.add(rank, &paths) };
        for host in hosts {
            let (map, name) = match host {
                HostKey::Exact(name) => (&mut self.exact, name),
                HostKey::Suffix(name) => (&mut self.suffixes, name),
                HostKey::Prefix(name) => (&mut self.prefixes, name),
            };
            map.entry(name.as_str().into()).or_default().add(rank, &paths);
        }
    }

    /// The first entry that may be for this host and path and agrees.
    pub(super) fn first(
        &self,
        host: &str,
        path: &str,
        agrees: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut best = None;
        let mut look = |beginnings: Option<&Beginnings>| {
            best = beginnings.and_then(|b| b.first(path, best, &agrees)).or(best);
        };
        look(Some(&self.any));
        look(self.exact.get(host));
        if !self.suffixes.is_empty() || !self.prefixes.is_empty() {
            for (dot, _) in host.match_indices('.') {
                look(host.get(dot..).and_then(|suffix| self.suffixes.get(suffix)));
                look(host.get(..=dot).and_then(|prefix| self.prefixes.get(prefix)));
            }
        }
        best
    }
}

impl Beginnings {
    fn add(&mut self, rank: u32, paths: &[Rc<str>]) {
        for path in paths {
            let ranks = self.ranks.entry(path.clone()).or_default();
            if ranks.last() != Some(&rank) {
                ranks.push(rank);
            }
            let length = u32::try_from(path.len()).unwrap_or(u32::MAX);
            if let Err(place) = self.lengths.binary_search(&length) {
                self.lengths.insert(place, length);
            }
        }
    }

    /// The first that agrees, if it comes before `best`.
    fn first(&self, path: &str, best: Option<u32>, agrees: impl Fn(u32) -> bool) -> Option<u32> {
        let mut best = best.unwrap_or(u32::MAX);
        let mut found = None;
        for &length in &self.lengths {
            // A length within a character is no beginning, and one past the end is the last.
            if length as usize > path.len() {
                break;
            }
            let beginning = path.get(..length as usize);
            let ranks = beginning.and_then(|beginning| self.ranks.get(beginning));
            let mut better = ranks.into_iter().flatten().copied().take_while(|&rank| rank < best);
            if let Some(rank) = better.find(|&rank| agrees(rank)) {
                best = rank;
                found = Some(rank);
            }
        }
        found
    }
}

/// What every path begins with that the expression matches; "" where that is nothing certain.
pub(super) fn literal(pattern: &str) -> String {
    let Ok(hir) = regex_syntax::parse(pattern) else { return String::new() };
    // Every alternative must be bound to the beginning: `^/a|/b` finds `/b` anywhere.
    if !hir.properties().look_set_prefix().contains(Look::Start) {
        return String::new();
    }
    let literals = Extractor::new().extract(&hir);
    let common = literals.longest_common_prefix().unwrap_or_default();
    let text = common.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_found_by_what_it_must_begin_with() {
        for (pattern, want) in [
            (r"^/users/\d+/x", "/users/"),
            ("^/v(1|2)/chat", "/v"),
            ("^/(?<a>x)y", "/xy"),
            ("^/a|/b", ""),
            ("^(?:/aa|/ab)", "/a"),
            ("^(?i)/a", "/"),
            ("^/a*", "/"),
            ("^.*", ""),
            ("^/é+", "/é"),
        ] {
            assert_eq!(literal(pattern), want, "{pattern}");
        }
    }

    #[test]
    fn wildcards_stand_for_whole_labels() {
        let mut index = Index::default();
        let key = |hosts: Vec<HostKey>| Keys { hosts: Some(hosts), paths: None };
        index.add(0, &key(vec![HostKey::Suffix(".b.c".into())]));
        index.add(1, &key(vec![HostKey::Prefix("a.".into())]));
        index.add(2, &key(vec![HostKey::Exact("a.b.c".into())]));
        index.add(3, &Keys::default());
        let all = |host: &str| {
            let ranks = std::cell::RefCell::new(Vec::new());
            let none = index.first(host, "/", |rank| {
                ranks.borrow_mut().push(rank);
                false
            });
            assert_eq!(none, None);
            let mut ranks = ranks.into_inner();
            ranks.sort_unstable();
            ranks
        };
        assert_eq!(all("a.b.c"), [0, 1, 2, 3]);
        assert_eq!(all("x.y.b.c"), [0, 3]);
        assert_eq!(all("a.x"), [1, 3]);
        assert_eq!(all("b.c"), [3]);
        assert_eq!(index.first("a.b.c", "/", |rank| rank > 0), Some(1));
    }
}
