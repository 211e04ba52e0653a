//! Matches a request to a Route, by the rules of Kong's `traditional_compatible` flavour.
//!
//! Each Route becomes one entry per path. Entries are ordered once, by Kong's 64-bit priority
//! word, so a match is the first entry that agrees. Prefixes are found through a hash of the
//! request path's beginnings: ten thousand routes cost as little as ten.

pub mod path;

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use regex::Regex;
use uuid::Uuid;

use crate::entity::{Protocol, Route, Service};
use crate::snapshot::Snapshot;

/// The compiled routes of one Snapshot.
pub struct Router {
    entries: Vec<Entry>,
    /// Entries with a prefix, by that prefix.
    prefixes: HashMap<Box<str>, Vec<u32>>,
    /// The lengths of those prefixes, longest first.
    lengths: Vec<usize>,
    /// Entries with a regular expression or without any path.
    others: Vec<u32>,
}

/// What is matched.
pub struct Query<'a> {
    /// Normalised, without the query.
    pub path: &'a str,
    /// Lower case, without the port.
    pub host: &'a str,
    /// The port of the listener.
    pub port: u16,
    /// The method, as sent.
    pub method: &'a str,
    /// The connection is encrypted.
    pub tls: bool,
    /// The name in the TLS hello.
    pub sni: Option<&'a str>,
    /// The request headers.
    pub headers: &'a HeaderMap,
}

/// The Route that matched, and what of the path it used up.
pub struct Hit<'r> {
    /// The Route.
    pub route: &'r Arc<Route>,
    /// Its Service.
    pub service: Option<&'r Arc<Service>>,
    /// Position among the routes of the Snapshot: the key of per-route plans.
    pub index: usize,
    /// Bytes of the path that the Route's prefix or expression matched.
    pub matched: usize,
    /// Groups of the expression, by number and by name.
    pub captures: Vec<(String, String)>,
}

struct Entry {
    route: Arc<Route>,
    service: Option<Arc<Service>>,
    index: usize,
    path: PathRule,
    hosts: Vec<HostRule>,
    headers: Vec<HeaderRule>,
    priority: u64,
}

enum PathRule {
    Any,
    Prefix(usize),
    Regex(Regex),
}

/// One of `hosts`: exact, `*.suffix` or `prefix.*`, with or without a port.
struct HostRule {
    kind: HostKind,
    port: Option<u16>,
}

enum HostKind {
    Exact(String),
    Suffix(String),
    Prefix(String),
}

/// One of `headers`: any of the values, or a regular expression after `~*`.
struct HeaderRule {
    name: String,
    values: Vec<String>,
    pattern: Option<Regex>,
}

impl Router {
    /// Compiles the routes of a Snapshot. Routes of disabled services do not exist.
    ///
    /// # Errors
    /// A regular expression that does not compile, with the route that holds it.
    pub fn new(snapshot: &Snapshot) -> Result<Self, String> {
        let mut entries = Vec::new();
        for (index, route) in snapshot.routes.iter().enumerate() {
            let service = route.service.and_then(|s| snapshot.services.get(&s.id));
            if service.is_some_and(|s| !s.enabled) {
                continue;
            }
            add(&mut entries, index, route, service)?;
        }
        // Among equals the greater id wins, as in Kong.
        entries.sort_by(|a: &(Entry, String), b| {
            let key = |e: &Entry| (e.priority, Uuid::as_u128(&e.route.id));
            key(&b.0).cmp(&key(&a.0))
        });
        let mut router = Self {
            entries: Vec::new(),
            prefixes: HashMap::new(),
            lengths: Vec::new(),
            others: Vec::new(),
        };
        for (entry, prefix) in entries {
            router.push(entry, prefix);
        }
        router.lengths.sort_unstable_by(|a, b| b.cmp(a));
        router.lengths.dedup();
        Ok(router)
    }

    fn push(&mut self, entry: Entry, prefix: String) {
        let position = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        match entry.path {
            PathRule::Prefix(length) => {
                self.lengths.push(length);
                self.prefixes.entry(prefix.into()).or_default().push(position);
            }
            _ => self.others.push(position),
        }
        self.entries.push(entry);
    }

    /// The Route for a request.
    pub fn find(&self, query: &Query<'_>) -> Option<Hit<'_>> {
        let mut best = u32::MAX;
        let mut consider = |positions: &[u32]| {
            let better = positions.iter().take_while(|&&position| position < best);
            let found = better.copied().find(|&position| {
                self.entries.get(position as usize).is_some_and(|entry| entry.agrees(query))
            });
            best = found.unwrap_or(best);
        };
        for &length in self.lengths.iter().filter(|&&length| length <= query.path.len()) {
            let beginning = query.path.get(..length);
            if let Some(positions) = beginning.and_then(|prefix| self.prefixes.get(prefix)) {
                consider(positions);
            }
        }
        consider(&self.others);
        self.entries.get(best as usize).map(|entry| entry.hit(query.path))
    }
}

/// Adds the entries of one Route, each with its prefix.
fn add(
    entries: &mut Vec<(Entry, String)>,
    index: usize,
    route: &Arc<Route>,
    service: Option<&Arc<Service>>,
) -> Result<(), String> {
    let name = route.name.clone().unwrap_or_else(|| route.id.to_string());
    let hosts: Vec<HostRule> =
        route.hosts.iter().flatten().map(|host| HostRule::new(host)).collect();
    let regexes = || route.paths.iter().flatten().filter_map(|p| p.strip_prefix('~'));
    let longest_regex = regexes().map(str::len).max().unwrap_or(0);
    let mut paths: Vec<(PathRule, String, usize)> = Vec::new();
    for path in route.paths.iter().flatten() {
        if let Some(pattern) = path.strip_prefix('~') {
            let regex = Regex::new(&format!("^{pattern}"))
                .map_err(|e| format!("route '{name}': path '{path}': {e}"))?;
            paths.push((PathRule::Regex(regex), String::new(), longest_regex));
        } else {
            let prefix = path::normalise(path).into_owned();
            paths.push((PathRule::Prefix(prefix.len()), prefix.clone(), prefix.len()));
        }
    }
    if paths.is_empty() {
        paths.push((PathRule::Any, String::new(), 0));
    }
    for (rule, prefix, length) in paths {
        let entry = Entry {
            priority: priority(route, &hosts, &rule, length),
            route: route.clone(),
            service: service.cloned(),
            index,
            path: rule,
            hosts: hosts.iter().map(HostRule::copy).collect(),
            headers: header_rules(route).map_err(|e| format!("route '{name}': {e}"))?,
        };
        entries.push((entry, prefix));
    }
    Ok(())
}

/// Kong's priority word: more criteria, then plain hosts, more headers, a regular expression,
/// `regex_priority`, and the longer path.
fn priority(route: &Route, hosts: &[HostRule], path: &PathRule, length: usize) -> u64 {
    let header_count = route.headers.as_ref().map_or(0, std::collections::BTreeMap::len) as u64;
    let criteria = u64::from(route.methods.as_ref().is_some_and(|m| !m.is_empty()))
        + u64::from(!hosts.is_empty())
        + u64::from(header_count > 0)
        + u64::from(route.snis.as_ref().is_some_and(|s| !s.is_empty()))
        + u64::from(!matches!(path, PathRule::Any));
    let plain_hosts =
        !hosts.is_empty() && hosts.iter().all(|h| matches!(h.kind, HostKind::Exact(_)));
    let is_regex = matches!(path, PathRule::Regex(_));
    let regex_priority =
        if is_regex { route.regex_priority.clamp(0, 0xFFFF_FFFF) as u64 } else { 0 };
    criteria.min(7) << 61
        | u64::from(plain_hosts) << 60
        | header_count.min(255) << 52
        | u64::from(is_regex) << 51
        | regex_priority << 19
        | (length as u64).min(0x7FFFF)
}

fn header_rules(route: &Route) -> Result<Vec<HeaderRule>, String> {
    let rule = |(name, values): (&String, &Vec<String>)| {
        let pattern = match values.as_slice() {
            [one] => one.strip_prefix("~*"),
            _ => None,
        };
        let pattern = pattern.map(Regex::new).transpose();
        Ok(HeaderRule {
            name: name.to_ascii_lowercase().replace('_', "-"),
            values: values.iter().map(|v| v.to_lowercase()).collect(),
            pattern: pattern.map_err(|e| format!("header '{name}': {e}"))?,
        })
    };
    route.headers.iter().flatten().map(rule).collect()
}

impl HostRule {
    fn new(host: &str) -> Self {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().ok()),
            None => (host, None),
        };
        let name = name.to_ascii_lowercase();
        let kind = match (name.strip_prefix('*'), name.strip_suffix('*')) {
            (Some(suffix), _) => HostKind::Suffix(suffix.to_owned()),
            (None, Some(prefix)) => HostKind::Prefix(prefix.to_owned()),
            (None, None) => HostKind::Exact(name),
        };
        Self { kind, port }
    }

    fn copy(&self) -> Self {
        let kind = match &self.kind {
            HostKind::Exact(name) => HostKind::Exact(name.clone()),
            HostKind::Suffix(name) => HostKind::Suffix(name.clone()),
            HostKind::Prefix(name) => HostKind::Prefix(name.clone()),
        };
        Self { kind, port: self.port }
    }

    fn agrees(&self, query: &Query<'_>) -> bool {
        let name = match &self.kind {
            HostKind::Exact(name) => query.host == name,
            HostKind::Suffix(suffix) => query.host.ends_with(suffix.as_str()),
            HostKind::Prefix(prefix) => query.host.starts_with(prefix.as_str()),
        };
        name && self.port.is_none_or(|port| port == query.port)
    }
}

impl HeaderRule {
    /// Kong compares values in lower case, also with a regex (`any(lower(http.headers.x))`).
    fn agrees(&self, headers: &HeaderMap) -> bool {
        headers.get_all(self.name.as_str()).iter().any(|value| {
            let value = String::from_utf8_lossy(value.as_bytes()).to_lowercase();
            match &self.pattern {
                Some(pattern) => pattern.is_match(&value),
                None => self.values.contains(&value),
            }
        })
    }
}

impl Entry {
    fn agrees(&self, query: &Query<'_>) -> bool {
        let route = &self.route;
        let listed = |list: &Option<Vec<String>>, value: &str| {
            list.as_ref().is_none_or(|l| l.is_empty() || l.iter().any(|m| m == value))
        };
        self.speaks(query.tls)
            && listed(&route.methods, query.method)
            && (self.hosts.is_empty() || self.hosts.iter().any(|host| host.agrees(query)))
            && self.headers.iter().all(|rule| rule.agrees(query.headers))
            && (!query.tls || listed(&route.snis, query.sni.unwrap_or_default()))
            && match &self.path {
                PathRule::Regex(regex) => regex.is_match(query.path),
                _ => true,
            }
    }

    /// A Route for HTTPS alone also takes plain requests: it tells them to come back encrypted.
    fn speaks(&self, tls: bool) -> bool {
        let has = |wanted: bool| self.route.protocols.iter().any(|p| p.is_tls() == wanted);
        if tls {
            has(true)
        } else {
            has(false) || has(true) && self.route.protocols == [Protocol::Https]
        }
    }

    fn hit(&self, path: &str) -> Hit<'_> {
        let (matched, captures) = match &self.path {
            PathRule::Any => (0, Vec::new()),
            PathRule::Prefix(length) => (*length, Vec::new()),
            PathRule::Regex(regex) => groups(regex, path),
        };
        Hit {
            route: &self.route,
            service: self.service.as_ref(),
            index: self.index,
            matched,
            captures,
        }
    }
}

/// Length of the whole match, and its groups under number and name.
fn groups(regex: &Regex, path: &str) -> (usize, Vec<(String, String)>) {
    let Some(found) = regex.captures(path) else { return (0, Vec::new()) };
    let length = found.get(0).map_or(0, |whole| whole.end());
    let mut groups = Vec::new();
    for (number, name) in regex.capture_names().enumerate().skip(1) {
        let Some(text) = found.get(number) else { continue };
        groups.push((number.to_string(), text.as_str().to_owned()));
        groups.extend(name.map(|name| (name.to_owned(), text.as_str().to_owned())));
    }
    (length, groups)
}

#[cfg(test)]
mod tests;
